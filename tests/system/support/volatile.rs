//! What two equal results may differ in: fields that are never compared, words that are each machine's own,
//! and differences that are meant. Owns the reviewed lists `tests/twin/volatile` and `tests/twin/known`.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::inventory;

/// Result fields that are never compared: `tests/twin/volatile`, one a line, each with its reason.
#[derive(Debug)]
pub(crate) struct Volatile(Vec<String>);

impl Volatile {
    /// Reads the reviewed list.
    pub(crate) fn reviewed() -> Self {
        Self(reviewed("volatile"))
    }

    /// Returns a result without them, and with words for what each machine has of its own.
    pub(crate) fn clean(&self, result: &Map<String, Json>, own: &Own) -> Map<String, Json> {
        let kept = result.iter().filter(|(name, _)| {
            !name.starts_with("_ansible_") && !self.0.iter().any(|field| field == *name)
        });
        let kept = kept.filter(|(_, value)| !is_on_the_way(value));
        let kept = kept.filter(|(name, _)| *name != "size" || !is_an_archive(result));
        let sorted = |name: &String, value: &Json| match value {
            Json::String(text) if SETS.contains(&name.as_str()) => Json::from(in_order(text)),
            Json::Array(paths) if LISTED.contains(&name.as_str()) => Json::Array(by_name(paths)),
            _ => value.clone(),
        };
        let kept = kept.map(|(name, value)| (name, sorted(name, value)));
        kept.map(|(name, value)| (name.clone(), self.clean_value(&value, own)))
            .collect()
    }

    fn clean_value(&self, value: &Json, own: &Own) -> Json {
        match value {
            Json::Object(map) => Json::Object(self.clean(map, own)),
            Json::Array(items) => items
                .iter()
                .filter(|item| !is_apts_speed(item.as_str().unwrap_or_default()))
                .map(|item| self.clean_value(item, own))
                .collect(),
            Json::String(text) => Json::from(plain(text, own)),
            other => other.clone(),
        }
    }
}

/// Fields of a unit's `status` that systemd fills in any order.
const SETS: &[&str] = &[
    "After",
    "Before",
    "Conflicts",
    "Requires",
    "Wants",
    "WantedBy",
];

/// Fields of `archive` that have paths in the order in which Ansible's module finds them in their folders.
const LISTED: &[&str] = &["archived", "expanded_paths"];

/// Whether a result tells of an archive: its size hangs on the times within it, and on who pressed it.
fn is_an_archive(result: &Map<String, Json>) -> bool {
    result.contains_key("arcroot")
}

fn by_name(paths: &[Json]) -> Vec<Json> {
    let mut paths = paths.to_vec();
    paths.sort_by_key(Json::to_string);
    paths
}

fn in_order(words: &str) -> String {
    let mut words: Vec<&str> = words.split(' ').collect();
    words.sort_unstable();
    words.join(" ")
}

/// Whether a value is the path of a file that is only on the way.
fn is_on_the_way(value: &Json) -> bool {
    let text = value.as_str().unwrap_or_default();
    is_temporary(text) && !text.contains(char::is_whitespace)
}

/// Whether a word is a path below Ansible's temporary folders, or a temporary file of ours.
fn is_temporary(word: &str) -> bool {
    let theirs = word.contains("/.ansible/tmp/") || word.contains("/ansible/tmp/");
    word.starts_with('/') && theirs || word.starts_with("/tmp/.tmp")
}

/// Whether a line is apt's about a transfer: their order and speed are the network's.
fn is_apts_speed(line: &str) -> bool {
    line.starts_with("Get:") || line.starts_with("Fetched ")
}

/// What a result may tell of its machine and its run, and no other has.
pub(crate) struct Own<'a> {
    pub(crate) address: &'a str,
    /// Where the playbook lies.
    pub(crate) folder: &'a Path,
}

/// A text without the machine's address and the playbook's folder, the dates of backups, and what Ansible 2.19 says of its own
/// layers before a message (docs/decisions.md).
fn plain(text: &str, own: &Own) -> String {
    let layers = ["Task failed: ", "Unexpected AnsibleActionFail error: "];
    let said = layers
        .iter()
        .fold(text, |text, layer| text.strip_prefix(layer).unwrap_or(text));
    let mut lines: Vec<&str> = said.split('\n').collect();
    lines.retain(|line| !is_apts_speed(line));
    let text = lines
        .join("\n")
        .replace(own.address, "ADDRESS")
        .replace(&*own.folder.to_string_lossy(), "FOLDER");
    let words: Vec<&str> = text
        .split(' ')
        .map(|word| {
            if is_temporary(word) {
                "TEMPORARY"
            } else {
                word
            }
        })
        .collect();
    inventory::without_date(&words.join(" "))
}

/// Differences that are meant: `tests/twin/known`, fields of a task's result.
#[derive(Debug)]
pub(crate) struct Known(Vec<String>);

impl Known {
    /// Reads the reviewed list.
    pub(crate) fn reviewed() -> Self {
        Self(reviewed("known"))
    }

    /// Whether a difference of these cases, as it is told, is on the list.
    pub(crate) fn covers(&self, cases: &str, told: &str) -> bool {
        let told = format!("{cases}: {told}");
        let mut known = self.0.iter().map(|known| format!("{known} is "));
        known.any(|known| told.starts_with(&known))
    }
}

/// Reads a list of `ENTRY # reason` lines.
fn reviewed(list: &str) -> Vec<String> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin");
    let text = fs::read_to_string(folder.join(list)).unwrap();
    let lines = text.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let (entry, reason) = line.split_once(" # ").unwrap_or((line, ""));
        assert!(!reason.is_empty(), "no reason is given: {line}");
        entry.trim().to_owned()
    };
    lines.map(entry).collect()
}
