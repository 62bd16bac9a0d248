//! Modules that run what the author wrote: `command`, `shell`, `script`, `expect`, `git`.

use super::{Kind, ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] = &[COMMAND, SHELL, RAW, SCRIPT, EXPECT, GIT];

const COMMAND: ModuleSpec = ModuleSpec {
    free_form: true,
    required_one_of: &[&["_raw_params", "cmd", "argv"]],
    mutually_exclusive: &[&["_raw_params", "cmd", "argv"]],
    ..ModuleSpec::new(
        "ansible.builtin.command",
        &[
            Param::new("_raw_params", Kind::Str),
            Param::new("cmd", Kind::Str),
            Param::new("argv", Kind::List),
            Param::new("chdir", Kind::Path),
            Param::new("executable", Kind::Str),
            Param::new("expand_argument_vars", Kind::Bool).default("true"),
            Param::new("creates", Kind::Path),
            Param::new("removes", Kind::Path),
            Param::new("stdin", Kind::Str),
            Param::new("stdin_add_newline", Kind::Bool).default("true"),
            Param::new("strip_empty_ends", Kind::Bool).default("true"),
        ],
    )
};

const SHELL: ModuleSpec = ModuleSpec {
    free_form: true,
    required_one_of: &[&["_raw_params", "cmd", "argv"]],
    mutually_exclusive: &[&["_raw_params", "cmd", "argv"]],
    ..ModuleSpec::new(
        "ansible.builtin.shell",
        &[
            Param::new("_raw_params", Kind::Str),
            Param::new("cmd", Kind::Str),
            Param::new("argv", Kind::List),
            Param::new("chdir", Kind::Path),
            Param::new("executable", Kind::Str),
            Param::new("creates", Kind::Path),
            Param::new("removes", Kind::Path),
            Param::new("stdin", Kind::Str),
            Param::new("stdin_add_newline", Kind::Bool).default("true"),
            Param::new("strip_empty_ends", Kind::Bool).default("true"),
        ],
    )
};

const RAW: ModuleSpec = ModuleSpec {
    free_form: true,
    ..ModuleSpec::new(
        "ansible.builtin.raw",
        &[
            Param::new("_raw_params", Kind::Str),
            Param::new("executable", Kind::Str),
        ],
    )
};

const SCRIPT: ModuleSpec = ModuleSpec {
    free_form: true,
    required_one_of: &[&["_raw_params", "cmd"]],
    mutually_exclusive: &[&["_raw_params", "cmd"]],
    ..ModuleSpec::new(
        "ansible.builtin.script",
        &[
            Param::new("_raw_params", Kind::Str),
            Param::new("cmd", Kind::Str),
            Param::new("creates", Kind::Str),
            Param::new("removes", Kind::Str),
            Param::new("chdir", Kind::Str),
            Param::new("executable", Kind::Str),
        ],
    )
};

const EXPECT: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.expect",
    &[
        Param::new("command", Kind::Str).required(),
        Param::new("chdir", Kind::Path),
        Param::new("creates", Kind::Path),
        Param::new("removes", Kind::Path),
        Param::new("responses", Kind::Dict).required(),
        Param::new("timeout", Kind::Raw).default("30"),
        Param::new("echo", Kind::Bool).default("no"),
    ],
);

const GIT: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[
        &["separate_git_dir", "bare"],
        &["accept_hostkey", "accept_newhostkey"],
    ],
    required_by: &[("archive_prefix", &["archive"])],
    ..ModuleSpec::new(
        "ansible.builtin.git",
        &[
            Param::new("dest", Kind::Path),
            Param::new("repo", Kind::Str).required().aliases(&["name"]),
            Param::new("version", Kind::Str).default("HEAD"),
            Param::new("remote", Kind::Str).default("origin"),
            Param::new("refspec", Kind::Str),
            Param::new("reference", Kind::Str),
            Param::new("force", Kind::Bool).default("no"),
            Param::new("depth", Kind::Int),
            Param::new("clone", Kind::Bool).default("yes"),
            Param::new("update", Kind::Bool).default("yes"),
            Param::new("verify_commit", Kind::Bool).default("no"),
            Param::new("gpg_allowlist", Kind::List).aliases(&["gpg_whitelist"]),
            Param::new("accept_hostkey", Kind::Bool).default("no"),
            Param::new("accept_newhostkey", Kind::Bool).default("no"),
            Param::new("key_file", Kind::Path),
            Param::new("ssh_opts", Kind::Str),
            Param::new("executable", Kind::Path),
            Param::new("bare", Kind::Bool).default("no"),
            Param::new("recursive", Kind::Bool).default("yes"),
            Param::new("single_branch", Kind::Bool).default("false"),
            Param::new("track_submodules", Kind::Bool).default("no"),
            Param::new("umask", Kind::Raw),
            Param::new("archive", Kind::Path),
            Param::new("archive_prefix", Kind::Str),
            Param::new("separate_git_dir", Kind::Path),
        ],
    )
};
