//! What a rollout is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::smoke::SmokeTests;
use crate::run::RunId;

/// What is wanted of a rollout.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) run: RunId,
    pub(crate) way: Way,
    pub(crate) pacing: Pacing,
    pub(crate) smoke: Option<SmokeTests>,
    pub(crate) on_failure: OnFailure,
    pub(crate) on_alarm: OnAlarm,
}

/// Where traffic is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// To a colour with these parameters, by their names without the colour (`ImageId`). What is not
    /// named is as the live colour has it.
    Forward {
        parameters: BTreeMap<String, String>,
    },
    /// To the colour that was live before.
    Back,
}

/// How fast it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pacing {
    /// Percentages of the traffic that the new colour gets, one after the other.
    pub(crate) weights: Vec<u32>,
    /// How long it is watched with each.
    pub(crate) bake: Duration,
    /// How long the old colour stays warm.
    pub(crate) keep: Duration,
    /// How long the new colour may take to be healthy.
    pub(crate) healthy_within: Duration,
    /// How many looks in a row must find it so.
    pub(crate) polls: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Self {
            weights: vec![10, 50, 100],
            bake: Duration::from_secs(3 * 60),
            keep: Duration::from_secs(10 * 60),
            healthy_within: Duration::from_secs(15 * 60),
            polls: 3,
        }
    }
}

impl Pacing {
    /// Returns how long a rollout takes at most, apart from CloudFormation's part of it.
    pub(crate) fn longest(&self) -> Duration {
        let steps = u32::try_from(self.weights.len()).unwrap_or(u32::MAX);
        // Metrics that are late double the time of a step.
        let watched = self.bake.saturating_mul(2).saturating_mul(steps);
        self.healthy_within
            .saturating_add(watched)
            .saturating_add(self.keep)
    }
}

/// What becomes of a deploy before which alarms fire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnAlarm {
    #[default]
    Refuse,
    /// It begins, and those do not count as long as they go on: what is live may be what is ill.
    Begin,
}

/// What becomes of a colour that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum OnFailure {
    #[default]
    Destroy,
    /// Its instances stay, without traffic, until the next deploy or rollback.
    Keep,
}
