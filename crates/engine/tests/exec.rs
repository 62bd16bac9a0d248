//! Playbooks run by us, compared with what real Ansible did with them (`record_exec.py`).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::path::{Path, PathBuf};

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::{Event, Recap, Status};
use amibake_protocol::fetched;
use amibake_protocol::job::ControllerInfo;
use serde_json::{Map, Value as Json, json};

/// Keeps what happened, in the shape of the recordings.
#[derive(Default)]
struct Recorder {
    tasks: Vec<Json>,
    module: String,
    items: Vec<Json>,
    error: Option<String>,
}

impl Controller for Recorder {
    fn event(&mut self, event: Event) {
        match event {
            Event::TaskStarted { name, module, .. } => {
                self.module = module;
                self.items.clear();
                self.tasks.push(json!({"name": name.trim(), "items": []}));
            }
            Event::ItemFinished { label, status, .. } => {
                let status = match status {
                    Status::Ignored | Status::Rescued => Status::Failed,
                    other => other,
                };
                let label = if label == "(censored)" {
                    String::new()
                } else {
                    label
                };
                self.items.push(json!([label, status]));
            }
            Event::TaskFinished { status, result, .. } => self.finished(status, result),
            Event::Finished { error, .. } => self.error = error,
            _ => {}
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        match &ask {
            Ask::Fetch { fetch, file, .. } => Answer::Value {
                value: fetched::copy(fetch, "localhost", file).unwrap().into(),
            },
            _ => Answer::Refused {
                reason: format!("{ask:?}"),
            },
        }
    }
}

impl Recorder {
    fn finished(&mut self, status: Status, result: Map<String, Json>) {
        let Some(task) = self.tasks.last_mut() else {
            return;
        };
        let status = match status {
            Status::Rescued => Status::Failed,
            other => other,
        };
        task["status"] = json!(status);
        task["items"] = Json::Array(std::mem::take(&mut self.items));
        if self.module.rsplit('.').next() == Some("debug")
            && task["items"] == json!([])
            && result.get("skipped_reason") != Some(&json!("No items in the list"))
        {
            task["result"] = cleaned(Json::Object(result.clone()));
        }
        if let (Status::Failed | Status::Ignored, Some(msg)) = (status, result.get("msg")) {
            task["msg"] = msg.clone();
        }
    }
}

fn cleaned(value: Json) -> Json {
    const DROPPED: &[&str] = &[
        "invocation",
        "exception",
        "start",
        "end",
        "delta",
        "warnings",
        "deprecations",
        "ansible_facts",
    ];
    match value {
        Json::Object(map) => map
            .into_iter()
            .filter(|(key, _)| !DROPPED.contains(&key.as_str()))
            .map(|(key, value)| (key, cleaned(value)))
            .collect(),
        Json::Array(items) => items.into_iter().map(cleaned).collect(),
        other => other,
    }
}

/// Reads `# options:` as far as cases use it.
fn options(text: &str, scratch: &Path) -> Options {
    let mut options = Options {
        inventory_hostname: "localhost".to_owned(),
        local: true,
        controller: ControllerInfo {
            hostname: "controller".to_owned(),
            user: "author".to_owned(),
            inventory: vec!["localhost,".to_owned()],
            limit: None,
        },
        ..Options::default()
    };
    options.extra_vars.insert("tmp".to_owned(), json!(scratch));
    let first = text.lines().next().unwrap_or_default();
    let words: Vec<&str> = first
        .strip_prefix("# options:")
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .unwrap_or_default()
                .trim_matches(['\'', '"'])
                .to_owned()
        };
        match word {
            "--check" => options.check = true,
            "--diff" => options.diff = true,
            "--force-handlers" => options.force_handlers = true,
            "--tags" => options.tags.push(value()),
            "--skip-tags" => options.skip_tags.push(value()),
            "--start-at-task" => options.start_at_task = Some(value()),
            "-e" => {
                let pair = value();
                let (name, value) = pair.split_once('=').unwrap();
                options.extra_vars.insert(name.to_owned(), json!(value));
            }
            other => panic!("unknown option {other}"),
        }
    }
    options
}

fn run(case: &Path) -> (Recorder, Recap, PathBuf) {
    let scratch = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(case).unwrap();
    let files = Disk::here();
    let project = Project::playbook(&files, case.to_path_buf());
    let mut recorder = Recorder::default();
    let recap = exec::run(&project, &options(&text, scratch.path()), &mut recorder);
    (recorder, recap, scratch.path().to_path_buf())
}

fn compare(case: &Path) -> Result<(), String> {
    let recorded =
        std::fs::read_to_string(case.with_extension("json")).map_err(|e| e.to_string())?;
    let expected: Json = serde_json::from_str(&recorded).unwrap();
    let (recorder, recap, scratch) = run(case);
    let here = case.parent().unwrap().to_string_lossy().into_owned();
    let ours = json!(recorder.tasks).to_string();
    let ours = ours
        .replace(&*scratch.to_string_lossy(), "TMP")
        .replace(&here, "HERE");
    let ours: Json = serde_json::from_str(&ours).unwrap();
    let (tasks, theirs) = (
        ours.as_array().unwrap(),
        expected["tasks"].as_array().unwrap(),
    );
    let mut wrong = String::new();
    for at in 0..tasks.len().max(theirs.len()) {
        let (a, b) = (theirs.get(at), tasks.get(at));
        // Where Ansible lost its own message, ours stands alone.
        let lost = a.is_some_and(|task| {
            task["msg"]
                .as_str()
                .is_some_and(|m| m.ends_with("Unknown error."))
        });
        if a != b && !lost {
            let show = |side: Option<&Json>| side.map_or("(none)".to_owned(), Json::to_string);
            wrong += &format!(
                "  task {at}\n    ansible: {}\n    ours:    {}\n",
                show(a),
                show(b)
            );
            break;
        }
    }
    let figures = json!({
        "ok": recap.ok, "changed": recap.changed, "failures": recap.failed, "skipped": recap.skipped,
        "rescued": recap.rescued, "ignored": recap.ignored, "unreachable": recap.unreachable,
    });
    let theirs = &expected["recap"];
    if !theirs.as_object().unwrap().is_empty() && figures != *theirs {
        wrong += &format!("  recap\n    ansible: {theirs}\n    ours:    {figures}\n");
    }
    if let Some(error) = recorder.error.filter(|_| !wrong.is_empty()) {
        wrong += &format!("  error: {error}\n");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[test]
fn every_playbook_ends_as_under_ansible() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/exec");
    let only = std::env::var("CASE").ok();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".yml") && !name.ends_with(".meta.yml")
        })
        .filter(|path| {
            only.as_ref()
                .is_none_or(|only| path.file_stem().unwrap() == only.as_str())
        })
        .collect();
    cases.sort();
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let name = case.file_stem()?.to_string_lossy().into_owned();
            compare(case).err().map(|wrong| format!("{name}:\n{wrong}"))
        })
        .collect();
    assert!(!cases.is_empty());
    assert!(
        failures.is_empty(),
        "{} of {} differ\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}
