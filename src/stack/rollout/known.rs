//! What one process has learned by looking more than once: how long something has been so. Whoever goes
//! on with a rollout of another process learns it anew, which takes longer and harms nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use super::colour::{Colour, Weights};
use super::intent::Direction;
use super::state::{Alarm, Observed};
use super::step::{Waiting, Why};
use crate::run::RunId;

/// What CloudWatch counts of a colour's answers since it has what traffic it has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Errors {
    /// Nothing was counted, or not yet: neither good nor bad.
    #[default]
    Unknown,
    Few,
    TooMany {
        errors: u64,
        requests: u64,
    },
}

/// What one process knows of its rollout.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Whether the intent in the rule's tags was this process's.
    pub(crate) has_begun: bool,
    /// Whose intent was there before.
    pub(crate) before: Option<RunId>,
    /// Whether it has moved traffic.
    pub(crate) has_shifted: bool,
    /// How many looks in a row have found all instances healthy.
    pub(crate) healthy_polls: u32,
    /// How long the weights have been what they are.
    pub(crate) weights_for: Duration,
    /// Whether smoke tests have passed.
    pub(crate) is_smoked: bool,
    pub(crate) errors: Errors,
    /// What went wrong, and has not been acted on.
    pub(crate) failure: Option<Why>,
    /// Why it goes back.
    pub(crate) reversed: Option<Why>,
    /// Instances that failed before it had begun, or turned back: what an older rollout has kept, or was ill by itself.
    pub(crate) kept: BTreeSet<String>,
    /// Whether it was refused that a group leaves slow instances alone.
    pub(crate) may_not_suspend: bool,
    /// Alarms that fired when it came, and have not ended since: they do not count.
    pub(crate) tolerated: BTreeSet<String>,
    /// Rules of smoke tests that could not be removed.
    pub(crate) left_rules: BTreeSet<String>,
    weights: Option<Weights>,
    weights_since: Duration,
    waiting: Option<Wait>,
    now: Duration,
}

#[derive(Debug, Clone)]
struct Wait {
    on: Waiting,
    since: Duration,
}

impl Known {
    /// Takes in a look at `now`, by a clock that only goes forward.
    pub(crate) fn look(&mut self, seen: &Observed, run: &RunId, now: Duration) {
        self.now = now;
        self.tolerated
            .retain(|name| seen.alarms.iter().any(|alarm| alarm.name == *name));
        if let Some(intent) = seen.intent()
            && intent.run == *run
        {
            self.has_begun = true;
            if intent.direction == Direction::Back && self.reversed.is_some() {
                self.failure = None; // it is acted on
            }
        }
        let weights = seen.weights();
        if self.weights != Some(weights) {
            self.weights = Some(weights);
            self.weights_since = now;
            self.errors = Errors::Unknown;
        }
        self.weights_for = now.saturating_sub(self.weights_since);
        let is_whole = seen
            .intent()
            .is_some_and(|intent| seen.colours[intent.to].is_whole(intent.size));
        self.healthy_polls = match is_whole {
            true => self.healthy_polls + 1,
            false => 0,
        };
    }

    /// Has the alarms that fire at the first look not count as long as they go on; returns them. One of the colour that
    /// is about to have the traffic does.
    pub(crate) fn tolerate(&mut self, seen: &Observed) -> Vec<String> {
        let unfinished = seen.unfinished().map(|intent| intent.to);
        let to = unfinished.or(seen.live().map(Colour::other));
        let is_of_another = |alarm: &&Alarm| alarm.of.is_none() || alarm.of != to;
        let others = seen.alarms.iter().filter(is_of_another);
        self.tolerated = others.map(|alarm| alarm.name.clone()).collect();
        self.tolerated.iter().cloned().collect()
    }

    /// Notes what is waited for, or that nothing is.
    pub(crate) fn wait(&mut self, on: Option<&Waiting>) {
        let is_same = |wait: &Wait| on.is_some_and(|on| is_of_a_kind(&wait.on, on));
        if self.waiting.as_ref().is_some_and(is_same) {
            return;
        }
        self.waiting = on.map(|on| Wait {
            on: on.clone(),
            since: self.now,
        });
    }

    /// Returns how long this has been waited for.
    pub(crate) fn waited(&self, on: &Waiting) -> Duration {
        let wait = self.waiting.as_ref();
        let wait = wait.filter(|wait| is_of_a_kind(&wait.on, on));
        wait.map_or(Duration::ZERO, |wait| self.now.saturating_sub(wait.since))
    }
}

/// The stack's status changes while it is waited for.
fn is_of_a_kind(one: &Waiting, other: &Waiting) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}
