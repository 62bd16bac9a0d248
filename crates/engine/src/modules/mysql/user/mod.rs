//! `community.mysql.mysql_user`: accounts, their passwords, privileges, limits and what TLS they need.
//!
//! The sequence is that of Ansible's module; what each part of an account needs stands in a file of its own.

mod account;
mod hash;
mod limits;
mod password;
mod privileges;
mod requirements;

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::connection::{Connection, SqlError};
use super::{Server, Way, begin_session, connect, not_connected, uncaught};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use password::{Expiry, Given};
use privileges::Privileges;
use requirements::Requirements;

pub(in crate::modules) struct MysqlUser;

const UNDECIDED_CASE: &str = "Option column_case_sensitive is not provided. The default is now false, so the column's name \
     will be uppercased. The default will be changed to true in community.mysql 4.0.0.";

/// What a task wants of an account.
struct Want<'a> {
    user: &'a str,
    host: String,
    all_hosts: bool,
    password: Given<'a>,
    expiry: Option<Expiry>,
    privileges: Option<Privileges>,
    how: How,
    attributes: Option<&'a Map<String, Json>>,
    requirements: Option<Requirements>,
    locked: Option<bool>,
    check: bool,
}

/// What becomes of the privileges that an account has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Replace,
    Append,
    Subtract,
}

/// What was done to an account.
#[derive(Debug, Default)]
struct Done {
    changed: bool,
    msg: Cow<'static, str>,
    /// None where check mode cannot tell.
    password_changed: Option<bool>,
    attributes: Json,
    warnings: Vec<String>,
}

/// The server, as its accounts are managed.
struct Session {
    connection: Connection,
    server: Server,
}

impl ActionModule for MysqlUser {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let given = given_privileges(args)?;
        refuse_misuse(args)?;
        let way = Way {
            database: if args.bool("force_context") {
                "mysql"
            } else {
                ""
            },
            ..Way::default()
        };
        let connected = connect(args, way, context);
        let (connection, _) = connected.map_err(|why| not_connected(args, &why))?;
        let warnings: Vec<String> = match args.has("column_case_sensitive") {
            true => Vec::new(),
            false => vec![UNDECIDED_CASE.to_owned()],
        };
        let done = apply(connection, args, given, context.check);
        let done = done.map_err(|failure| match warnings.is_empty() {
            true => failure,
            false => failure.with("warnings", warnings.clone()),
        })?;
        let fields = json!({
            "user": args.required("name")?, "msg": done.msg, "password_changed": done.password_changed,
            "attributes": done.attributes,
        });
        let mut outcome = Outcome::of(done.changed, fields);
        outcome.warnings = warnings.into_iter().chain(done.warnings).collect();
        Ok(outcome)
    }
}

fn apply(
    connection: Connection,
    args: &Args,
    given: Option<String>,
    check: bool,
) -> Result<Done, Failure> {
    let mut session = Session::begin(connection, args)?;
    let want = Want::read(args, given, &mut session, check)?;
    match args.required("state")? {
        "absent" => session.delete(&want),
        _ => session.present(&want, args),
    }
}

/// Returns the privileges as a text: `db.table:PRIVILEGE,…/…`.
fn given_privileges(args: &Args) -> Result<Option<String>, Failure> {
    let kind = match args.raw("priv") {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => return Ok(Some(text.clone())),
        Some(Json::Object(map)) => {
            let shown = |value: &Json| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned)
            };
            let each = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", shown(value)));
            return Ok(Some(each.collect::<Vec<_>>().join("/")));
        }
        Some(Json::Array(_)) => "list",
        Some(Json::Bool(_)) => "bool",
        Some(Json::Number(number)) if number.is_f64() => "float",
        Some(Json::Number(_)) => "int",
    };
    Err(Failure::new(format!(
        "priv parameter must be str or dict but <class '{kind}'> was passed"
    )))
}

fn refuse_misuse(args: &Args) -> Result<(), Failure> {
    let salt = args.str("salt").filter(|salt| !salt.is_empty());
    let plugin = args.str("plugin").unwrap_or_default();
    let msg = if args
        .int("password_expire_interval")
        .is_some_and(|days| days < 0)
    {
        "password_expire_interval value                              should be positive number"
    } else if salt.is_some() && args.str("plugin_auth_string").is_none_or(str::is_empty) {
        "salt requires plugin_auth_string"
    } else if salt.is_some_and(|salt| salt.chars().count() != 20) {
        "salt must be 20 characters long"
    } else if salt.is_some() && !hash::PLUGINS.contains(&plugin) {
        "salt requires caching_sha2_password or sha256_password plugin"
    } else {
        return Ok(());
    };
    Err(Failure::new(msg))
}

