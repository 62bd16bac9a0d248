//! Modules about packages: `apt`, `pip`, `package`, ….

use super::{Kind, ModuleSpec, Param};

pub(super) const MODULES: &[ModuleSpec] = &[
    APT,
    APT_KEY,
    APT_REPOSITORY,
    DEB822_REPOSITORY,
    PACKAGE,
    PACKAGE_FACTS,
    DPKG_DIVERT,
    DEBOPS_DIVERT,
    DPKG_SELECTIONS,
    DEBCONF,
    PIP,
];

const APT: ModuleSpec = ModuleSpec {
    required_one_of: &[&["autoremove", "deb", "package", "update_cache", "upgrade"]],
    mutually_exclusive: &[&["deb", "package", "upgrade"]],
    ..ModuleSpec::new(
        "ansible.builtin.apt",
        &[
            Param::new("state", Kind::Str).default("present").choices(&[
                "absent",
                "build-dep",
                "fixed",
                "latest",
                "present",
            ]),
            Param::new("update_cache", Kind::Bool).aliases(&["update-cache"]),
            Param::new("update_cache_retries", Kind::Int).default("5"),
            Param::new("update_cache_retry_max_delay", Kind::Int).default("12"),
            Param::new("cache_valid_time", Kind::Int).default("0"),
            Param::new("purge", Kind::Bool).default("false"),
            Param::new("package", Kind::List).aliases(&["pkg", "name"]),
            Param::new("deb", Kind::Path),
            Param::new("default_release", Kind::Str).aliases(&["default-release"]),
            Param::new("install_recommends", Kind::Bool).aliases(&["install-recommends"]),
            Param::new("force", Kind::Bool).default("false"),
            Param::new("upgrade", Kind::Str)
                .default("no")
                .choices(&["dist", "full", "no", "safe", "yes"]),
            Param::new("dpkg_options", Kind::Str).default("force-confdef,force-confold"),
            Param::new("autoremove", Kind::Bool).default("false"),
            Param::new("autoclean", Kind::Bool).default("false"),
            Param::new("fail_on_autoremove", Kind::Bool).default("false"),
            Param::new("policy_rc_d", Kind::Int),
            Param::new("only_upgrade", Kind::Bool).default("false"),
            Param::new("force_apt_get", Kind::Bool).default("false"),
            Param::new("clean", Kind::Bool).default("false"),
            Param::new("allow_unauthenticated", Kind::Bool)
                .default("false")
                .aliases(&["allow-unauthenticated"]),
            Param::new("allow_downgrade", Kind::Bool)
                .default("false")
                .aliases(&["allow-downgrade", "allow_downgrades", "allow-downgrades"]),
            Param::new("allow_change_held_packages", Kind::Bool).default("false"),
            Param::new("lock_timeout", Kind::Int).default("60"),
            Param::new("auto_install_module_deps", Kind::Bool).default("true"),
        ],
    )
};

const APT_KEY: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["data", "file", "keyserver", "url"]],
    ..ModuleSpec::new(
        "ansible.builtin.apt_key",
        &[
            Param::new("id", Kind::Str),
            Param::new("url", Kind::Str),
            Param::new("data", Kind::Str),
            Param::new("file", Kind::Path),
            Param::new("keyring", Kind::Path),
            Param::new("validate_certs", Kind::Bool).default("true"),
            Param::new("keyserver", Kind::Str),
            Param::new("state", Kind::Str)
                .default("present")
                .choices(&["absent", "present"]),
        ],
    )
};

const APT_REPOSITORY: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.apt_repository",
    &[
        Param::new("repo", Kind::Str).required(),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("mode", Kind::Raw),
        Param::new("update_cache", Kind::Bool)
            .default("true")
            .aliases(&["update-cache"]),
        Param::new("update_cache_retries", Kind::Int).default("5"),
        Param::new("update_cache_retry_max_delay", Kind::Int).default("12"),
        Param::new("filename", Kind::Str),
        Param::new("install_python_apt", Kind::Bool).default("true"),
        Param::new("validate_certs", Kind::Bool).default("true"),
        Param::new("codename", Kind::Str),
    ],
);

