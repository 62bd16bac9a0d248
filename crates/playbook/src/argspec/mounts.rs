//! Modules about file systems and what they keep of a file: `mount`, `mount_facts`, `acl`.

use super::{Kind, ModuleSpec, Param, RequiredIf};

pub(super) const MODULES: &[ModuleSpec] = &[MOUNT, MOUNT_FACTS, ACL];

const fn needs_source(state: &'static str) -> RequiredIf {
    RequiredIf {
        param: "state",
        is: state,
        needs: &["src", "fstype"],
        any: false,
    }
}

const MOUNT: ModuleSpec = ModuleSpec {
    required_if: &[
        needs_source("mounted"),
        needs_source("present"),
        needs_source("ephemeral"),
    ],
    ..ModuleSpec::new(
        "ansible.posix.mount",
        &[
            Param::new("boot", Kind::Bool).default("true"),
            Param::new("dump", Kind::Str).default("0"),
            Param::new("fstab", Kind::Str),
            Param::new("fstype", Kind::Str),
            Param::new("path", Kind::Path).required().aliases(&["name"]),
            Param::new("opts", Kind::Str).no_log_if("opts_no_log"),
            Param::new("opts_no_log", Kind::Bool).default("false"),
            Param::new("passno", Kind::Str).default("0"),
            Param::new("src", Kind::Path),
            Param::new("backup", Kind::Bool).default("false"),
            Param::new("state", Kind::Str).required().choices(&[
                "absent",
                "absent_from_fstab",
                "mounted",
                "present",
                "unmounted",
                "remounted",
                "ephemeral",
            ]),
        ],
    )
};

const MOUNT_FACTS: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.mount_facts",
    &[
        Param::new("sources", Kind::List),
        Param::new("mount_binary", Kind::Raw).default("mount"),
        Param::new("devices", Kind::List),
        Param::new("fstypes", Kind::List),
        Param::new("timeout", Kind::Float),
        Param::new("on_timeout", Kind::Str)
            .default("error")
            .choices(&["error", "warn", "ignore"]),
        Param::new("include_aggregate_mounts", Kind::Bool),
    ],
);

const ACL: ModuleSpec = ModuleSpec::new(
    "ansible.posix.acl",
    &[
        Param::new("path", Kind::Path).required().aliases(&["name"]),
        Param::new("entry", Kind::Str),
        Param::new("entity", Kind::Str).default(""),
        Param::new("etype", Kind::Str).choices(&["group", "mask", "other", "user"]),
        Param::new("permissions", Kind::Str),
        Param::new("state", Kind::Str)
            .default("query")
            .choices(&["absent", "present", "query"]),
        Param::new("follow", Kind::Bool).default("true"),
        Param::new("default", Kind::Bool).default("false"),
        Param::new("recursive", Kind::Bool)
            .default("false")
            .aliases(&["recurse"]),
        Param::new("recalculate_mask", Kind::Str)
            .default("default")
            .choices(&["default", "mask", "no_mask"]),
        Param::new("use_nfsv4_acls", Kind::Bool).default("false"),
    ],
);
