//! Two equal machines, one given to real `ansible-playbook`, one to `amibake apply`, and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use serde_json::{Map, Value as Json};

use super::inventory::{self, IgnoreList, Inventory, differences};
use super::{Plain, needed, on_terminal, text};

/// The two machines.
pub(crate) struct Twins {
    /// Real Ansible's.
    pub(crate) theirs: Plain,
    /// Amibake's.
    pub(crate) ours: Plain,
    folder: tempfile::TempDir,
    carrier: Carrier,
}

/// How Ansible's modules reach its machine. Modules, actions, templates are Ansible's own either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// As it comes: a Python program a task through `ssh`, pipelined.
    Pipelining,
    /// By mitogen, in about a fifth of the time: for the many small cases.
    Mitogen,
}

/// One run of a playbook on one machine.
#[derive(Debug)]
pub(crate) struct Run {
    /// The exit code.
    pub(crate) exit: Option<i32>,
    /// What the tasks answered, in order.
    pub(crate) tasks: Vec<Task>,
    said: String,
}

/// What one task answered.
#[derive(Debug, Default)]
pub(crate) struct Task {
    /// `role : name`.
    pub(crate) name: String,
    /// `ok`, `changed`, `skipped`, `failed`, `ignored`, as our events spell it.
    pub(crate) status: String,
    result: Map<String, Json>,
    /// Likewise of each item of its loop.
    items: Vec<(String, Map<String, Json>)>,
}

impl Twins {
    /// Boots both.
    pub(crate) fn start(carrier: Carrier) -> Self {
        let [theirs, ours] = Plain::start_two();
        Self {
            theirs,
            ours,
            folder: tempfile::tempdir().unwrap(),
            carrier,
        }
    }

    /// A folder that goes with them.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Does the same to both, from outside.
    pub(crate) fn both(&self, act: impl Fn(&Plain)) {
        act(&self.theirs);
        act(&self.ours);
    }

    /// Runs a command on both as root, and insists that it works.
    pub(crate) fn prepare(&self, command: &str) {
        let run = |plain: &Plain| {
            let output = plain.ssh(&format!("sudo sh -c '{command}'"));
            let said = text(&output.stderr);
            assert!(output.status.success(), "{command}: {said}");
        };
        thread::scope(|scope| {
            scope.spawn(|| run(&self.theirs));
            run(&self.ours);
        });
    }

    /// Runs a playbook on both at once: Ansible's run, then ours.
    pub(crate) fn play(&self, playbook: &Path, more: &[&str]) -> (Run, Run) {
        thread::scope(|scope| {
            let theirs = scope.spawn(|| self.by_ansible(playbook, more));
            let ours = self.by_us(playbook, more);
            (theirs.join().unwrap(), ours)
        })
    }

    /// Runs a playbook on both, each on a terminal where each question gets its answer.
    pub(crate) fn play_on_terminal(
        &self,
        playbook: &Path,
        more: &[&str],
        answers: &[[&str; 2]],
    ) -> (Output, Output) {
        let theirs = self.ansible(playbook, more, &self.results_of(playbook));
        let mut ours = self.ours.apply_file(playbook);
        ours.args(["--host-key", &self.ours.host_key()]).args(more);
        let answered = |command: &Command| on_terminal(command, answers).output().unwrap();
        (answered(&theirs), answered(&ours))
    }

    fn results_of(&self, playbook: &Path) -> PathBuf {
        let stem = playbook.file_stem().unwrap().to_string_lossy().into_owned();
        self.folder.path().join(format!("{stem}.results"))
    }

    fn ansible(&self, playbook: &Path, more: &[&str], results: &Path) -> Command {
        let plugins = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("tests/twin/callback_plugins");
        let python = PathBuf::from(needed("AMIBAKE_TEST_PYTHON"));
        let mut ansible = Command::new(python.with_file_name("ansible-playbook"));
        ansible
            .args(["-i", &format!("{},", self.theirs.address), "-u", "ubuntu"])
            .arg("--private-key")
            .arg(self.theirs.key())
            .arg(playbook)
            .args(more)
            .current_dir(self.folder.path())
            .env("ANSIBLE_HOME", self.folder.path().join("ansible"))
            .env("ANSIBLE_PIPELINING", "1")
            // Else the first task tells of the Python it found.
            .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
            .env("ANSIBLE_HOST_KEY_CHECKING", "0")
            // A machine under load is slow, not gone.
            .env("ANSIBLE_TIMEOUT", "120")
            .env("ANSIBLE_CALLBACK_PLUGINS", plugins)
            .env("ANSIBLE_CALLBACKS_ENABLED", "twin")
            .env("ANSIBLE_FORCE_COLOR", "0")
            // Its sockets end with the run, and no machine's address outlives it.
            .env(
                "ANSIBLE_SSH_ARGS",
                "-o ControlMaster=auto -o ControlPersist=10s -o UserKnownHostsFile=/dev/null",
            )
            .env("TWIN_RESULTS", results);
        if self.carrier == Carrier::Mitogen {
            ansible
                .env("ANSIBLE_STRATEGY", "mitogen_linear")
                .env("ANSIBLE_STRATEGY_PLUGINS", mitogen(&python));
        }
        ansible
    }

