//! `community.postgresql.postgresql_ext`: extensions of a database.

use std::collections::BTreeSet;

use serde_json::json;

use super::connection::{Connection, PgError};
use super::{connect, given, sql};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(in crate::modules) struct PostgresqlExt;

impl ActionModule for PostgresqlExt {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let names = ["ext", "schema", "version", "session_role", "comment"];
        sql::check_input(args, &names)?;
        let present = args.str("state") != Some("absent");
        let version = given(args, "version");
        let mut extension = Extension {
            connection: connect(args, args.required("login_db")?, context)?,
            name: args.required("ext")?,
            args,
            check: context.check,
            queries: Vec::new(),
        };
        let done = extension.make_so(present, version, context);
        let (changed, before, after) = done.map_err(|error| match error {
            Error::Said(failure) => failure,
            Error::Query(error) => Failure::new(format!(
                "Management of PostgreSQL extension failed: {error}"
            )),
        })?;
        let fields = json!({
            "db": args.str("login_db"),
            "ext": extension.name,
            "prev_version": before,
            "version": after,
            "queries": extension.queries,
        });
        let mut outcome = Outcome::of(changed, fields);
        if version.is_some() && !present {
            let warning = "Parameter version is ignored when state=absent";
            outcome.warnings.push(warning.to_owned());
        }
        Ok(outcome)
    }
}

enum Error {
    Said(Failure),
    Query(PgError),
}

impl From<PgError> for Error {
    fn from(error: PgError) -> Self {
        Self::Query(error)
    }
}

fn said(msg: impl Into<String>) -> Error {
    Error::Said(Failure::new(msg.into()))
}

struct Extension<'a> {
    connection: Connection,
    args: &'a Args,
    name: &'a str,
    check: bool,
    queries: Vec<String>,
}

/// What the server says of versions: the one that is there, the one that its control file has, and all.
struct Versions {
    current: Option<String>,
    default: Option<String>,
    available: BTreeSet<String>,
}

impl Extension<'_> {
    /// Returns whether anything changed, and the versions before and after.
    fn make_so(
        &mut self,
        present: bool,
        version: Option<&str>,
        context: &Context<'_>,
    ) -> Result<(bool, String, String), Error> {
        let found = self.versions()?;
        let real = match version {
            Some(version) if version != "latest" => version.to_owned(),
            _ if found.available.is_empty() => {
                return Err(said(format!("Extension {} is not available", self.name)));
            }
            _ => found.default.clone().ok_or_else(|| {
                said("Passed version 'latest' but no default_version available in extension control file")
            })?,
        };
        let changed = match (present, &found.current) {
            (false, None) => false,
            (false, Some(_)) => self.drop()?,
            (true, Some(current)) => match version {
                Some(version) if *current != real => {
                    self.update(current, version, &real, context)?
                }
                _ => false,
            },
            (true, None) => self.create(version, &real, &found.available)?,
        };
        let changed = match self.args.str("comment").filter(|_| present) {
            Some(comment) => self.comment(comment)? || changed,
            None => changed,
        };
        let after = match (self.check && changed, present) {
            (true, true) => real,
            (true, false) => String::new(),
            (false, _) => self.versions()?.current.unwrap_or_default(),
        };
        Ok((changed, found.current.unwrap_or_default(), after))
    }

    fn literal(&self, value: &str) -> String {
        sql::literal(value, self.connection.backslashes)
    }

    fn versions(&mut self) -> Result<Versions, PgError> {
        let name = self.literal(self.name);
        let mut asked = |query: String| {
            let rows = self.connection.query(&query)?.rows;
            Ok::<_, PgError>(rows.into_iter().flatten().flatten().collect::<Vec<_>>())
        };
        Ok(Versions {
            current: asked(format!(
                "SELECT extversion FROM pg_catalog.pg_extension WHERE extname = {name}"
            ))?
            .pop(),
            default: asked(format!(
                "SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = {name}"
            ))?
            .pop(),
            available: asked(format!(
                "SELECT version FROM pg_catalog.pg_available_extension_versions WHERE name = {name}"
            ))?
            .into_iter()
            .collect(),
        })
    }

    fn execute(&mut self, query: String) -> Result<bool, Error> {
        if !self.check {
            self.connection.query(&query)?;
        }
        self.queries.push(query);
        Ok(true)
    }

    fn drop(&mut self) -> Result<bool, Error> {
        let cascade = if self.args.bool("cascade") {
            " CASCADE"
        } else {
            ""
        };
        self.execute(format!("DROP EXTENSION \"{}\"{cascade}", self.name))
    }

    fn create(
        &mut self,
        version: Option<&str>,
        real: &str,
        available: &BTreeSet<String>,
    ) -> Result<bool, Error> {
        if let Some(version) = version.filter(|_| !available.contains(real)) {
            return Err(said(match version {
                "latest" => format!("Latest version '{real}' is not available"),
                _ => format!("Passed version '{real}' is not available"),
            }));
        }
        let mut query = format!("CREATE EXTENSION \"{}\"", self.name);
        if let Some(schema) = given(self.args, "schema") {
            query += &format!(" WITH SCHEMA \"{schema}\"");
        }
        if let Some(version) = version.filter(|version| *version != "latest") {
            query += &format!(" VERSION {}", self.literal(version));
        }
        if self.args.bool("cascade") {
            query += " CASCADE";
        }
        self.execute(query)
    }

    fn update(
        &mut self,
        current: &str,
        version: &str,
        real: &str,
        context: &Context<'_>,
    ) -> Result<bool, Error> {
        let (name, from, to) = (
            self.literal(self.name),
            self.literal(current),
            self.literal(real),
        );
        let path = self.connection.query(&format!(
            "SELECT path FROM pg_extension_update_paths({name}) WHERE source = {from} AND target = {to}"
        ))?;
        if path.rows.is_empty() {
            return Err(said(match version {
                "latest" => format!(
                    "Latest version '{real}' has no valid update path from the currently installed version '{current}'"
                ),
                _ => format!(
                    "Passed version '{version}' has no valid update path from the currently installed version '{current}' \
                     or the passed version is not available"
                ),
            }));
        }
        if !self.check {
            // Some extensions are updated by the first command of a session alone.
            let database = self.args.str("login_db").unwrap_or_default();
            self.connection = connect(self.args, database, context).map_err(Error::Said)?;
        }
        let mut query = format!("ALTER EXTENSION \"{}\" UPDATE", self.name);
        if version != "latest" {
            query += &format!(" TO {to}");
        }
        self.execute(query)
    }

    fn comment(&mut self, comment: &str) -> Result<bool, Error> {
        let name = self.literal(self.name);
        let query = format!(
            "SELECT pg_catalog.obj_description(e.oid, 'pg_extension') AS comment FROM pg_catalog.pg_extension AS e \
             WHERE e.extname = {name}"
        );
        let current = self.connection.query(&query)?.first();
        let current = current.as_ref().and_then(|row| row.get("comment"));
        if current.unwrap_or_default() == comment {
            return Ok(false);
        }
        let text = self.literal(comment);
        self.execute(format!("COMMENT ON EXTENSION \"{}\" IS {text}", self.name))
    }
}
