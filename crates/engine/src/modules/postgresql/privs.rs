//! `community.postgresql.postgresql_privs`: who may do what to objects of a database, and who is a member of a role.
//!
//! What PostgreSQL itself says of the objects is compared before and after, in one transaction, which is taken back
//! where nothing changed and in check mode. What is granted is written in `grant`.

use serde_json::json;

use super::connection::{Connection, PgError};
use super::grant::{Grant, Kind};
use super::{connect, given, sql};
use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::identifier;

pub(in crate::modules) struct PostgresqlPrivs;

const PRIVILEGES: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "CREATE",
    "CONNECT",
    "TEMPORARY",
    "TEMP",
    "EXECUTE",
    "USAGE",
    "ALL",
    "SET",
    "ALTER_SYSTEM",
    "MAINTAIN",
];
/// What objects to come may be given, by their kind.
const DEFAULT_PRIVILEGES: &[(&str, &[&str])] = &[
    (
        "TABLES",
        &[
            "ALL",
            "SELECT",
            "INSERT",
            "UPDATE",
            "DELETE",
            "TRUNCATE",
            "REFERENCES",
            "TRIGGER",
            "MAINTAIN",
        ],
    ),
    ("SEQUENCES", &["ALL", "SELECT", "UPDATE", "USAGE"]),
    ("FUNCTIONS", &["ALL", "EXECUTE"]),
    ("TYPES", &["ALL", "USAGE"]),
    ("SCHEMAS", &["CREATE", "USAGE"]),
];
/// Roles that are in no table, since which version.
const IMPLICIT: &[(&str, u32)] = &[
    ("PUBLIC", 0),
    ("CURRENT_USER", 95_000),
    ("SESSION_USER", 95_000),
    ("CURRENT_ROLE", 140_000),
];
const ALL_IN_SCHEMA: &str = "ALL_IN_SCHEMA";

impl ActionModule for PostgresqlPrivs {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let want = Want::read(args)?;
        let names = ["roles", "target_roles", "session_role", "schema"];
        sql::check_input(args, &names)?;
        let mut privileges = Privileges {
            connection: connect(args, args.required("login_db")?, context)?,
            queries: Vec::new(),
            warnings: Vec::new(),
        };
        privileges.ask("BEGIN")?;
        let changed = privileges.make_so(args, &want)?;
        let end = match changed && !context.check {
            true => "COMMIT",
            false => "ROLLBACK",
        };
        privileges.ask(end)?;
        let mut outcome = Outcome::of(changed, json!({"queries": privileges.queries}));
        outcome.warnings = privileges.warnings;
        Ok(outcome)
    }
}

/// What is asked for, as far as the task says it.
struct Want<'a> {
    kind: Kind,
    schema: Option<&'a str>,
    objects: &'a str,
    privileges: Vec<String>,
}

impl<'a> Want<'a> {
    fn read(args: &'a Args) -> Result<Self, Failure> {
        let name = args.required("type")?;
        let kind = Kind::named(name)
            .ok_or_else(|| Failure::new(format!("Unsupported database object type \"{name}\".")))?;
        let refused = |what: &str| {
            Failure::new(format!(
                "Argument \"{what}\" is not allowed for type \"{name}\"."
            ))
        };
        let missing = |what: &str| {
            Failure::new(format!(
                "Argument \"{what}\" is required for type \"{name}\"."
            ))
        };
        let (objects, schema) = (given(args, "objs"), given(args, "schema"));
        let schema = match kind.is_in_schema() || kind == Kind::DefaultPrivs {
            true if objects == Some("schemas") || schema == Some("not-specified") => None,
            true => schema.or(Some("public")),
            false if schema.is_some() => return Err(refused("schema")),
            false => None,
        };
        if objects == Some(ALL_IN_SCHEMA) && kind.all_in_schema().is_none() {
            return Err(Failure::new(format!(
                "Argument \"objs\": ALL_IN_SCHEMA can be used only for type: table, sequence, function or procedure, {name} \
                 was passed."
            )));
        }
        let objects = match (objects, kind) {
            (Some(objects), _) => objects,
            (None, Kind::Database) => args.required("login_db")?,
            (None, _) => return Err(missing("objs")),
        };
        let privileges = match (given(args, "privs"), kind) {
            (Some(_), Kind::Group) => return Err(refused("privs")),
            (None, Kind::Group) => Vec::new(),
            (None, _) => return Err(missing("privs")),
            (Some(privileges), _) => unique(privileges.split(',').map(str::to_uppercase)),
        };
        Ok(Self {
            kind,
            schema,
            objects,
            privileges,
        })
    }

