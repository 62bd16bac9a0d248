//! The tables of `docs/playbooks.md` are what the code says. `BLESS=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use amibake_engine::{exec, modules};
use amibake_playbook::template::plugins::{self, Kind};
use amibake_playbook::{argspec, syntax};

fn keywords() -> String {
    let mut table = "| keyword | of | here | |\n|---|---|---|---|\n".to_owned();
    for keyword in syntax::KEYWORDS {
        let places: Vec<String> = keyword
            .places
            .iter()
            .map(|place| format!("{place:?}").to_lowercase())
            .collect();
        let places = match places.len() {
            6 => "all".to_owned(),
            _ => places
                .join(", ")
                .replace("importplaybook", "import_playbook"),
        };
        let (name, here) = (keyword.name, keyword.support.words());
        let _infallible = writeln!(table, "| `{name}` | {places} | {here} | {} |", keyword.note);
    }
    table
}

fn module_table() -> String {
    let mut rows: Vec<(String, &str)> = argspec::all()
        .map(|module| (module.name.to_owned(), "works"))
        .collect();
    let statements = syntax::STATEMENTS.iter();
    rows.extend(statements.map(|name| (format!("ansible.builtin.{name}"), "works")));
    rows.sort();
    rows.dedup();
    let mut table = "| module | here |\n|---|---|\n".to_owned();
    for (name, here) in rows {
        let _infallible = writeln!(table, "| `{name}` | {here} |");
    }
    table
}

/// What `with_` may be followed by in Ansible.
const LOOKUPS: &[&str] = &[
    "config",
    "csvfile",
    "dict",
    "env",
    "file",
    "fileglob",
    "first_found",
    "flattened",
    "indexed_items",
    "ini",
    "inventory_hostnames",
    "items",
    "lines",
    "list",
    "nested",
    "password",
    "pipe",
    "random_choice",
    "sequence",
    "subelements",
    "template",
    "together",
    "unvault",
    "url",
    "varnames",
    "vars",
    "filetree",
    "cartesian",
];

fn lookups() -> String {
    let mut table = "| lookup | answered by |\n|---|---|\n".to_owned();
    let mut names: Vec<&str> = LOOKUPS.to_vec();
    names.sort_unstable();
    for name in names {
        let by = match exec::lookup_is_answered_by(name) {
            Some(exec::Side::Target) => "the target, from the playbook's files and variables",
            Some(exec::Side::Network) => "the target, which asks the server",
            Some(exec::Side::Controller) => "the controller, if the playbook has it there",
            None => "nobody: what certainly reaches it is refused, and a task with it fails",
        };
        let _infallible = writeln!(table, "| `{name}` | {by} |");
    }
    table
}

fn filters() -> String {
    let mut table = "| of the collection | here |\n|---|---|\n".to_owned();
    let mut by_collection: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (kind, word) in [(Kind::Filter, ""), (Kind::Test, "is ")] {
        for name in kind.here() {
            let (collection, name) = name.rsplit_once('.').unwrap();
            if collection != "ansible.builtin" {
                let names = by_collection.entry(collection.to_owned()).or_default();
                names.push(format!("`{word}{name}`"));
            }
        }
    }
    for (collection, names) in by_collection {
        let _infallible = writeln!(table, "| `{collection}` | {} |", names.join(", "));
    }
    table
}

fn differences() -> String {
    let listed = include_str!("../../playbook/tests/spike/differs.txt");
    let mut out = String::new();
    for line in listed.lines().skip(1).filter(|line| !line.is_empty()) {
        let _infallible = match line.strip_prefix("# ") {
            Some(reason) => writeln!(out, "- {reason}"),
            None => writeln!(out, "  - `{}`", &line[2..]),
        };
    }
    out
}

/// Returns `text` with what stands between two marks replaced.
fn with(text: &str, mark: &str, table: &str) -> String {
    let (begin, end) = (
        format!("<!-- {mark} -->\n"),
        format!("<!-- end of {mark} -->"),
    );
    let from = text.find(&begin).unwrap() + begin.len();
    let to = text.find(&end).unwrap();
    format!("{}{table}{}", &text[..from], &text[to..])
}

#[test]
fn the_tables_of_the_documentation_are_what_the_code_says() {
    let path =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/playbooks.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let mut wanted = written.clone();
    for (mark, table) in [
        ("keywords", keywords()),
        ("modules", module_table()),
        ("lookups", lookups()),
        ("filters", filters()),
        ("differences", differences()),
    ] {
        wanted = with(&wanted, mark, &table);
    }
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(written == wanted, "docs/playbooks.md is behind: BLESS=1");
    }
}

#[test]
fn a_lookup_that_is_said_to_be_here_is_answered() {
    for name in plugins::LOOKUPS {
        let called = name.strip_prefix("ansible.builtin.");
        let called = called.or_else(|| name.strip_prefix("community.general."));
        assert!(
            exec::lookup_is_answered_by(called.unwrap_or(name)).is_some(),
            "{name}"
        );
    }
}

#[test]
fn a_module_that_is_listed_is_written() {
    for module in argspec::all() {
        let written = modules::find(module.name).is_some() || exec::does(module.name);
        assert!(written, "{} is not written", module.name);
    }
    for statement in syntax::STATEMENTS {
        assert!(exec::does(statement), "{statement}");
    }
}
