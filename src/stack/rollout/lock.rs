//! The lock of a stack, which deploys and rollbacks of any machine share. How it works is `targets::ec2`'s
//! affair: it is the same as that of builds.

use time::OffsetDateTime;

use super::super::Stack;
use crate::event::Events;
use crate::exit::{Exit, Failure};
use crate::run::{RunId, rfc3339};
use crate::targets::TargetError;
use crate::targets::ec2::{NamedLock, NamedTurn};

/// Who has a lock, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) run: Option<RunId>,
    /// When its run began.
    pub(crate) since: Option<OffsetDateTime>,
    /// How long ago it was heard of, in seconds.
    pub(crate) heard: u64,
}

/// A stack's lock, held by this run or done without. It is released by name, and by its end if need be:
/// it is dead ten minutes later.
#[must_use = "call `release`, or the next deploy waits until it is dead"]
pub(crate) struct StackLock {
    lock: Option<NamedLock>,
}

impl StackLock {
    /// Takes the lock of a stack.
    ///
    /// # Errors
    /// That another run has it, who that is and since when.
    pub(crate) async fn take(stack: &Stack, run: &RunId, events: &Events) -> Result<Self, Failure> {
        let held = match Self::try_take(stack, run, events).await? {
            Ok(lock) => return Ok(lock),
            Err(held) => held,
        };
        let name = &stack.name;
        let holder = held.holder();
        let message = format!("stack {name} is being deployed or rolled back by {holder}");
        let failure = Failure::new(message).of_kind(Exit::Failed);
        Err(failure.with_hint(format!(
            "wait for its end; if it is dead, its lock is taken over ten minutes after it was last heard of; `amibake stack rollback {name} --region {}` stops it and goes back",
            stack.region
        )))
    }

    /// Takes the lock, or says who has it.
    pub(super) async fn try_take(
        stack: &Stack,
        run: &RunId,
        events: &Events,
    ) -> Result<Result<Self, Held>, Failure> {
        let turn = stack.ec2.named_lock(&name_of(stack), run).await;
        let lock = match turn.map_err(crate::bake::failed)? {
            NamedTurn::Held { run, heard } => {
                return Ok(Err(Held {
                    since: run.as_ref().map(RunId::began),
                    run,
                    heard: heard.as_secs(),
                }));
            }
            NamedTurn::Ours { lock, dead } => {
                if let Some(dead) = dead {
                    events.warn(format!(
                        "{dead} has not been heard of for ten minutes: its lock is taken over"
                    ));
                }
                Some(lock)
            }
            NamedTurn::Denied { why } => {
                let what =
                    "nothing keeps other deploys from working on this stack at the same time";
                events.warn(format!("{what}: {why}"));
                None
            }
        };
        Ok(Ok(Self { lock }))
    }

    /// Gives it back.
    pub(crate) async fn release(self, events: &Events) {
        let Some(lock) = self.lock else {
            return;
        };
        if let Some(why) = lock.unrenewed() {
            events.warn(format!(
                "the stack's lock was not renewed, so others may have taken it over: {why}"
            ));
        }
        if let Err(error) = lock.release().await {
            let why = error.on_one_line();
            events.warn(format!(
                "the stack's lock is left, and dead in ten minutes: {why}"
            ));
        }
    }
}

impl Held {
    /// Returns who it is, for people.
    pub(crate) fn holder(&self) -> String {
        match (&self.run, self.since) {
            (Some(run), Some(since)) => format!(
                "run {run}, since {}; it was heard of {} s ago",
                rfc3339(since),
                self.heard
            ),
            (_, _) => format!("somebody, who was heard of {} s ago", self.heard),
        }
    }
}

/// Takes the lock for a rollback, which goes on without it: whoever has it sees that another run has begun,
/// and ends.
pub(crate) async fn rollback_lock(
    stack: &Stack,
    run: &RunId,
    events: &Events,
) -> Option<StackLock> {
    match StackLock::try_take(stack, run, events).await {
        Ok(Ok(lock)) => Some(lock),
        Ok(Err(held)) => {
            let holder = held.holder();
            events.warn(format!("a deploy is under way and ends by this: {holder}"));
            None
        }
        Err(failure) => {
            let why: Vec<String> = failure.chain().collect();
            events.warn(format!("there is no lock for this: {}", why.join(": ")));
            None
        }
    }
}

/// Returns who has a stack's lock, if anybody has.
pub(super) async fn holder(stack: &Stack) -> Result<Option<Held>, TargetError> {
    let holder = stack.ec2.named_lock_s_holder(&name_of(stack)).await?;
    Ok(holder.map(|(run, heard)| Held {
        since: run.as_ref().map(RunId::began),
        run,
        heard: heard.as_secs(),
    }))
}

fn name_of(stack: &Stack) -> String {
    format!("stack-{}", stack.name)
}
