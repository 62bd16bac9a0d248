//! What real Ansible was recorded to answer, and when it is asked anew.
//!
//! `tests/twin/recorded/NAME.json` has the answers of one test, with what they depend on: the versions of Ansible and
//! its collections, the packages of the test machines' root, the cases. Where one of those is another, or ours answers
//! otherwise, Ansible is asked live, and so it is in every run for a few tests, chosen by the commit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::inventory::{packages, sha256};
use super::needed;

/// How many tests are asked live in every run.
const ASKED_EACH_RUN: usize = 2;

/// What answers depend on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Basis {
    /// Distributions of Python and collections of Ansible, with their versions.
    versions: BTreeMap<String, String>,
    /// Hash of the packages of the machines' root.
    packages: String,
    /// Hash of the cases.
    cases: String,
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    basis: Basis,
    answers: T,
}

/// Where one test's answers come from.
pub(crate) struct Recording {
    name: &'static str,
    basis: Basis,
}

impl Recording {
    /// The recording of a test, whose answers depend on these texts, and files of these folders.
    pub(crate) fn new(name: &'static str, texts: &[&str], paths: &[&Path]) -> Self {
        let mut cases = texts.concat();
        for path in paths {
            digest(path, &mut cases);
        }
        let basis = Basis {
            versions: versions(&PathBuf::from(needed("AMIBAKE_TEST_PYTHON"))),
            packages: packages(Path::new(&needed("AMIBAKE_TEST_ROOT"))),
            cases: sha256(cases.as_bytes()),
        };
        Self { name, basis }
    }

    /// Lists where ours differs from Ansible: as that is recorded, or asked now if it has to be. `compare` gets the
    /// recorded answers, or none: then it asks, and returns the answers too.
    pub(crate) fn differences<T: Serialize + DeserializeOwned>(
        &self,
        compare: impl Fn(Option<T>) -> (Vec<String>, T),
    ) -> Vec<String> {
        let why = match self.load() {
            Ok(answers) => match compare(Some(answers)).0 {
                found if found.is_empty() => return found,
                found => {
                    let first = found[0].lines().next().unwrap_or_default();
                    format!("ours is not as recorded: {first}")
                }
            },
            Err(why) => why,
        };
        note(&format!("{} was asked live: {why}", self.name));
        let (found, answers) = compare(None);
        if std::env::var_os("AMIBAKE_TEST_RECORD").is_some() {
            self.save(&answers);
        }
        found
    }

    /// Returns the recorded answers, or why Ansible has to be asked.
    fn load<T: DeserializeOwned>(&self) -> Result<T, String> {
        if let Some(why) = asked_anyway(self.name) {
            return Err(why);
        }
        let text = fs::read_to_string(self.path()).map_err(|_| "nothing is recorded".to_owned())?;
        let file: File<T> =
            serde_json::from_str(&text).map_err(|e| format!("the recording: {e}"))?;
        let of = |basis: &Basis| -> BTreeMap<String, String> {
            let more = [
                ("the packages", &basis.packages),
                ("the cases", &basis.cases),
            ];
            let more = more.map(|(name, hash)| (name.to_owned(), hash.clone()));
            basis.versions.clone().into_iter().chain(more).collect()
        };
        let (then, now) = (of(&file.basis), of(&self.basis));
        let other: Vec<&str> = now
            .iter()
            .filter(|(name, value)| then.get(*name) != Some(*value))
            .map(|(name, _)| name.as_str())
            .collect();
        if other.is_empty() {
            return Ok(file.answers);
        }
        Err(format!("it was recorded with other {}", other.join(", ")))
    }

    fn save<T: Serialize>(&self, answers: &T) {
        let file = serde_json::to_value(File {
            basis: self.basis.clone(),
            answers,
        })
        .unwrap();
        let mut text = String::new();
        lines(&file, 0, &mut text);
        fs::write(self.path(), text + "\n").unwrap();
    }

    fn path(&self) -> PathBuf {
        folder().join(format!("{}.json", self.name))
    }
}

