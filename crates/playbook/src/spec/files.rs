//! Modules about files and the network: `file`, `copy`, `template`, `stat`, `uri`, ….

use super::{Kind, ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] = &[ModuleSpec::new(
    "ansible.builtin.debug",
    &[
        Param::new("msg", Kind::Raw).default("Hello world!"),
        Param::new("var", Kind::Raw),
        Param::new("verbosity", Kind::Int).default("0"),
    ],
)];
