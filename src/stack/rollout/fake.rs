//! An AWS of two colours, in memory and in a time of its own, for tests: what a rollout's calls change,
//! what comes of that later, and calls that fail. It insists that no colour with traffic loses instances.

mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use time::macros::datetime;

use super::super::alarms::Firing;
use super::calls::{Condition, NewRule, RuleFacts, StackFacts};
use super::colour::{Both, Colour, Weights};
use crate::targets::ec2::Ec2Error;

const BEGAN: OffsetDateTime = datetime!(2026-07-27 10:15:00 UTC);
/// How long an instance takes until it is healthy.
const BOOT: Duration = Duration::from_secs(40);
/// How long one takes that takes long.
const SLOW_BOOT: Duration = Duration::from_secs(300);
/// How long a group waits until it asks the load balancer for an instance's health: shorter than that.
pub(super) const GRACE: Duration = Duration::from_secs(120);
/// In which an alarm counts; it fires after three of them, and ends after one.
const PERIOD: Duration = Duration::from_secs(60);
/// How long CloudFormation takes.
const UPDATE: Duration = Duration::from_secs(60);
pub(super) const DRAIN: u32 = 30;

/// How instances of an image do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Quality {
    #[default]
    Good,
    NeverHealthy,
    /// They fail their checks for minutes, and are healthy then.
    Slow,
    /// They are healthy until they have traffic.
    FailsUnderTraffic,
    /// They answer requests with 5xx, and health checks with 200.
    Errors,
    FailsSmoke,
    /// They answer health checks, and smoke tests never.
    HangsInSmoke,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is refused, once.
    Refused,
    /// It is refused, and so are all that follow.
    RefusedAlways,
    /// It is not done, thrice, for want of capacity at AWS.
    Throttled,
    /// It is not done and never answered.
    Unheard,
    /// It is done, and the answer is lost.
    Lost,
    /// The process dies, and the call is not made.
    KilledBefore,
    /// The process dies, and the call is made a little later.
    KilledDuring,
    /// The call is made, and the process dies before the answer.
    KilledAfter,
}

impl Fault {
    pub(super) const ALL: [Self; 8] = [
        Self::Refused,
        Self::RefusedAlways,
        Self::Throttled,
        Self::Unheard,
        Self::Lost,
        Self::KilledBefore,
        Self::KilledDuring,
        Self::KilledAfter,
    ];
}

#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) image: String,
    pub(super) version: u32,
    pub(super) born: Duration,
    /// When it is gone.
    pub(super) gone: Option<Duration>,
    pub(super) is_ill: bool,
    /// Whether its group has called it unhealthy, which is for ever.
    pub(super) is_unwell: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) min: u32,
    pub(super) desired: u32,
    pub(super) max: u32,
    pub(super) suspended: BTreeSet<String>,
    pub(super) version: u32,
    pub(super) members: Vec<Member>,
    /// Since when it has no traffic.
    pub(super) idle_since: Option<Duration>,
}

/// All there is.
pub(super) struct State {
    pub(super) now: Duration,
    pub(super) stack: StackFacts,
    pub(super) busy: Vec<(Duration, BTreeMap<String, String>)>,
    pub(super) groups: Both<Group>,
    pub(super) rules: Vec<(RuleFacts, Option<String>)>,
    /// Those that fire and watch neither colour alone. Those on each colour's health follow that.
    pub(super) alarms: Vec<String>,
    /// Since when each colour has had instances that fail their checks, and when it last had.
    ill: Both<Option<(Duration, Duration)>>,
    pub(super) quality: BTreeMap<String, Quality>,
    pub(super) is_internal: bool,
    pub(super) images_gone: BTreeSet<String>,
    pub(super) no_capacity: bool,
    /// Changing calls, as they were made.
    pub(super) made: Vec<String>,
    /// The least that served any request, since it was reset.
    pub(super) least: u32,
    /// What must not have been.
    pub(super) wrongs: Vec<String>,
    /// What will be done later: who asked for it is dead.
    later: Vec<(Duration, Change)>,
    counter: u32,
    sleepers: Vec<(usize, Duration)>,
    processes: usize,
    pub(super) asked_idle: u32,
    /// How much of the traffic each colour had when a console was asked for.
    pub(super) at_consoles: Vec<Weights>,
}

/// The world, which outlives processes.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
enum Change {
    Create(NewRule),
    Modify(String, BTreeMap<String, u32>),
    Delete(String),
    Tag(String, BTreeMap<String, String>),
    Resize(Colour, u32, Option<u32>),
    Suspend(Colour, Vec<String>),
    Resume(Colour, Vec<String>),
    Update(BTreeMap<String, String>),
}

