//! What is included and cannot be read ends the run as it ends Ansible's: at once, whatever would rescue it.

use std::path::Path;

use amibake_engine::exec::{self, Controller, Options, Project};
use amibake_playbook::files::Disk;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

/// What ran, and why no more did.
#[derive(Default)]
struct Notes {
    names: Vec<String>,
    error: Option<String>,
}

impl Controller for Notes {
    fn event(&mut self, event: Event) {
        match event {
            Event::TaskStarted { name, .. } => self.names.push(name),
            Event::Finished { error, .. } => self.error = error,
            _ => {}
        }
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        let reason = format!("{ask:?}");
        Answer::Refused { reason }
    }
}

/// Runs a play that includes `what` where a failure is rescued, with these files beside it.
fn run(what: &str, files: &[(&str, &str)]) -> Notes {
    let folder = tempfile::tempdir().expect("a folder for the play");
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let parent = path.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).expect("the folder is ours");
        std::fs::write(path, text).expect("the folder is ours");
    };
    for (name, text) in files {
        put(name, text);
    }
    put(
        "site.yml",
        &format!(
            "- hosts: all\n  gather_facts: false\n  tasks:\n    - block: [{{{what}, ignore_errors: true}}]\n      \
             rescue: [{{name: rescued, debug: }}]\n    - {{name: after, debug: }}\n"
        ),
    );
    let options = Options {
        inventory_hostname: "localhost".to_owned(),
        local: true,
        unknown_modules: ["acme.tools.frob".to_owned()].into(),
        ..Options::default()
    };
    let disk = Disk::here();
    let project = Project::playbook(&disk, folder.path().join("site.yml"));
    let mut notes = Notes::default();
    exec::run(&project, &options, &mut notes);
    notes
}

const BEFORE: &str = "- {name: before, debug: }\n";

#[test]
fn what_is_there_and_cannot_be_read_ends_the_run() {
    let file = "include_tasks: x.yml";
    let role = "include_role: {name: r}";
    let tasks = |text: &str| format!("{BEFORE}{text}\n");
    for (what, path, text) in [
        (file, "x.yml", tasks("- [1")),
        (file, "x.yml", tasks("- {debug: , nope: 1, other: 2}")),
        (file, "x.yml", tasks("- include_tasks:")),
        (file, "x.yml", "a: 1\n".to_owned()),
        (role, "roles/r/tasks/main.yml", tasks("- [1")),
        (role, "roles/r/vars/main.yml", "- 1\n".to_owned()),
        (
            role,
            "roles/r/meta/main.yml",
            "dependencies: 1\n".to_owned(),
        ),
        (
            "include_role: {name: r, tasks_from: none}",
            "roles/r/tasks/main.yml",
            tasks(""),
        ),
    ] {
        let notes = run(what, &[(path, &text)]);
        assert!(notes.error.is_some(), "{text}: {:?}", notes.names);
        assert_eq!(notes.names.len(), 1, "{text}: {:?}", notes.names);
    }
}

#[test]
fn what_an_include_imports_is_read_with_it() {
    let imports = format!("{BEFORE}- import_tasks: y.yml\n");
    let broken = run(
        "include_tasks: x.yml",
        &[("x.yml", &imports), ("y.yml", "- [1")],
    );
    assert!(broken.error.is_some());
    assert_eq!(broken.names, ["include_tasks"]);
    let missing = run("include_tasks: x.yml", &[("x.yml", &imports)]);
    assert_eq!(missing.error, None);
    assert_eq!(missing.names, ["include_tasks", "rescued", "after"]);
}

#[test]
fn a_module_that_nobody_knows_ends_the_run_where_it_is_reached() {
    let frob = |when: &str| format!("{BEFORE}- {{acme.tools.frob: , when: {when}}}\n");
    let reached = run("include_tasks: x.yml", &[("x.yml", &frob("true"))]);
    assert!(
        reached
            .error
            .is_some_and(|error| error.contains("acme.tools.frob"))
    );
    assert_eq!(
        reached.names,
        ["include_tasks", "before", "acme.tools.frob"]
    );
    let passed = run("include_tasks: x.yml", &[("x.yml", &frob("false"))]);
    assert_eq!(passed.error, None);
    assert_eq!(passed.names.last().map(String::as_str), Some("after"));
    // One that is lacking here alone is a failure as any other.
    let lacking = run(
        "include_tasks: x.yml",
        &[("x.yml", "- amazon.aws.ec2_vpc:\n")],
    );
    assert_eq!(lacking.error, None);
    assert_eq!(lacking.names.last().map(String::as_str), Some("after"));
}
