//! Modules that set a line or an option in a file of the system's: `ini_file`, `sudoers`, `pamd`, ….

use super::Kind::{Bool, List, Path, Raw, RawList, Str};
use super::files::and_attributes;
use super::{ModuleSpec, Param, RequiredIf};

pub(super) const MODULES: &[ModuleSpec] = &[INI_FILE, SUDOERS, PAMD, PAM_LIMITS];

const PRESENT: &[&str] = &["absent", "present"];

const INI_FILE: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["value", "values"]],
    ..ModuleSpec::new(
        "community.general.ini_file",
        and_attributes![
            Param::new("path", Path).required().aliases(&["dest"]),
            Param::new("section", Str),
            Param::new("section_has_values", RawList),
            Param::new("option", Str),
            Param::new("value", Str),
            Param::new("values", List),
            Param::new("backup", Bool).default("false"),
            Param::new("state", Str).default("present").choices(PRESENT),
            Param::new("exclusive", Bool).default("true"),
            Param::new("no_extra_spaces", Bool).default("false"),
            Param::new("ignore_spaces", Bool).default("false"),
            Param::new("allow_no_value", Bool).default("false"),
            Param::new("modify_inactive_option", Bool).default("true"),
            Param::new("create", Bool).default("true"),
            Param::new("follow", Bool).default("false"),
        ],
    )
};

const SUDOERS: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["user", "group"]],
    required_if: &[RequiredIf {
        param: "state",
        is: "present",
        needs: &["commands"],
        any: false,
    }],
    ..ModuleSpec::new(
        "community.general.sudoers",
        &[
            Param::new("commands", List),
            Param::new("group", Str),
            Param::new("name", Str).required(),
            Param::new("noexec", Bool).default("false"),
            Param::new("nopassword", Bool).default("true"),
            Param::new("setenv", Bool).default("false"),
            Param::new("host", Str).default("ALL"),
            Param::new("runas", Str),
            Param::new("sudoers_path", Str).default("/etc/sudoers.d"),
            Param::new("state", Str).default("present").choices(PRESENT),
            Param::new("user", Str),
            Param::new("validation", Str)
                .default("detect")
                .choices(&["absent", "detect", "required"]),
        ],
    )
};

/// Types of rules; a dash before one is for modules that may be missing.
const PAM_TYPES: &[&str] = &[
    "account",
    "-account",
    "auth",
    "-auth",
    "password",
    "-password",
    "session",
    "-session",
];

const fn pamd_needs(state: &'static str, needs: &'static [&'static str]) -> RequiredIf {
    RequiredIf {
        param: "state",
        is: state,
        needs,
        any: false,
    }
}

const PAMD: ModuleSpec = ModuleSpec {
    required_if: &[
        pamd_needs("args_present", &["module_arguments"]),
        pamd_needs("args_absent", &["module_arguments"]),
        pamd_needs("before", &["new_control", "new_type", "new_module_path"]),
        pamd_needs("after", &["new_control", "new_type", "new_module_path"]),
    ],
    ..ModuleSpec::new(
        "community.general.pamd",
        &[
            Param::new("name", Str).required(),
            Param::new("type", Str).required().choices(PAM_TYPES),
            Param::new("control", Str).required(),
            Param::new("module_path", Str).required(),
            Param::new("new_type", Str).choices(PAM_TYPES),
            Param::new("new_control", Str),
            Param::new("new_module_path", Str),
            Param::new("module_arguments", List),
            Param::new("state", Str).default("updated").choices(&[
                "absent",
                "after",
                "args_absent",
                "args_present",
                "before",
                "updated",
            ]),
            Param::new("path", Path).default("/etc/pam.d"),
            Param::new("backup", Bool).default("false"),
        ],
    )
};

const PAM_LIMITS: ModuleSpec = ModuleSpec::new(
    "community.general.pam_limits",
    &[
        Param::new("domain", Str).required(),
        Param::new("limit_type", Str)
            .required()
            .choices(&["soft", "hard", "-"]),
        Param::new("limit_item", Str).required().choices(&[
            "core",
            "data",
            "fsize",
            "memlock",
            "nofile",
            "rss",
            "stack",
            "cpu",
            "nproc",
            "as",
            "maxlogins",
            "maxsyslogins",
            "priority",
            "locks",
            "sigpending",
            "msgqueue",
            "nice",
            "rtprio",
            "chroot",
        ]),
        Param::new("value", Str).required(),
        Param::new("use_max", Bool).default("false"),
        Param::new("use_min", Bool).default("false"),
        Param::new("backup", Bool).default("false"),
        Param::new("dest", Str).default("/etc/security/limits.conf"),
        Param::new("comment", Str).default(""),
    ],
);
