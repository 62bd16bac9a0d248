//! Modules about users and what belongs to them: `user`, `group`, `authorized_key`, ….

use super::{Kind, ModuleSpec, Param, RequiredIf};

pub(super) const MODULES: &[ModuleSpec] = &[USER, GROUP, AUTHORIZED_KEY, KNOWN_HOSTS, GETENT, CRON];

const USER: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.user",
    &[
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("name", Kind::Str).required().aliases(&["user"]),
        Param::new("uid", Kind::Int),
        Param::new("non_unique", Kind::Bool).default("false"),
        Param::new("group", Kind::Str),
        Param::new("groups", Kind::List),
        Param::new("comment", Kind::Str),
        Param::new("home", Kind::Path),
        Param::new("shell", Kind::Path),
        Param::new("password", Kind::Str).no_log(),
        Param::new("login_class", Kind::Str),
        Param::new("password_expire_max", Kind::Int),
        Param::new("password_expire_min", Kind::Int),
        Param::new("password_expire_warn", Kind::Int),
        Param::new("hidden", Kind::Bool),
        Param::new("seuser", Kind::Str),
        Param::new("force", Kind::Bool).default("false"),
        Param::new("remove", Kind::Bool).default("false"),
        Param::new("create_home", Kind::Bool)
            .default("true")
            .aliases(&["createhome"]),
        Param::new("skeleton", Kind::Str),
        Param::new("system", Kind::Bool).default("false"),
        Param::new("move_home", Kind::Bool).default("false"),
        Param::new("append", Kind::Bool).default("false"),
        Param::new("generate_ssh_key", Kind::Bool),
        Param::new("ssh_key_bits", Kind::Int).default("0"),
        Param::new("ssh_key_type", Kind::Str).default("rsa"),
        Param::new("ssh_key_file", Kind::Path),
        Param::new("ssh_key_comment", Kind::Str),
        Param::new("ssh_key_passphrase", Kind::Str).no_log(),
        Param::new("update_password", Kind::Str)
            .default("always")
            .choices(&["always", "on_create"]),
        Param::new("expires", Kind::Float),
        Param::new("password_lock", Kind::Bool),
        Param::new("local", Kind::Bool),
        Param::new("profile", Kind::Str),
        Param::new("authorization", Kind::Str),
        Param::new("role", Kind::Str),
        Param::new("umask", Kind::Str),
        Param::new("password_expire_account_disable", Kind::Int),
        Param::new("uid_min", Kind::Int),
        Param::new("uid_max", Kind::Int),
    ],
);

const GROUP: ModuleSpec = ModuleSpec {
    required_if: &[RequiredIf {
        param: "non_unique",
        is: "true",
        needs: &["gid"],
        any: false,
    }],
    ..ModuleSpec::new(
        "ansible.builtin.group",
        &[
            Param::new("state", Kind::Str)
                .default("present")
                .choices(&["absent", "present"]),
            Param::new("name", Kind::Str).required(),
            Param::new("force", Kind::Bool).default("false"),
            Param::new("gid", Kind::Int),
            Param::new("system", Kind::Bool).default("false"),
            Param::new("local", Kind::Bool).default("false"),
            Param::new("non_unique", Kind::Bool).default("false"),
            Param::new("gid_min", Kind::Int),
            Param::new("gid_max", Kind::Int),
        ],
    )
};

const AUTHORIZED_KEY: ModuleSpec = ModuleSpec::new(
    "ansible.posix.authorized_key",
    &[
        Param::new("user", Kind::Str).required(),
        Param::new("key", Kind::Str).required(),
        Param::new("path", Kind::Path),
        Param::new("manage_dir", Kind::Bool).default("true"),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("key_options", Kind::Str),
        Param::new("exclusive", Kind::Bool).default("false"),
        Param::new("comment", Kind::Str),
        Param::new("validate_certs", Kind::Bool).default("true"),
        Param::new("follow", Kind::Bool).default("false"),
    ],
);

const KNOWN_HOSTS: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.known_hosts",
    &[
        Param::new("name", Kind::Str).required().aliases(&["host"]),
        Param::new("key", Kind::Str),
        Param::new("path", Kind::Path).default("~/.ssh/known_hosts"),
        Param::new("hash_host", Kind::Bool).default("false"),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
    ],
);

const GETENT: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.getent",
    &[
        Param::new("database", Kind::Str).required(),
        Param::new("key", Kind::Str),
        Param::new("service", Kind::Str),
        Param::new("split", Kind::Str),
        Param::new("fail_key", Kind::Bool).default("true"),
    ],
);

const CRON: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["insertafter", "insertbefore"]],
    ..ModuleSpec::new(
        "ansible.builtin.cron",
        &[
            Param::new("name", Kind::Str).required(),
            Param::new("user", Kind::Str),
            Param::new("job", Kind::Str).aliases(&["value"]),
            Param::new("cron_file", Kind::Path),
            Param::new("state", Kind::Str)
                .default("present")
                .choices(&["present", "absent"]),
            Param::new("backup", Kind::Bool).default("false"),
            Param::new("minute", Kind::Str).default("*"),
            Param::new("hour", Kind::Str).default("*"),
            Param::new("day", Kind::Str).default("*").aliases(&["dom"]),
            Param::new("month", Kind::Str).default("*"),
            Param::new("weekday", Kind::Str)
                .default("*")
                .aliases(&["dow"]),
            Param::new("special_time", Kind::Str).choices(&[
                "reboot", "yearly", "annually", "monthly", "weekly", "daily", "hourly",
            ]),
            Param::new("disabled", Kind::Bool).default("false"),
            Param::new("env", Kind::Bool).default("false"),
            Param::new("insertafter", Kind::Str),
            Param::new("insertbefore", Kind::Str),
        ],
    )
};