    fn by_ansible(&self, playbook: &Path, more: &[&str]) -> Run {
        let results = self.results_of(playbook);
        let output = self.ansible(playbook, more, &results).output().unwrap();
        Run {
            exit: output.status.code(),
            tasks: read_ansibles(&fs::read_to_string(&results).unwrap_or_default()),
            said: both_streams(&output),
        }
    }

    fn by_us(&self, playbook: &Path, more: &[&str]) -> Run {
        let mut apply = self.ours.apply_file(playbook);
        apply
            .args(["--host-key", &self.ours.host_key(), "--json"])
            .args(more);
        let output = apply.output().unwrap();
        Run {
            exit: output.status.code(),
            tasks: read_ours(&text(&output.stdout)),
            said: both_streams(&output),
        }
    }

    /// Lists what the two machines differ in now.
    pub(crate) fn differences(&self, ignored: &IgnoreList) -> Vec<String> {
        thread::scope(|scope| {
            let theirs = scope.spawn(|| inventory(&self.theirs));
            let ours = inventory(&self.ours);
            differences(&theirs.join().unwrap(), &ours, ignored)
        })
    }

    /// Lists what the tasks of two runs differ in; `volatile` are fields that are never compared.
    pub(crate) fn task_differences(
        &self,
        theirs: &Run,
        ours: &Run,
        volatile: &Volatile,
    ) -> Vec<String> {
        let mut found = Vec::new();
        // The codes are each program's own; whether it failed is not.
        if (theirs.exit == Some(0)) != (ours.exit == Some(0)) {
            let (ours_said, both) = (&ours.said, (ours.exit, theirs.exit));
            found.push(format!("exit codes are {both:?}, ours said:\n{ours_said}"));
        }
        for (index, theirs) in theirs.tasks.iter().enumerate() {
            match ours.tasks.get(index) {
                Some(ours) if ours.name == theirs.name => {
                    found.extend(self.of_task(theirs, ours, volatile));
                }
                other => {
                    let name = other.map_or("nothing", |task| task.name.as_str());
                    found.push(format!("task {index} is `{name}`, not `{}`", theirs.name));
                    return found;
                }
            }
        }
        let beyond = ours.tasks.iter().skip(theirs.tasks.len());
        found.extend(beyond.map(|task| format!("{}: not one of Ansible's", task.name)));
        found
    }

    fn of_task(&self, theirs: &Task, ours: &Task, volatile: &Volatile) -> Vec<String> {
        let mut found = Vec::new();
        if theirs.status != ours.status {
            let said = |task: &Task| Json::from(task.result.clone()).to_string();
            found.push(format!(
                "status is {}, not {}\n    ours:   {}\n    theirs: {}",
                ours.status,
                theirs.status,
                said(ours),
                said(theirs)
            ));
        } else if theirs.items.is_empty() && ours.items.is_empty() {
            found.extend(self.of_results(&theirs.result, &ours.result, volatile));
        }
        if theirs.items.len() != ours.items.len() {
            found.push(format!(
                "has {} items, not {}",
                ours.items.len(),
                theirs.items.len()
            ));
        }
        for (index, (theirs, ours)) in theirs.items.iter().zip(&ours.items).enumerate() {
            if theirs.0 != ours.0 {
                found.push(format!("item {index} is {}, not {}", ours.0, theirs.0));
            }
            let fields = self.of_results(&theirs.1, &ours.1, volatile);
            found.extend(
                fields
                    .into_iter()
                    .map(|line| format!("item {index}: {line}")),
            );
        }
        found
            .into_iter()
            .map(|line| format!("{}: {line}", theirs.name))
            .collect()
    }

    fn of_results(
        &self,
        theirs: &Map<String, Json>,
        ours: &Map<String, Json>,
        volatile: &Volatile,
    ) -> Vec<String> {
        let theirs = volatile.clean(theirs, &self.theirs.address);
        let ours = volatile.clean(ours, &self.ours.address);
        let names = theirs
            .keys()
            .chain(ours.keys().filter(|name| !theirs.contains_key(*name)));
        let differ = names.filter(|name| theirs.get(*name) != ours.get(*name));
        let said = |value: Option<&Json>| value.map_or("absent".to_owned(), Json::to_string);
        differ
            .map(|name| {
                format!(
                    "{name} is {}, not {}",
                    said(ours.get(name)),
                    said(theirs.get(name))
                )
            })
            .collect()
    }
}

/// Result fields that are never compared: `tests/twin/volatile`, one a line, each with its reason.
#[derive(Debug)]
pub(crate) struct Volatile(Vec<String>);

impl Volatile {
    /// Reads the reviewed list.
    pub(crate) fn reviewed() -> Self {
        Self(reviewed("volatile"))
    }

