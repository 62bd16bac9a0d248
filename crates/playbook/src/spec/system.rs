//! Modules about the system: `apt`, `user`, `service`, `command`, ….

use super::{Kind, ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] = &[ModuleSpec::new(
    "ansible.builtin.group",
    &[
        Param::new("name", Kind::Str).required(),
        Param::new("gid", Kind::Int),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("system", Kind::Bool).default("false"),
    ],
)];
