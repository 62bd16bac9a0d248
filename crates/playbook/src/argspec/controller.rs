//! Modules that touch no machine: `validate_argument_spec`, `set_stats`, or only look on: `async_status`.

use super::{Kind, ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] =
    &[VALIDATE_ARGUMENT_SPEC, GROUP_BY, SET_STATS, ASYNC_STATUS];

const VALIDATE_ARGUMENT_SPEC: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.validate_argument_spec",
    &[
        Param::new("argument_spec", Kind::Dict).required(),
        Param::new("provided_arguments", Kind::Dict),
        Param::new("validate_args_context", Kind::Dict),
    ],
);

const ASYNC_STATUS: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.async_status",
    &[
        Param::new("jid", Kind::Str).required(),
        Param::new("mode", Kind::Str)
            .default("status")
            .choices(&["status", "cleanup"]),
        Param::new("_async_dir", Kind::Str),
    ],
);

const GROUP_BY: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.group_by",
    &[
        Param::new("key", Kind::Str).required(),
        Param::new("parents", Kind::List),
    ],
);

const SET_STATS: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.set_stats",
    &[
        Param::new("data", Kind::Dict).required(),
        Param::new("per_host", Kind::Bool).default("no"),
        Param::new("aggregate", Kind::Bool).default("yes"),
    ],
);
