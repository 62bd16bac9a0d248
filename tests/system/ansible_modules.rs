//! Each module answers and acts as real Ansible's: playbooks of many cases, run on twin machines or compared with
//! what Ansible is recorded to have done.
//!
//! `tests/twin/modules/NAME.yml` are the cases; a new case is a new task there, and no Rust. Ansible goes by mitogen,
//! for CI's time; with `TWIN_PIPELINING=1` it is asked live and goes as it comes.

#![expect(
    clippy::print_stderr,
    reason = "a long test tells how far it is and what differs"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::inventory::IgnoreList;
use crate::support::recording::Recording;
use crate::support::runs::task_differences;
use crate::support::twins::{Carrier, Kept, Twins};
use crate::support::volatile::Known;

type Cases = [(&'static str, &'static [How])];

const ALL: &[How] = &[How::Check, How::First, How::Second];

/// How a playbook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// In check mode, when nothing is there yet.
    Check,
    /// For real.
    First,
    /// For real, when everything is there.
    Second,
}

#[test]
fn files_are_as_ansibles() {
    compare("files", &[("files", ALL)]);
}

#[test]
fn commands_are_as_ansibles() {
    compare("commands", &[("commands", ALL)]);
}

#[test]
fn accounts_are_as_ansibles() {
    compare("accounts", &[("accounts", ALL)]);
}

#[test]
fn services_are_as_ansibles() {
    compare("services", &[("services", ALL)]);
}

#[test]
fn wait_for_is_as_ansibles() {
    compare("wait_for", &[("wait_for", &[How::First])]);
}

#[test]
fn uri_is_as_ansibles() {
    compare("uri", &[("uri", ALL)]);
}

#[test]
fn get_url_is_as_ansibles() {
    compare("get_url", &[("get_url", ALL)]);
}

#[test]
fn sysctl_is_as_ansibles() {
    compare("sysctl", &[("sysctl", ALL)]);
}

#[test]
fn what_is_debians_own_is_as_ansibles() {
    compare("debian", &[("debian", ALL), ("mount_facts", ALL)]);
}

#[test]
fn repositories_are_as_ansibles() {
    let runs = &[How::First, How::Second];
    compare("repositories", &[("repositories", runs)]);
}

/// In this order: they share their machines, and `apt` installs what the later ones use. Ansible's apt
/// takes minutes, so it runs once.
#[test]
fn modules_that_need_packages_are_as_ansibles() {
    let cases: &Cases = &[
        ("apt", &[How::First]),
        ("unarchive", ALL),
        ("archive", ALL),
        ("git", ALL),
        ("pip", ALL),
        ("supervisorctl", &[How::Check, How::First]),
    ];
    compare("packages", cases);
}

fn compare(name: &'static str, cases: &Cases) {
    let carrier = match std::env::var_os("TWIN_PIPELINING") {
        Some(_) => Carrier::Pipelining,
        None => Carrier::Mitogen,
    };
    let playbooks: Vec<PathBuf> = cases
        .iter()
        .map(|(name, _)| of(&format!("modules/{name}.yml")))
        .collect();
    let shared = ["fixtures", "volatile", "ignore", "days"].map(of);
    let paths: Vec<&Path> = playbooks
        .iter()
        .chain(&shared)
        .map(PathBuf::as_path)
        .collect();
    let found = Twins::compare(
        &Recording::new(name, &[], &paths),
        carrier,
        Kept::Results,
        |twins| {
            let fixtures = fixtures(twins);
            let found = cases
                .iter()
                .flat_map(|(name, runs)| case(twins, &fixtures, name, runs));
            found.collect()
        },
    );
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Returns a path below `tests/twin`.
fn of(path: &str) -> PathBuf {
    let here = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap());
    here.join("tests/twin").join(path)
}

/// Runs one playbook as often as asked; tells what differs.
fn case(twins: &mut Twins, fixtures: &Path, name: &str, runs: &[How]) -> Vec<String> {
    let (ignored, known) = (IgnoreList::reviewed(), Known::reviewed());
    let playbook = fixtures.join(format!("{name}.yml"));
    let mut all = Vec::new();
    for run in runs {
        let since = Instant::now();
        let more: &[&str] = match run {
            How::Check => &["--check", "--diff"],
            How::First | How::Second => &[],
        };
        let (theirs, ours) = twins.play(&playbook, more);
        if theirs.tasks.is_empty() {
            all.push(format!("{name}: Ansible ran nothing: {}", theirs.said()));
        }
        let tasks = task_differences(&theirs, &ours).into_iter();
        let differences = tasks.chain(twins.differences(&ignored));
        let found: Vec<String> = differences
            .filter(|told| !known.covers(name, told))
            .map(|told| format!("{name} ({run:?}): {told}"))
            .collect();
        let took = since.elapsed().as_secs();
        eprintln!(
            "{name} ({run:?}): {} tasks, {} differences, {took} s",
            theirs.tasks.len(),
            found.len()
        );
        all.extend(found);
    }
    all
}

/// Lays the fixtures out, the same on both machines, and starts their web server.
fn fixtures(twins: &Twins) -> PathBuf {
    let here = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin");
    let folder = twins.folder().join("twin");
    shell(&format!(
        "umask 022; cp -r {here}/fixtures {folder}; {folder}/make {folder}",
        here = here.display(),
        folder = folder.display()
    ));
    twins.both(|plain| {
        let to = plain.root.join("opt/twin");
        shell(&format!("cp -a {} {}", folder.display(), to.display()));
    });
    shell(&format!(
        "cp {}/modules/*.yml {}",
        here.display(),
        folder.display()
    ));
    twins.prepare("systemd-run -q --unit=twin-http python3 /opt/twin/server.py 8099");
    folder
}

fn shell(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}
