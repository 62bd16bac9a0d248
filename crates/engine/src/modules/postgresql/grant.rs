//! The statements of `postgresql_privs`, by the kind of object: what grants and revokes, and what shows who has what.

/// What privileges are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    Sequence,
    Function,
    Procedure,
    Database,
    Schema,
    Language,
    Tablespace,
    Group,
    DefaultPrivs,
    ForeignDataWrapper,
    ForeignServer,
    Type,
    Parameter,
}

/// Kinds by their names in a task.
const NAMES: &[(&str, Kind)] = &[
    ("table", Kind::Table),
    ("sequence", Kind::Sequence),
    ("function", Kind::Function),
    ("procedure", Kind::Procedure),
    ("database", Kind::Database),
    ("schema", Kind::Schema),
    ("language", Kind::Language),
    ("tablespace", Kind::Tablespace),
    ("group", Kind::Group),
    ("default_privs", Kind::DefaultPrivs),
    ("foreign_data_wrapper", Kind::ForeignDataWrapper),
    ("foreign_server", Kind::ForeignServer),
    ("type", Kind::Type),
    ("parameter", Kind::Parameter),
];

/// Tables, views and their kin among relations.
const TABLES: &str = "relkind in ('r', 'v', 'm', 'p', 'f')";
const SEQUENCES: &str = "relkind = 'S'";

impl Kind {
    pub(super) fn named(name: &str) -> Option<Self> {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    }

    /// Returns the word of SQL.
    pub(super) fn word(self) -> String {
        let found = NAMES.iter().find(|(_, kind)| *kind == self);
        found.map_or_else(String::new, |(name, _)| name.replace('_', " "))
    }

    /// Whether its objects have a schema before their names.
    pub(super) fn is_in_schema(self) -> bool {
        matches!(
            self,
            Self::Table | Self::Sequence | Self::Function | Self::Procedure | Self::Type
        )
    }

    /// Whether a signature belongs to the name.
    pub(super) fn is_called(self) -> bool {
        matches!(self, Self::Function | Self::Procedure)
    }

    /// Returns how all objects of a schema are called, where that can be said.
    pub(super) fn all_in_schema(self) -> Option<&'static str> {
        Some(match self {
            Self::Table => "ALL TABLES IN SCHEMA",
            Self::Sequence => "ALL SEQUENCES IN SCHEMA",
            Self::Function => "ALL FUNCTIONS IN SCHEMA",
            Self::Procedure => "ALL PROCEDURES IN SCHEMA",
            _ => return None,
        })
    }

    /// Returns the query for the names of all of its objects in a schema.
    pub(super) fn all_query(self, schema: &str, version: u32) -> String {
        if self.is_called() {
            let only = match self {
                Self::Procedure => " AND p.prokind = 'p'",
                _ if version >= 110_000 => " AND p.prokind = 'f'",
                _ => "",
            };
            return format!(
                "SELECT p.proname || '(' || oidvectortypes(p.proargtypes) || ')' FROM pg_catalog.pg_proc p \
                 JOIN pg_namespace n ON n.oid = p.pronamespace WHERE nspname = {schema}{only}"
            );
        }
        let kinds = if self == Self::Sequence {
            SEQUENCES
        } else {
            TABLES
        };
        format!(
            "SELECT relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE nspname = {schema} AND {kinds}"
        )
    }

    /// Returns the query that shows who has what on these objects.
    pub(super) fn state_query(self, schema: Option<&str>, names: &str) -> String {
        let named = |column: &str, table: &str, name: &str| {
            format!("SELECT {column}::text FROM pg_catalog.{table} WHERE {name} = ANY ({names})")
        };
        let within = |column: &str, table: &str, namespace: &str, name: &str| {
            let schema =
                schema.map_or_else(String::new, |schema| format!(" AND nspname = {schema}"));
            format!(
                "SELECT {column}::text FROM pg_catalog.{table} o JOIN pg_catalog.pg_namespace n ON n.oid = o.{namespace} \
                 WHERE {name} = ANY ({names}){schema}"
            )
        };
        match self {
            Self::Table | Self::Sequence => {
                let kinds = if self == Self::Sequence {
                    SEQUENCES
                } else {
                    TABLES
                };
                let query = within("relacl", "pg_class", "relnamespace", "relname");
                format!("{query} AND {kinds}")
            }
            Self::Function | Self::Procedure => {
                within("proacl", "pg_proc", "pronamespace", "proname")
            }
            Self::Type => within("typacl", "pg_type", "typnamespace", "typname"),
            Self::Schema => named("nspacl", "pg_namespace", "nspname"),
            Self::Language => named("lanacl", "pg_language", "lanname"),
            Self::Tablespace => named("spcacl", "pg_tablespace", "spcname"),
            Self::Database => named("datacl", "pg_database", "datname"),
            Self::ForeignDataWrapper => named("fdwacl", "pg_foreign_data_wrapper", "fdwname"),
            Self::ForeignServer => named("srvacl", "pg_foreign_server", "srvname"),
            Self::Parameter => named("paracl", "pg_parameter_acl", "parname"),
            Self::Group => format!(
                "SELECT roleid, grantor, member, admin_option FROM pg_catalog.pg_auth_members am \
                 JOIN pg_catalog.pg_roles r ON r.oid = am.roleid WHERE r.rolname = ANY ({names})"
            ),
            Self::DefaultPrivs => match schema {
                Some(schema) => format!(
                    "SELECT defaclacl::text FROM pg_default_acl a JOIN pg_namespace b ON a.defaclnamespace=b.oid \
                     WHERE b.nspname = {schema}"
                ),
                None => "SELECT defaclacl::text FROM pg_default_acl".to_owned(),
            },
        }
    }
}

