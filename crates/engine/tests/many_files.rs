//! A tree may have more files than a process may usually have open. Alone in its process, whose
//! limit it lowers.

use std::path::Path;

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::{Event, Status};
use rustix::process::{Resource, getrlimit, setrlimit};

const FILES: usize = 700;

struct Nobody;

impl Controller for Nobody {
    fn event(&mut self, event: Event) {
        if let Event::TaskFinished { status, result, .. } = event {
            assert_ne!(status, Status::Failed, "{result:?}");
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        Answer::Refused {
            reason: format!("{ask:?}"),
        }
    }
}

#[test]
fn a_tree_is_copied_whatever_the_limit_of_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(128);
    setrlimit(Resource::Nofile, limit).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("files/tree")).unwrap();
    for n in 0..FILES {
        std::fs::write(at("files/tree").join(n.to_string()), n.to_string()).unwrap();
    }
    let tasks = format!(
        "- hosts: localhost
  gather_facts: false
  tasks:
    - copy: {{src: tree, dest: {0}/ours}}
    - copy: {{src: {0}/files/tree, dest: {0}/theirs, remote_src: true}}
    - shell: ulimit -n > {0}/limit\n",
        folder.path().display()
    );
    std::fs::write(at("site.yml"), tasks).unwrap();
    run(&at("site.yml"));
    for copy in ["ours/tree", "theirs/tree"] {
        assert_eq!(std::fs::read_dir(at(copy)).unwrap().count(), FILES);
    }
    assert_eq!(std::fs::read_to_string(at("limit")).unwrap(), "128\n");
}

fn run(playbook: &Path) {
    let files = Disk::here();
    let project = Project::playbook(&files, playbook.to_path_buf());
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        local: true,
        ..Options::default()
    };
    assert_eq!(exec::run(&project, &options, &mut Nobody).failed, 0);
}
