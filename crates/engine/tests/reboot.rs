//! A run whose machine reboots ends as one whose machine does not: each task runs once, and all that is
//! told is told once, wherever in the play the reboot is.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::time::Duration;

use amibake_engine::exec::{self, Controller, Entry, Interruption, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::{Event, Recap};
use amibake_protocol::job::Gathering;
use serde_json::{Map, Value as Json, json};

/// What a run told and gave to keep.
struct Machine {
    /// Whether this process is to end with the machine.
    dies: bool,
    told: Vec<Json>,
    kept: Option<Vec<u8>>,
}

/// How this process ends when its machine goes down.
struct Down;

impl Controller for Machine {
    fn event(&mut self, event: Event) {
        let mut told = json!(event);
        forget_times(&mut told);
        self.told.push(told);
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Keep { file, .. } => {
                self.kept = Some(std::fs::read(file).unwrap());
                if self.dies {
                    resume_unwind(Box::new(Down));
                }
                Answer::Value { value: Json::Null }
            }
            // As to `--step`.
            Ask::Confirm { .. } => Answer::Value { value: "y".into() },
            other => Answer::Refused {
                reason: format!("{other:?}"),
            },
        }
    }
}

/// Removes what is another in each run.
fn forget_times(told: &mut Json) {
    match told {
        Json::Object(fields) => {
            for name in ["elapsed", "elapsed_ms", "start", "end", "delta"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(forget_times);
        }
        Json::Array(items) => items.iter_mut().for_each(forget_times),
        _ => {}
    }
}

/// Runs a playbook whose `log` is in `folder`; returns what was told, how often the machine rebooted, and the recap.
fn run(
    playbook: &Path,
    folder: &Path,
    dies: bool,
    set: fn(&mut Options),
) -> (Vec<Json>, u32, Recap) {
    let project = Project {
        files: &Disk::here(),
        entries: ["once.yml", playbook.file_name().unwrap().to_str().unwrap()]
            .map(|name| Entry::Playbook {
                path: playbook.with_file_name(name),
                vars: Map::from_iter([("of_entry".to_owned(), json!(name))]),
            })
            .into(),
    };
    let mut options = Options {
        inventory_hostname: "web".to_owned(),
        every_play: true,
        ..Options::default()
    };
    set(&mut options);
    let log = json!(folder.join("log"));
    options.extra_vars.insert("log".to_owned(), log);
    let mut machine = Machine {
        dies,
        told: Vec::new(),
        kept: None,
    };
    let mut reboots = 0;
    loop {
        let from = machine.kept.take().map(|checkpoint| Interruption {
            checkpoint,
            ago: Duration::ZERO,
        });
        let ended = catch_unwind(AssertUnwindSafe(|| match &from {
            None => exec::run(&project, &options, &mut machine),
            Some(from) => exec::resume(&project, &options, &mut machine, from),
        }));
        match ended {
            Ok(recap) => return (machine.told, reboots, recap),
            Err(cause) if cause.is::<Down>() => reboots += 1,
            Err(cause) => resume_unwind(cause),
        }
    }
}

/// What of `playbook` differs between a machine that stays up and one that does not.
fn compare(playbook: &str, set: fn(&mut Options)) -> u32 {
    let here = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/reboot");
    let playbook = here.join(playbook);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [up, down] = folders.each_ref().map(tempfile::TempDir::path);
    let (expected, none, recap) = run(&playbook, up, false, set);
    let (told, reboots, ours) = run(&playbook, down, true, set);
    assert_eq!(none, 0);
    let shown = |told: &[Json], folder: &Path| -> Vec<String> {
        let folder = folder.to_str().unwrap();
        told.iter()
            .map(|event| event.to_string().replace(folder, "TMP"))
            .collect()
    };
    let (expected, told) = (shown(&expected, up), shown(&told, down));
    for (at, (theirs, ours)) in expected.iter().zip(&told).enumerate() {
        assert_eq!(ours, theirs, "event {at} after {reboots} reboots");
    }
    assert_eq!(told.len(), expected.len());
    assert_eq!(ours, recap);
    let log = |folder: &Path| std::fs::read_to_string(folder.join("log")).unwrap();
    assert_eq!(log(down), log(up));
    reboots
}

#[test]
fn a_play_goes_on_where_it_was() {
    assert_eq!(compare("everywhere.yml", |_| {}), 15);
    let stepping = compare("everywhere.yml", |options| {
        options.step = true;
    });
    assert_eq!(stepping, 15, "--step");
}

#[test]
fn a_play_that_fails_fails_as_it_would_have() {
    assert_eq!(compare("fails.yml", |_| {}), 3);
}

#[test]
fn what_decided_about_the_plays_begin_and_what_failed_and_was_cleared_is_known_after_it() {
    let reboots = compare("cleared.yml", |options| {
        options.gathering = Gathering::Smart;
    });
    assert_eq!(reboots, 3);
}
