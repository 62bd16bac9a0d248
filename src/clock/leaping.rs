//! A clock that nobody waits by, for tests: it stands still while anybody has something to do, or has asked
//! something that is not answered yet, and leaps to the next time that is waited for when nobody does. However
//! slow a machine is, no time limit passes for that.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

thread_local! {
    static CLOCK: RefCell<Option<Clock>> = const { RefCell::new(None) };
}

/// The clock of one thread.
#[derive(Default)]
struct Clock {
    now: Duration,
    sleeping: BTreeMap<(Duration, u64), Waker>,
    asked: BTreeSet<u64>,
    /// Numbers given out so far, to who sleeps and to what is asked.
    numbers: u64,
}

impl Clock {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Goes on to the next time that is waited for; returns who waits for it.
    fn leap(&mut self) -> Vec<Waker> {
        let Some((next, _)) = self.sleeping.keys().next().copied() else {
            return Vec::new();
        };
        self.now = self.now.max(next);
        let later = self.sleeping.split_off(&(self.now, u64::MAX));
        let due = std::mem::replace(&mut self.sleeping, later);
        due.into_values().collect()
    }
}

/// Does some work on this thread, by such a clock of its own.
pub(crate) fn run<F: Future>(work: F) -> F::Output {
    struct Stopped;
    impl Drop for Stopped {
        fn drop(&mut self) {
            CLOCK.set(None);
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(|| _ = leap_if(BTreeSet::is_empty))
        .build()
        .expect("a runtime on this thread");
    CLOCK.set(Some(Clock::default()));
    let _stopped = Stopped;
    runtime.block_on(work)
}

/// Leaps if what is not answered yet allows it; returns whether anybody is woken by that.
fn leap_if(allows: impl Fn(&BTreeSet<u64>) -> bool) -> bool {
    let due = CLOCK.with_borrow_mut(|clock| match clock {
        Some(clock) if allows(&clock.asked) => clock.leap(),
        Some(_) | None => Vec::new(),
    });
    let is_any = !due.is_empty();
    due.into_iter().for_each(Waker::wake);
    is_any
}

/// Leaps although something is not answered yet, if all of that is among what never will be. Returns whether
/// anybody is woken by that.
pub(crate) fn leap_past(unanswered: &BTreeSet<u64>) -> bool {
    leap_if(|asked| !asked.is_empty() && asked.is_subset(unanswered))
}

/// Returns what this thread's clock says, if it is such a one.
pub(super) fn now() -> Option<Duration> {
    CLOCK.with_borrow(|clock| clock.as_ref().map(|clock| clock.now))
}

/// Returns whether this thread's clock is such a one.
pub(crate) fn is_on() -> bool {
    now().is_some()
}

/// Sleeps by this thread's clock, if it is such a one.
pub(super) fn sleep(duration: Duration) -> Option<Sleep> {
    let now = now()?;
    Some(Sleep {
        until: now.saturating_add(duration),
        number: None,
    })
}

/// A sleep. It is woken on the thread that it began on.
pub(super) struct Sleep {
    until: Duration,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        CLOCK.with_borrow_mut(|clock| {
            let Some(clock) = clock.as_mut().filter(|clock| clock.now < self.until) else {
                return Poll::Ready(());
            };
            let number = *self.number.get_or_insert_with(|| clock.number());
            let place = (self.until, number);
            clock.sleeping.insert(place, cx.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        CLOCK.with_borrow_mut(|clock| {
            let clock = clock.as_mut();
            clock.and_then(|clock| clock.sleeping.remove(&(self.until, number)))
        });
    }
}

/// Something that is asked elsewhere: until it is dropped, the clock of this thread stands still.
pub(crate) struct Asked(u64);

impl Asked {
    pub(crate) fn begin() -> Self {
        Self(CLOCK.with_borrow_mut(|clock| {
            let Some(clock) = clock else { return 0 };
            let number = clock.number();
            clock.asked.insert(number);
            number
        }))
    }

    /// Returns what it is called on this thread.
    pub(crate) fn number(&self) -> u64 {
        self.0
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        CLOCK.with_borrow_mut(|clock| {
            let clock = clock.as_mut();
            clock.is_some_and(|clock| clock.asked.remove(&self.0))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    #[test]
    fn whoever_sleeps_is_woken_in_order_and_nobody_waits() {
        let order = run(async {
            let woken = RefCell::new(Vec::new());
            let sleeper = async |years: u32| {
                clock::sleep(years * YEAR).await;
                woken.borrow_mut().push(years);
            };
            let since = clock::Instant::now();
            tokio::join!(sleeper(3), sleeper(1), sleeper(2));
            assert_eq!(since.elapsed(), 3 * YEAR);
            let never = clock::timeout(YEAR, std::future::pending::<()>()).await;
            assert!(never.is_err());
            woken.into_inner()
        });
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn it_stands_still_until_what_is_asked_is_answered_or_never_will_be() {
        run(async {
            let since = clock::Instant::now();
            let asked = Asked::begin();
            let number = asked.number();
            let answered = async {
                // Real work elsewhere.
                tokio::task::spawn_blocking(|| ()).await.unwrap();
                assert_eq!(since.elapsed(), Duration::ZERO);
                drop(asked);
            };
            tokio::join!(clock::sleep(YEAR), answered);
            assert_eq!(since.elapsed(), YEAR);
            let hung = Asked::begin();
            assert!(!leap_past(&BTreeSet::from([number])));
            let beside = async {
                tokio::task::yield_now().await;
                assert_eq!(since.elapsed(), YEAR);
                assert!(leap_past(&BTreeSet::from([hung.number()])));
            };
            tokio::join!(clock::sleep(YEAR), beside);
            assert_eq!(since.elapsed(), 2 * YEAR);
        });
    }
}
