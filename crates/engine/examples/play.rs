//! Runs a playbook on this machine and prints each event as a line of JSON; times go to stderr.
//!
//! `play [--check] [--diff] PLAYBOOK`

use std::io::Write;

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_engine::worker;
use amibake_playbook::files::Disk;
use amibake_playbook::hosts;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;
use amibake_protocol::fetched;
use amibake_protocol::job::ControllerInfo;

struct Printer;

impl Controller for Printer {
    fn event(&mut self, event: Event) {
        if let Ok(line) = serde_json::to_string(&event) {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let answer = match ask {
            Ask::Fetch { fetch, file, .. } => {
                fetched::copy(&fetch, "localhost", &file).map_err(|e| e.to_string())
            }
            _ => Err("there is no controller here".to_owned()),
        };
        match answer {
            Ok(result) => Answer::Value {
                value: result.into(),
            },
            Err(reason) => Answer::Refused { reason },
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(worker::WORKER) => return Ok(worker::serve(&arguments[1..])?),
        Some(worker::JOB) => return Ok(worker::serve_job(&arguments[1..])?),
        _ => {}
    }
    let (flags, paths): (Vec<_>, Vec<_>) = std::env::args()
        .skip(1)
        .partition(|word| word.starts_with("--"));
    let path = paths.first();
    let path = path.ok_or("usage: play [--check] [--diff] PLAYBOOK")?;
    let given = |flag: &str| flags.iter().any(|word| word == flag);
    let files = Disk::here();
    let project = Project::playbook(&files, std::fs::canonicalize(path)?);
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        local: true,
        local_hosts: hosts::CONTROLLER
            .iter()
            .map(|name| (*name).to_owned())
            .collect(),
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
