//! Which plays a host of an inventory runs: those whose `hosts` name it, and none passed over unsaid.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

#[derive(Default)]
struct Plays {
    started: Vec<String>,
    error: Option<String>,
}

impl Controller for Plays {
    fn event(&mut self, event: Event) {
        match event {
            Event::PlayStarted { name } => self.started.push(name),
            Event::Finished { error, .. } => self.error = error,
            _ => {}
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        Answer::Refused {
            reason: format!("{ask:?}"),
        }
    }
}

/// Runs plays for these hosts as `web01`, of the group `web` beside `db`.
fn plays_of_web01(hosts: &[&str], limited: bool) -> Plays {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("site.yml");
    let play = |hosts: &&str| {
        format!("- {{hosts: {hosts:?}, name: {hosts:?}, gather_facts: false, tasks: []}}\n")
    };
    std::fs::write(&path, hosts.iter().map(play).collect::<String>()).unwrap();
    let listed = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let options = Options {
        inventory_hostname: "web01".to_owned(),
        group_names: listed(&["web"]),
        groups: BTreeMap::from([
            ("all".to_owned(), listed(&["web01", "web02", "db1"])),
            ("ungrouped".to_owned(), Vec::new()),
            ("web".to_owned(), listed(&["web01", "web02"])),
            ("db".to_owned(), listed(&["db1"])),
        ]),
        limited,
        ..Options::default()
    };
    let files = Disk::here();
    let project = Project::playbook(&files, path);
    let mut plays = Plays::default();
    exec::run(&project, &options, &mut plays);
    plays
}

#[test]
fn a_play_runs_where_its_pattern_names_the_host() {
    let ours = [
        "~web.*",
        "~.*1$",
        "web[0]",
        "all:!db",
        "db:web:&web",
        "web*",
        "all[0:1]",
        "!db",
    ];
    let others = [
        "~b",
        "web[1]",
        "db",
        "web:!~web0",
        "all,!web",
        "db:web,&web",
        "web01:&db",
        "nobody",
    ];
    let plays = plays_of_web01(&[&ours[..], &others[..]].concat(), false);
    assert_eq!(plays.error, None);
    assert_eq!(plays.started, ours);
}

#[test]
fn a_play_for_the_controller_is_refused_unless_a_limit_leaves_it_out() {
    let hosts = ["web", "{{ 'localhost' }}", "db,web"];
    let plays = plays_of_web01(&hosts, false);
    assert_eq!(plays.started, ["web"]);
    let said = plays.error.unwrap();
    assert!(
        said.contains("site.yml:2: a play for `localhost` is not supported where a template"),
        "{said}"
    );
    let plays = plays_of_web01(&hosts, true);
    assert_eq!(
        (plays.started, plays.error),
        (vec!["web".to_owned(), "db,web".to_owned()], None)
    );
}

#[test]
fn a_pattern_that_is_none_stops_the_run() {
    let said = plays_of_web01(&["~("], false).error.unwrap();
    assert!(
        said.contains("`~(` does not work as a regular expression"),
        "{said}"
    );
    let said = plays_of_web01(&["web[7]"], false).error.unwrap();
    assert!(
        said.contains("no host matches the subscript of `web[7]`"),
        "{said}"
    );
}
