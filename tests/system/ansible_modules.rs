//! Each module answers and acts as real Ansible's: playbooks of many cases, run on twin machines.
//!
//! `tests/twin/modules/NAME.yml` are the cases; a new case is a new task there, and no Rust. `TWIN_CASES=apt,git`
//! runs these alone (those that need what `apt` installs come after it). Ansible goes by mitogen, for CI's
//! time; with `TWIN_PIPELINING=1` it goes as it comes.

#![expect(
    clippy::print_stderr,
    reason = "a long test tells how far it is and what differs"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::support::inventory::IgnoreList;
use crate::support::twins::{Carrier, Known, Twins, Volatile};

type Cases = [(&'static str, &'static [How])];

/// What a machine has as it comes.
const PLAIN: &Cases = &[
    ("files", ALL),
    ("commands", ALL),
    ("accounts", ALL),
    ("services", ALL),
    ("wait_for", &[How::First]),
    ("uri", ALL),
    ("get_url", ALL),
    ("sysctl", ALL),
];

/// In this order: they share their machines, and `apt` installs what the later ones use. Ansible's apt
/// takes minutes, so it runs once.
const WITH_PACKAGES: &Cases = &[
    ("apt", &[How::First]),
    ("unarchive", ALL),
    ("git", ALL),
    ("pip", ALL),
    ("supervisorctl", &[How::Check, How::First]),
];

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
fn modules_are_as_ansibles() {
    compare(PLAIN);
}

#[test]
fn modules_that_need_packages_are_as_ansibles() {
    compare(WITH_PACKAGES);
}

fn compare(cases: &Cases) {
    let carrier = match std::env::var_os("TWIN_PIPELINING") {
        Some(_) => Carrier::Pipelining,
        None => Carrier::Mitogen,
    };
    let twins = Twins::start(carrier);
    let fixtures = fixtures(&twins);
    let chosen = std::env::var("TWIN_CASES").unwrap_or_default();
    let chosen: Vec<&str> = chosen.split(',').filter(|name| !name.is_empty()).collect();
    let cases = cases
        .iter()
        .filter(|(name, _)| chosen.is_empty() || chosen.contains(name));
    let found: usize = cases
        .map(|(name, runs)| case(&twins, &fixtures, name, runs))
        .sum();
    assert_eq!(found, 0, "differences, told above");
}

/// Runs one playbook as often as asked; tells and counts what differs.
fn case(twins: &Twins, fixtures: &Path, name: &str, runs: &[How]) -> usize {
    let (ignored, volatile) = (IgnoreList::reviewed(), Volatile::reviewed());
    let known = Known::reviewed();
    let playbook = fixtures.join(format!("{name}.yml"));
    let mut count = 0;
    for run in runs {
        let since = Instant::now();
        let more: &[&str] = match run {
            How::Check => &["--check", "--diff"],
            How::First | How::Second => &[],
        };
        let (theirs, ours) = twins.play(&playbook, more);
        let said = theirs.said();
        assert!(
            !theirs.tasks.is_empty(),
            "{name}: Ansible ran nothing: {said}"
        );
        let tasks = twins.task_differences(&theirs, &ours, &volatile);
        let differences = tasks.into_iter().chain(twins.differences(&ignored));
        let found: Vec<String> = differences
            .filter(|told| !known.covers(name, told))
            .map(|told| format!("{name} ({run:?}): {told}"))
            .collect();
        found.iter().for_each(|line| eprintln!("{line}"));
        let took = since.elapsed().as_secs();
        eprintln!(
            "{name} ({run:?}): {} tasks, {} differences, {took} s",
            theirs.tasks.len(),
            found.len()
        );
        count += found.len();
    }
    count
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
