//! What is seen of a stack, as data, and what follows from one look. Looking is `observe`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use time::OffsetDateTime;

use super::colour::{Both, Colour, Weights};
use super::intent::{Intent, Phase};

/// A stack, as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observed {
    /// When it was looked at, by this machine's clock.
    pub(crate) at: OffsetDateTime,
    pub(crate) stack: Standing,
    /// Instances that the live colour has at least.
    pub(crate) min_size: u32,
    pub(crate) colours: Both<ColourState>,
    /// The rule that traffic follows, if it is there.
    pub(crate) rule: Option<Rule>,
    /// What the stack itself says of traffic: it counts where there is no rule.
    pub(crate) fallback: Weights,
    /// Rules of smoke tests, whoever made them.
    pub(crate) smoke_rules: Vec<String>,
    /// Rules of others that send traffic to one of the colours, whatever the weights are.
    pub(crate) foreign_rules: Vec<String>,
    /// Those that fire.
    pub(crate) alarms: Vec<Alarm>,
    /// How long requests under way have to end when an instance leaves, in seconds.
    pub(crate) drain_seconds: u32,
}

/// What CloudFormation is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing.
    Settled,
    /// It changes the stack: `UPDATE_IN_PROGRESS`.
    Busy(String),
}

/// An alarm that fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alarm {
    pub(crate) name: String,
    /// The colour that it watches, if it is one: it tells nothing of what serves while that has no traffic.
    pub(crate) of: Option<Colour>,
}

/// The rule that traffic follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) arn: String,
    pub(crate) weights: Weights,
    /// What its tags say; nothing if somebody has removed them.
    pub(crate) intent: Option<Intent>,
    /// Whether it leads to target groups that the stack has no more. Its weights are then what they are to be.
    pub(crate) is_astray: bool,
}

/// What there is of one colour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ColourState {
    /// By their names without the colour: `ImageId`.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) group: GroupState,
    pub(crate) instances: Vec<InstanceState>,
}

/// An auto scaling group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GroupState {
    pub(crate) name: String,
    pub(crate) min: u32,
    pub(crate) desired: u32,
    pub(crate) max: u32,
    /// How long it lets an instance be unhealthy after its launch, if the load balancer's word counts for it.
    pub(crate) grace: Option<Duration>,
    /// Which of its processes are suspended.
    pub(crate) suspended: BTreeSet<String>,
}

/// An instance of a group, and the target that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InstanceState {
    pub(crate) id: String,
    pub(crate) zone: String,
    /// `InService`, `Pending`, `Terminating:Wait`.
    pub(crate) lifecycle: String,
    /// Whether the group calls it healthy.
    pub(crate) is_well: bool,
    /// Whether it was launched from the version of the launch template that the group has.
    pub(crate) is_current: bool,
    pub(crate) target: TargetState,
}

/// What the load balancer says of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetState {
    /// `healthy`, `unhealthy`, `initial`, `draining`, `unused`; empty where it is not registered.
    pub(crate) state: String,
    /// `Target.FailedHealthChecks`.
    pub(crate) reason: Option<String>,
    pub(crate) description: Option<String>,
}

/// By which a group calls an instance unhealthy, for good.
pub(super) const HEALTH_CHECK: &str = "HealthCheck";

/// What an idle group does not do: call an instance unhealthy that takes its time (it would never be well again; how long it
/// may take is the rollout's to say), replace what is unhealthy (the evidence stays), and change its size.
pub(crate) const PROCESSES: [&str; 4] = [
    HEALTH_CHECK,
    "ReplaceUnhealthy",
    "AlarmNotification",
    "ScheduledActions",
];

impl Observed {
    /// Returns how traffic is shared.
    pub(crate) fn weights(&self) -> Weights {
        self.rule
            .as_ref()
            .map_or(self.fallback, |rule| rule.weights)
    }

    /// Returns how many percent of the requests a colour has.
    pub(crate) fn percent(&self, colour: Colour) -> u32 {
        self.weights().percent(colour)
    }

    /// Returns the alarms of what serves or of this colour, and those that watch neither colour alone.
    pub(crate) fn alarms_about(&self, colour: Option<Colour>) -> impl Iterator<Item = &str> {
        let counts = move |of: Colour| {
            let serves = self.percent(of) > 0 || self.live() == Some(of);
            serves || colour == Some(of)
        };
        let counting = self.alarms.iter();
        let counting = counting.filter(move |alarm| alarm.of.is_none_or(counts));
        counting.map(|alarm| alarm.name.as_str())
    }

