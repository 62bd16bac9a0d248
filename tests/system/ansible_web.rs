//! `playbooks/web` ends in the same machine, whether real Ansible or amibake applied it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::inventory::IgnoreList;
use crate::support::twins::{Carrier, Run, Twins, status_differences};
use crate::support::{Plain, text, wait_for};

#[test]
fn the_web_role_makes_the_same_machine_as_ansible_does() {
    let twins = Twins::start(Carrier::Pipelining);
    let ignored = IgnoreList::reviewed();
    let untouched = twins.differences(&ignored);
    assert!(
        untouched.is_empty(),
        "twins that nobody touched differ: {untouched:#?}"
    );

    source(&twins);
    let playbook = playbook(&twins);
    let mut found = Vec::new();
    let (theirs, ours) = twins.play(&playbook, &[]);
    succeeded(&theirs);
    succeeded(&ours);
    found.extend(told("first run", status_differences(&theirs, &ours)));
    found.extend(told("after the first run", twins.differences(&ignored)));
    assert!(ours.counts()["changed"] > 5, "{:?}", ours.counts());

    let (theirs, ours) = twins.play(&playbook, &[]);
    succeeded(&theirs);
    succeeded(&ours);
    for run in [&theirs, &ours] {
        assert_eq!(
            run.counts().get("changed"),
            None,
            "second run: {}",
            run.said()
        );
    }
    found.extend(told("second run", status_differences(&theirs, &ours)));
    found.extend(told("after the second run", twins.differences(&ignored)));
    assert!(found.is_empty(), "{}", found.join("\n"));

    twins.both(answers);
}

fn told(when: &str, lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| format!("{when}: {line}"))
        .collect()
}

fn succeeded(run: &Run) {
    assert_eq!(run.exit, Some(0), "{}", run.said());
}

/// The application as a repository on both machines, with the same commit.
fn source(twins: &Twins) {
    let work = twins.folder().join("source");
    let example = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("examples");
    let script = format!(
        "mkdir -p {work} && cp -r {example} {work}/examples && cd {work} && git init -q -b main && git add . &&
         git -c user.name=t -c user.email=t@example.org commit -qm one && git clone -q --bare . ../source.git",
        work = work.display(),
        example = example.display()
    );
    shell(&script);
    twins.both(|plain| {
        let to = plain.root.join("usr/local/src");
        shell(&format!(
            "cp -r {}/source.git {}",
            twins.folder().display(),
            to.display()
        ));
    });
}

fn shell(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

/// A play with the role as it is in the project.
fn playbook(twins: &Twins) -> PathBuf {
    let role = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("playbooks/web");
    let folder = twins.folder();
    let (roles, role) = (folder.join("roles"), role.display());
    shell(&format!(
        "mkdir {0} && cp -r {role} {0}/web",
        roles.display()
    ));
    let play = "- hosts: all\n  become: true\n  vars: {web_repository: /usr/local/src/source.git}\n  roles: [web]\n";
    let path = folder.join("web.yml");
    std::fs::write(&path, play).unwrap();
    path
}

/// The application greets and is well, with its errors in JSON, on this machine as on the other.
fn answers(plain: &Plain) {
    let get = |path: &str| {
        let url = format!("http://{}:8080{path}", plain.address);
        let output = Command::new("curl")
            .args(["-s", "-w", " %{http_code}", &url])
            .output();
        text(&output.unwrap().stdout).replace('\n', "")
    };
    wait_for("the application", Duration::from_mins(1), || {
        get("/healthz").ends_with(" 200")
    });
    assert_eq!(
        get("/"),
        r#"{"instance":"i-0123456789abcdef0","message":"Hello from amibake"} 200"#
    );
    assert_eq!(get("/healthz"), r#"{"status":"ok"} 200"#);
    assert!(get("/nowhere").starts_with(r#"{"detail":"#) && get("/nowhere").ends_with(" 404"));
}
