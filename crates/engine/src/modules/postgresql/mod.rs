//! `community.postgresql`: roles, databases, extensions and privileges of a PostgreSQL server.
//!
//! How a server is reached is here, as libpq does it for psycopg2; what is asked is each module's.

mod connection;
mod db;
mod ext;
mod grant;
mod privs;
mod programs;
mod scram;
mod sql;
mod user;

use std::time::Duration;

use serde_json::Value as Json;

pub(super) use db::PostgresqlDb;
pub(super) use ext::PostgresqlExt;
pub(super) use privs::PostgresqlPrivs;
pub(super) use user::PostgresqlUser;

use crate::args::Args;
use crate::environment::variable;
use crate::module::{Context, Failure};
use connection::{Connection, Login, PgError};

/// Where Debian's servers have their sockets.
const SOCKETS: &str = "/var/run/postgresql";

/// Connects as the task says; `database` is what it names, if anything.
fn connect(args: &Args, database: &str, context: &Context<'_>) -> Result<Connection, Failure> {
    let unable = |why: String| Failure::new(format!("unable to connect to database: {why}"));
    let login = login(args, database, context).map_err(unable)?;
    let mut connection = Connection::open(&login).map_err(unable)?;
    if let Some(role) = given(args, "session_role") {
        connection
            .query(&format!("SET ROLE \"{role}\""))
            .map_err(|error| Failure::new(format!("Could not switch role: {error}")))?;
    }
    Ok(connection)
}

/// Returns a parameter that is not empty.
fn given<'a>(args: &'a Args, name: &str) -> Option<&'a str> {
    args.str(name).filter(|text| !text.is_empty())
}

/// Returns what ansible-core says of an error that its module does not heed.
fn uncaught(error: &PgError) -> Failure {
    let told = error.to_string();
    Failure::new(format!("Task failed: Module failed: {}", told.trim_end()))
}

fn login(args: &Args, database: &str, context: &Context<'_>) -> Result<Login, String> {
    let environment = |name: &str| variable(name, &context.environment).filter(|v| !v.is_empty());
    let mut login = Login {
        host: host(args)
            .or_else(|| environment("PGHOST"))
            .unwrap_or_else(|| SOCKETS.to_owned()),
        port: port(args, context)?,
        user: user(args, context),
        password: given(args, "login_password").map(str::to_owned),
        database: database.to_owned(),
        options: environment("PGOPTIONS"),
        timeout: None,
    };
    let more = args.raw("connect_params").and_then(Json::as_object);
    for (name, value) in more.into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let number = || {
            text.parse().map_err(|_| {
                format!("invalid integer value \"{text}\" for connection option \"{name}\"")
            })
        };
        match name.as_str() {
            "host" => login.host = text,
            "port" => login.port = number()?,
            "user" => login.user = text,
            "password" => login.password = Some(text),
            "dbname" => login.database = text,
            "options" => login.options = Some(text),
            "connect_timeout" => {
                login.timeout = Some(u64::from(number()?))
                    .filter(|s| *s > 0)
                    .map(Duration::from_secs);
            }
            other => return Err(format!("connect_params: `{other}` cannot be set here")),
        }
    }
    login.password = login.password.or_else(|| environment("PGPASSWORD"));
    if login.database.is_empty() {
        login.database = environment("PGDATABASE").unwrap_or_else(|| login.user.clone());
    }
    Ok(login)
}

/// Returns the host, or the folder of a socket, that the task names: a socket is meant where the host is this machine.
fn host(args: &Args) -> Option<String> {
    let host = given(args, "login_host");
    let socket = given(args, "login_unix_socket");
    let here = host.is_none_or(|host| host == "localhost");
    socket.filter(|_| here).or(host).map(str::to_owned)
}

fn port(args: &Args, context: &Context<'_>) -> Result<u16, String> {
    let port = match args.int("login_port") {
        Some(port) => port,
        None => match variable("PGPORT", &context.environment) {
            Some(text) => text
                .parse()
                .map_err(|_| format!("PGPORT is no number: {text}"))?,
            None => 5432,
        },
    };
    u16::try_from(port).map_err(|_| format!("invalid port number: \"{port}\"\n"))
}

fn user(args: &Args, context: &Context<'_>) -> String {
    let known = given(args, "login_user").map(str::to_owned);
    known
        .or_else(|| variable("PGUSER", &context.environment).filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "postgres".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::tests::{run, with_args};

    #[test]
    fn a_socket_is_meant_where_the_host_is_this_machine() {
        for (given, expected) in [
            (json!({}), SOCKETS),
            (
                json!({"login_host": "localhost", "login_unix_socket": "/s"}),
                "/s",
            ),
            (json!({"login_host": "db", "login_unix_socket": "/s"}), "db"),
            (json!({"login_host": "localhost"}), "localhost"),
            (json!({"connect_params": {"host": "/other"}}), "/other"),
        ] {
            let mut task = given.clone();
            task["name"] = "x".into();
            with_args("postgresql_user", task, |args, context| {
                let login = login(args, "", context).unwrap();
                assert_eq!(login.host, expected, "{given}");
                assert_eq!((login.user.as_str(), login.port), ("postgres", 5432));
                assert_eq!(login.database, "postgres");
            });
        }
    }

    #[test]
    fn what_cannot_be_reached_is_told_as_by_libpq() {
        let task = json!({"name": "x", "login_unix_socket": "/nowhere"});
        assert_eq!(
            run("postgresql_user", task).unwrap_err().msg,
            "unable to connect to database: connection to server on socket \"/nowhere/.s.PGSQL.5432\" failed: No such file or \
             directory\n\tIs the server running locally and accepting connections on that socket?\n"
        );
    }
}
