//! Modules about services and the system as a whole: `service`, `systemd`, `hostname`, ….

use super::{Kind, ModuleSpec, Param, RequiredIf};

pub(super) const MODULES: &[ModuleSpec] = &[
    SERVICE,
    SYSTEMD,
    SYSVINIT,
    SERVICE_FACTS,
    SETUP,
    SUPERVISORCTL,
    HOSTNAME,
    TIMEZONE,
    ALTERNATIVES,
    LOCALE_GEN,
    MODPROBE,
    REBOOT,
];

const STATES: &[&str] = &["reloaded", "restarted", "started", "stopped"];

/// What the modules of all service managers take: `service` hands it on. Without defaults, so that
/// what nobody gave is not handed on.
const SERVICE: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.service",
    &[
        Param::new("name", Kind::Str).aliases(&["service", "unit"]),
        Param::new("state", Kind::Str).choices(STATES),
        Param::new("enabled", Kind::Bool),
        Param::new("use", Kind::Str).default("auto"),
        Param::new("sleep", Kind::Int),
        Param::new("pattern", Kind::Str),
        Param::new("runlevel", Kind::Str),
        Param::new("runlevels", Kind::List),
        Param::new("arguments", Kind::Str),
        // systemd's warning says which of the two was written.
        Param::new("args", Kind::Str),
        Param::new("daemonize", Kind::Bool),
        Param::new("force", Kind::Bool),
        Param::new("masked", Kind::Bool),
        Param::new("daemon_reload", Kind::Bool).aliases(&["daemon-reload"]),
        Param::new("daemon_reexec", Kind::Bool).aliases(&["daemon-reexec"]),
        Param::new("scope", Kind::Str).choices(SCOPES),
        Param::new("no_block", Kind::Bool),
        // What `module_defaults` says of the modules behind it, by their names.
        Param::new("_defaults", Kind::Raw).internal(),
    ],
);

const SYSVINIT: ModuleSpec = ModuleSpec {
    required_one_of: &[&["state", "enabled"]],
    ..ModuleSpec::new(
        "ansible.builtin.sysvinit",
        &[
            Param::new("name", Kind::Str)
                .required()
                .aliases(&["service"]),
            Param::new("state", Kind::Str).choices(STATES),
            Param::new("enabled", Kind::Bool),
            Param::new("sleep", Kind::Int).default("1"),
            Param::new("pattern", Kind::Str),
            Param::new("arguments", Kind::Str).aliases(&["args"]),
            Param::new("runlevels", Kind::List),
            Param::new("daemonize", Kind::Bool).default("false"),
        ],
    )
};

const SCOPES: &[&str] = &["system", "user", "global"];

const SETUP: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.setup",
    &[
        Param::new("gather_subset", Kind::List),
        Param::new("gather_timeout", Kind::Int).default("10"),
        Param::new("filter", Kind::List),
        Param::new("fact_path", Kind::Path).default("/etc/ansible/facts.d"),
        // What `ansible_python_interpreter` says.
        Param::new("_interpreter", Kind::Str).internal(),
    ],
);

const SYSTEMD: ModuleSpec = ModuleSpec {
    aliases: &["ansible.builtin.systemd", "ansible.legacy.systemd"],
    required_one_of: &[&[
        "state",
        "enabled",
        "masked",
        "daemon_reload",
        "daemon_reexec",
    ]],
    required_by: &[
        ("state", &["name"]),
        ("enabled", &["name"]),
        ("masked", &["name"]),
    ],
    ..ModuleSpec::new(
        "ansible.builtin.systemd_service",
        &[
            Param::new("name", Kind::Str).aliases(&["service", "unit"]),
            Param::new("state", Kind::Str).choices(STATES),
            Param::new("enabled", Kind::Bool),
            Param::new("force", Kind::Bool),
            Param::new("masked", Kind::Bool),
            Param::new("daemon_reload", Kind::Bool)
                .default("false")
                .aliases(&["daemon-reload"]),
            Param::new("daemon_reexec", Kind::Bool)
                .default("false")
                .aliases(&["daemon-reexec"]),
            Param::new("scope", Kind::Str)
                .default("system")
                .choices(SCOPES),
            Param::new("no_block", Kind::Bool).default("false"),
        ],
    )
};

