//! What a run of a playbook answered, Ansible's or ours, and how two of them differ.

use std::collections::BTreeMap;
use std::process::Output;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::text;
use super::twins::Kept;
use super::volatile::{Own, Volatile};

/// One run of a playbook on one machine.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The exit code.
    pub(crate) exit: Option<i32>,
    /// What the tasks answered, in order.
    pub(crate) tasks: Vec<Task>,
    #[serde(skip)]
    said: String,
}

/// What one task answered.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Task {
    /// `role : name`.
    pub(crate) name: String,
    /// `ok`, `changed`, `skipped`, `failed`, `ignored`, as our events spell it.
    pub(crate) status: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    result: Map<String, Json>,
    /// Likewise of each item of its loop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    items: Vec<(String, Map<String, Json>)>,
}

impl Run {
    /// Reads what our callback plugin wrote in Ansible's run.
    pub(crate) fn of_ansible(
        output: &Output,
        results: &str,
        volatile: &Volatile,
        own: &Own,
    ) -> Self {
        Self::cleaned(output, read_ansibles(results), volatile, own)
    }

    /// Reads the events of ours.
    pub(crate) fn of_ours(output: &Output, volatile: &Volatile, own: &Own) -> Self {
        Self::cleaned(output, read_ours(&text(&output.stdout)), volatile, own)
    }

    fn cleaned(output: &Output, mut tasks: Vec<Task>, volatile: &Volatile, own: &Own) -> Self {
        for task in &mut tasks {
            let results = task.items.iter_mut().map(|(_, result)| result);
            for result in results.chain([&mut task.result]) {
                *result = volatile.clean(result, own);
            }
        }
        Self {
            exit: output.status.code(),
            tasks,
            said: format!("{}\n{}", text(&output.stdout), text(&output.stderr)),
        }
    }

    /// Returns it without what nobody will compare.
    pub(crate) fn as_recorded(&self, kept: Kept) -> Self {
        let mut run = self.clone();
        for task in &mut run.tasks {
            if kept == Kept::Ends {
                task.items.clear();
            }
            if kept == Kept::Ends || !task.items.is_empty() {
                task.result.clear();
            }
        }
        run
    }

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

/// Lists what the tasks of two runs differ in.
pub(crate) fn task_differences(theirs: &Run, ours: &Run) -> Vec<String> {
    let mut found = Vec::new();
    // The codes are each program's own; whether it failed is not.
    if (theirs.exit == Some(0)) != (ours.exit == Some(0)) {
        let (ours_said, both) = (&ours.said, (ours.exit, theirs.exit));
        found.push(format!("exit codes are {both:?}, ours said:\n{ours_said}"));
    }
    for (index, theirs) in theirs.tasks.iter().enumerate() {
        match ours.tasks.get(index) {
            Some(ours) if ours.name == theirs.name => {
                found.extend(of_task(theirs, ours));
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

fn of_task(theirs: &Task, ours: &Task) -> Vec<String> {
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
        found.extend(of_results(&theirs.result, &ours.result));
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
        let fields = of_results(&theirs.1, &ours.1);
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

fn of_results(theirs: &Map<String, Json>, ours: &Map<String, Json>) -> Vec<String> {
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
