//! Runs a playbook on this machine and prints each event as a line of JSON; times go to stderr.
//!
//! `play [--check] [--diff] PLAYBOOK`

use std::io::Write;

use amibake_engine::exec::{self, Controller, Entry, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;
use amibake_protocol::job::ControllerInfo;

struct Printer;

impl Controller for Printer {
    fn event(&mut self, event: Event) {
        if let Ok(line) = serde_json::to_string(&event) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused {
            reason: "there is no controller here".to_owned(),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (flags, paths): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with("--"));
    let path = paths.first();
    let path = path.ok_or("usage: play [--check] [--diff] PLAYBOOK")?;
    let given = |flag: &str| flags.iter().any(|word| word == flag);
    let files = Disk::here();
    let project = Project {
        files: &files,
        entries: vec![Entry::Playbook {
            path: std::fs::canonicalize(path)?,
            vars: serde_json::Map::new(),
        }],
    };
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        local: true,
        controller: ControllerInfo {
            inventory: vec!["localhost,".to_owned()],
            ..ControllerInfo::default()
        },
        check: given("--check"),
        diff: given("--diff"),
        ..Options::default()
    };
    let start = std::time::Instant::now();
    let recap = exec::run(&project, &options, &mut Printer);
    writeln!(std::io::stderr(), "{recap:?} in {:?}", start.elapsed())?;
    Ok(())
}