impl<'a> Want<'a> {
    fn read(
        args: &'a Args,
        privileges: Option<String>,
        session: &mut Session,
        check: bool,
    ) -> Result<Self, Failure> {
        let how = match () {
            () if args.bool("append_privs") => How::Append,
            () if args.bool("subtract_privs") => How::Subtract,
            () => How::Replace,
        };
        let privileges = match privileges {
            None => None,
            Some(text) => {
                let mode = session.connection.value("SELECT @@sql_mode", &[])?;
                let ansi = mode.is_some_and(|mode| mode.contains("ANSI"));
                let keep_case = args.bool("column_case_sensitive");
                let read = Privileges::read(&text, ansi, keep_case, how != How::Subtract);
                Some(read.map_err(Failure::new)?)
            }
        };
        Ok(Self {
            user: args.required("name")?,
            host: args.required("host")?.to_lowercase(),
            all_hosts: args.bool("host_all"),
            password: Given::read(args),
            expiry: Expiry::read(args),
            privileges,
            how,
            attributes: object(args, "attributes"),
            requirements: object(args, "tls_requires").and_then(Requirements::sanitized),
            locked: args.opt_bool("locked"),
            check,
        })
    }
}

/// Returns a mapping, unless it is empty.
fn object<'a>(args: &'a Args, name: &str) -> Option<&'a Map<String, Json>> {
    let given = args.raw(name).and_then(Json::as_object);
    given.filter(|map| !map.is_empty())
}

impl Session {
    fn begin(mut connection: Connection, args: &Args) -> Result<Self, Failure> {
        if args.opt_bool("sql_log_bin") == Some(false) {
            connection.query("SET SQL_LOG_BIN=0;").map_err(uncaught)?;
        }
        begin_session(&mut connection, args)?;
        let server = Server::of(&mut connection).map_err(uncaught)?;
        Ok(Self { connection, server })
    }

    /// Whether accounts are made and changed by `GRANT` and `SET PASSWORD`.
    fn is_old(&self) -> bool {
        !self.server.is_since(&[10, 2], &[5, 7])
    }

    fn exists(&mut self, want: &Want<'_>) -> Result<bool, SqlError> {
        let count = match want.all_hosts {
            true => self.connection.value(
                "SELECT count(*) FROM mysql.user WHERE user = %s",
                &[want.user],
            ),
            false => self.connection.value(
                "SELECT count(*) FROM mysql.user WHERE user = %s AND host = %s",
                &[want.user, &want.host],
            ),
        };
        Ok(count?.is_some_and(|count| count != "0"))
    }

    fn hosts(&mut self, want: &Want<'_>) -> Result<Vec<String>, SqlError> {
        if !want.all_hosts {
            return Ok(vec![want.host.clone()]);
        }
        let query = "SELECT Host FROM mysql.user WHERE user = %s";
        let found = self.connection.execute(query, &[want.user])?.rows;
        Ok(found.into_iter().flatten().flatten().collect())
    }

    fn present(&mut self, want: &Want<'_>, args: &Args) -> Result<Done, Failure> {
        let update = args.required("update_password")?;
        let mut done = if self.exists(want).map_err(uncaught)? {
            self.change(want, update == "always")?
        } else if want.all_hosts {
            let msg = "host_all parameter cannot be used when adding a user";
            return Err(Failure::new(msg));
        } else {
            self.add(want, update == "on_new_username")?
        };
        if let Some(limits) = object(args, "resource_limits") {
            done.changed |= self.limit(want, limits)?;
        }
        Ok(done)
    }

    fn delete(&mut self, want: &Want<'_>) -> Result<Done, Failure> {
        if !self.exists(want).map_err(uncaught)? {
            return Ok(Done {
                msg: "User doesn't exist".into(),
                password_changed: Some(false),
                ..Done::default()
            });
        }
        if !want.check {
            for host in self.hosts(want).map_err(uncaught)? {
                let account = [want.user, host.as_str()];
                let dropped = self
                    .connection
                    .execute("DROP USER IF EXISTS %s@%s", &account);
                if dropped.is_err() {
                    let dropped = self.connection.execute("DROP USER %s@%s", &account);
                    dropped.map_err(uncaught)?;
                }
            }
        }
        Ok(Done {
            changed: true,
            msg: "User deleted".into(),
            password_changed: Some(false),
            ..Done::default()
        })
    }
}
