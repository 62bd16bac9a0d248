//! Waiting for EC2: one loop for what is to become something, one for what is to be found, one for
//! what is to go. All of them ask every few seconds, and a call that EC2 could not answer, or did
//! not want to yet, is asked again. Outside them, [`Ec2::persist`] does that for one call. What many
//! builds wait for at once, `polls` asks for in one call.

use std::time::Duration;

use super::error::Ec2Error;
use super::{Ec2, Stage};
use crate::clock::{Instant, sleep, timeout};
use crate::targets::{PhaseContext, TargetError};

/// How long something whose id never arrived is looked for, and how long none of a kind must have
/// been seen before none is expected any more.
pub(super) const LOOK: Duration = Duration::from_secs(60);

/// How long undoing one thing may take; a security group waits for its instance.
pub(super) const LIMIT: Duration = Duration::from_secs(10 * 60);

/// How many times longer than the first the pauses get between two tries of one call.
const LONGEST_PAUSE: u32 = 16;

/// What is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// `i-0abc12`.
    pub(super) what: &'a str,
    /// The state it is to reach.
    pub(super) state: &'static str,
    pub(super) limit: Duration,
    /// Which of `builder.timeouts` says so; `None` where it is fixed.
    pub(super) key: Option<&'static str>,
}

/// What a look at it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wait<T> {
    Done(T),
    /// Not yet: its state, and how far it is.
    Longer(String, Option<u8>),
    /// It will never be.
    Dead {
        state: String,
        /// EC2's reason.
        reason: Option<String>,
    },
}

impl Ec2 {
    /// Looks until a thing is as wanted; `look` is given the time since the first look.
    pub(super) async fn wait<T, F, R>(
        &self,
        wanted: Wanted<'_>,
        cx: &PhaseContext<'_>,
        mut look: F,
    ) -> Result<T, TargetError>
    where
        F: FnMut(Duration) -> R,
        R: Future<Output = Result<Wait<T>, Ec2Error>>,
    {
        let Wanted {
            what, state, limit, ..
        } = wanted;
        let slow = || Ec2Error::TooSlow {
            what: what.to_owned(),
            wanted: state,
            after: limit,
            key: wanted.key,
        };
        let started = Instant::now();
        loop {
            let (mut pause, looked_at) = (self.poll, Instant::now());
            // A look may itself be patient, and no longer than the wait.
            let left = limit.saturating_sub(started.elapsed()).max(self.poll);
            let Ok(looked) = timeout(left, look(started.elapsed())).await else {
                return Err(slow().into());
            };
            match looked {
                Ok(Wait::Done(done)) => return Ok(done),
                Ok(Wait::Longer(now, percent)) => {
                    cx.phase.progress(format!("{what} is {now}"), percent);
                }
                Ok(Wait::Dead { state: now, reason }) => {
                    return Err(Ec2Error::DeadEnd {
                        what: what.to_owned(),
                        state: now,
                        wanted: state,
                        reason,
                    }
                    .into());
                }
                Err(error) if error.is_transient() => pause = self.poll * 4,
                Err(error) => return Err(error.into()),
            }
            if started.elapsed() > limit {
                return Err(slow().into());
            }
            // A look may have waited for its round already.
            sleep(pause.saturating_sub(looked_at.elapsed())).await;
        }
    }

    /// Has calls that may be made twice be made again for so long from now: `reap` has no end that
    /// it goes by.
    pub(super) fn be_patient(&self) {
        let mut state = self.state();
        state.stage = Stage::Reaping;
        state.until = Some(Instant::now() + LIMIT);
    }

    /// Makes a call that may be made twice until EC2 answers it: a throttled one, late in a bake, is
    /// not worth the whole bake's work. Ends with the bake, and a little before its time is up.
    ///
    /// Before the bake has read all it needs, only EC2's own "not now" is no answer: a region's
    /// wrong name, or a network that is away, is told at once.
    pub(super) async fn persist<T, F, R>(&self, call: F) -> Result<T, Ec2Error>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<T, Ec2Error>>,
    {
        let has_time = |error: &Ec2Error, next: Duration| {
            let state = self.state();
            let is_worth_it = match state.stage {
                Stage::Beginning | Stage::Reaping => error.code().is_some(),
                Stage::Baking => true,
                Stage::Unwinding => false,
            };
            let is_early = |until| Instant::now() + 2 * next < until;
            is_worth_it && state.until.is_some_and(is_early)
        };
        persist(self.poll / 2, has_time, call).await
    }

