//! What the files of a bundle do not tell of the controller is asked of it.

use std::path::{Path, PathBuf};

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask, FileTest};
use amibake_protocol::event::{Event, Status};
use serde_json::json;

/// Says yes to the first test of each kind, and no to what comes after.
#[derive(Default)]
struct Yes {
    asked: Vec<(PathBuf, FileTest)>,
}

impl Controller for Yes {
    fn event(&mut self, event: Event) {
        if let Event::TaskFinished { status, result, .. } = event {
            assert_ne!(status, Status::Failed, "{result:?}");
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let Ask::Test { path, test, .. } = ask else {
            let reason = format!("{ask:?}");
            return Answer::Refused { reason };
        };
        let first = !self.asked.iter().any(|(_, known)| *known == test);
        self.asked.push((path, test));
        Answer::Value {
            value: json!(first),
        }
    }
}

#[test]
fn links_and_mounts_are_the_controllers() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a", "");
    write("b", "");
    let tasks = "- hosts: localhost
  gather_facts: false
  tasks:
    - assert:
        that:
          - \"'/a' is link\"
          - \"'/b' is not link\"
          - \"'/' is mount\"
          - \"'/x/../a' is not mount\"
          - \"'/a' is same_file('/b')\"
          - \"'/a' is link_exists\"
          - \"'/gone' is not link_exists\"
          - \"'/a/' is not link\"
";
    write("site.yml", tasks);
    let files = Disk::below(folder.path());
    let project = Project::playbook(&files, PathBuf::from("/site.yml"));
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        working_folder: PathBuf::from("/"),
        ..Options::default()
    };
    let mut controller = Yes::default();
    assert_eq!(exec::run(&project, &options, &mut controller).failed, 0);
    let of = |path: &str, test| (Path::new(path).to_owned(), test);
    let asked = [
        of("/a", FileTest::Link),
        of("/b", FileTest::Link),
        of("/", FileTest::Mount),
        of("/a", FileTest::Mount),
        of("/a", FileTest::SameFile("/b".into())),
        of("/gone", FileTest::Link),
    ];
    assert_eq!(controller.asked, asked);
}