impl Change {
    fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "CreateRule",
            Self::Modify(..) => "ModifyRule",
            Self::Delete(_) => "DeleteRule",
            Self::Tag(..) => "AddTags",
            Self::Resize(..) => "UpdateAutoScalingGroup",
            Self::Suspend(..) => "SuspendProcesses",
            Self::Resume(..) => "ResumeProcesses",
            Self::Update(_) => "UpdateStack",
        }
    }
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

impl World {
    /// Returns a stack that was just made: both groups are empty, and the template's rule is all there is.
    pub(crate) fn new() -> Self {
        let stack = StackFacts {
            status: "CREATE_COMPLETE".to_owned(),
            parameters: texts(&[
                ("ImageIdBlue", "ami-old"),
                ("ImageIdGreen", "ami-old"),
                ("InstanceTypeBlue", "t3.small"),
                ("InstanceTypeGreen", "t3.small"),
                ("CertificateArn", "arn:certificate"),
            ]),
            outputs: texts(&[
                ("Listener", "listener"),
                ("LoadBalancer", "balancer"),
                ("TargetGroupBlue", "targets-blue"),
                ("TargetGroupGreen", "targets-green"),
                ("GroupBlue", "group-blue"),
                ("GroupGreen", "group-green"),
                ("MinSize", "2"),
                ("Alarms", "errors,unhealthy-blue,unhealthy-green"),
            ]),
        };
        let group = Group {
            max: 4,
            version: 1,
            ..Group::default()
        };
        let own = RuleFacts {
            arn: "rule-own".to_owned(),
            priority: Some(50_000),
            forwards: [
                ("targets-blue".to_owned(), 100),
                ("targets-green".to_owned(), 0),
            ]
            .into(),
            tags: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(State {
            now: Duration::ZERO,
            stack,
            busy: Vec::new(),
            groups: Both {
                blue: group.clone(),
                green: group,
            },
            rules: vec![(own, None)],
            alarms: Vec::new(),
            ill: Both::default(),
            quality: BTreeMap::new(),
            is_internal: false,
            images_gone: BTreeSet::new(),
            no_capacity: false,
            made: Vec::new(),
            least: u32::MAX,
            wrongs: Vec::new(),
            later: Vec::new(),
            counter: 0,
            sleepers: Vec::new(),
            processes: 0,
            asked_idle: 0,
            at_consoles: Vec::new(),
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets time pass.
    pub(super) fn pass(&self, duration: Duration) {
        let mut state = self.state();
        let until = state.now + duration;
        state.advance(until);
    }
}

impl State {
    /// Returns who has how much of the traffic.
    pub(super) fn weights(&self) -> Weights {
        let mut rules: Vec<&RuleFacts> = self
            .rules
            .iter()
            .filter(|(_, header)| header.is_none())
            .map(|(rule, _)| rule)
            .collect();
        rules.sort_by_key(|rule| rule.priority);
        let first = rules.first().expect("the stack's own is always there");
        let of = |name: &str| first.forwards.get(name).copied().unwrap_or(0);
        Weights {
            blue: of("targets-blue"),
            green: of("targets-green"),
        }
    }

    fn is_healthy(&self, colour: Colour, member: &Member) -> bool {
        let quality = self.quality.get(&member.image).copied().unwrap_or_default();
        let has_traffic = self.weights().percent(colour) > 0;
        let fails = match quality {
            Quality::NeverHealthy => true,
            Quality::FailsUnderTraffic => has_traffic,
            Quality::Slow => self.now < member.born + SLOW_BOOT,
            Quality::Good | Quality::Errors | Quality::FailsSmoke | Quality::HangsInSmoke => false,
        };
        member.gone.is_none() && !member.is_ill && !fails && self.now >= member.born + BOOT
    }

    pub(super) fn healthy(&self, colour: Colour) -> u32 {
        let members = self.groups[colour].members.iter();
        let healthy = members.filter(|member| self.is_healthy(colour, member));
        u32::try_from(healthy.count()).unwrap()
    }

    /// Returns whether an instance is there that answers no smoke tests.
    fn hangs_in_smoke(&self) -> bool {
        let members = Colour::BOTH
            .into_iter()
            .flat_map(|c| &self.groups[c].members);
        let mut qualities = members.filter_map(|m| self.quality.get(&m.image));
        qualities.any(|quality| *quality == Quality::HangsInSmoke)
    }

    /// Returns how many instances serve whoever is served worst.
    pub(super) fn capacity(&self) -> u32 {
        let weights = self.weights();
        let serving = Colour::BOTH.into_iter();
        let serving = serving.filter(|colour| weights.percent(*colour) > 0);
        serving
            .map(|colour| self.healthy(colour))
            .min()
            .unwrap_or(0)
    }

    fn advance(&mut self, until: Duration) {
        while self.now < until {
            self.now = until.min(self.now + Duration::from_secs(5));
            self.tick();
        }
    }

    /// What comes of what was asked for.
    pub(super) fn tick(&mut self) {
        let now = self.now;
        let due: Vec<Change> = {
            let (due, later) = std::mem::take(&mut self.later)
                .into_iter()
                .partition(|(at, _)| *at <= now);
            self.later = later;
            let due: Vec<(Duration, Change)> = due;
            due.into_iter().map(|(_, change)| change).collect()
        };
        for change in due {
            // Who asked is dead: what is refused is heard by nobody.
            let _unheard = self.apply(change);
        }
        let ended: Vec<_> = {
            let (ended, busy) = std::mem::take(&mut self.busy)
                .into_iter()
                .partition(|(at, _)| *at <= now);
            self.busy = busy;
            ended
        };
        for (_, parameters) in ended {
            self.updated(&parameters);
        }
        for colour in Colour::BOTH {
            self.live_on(colour);
            self.watch(colour);
        }
        self.least = self.least.min(self.capacity());
    }

    fn updated(&mut self, parameters: &BTreeMap<String, String>) {
        for (name, value) in parameters {
            let old = self.stack.parameters.insert(name.clone(), value.clone());
            for colour in Colour::BOTH {
                if name.ends_with(colour.suffix()) && old.as_ref() != Some(value) {
                    self.groups[colour].version += 1;
                }
            }
        }
        "UPDATE_COMPLETE".clone_into(&mut self.stack.status);
    }

    /// Notes how long a colour's alarm has had something to count: UnHealthyHostCount of the load balancer.
    fn watch(&mut self, colour: Colour) {
        let now = self.now;
        let members = self.groups[colour].members.iter();
        let mut staying = members.filter(|m| m.gone.is_none() && now >= m.born + BOOT);
        let is_ill = staying.any(|m| !self.is_healthy(colour, m));
        let known = self.ill[colour];
        self.ill[colour] = match (known, is_ill) {
            (Some((since, _)), true) => Some((since, now)),
            (None, true) => Some((now, now)),
            (Some((_, last)), false) if now >= last + PERIOD => None,
            (known, false) => known,
        };
    }

    /// Returns the alarms that fire, each with what it watches.
    fn firing(&self) -> Vec<Firing> {
        let whole = self.alarms.iter().map(|name| Firing {
            name: name.clone(),
            watches: BTreeSet::new(),
        });
        let fires = |colour: &Colour| {
            let ill = self.ill[*colour];
            ill.is_some_and(|(since, last)| last.saturating_sub(since) >= PERIOD * 3)
        };
        let of_colours = Colour::BOTH.into_iter().filter(fires);
        let of_colours = of_colours.map(|colour| Firing {
            name: format!("unhealthy-{colour}"),
            watches: [format!("targets-{colour}")].into(),
        });
        whole.chain(of_colours).collect()
    }

    fn live_on(&mut self, colour: Colour) {
        let now = self.now;
        let percent = self.weights().percent(colour);
        let image = self.stack.parameters[&format!("ImageId{}", colour.suffix())].clone();
        let ill: Vec<String> = {
            let members = self.groups[colour].members.iter();
            let ill = members.filter(|m| {
                m.gone.is_none() && now >= m.born + BOOT && !self.is_healthy(colour, m)
            });
            ill.map(|m| m.id.clone()).collect()
        };
        let no_capacity = self.no_capacity;
        let counter = &mut self.counter;
        let group = &mut self.groups[colour];
        group.idle_since = match percent {
            0 => group.idle_since.or(Some(now)),
            _ => None,
        };
        group
            .members
            .retain(|m| m.gone.is_none_or(|gone| gone > now));
        let gone = now + Duration::from_secs(DRAIN.into());
        if !group.suspended.contains("HealthCheck") {
            let judged = group.members.iter_mut().filter(|m| now >= m.born + GRACE);
            judged.for_each(|m| m.is_unwell |= ill.contains(&m.id));
        }
        if !group.suspended.contains("ReplaceUnhealthy") {
            let replaced = group.members.iter_mut();
            let replaced = replaced.filter(|m| m.is_unwell && m.gone.is_none());
            replaced.for_each(|m| m.gone = Some(gone));
        }
        let staying = |m: &&mut Member| m.gone.is_none();
        let count = group.members.iter_mut().filter(staying).count();
        let desired = group.desired as usize;
        for _ in desired..count {
            let oldest = group.members.iter_mut().find(|m| m.gone.is_none());
            if let Some(oldest) = oldest {
                oldest.gone = Some(gone);
            }
        }
        if no_capacity {
            return;
        }
        for _ in count..desired {
            *counter += 1;
            group.members.push(Member {
                id: format!("i-{counter}"),
                image: image.clone(),
                version: group.version,
                born: now,
                gone: None,
                is_ill: false,
                is_unwell: false,
            });
        }
    }

    fn apply(&mut self, change: Change) -> Result<(), Ec2Error> {
        let told = format!("{} {change:?}", self.now.as_secs());
        self.made.push(told);
        match change {
            Change::Create(rule) => {
                let is_taken = |(known, _): &(RuleFacts, _)| known.priority == Some(rule.priority);
                if self.rules.iter().any(is_taken) {
                    return Err(refused("CreateRule", "PriorityInUse"));
                }
                self.counter += 1;
                let header = match rule.condition {
                    Condition::Header { value, .. } => Some(value),
                    Condition::AsOf { .. } | Condition::All => None,
                };
                let made = RuleFacts {
                    arn: format!("rule-{}", self.counter),
                    priority: Some(rule.priority),
                    forwards: rule.forwards,
                    tags: rule.tags,
                };
                self.rules.push((made, header));
            }
            Change::Modify(arn, forwards) => self.rule(&arn, "ModifyRule")?.forwards = forwards,
            Change::Delete(arn) => {
                self.rule(&arn, "DeleteRule")?;
                self.rules.retain(|(rule, _)| rule.arn != arn);
            }
            Change::Tag(arn, tags) => self.rule(&arn, "AddTags")?.tags.extend(tags),
            Change::Resize(colour, min, desired) => self.resize(colour, min, desired)?,
            Change::Suspend(colour, names) => self.groups[colour].suspended.extend(names),
            Change::Resume(colour, names) => {
                let suspended = &mut self.groups[colour].suspended;
                suspended.retain(|name| !names.contains(name));
            }
            Change::Update(parameters) => {
                self.check_update(&parameters);
                "UPDATE_IN_PROGRESS".clone_into(&mut self.stack.status);
                self.busy.push((self.now + UPDATE, parameters));
            }
        }
        self.tick();
        Ok(())
    }

    fn do_later(&mut self, change: Change) {
        let at = self.now + Duration::from_secs(3);
        self.later.push((at, change));
    }

    fn rule(&mut self, arn: &str, operation: &'static str) -> Result<&mut RuleFacts, Ec2Error> {
        let known = self.rules.iter_mut().find(|(rule, _)| rule.arn == arn);
        let known = known.map(|(rule, _)| rule);
        known.ok_or_else(|| refused(operation, "RuleNotFound"))
    }

    fn resize(&mut self, colour: Colour, min: u32, desired: Option<u32>) -> Result<(), Ec2Error> {
        let percent = self.weights().percent(colour);
        let now = self.now;
        let served = self.healthy(colour);
        let group = &mut self.groups[colour];
        let wanted = desired.unwrap_or(group.desired).max(min);
        if wanted > group.max {
            return Err(refused("UpdateAutoScalingGroup", "ValidationError"));
        }
        if wanted < group.desired && served > 0 {
            let idle = group.idle_since.map(|since| now.saturating_sub(since));
            if percent > 0 || idle.is_none_or(|idle| idle < Duration::from_secs(10)) {
                let wrong = format!("{colour} became smaller with {percent} %, idle for {idle:?}");
                self.wrongs.push(wrong);
            }
        }
        let group = &mut self.groups[colour];
        group.min = min;
        group.desired = wanted;
        Ok(())
    }

    fn check_update(&mut self, parameters: &BTreeMap<String, String>) {
        for colour in Colour::BOTH {
            let is_its = |name: &String| name.ends_with(colour.suffix());
            let is_changed = parameters.keys().any(is_its);
            if is_changed && self.capacity() > 0 && self.weights().percent(colour) > 0 {
                let wrong = format!("parameters of {colour} changed under traffic");
                self.wrongs.push(wrong);
            }
        }
    }
}

pub(super) fn refused(operation: &'static str, code: &str) -> Ec2Error {
    Ec2Error::Refused {
        operation,
        region: "eu-west-1".to_owned(),
        code: code.to_owned(),
        request_id: None,
        source: "no".into(),
    }
}
