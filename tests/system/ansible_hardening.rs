//! `hardening/ssh` and `hardening/os`, strict, end in the same machine, whether real Ansible or amibake applied them, and
//! change nothing when they are applied again.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::inventory::IgnoreList;
use crate::support::recording::Recording;
use crate::support::runs::{Run, status_differences};
use crate::support::twins::{Carrier, Kept, Twins};

const PLAY: &str = "- hosts: all
  become: true
  vars: {hardening_profile: strict}
  roles: [ssh, os]
";

#[test]
fn the_hardening_roles_make_the_same_machine_as_ansible_does() {
    let roles = roles();
    let inputs = ["../tests/twin/ignore", "../tests/twin/days"].map(|path| roles.join(path));
    let inputs: Vec<&Path> = inputs
        .iter()
        .chain([&roles])
        .map(PathBuf::as_path)
        .collect();
    let recording = Recording::new("hardening", &[PLAY], &inputs);
    let found = Twins::compare(&recording, Carrier::Mitogen, Kept::Ends, differences);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

fn roles() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("hardening")
}

fn differences(twins: &mut Twins) -> Vec<String> {
    let ignored = IgnoreList::reviewed();
    // The roles install packages.
    twins.prepare("apt-get update -qq");
    let playbook = playbook(twins);
    let mut found = Vec::new();
    for (when, changes) in [("first run", true), ("second run", false)] {
        let (theirs, ours) = twins.play(&playbook, &[]);
        for run in [&theirs, &ours] {
            found.extend(failed(run));
            if run.counts().contains_key("changed") != changes {
                found.push(format!("{when}: {:?}", run.counts()));
            }
        }
        let statuses = status_differences(&theirs, &ours);
        let disks = twins.differences(&ignored);
        let lines = statuses.into_iter().chain(disks);
        found.extend(lines.map(|line| format!("{when}: {line}")));
    }
    found
}

fn failed(run: &Run) -> Option<String> {
    (run.exit != Some(0)).then(|| format!("failed: {}", run.said()))
}

/// A play with the roles as they are in the project.
fn playbook(twins: &Twins) -> PathBuf {
    let folder = twins.folder();
    let copied = Command::new("cp")
        .arg("-r")
        .arg(roles())
        .arg(folder.join("roles"))
        .status();
    assert!(copied.unwrap().success());
    let path = folder.join("hardening.yml");
    std::fs::write(&path, PLAY).unwrap();
    path
}