const SERVICE_FACTS: ModuleSpec = ModuleSpec::new("ansible.builtin.service_facts", &[]);

const SUPERVISORCTL: ModuleSpec = ModuleSpec {
    required_if: &[RequiredIf {
        param: "state",
        is: "signalled",
        needs: &["signal"],
        any: false,
    }],
    ..ModuleSpec::new(
        "community.general.supervisorctl",
        &[
            Param::new("name", Kind::Str).required(),
            Param::new("config", Kind::Path),
            Param::new("server_url", Kind::Str),
            Param::new("username", Kind::Str),
            Param::new("password", Kind::Str).no_log(),
            Param::new("supervisorctl_path", Kind::Path),
            Param::new("state", Kind::Str).required().choices(&[
                "present",
                "started",
                "restarted",
                "stopped",
                "absent",
                "signalled",
            ]),
            Param::new("stop_before_removing", Kind::Bool).default("false"),
            Param::new("signal", Kind::Str),
        ],
    )
};

const HOSTNAME: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.hostname",
    &[
        Param::new("name", Kind::Str).required(),
        Param::new("use", Kind::Str).choices(&[
            "alpine", "debian", "freebsd", "generic", "macos", "macosx", "darwin", "openbsd",
            "openrc", "redhat", "sles", "solaris", "systemd",
        ]),
    ],
);

const TIMEZONE: ModuleSpec = ModuleSpec {
    required_one_of: &[&["hwclock", "name"]],
    ..ModuleSpec::new(
        "community.general.timezone",
        &[
            Param::new("hwclock", Kind::Str)
                .choices(&["local", "UTC"])
                .aliases(&["rtc"]),
            Param::new("name", Kind::Str),
        ],
    )
};

const ALTERNATIVES: ModuleSpec = ModuleSpec {
    required_one_of: &[&["path", "family"]],
    ..ModuleSpec::new(
        "community.general.alternatives",
        &[
            Param::new("name", Kind::Str).required(),
            Param::new("path", Kind::Path),
            Param::new("family", Kind::Str),
            Param::new("link", Kind::Path),
            Param::new("priority", Kind::Int),
            Param::new("state", Kind::Str)
                .default("selected")
                .choices(&["present", "selected", "absent", "auto"]),
            Param::new("subcommands", Kind::RawList).aliases(&["slaves"]),
        ],
    )
};

const LOCALE_GEN: ModuleSpec = ModuleSpec::new(
    "community.general.locale_gen",
    &[
        Param::new("name", Kind::List).required(),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
    ],
);

const MODPROBE: ModuleSpec = ModuleSpec::new(
    "community.general.modprobe",
    &[
        Param::new("name", Kind::Str).required(),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("params", Kind::Str).default(""),
        Param::new("persistent", Kind::Str)
            .default("disabled")
            .choices(&["disabled", "present", "absent"]),
    ],
);

const REBOOT: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.reboot",
    &[
        Param::new("pre_reboot_delay", Kind::Int).default("0"),
        Param::new("post_reboot_delay", Kind::Int).default("0"),
        Param::new("reboot_timeout", Kind::Int).default("600"),
        Param::new("connect_timeout", Kind::Int),
        Param::new("test_command", Kind::Str).default("whoami"),
        Param::new("msg", Kind::Str).default("Reboot initiated by Ansible"),
        Param::new("search_paths", Kind::List)
            .default("/sbin,/bin,/usr/sbin,/usr/bin,/usr/local/sbin"),
        Param::new("boot_time_command", Kind::Str).default("cat /proc/sys/kernel/random/boot_id"),
        Param::new("reboot_command", Kind::Str),
    ],
);
