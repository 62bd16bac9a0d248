//! `community.postgresql.postgresql_db`: databases, and dumps of them.

use serde_json::{Value as Json, json};

use super::connection::{Connection, PgError, Record};
use super::programs::Program;
use super::{connect, given, sql};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(in crate::modules) struct PostgresqlDb;

const RENAME: &str = "The rename choice of the state option is deprecated and will be removed in version 5.0.0. Use the \
     community.postgresql.postgresql_query module instead.";

impl ActionModule for PostgresqlDb {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let state = args.required("state")?;
        if state == "rename" {
            refuse_rename(args)?;
        }
        let names = [
            "owner",
            "conn_limit",
            "encoding",
            "db",
            "template",
            "tablespace",
            "session_role",
            "comment",
        ];
        sql::check_input(args, &names)?;
        let mut outcome = match state {
            // As in Ansible nothing is asked of the server, and nothing would change.
            "dump" | "restore" if context.check => Outcome::of(
                false,
                json!({"db": args.required("db")?, "executed_commands": []}),
            ),
            "dump" => Program { args }.dump(context)?,
            "restore" => Program { args }.restore(context)?,
            _ => by_queries(args, state, context)?,
        };
        if state == "rename" {
            outcome.warnings.push(RENAME.to_owned());
        }
        Ok(outcome)
    }
}

fn refuse_rename(args: &Args) -> Result<(), Failure> {
    let (db, target) = (args.str("db"), given(args, "target"));
    let msg = if target.is_none() {
        "The \"target\" option must be defined when the \"rename\" option is used."
    } else if db == target {
        "The \"name/db\" option and the \"target\" option cannot be the same."
    } else if args.str("maintenance_db") == db {
        "The \"maintenance_db\" option and the \"name/db\" option cannot be the same."
    } else {
        return Ok(());
    };
    Err(Failure::new(msg).with("warnings", [RENAME].map(Json::from).to_vec()))
}

fn by_queries(args: &Args, state: &str, context: &Context<'_>) -> Result<Outcome, Failure> {
    let maintenance = args.str("maintenance_db").unwrap_or_default();
    let mut database = Database {
        connection: connect(args, maintenance, context)?,
        name: args.required("db")?,
        args,
        executed: Vec::new(),
    };
    let check = context.check;
    let changed = match state {
        "absent" => database.delete(check),
        "rename" => database.rename(given(args, "target").unwrap_or_default(), check),
        _ => database.make(check),
    };
    let changed = changed.map_err(|error| match error {
        Error::Said(msg) => Failure::new(msg),
        Error::Query(error) => Failure::new(format!("Database query failed: {error}")),
    })?;
    let fields = json!({"db": database.name, "executed_commands": database.executed});
    Ok(Outcome::of(changed, fields))
}

/// Why a database is not as it is wanted.
enum Error {
    Said(String),
    Query(PgError),
}

impl From<PgError> for Error {
    fn from(error: PgError) -> Self {
        Self::Query(error)
    }
}

struct Database<'a> {
    connection: Connection,
    args: &'a Args,
    name: &'a str,
    executed: Vec<String>,
}

/// What cannot be changed of a database: the parameter, how it is called, and what stands before the value it has.
const FIXED: &[(&str, &str, &str)] = &[
    ("lc_collate", "LC_COLLATE", " Current LC_COLLATE"),
    ("lc_ctype", "LC_CTYPE", "Current LC_CTYPE"),
    ("icu_locale", "ICU_LOCALE", "Current ICU_LOCALE"),
    (
        "locale_provider",
        "LOCALE_PROVIDER",
        "Current LOCALE_PROVIDER",
    ),
];

impl<'a> Database<'a> {
    fn literal(&self, value: &str) -> String {
        sql::literal(value, self.connection.backslashes)
    }