    /// Returns whether traffic goes where nobody is, since target groups were replaced.
    pub(crate) fn is_astray(&self) -> bool {
        self.rule.as_ref().is_some_and(|rule| rule.is_astray)
    }

    pub(crate) fn intent(&self) -> Option<&Intent> {
        self.rule.as_ref()?.intent.as_ref()
    }

    /// Returns a rollout that has not moved all traffic for good.
    pub(crate) fn unfinished(&self) -> Option<&Intent> {
        self.intent()
            .filter(|intent| intent.phase == Phase::Rolling)
    }

    /// Returns the colour that serves: the one with more of the traffic, if there is anything in it.
    /// Where the rule is lost, traffic may be with a colour that is empty; then it is the other.
    pub(crate) fn live(&self) -> Option<Colour> {
        let most = self.favoured();
        let is_there = |colour: &Colour| {
            let state = &self.colours[*colour];
            !state.is_to_be_empty() || state.healthy() > 0
        };
        match self.rule {
            Some(_) => Some(most).filter(is_there),
            None => [most, most.other()].into_iter().find(is_there),
        }
    }

    /// Returns the colour with more of the traffic, whatever is in it.
    pub(crate) fn favoured(&self) -> Colour {
        match self.percent(Colour::Green) > 50 {
            true => Colour::Green,
            false => Colour::Blue,
        }
    }
}

impl ColourState {
    /// Returns whether nothing is there, and nothing is to be.
    pub(crate) fn is_empty(&self) -> bool {
        self.group.min == 0 && self.group.desired == 0 && self.instances.is_empty()
    }

    /// Returns whether its group is to have no instance.
    pub(crate) fn is_to_be_empty(&self) -> bool {
        self.group.min == 0 && self.group.desired == 0
    }

    /// Returns how many instances serve: by the load balancer and by their group.
    pub(crate) fn healthy(&self) -> u32 {
        let serving = self.instances.iter().filter(|one| one.is_serving());
        u32::try_from(serving.count()).unwrap_or(u32::MAX)
    }

    /// Returns whether all that are to be there serve, and those alone are there.
    pub(crate) fn is_whole(&self, size: u32) -> bool {
        self.healthy() >= size.max(1) && self.instances.iter().all(InstanceState::is_serving)
    }

    /// Returns whether an instance was not launched as the group launches now.
    pub(crate) fn is_stale(&self) -> bool {
        let staying = self.instances.iter().filter(|one| !one.is_leaving());
        staying.into_iter().any(|one| !one.is_current)
    }

    /// Returns the ids of the instances that fail.
    pub(crate) fn failing_ids(&self) -> impl Iterator<Item = &String> {
        let failing = self.instances.iter();
        let failing = failing.filter(|one| one.complaint().is_some());
        failing.map(|one| &one.id)
    }

    /// Returns the instances that fail, each with the reason.
    pub(crate) fn failing(&self) -> impl Iterator<Item = String> {
        self.instances.iter().filter_map(InstanceState::complaint)
    }

    /// Returns which of the processes that a rollout suspends are as given.
    pub(crate) fn processes(&self, suspended: bool) -> Vec<&'static str> {
        let is_so = |name: &&str| self.group.suspended.contains(*name) == suspended;
        PROCESSES.into_iter().filter(is_so).collect()
    }
}

impl InstanceState {
    fn is_serving(&self) -> bool {
        self.lifecycle == "InService" && self.is_well && self.target.state == "healthy"
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.lifecycle.starts_with("Terminat") || self.lifecycle == "Detaching"
    }

    /// Returns what is wrong with it, if something is: not that it is new, or leaves.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.is_leaving() {
            return None;
        }
        let (id, target) = (&self.id, &self.target);
        // One that has ended is not used, and its group need not know.
        let has_ended = target.reason.as_deref() == Some("Target.InvalidState");
        if target.state == "unhealthy" || has_ended {
            let state = &target.state;
            let reason = target.reason.as_deref().unwrap_or("no reason was given");
            let more = target.description.iter().map(|text| format!(" ({text})"));
            let more: String = more.collect();
            return Some(format!("{id} is {state}: {reason}{more}"));
        }
        (!self.is_well).then(|| format!("{id} is unhealthy, says its group"))
    }
}
