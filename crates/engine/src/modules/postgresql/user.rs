//! `community.postgresql.postgresql_user`: roles that log in, their passwords, flags and settings.
//!
//! All of it is one transaction, which check mode takes back.

use amibake_playbook::scram::Keys;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use super::connection::{Connection, PgError, Record};
use super::{connect, sql, uncaught};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

/// The flags of a role, by the column that has them.
const FLAGS: &[(&str, &str)] = &[
    ("SUPERUSER", "rolsuper"),
    ("CREATEROLE", "rolcreaterole"),
    ("CREATEDB", "rolcreatedb"),
    ("INHERIT", "rolinherit"),
    ("LOGIN", "rolcanlogin"),
    ("REPLICATION", "rolreplication"),
    ("BYPASSRLS", "rolbypassrls"),
];

pub(in crate::modules) struct PostgresqlUser;

impl ActionModule for PostgresqlUser {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let names = [
            "user",
            "password",
            "expires",
            "role_attr_flags",
            "comment",
            "session_role",
            "configuration",
        ];
        sql::check_input(args, &names)?;
        let database = args.str("login_db").unwrap_or_default();
        let connection = connect(args, database, context)?;
        let want = Want::read(args, connection.version)?;
        let mut role = Role {
            connection,
            want,
            check: context.check,
            queries: Vec::new(),
        };
        role.run("BEGIN").map_err(|error| uncaught(&error))?;
        let mut result = Map::new();
        let changed = match args.required("state")? {
            "absent" => role.delete(args, &mut result)?,
            _ => role.present(args)?,
        };
        let end = if context.check { "ROLLBACK" } else { "COMMIT" };
        role.run(end).map_err(|error| uncaught(&error))?;
        result.insert("user".to_owned(), json!(args.required("user")?));
        result.insert("queries".to_owned(), json!(role.queries));
        Ok(Outcome {
            changed,
            result,
            ..Outcome::default()
        })
    }
}

/// What a task wants of a role.
struct Want<'a> {
    user: &'a str,
    password: Option<&'a str>,
    encrypted: &'static str,
    /// Flags as they stand in a query.
    flags: Vec<String>,
    expires: Option<&'a str>,
    conn_limit: Option<i64>,
    configuration: Vec<(String, String)>,
    /// Whether the values of settings stand in quotes.
    quotes: bool,
}

impl<'a> Want<'a> {
    fn read(args: &'a Args, version: u32) -> Result<Self, Failure> {
        Ok(Self {
            user: args.required("user")?,
            password: args.str("password"),
            encrypted: match args.opt_bool("encrypted") {
                Some(false) => "UNENCRYPTED",
                _ => "ENCRYPTED",
            },
            flags: flags(args.str("role_attr_flags").unwrap_or_default(), version)?,
            expires: args.str("expires"),
            conn_limit: args.int("conn_limit"),
            configuration: configuration(args)?,
            quotes: quotes(args),
        })
    }
}

/// Reads `CREATEDB,NOSUPERUSER,…`.
fn flags(text: &str, version: u32) -> Result<Vec<String>, Failure> {
    let is_known = |flag: &str| {
        let name = flag.strip_prefix("NO").unwrap_or(flag);
        FLAGS.iter().any(|(known, _)| *known == name) && (name != "BYPASSRLS" || version >= 90_500)
    };
    let mut all: Vec<String> = Vec::new();
    for flag in text.split(',').filter(|flag| !flag.is_empty()) {
        let flag = flag.to_uppercase();
        if !all.contains(&flag) {
            all.push(flag);
        }
    }
    let unknown: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|f| !is_known(f))
        .collect();
    if unknown.is_empty() {
        return Ok(all);
    }
    Err(Failure::new(format!(
        "Invalid role_attr_flags specified: {}",
        unknown.join(" ")
    )))
}

fn quotes(args: &Args) -> bool {
    args.opt_bool("quote_configuration_values") != Some(false)
}

fn configuration(args: &Args) -> Result<Vec<(String, String)>, Failure> {
    let quotes = quotes(args);
    let given = args.raw("configuration").and_then(Json::as_object);
    let each = given.into_iter().flatten().map(|(key, value)| {
        if quotes && key.contains(['"', '\'']) {
            let msg = "The key of a configuration may not contain single or double quotes";
            return Err(Failure::new(msg));
        }
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        Ok((
            key.clone(),
            if quotes {
                value.replace('\'', "''")
            } else {
                value
            },
        ))
    });
    each.collect()
}

struct Role<'a> {
    connection: Connection,
    want: Want<'a>,
    check: bool,
    queries: Vec<String>,
}

