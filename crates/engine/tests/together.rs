//! Tasks for which hosts heed one another: what one does for all, what only so many do at the same time, what is told to
//! others. The controller here says what it is made to say.

use std::collections::BTreeMap;

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_playbook::value::Value;
use amibake_protocol::ask::{AddedHost, Answer, Ask, News, Told, Turn};
use amibake_protocol::event::Event;
use serde_json::{Map, Value as Json, json};

/// What a controller is asked, and answers.
#[derive(Default)]
struct Others {
    /// The answers to what is done for all, first asked last.
    once: Vec<Json>,
    news: Vec<Told>,
    /// The hosts that are named with each task that heeds others, and how many of them may be at it.
    asked: Vec<(Vec<String>, Option<u32>)>,
    came: Vec<Json>,
    told: Vec<News>,
    messages: Vec<String>,
    plays: Vec<String>,
    failed: usize,
    error: Option<String>,
    elsewhere: bool,
}

impl Controller for Others {
    fn event(&mut self, event: Event) {
        match event {
            Event::PlayStarted { name } => self.plays.push(name),
            Event::TaskFinished { result, .. } => {
                let message = result.get("msg").and_then(|msg| msg.as_str());
                self.messages.extend(message.map(str::to_owned));
            }
            Event::Finished {
                recap,
                error,
                elsewhere,
            } => {
                self.failed = usize::try_from(recap.failed).unwrap_or(0);
                self.error = error;
                self.elsewhere = elsewhere;
            }
            _ => {}
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let value = match ask {
            Ask::Turn { play, .. } => json!(Turn {
                goes_on: true,
                news: if play > 0 {
                    self.news.clone()
                } else {
                    Vec::new()
                },
                ..Turn::default()
            }),
            Ask::Once { hosts, .. } => {
                self.asked.push((hosts, None));
                self.once.pop().unwrap_or_else(|| json!({"once": "yours"}))
            }
            Ask::Came { outcome, .. } => {
                self.came.push(outcome);
                json!(true)
            }
            Ask::Slot { hosts, limit, .. } => {
                self.asked.push((hosts, Some(limit)));
                json!(true)
            }
            Ask::Tell { news } => {
                self.told.push(news);
                json!(true)
            }
            Ask::SlotEnded { .. } => json!(true),
            other => {
                let reason = format!("{other:?}");
                return Answer::Refused { reason };
            }
        };
        Answer::Value { value }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Runs a playbook on `b`, which is this machine as `a` and `c` are.
fn run(playbook: &str, mut others: Others) -> Others {
    let folder = tempfile::tempdir().expect("a folder for the play");
    let path = folder.path().join("site.yml");
    std::fs::write(&path, playbook).expect("the folder is ours");
    let files = Disk::here();
    let project = Project::playbook(&files, path);
    let options = Options {
        inventory_hostname: "b".to_owned(),
        local: true,
        groups: BTreeMap::from([("all".to_owned(), names(&["a", "b", "c"]))]),
        together: names(&["a", "b", "c"]),
        ..Options::default()
    };
    exec::run(&project, &options, &mut others);
    others
}

#[test]
fn who_does_it_for_all_tells_what_it_set_and_registered() {
    let playbook = "
- hosts: all
  gather_facts: false
  order: reverse_sorted
  tasks:
    - {set_fact: {a: [1, '{{ 2 }}']}, run_once: true, register: told}
    - {debug: {msg: alone}, run_once: '{{ false }}'}
    - {fail: , run_once: true, ignore_errors: true}
";
    let others = run(playbook, Others::default());
    let order = names(&["c", "b", "a"]);
    assert_eq!(others.asked, [(order.clone(), None), (order, None)]);
    let [set, failed] = &others.came[..] else {
        panic!("{:?}", others.came);
    };
    assert_eq!(set["failed"], json!(false));
    let shared = Value::from_foreign_json(&set["shared"]).to_json();
    let shared = shared.expect("what is told is JSON");
    assert_eq!(shared["sets"][0]["set"], json!({"a": [1, 2]}));
    assert_eq!(shared["registered"]["changed"], json!(false));
    assert_eq!(failed["failed"], json!(false)); // it was ignored
    assert_eq!(others.error, None);
}

#[test]
fn what_another_did_is_taken_over_as_data_and_nothing_more_than_the_task_says() {
    let playbook = "
- hosts: all
  gather_facts: false
  tasks:
    - {command: id, run_once: true, register: told}
    - {debug: {msg: '{{ told.stdout }} {{ x is defined }} {{ y }}'}}
";
    let shared = json!({
        "registered": {"stdout": {"__amibake": {"template": ["{{ 1 + 1 }}", null]}}},
        "sets": [{"set": {"x": 1}, "included": {"x": 1}, "facts": {"y": "{{ x }}"}}],
    });
    let done = json!({"once": "done", "outcome": {"failed": false, "shared": shared}});
    let others = run(
        playbook,
        Others {
            once: vec![done],
            ..Others::default()
        },
    );
    assert_eq!(others.messages, ["{{ 1 + 1 }} False {{ x }}"]);
    assert_eq!(others.came.len(), 0);
}

#[test]
fn what_failed_for_all_has_failed_here_and_can_be_rescued() {
    let playbook = "
- hosts: all
  gather_facts: false
  tasks:
    - block: [{command: id, run_once: true}]
      rescue: [debug: {msg: rescued}]
    - {command: id, run_once: true}
    - debug: {msg: after}
";
    let failed = json!({"once": "done", "outcome": {"failed": true}});
    let others = run(
        playbook,
        Others {
            once: vec![failed.clone(), failed],
            ..Others::default()
        },
    );
    assert_eq!(others.messages, ["rescued"]);
    assert_eq!((others.failed, others.elsewhere), (0, true));
    assert!(others.error.is_some());
}

#[test]
fn only_limits_below_the_number_of_hosts_are_asked_about_and_bad_ones_end_the_run() {
    let playbook = "
- hosts: all
  gather_facts: false
  throttle: 2
  tasks:
    - {debug: {msg: two}}
    - {debug: {msg: three}, throttle: 3}
    - {debug: {msg: any}, throttle: 0}
    - {debug: {msg: bad}, throttle: \"{{ 'nope' }}\"}
    - {debug: {msg: after}}
";
    let others = run(playbook, Others::default());
    assert_eq!(others.asked, [(names(&["a", "b", "c"]), Some(2))]);
    assert_eq!(others.messages, ["two", "three", "any"]);
    let why = others.error.unwrap_or_default();
    assert!(
        why.ends_with("integer: invalid literal for int() with base 10: 'nope'"),
        "{why}"
    );
    assert!(!others.elsewhere);
}

#[test]
fn hosts_that_run_freely_do_everything_themselves() {
    let playbook = "
- hosts: all
  gather_facts: false
  strategy: free
  tasks:
    - {debug: {msg: mine}, run_once: true}
";
    let others = run(playbook, Others::default());
    assert_eq!(
        (others.messages, others.asked),
        (names(&["mine"]), Vec::new())
    );
}

#[test]
fn what_is_added_is_told_and_who_hears_of_a_host_has_it_in_the_next_play() {
    let playbook = "
- hosts: b
  gather_facts: false
  tasks:
    - {add_host: {name: own, groups: g}}
    - {set_fact: {x: 1}, delegate_to: c, delegate_facts: true}
    - {debug: {msg: 'here {{ groups.g }}'}}
- hosts: all
  gather_facts: false
  tasks:
    - {debug: {msg: '{{ groups.g }} {{ hostvars.other.v }} {{ mine }} {{ ansible_play_hosts_all }}'}}
";
    let told = |news| Told {
        by: "a".to_owned(),
        news,
    };
    let added = News::Added(AddedHost {
        name: "other".to_owned(),
        groups: names(&["g"]),
        vars: Map::from_iter([("v".to_owned(), json!(2))]),
    });
    let facts = News::Facts {
        host: "b".to_owned(),
        set: json!({"mine": 3}),
        facts: json!({}),
    };
    let others = run(
        playbook,
        Others {
            news: vec![told(added), told(facts)],
            ..Others::default()
        },
    );
    assert_eq!(others.error, None);
    assert_eq!(
        others.messages,
        [
            "here ['own']",
            "['own', 'other'] 2 3 ['own', 'other', 'a', 'b', 'c']"
        ]
    );
    let own = AddedHost {
        name: "own".to_owned(),
        groups: names(&["g"]),
        vars: Map::new(),
    };
    let x = News::Facts {
        host: "c".to_owned(),
        set: json!({"x": 1}),
        facts: json!({}),
    };
    assert_eq!(others.told, [News::Added(own), x]);
}
