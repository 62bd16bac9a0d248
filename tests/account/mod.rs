//! What a bake makes of the account, and what it leaves there: whole bakes against the test EC2, in
//! HTTP and with the real AWS SDK, whose machines are switched off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod answers;
mod build;
mod capacity;
mod cases;
#[cfg(feature = "stack")]
mod cert;
mod chance;
mod child;
mod company;
mod connect;
mod crowd;
mod fails;
mod guest;
mod http;
mod journals;
mod kills;
mod live;
mod lock;
mod login;
mod marks;
mod nothing_twice;
mod operations;
mod passed;
mod plan;
mod policy;
mod policy_publish;
mod preflight;
mod publication_sweep;
mod publish;
mod refusals;
mod releases;
mod replace;
mod reports;
mod server;
mod signals;
#[cfg(feature = "stack")]
mod stacks;
mod sweep;

use std::collections::BTreeSet;

use crate::clock::Pace;

/// How much faster than the wall the clock of a build goes.
const PACE: u32 = 20;

fn fast() -> Pace {
    Pace::set(PACE)
}

/// Below `src`: what goes by the wall's clock, since it talks to machines or other servers, shows things, or
/// is a test.
const BY_THE_WALL: [&str; 10] = [
    "agent/",
    "bake/tests.rs",
    "cli/apply/",
    "clock.rs",
    "event.rs",
    "galaxy/",
    "report/",
    "ssh/",
    "stack/rollout/tests/",
    "targets/container/",
];

/// What else there is bakes, owes or talks to EC2: it waits by the clock that tests can have go
/// faster.
#[test]
fn what_waits_for_the_account_goes_by_the_program_s_clock() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let by_the_wall = |path: &str| BY_THE_WALL.iter().find(|part| path.starts_with(**part));
    let (mut folders, mut exempt) = (vec![sources.clone()], BTreeSet::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let clocks = ["tokio::time", "SystemTime::now", "thread::sleep"];
            let is_clock = |line: &&str| {
                let is_instant = line.contains("std::time") && line.contains("Instant");
                is_instant || clocks.iter().any(|clock| line.contains(clock))
            };
            let used = text.lines().find(is_clock);
            let path = path.strip_prefix(&sources).unwrap().to_str().unwrap();
            match (used, by_the_wall(path)) {
                (Some(_), Some(part)) => _ = exempt.insert(*part),
                (Some(line), None) => panic!("{path}: use crate::clock\n{line}"),
                (None, _) => {}
            }
        }
    }
    assert_eq!(
        exempt,
        BTreeSet::from(BY_THE_WALL),
        "one needs no exemption"
    );
}
