//! Modules about database servers.

use super::Kind::{Bool, Dict, Int, List, Path, Raw, RawList, Str};
use super::{ModuleSpec, Param};

/// The parameters of the module plus those by which a server of MySQL or MariaDB is reached.
macro_rules! and_login {
    ($($param:expr),+ $(,)?) => {
        &[
            $($param,)+
            Param::new("login_user", Str),
            Param::new("login_password", Str).no_log(),
            Param::new("login_host", Str).default("localhost"),
            Param::new("login_port", Int).default("3306"),
            Param::new("login_unix_socket", Str),
            Param::new("config_file", Path).default("~/.my.cnf"),
            Param::new("connect_timeout", Int).default("30"),
            Param::new("client_cert", Path).aliases(&["ssl_cert"]),
            Param::new("client_key", Path).aliases(&["ssl_key"]),
            Param::new("ca_cert", Path).aliases(&["ssl_ca"]),
            Param::new("check_hostname", Bool),
        ]
    };
}

/// The parameters of the module plus those by which a server of PostgreSQL is reached. `login_user` and
/// `login_port` are what the environment says where they are not given.
macro_rules! and_postgresql_login {
    ($($param:expr),+ $(,)?) => {
        &[
            $($param,)+
            Param::new("login_user", Str).aliases(&["login"]),
            Param::new("login_password", Str).default("").no_log(),
            Param::new("login_host", Str).default("").aliases(&["host"]),
            Param::new("login_unix_socket", Str).default("").aliases(&["unix_socket"]),
            Param::new("login_port", Int).aliases(&["port"]),
            Param::new("ssl_mode", Str)
                .default("prefer")
                .choices(&["allow", "disable", "prefer", "require", "verify-ca", "verify-full"]),
            Param::new("ca_cert", Str).aliases(&["ssl_rootcert"]),
            Param::new("ssl_cert", Path),
            Param::new("ssl_key", Path),
            Param::new("connect_params", Dict),
        ]
    };
}

const fn off(name: &'static str) -> Param {
    Param::new(name, Bool).default("false")
}

const fn on(name: &'static str) -> Param {
    Param::new(name, Bool).default("true")
}

pub(super) const MODULES: &[ModuleSpec] = &[
    MYSQL_DB,
    MYSQL_QUERY,
    MYSQL_USER,
    MYSQL_VARIABLES,
    POSTGRESQL_DB,
    POSTGRESQL_EXT,
    POSTGRESQL_PRIVS,
    POSTGRESQL_USER,
];

const MYSQL_DB: ModuleSpec = ModuleSpec::new(
    "community.mysql.mysql_db",
    and_login![
        Param::new("name", List).required().aliases(&["db"]),
        Param::new("encoding", Str).default(""),
        Param::new("collation", Str).default(""),
        Param::new("target", Path),
        Param::new("state", Str)
            .default("present")
            .choices(&["absent", "dump", "import", "present"]),
        off("single_transaction"),
        on("quick"),
        Param::new("ignore_tables", List),
        off("hex_blob"),
        off("force"),
        Param::new("master_data", Int)
            .default("0")
            .choices(&["0", "1", "2"]),
        off("skip_lock_tables"),
        Param::new("dump_extra_args", Str),
        off("use_shell"),
        off("unsafe_login_password"),
        off("restrict_config_file"),
        off("check_implicit_admin"),
        off("config_overrides_defaults"),
        Param::new("chdir", Path),
        off("pipefail"),
        on("sql_log_bin"),
    ],
);

const MYSQL_QUERY: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["positional_args", "named_args"]],
    ..ModuleSpec::new(
        "community.mysql.mysql_query",
        and_login![
            Param::new("query", Raw).required(),
            Param::new("login_db", Str),
            Param::new("positional_args", RawList),
            Param::new("named_args", Dict),
            off("single_transaction"),
            Param::new("session_vars", Dict),
        ],
    )
};

const MYSQL_VARIABLES: ModuleSpec = ModuleSpec::new(
    "community.mysql.mysql_variables",
    and_login![
        Param::new("variable", Str).required(),
        Param::new("value", Str),
        Param::new("mode", Str)
            .default("global")
            .choices(&["global", "persist", "persist_only"]),
    ],
);