    fn check_privileges(&self) -> Result<(), Failure> {
        let unknown = |name: &&String| !PRIVILEGES.contains(&name.as_str());
        let unknown: Vec<&String> = self.privileges.iter().filter(unknown).collect();
        match unknown.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "Invalid privileges specified: {}",
                frozen(&unknown)
            ))),
        }
    }

    /// Returns the kinds of objects to come.
    fn default_objects(&self) -> Result<Vec<String>, Failure> {
        let objects = match self.objects {
            "ALL_DEFAULT" => {
                let all = DEFAULT_PRIVILEGES
                    .iter()
                    .map(|(kind, _)| (*kind).to_owned());
                all.filter(|kind| kind != "SCHEMAS").collect()
            }
            objects => unique(objects.split(',').map(str::to_uppercase)),
        };
        let allowed = |kind: &str| {
            let known = DEFAULT_PRIVILEGES.iter().find(|(known, _)| *known == kind);
            known.map(|(_, privileges)| *privileges)
        };
        let unknown: Vec<&String> = objects.iter().filter(|o| allowed(o).is_none()).collect();
        if !unknown.is_empty() {
            let unknown = frozen(&unknown);
            return Err(Failure::new(format!(
                "Invalid Object set specified: {unknown}"
            )));
        }
        let takes = |kind: &&String| {
            let allowed = allowed(kind).unwrap_or_default();
            self.privileges
                .iter()
                .all(|name| allowed.contains(&name.as_str()))
        };
        let fitting: Vec<&String> = objects.iter().filter(takes).collect();
        if fitting.len() < objects.len() {
            let all: Vec<&String> = objects.iter().collect();
            return Err(Failure::new(format!(
                "Invalid priv specified. Valid object for priv: {}. Objects: {}",
                frozen(&fitting),
                frozen(&all)
            )));
        }
        Ok(objects)
    }
}

/// Returns what there is, each once.
fn unique(all: impl Iterator<Item = String>) -> Vec<String> {
    let mut known = Vec::new();
    all.for_each(|one| {
        if !known.contains(&one) {
            known.push(one);
        }
    });
    known
}