/// What is granted or revoked.
pub(super) struct Grant<'a> {
    pub(super) kind: Kind,
    pub(super) present: bool,
    /// Whether it may be handed on; `None` leaves that as it is.
    pub(super) option: Option<bool>,
    /// Roles, or privileges and what they are on.
    pub(super) what: String,
    /// The kinds of objects to come, where it is about those.
    pub(super) objects: &'a [String],
    pub(super) schema: Option<String>,
    pub(super) to: String,
    /// Whose objects to come.
    pub(super) of: Option<String>,
}

impl Grant<'_> {
    /// Returns the statements, as Ansible writes them.
    pub(super) fn query(&self) -> String {
        let Self { what, to, .. } = self;
        match (self.kind, self.present) {
            (Kind::DefaultPrivs, true) => self.defaults(),
            (Kind::DefaultPrivs, false) => {
                let all = ["TABLES", "FUNCTIONS", "SEQUENCES", "TYPES"];
                let all = all.map(|object| self.revoked_default(object));
                all.join("\n")
            }
            (_, true) => self.with_option(format!("GRANT {what} TO {to}")).join("\n"),
            (_, false) => format!("REVOKE {what} FROM {to};"),
        }
    }

    fn defaults(&self) -> String {
        let Self { what, to, .. } = self;
        let revoked = self
            .objects
            .iter()
            .map(|object| self.revoked_default(object));
        let mut lines: Vec<String> = revoked.collect();
        for object in self.objects {
            let begun = self.of_default();
            lines.extend(self.with_option(format!("{begun} GRANT {what} ON {object} TO {to}")));
        }
        lines.join("\n")
    }

    fn of_default(&self) -> String {
        let of = self.of.as_ref();
        let of = of.map_or_else(String::new, |of| format!(" FOR ROLE {of}"));
        let schema = self.schema.as_ref();
        let schema = schema.map_or_else(String::new, |schema| format!(" IN SCHEMA {schema}"));
        format!("ALTER DEFAULT PRIVILEGES{of}{schema}")
    }

    fn revoked_default(&self, object: &str) -> String {
        format!(
            "{} REVOKE ALL ON {object} FROM {};",
            self.of_default(),
            self.to
        )
    }

    /// Says of a grant whether it may be handed on.
    fn with_option(&self, grant: String) -> Vec<String> {
        let Self { what, to, .. } = self;
        let option = match self.kind {
            Kind::Group => "ADMIN",
            _ => "GRANT",
        };
        match self.option {
            Some(true) => vec![format!("{grant} WITH {option} OPTION;")],
            Some(false) if self.kind != Kind::DefaultPrivs => vec![
                format!("{grant};"),
                format!("REVOKE {option} OPTION FOR {what} FROM {to};"),
            ],
            Some(false) | None => vec![format!("{grant};")],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(kind: Kind, objects: &[String]) -> Grant<'_> {
        Grant {
            kind,
            present: true,
            option: None,
            what: "SELECT ON table \"public\".\"t\"".to_owned(),
            objects,
            schema: Some("\"public\"".to_owned()),
            to: "\"r\"".to_owned(),
            of: None,
        }
    }

    #[test]
    fn statements_are_ansibles() {
        let mut table = grant(Kind::Table, &[]);
        assert_eq!(
            table.query(),
            "GRANT SELECT ON table \"public\".\"t\" TO \"r\";"
        );
        table.option = Some(false);
        assert_eq!(
            table.query(),
            "GRANT SELECT ON table \"public\".\"t\" TO \"r\";\nREVOKE GRANT OPTION FOR SELECT ON table \"public\".\"t\" FROM \"r\";"
        );
        table.present = false;
        assert_eq!(
            table.query(),
            "REVOKE SELECT ON table \"public\".\"t\" FROM \"r\";"
        );
        let objects = ["TABLES".to_owned()];
        let defaults = Grant {
            what: "SELECT".to_owned(),
            of: Some("\"o\"".to_owned()),
            option: Some(true),
            ..grant(Kind::DefaultPrivs, &objects)
        };
        let begun = "ALTER DEFAULT PRIVILEGES FOR ROLE \"o\" IN SCHEMA \"public\"";
        assert_eq!(
            defaults.query(),
            format!(
                "{begun} REVOKE ALL ON TABLES FROM \"r\";\n{begun} GRANT SELECT ON TABLES TO \"r\" WITH GRANT OPTION;"
            )
        );
        let group = Grant {
            what: "\"g\"".to_owned(),
            option: Some(true),
            ..grant(Kind::Group, &[])
        };
        assert_eq!(group.query(), "GRANT \"g\" TO \"r\" WITH ADMIN OPTION;");
    }
}