const MYSQL_USER: ModuleSpec = ModuleSpec {
    mutually_exclusive: &[&["append_privs", "subtract_privs"]],
    ..ModuleSpec::new(
        "community.mysql.mysql_user",
        and_login![
            Param::new("name", Str).required().aliases(&["user"]),
            Param::new("password", Str).no_log(),
            off("encrypted"),
            Param::new("host", Str).default("localhost"),
            off("host_all"),
            Param::new("state", Str)
                .default("present")
                .choices(&["absent", "present"]),
            Param::new("priv", Raw),
            Param::new("tls_requires", Dict),
            off("append_privs"),
            off("subtract_privs"),
            Param::new("attributes", Dict),
            off("check_implicit_admin"),
            Param::new("update_password", Str)
                .default("always")
                .choices(&["always", "on_create", "on_new_username"]),
            on("sql_log_bin"),
            Param::new("plugin", Str),
            Param::new("plugin_hash_string", Str).no_log(),
            Param::new("plugin_auth_string", Str).no_log(),
            Param::new("salt", Str),
            Param::new("resource_limits", Dict),
            off("force_context"),
            Param::new("session_vars", Dict),
            Param::new("column_case_sensitive", Bool),
            // Ansible's spec calls these two secrets, which hides every "now" in a result.
            Param::new("password_expire", Str).choices(&["now", "never", "default", "interval"]),
            Param::new("password_expire_interval", Int),
            Param::new("locked", Bool),
        ],
    )
};

const POSTGRESQL_DB: ModuleSpec = ModuleSpec {
    aliases: &["community.general.postgresql_db"],
    ..ModuleSpec::new(
        "community.postgresql.postgresql_db",
        and_postgresql_login![
            Param::new("db", Str).required().aliases(&["name"]),
            Param::new("owner", Str).default(""),
            Param::new("template", Str).default(""),
            Param::new("encoding", Str).default(""),
            Param::new("lc_collate", Str).default(""),
            Param::new("lc_ctype", Str).default(""),
            Param::new("icu_locale", Str).default(""),
            Param::new("locale_provider", Str).default(""),
            Param::new("state", Str)
                .default("present")
                .choices(&["absent", "dump", "present", "rename", "restore"]),
            Param::new("target", Path).default(""),
            Param::new("target_opts", Str).default(""),
            Param::new("maintenance_db", Str).default("postgres"),
            Param::new("session_role", Str),
            Param::new("conn_limit", Str).default(""),
            Param::new("tablespace", Path).default(""),
            Param::new("dump_extra_args", Str),
            on("trust_input"),
            off("force"),
            Param::new("comment", Str),
        ],
    )
};

const POSTGRESQL_EXT: ModuleSpec = ModuleSpec {
    aliases: &["community.general.postgresql_ext"],
    ..ModuleSpec::new(
        "community.postgresql.postgresql_ext",
        and_postgresql_login![
            Param::new("login_db", Str).required().aliases(&["db"]),
            Param::new("ext", Str).required().aliases(&["name"]),
            Param::new("schema", Str),
            Param::new("state", Str)
                .default("present")
                .choices(&["absent", "present"]),
            off("cascade"),
            Param::new("session_role", Str),
            Param::new("version", Str),
            on("trust_input"),
            Param::new("comment", Str),
        ],
    )
};

const POSTGRESQL_PRIVS: ModuleSpec = ModuleSpec {
    aliases: &["community.general.postgresql_privs"],
    ..ModuleSpec::new(
        "community.postgresql.postgresql_privs",
        and_postgresql_login![
            Param::new("login_db", Str)
                .required()
                .aliases(&["db", "database"]),
            Param::new("state", Str)
                .default("present")
                .choices(&["absent", "present"]),
            Param::new("privs", Str).aliases(&["priv"]),
            Param::new("type", Str).default("table").choices(&[
                "table",
                "sequence",
                "function",
                "procedure",
                "database",
                "schema",
                "language",
                "tablespace",
                "group",
                "default_privs",
                "foreign_data_wrapper",
                "foreign_server",
                "type",
                "parameter",
            ]),
            Param::new("objs", Str).aliases(&["obj"]),
            Param::new("schema", Str),
            Param::new("roles", Str).required().aliases(&["role"]),
            Param::new("session_role", Str),
            Param::new("target_roles", Str),
            Param::new("grant_option", Bool).aliases(&["admin_option"]),
            on("fail_on_role"),
            on("trust_input"),
        ],
    )
};

const POSTGRESQL_USER: ModuleSpec = ModuleSpec {
    aliases: &["community.general.postgresql_user"],
    ..ModuleSpec::new(
        "community.postgresql.postgresql_user",
        and_postgresql_login![
            Param::new("user", Str).required().aliases(&["name"]),
            Param::new("password", Str).no_log(),
            Param::new("state", Str)
                .default("present")
                .choices(&["absent", "present"]),
            Param::new("login_db", Str).default("").aliases(&["db"]),
            on("fail_on_user").aliases(&["fail_on_role"]),
            Param::new("role_attr_flags", Str).default(""),
            on("encrypted"),
            off("no_password_changes"),
            Param::new("expires", Str),
            Param::new("conn_limit", Int),
            Param::new("session_role", Str),
            Param::new("comment", Str),
            on("trust_input"),
            Param::new("configuration", Dict),
            off("reset_unspecified_configuration"),
            on("quote_configuration_values"),
        ],
    )
};
