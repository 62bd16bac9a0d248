//! `community.mysql`: databases, users and what else a MySQL or MariaDB server keeps.
//!
//! How a server is reached and spoken to is here, in the sequence of Ansible's modules and PyMySQL; what is
//! asked is each module's. A password goes over the socket, or to a program by a file of its own, and is
//! on no command line.

mod auth;
mod connection;
mod db;
mod option_file;
mod packets;
mod programs;
mod query;
mod sql;
mod user;
mod variables;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

pub(super) use db::MysqlDb;
pub(super) use query::MysqlQuery;
pub(super) use user::MysqlUser;
pub(super) use variables::MysqlVariables;

use crate::args::Args;
use crate::environment::variable;
use crate::module::{Context, Failure, Outcome};
use crate::users;
use connection::{Connection, Login, SqlError};
use option_file::OptionFile;

/// Which of a module's ways to a server is meant.
#[derive(Clone, Copy, Default)]
struct Way<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
    database: &'a str,
    /// Whether host and port of the option file win.
    overrides: bool,
}

/// Connects as the administrator that a fresh server has, if that is to be tried first, or as the task says;
/// also returns which it was.
fn connect(args: &Args, way: Way<'_>, context: &Context<'_>) -> Result<(Connection, bool), String> {
    if args.bool("check_implicit_admin") {
        let root = Way {
            user: Some("root"),
            password: Some(""),
            ..way
        };
        if let Ok(connection) = open(args, root, context) {
            return Ok((connection, true));
        }
    }
    let given = Way {
        user: args.str("login_user"),
        password: args.str("login_password"),
        ..way
    };
    open(args, given, context).map(|connection| (connection, false))
}

fn open(args: &Args, way: Way<'_>, context: &Context<'_>) -> Result<Connection, String> {
    let login = login(args, way, context)?;
    Connection::open(&login).map_err(|error| error.to_string())
}

/// Returns who logs in where: what the task says, else the option file, else what PyMySQL takes.
fn login(args: &Args, way: Way<'_>, context: &Context<'_>) -> Result<Login, String> {
    let config = config_file(args);
    let file = match config.filter(|path| path.exists()) {
        Some(path) => OptionFile::read(path)?,
        None => OptionFile::default(),
    };
    if let Some(key) = file.asks_for_tls() {
        return Err(format!(
            "the option file asks for TLS (`{key}`), and servers are spoken to without it here"
        ));
    }
    let given = |given: Option<&str>, key: &str| {
        let given = given.filter(|text| !text.is_empty());
        given.map_or_else(|| file.get(key), |text| Some(text.to_owned()))
    };
    let socket = args
        .str("login_unix_socket")
        .filter(|path| !path.is_empty());
    let mut host = args.str("login_host").filter(|_| socket.is_none());
    let mut port = args.int("login_port").filter(|_| socket.is_none());
    let from_file = (file.get("host"), file.get("port"));
    if way.overrides && socket.is_none() {
        host = from_file.0.as_deref().or(host);
        if let Some(text) = &from_file.1 {
            let number = text.trim().parse();
            port = Some(
                number.map_err(|_| format!("the port of the option file is no number: {text}"))?,
            );
        }
    }
    let port = match port {
        Some(port) if port != 0 => port,
        _ => from_file
            .1
            .and_then(|text| text.parse().ok())
            .unwrap_or(3306),
    };
    Ok(Login {
        user: given(way.user, "user").unwrap_or_else(|| own_name(context)),
        password: given(way.password, "password").unwrap_or_default(),
        host: given(host, "host").unwrap_or_else(|| "localhost".to_owned()),
        port: u16::try_from(port).map_err(|_| format!("{port} is no port"))?,
        socket: given(socket, "socket").map(PathBuf::from),
        database: given(Some(way.database), "database"),
        timeout: timeout(args)?,
    })
}

fn config_file(args: &Args) -> Option<&Path> {
    let path = args.str("config_file").filter(|path| !path.is_empty());
    path.map(Path::new)
}

fn timeout(args: &Args) -> Result<Option<Duration>, String> {
    /// A year.
    const MOST_SECONDS: u64 = 31_536_000;
    let Some(seconds) = args.int("connect_timeout") else {
        return Ok(None);
    };
    match u64::try_from(seconds) {
        Ok(seconds) if (1..=MOST_SECONDS).contains(&seconds) => {
            Ok(Some(Duration::from_secs(seconds)))
        }
        _ => Err(format!("connect_timeout should be >0 and <={MOST_SECONDS}")),
    }
}

/// Returns who runs the task, as Python's `getpass.getuser`.
fn own_name(context: &Context<'_>) -> String {
    let named = ["LOGNAME", "USER", "LNAME", "USERNAME"]
        .iter()
        .filter_map(|name| variable(name, &context.environment))
        .find(|name| !name.is_empty());
    let uid = nix::unistd::geteuid().as_raw();
    named
        .or_else(|| users::user_by_id(uid).map(|user| user.name))
        .unwrap_or_default()
}

