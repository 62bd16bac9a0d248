//! How a run goes from play to play: when facts are gathered, and how it waits for other hosts.

use std::collections::BTreeMap;

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask, Turn};
use amibake_protocol::event::{Event, Status};
use amibake_protocol::job::{Gathering, ImplicitLocalhost};
use serde_json::{Map, json};

/// Notes what runs, and says at which play the run ends.
#[derive(Default)]
struct Notes {
    names: Vec<String>,
    messages: Vec<String>,
    turns: Vec<(u32, bool)>,
    batches: Vec<u32>,
    ended: Vec<u32>,
    /// Whether plays are said to be ended for all.
    ends_plays: bool,
    ends_at: Option<u32>,
    /// The tasks whose end is asked about.
    errors: Vec<(Vec<u32>, bool)>,
    /// Why the run could not go on.
    error: Option<String>,
    /// Which of them failed elsewhere.
    fails_at: Option<usize>,
}

impl Controller for Notes {
    fn event(&mut self, event: Event) {
        match event {
            Event::TaskStarted { name, .. } => self.names.push(name),
            Event::TaskFinished { status, result, .. } => {
                assert_ne!(status, Status::Failed, "{result:?}");
                let message = result.get("msg").and_then(|msg| msg.as_str());
                self.messages.extend(message.map(str::to_owned));
            }
            Event::Finished { error, .. } => self.error = error,
            _ => {}
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let (play, takes_part) = match ask {
            Ask::Turn {
                play,
                batch,
                takes_part,
                ended,
            } => {
                self.batches.extend(batch);
                self.ended.extend(ended);
                (play, takes_part)
            }
            Ask::AnyError { at, failed, .. } => {
                self.errors.push((at, failed));
                let value = json!(self.fails_at == Some(self.errors.len()));
                return Answer::Value { value };
            }
            other => {
                let reason = format!("{other:?}");
                return Answer::Refused { reason };
            }
        };
        self.turns.push((play, takes_part));
        let turn = Turn {
            goes_on: self.ends_at != Some(play),
            gone: vec!["b".to_owned()],
            ended: self.ends_plays,
            news: Vec::new(),
        };
        Answer::Value { value: json!(turn) }
    }
}

fn run(playbook: &str, options: &Options, mut notes: Notes) -> Notes {
    let folder = tempfile::tempdir().expect("a folder for the play");
    let path = folder.path().join("site.yml");
    std::fs::write(&path, playbook).expect("the folder is ours");
    let files = Disk::here();
    let project = Project::playbook(&files, path);
    exec::run(&project, options, &mut notes);
    notes
}

#[test]
fn facts_are_gathered_as_the_setting_says() {
    let play = |said: &str| format!("- {{hosts: all, gather_subset: '!all'{said}, tasks: []}}\n");
    let playbook = ["", ", gather_facts: true", ", gather_facts: false", ""]
        .map(play)
        .concat();
    let again = "- {hosts: all, gather_facts: false, tasks: [meta: clear_facts]}\n".to_owned();
    let playbook = playbook + &again + &play("");
    for (gathering, times) in [
        (Gathering::Implicit, 4),
        (Gathering::Explicit, 1),
        (Gathering::Smart, 2),
    ] {
        let options = Options {
            inventory_hostname: "localhost".to_owned(),
            local: true,
            gathering,
            ..Options::default()
        };
        let notes = run(&playbook, &options, Notes::default());
        let gathered = notes.names.iter().filter(|name| *name == "Gathering Facts");
        assert_eq!(gathered.count(), times, "{gathering:?}");
    }
}

const PLAYBOOK: &str = "\
- {hosts: web, gather_facts: false, tasks: [debug: {msg: '{{ ansible_play_hosts_all }} {{ ansible_play_hosts }}'}]}
- {hosts: localhost, gather_facts: false, tasks: [debug: {msg: 'here {{ group_names }} {{ hostvars.localhost.x }}'}]}
- {hosts: 'web:localhost', gather_facts: false, tasks: [debug: {msg: '{{ inventory_hostname }} of {{ play_hosts }}'}]}
";

fn together(host: &str, localhost: ImplicitLocalhost) -> Options {
    let names = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    Options {
        inventory_hostname: host.to_owned(),
        localhost,
        groups: BTreeMap::from([
            ("all".to_owned(), names(&["a", "b", "c"])),
            ("web".to_owned(), names(&["a", "b", "c"])),
        ]),
        together: names(&["a", "b", "localhost"]),
        all_vars: Map::from_iter([("x".to_owned(), json!(1))]),
        ..Options::default()
    }
}

#[test]
fn a_host_waits_for_the_others_before_each_play() {
    let options = together("a", ImplicitLocalhost::Beside);
    let notes = run(PLAYBOOK, &options, Notes::default());
    assert_eq!(notes.turns, [(0, true), (1, false), (2, true)]);
    assert_eq!(
        notes.messages,
        ["['a', 'b'] ['a']", "a of ['a', 'localhost']"]
    );
}

#[test]
fn the_controller_has_the_plays_for_localhost() {
    let options = together("localhost", ImplicitLocalhost::This);
    let notes = run(PLAYBOOK, &options, Notes::default());
    assert_eq!(notes.turns, [(0, false), (1, true), (2, true)]);
    assert_eq!(
        notes.messages,
        ["here [] 1", "localhost of ['a', 'localhost']"]
    );
}

#[test]
fn a_run_that_does_not_go_on_ends_without_a_word() {
    let options = together("a", ImplicitLocalhost::Beside);
    let ends = Notes {
        ends_at: Some(1),
        ..Notes::default()
    };
    let notes = run(PLAYBOOK, &options, ends);
    assert_eq!(notes.turns, [(0, true), (1, false)]);
    assert_eq!((notes.messages.len(), notes.error), (1, None));
}

#[test]
fn a_failure_elsewhere_is_this_host_s_too_where_errors_are_fatal_for_all() {
    let playbook = "\
- hosts: 'a:localhost'
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - block:
        - debug: {msg: one}
        - debug: {msg: two}
      rescue:
        - debug: {msg: rescued}
    - {debug: {msg: careless}, any_errors_fatal: false}
    - {debug: {msg: ignored}, ignore_errors: true}
    - debug: {msg: last}
    - debug: {msg: after}
";
    let options = together("a", ImplicitLocalhost::Beside);
    let mut notes = Notes {
        fails_at: Some(1),
        ..Notes::default()
    };
    notes = run(playbook, &options, notes);
    let told = ["one", "rescued", "careless", "ignored", "last", "after"];
    assert_eq!(notes.messages, told);
    let places: Vec<&[u32]> = notes.errors.iter().map(|(at, _)| at.as_slice()).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(notes.error, None);
    assert_eq!(places.len(), 4, "{places:?}");
    let notes = Notes {
        fails_at: Some(3),
        ..Notes::default()
    };
    let notes = run(playbook, &options, notes);
    assert_eq!(
        notes.messages,
        ["one", "two", "careless", "ignored", "last"]
    );
    let why = notes.error.unwrap_or_default();
    assert!(why.contains("failed on another host"), "{why}");
}

const SERIAL: &str = "\
- hosts: 'a:localhost'
  gather_facts: false
  serial: 1
  tasks:
    - debug: {msg: '{{ ansible_play_batch }} of {{ ansible_play_hosts }}'}
    - meta: end_play
    - debug: {msg: not reached}
- {hosts: 'a:localhost', gather_facts: false, tasks: [debug: {msg: next}]}
";

#[test]
fn a_batch_waits_for_those_before_it_and_ends_a_play_for_those_after() {
    let first = together("a", ImplicitLocalhost::Beside);
    let notes = run(SERIAL, &first, Notes::default());
    assert_eq!(notes.messages, ["['a'] of ['a', 'localhost']", "next"]);
    assert_eq!((notes.batches, notes.ended), (vec![], vec![0]));
    let second = together("localhost", ImplicitLocalhost::This);
    let notes = run(SERIAL, &second, Notes::default());
    assert_eq!(
        notes.messages,
        ["['localhost'] of ['a', 'localhost']", "next"]
    );
    assert_eq!(notes.batches, [1]);
    let ended = Notes {
        ends_plays: true,
        ..Notes::default()
    };
    let notes = run(SERIAL, &second, ended);
    assert_eq!(notes.messages, ["next"]);
}
