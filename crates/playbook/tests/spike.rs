//! What ansible-core answered to an expression, we answer, but for the cases of `spike/differs.txt`.
//!
//! The answers are a fixture; `spike/ask_ansible.py` asks for them anew.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::Path;

use amibake_playbook::template::{Error, FileOptions, Outside, Templar};
use amibake_playbook::value::{Dict, Place, Text, Value};
use amibake_playbook::yaml;
use serde_json::{Value as Json, json};

/// A controller whose paths have no links.
struct Controller;

impl Outside for Controller {
    fn realpath(&self, path: &str, _: Option<&Place>) -> Result<String, Error> {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        Ok(format!("/{}", parts.join("/")))
    }

    fn file_test(&self, test: &str, path: &str, other: Option<&str>) -> Result<bool, Error> {
        let real =
            |path: &str| std::fs::canonicalize(path).map_err(|e| Error::failed(e.to_string()));
        Ok(match test {
            "exists" => Path::new(path).exists(),
            "directory" => Path::new(path).is_dir(),
            "link_exists" => Path::new(path).symlink_metadata().is_ok(),
            "mount" => path == "/",
            "same_file" => real(path)? == real(other.unwrap_or_default())?,
            other => return Err(Error::failed(format!("{other} is not asked here"))),
        })
    }
}

/// Writes a value as the fixture does.
fn plain(value: &Value) -> Json {
    match value {
        Value::Float(_) => json!({"float": value.repr()}),
        Value::List(list) => list.items().iter().map(plain).collect(),
        Value::Dict(dict) => {
            let pairs = dict.entries();
            let pairs: Vec<Json> = pairs
                .iter()
                .map(|(k, v)| json!([plain(k.value()), plain(v)]))
                .collect();
            json!({"dict": pairs})
        }
        Value::Bytes(bytes) => {
            json!({"bytes": bytes.iter().copied().map(char::from).collect::<String>()})
        }
        Value::Big(_) => json!({"big": value.repr()}),
        Value::Object(object) => json!({"other": object.type_name(), "text": value.to_string()}),
        value => value.to_json().unwrap(),
    }
}

fn given(value: Value) -> Result<Json, Error> {
    match value {
        Value::Omit => Err(Error::failed("omitted")),
        value => Ok(plain(&value)),
    }
}

fn ours(case: &str, scope: &Dict) -> Result<Json, String> {
    let (kind, text) = case.split_once(' ').unwrap();
    let text = text.replace('⏎', "\n");
    let templar = Templar::new(scope, &Controller);
    let answer = match kind {
        "T" => templar.render_str(&text, None).and_then(given),
        "E" => templar
            .evaluate(&Text::authors(&text), None)
            .and_then(given),
        "C" => templar
            .condition(&Value::authored(&text, None))
            .map(Json::from),
        "F" => templar
            .render_file(&text, &FileOptions::default(), "t.j2")
            .map(Json::from),
        other => panic!("unknown kind {other}"),
    };
    answer.map_err(|error| error.message)
}

/// Returns what differs; words of errors are compared where they are Ansible's own.
fn difference(answer: &Json, ours: &Result<Json, String>) -> Option<String> {
    let broken = answer["error"][0]
        .as_str()
        .is_some_and(|e| e.starts_with("AnsibleBrokenConditional"));
    if broken {
        // 2.18 took these, and so do we, with a warning.
        return ours.is_err().then(|| format!("refused: {ours:?}"));
    }
    match (answer.get("value"), ours) {
        (Some(theirs), Ok(ours)) if theirs == ours => None,
        (Some(Json::Number(theirs)), Ok(ours)) if ours["big"] == theirs.to_string() => None,
        (Some(theirs), ours) => Some(format!("  theirs {theirs}\n  ours   {ours:?}")),
        (None, Ok(ours)) => Some(format!("  theirs {}\n  ours   {ours}", answer["error"])),
        (None, Err(message)) => {
            let first = answer["error"][0].as_str().unwrap_or_default();
            let (kind, text) = first.split_once(": ").unwrap_or(("", first));
            (kind == "AnsibleUndefinedVariable" && text != message)
                .then(|| format!("  theirs {text}\n  ours   {message}"))
        }
    }
}

#[test]
fn every_expression_gives_what_it_gave_in_ansible() {
    compare_all("answers.json", 900);
}

#[test]
fn the_collections_filters_give_what_they_gave_in_ansible() {
    compare_all("collections.json", 1000);
}

fn compare_all(answers: &str, least: usize) {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/spike");
    let read = |name: &str| -> Json {
        serde_json::from_str(&std::fs::read_to_string(folder.join(name)).unwrap()).unwrap()
    };
    let answers = read(answers);
    let path = folder.join("vars.json");
    let variables = yaml::parse(&path, &std::fs::read(&path).unwrap())
        .unwrap()
        .root;
    let answers = answers.as_array().unwrap();
    assert!(answers.len() > least);
    let known = std::fs::read_to_string(folder.join("differs.txt")).unwrap();
    let mut wrong = Vec::new();
    for answer in answers {
        let scope = Value::from_node(&variables);
        let case = answer["case"].as_str().unwrap();
        let ours = ours(case, scope.as_dict().unwrap());
        let is_known = known.lines().any(|line| line == case);
        match difference(answer, &ours) {
            Some(difference) if !is_known => wrong.push(format!("{case}\n{difference}")),
            None if is_known => wrong.push(format!("{case}\n  agrees: remove it from differs.txt")),
            _ => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        answers.len(),
        wrong.join("\n")
    );
}