    fn given(&self, name: &str) -> Option<&'a str> {
        given(self.args, name)
    }

    fn exists(&mut self, name: &str) -> Result<bool, PgError> {
        let query = format!(
            "SELECT * FROM pg_database WHERE datname={}",
            self.literal(name)
        );
        Ok(self.connection.query(&query)?.rows.len() == 1)
    }

    fn execute(&mut self, query: String) -> Result<(), PgError> {
        self.executed.push(query.clone());
        self.connection.query(&query).map(drop)
    }

    fn delete(&mut self, check: bool) -> Result<bool, Error> {
        let there = self.exists(self.name)?;
        if !there || check {
            return Ok(there);
        }
        let mut query = format!("DROP DATABASE \"{}\"", self.name);
        if self.args.bool("force") {
            match self.connection.version >= 130_000 {
                true => query += " WITH (FORCE)",
                false => self.drop_connections()?,
            }
        }
        self.execute(query)?;
        Ok(true)
    }

    fn drop_connections(&mut self) -> Result<(), PgError> {
        let name = self.literal(self.name);
        let pid = if self.connection.version >= 90_200 {
            "pid"
        } else {
            "procpid"
        };
        let block = format!("UPDATE pg_database SET datallowconn = false WHERE datname={name}");
        let end = format!(
            "SELECT pg_terminate_backend(pg_stat_activity.{pid}) FROM pg_stat_activity WHERE \
             pg_stat_activity.datname={name} AND {pid} <> pg_backend_pid()"
        );
        self.connection.query(&format!("{block}; {end}")).map(drop)
    }

    fn rename(&mut self, target: &str, check: bool) -> Result<bool, Error> {
        match (self.exists(self.name)?, self.exists(target)?) {
            (true, true) => Err(Error::Said(
                "Both the source and the target databases exist.".to_owned(),
            )),
            (false, true) => Ok(false),
            (false, false) => Err(Error::Said(
                "The source and the target databases do not exist.".to_owned(),
            )),
            (true, false) => {
                if !check {
                    self.execute(format!(
                        "ALTER DATABASE \"{}\" RENAME TO \"{target}\"",
                        self.name
                    ))?;
                }
                Ok(true)
            }
        }
    }

    fn make(&mut self, check: bool) -> Result<bool, Error> {
        if !self.exists(self.name)? {
            if !check {
                self.create()?;
            }
            return Ok(true);
        }
        let Some(current) = self.info()? else {
            return Ok(true);
        };
        if check {
            let fixed = self.fixed_differs(&current)?.is_some();
            return Ok(fixed || !self.changes(&current).is_empty());
        }
        if let Some(why) = self.fixed_differs(&current)? {
            return Err(Error::Said(why));
        }
        let changes = self.changes(&current);
        let changed = !changes.is_empty();
        for query in changes {
            self.execute(query)?;
        }
        Ok(changed)
    }

    fn create(&mut self) -> Result<(), PgError> {
        let mut query = format!("CREATE DATABASE \"{}\"", self.name);
        let with_icu = self.connection.version >= 150_000;
        for (name, clause, is_literal) in [
            ("owner", "OWNER", false),
            ("template", "TEMPLATE", false),
            ("encoding", "ENCODING", true),
            ("lc_collate", "LC_COLLATE", true),
            ("lc_ctype", "LC_CTYPE", true),
            ("icu_locale", "ICU_LOCALE", true),
            ("locale_provider", "LOCALE_PROVIDER", true),
            ("tablespace", "TABLESPACE", false),
        ] {
            let icu = matches!(name, "icu_locale" | "locale_provider");
            let Some(value) = self.given(name).filter(|_| with_icu || !icu) else {
                continue;
            };
            query += &match is_literal {
                true => format!(" {clause} {}", self.literal(value)),
                false => format!(" {clause} \"{value}\""),
            };
        }
        if let Some(limit) = self.given("conn_limit") {
            query += &format!(" CONNECTION LIMIT {limit}");
        }
        self.execute(query)?;
        if let Some(comment) = self.given("comment") {
            let query = self.commented(comment);
            self.execute(query)?;
        }
        Ok(())
    }

    fn commented(&self, comment: &str) -> String {
        format!(
            "COMMENT ON DATABASE \"{}\" IS {}",
            self.name,
            self.literal(comment)
        )
    }

    fn info(&mut self) -> Result<Option<Record>, PgError> {
        let (locale, provider) = match self.connection.version {
            170_000.. => (
                "datlocale",
                "CASE datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END",
            ),
            150_000.. => (
                "daticulocale",
                "CASE datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END",
            ),
            _ => ("null::char", "null::text"),
        };
        let query = format!(
            "SELECT rolname AS owner, pg_encoding_to_char(encoding) AS encoding, encoding AS encoding_id, \
             datcollate AS lc_collate, datctype AS lc_ctype, {locale} AS icu_locale, {provider} AS locale_provider, \
             pg_database.datconnlimit AS conn_limit, spcname AS tablespace, \
             pg_catalog.shobj_description(pg_database.oid, 'pg_database') AS comment \
             FROM pg_database JOIN pg_roles ON pg_roles.oid = pg_database.datdba \
             JOIN pg_tablespace ON pg_tablespace.oid = pg_database.dattablespace WHERE datname = {}",
            self.literal(self.name)
        );
        Ok(self.connection.query(&query)?.first())
    }

    /// Returns what is said of the first thing that is another and cannot be changed.
    fn fixed_differs(&mut self, current: &Record) -> Result<Option<String>, PgError> {
        if let Some(encoding) = self.given("encoding") {
            let query = format!(
                "SELECT pg_char_to_encoding({}) AS encoding_id;",
                self.literal(encoding)
            );
            let wanted = self.connection.query(&query)?.first();
            let wanted = wanted.as_ref().and_then(|row| row.get("encoding_id"));
            if wanted != current.get("encoding_id") {
                let held = current.get("encoding").unwrap_or("None");
                return Ok(Some(format!(
                    "Changing database encoding is not supported. Current encoding: {held}"
                )));
            }
        }
        for (name, called, before) in FIXED {
            if self
                .given(name)
                .is_some_and(|wanted| current.get(name) != Some(wanted))
            {
                let held = current.get(name).unwrap_or("None");
                return Ok(Some(format!(
                    "Changing {called} is not supported.{before}: {held}"
                )));
            }
        }
        Ok(None)
    }

    /// Returns what makes a database that is there what is wanted.
    fn changes(&self, current: &Record) -> Vec<String> {
        let differs = |name: &str| {
            let wanted = self.given(name);
            wanted.filter(|wanted| current.get(name) != Some(wanted))
        };
        let alter = format!("ALTER DATABASE \"{}\"", self.name);
        let owner = differs("owner").map(|owner| format!("{alter} OWNER TO \"{owner}\""));
        let limit = differs("conn_limit").map(|limit| format!("{alter} CONNECTION LIMIT {limit}"));
        let space =
            differs("tablespace").map(|space| format!("{alter} SET TABLESPACE \"{space}\""));
        let comment = self.args.str("comment");
        let held = current.get("comment").unwrap_or_default();
        let comment = comment.filter(|comment| *comment != held);
        let comment = comment.map(|comment| self.commented(comment));
        [owner, limit, space, comment]
            .into_iter()
            .flatten()
            .collect()
    }
}
