//! Modules about SELinux.

use super::{Kind, ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] = &[SELINUX, SEBOOLEAN, SEPORT];

const SELINUX: ModuleSpec = ModuleSpec::new(
    "ansible.posix.selinux",
    &[
        Param::new("policy", Kind::Str),
        Param::new("state", Kind::Str)
            .required()
            .choices(&["enforcing", "permissive", "disabled"]),
        Param::new("configfile", Kind::Str)
            .default("/etc/selinux/config")
            .aliases(&["conf", "file"]),
        Param::new("update_kernel_param", Kind::Bool).default("false"),
    ],
);

const SEBOOLEAN: ModuleSpec = ModuleSpec::new(
    "ansible.posix.seboolean",
    &[
        Param::new("ignore_selinux_state", Kind::Bool).default("false"),
        Param::new("name", Kind::Str).required(),
        Param::new("persistent", Kind::Bool).default("false"),
        Param::new("state", Kind::Bool).required(),
    ],
);

const SEPORT: ModuleSpec = ModuleSpec::new(
    "community.general.seport",
    &[
        Param::new("ignore_selinux_state", Kind::Bool).default("false"),
        Param::new("ports", Kind::List).required(),
        Param::new("proto", Kind::Str)
            .required()
            .choices(&["tcp", "udp"]),
        Param::new("setype", Kind::Str).required(),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("reload", Kind::Bool).default("true"),
        Param::new("local", Kind::Bool).default("false"),
    ],
);
