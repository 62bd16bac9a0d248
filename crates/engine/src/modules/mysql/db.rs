//! `community.mysql.mysql_db`: databases, and dumps of them.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::connection::{Connection, SqlError, quoted};
use super::programs::Program;
use super::{Server, Way, connect, sql, uncaught, unconnected};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(in crate::modules) struct MysqlDb;

impl ActionModule for MysqlDb {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let names = args.list("name").into_iter().map(str::trim);
        let names: Vec<String> = names.map(str::to_owned).collect();
        if names.is_empty() {
            return Ok(Outcome::of(false, json!({"db": [], "db_list": []})));
        }
        let state = args.required("state")?;
        refuse_misuse(args, &names, state)?;
        let way = Way {
            overrides: args.bool("config_overrides_defaults"),
            ..Way::default()
        };
        let connected = connect(args, way, context);
        let (mut connection, as_root) = connected.map_err(|why| unconnected(args, &why))?;
        if matches!(state, "absent" | "present") && args.opt_bool("sql_log_bin") == Some(false) {
            connection.query("SET SQL_LOG_BIN=0;").map_err(uncaught)?;
        }
        let server = Server::of(&mut connection).map_err(uncaught)?;
        let all = matches!(state, "dump" | "import") && names == ["all"];
        let mut databases = Databases {
            connection,
            args,
            present: Vec::new(),
            missing: Vec::new(),
            executed: Vec::new(),
            names,
        };
        if !all {
            databases.look().map_err(uncaught)?;
        }
        match state {
            "absent" => databases.delete(context),
            "present" => databases.create(context),
            _ => databases.by_program(server, (all, as_root), state == "dump", context),
        }
    }
}

fn refuse_misuse(args: &Args, names: &[String], state: &str) -> Result<(), Failure> {
    let port = args.int("login_port").unwrap_or_default();
    let moves = matches!(state, "dump" | "import");
    let folder = args
        .str("chdir")
        .filter(|folder| !Path::new(folder).is_dir());
    let msg = if let Some(folder) = folder {
        let why = format!("[Errno 2] No such file or directory: {}", quoted(folder));
        format!("Cannot change the current directory to {folder}: {why}")
    } else if !(0..=65535).contains(&port) {
        "login_port must be a valid unix port number (0-65535)".to_owned()
    } else if args.list("ignore_tables").contains(&"") {
        "Name of ignored table cannot be empty".to_owned()
    } else if names.len() > 1 && state == "import" {
        "Multiple databases are not supported with state=import".to_owned()
    } else if moves && args.str("target").is_none() {
        format!("with state={state} target is required")
    } else if !moves && names == ["all"] {
        "name is not allowed to equal 'all' unless state equals import, or dump.".to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::new(msg))
}

struct Databases<'a> {
    connection: Connection,
    args: &'a Args,
    names: Vec<String>,
    present: Vec<String>,
    missing: Vec<String>,
    executed: Vec<String>,
}

impl Databases<'_> {
    fn look(&mut self) -> Result<(), SqlError> {
        const LOOK: &str =
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s";
        for name in &self.names {
            let found = self.connection.execute(LOOK, &[name])?;
            match found.rows.len() {
                1 => self.present.push(name.clone()),
                _ => self.missing.push(name.clone()),
            }
        }
        Ok(())
    }

    fn delete(&mut self, context: &Context<'_>) -> Result<Outcome, Failure> {
        let changed = !self.present.is_empty();
        if context.check {
            return Ok(self.foreseen(changed));
        }
        for name in self.present.clone() {
            let failed = |why: String| Failure::new(format!("error deleting database: {why}"));
            let name = sql::identifier(&name, "database").map_err(failed)?;
            let query = format!("DROP DATABASE {name}");
            self.executed.push(query.clone());
            let dropped = self.connection.execute(&query, &[]);
            dropped.map_err(|error| failed(error.to_string()))?;
        }
        Ok(self.outcome(changed))
    }

    fn create(&mut self, context: &Context<'_>) -> Result<Outcome, Failure> {
        if context.check {
            return Ok(self.foreseen(!self.missing.is_empty()));
        }
        let made = self.make()?;
        Ok(self.outcome(made > 0))
    }

    fn make(&mut self) -> Result<u64, Failure> {
        let given = |name: &str| self.args.str(name).filter(|text| !text.is_empty());
        let failed = |why: String| Failure::new(format!("error creating database: {why}"));
        let mut made = 0;
        for name in self.missing.clone() {
            let name = sql::identifier(&name, "database").map_err(failed)?;
            let mut query = format!("CREATE DATABASE {}", name.replace('%', "%%"));
            let mut values = Vec::new();
            for (clause, value) in [
                ("CHARACTER SET", given("encoding")),
                ("COLLATE", given("collation")),
            ] {
                if let Some(value) = value {
                    query += &format!(" {clause} %s");
                    values.push(value);
                }
            }
            let query = match values.is_empty() {
                true => query.replace("%%", "%"),
                false => self.connection.bound(&query, &values),
            };
            let done = self.connection.query(&query);
            made += done.map_err(|error| failed(error.to_string()))?.affected;
            self.executed.push(query);
        }
        Ok(made)
    }

    /// Dumps databases to a file, or reads them from one.
    fn by_program(
        &mut self,
        server: Server,
        (all, as_root): (bool, bool),
        dump: bool,
        context: &mut Context<'_>,
    ) -> Result<Outcome, Failure> {
        if dump && !self.missing.is_empty() {
            return Err(Failure::new(format!(
                "Cannot dump database(s) {} - not found",
                quoted(&self.missing.join(", "))
            )));
        }
        if context.check {
            return Ok(self.foreseen(true));
        }
        if !dump && !self.missing.is_empty() {
            self.make()?;
        }
        let program = Program {
            args: self.args,
            server,
            names: &self.names,
            all,
            as_root,
        };
        let ran = match dump {
            true => program.dump(&mut self.executed, context)?,
            false => program.import(&mut self.executed, context)?,
        };
        if ran.rc != 0 {
            return Err(Failure::new(ran.stderr));
        }
        let mut outcome = self.outcome(true);
        outcome.result.insert("msg".to_owned(), ran.stdout.into());
        Ok(outcome)
    }

    /// Returns what check mode answers.
    fn foreseen(&self, changed: bool) -> Outcome {
        let db = self.names.join(" ");
        Outcome::of(changed, json!({"db": db, "db_list": self.names}))
    }

    fn outcome(&self, changed: bool) -> Outcome {
        let mut outcome = self.foreseen(changed);
        let executed = Json::from(self.executed.clone());
        outcome
            .result
            .insert("executed_commands".to_owned(), executed);
        outcome
    }
}
