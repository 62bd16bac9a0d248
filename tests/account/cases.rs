//! All cases of a sweep: several at a time, each on a thread by a clock that leaps, so that none waits for the
//! wall's and none fails because this machine is slow.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use sha2::{Digest, Sha256};

use crate::clock::leaping;

/// How many are under way at a time.
const AT_ONCE: usize = 6;

/// Bakes are deep where nothing is optimised.
const STACK_BYTES: usize = 16 << 20;

/// A case that is not over by then, by the wall's clock, hangs.
const HANGS: Duration = Duration::from_secs(600);

/// What came of all of them.
pub(super) struct Swept {
    /// What goes to whoever runs the tests.
    pub(super) told: String,
    /// What is wrong, a text for each case.
    pub(super) wrong: Vec<String>,
}

impl Swept {
    /// Insists that nothing is wrong.
    pub(super) fn insist(&self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n\n"));
    }
}

/// Returns one case of each group, or all where `AMIBAKE_TEST_SWEEP` chooses. Which of a group is taken, the commit
/// says: over commits all are.
pub(super) fn a_part<C>(all: Vec<C>, group_of: impl Fn(&C) -> String) -> Vec<C> {
    if std::env::var_os("AMIBAKE_TEST_SWEEP").is_some() {
        return all;
    }
    let commit = std::env::var("AMIBAKE_TEST_LIVE").unwrap_or_default();
    let mut groups: BTreeMap<String, Vec<C>> = BTreeMap::new();
    for case in all {
        groups.entry(group_of(&case)).or_default().push(case);
    }
    let take = |(name, mut group): (String, Vec<C>)| {
        let digest = Sha256::digest(format!("{commit} {name}"));
        let turn = usize::from(u16::from_le_bytes([digest[0], digest[1]]));
        group.swap_remove(turn % group.len())
    };
    groups.into_iter().map(take).collect()
}

/// Tries those cases whose name has what `AMIBAKE_TEST_SWEEP` says. A case is given its number.
pub(super) fn sweep<C: Debug + Sync>(
    what: &str,
    mut cases: Vec<C>,
    try_case: impl for<'c> Fn(&'c C, usize) -> LocalBoxFuture<'c, ()> + Sync,
) -> Swept {
    let wanted = std::env::var("AMIBAKE_TEST_SWEEP").unwrap_or_default();
    cases.retain(|case| format!("{case:?}").contains(&wanted));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let since = Instant::now();
    let work = || {
        while let Some((number, case)) = taken(&cases, &next) {
            let trying = AssertUnwindSafe(limited(try_case(case, number))).catch_unwind();
            if let Err(panic) = leaping::run(trying) {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(ToString::to_string));
                let text = format!("{case:?}: {}", text.unwrap_or_default());
                wrong.lock().unwrap().push(text);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
            thread.spawn_scoped(scope, work).unwrap();
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let told = format!(
        "{what}: {} cases, {} with something left or otherwise wrong, {:.0} s",
        cases.len(),
        wrong.len(),
        since.elapsed().as_secs_f64()
    );
    Swept { told, wrong }
}

/// Returns the one of a few cases whose turn it is: another one for each commit that `./test` is run of.
pub(super) fn turn<C: Debug>(few: &[C]) -> &C {
    let place = |case: &&C| place(*case);
    few.iter().min_by_key(place).expect("there is one")
}

/// Returns whether it is a case's turn, as it is with one of so many commits.
pub(super) fn is_its_turn(case: &impl Debug, commits: u64) -> bool {
    place(case).is_multiple_of(commits)
}

fn place(case: &impl Debug) -> u64 {
    let commit = std::env::var("AMIBAKE_TEST_LIVE").unwrap_or_default();
    let mut hasher = DefaultHasher::new();
    format!("{commit} {case:?}").hash(&mut hasher);
    hasher.finish()
}

fn taken<'c, C>(cases: &'c [C], next: &AtomicUsize) -> Option<(usize, &'c C)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((number, cases.get(number)?))
}

async fn limited(work: impl Future<Output = ()>) {
    let over = tokio::time::timeout(HANGS, work).await;
    assert!(over.is_ok(), "it hangs");
}