    /// Looks for something whose id is not known, until it is there or long enough.
    pub(super) async fn look<F, R>(&self, find: F) -> Result<Vec<String>, Ec2Error>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<Vec<String>, Ec2Error>>,
    {
        look(self.poll, LOOK, find).await
    }

    /// Tries until it is done, past what is transient, within a bound.
    pub(super) async fn patiently<F, R>(&self, what: &str, attempt: F) -> Result<(), TargetError>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<bool, Ec2Error>>,
    {
        patiently(self.poll, LIMIT, what, attempt).await
    }
}

async fn persist<T, F, R>(
    first: Duration,
    // Whether there is time for the next try, which will take about so long.
    has_time: impl Fn(&Ec2Error, Duration) -> bool,
    mut call: F,
) -> Result<T, Ec2Error>
where
    F: FnMut() -> R,
    R: Future<Output = Result<T, Ec2Error>>,
{
    let mut pause = first;
    loop {
        let began = Instant::now();
        match call().await {
            Err(error) if error.is_transient() && has_time(&error, pause + began.elapsed()) => {
                sleep(pause).await;
                // The bake may have ended meanwhile, and what ends makes nothing.
                if !has_time(&error, Duration::ZERO) {
                    return Err(error);
                }
            }
            answer => return answer,
        }
        pause = (2 * pause).min(LONGEST_PAUSE * first);
    }
}

async fn look<F, R>(every: Duration, limit: Duration, mut find: F) -> Result<Vec<String>, Ec2Error>
where
    F: FnMut() -> R,
    R: Future<Output = Result<Vec<String>, Ec2Error>>,
{
    let started = Instant::now();
    loop {
        let found = find().await;
        let over = started.elapsed() > limit;
        match found {
            Ok(found) if over || !found.is_empty() => return Ok(found),
            Err(error) if over || !error.is_transient() => return Err(error),
            Ok(_) | Err(_) => sleep(every).await,
        }
    }
}

