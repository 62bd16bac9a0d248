//! A limit on how long one task may take: when it is over, the programs it started are ended and
//! whatever waits in this process stops waiting.
//!
//! Tasks run one after the other, so one deadline at a time is enough.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::run_command;

/// When the task at hand is over.
static DEADLINE: Mutex<Option<Instant>> = Mutex::new(None);
/// How often programs that were started since are ended.
const AGAIN: Duration = Duration::from_millis(50);
/// In which pieces a wait is cut, so that it notices the deadline.
const PIECE: Duration = Duration::from_millis(100);

/// Runs `work` and returns whether it was cut short. Programs that run at `limit` are ended, so it
/// returns soon after.
pub(crate) fn within<T>(limit: Option<Duration>, work: impl FnOnce() -> T) -> (T, bool) {
    let Some(limit) = limit else {
        return (work(), false);
    };
    let start = Instant::now();
    set(start.checked_add(limit));
    let (done, ended) = channel::<()>();
    let over = AtomicBool::new(false);
    let answer = std::thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            let mut wait = limit;
            while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                over.store(true, Ordering::Relaxed);
                run_command::cancel();
                wait = AGAIN;
            }
        });
        let answer = work();
        drop(done);
        answer
    });
    set(None);
    // What waits notices the end by itself, perhaps before the watcher does.
    (answer, over.into_inner() || start.elapsed() >= limit)
}

fn set(deadline: Option<Instant>) {
    *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
}

/// Returns how much of `duration` the task at hand still has.
pub(crate) fn at_most(duration: Duration) -> Duration {
    let deadline = *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner);
    deadline.map_or(duration, |deadline| {
        duration.min(deadline.saturating_duration_since(Instant::now()))
    })
}

/// Waits, but not beyond the deadline of the task at hand.
pub(crate) fn sleep(duration: Duration) {
    let end = Instant::now() + duration;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let piece = at_most(left.min(PIECE));
        if piece.is_zero() {
            return;
        }
        std::thread::sleep(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_cut_short_and_what_does_not_is_left_alone() {
        let start = Instant::now();
        let limit = Some(Duration::from_millis(50));
        let ((), over) = within(limit, || sleep(Duration::from_secs(600)));
        assert!(over && start.elapsed() < Duration::from_secs(300));
        let (answer, over) = within(Some(Duration::from_secs(600)), || 7);
        assert_eq!((answer, over), (7, false));
        assert_eq!(at_most(Duration::from_secs(9)), Duration::from_secs(9));
    }
}