fn folder() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin/recorded")
}

/// Whether a test is asked whatever is recorded: `./test --live` asks all, each run a few.
fn asked_anyway(name: &str) -> Option<String> {
    if std::env::var_os("TWIN_PIPELINING").is_some() {
        return Some("TWIN_PIPELINING is set".to_owned());
    }
    let run = std::env::var("AMIBAKE_TEST_LIVE").ok()?;
    if run == "all" {
        return Some("all are".to_owned());
    }
    let recorded = fs::read_dir(folder()).into_iter().flatten().flatten();
    let mut names: Vec<String> = recorded
        .filter_map(|entry| {
            Some(
                entry
                    .file_name()
                    .to_str()?
                    .strip_suffix(".json")?
                    .to_owned(),
            )
        })
        .collect();
    names.sort_by_cached_key(|name| sha256(format!("{run} {name}").as_bytes()));
    let chosen = names
        .iter()
        .take(ASKED_EACH_RUN)
        .any(|chosen| chosen == name);
    chosen.then(|| "this commit's turn".to_owned())
}

/// Leaves a line for the end of `./test`: what a test that passes prints is not shown.
fn note(line: &str) {
    if let Some(path) = std::env::var_os("AMIBAKE_TEST_NOTES") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.unwrap(), "{line}").unwrap();
    }
}

/// Adds names and content of everything at and below a path.
fn digest(path: &Path, to: &mut String) {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if path.is_dir() {
        let mut below: Vec<PathBuf> = fs::read_dir(path)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        below.sort();
        writeln!(to, "{name}/").unwrap();
        below.iter().for_each(|path| digest(path, to));
    } else {
        writeln!(to, "{name} {}", sha256(&fs::read(path).unwrap())).unwrap();
    }
}

/// Returns the versions of what answers, as they are installed beside a Python.
fn versions(python: &Path) -> BTreeMap<String, String> {
    let library = python.ancestors().nth(2).unwrap().join("lib");
    let one = |pattern: &str| {
        let pattern = format!("{}/python3*/site-packages/{pattern}", library.display());
        let mut found = glob::glob(&pattern).unwrap();
        found
            .next()
            .unwrap_or_else(|| panic!("{pattern} is not installed: run ./test"))
            .unwrap()
    };
    let distribution = |name: &str| {
        let folder = one(&format!("{name}-*.dist-info"));
        let stem = folder.file_stem().unwrap().to_string_lossy().into_owned();
        (name.replace('_', "-"), stem[name.len() + 1..].to_owned())
    };
    let collection = |name: &str| {
        let manifest = one(&format!(
            "ansible_collections/{}/MANIFEST.json",
            name.replace('.', "/")
        ));
        let manifest: Json = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        let version = manifest["collection_info"]["version"].as_str();
        (name.to_owned(), version.unwrap().to_owned())
    };
    BTreeMap::from([
        distribution("ansible_core"),
        distribution("mitogen"),
        collection("ansible.posix"),
        collection("community.general"),
    ])
}

/// How deep a recording's values are on lines of their own: a task or a changed file is one.
const ON_LINES: usize = 4;

/// Writes JSON so that a difference between two recordings is read by lines.
fn lines(value: &Json, depth: usize, to: &mut String) {
    let inside: Vec<(String, &Json)> = match value {
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| (format!("{}: ", Json::from(key.as_str())), value))
            .collect(),
        Json::Array(items) => items.iter().map(|value| (String::new(), value)).collect(),
        _ => Vec::new(),
    };
    if depth > ON_LINES || inside.is_empty() {
        write!(to, "{value}").unwrap();
        return;
    }
    let (open, close) = if value.is_array() {
        ("[", "]")
    } else {
        ("{", "}")
    };
    to.push_str(open);
    for (index, (key, value)) in inside.into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(to, "{comma}\n{}{key}", " ".repeat(depth + 1)).unwrap();
        lines(value, depth + 1, to);
    }
    write!(to, "\n{}{close}", " ".repeat(depth)).unwrap();
}