async fn patiently<F, R>(
    every: Duration,
    limit: Duration,
    what: &str,
    mut attempt: F,
) -> Result<(), TargetError>
where
    F: FnMut() -> R,
    R: Future<Output = Result<bool, Ec2Error>>,
{
    let started = Instant::now();
    loop {
        let last = match attempt().await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(error) if error.is_transient() => Some(error),
            Err(error) => return Err(error.into()),
        };
        if started.elapsed() > limit {
            let slow = || TargetError::new(format!("gave up waiting to {what} it"));
            return Err(last.map_or_else(slow, Into::into));
        }
        sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::ec2::canned::{Canned, Said};
    use std::cell::Cell;

    const EVERY: Duration = Duration::from_millis(1);
    const LIMIT: Duration = Duration::from_millis(50);

    fn refused(code: &str) -> Ec2Error {
        Ec2Error::Refused {
            operation: "DescribeInstances",
            region: "eu-west-1".into(),
            code: code.into(),
            request_id: None,
            source: "no".into(),
        }
    }

    #[tokio::test]
    async fn what_appears_late_is_found_and_a_throttled_look_is_no_answer() {
        let looks = Cell::new(0);
        let found = look(EVERY, Duration::from_secs(60), || {
            looks.set(looks.get() + 1);
            let look = looks.get();
            async move {
                match look {
                    1 => Err(refused("RequestLimitExceeded")),
                    2 => Ok(Vec::new()),
                    _ => Ok(vec!["i-1".to_owned()]),
                }
            }
        });
        assert_eq!(found.await.unwrap(), ["i-1"]);
        assert_eq!(looks.get(), 3);
    }

    #[tokio::test]
    async fn a_call_is_made_until_it_is_answered_or_the_time_is_over() {
        let asked = |answers: usize, in_time: usize| async move {
            let tries = Cell::new(0);
            let answer = persist(
                EVERY,
                |_, _| tries.get() < in_time,
                || {
                    tries.set(tries.get() + 1);
                    let last = tries.get() == answers;
                    async move {
                        match last {
                            true => Ok(()),
                            false => Err(refused("RequestLimitExceeded")),
                        }
                    }
                },
            );
            (answer.await.is_ok(), tries.get())
        };
        assert_eq!(asked(9, 99).await, (true, 9));
        assert_eq!(asked(9, 3).await, (false, 3));
        let refusal = persist(
            EVERY,
            |_, _| true,
            || async { Err::<(), _>(refused("UnauthorizedOperation")) },
        );
        assert!(refusal.await.is_err());
    }

    #[tokio::test]
    async fn a_bake_that_ends_in_the_pause_between_two_tries_makes_no_other() {
        let (ec2, canned) = Canned::ec2("eu-west-1", |_| Said::No("RequestLimitExceeded"));
        ec2.state().until = Some(Instant::now() + Duration::from_secs(60));
        let asking = ec2.persist(|| async {
            let answer = ec2.ec2.create_image().send().await;
            answer.map_err(|e| ec2.refused("CreateImage", e))
        });
        let unwinding = async { ec2.state().stage = Stage::Unwinding };
        let (answer, ()) = tokio::join!(asking, unwinding);
        assert_eq!(answer.unwrap_err().code(), Some("RequestLimitExceeded"));
        assert_eq!(canned.made(), ["eu-west-1 CreateImage"]);
    }

    #[tokio::test]
    async fn nothing_is_persisted_in_that_the_bake_cannot_use() {
        let ec2 = Ec2::new(Some("eu-west-1")).await.unwrap();
        let lost = || Ec2Error::NoAnswer {
            operation: "RunInstances",
            region: "eu-west-1".into(),
            source: "connection reset".into(),
        };
        let tries = Cell::new(0);
        let asked = async |error: &dyn Fn() -> Ec2Error| {
            tries.set(0);
            let call = || {
                tries.set(tries.get() + 1);
                let answer = if tries.get() == 2 {
                    Ok(())
                } else {
                    Err(error())
                };
                async move { answer }
            };
            ec2.persist(call).await.is_ok()
        };
        let throttled = || refused("Throttling");
        assert!(!asked(&throttled).await, "there is no bake");
        ec2.state().until = Some(Instant::now() + Duration::from_secs(60));
        assert!(asked(&throttled).await);
        assert!(!asked(&lost).await, "nobody has ever answered");
        ec2.state().stage = Stage::Baking;
        assert!(asked(&lost).await);
        ec2.state().stage = Stage::Unwinding;
        assert!(
            !asked(&lost).await,
            "what it would make, nobody would remove"
        );
    }

    #[tokio::test]
    async fn what_never_appears_is_called_gone_after_a_while_and_a_refusal_is_said_at_once() {
        let started = Instant::now();
        let nothing = look(EVERY, LIMIT, || async { Ok(Vec::new()) }).await;
        assert!(nothing.unwrap().is_empty() && started.elapsed() > LIMIT);
        let refusal = look(EVERY, Duration::from_secs(60), || async {
            Err(refused("UnauthorizedOperation"))
        });
        assert!(refusal.await.is_err());
    }

    #[tokio::test]
    async fn removing_goes_on_past_what_is_transient_and_no_further() {
        let tries = Cell::new(0);
        let done = patiently(EVERY, Duration::from_secs(60), "delete", || {
            tries.set(tries.get() + 1);
            let last = tries.get() == 3;
            async move {
                if last {
                    Ok(true)
                } else {
                    Err(refused("InternalError"))
                }
            }
        });
        assert!(done.await.is_ok());
        let never = patiently(EVERY, LIMIT, "delete", || async { Ok(false) }).await;
        assert!(never.unwrap_err().to_string().contains("gave up"));
        let refusal = patiently(EVERY, Duration::from_secs(60), "delete", || async {
            Err(refused("UnauthorizedOperation"))
        });
        assert!(refusal.await.is_err());
    }
}