/// Returns what a module says that could not log in.
fn not_connected(args: &Args, why: &str) -> Failure {
    let file = args.str("config_file").unwrap_or_default();
    Failure::new(format!(
        "unable to connect to database, check login_user and login_password are correct or {file} has the credentials. \
         Exception message: {why}"
    ))
}

/// Likewise, of modules that say first which option file is missing.
fn unconnected(args: &Args, why: &str) -> Failure {
    match config_file(args) {
        Some(file) if !file.exists() => Failure::new(format!(
            "unable to find {}. Exception message: {why}",
            file.display()
        )),
        _ => not_connected(args, why),
    }
}

/// Returns what ansible-core says of an error that its module does not heed.
fn uncaught(error: SqlError) -> Failure {
    Failure::new(format!("Task failed: Module failed: {error}"))
}

/// Sets the variables of the session that a task names.
fn begin_session(connection: &mut Connection, args: &Args) -> Result<(), Failure> {
    let variables = args.raw("session_vars").and_then(Json::as_object);
    for (name, value) in variables.into_iter().flatten() {
        let name = sql::identifier(name, "vars").map_err(Failure::new)?;
        let first = format!("SET SESSION {name} = ");
        let query = format!("{first}{}", connection.literal(value));
        connection.query(&query).map_err(|error| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            Failure::new(format!("Failed to execute {first}{value}: {error}"))
        })?;
    }
    Ok(())
}

/// Returns what Ansible answers in check mode of a module that has none.
fn skipped(module: &str) -> Outcome {
    let msg = format!("remote module (community.mysql.{module}) does not support check mode");
    Outcome {
        skipped: true,
        ..Outcome::of(false, json!({"msg": msg}))
    }
}

/// What a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    is_mariadb: bool,
    version: Vec<u64>,
}

impl Server {
    fn of(connection: &mut Connection) -> Result<Self, SqlError> {
        let version = connection.value("SELECT VERSION() AS version", &[])?;
        Ok(Self::read(&version.unwrap_or_default()))
    }

    fn read(version: &str) -> Self {
        let number = version
            .split(|c: char| c != '.' && !c.is_ascii_digit())
            .next();
        Self {
            is_mariadb: version.to_lowercase().contains("mariadb"),
            version: number
                .unwrap_or_default()
                .split('.')
                .map_while(|part| part.parse().ok())
                .collect(),
        }
    }

    fn is_at_least(&self, version: &[u64]) -> bool {
        self.version.as_slice() >= version
    }

    /// Returns whether it is MariaDB from the first of the versions on, or MySQL from the second on.
    fn is_since(&self, mariadb: &[u64], mysql: &[u64]) -> bool {
        self.is_at_least(if self.is_mariadb { mariadb } else { mysql })
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::{run, with_args};

    #[test]
    fn a_version_is_the_number_it_begins_with() {
        let debian = Server::read("10.11.14-MariaDB-0+deb12u2");
        assert!(debian.is_mariadb && debian.is_at_least(&[10, 4, 6]));
        assert!(debian.is_since(&[10, 2], &[99]) && !debian.is_at_least(&[10, 12]));
        let oracle = Server::read("8.0.36");
        assert!(!oracle.is_mariadb && oracle.is_since(&[99], &[8]));
    }

    #[test]
    fn the_task_wins_over_the_option_file_and_that_over_what_is_usual() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("my.cnf");
        std::fs::write(
            &file,
            "[client]\nuser = app\npassword = \"a#b\"\nhost=db\nport=3307\n",
        )
        .unwrap();
        let given = json!({"name": "x", "config_file": file, "login_password": "given"});
        with_args("mysql_user", given, |args, context| {
            let way = Way {
                password: args.str("login_password"),
                ..Way::default()
            };
            let login = login(args, way, context).unwrap();
            assert_eq!(
                (login.user.as_str(), login.password.as_str()),
                ("app", "given")
            );
            assert_eq!((login.host.as_str(), login.port), ("localhost", 3306));
            let overrides = Way {
                overrides: true,
                ..Way::default()
            };
            let login = super::login(args, overrides, context).unwrap();
            assert_eq!((login.host.as_str(), login.port), ("db", 3307));
            assert_eq!(login.password, "a#b");
        });
    }

    #[test]
    fn what_cannot_be_reached_is_told_as_by_pymysql() {
        let task = json!({
            "name": "x", "login_unix_socket": "/nowhere/x.sock", "config_file": "/nowhere/my.cnf",
        });
        let failure = run("mysql_user", task).unwrap_err();
        assert_eq!(
            failure.msg,
            "unable to connect to database, check login_user and login_password are correct or /nowhere/my.cnf has the \
             credentials. Exception message: (2003, \"Can't connect to MySQL server on 'localhost' ([Errno 2] No such file \
             or directory)\")"
        );
    }
}