const DEB822_REPOSITORY: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.deb822_repository",
    &[
        Param::new("allow_downgrade_to_insecure", Kind::Bool),
        Param::new("allow_insecure", Kind::Bool),
        Param::new("allow_weak", Kind::Bool),
        Param::new("architectures", Kind::List),
        Param::new("by_hash", Kind::Bool),
        Param::new("check_date", Kind::Bool),
        Param::new("check_valid_until", Kind::Bool),
        Param::new("components", Kind::List),
        Param::new("date_max_future", Kind::Int),
        Param::new("enabled", Kind::Bool),
        Param::new("inrelease_path", Kind::Str),
        Param::new("languages", Kind::List),
        Param::new("name", Kind::Str).required(),
        Param::new("pdiffs", Kind::Bool),
        Param::new("signed_by", Kind::Str),
        Param::new("suites", Kind::List),
        Param::new("targets", Kind::List),
        Param::new("trusted", Kind::Bool),
        Param::new("types", Kind::List)
            .default("deb")
            .choices(&["deb", "deb-src"]),
        Param::new("uris", Kind::List),
        Param::new("mode", Kind::Raw).default("0644"),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["present", "absent"]),
    ],
);

/// `package` hands its arguments to the module of the package manager, here always `apt`.
const PACKAGE: ModuleSpec = ModuleSpec {
    open: true,
    ..ModuleSpec::new(
        "ansible.builtin.package",
        &[
            Param::new("name", Kind::List).aliases(&["package", "pkg"]),
            Param::new("state", Kind::Str),
            Param::new("use", Kind::Str).default("auto"),
        ],
    )
};

const PACKAGE_FACTS: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.package_facts",
    &[
        Param::new("manager", Kind::List).default("auto"),
        Param::new("strategy", Kind::Str)
            .default("first")
            .choices(&["first", "all"]),
    ],
);

const DPKG_DIVERT: ModuleSpec = ModuleSpec::new(
    "community.general.dpkg_divert",
    &[
        Param::new("path", Kind::Path).required(),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("holder", Kind::Str),
        Param::new("divert", Kind::Path),
        Param::new("rename", Kind::Bool).default("false"),
        Param::new("force", Kind::Bool).default("false"),
    ],
);

/// What the module above began as: DebOps' roles name it.
const DEBOPS_DIVERT: ModuleSpec = ModuleSpec::new(
    "debops.debops.dpkg_divert",
    &[
        Param::new("path", Kind::Path).required().aliases(&["name"]),
        Param::new("state", Kind::Str)
            .default("present")
            .choices(&["absent", "present"]),
        Param::new("package", Kind::Str).default("LOCAL"),
        Param::new("divert", Kind::Path),
        Param::new("rename", Kind::Bool).default("true"),
        Param::new("delete", Kind::Bool).default("false"),
        Param::new("force", Kind::Bool).default("false"),
    ],
);

const DPKG_SELECTIONS: ModuleSpec = ModuleSpec::new(
    "ansible.builtin.dpkg_selections",
    &[
        Param::new("name", Kind::Str).required(),
        Param::new("selection", Kind::Str).required().choices(&[
            "install",
            "hold",
            "deinstall",
            "purge",
        ]),
    ],
);

const DEBCONF: ModuleSpec = ModuleSpec {
    required_together: &[&["question", "vtype", "value"]],
    ..ModuleSpec::new(
        "ansible.builtin.debconf",
        &[
            Param::new("name", Kind::Str).required().aliases(&["pkg"]),
            Param::new("question", Kind::Str).aliases(&["selection", "setting"]),
            Param::new("vtype", Kind::Str).choices(&[
                "boolean",
                "error",
                "multiselect",
                "note",
                "password",
                "seen",
                "select",
                "string",
                "text",
                "title",
            ]),
            Param::new("value", Kind::Raw).aliases(&["answer"]),
            Param::new("unseen", Kind::Bool).default("false"),
        ],
    )
};

const PIP: ModuleSpec = ModuleSpec {
    required_one_of: &[&["name", "requirements"]],
    mutually_exclusive: &[&["name", "requirements"], &["executable", "virtualenv"]],
    ..ModuleSpec::new(
        "ansible.builtin.pip",
        &[
            Param::new("state", Kind::Str).default("present").choices(&[
                "present",
                "absent",
                "latest",
                "forcereinstall",
            ]),
            Param::new("name", Kind::List),
            Param::new("version", Kind::Str),
            Param::new("requirements", Kind::Str),
            Param::new("virtualenv", Kind::Path),
            Param::new("virtualenv_site_packages", Kind::Bool).default("false"),
            Param::new("virtualenv_command", Kind::Path).default("virtualenv"),
            Param::new("virtualenv_python", Kind::Str),
            Param::new("extra_args", Kind::Str),
            Param::new("editable", Kind::Bool).default("false"),
            Param::new("chdir", Kind::Path),
            Param::new("executable", Kind::Path),
            Param::new("umask", Kind::Str),
            Param::new("break_system_packages", Kind::Bool).default("false"),
        ],
    )
};