    fn clean(&self, result: &Map<String, Json>, address: &str) -> Map<String, Json> {
        let kept = result.iter().filter(|(name, _)| {
            !name.starts_with("_ansible_") && !self.0.iter().any(|field| field == *name)
        });
        let kept = kept.filter(|(_, value)| !is_on_the_way(value));
        let sorted = |name: &String, value: &Json| match (SETS.contains(&name.as_str()), value) {
            (true, Json::String(text)) => Json::from(in_order(text)),
            _ => value.clone(),
        };
        let kept = kept.map(|(name, value)| (name, sorted(name, value)));
        kept.map(|(name, value)| (name.clone(), self.clean_value(&value, address)))
            .collect()
    }

    fn clean_value(&self, value: &Json, address: &str) -> Json {
        match value {
            Json::Object(map) => Json::Object(self.clean(map, address)),
            Json::Array(items) => items
                .iter()
                .filter(|item| !is_apts_speed(item.as_str().unwrap_or_default()))
                .map(|item| self.clean_value(item, address))
                .collect(),
            Json::String(text) => Json::from(plain(text, address)),
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

/// A text without the machine's address, the dates of backups, and what Ansible 2.19 says of its own
/// layers before a message (docs/decisions.md).
fn plain(text: &str, address: &str) -> String {
    let layers = ["Task failed: ", "Unexpected AnsibleActionFail error: "];
    let said = layers
        .iter()
        .fold(text, |text, layer| text.strip_prefix(layer).unwrap_or(text));
    let mut lines: Vec<&str> = said.split('\n').collect();
    lines.retain(|line| !is_apts_speed(line));
    let text = lines.join("\n").replace(address, "ADDRESS");
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

impl Run {
    /// The statuses and how many tasks have each, with its figures as a recap.
    pub(crate) fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for task in &self.tasks {
            *counts.entry(task.status.as_str()).or_default() += 1;
        }
        counts
    }

    /// All that the program said.
    pub(crate) fn said(&self) -> &str {
        &self.said
    }
}

/// Lists where the tasks of two runs did not end alike: ok, changed, skipped, failed.
pub(crate) fn status_differences(theirs: &Run, ours: &Run) -> Vec<String> {
    let ended = |run: &Run| -> Vec<String> {
        let tasks = run.tasks.iter();
        tasks
            .map(|task| format!("{}: {}", task.name, task.status))
            .collect()
    };
    let (theirs, ours) = (ended(theirs), ended(ours));
    if theirs == ours {
        return Vec::new();
    }
    vec![format!("tasks ended as {ours:#?}, not {theirs:#?}")]
}

/// Returns the folder of mitogen's strategies in the environment of `python`.
fn mitogen(python: &Path) -> PathBuf {
    let environment = python.parent().and_then(Path::parent).unwrap();
    let pattern = environment.join("lib/python3*/site-packages/ansible_mitogen/plugins/strategy");
    let mut found = glob::glob(&pattern.to_string_lossy()).unwrap();
    found
        .next()
        .expect("mitogen is in the environment")
        .unwrap()
}

fn inventory(plain: &Plain) -> Inventory {
    let units = plain.ssh("systemctl list-units --all --plain --no-legend --no-pager --type=service,socket,timer,path");
    assert!(units.status.success(), "{}", text(&units.stderr));
    Inventory::of_root(&plain.root).with_running(&text(&units.stdout))
}

fn both_streams(output: &Output) -> String {
    format!("{}\n{}", text(&output.stdout), text(&output.stderr))
}

fn field(line: &Json, name: &str) -> String {
    line[name].as_str().unwrap_or_default().to_owned()
}

fn result(line: &Json) -> Map<String, Json> {
    line["result"].as_object().cloned().unwrap_or_default()
}

/// Reads the lines of our callback plugin; items come before their task.
fn read_ansibles(lines: &str) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut items: Vec<(String, Map<String, Json>)> = Vec::new();
    for line in lines.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        if line["kind"] == "item" {
            items.push((field(&line, "status"), result(&line)));
            continue;
        }
        let status = field(&line, "status");
        let mut items: Vec<_> = std::mem::take(&mut items);
        if status == "ignored" {
            // Of an item Ansible's callback is not told that its failure is ignored.
            let failed = items.iter_mut().filter(|(status, _)| status == "failed");
            failed.for_each(|(item, _)| item.clone_from(&status));
        }
        tasks.push(Task {
            name: field(&line, "name"),
            result: result(&line),
            status,
            items,
        });
    }
    tasks
}

/// Reads our events.
fn read_ours(lines: &str) -> Vec<Task> {
    let mut tasks: Vec<Task> = Vec::new();
    for line in lines.lines() {
        let line: Json = serde_json::from_str(line).unwrap();
        match line["event"].as_str() {
            Some("task-started") => tasks.push(Task {
                name: field(&line, "name"),
                ..Task::default()
            }),
            Some("item-finished") => {
                let task = tasks.last_mut().unwrap();
                task.items.push((field(&line, "status"), result(&line)));
            }
            Some("task-finished") => {
                let task = tasks.last_mut().unwrap();
                task.status = field(&line, "status");
                task.result = result(&line);
            }
            _ => {}
        }
    }
    // `meta` tasks and includes are no results of Ansible's.
    tasks.retain(|task| !task.status.is_empty());
    tasks
}