/// What of a role is another than what is wanted.
#[derive(Default)]
struct Differs {
    password: bool,
    flags: bool,
    expiry: bool,
    limit: bool,
}

impl Role<'_> {
    fn run(&mut self, query: &str) -> Result<(), PgError> {
        self.connection.query(query).map(drop)
    }

    fn literal(&self, value: &str) -> String {
        sql::literal(value, self.connection.backslashes)
    }

    /// Runs a query that is told with names for what it is given.
    fn execute(&mut self, query: &str) -> Result<(), PgError> {
        let mut bound = query.to_owned();
        for (mark, value) in [
            ("%(password)s", self.want.password),
            ("%(expires)s", self.want.expires),
        ] {
            if let Some(value) = value {
                bound = bound.replace(mark, &self.literal(value));
            }
        }
        self.run(&bound)
    }

    fn exists(&mut self) -> Result<bool, Failure> {
        // A role that is always there.
        if self.want.user == "PUBLIC" {
            return Ok(true);
        }
        let name = self.literal(self.want.user);
        let query = format!("SELECT rolname FROM pg_roles WHERE rolname={name}");
        let found = self.connection.query(&query);
        Ok(!found.map_err(|error| uncaught(&error))?.rows.is_empty())
    }

    fn present(&mut self, args: &Args) -> Result<bool, Failure> {
        let mut changed = match self.exists()? {
            true => self.alter(args.bool("no_password_changes"))?,
            false => self.add()?,
        };
        if let Some(comment) = args.str("comment") {
            let commented = self.comment(comment);
            changed |= commented
                .map_err(|error| Failure::new(format!("Unable to add comment on role: {error}")))?;
        }
        changed |= self.configure(args.bool("reset_unspecified_configuration"))?;
        Ok(changed)
    }

    fn add(&mut self) -> Result<bool, Failure> {
        let name = sql::role(self.want.user).map_err(Failure::new)?;
        let mut query = vec![format!("CREATE USER {name}")];
        if self
            .want
            .password
            .is_some_and(|password| !password.is_empty())
        {
            query.push(format!("WITH {}", self.want.encrypted));
            query.push("PASSWORD %(password)s".to_owned());
        }
        query.extend(self.clauses());
        // As Ansible's module joins it: a blank stands at the end where there are no flags.
        query.push(self.want.flags.join(" "));
        let query = query.join(" ");
        self.queries.push(query.clone());
        self.execute(&query)
            .map_err(|error| match error.is_programming() {
                true => Failure::new(format!(
                    "Unable to add user with given requirement due to : {error}"
                )),
                false => uncaught(&error),
            })?;
        Ok(true)
    }

    fn clauses(&self) -> Vec<String> {
        let expires = self
            .want
            .expires
            .map(|_| "VALID UNTIL %(expires)s".to_owned());
        let limit = self.want.conn_limit;
        let limit = limit.map(|limit| format!("CONNECTION LIMIT {limit}"));
        expires.into_iter().chain(limit).collect()
    }

    fn alter(&mut self, flags_only: bool) -> Result<bool, Failure> {
        let flags = self.want.flags.join(" ");
        if self.want.user == "PUBLIC" {
            let msg = match (self.want.password, flags.as_str()) {
                (Some(_), _) => "cannot change the password for PUBLIC user",
                (None, "") => return Ok(false),
                (None, _) => "cannot change the role_attr_flags for PUBLIC user",
            };
            return Err(Failure::new(msg));
        }
        let anything = self.want.password.is_some()
            || !flags.is_empty()
            || self.want.expires.is_some()
            || self.want.conn_limit.is_some();
        if !anything || (flags_only && flags.is_empty()) {
            return Ok(false);
        }
        let current = self.attributes()?;
        let mut differs = Differs {
            flags: self.flags_differ(current.as_ref()),
            ..Differs::default()
        };
        if !flags_only {
            differs.password = self.password_differs(current.as_ref())?;
            differs.expiry = self.expiry_differs(current.as_ref())?;
            let limit = current
                .as_ref()
                .and_then(|role| role.get("rolconnlimit")?.parse().ok());
            differs.limit = self.want.conn_limit.is_some() && self.want.conn_limit != limit;
        }
        if !(differs.password || differs.flags || differs.expiry || differs.limit) {
            return Ok(false);
        }
        let name = sql::role(self.want.user).map_err(Failure::new)?;
        let mut query = vec![format!("ALTER USER {name}")];
        match self.want.password {
            Some("") if differs.password => query.push("WITH PASSWORD NULL".to_owned()),
            _ if differs.password => {
                query.push(format!("WITH {}", self.want.encrypted));
                query.push("PASSWORD %(password)s".to_owned());
            }
            _ => {}
        }
        match differs.password {
            true => query.push(flags),
            false if flags.is_empty() => {}
            false => query.push(format!("WITH {flags}")),
        }
        if !flags_only {
            query.extend(self.clauses());
        }
        let query = query.join(" ");
        self.execute(&query).map_err(|error| match &error {
            PgError::Refused(refusal) if matches!(refusal.code.as_str(), "25006" | "0A000") => {
                Failure::new(refusal.message.clone())
            }
            _ => uncaught(&error),
        })?;
        self.queries.push(query);
        Ok(!flags_only || self.attributes()? != current)
    }

    /// Returns what is known of the role: not every server shows passwords.
    fn attributes(&mut self) -> Result<Option<Record>, Failure> {
        let name = self.literal(self.want.user);
        let of = |table: &str| format!("SELECT * FROM {table} where rolname={name}");
        self.run("SAVEPOINT ansible_role")
            .map_err(|error| uncaught(&error))?;
        match self.connection.query(&of("pg_authid")) {
            Ok(answer) => return Ok(answer.first()),
            Err(error) if error.is_programming() => {}
            Err(error) => return Err(uncaught(&error)),
        }
        self.run("ROLLBACK TO SAVEPOINT ansible_role")
            .map_err(|error| uncaught(&error))?;
        let found = self.connection.query(&of("pg_roles"));
        let found = found.map_err(|error| {
            let user = self.want.user;
            Failure::new(format!(
                "Failed to get role details for current user {user}: {error}"
            ))
        })?;
        Ok(found.first())
    }

    fn flags_differ(&self, current: Option<&Record>) -> bool {
        self.want.flags.iter().any(|flag| {
            let (name, wanted) = match flag.strip_prefix("NO") {
                Some(name) => (name, "f"),
                None => (flag.as_str(), "t"),
            };
            let column = FLAGS.iter().find(|(known, _)| *known == name);
            let held = column.and_then(|(_, column)| current?.get(column));
            held != Some(wanted)
        })
    }

    fn expiry_differs(&mut self, current: Option<&Record>) -> Result<bool, Failure> {
        let Some(expires) = self.want.expires else {
            return Ok(false);
        };
        let query = format!(
            "SELECT {}::timestamptz exp_timestamp",
            self.literal(expires)
        );
        let found = self
            .connection
            .query(&query)
            .map_err(|error| uncaught(&error))?;
        let wanted = found.first();
        let wanted = wanted.as_ref().and_then(|row| row.get("exp_timestamp"));
        Ok(wanted != current.and_then(|role| role.get("rolvaliduntil")))
    }

    fn password_differs(&mut self, current: Option<&Record>) -> Result<bool, Failure> {
        let Some(current) = current else {
            // It cannot be seen.
            return Ok(true);
        };
        let Some(password) = self.want.password else {
            return Ok(false);
        };
        let held = current.get("rolpassword");
        if password.is_empty() {
            return Ok(held.is_some());
        }
        if Scram::read(password).is_some() {
            return Ok(held != Some(password));
        }
        if let Some(scram) = held.and_then(Scram::read) {
            return Ok(!scram.is_of(password));
        }
        let is_md5 = password.starts_with("md5") && password.chars().count() == 35;
        if is_md5 || self.want.encrypted == "UNENCRYPTED" {
            return Ok(held != Some(password));
        }
        let shown = self.connection.query("SHOW password_encryption");
        let shown = shown.map_err(|error| uncaught(&error))?.first();
        Ok(
            match shown
                .as_ref()
                .and_then(|row| row.get("password_encryption"))
            {
                Some("md5") => {
                    use md5::{Digest as _, Md5};
                    let hash = Md5::digest(format!("{password}{}", self.want.user));
                    held != Some(&format!("md5{}", hex::encode(hash)))
                }
                Some("scram-sha-256") => true,
                _ => false,
            },
        )
    }

    fn comment(&mut self, comment: &str) -> Result<bool, PgError> {
        let name = self.literal(self.want.user);
        let query = format!(
            "SELECT pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment FROM pg_catalog.pg_roles AS r \
             WHERE r.rolname = {name}"
        );
        let current = self.connection.query(&query)?.first();
        let current = current.as_ref().and_then(|row| row.get("comment"));
        if current.unwrap_or_default() == comment {
            return Ok(false);
        }
        let text = self.literal(comment);
        let query = format!("COMMENT ON ROLE \"{}\" IS {text}", self.want.user);
        if !self.check {
            self.run(&query)?;
        }
        self.queries.push(query);
        Ok(true)
    }

    /// Sets the settings that a session of the role begins with.
    fn configure(&mut self, reset: bool) -> Result<bool, Failure> {
        let user = self.want.user;
        let name = self.literal(user);
        let query = format!(
            "SELECT unnest(coalesce(rolconfig, '{{}}')) FROM pg_roles WHERE rolname = {name}"
        );
        let there = self
            .connection
            .query(&format!("SELECT 1 FROM pg_roles WHERE rolname = {name}"));
        if there.map_err(|error| uncaught(&error))?.rows.is_empty() {
            return Err(Failure::new(format!(
                "Can't find user {user} in 'pg_roles'"
            )));
        }
        let rows = self
            .connection
            .query(&query)
            .map_err(|error| uncaught(&error))?
            .rows;
        let current: Vec<(String, String)> = rows
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|text| {
                let (key, value) = text.split_once('=')?;
                Some((key.to_owned(), value.to_owned()))
            })
            .collect();
        let wanted = self.want.configuration.clone();
        let role = sql::role(user).map_err(Failure::new)?;
        let mut queries = Vec::new();
        for (key, _) in current.iter().filter(|_| reset) {
            if !wanted.iter().any(|(name, _)| name == key) {
                queries.push(format!("ALTER ROLE {role} RESET \"{key}\";"));
            }
        }
        for pair in wanted.iter().filter(|pair| !current.contains(pair)) {
            let (key, value) = pair;
            let quote = if self.want.quotes { "'" } else { "" };
            queries.push(format!(
                "ALTER ROLE {role} SET \"{key}\" TO {quote}{value}{quote};"
            ));
        }
        let changed = !queries.is_empty();
        for query in queries {
            self.queries.push(query.clone());
            self.run(&query)
                .map_err(|error| match error.is_programming() {
                    true => Failure::new(format!(
                        "Unable to update configuration for '{user}' due to: {error}"
                    )),
                    false => uncaught(&error),
                })?;
        }
        Ok(changed)
    }

    fn delete(&mut self, args: &Args, result: &mut Map<String, Json>) -> Result<bool, Failure> {
        if !self.exists()? {
            return Ok(false);
        }
        let mut changed = true;
        if !self.check {
            let name = sql::role(self.want.user).map_err(Failure::new)?;
            let query = format!("DROP USER {name}");
            self.queries.push(query.clone());
            self.run("SAVEPOINT ansible_pgsql_user_delete")
                .map_err(|error| uncaught(&error))?;
            if let Err(error) = self.run(&query) {
                if args.opt_bool("fail_on_user") != Some(false) {
                    return Err(Failure::new(format!("Unable to remove user: {error}")));
                }
                let back = self.run("ROLLBACK TO SAVEPOINT ansible_pgsql_user_delete");
                back.map_err(|error| uncaught(&error))?;
                changed = false;
            }
        }
        result.insert("user_removed".to_owned(), json!(changed));
        Ok(changed)
    }
}

