//! What a bake makes of the account, and what it leaves there: whole bakes against the test EC2, in
//! HTTP and with the real AWS SDK, whose machines are switched off.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod answers;
mod build;
mod capacity;
mod child;
mod connect;
mod crowd;
mod fails;
mod guest;
mod journals;
mod kills;
mod marks;
mod refusals;
mod releases;
mod server;
mod signals;
mod sweep;

use crate::clock::Pace;

/// How much faster than the wall the clock of a build goes.
const PACE: u32 = 50;

fn fast() -> Pace {
    Pace::set(PACE)
}

/// What bakes, owes and talks to EC2 waits by the clock that tests can have go faster.
#[test]
fn what_waits_for_the_account_goes_by_the_program_s_clock() {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![sources.join("bake.rs"), sources.join("ledger.rs")];
    files.extend(["cli/reap.rs", "targets/mod.rs"].map(|name| sources.join(name)));
    let ec2 = std::fs::read_dir(sources.join("targets/ec2")).unwrap();
    files.extend(
        ec2.map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file()),
    );
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let path = file.display();
        assert!(!text.contains("tokio::time"), "{path}: use crate::clock");
        assert!(
            !text.contains("std::time::Instant"),
            "{path}: use crate::clock"
        );
    }
}
