//! `getent`: entries of the name service switch, as facts.

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::run_command::{Command, required_bin};

pub(super) struct GetEnt;

/// Databases whose fields are divided by colons.
const COLONS: &[&str] = &["passwd", "shadow", "group", "gshadow"];

impl ActionModule for GetEnt {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let database = args.required("database")?;
        let key = args.str("key");
        let mut argv = vec![required_bin("getent", context)?, database.to_owned()];
        argv.extend(key.map(str::to_owned));
        if let Some(service) = args.str("service") {
            argv.extend(["-s".to_owned(), service.to_owned()]);
        }
        let by_default = COLONS.contains(&database).then_some(":");
        let split = args.str("split").or(by_default);
        if split == Some("") {
            return Err(Failure::new(
                "`split` is empty: name what divides the fields",
            ));
        }
        let command = Command::new(argv);
        let ran = command.run(context).map_err(|e| e.failure(&command))?;
        let msg = match (ran.rc, key) {
            (0, _) => {
                let entries = entries(&ran.stdout, split);
                return Ok(found(database, entries, None));
            }
            (1, _) => "Missing arguments, or database unknown.",
            (2, Some(key)) if !args.bool("fail_key") => {
                let none = Map::from_iter([(key.to_owned(), Json::Null)]);
                return Ok(found(database, none, Some(NOT_FOUND)));
            }
            (2, _) => NOT_FOUND,
            (3, _) => "Enumeration not supported on this database.",
            (_, _) => "Unexpected failure!",
        };
        Err(Failure::new(msg))
    }
}

const NOT_FOUND: &str = "One or more supplied key could not be found in the database.";

fn found(database: &str, entries: Map<String, Json>, msg: Option<&str>) -> Outcome {
    let name = format!("getent_{database}");
    let facts = Map::from_iter([(name, Json::Object(entries))]);
    let mut fields = json!({ "ansible_facts": facts });
    if let Some(msg) = msg {
        fields["msg"] = json!(msg);
    }
    Outcome::of(false, fields)
}

/// Reads lines: the first field names the entry, and those of one name become a list of entries.
fn entries(text: &str, split: Option<&str>) -> Map<String, Json> {
    let mut entries: Map<String, Json> = Map::new();
    let mut seen: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for line in text.lines() {
        let mut fields = match split {
            Some(by) => line.split(by).map(str::to_owned).collect::<Vec<_>>(),
            None => line.split_whitespace().map(str::to_owned).collect(),
        }
        .into_iter();
        let Some(name) = fields.next() else {
            continue;
        };
        let entry = json!(fields.collect::<Vec<_>>());
        let count = seen.entry(name.clone()).or_default();
        *count += 1;
        match (*count, entries.get_mut(&name)) {
            (2, Some(first)) => *first = json!([first.take(), entry]),
            (_, Some(Json::Array(all))) => all.push(entry),
            (_, _) => {
                entries.insert(name, entry);
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::run;

    #[test]
    fn lines_of_one_name_are_listed() {
        let read = entries("a:1:\nb:2\na:3\na:4\n", Some(":"));
        assert_eq!(
            json!(read),
            json!({"a": [["1", ""], ["3"], ["4"]], "b": ["2"]})
        );
        let read = entries("127.0.0.1   localhost  lo\n\n", None);
        assert_eq!(json!(read), json!({"127.0.0.1": ["localhost", "lo"]}));
    }

    #[test]
    fn an_entry_is_a_fact_named_after_its_database() {
        let outcome = run("getent", json!({"database": "passwd", "key": "root"})).unwrap();
        let root = &outcome.result["ansible_facts"]["getent_passwd"]["root"];
        assert_eq!(root[1], "0", "{root}");
    }

    #[test]
    fn a_key_that_is_not_there_fails_unless_told_otherwise() {
        let args = json!({"database": "passwd", "key": "no-such-user"});
        assert_eq!(run("getent", args).unwrap_err().msg, NOT_FOUND);
        let args = json!({"database": "passwd", "key": "no-such-user", "fail_key": false});
        let outcome = run("getent", args).unwrap();
        let facts = &outcome.result["ansible_facts"]["getent_passwd"];
        assert_eq!(*facts, json!({"no-such-user": null}));
        assert_eq!(outcome.result["msg"], NOT_FOUND);
    }
}