/// A password as a server keeps it: `SCRAM-SHA-256$ROUNDS:SALT$STORED:SERVER`.
struct Scram {
    rounds: u32,
    salt: Vec<u8>,
    server: Vec<u8>,
}

impl Scram {
    fn read(text: &str) -> Option<Self> {
        let (first, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let ((rounds, salt), (stored, server)) = (first.split_once(':')?, keys.split_once(':')?);
        let is_base64 = |text: &&str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        };
        [salt, stored, server].iter().all(is_base64).then_some(())?;
        Some(Self {
            rounds: rounds.parse().ok()?,
            salt: STANDARD.decode(salt).ok()?,
            server: STANDARD.decode(server).ok()?,
        })
    }

    fn is_of(&self, password: &str) -> bool {
        Keys::new(password, &self.salt, self.rounds).server[..] == self.server[..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read_and_others_refused() {
        assert_eq!(
            flags("CREATEDB,nosuperuser,CREATEDB", 150_000).unwrap(),
            ["CREATEDB", "NOSUPERUSER"]
        );
        assert_eq!(flags("", 150_000).unwrap(), Vec::<String>::new());
        assert!(flags("BYPASSRLS", 90_000).is_err());
        let failure = flags("LOGIN,FLY", 150_000).unwrap_err();
        assert_eq!(failure.msg, "Invalid role_attr_flags specified: FLY");
    }

    #[test]
    fn a_password_is_told_from_another_by_the_servers_key() {
        // The keys of RFC 7677's password.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let server = STANDARD.encode(Keys::new("pencil", &salt, 4096).server);
        let kept = format!("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$AAAA:{server}");
        let scram = Scram::read(&kept).unwrap();
        assert!(scram.is_of("pencil") && !scram.is_of("pen"));
        assert!(Scram::read("SCRAM-SHA-256$4096:a b$AAAA:BBBB").is_none());
        assert!(Scram::read("md5aaaa").is_none());
    }
}