/// Writes a set as Python does.
fn frozen(names: &[&String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    match names.is_empty() {
        true => "frozenset()".to_owned(),
        false => format!("frozenset({{{}}})", names.join(", ")),
    }
}

struct Privileges {
    connection: Connection,
    queries: Vec<String>,
    warnings: Vec<String>,
}

impl Privileges {
    /// Returns whether anything changed.
    fn make_so(&mut self, args: &Args, want: &Want<'_>) -> Result<bool, Failure> {
        want.check_privileges()?;
        let objects = self.objects(want)?;
        let roles = self.roles(args)?;
        if roles.is_empty() {
            let warning = "No valid roles provided, nothing to do";
            self.warnings.push(warning.to_owned());
            return Ok(false);
        }
        let targets = given(args, "target_roles");
        if targets.is_some() && want.kind != Kind::DefaultPrivs {
            self.warnings.push(
                "\"target_roles\" will be ignored Argument \"type: default_privs\" is required for usage of \
                 \"target_roles\"."
                    .to_owned(),
            );
        }
        if objects.is_empty() {
            return Ok(false);
        }
        let grant = Grant {
            kind: want.kind,
            present: args.str("state") != Some("absent"),
            option: args.opt_bool("grant_option"),
            what: what(want, &objects)?,
            objects: &objects,
            schema: want.schema.map(quoted),
            to: roles.join(","),
            of: targets.map(|targets| {
                let quoted = targets.split(',').map(|role| format!("\"{role}\""));
                quoted.collect::<Vec<_>>().join(",")
            }),
        };
        let before = self.state(want, &objects)?;
        let query = grant.query();
        self.queries.push(query.clone());
        self.ask(&query)?;
        Ok(self.state(want, &objects)? != before)
    }

    fn ask(&mut self, query: &str) -> Result<Vec<Vec<Option<String>>>, Failure> {
        let answer = self.connection.query(query);
        answer.map(|answer| answer.rows).map_err(|error: PgError| {
            Failure::new(format!("Cannot execute SQL '{query}': {error}"))
        })
    }

    fn literal(&self, value: &str) -> String {
        sql::literal(value, self.connection.backslashes)
    }

    /// Returns the objects that the task names, or all of a schema.
    fn objects(&mut self, want: &Want<'_>) -> Result<Vec<String>, Failure> {
        if want.kind == Kind::DefaultPrivs {
            return want.default_objects();
        }
        if want.objects != ALL_IN_SCHEMA {
            let named = want.objects.split(',');
            return Ok(match want.kind.is_called() {
                // Commas of a signature are written as colons.
                true => named.map(|object| object.replace(':', ",")).collect(),
                false => named.map(str::to_owned).collect(),
            });
        }
        let version = self.connection.version;
        if want.kind == Kind::Procedure && version < 110_000 {
            let msg = "PostgreSQL version must be >= 11 for type=procedure. Exit";
            return Err(Failure::new(msg));
        }
        let Some(schema) = want.schema else {
            return Err(Failure::new("ALL_IN_SCHEMA needs a schema"));
        };
        let name = self.literal(schema);
        let known = self.ask(&format!(
            "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = {name}"
        ))?;
        if known.is_empty() {
            return Err(Failure::new(format!("Schema \"{schema}\" does not exist.")));
        }
        let rows = self.ask(&want.kind.all_query(&name, version))?;
        Ok(rows.into_iter().flatten().flatten().collect())
    }

    /// Returns the roles that there are, as they stand in a query.
    fn roles(&mut self, args: &Args) -> Result<Vec<String>, Failure> {
        let mut roles = Vec::new();
        for role in args.required("roles")?.split(',') {
            let upper = role.to_uppercase();
            let version = self.connection.version;
            let is_implicit = |(name, since): &(&str, u32)| *name == upper && version >= *since;
            if IMPLICIT.iter().any(is_implicit) {
                roles.push(upper);
                continue;
            }
            let name = self.literal(role);
            let query = format!("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = {name}");
            match self.ask(&query)?.is_empty() {
                false => roles.push(quoted(role)),
                true if args.bool("fail_on_role") => {
                    return Err(Failure::new(format!("Role '{role}' does not exist")));
                }
                true => self
                    .warnings
                    .push(format!("Role '{role}' does not exist, pass it")),
            }
        }
        Ok(roles)
    }

    /// Returns what the server says of the objects: their ACLs, or the members of roles.
    fn state(&mut self, want: &Want<'_>, objects: &[String]) -> Result<Vec<String>, Failure> {
        if want.kind == Kind::Parameter && self.connection.version < 150_000 {
            let msg = "PostgreSQL version must be >= 15 for type=parameter. Exit";
            return Err(Failure::new(msg));
        }
        let names: Vec<String> = objects
            .iter()
            .map(|object| match want.kind.is_called() {
                true => object.split('(').next().unwrap_or(object),
                false => object,
            })
            .map(|name| self.literal(name))
            .collect();
        let names = format!("ARRAY[{}]::name[]", names.join(","));
        let schema = want.schema.map(|schema| self.literal(schema));
        let rows = self.ask(&want.kind.state_query(schema.as_deref(), &names))?;
        let mut state: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
        state.sort();
        Ok(state)
    }
}

/// Returns what is granted: membership, or privileges on objects.
fn what(want: &Want<'_>, objects: &[String]) -> Result<String, Failure> {
    let privileges = want.privileges.join(",");
    if want.kind == Kind::DefaultPrivs {
        return Ok(privileges);
    }
    let names: Result<Vec<String>, Failure> =
        objects.iter().map(|object| named(want, object)).collect();
    let names = names?.join(",");
    if want.kind == Kind::Group {
        return Ok(names);
    }
    let privileges = privileges.replace('_', " ");
    Ok(
        match want
            .kind
            .all_in_schema()
            .filter(|_| want.objects == ALL_IN_SCHEMA)
        {
            Some(all) => {
                let schema = want.schema.map(quoted).unwrap_or_default();
                format!("{privileges} ON {all} {schema}")
            }
            None => format!("{privileges} ON {} {names}", want.kind.word()),
        },
    )
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the name of an object as it stands in a query.
fn named(want: &Want<'_>, object: &str) -> Result<String, Failure> {
    let schema = || {
        let said = want.schema.map(quoted);
        said.ok_or_else(|| {
            Failure::new("objects of this type are in a schema, which is to be named")
        })
    };
    if want.kind.is_called() {
        let (name, rest) = object.split_once('(').ok_or_else(|| {
            Failure::new(format!(
                "Illegal function / procedure signature: \"{object}\"."
            ))
        })?;
        return Ok(format!("{}.\"{name}\"({rest}", schema()?));
    }
    let name = match want.kind.is_in_schema() {
        true => format!("{}.\"{object}\"", schema()?),
        false => format!("\"{object}\""),
    };
    if want.kind == Kind::Group {
        return Ok(name);
    }
    let wrong = |why: String| Failure::new(format!("Task failed: Module failed: {why}"));
    let parts = identifier::parts(&name, '"').map_err(wrong)?;
    match parts.len() {
        ..=3 => Ok(parts.join(".")),
        _ => Err(wrong(
            "PostgreSQL does not support table with more than 3 dots".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::tests::with_args;

    fn refused(task: serde_json::Value) -> String {
        let mut said = String::new();
        with_args("postgresql_privs", task, |args, _| {
            let read = Want::read(args).and_then(|want| match want.kind {
                Kind::DefaultPrivs => want.default_objects().map(drop),
                _ => want.check_privileges(),
            });
            said = read.err().map(|failure| failure.msg).unwrap_or_default();
        });
        said
    }

    #[test]
    fn what_does_not_go_together_is_refused_in_ansibles_words() {
        let task = |more: serde_json::Value| {
            let mut task = json!({"login_db": "d", "roles": "r"});
            for (name, value) in more.as_object().unwrap() {
                task[name] = value.clone();
            }
            task
        };
        for (more, said) in [
            (json!({"objs": "t", "privs": "SELECT,insert"}), ""),
            (json!({"type": "database", "privs": "CONNECT"}), ""),
            (json!({"type": "group", "objs": "g"}), ""),
            (
                json!({"type": "group", "objs": "g", "privs": "ALL"}),
                "Argument \"privs\" is not allowed for type \"group\".",
            ),
            (
                json!({"privs": "ALL"}),
                "Argument \"objs\" is required for type \"table\".",
            ),
            (
                json!({"objs": "t"}),
                "Argument \"privs\" is required for type \"table\".",
            ),
            (
                json!({"type": "schema", "objs": "s", "schema": "x", "privs": "ALL"}),
                "Argument \"schema\" is not allowed for type \"schema\".",
            ),
            (
                json!({"objs": "t", "privs": "FLY"}),
                "Invalid privileges specified: frozenset({'FLY'})",
            ),
            (
                json!({"type": "default_privs", "objs": "TABLES,chairs", "privs": "ALL"}),
                "Invalid Object set specified: frozenset({'CHAIRS'})",
            ),
            (
                json!({"type": "default_privs", "objs": "TABLES", "privs": "EXECUTE"}),
                "Invalid priv specified. Valid object for priv: frozenset(). Objects: frozenset({'TABLES'})",
            ),
        ] {
            assert_eq!(refused(task(more.clone())), said, "{more}");
        }
    }

    #[test]
    fn no_name_leaves_its_quotes() {
        let name = |kind: &str, object: &str| {
            let mut name = None;
            let task = json!({"login_db": "d", "roles": "r", "type": kind, "objs": object, "privs": "ALL"});
            with_args("postgresql_privs", task, |args, _| {
                let want = Want::read(args).ok().unwrap();
                name = Some(named(&want, object).map_err(|failure| failure.msg));
            });
            name.unwrap()
        };
        assert_eq!(name("table", "a").as_deref(), Ok("\"public\".\"a\""));
        assert_eq!(
            name("function", "f(int,int)").as_deref(),
            Ok("\"public\".\"f\"(int,int)")
        );
        assert!(name("function", "f").is_err());
        assert!(name("table", "a\"; drop").is_err());
        assert_eq!(name("schema", "a.b").as_deref(), Ok("\"a.b\""));
    }
}
