//! `playbooks/web` ends in the same machine, whether real Ansible or amibake applied it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::inventory::IgnoreList;
use crate::support::recording::Recording;
use crate::support::runs::{Run, status_differences};
use crate::support::twins::{Carrier, Kept, Twins};
use crate::support::{Plain, text, wait_for};

#[test]
fn the_web_role_makes_the_same_machine_as_ansible_does() {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let inputs = [
        "playbooks/web",
        "examples",
        "tests/twin/ignore",
        "tests/twin/days",
    ];
    let inputs = inputs.map(|path| here.join(path));
    let inputs: Vec<&Path> = inputs.iter().map(PathBuf::as_path).collect();
    let recording = Recording::new("web", &[PLAY], &inputs);
    let found = Twins::compare(&recording, Carrier::Pipelining, Kept::Ends, web_differences);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn web_differences(twins: &mut Twins) -> Vec<String> {
    let ignored = IgnoreList::reviewed();
    let untouched = twins.differences(&ignored);
    assert!(
        untouched.is_empty(),
        "twins that nobody touched differ: {untouched:#?}"
    );

    source(twins);
    let playbook = playbook(twins);
    let mut found = Vec::new();
    let (theirs, ours) = twins.play(&playbook, &[]);
    found.extend([&theirs, &ours].into_iter().filter_map(failed));
    found.extend(told("first run", status_differences(&theirs, &ours)));
    found.extend(told("after the first run", twins.differences(&ignored)));
    if ours
        .counts()
        .get("changed")
        .is_none_or(|changed| *changed <= 5)
    {
        found.push(format!("the first run: {:?}", ours.counts()));
    }

    let (theirs, ours) = twins.play(&playbook, &[]);
    for run in [&theirs, &ours] {
        found.extend(failed(run));
        if run.counts().contains_key("changed") {
            found.push(format!("the second run changes: {}", run.said()));
        }
    }
    found.extend(told("second run", status_differences(&theirs, &ours)));
    found.extend(told("after the second run", twins.differences(&ignored)));
    if found.is_empty() {
        twins.both(answers);
    }
    found
}

fn told(when: &str, lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| format!("{when}: {line}"))
        .collect()
}

fn failed(run: &Run) -> Option<String> {
    (run.exit != Some(0)).then(|| format!("failed: {}", run.said()))
}

/// The application as a repository on both machines, with the same commit.
fn source(twins: &Twins) {
    let work = twins.folder().join("source");
    let example = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("examples");
    let script = format!(
        "mkdir -p {work} && cp -r {example} {work}/examples && cd {work} && git init -q -b main && git add . &&
         export GIT_AUTHOR_DATE=2026-01-01T00:00:00Z GIT_COMMITTER_DATE=2026-01-01T00:00:00Z &&
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

const PLAY: &str = "- hosts: all
  become: true
  vars: {web_repository: /usr/local/src/source.git}
  roles: [web]
";

/// A play with the role as it is in the project.
fn playbook(twins: &Twins) -> PathBuf {
    let role = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("playbooks/web");
    let folder = twins.folder();
    let (roles, role) = (folder.join("roles"), role.display());
    shell(&format!(
        "mkdir {0} && cp -r {role} {0}/web",
        roles.display()
    ));
    let path = folder.join("web.yml");
    std::fs::write(&path, PLAY).unwrap();
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
    let greeting = get("/");
    let greets = r#"{"instance":"i-0123456789abcdef0","message":"Hello from amibake","version":""#;
    assert!(greeting.starts_with(greets), "{greeting}");
    assert!(greeting.ends_with("} 200"), "{greeting}");
    assert_eq!(get("/healthz"), r#"{"status":"ok"} 200"#);
    assert!(get("/nowhere").starts_with(r#"{"detail":"#) && get("/nowhere").ends_with(" 404"));
}
