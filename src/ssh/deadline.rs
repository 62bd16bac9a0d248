//! The time that a peer has to answer. It stands still while a person is asked for a passphrase.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A moment that moves when the clock was stopped.
pub(super) struct Deadline(Mutex<State>);

struct State {
    at: Instant,
    /// Since when a person has the word.
    stopped: Option<Instant>,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Self {
        Self(Mutex::new(State {
            at: Instant::now() + time,
            stopped: None,
        }))
    }

    /// Returns what `work` comes to, or `None` if the deadline is over first.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let at = self.at();
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = sleep_until(at) => {
                    if self.at() <= Instant::now() {
                        return None;
                    }
                }
            }
        }
    }

    /// Runs `ask`, for which the clock stands still.
    pub(super) async fn stopped<T>(&self, ask: impl Future<Output = T>) -> T {
        self.state().stopped = Some(Instant::now());
        let answer = ask.await;
        let mut state = self.state();
        if let Some(since) = state.stopped.take() {
            state.at += since.elapsed();
        }
        answer
    }

    /// Returns when to look again: while the clock stands, the time that was left at least.
    fn at(&self) -> Instant {
        let state = self.state();
        match state.stopped {
            None => state.at,
            Some(since) => state.at.max(Instant::now() + Duration::from_secs(1)) + since.elapsed(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    #[tokio::test]
    async fn the_clock_stands_while_a_person_is_asked() {
        let deadline = Deadline::after(Duration::from_millis(100));
        let slow = deadline.within(async {
            deadline.stopped(sleep(Duration::from_millis(400))).await;
            7
        });
        assert_eq!(slow.await, Some(7));
        let never = std::future::pending::<()>();
        assert_eq!(deadline.within(never).await, None);
    }
}
