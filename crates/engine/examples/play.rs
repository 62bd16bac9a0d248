//! Runs a playbook on this machine and prints each event as a line of JSON; times go to stderr.

use std::io::Write;

use amibake_engine::exec::{self, Controller, Entry, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

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
    let path = std::env::args().nth(1).ok_or("usage: play PLAYBOOK")?;
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
        ..Options::default()
    };
    let start = std::time::Instant::now();
    let recap = exec::run(&project, &options, &mut Printer);
    writeln!(std::io::stderr(), "{recap:?} in {:?}", start.elapsed())?;
    Ok(())
}
