//! The loop of a rollout: look, decide, do one step or wait, until there is an end. It stops between two
//! steps alone.

use std::collections::BTreeSet;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Counted};
use super::colour::{Colour, Weights};
use super::intent::{Direction, Intent, Phase};
use super::known::{Errors, Known};
use super::next::next;
use super::observe::{Look, look};
use super::perform::{Performed, Performer, StepError};
use super::state::InstanceState;
use super::step::{End, Next, Step, Waiting, Why};
use super::tell::{traffic, waiting};
use super::wanted::{OnAlarm, Wanted, Way};
use crate::clock;
use crate::event::Events;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// How often it looks.
pub(super) const POLL: Duration = Duration::from_secs(5);

/// How long AWS may fail to answer.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How often it is asked for what was counted.
const COUNT: Duration = Duration::from_secs(30);

/// How long what is known of a failure may take to be gathered.
const DIAGNOSIS: Duration = Duration::from_secs(20);

/// Of so many answers that are 5xx, and no fewer than so many, too many are.
const ERROR_PERCENT: u64 = 5;
const LEAST_ERRORS: u64 = 3;

/// What a rollout is given besides what is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RolloutContext<'a> {
    pub(crate) events: &'a Events,
    /// Stop at the next safe point.
    pub(crate) cancel: &'a CancellationToken,
}

/// Why a rollout came to no end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RolloutError {
    /// AWS could not be asked how things are.
    #[error("the stack could not be looked at")]
    Look(#[source] TargetError),
    /// Nothing has been changed.
    #[error("the rollout could not begin")]
    Begin(#[source] TargetError),
    /// It has begun, and its way back was refused, or what is left to do after it.
    #[error("{what}: this could not be done, while {traffic}")]
    Stopped {
        what: String,
        /// `blue has 90 % of the traffic, green 10 %`
        traffic: String,
        #[source]
        source: TargetError,
    },
    /// The user wants an end.
    #[error("the rollout was interrupted, while {traffic}")]
    Interrupted {
        traffic: String,
        /// The image that it was about, if it had begun.
        image: Option<String>,
        way: Way,
    },
    /// Nothing has been changed: what is gone back to could not be launched.
    #[error(
        "{colour} cannot be gone back to: its instances are gone, and so is its image, {image}"
    )]
    ImageGone { colour: Colour, image: String },
    /// Smoke tests cannot reach it.
    #[error("smoke tests cannot reach the load balancer, which is inside its VPC alone")]
    Internal,
}

/// Runs a rollout to its end.
pub(crate) async fn drive(
    calls: &dyn Calls,
    name: &str,
    wanted: &Wanted,
    cx: &RolloutContext<'_>,
) -> Result<End, RolloutError> {
    let mut driver = Driver {
        calls,
        name,
        wanted,
        cx,
        known: Known::default(),
        began: calls.elapsed(),
        has_looked: false,
        drain: None,
        troubled_since: None,
        counted: None,
        image: None,
        undiagnosed: None,
        told: String::new(),
        told_launches: BTreeSet::new(),
        has_asked_launches: false,
    };
    driver.run().await
}

struct Driver<'a> {
    calls: &'a dyn Calls,
    name: &'a str,
    wanted: &'a Wanted,
    cx: &'a RolloutContext<'a>,
    known: Known,
    began: Duration,
    has_looked: bool,
    /// The deregistration delay, once it is read.
    drain: Option<u32>,
    /// Since when AWS does not answer.
    troubled_since: Option<Duration>,
    counted: Option<Duration>,
    /// The image that this is about, once it has begun.
    image: Option<String>,
    /// What failed, and is looked at when traffic has left it.
    undiagnosed: Option<Failed>,
    /// What was told last: it is told once.
    told: String,
    told_launches: BTreeSet<String>,
    /// Whether it was asked what could not be launched since all that is to be there is.
    has_asked_launches: bool,
}

/// A colour that failed, as it did.
#[derive(Debug)]
struct Failed {
    colour: Colour,
    /// Its auto scaling group.
    group: String,
    /// One that fails.
    instance: Option<String>,
    /// When the rollout to it was begun.
    since: OffsetDateTime,
}

impl Driver<'_> {
    async fn run(&mut self) -> Result<End, RolloutError> {
        let mut last: Option<Look> = None;
        loop {
            if self.cx.cancel.is_cancelled() {
                // How it is now, after the last step.
                let now = self.try_look().await.ok();
                return Err(self.interrupted(now.or(last).as_ref()));
            }
            let Some(look) = self.look().await? else {
                self.pause().await;
                continue;
            };
            self.diagnose_later(&look).await;
            match next(&look.seen, self.wanted, &self.known) {
                Next::End(end) => {
                    // Its traffic stays.
                    if let Some(failed) = self.undiagnosed.take() {
                        self.diagnose(&failed).await;
                    }
                    return Ok(end);
                }
                Next::Wait(on) => {
                    self.known.wait(Some(&on));
                    self.tell_waiting(&on, &look).await;
                    self.pause().await;
                }
                Next::Do(step) => self.step(&step, &look).await?,
            }
            last = Some(look);
        }
    }

    /// Looks; nothing where AWS could not answer this time.
    async fn look(&mut self) -> Result<Option<Look>, RolloutError> {
        match self.try_look().await {
            Ok(look) => {
                self.troubled_since = None;
                let elapsed = self.calls.elapsed().saturating_sub(self.began);
                if !self.has_looked && self.wanted.on_alarm == OnAlarm::Begin {
                    self.tolerate(&look);
                }
                self.has_looked = true;
                self.known.look(&look.seen, &self.wanted.run, elapsed);
                self.count(&look).await;
                Ok(Some(look))
            }
            Err(error) if error.is_transient() && self.has_patience() => Ok(None),
            Err(error) => Err(RolloutError::Look(error.into())),
        }
    }

    /// Has alarms that fire already not count, and says which.
    fn tolerate(&mut self, look: &Look) {
        let names = self.known.tolerate(&look.seen);
        if !names.is_empty() {
            self.warn(format!(
                "alarms fire already, and do not count until they have ended: {}",
                names.join(", ")
            ));
        }
    }

    async fn try_look(&mut self) -> Result<Look, super::observe::LookError> {
        if let Some(drain) = self.drain {
            return look(self.calls, self.name, drain).await;
        }
        let mut look = look(self.calls, self.name, 0).await?;
        let groups = &look.site.target_groups;
        let delays = tokio::join!(
            self.calls.delay(&groups.blue),
            self.calls.delay(&groups.green)
        );
        let drain = delays.0?.max(delays.1?);
        self.drain = Some(drain);
        look.seen.drain_seconds = drain;
        Ok(look)
    }

    fn has_patience(&mut self) -> bool {
        let now = self.calls.elapsed();
        let since = *self.troubled_since.get_or_insert(now);
        now.saturating_sub(since) < PATIENCE
    }

    async fn pause(&self) {
        tokio::select! {
            () = self.cx.cancel.cancelled() => {}
            () = self.calls.sleep(POLL) => {}
        }
    }

    /// Asks what the new colour has answered since it has what traffic it has.
    async fn count(&mut self, look: &Look) {
        let Some(intent) = look.seen.intent() else {
            return;
        };
        let is_baking = intent.run == self.wanted.run
            && intent.direction == Direction::Forward
            && intent.phase == Phase::Rolling
            && intent.from.is_some()
            && look.seen.percent(intent.to) > 0;
        let now = self.calls.elapsed();
        let is_due = self
            .counted
            .is_none_or(|at| now.saturating_sub(at) >= COUNT)
            || self.known.weights_for >= self.wanted.pacing.bake;
        if !is_baking || !is_due {
            return;
        }
        self.counted = Some(now);
        let of = Counted {
            load_balancer: look.site.load_balancer.clone(),
            target_group: look.site.target_groups[intent.to].clone(),
            since: look.seen.at - self.known.weights_for,
        };
        self.known.errors = match self.calls.counts(&of).await {
            Ok(counts) => judge(counts),
            Err(error) => {
                let why = TargetError::from(error).on_one_line();
                self.warn(format!("nothing is known of 5xx answers: {why}"));
                Errors::Unknown
            }
        };
    }

    async fn step(&mut self, step: &Step, look: &Look) -> Result<(), RolloutError> {
        self.say(step.to_string());
        if !matches!(step, Step::RemoveSmokeRule { .. }) {
            self.known.wait(None); // what is waited for next is waited for anew
        }
        match step {
            Step::Begin(intent) => {
                self.check_smoke(look).await?;
                self.check_image(intent, look).await?;
                self.tell_short_grace(intent, look);
                self.image = Some(intent.image.clone());
                self.known.before = look.seen.intent().map(|intent| intent.run.clone());
            }
            Step::Reverse { intent, why } => {
                self.known.reversed = Some(why.clone());
                // Traffic first: what is to be asked takes its time.
                self.undiagnosed = Some(self.failed(look, intent.to.other()));
            }
            Step::Shift(weights) => self.tell_unknown(look, Some(*weights)),
            Step::Mark(_) => self.tell_unknown(look, None),
            Step::Abandon { colour, why } => {
                self.known.failure = Some(why.clone());
                let failed = self.failed(look, *colour);
                self.diagnose(&failed).await;
            }
            _ => {}
        }
        match self.perform(step, look).await {
            None | Some(Ok(Performed::Interrupted)) => {} // which the loop tells
            Some(Ok(Performed::Done)) => self.done(step, look),
            // What was seen is not so any more.
            Some(Ok(Performed::Outdated)) => self.pause_shortly().await,
            Some(Err(error)) if error.is_transient() && self.has_patience() => {
                let why = error.on_one_line();
                self.warn(format!("{step}: it is tried again, since {why}"));
                self.pause().await;
            }
            Some(Err(error)) => self.refused(step, error, look)?,
        }
        Ok(())
    }

    /// Says that the next step is made although nothing is known of the answers at this one: not where traffic is taken back.
    fn tell_unknown(&self, look: &Look, to_be: Option<Weights>) {
        let Some(intent) = look.seen.intent() else {
            return;
        };
        let percent = look.seen.percent(intent.to);
        let was_watched = intent.direction == Direction::Forward
            && intent.phase == Phase::Rolling
            && intent.from.is_some()
            && percent > 0
            && to_be.is_none_or(|weights| weights.percent(intent.to) > percent)
            && !self.wanted.pacing.bake.is_zero();
        if was_watched && self.known.errors == Errors::Unknown {
            let colour = intent.to;
            self.warn(format!(
                "CloudWatch has counted no answers of {colour} with {percent} % of the traffic: whether there were 5xx is not known"
            ));
        }
    }

    async fn perform(&self, step: &Step, look: &Look) -> Option<Result<Performed, StepError>> {
        let performer = Performer {
            calls: self.calls,
            name: self.name,
            run: &self.wanted.run,
            smoke: self.wanted.smoke.as_ref(),
            cancel: self.cx.cancel,
            look,
        };
        let performing = performer.perform(step);
        if !matches!(step, Step::Update { .. }) {
            return Some(performing.await);
        }
        // CloudFormation goes on by itself, and whoever comes next waits for it.
        tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => None,
            performed = performing => Some(performed),
        }
    }

    fn done(&mut self, step: &Step, look: &Look) {
        match step {
            Step::Begin(intent) => {
                self.known.has_begun = true;
                // A new colour's may be slow, and of the rollout that this goes on with.
                if intent.direction == Direction::Back || look.seen.unfinished().is_none() {
                    self.keep_in_mind(intent, look);
                }
            }
            Step::Reverse { intent, .. } => self.keep_in_mind(intent, look),
            Step::Smoke { .. } => self.known.is_smoked = true,
            Step::Shift(weights) => {
                let to = look.seen.intent().map(|intent| intent.to);
                self.known.has_shifted |= to.is_some_and(|to| weights.percent(to) > 0);
                self.counted = None;
            }
            _ => {}
        }
    }

    /// Notes what fails already.
    fn keep_in_mind(&mut self, intent: &Intent, look: &Look) {
        let failing = look.seen.colours[intent.to].failing_ids();
        self.known.kept = failing.cloned().collect();
    }

    /// A step was refused: then it goes back, or stops where nothing else is to be done.
    fn refused(&mut self, step: &Step, error: StepError, look: &Look) -> Result<(), RolloutError> {
        let reason = error.on_one_line();
        if let Step::RemoveSmokeRule { arn } = step {
            self.warn(format!("the rule {arn} of smoke tests stays: {reason}"));
            self.known.left_rules.insert(arn.clone());
            return Ok(());
        }
        if let Step::Begin(_) = step {
            return Err(RolloutError::Begin(of(error)));
        }
        let is_back = |intent: &Intent| intent.direction == Direction::Back;
        if matches!(step, Step::Suspend { .. }) && look.seen.intent().is_some_and(is_back) {
            self.warn(format!(
                "{step}: this cannot be done, so that it may replace instances which are slow: {reason}"
            ));
            self.known.may_not_suspend = true;
            return Ok(());
        }
        let may_go_back = look.seen.intent().is_some_and(|intent| {
            intent.direction == Direction::Forward && intent.phase == Phase::Rolling
        });
        // Where it is to be marked, traffic is where it is to be.
        let is_final = matches!(
            step,
            Step::Reverse { .. } | Step::Abandon { .. } | Step::Mark(_)
        );
        if !may_go_back || is_final {
            return Err(RolloutError::Stopped {
                what: step.to_string(),
                traffic: traffic(&look.seen),
                source: of(error),
            });
        }
        self.known.failure = Some(match error {
            StepError::Smoke(reason) => Why::Smoke { reason },
            StepError::Call(_) | StepError::Stack(_) | StepError::NoPriority => Why::Step {
                reason: format!("{step}: {reason}"),
            },
        });
        Ok(())
    }

    async fn check_smoke(&self, look: &Look) -> Result<(), RolloutError> {
        if self.wanted.smoke.is_none() {
            return Ok(());
        }
        let asked = self.calls.load_balancer(&look.site.load_balancer).await;
        match asked {
            Ok((_, true)) => Err(RolloutError::Internal),
            Ok((_, false)) => Ok(()),
            Err(error) => Err(RolloutError::Begin(error.into())),
        }
    }

    /// Looks whether what is gone back to can be launched, where nothing of it is there.
    async fn check_image(&self, intent: &Intent, look: &Look) -> Result<(), RolloutError> {
        let mut instances = look.seen.colours[intent.to].instances.iter();
        let is_launched = intent.direction == Direction::Back
            && intent.phase == Phase::Rolling
            && instances.all(InstanceState::is_leaving);
        let image = intent.image.clone();
        // A template of somebody's own may have it by another name than an id.
        if !is_launched || !image.starts_with("ami-") {
            return Ok(());
        }
        match self.calls.has_image(&image).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RolloutError::ImageGone {
                colour: intent.to,
                image,
            }),
            Err(error) => {
                let why = TargetError::from(error).on_one_line();
                self.warn(format!("whether {image} is there is not known: {why}"));
                Ok(())
            }
        }
    }

    async fn pause_shortly(&self) {
        self.calls.sleep(POLL / 5).await;
    }

    /// Tells what a colour's targets say, which failed, and returns what else there is to be asked of it.
    fn failed(&self, look: &Look, colour: Colour) -> Failed {
        let state = &look.seen.colours[colour];
        for complaint in state.failing() {
            self.warn(complaint);
        }
        let mut instances = state.instances.iter();
        let failing = instances.find(|one| one.complaint().is_some());
        Failed {
            colour,
            group: state.group.name.clone(),
            instance: failing.map(|one| one.id.clone()),
            since: began(look),
        }
    }

    /// Diagnoses what failed a moment ago, once it has no traffic any more.
    async fn diagnose_later(&mut self, look: &Look) {
        let has_none = |failed: &mut Failed| look.seen.percent(failed.colour) == 0;
        if let Some(failed) = self.undiagnosed.take_if(has_none) {
            self.diagnose(&failed).await;
        }
    }

    /// Tells what can be known of a colour that failed: what could not be launched, and the console of an instance that
    /// fails.
    async fn diagnose(&self, failed: &Failed) {
        let gathering = async {
            let launches = self.failed_launches(&failed.group, failed.since).await;
            let console = match &failed.instance {
                Some(instance) => self.calls.console(instance).await,
                None => Ok(Vec::new()),
            };
            (launches, console)
        };
        let gathered = tokio::select! {
            biased;
            () = self.cx.cancel.cancelled() => return,
            gathered = clock::timeout(DIAGNOSIS, gathering) => gathered,
        };
        let Ok((launches, console)) = gathered else {
            return;
        };
        launches.into_iter().for_each(|launch| self.warn(launch));
        let console = console.unwrap_or_else(|error| {
            let why = TargetError::from(error).on_one_line();
            self.warn(format!("its console cannot be read: {why}"));
            Vec::new()
        });
        if let Some(instance) = failed.instance.as_ref().filter(|_| !console.is_empty()) {
            let lines = console.join("\n  ");
            self.warn(format!("the end of {instance}'s console:\n  {lines}"));
        }
    }

    /// Says that instances which this rollout waits for would be replaced by the group that has them later.
    fn tell_short_grace(&self, intent: &Intent, look: &Look) {
        let within = self.wanted.pacing.healthy_within;
        let grace = look.seen.colours[intent.to].group.grace;
        if let Some(grace) = grace.filter(|grace| *grace < within && intent.phase == Phase::Rolling)
        {
            let (colour, grace, within) = (intent.to, grace.as_secs(), within.as_secs());
            self.warn(format!(
                "this waits {within} s for an instance to be healthy, and later on {colour}'s group replaces one that is not after {grace} s: its HealthCheckGracePeriod is to be as long as an instance may take"
            ));
        }
    }

    fn interrupted(&self, last: Option<&Look>) -> RolloutError {
        RolloutError::Interrupted {
            traffic: last.map_or_else(
                || "nothing had been looked at".to_owned(),
                |look| traffic(&look.seen),
            ),
            image: self.image.clone(),
            way: self.wanted.way.clone(),
        }
    }

    async fn tell_waiting(&mut self, on: &Waiting, look: &Look) {
        let message = waiting(on, &look.seen, self.wanted);
        if message != self.told {
            self.say(message.clone());
            self.told = message;
        }
        if !matches!(on, Waiting::Health) {
            return;
        }
        let Some(intent) = look.seen.intent() else {
            return;
        };
        let state = &look.seen.colours[intent.to];
        let count = u32::try_from(state.instances.len()).unwrap_or(u32::MAX);
        let is_all = count >= state.group.desired;
        // Where a zone has no room, another one may have it before anybody looks: that is told, too.
        if is_all && self.has_asked_launches {
            return;
        }
        self.has_asked_launches = is_all;
        for launch in self.failed_launches(&state.group.name, began(look)).await {
            if self.told_launches.insert(launch.clone()) {
                self.warn(launch);
            }
        }
    }

    /// Returns what a group could not launch since then, or that it is not known.
    async fn failed_launches(&self, group: &str, since: OffsetDateTime) -> Vec<String> {
        let failed = self.calls.failed_launches(group, since).await;
        failed.unwrap_or_else(|error| vec![unknown_launches(error)])
    }

    fn say(&self, message: String) {
        self.cx.events.note(message);
    }

    fn warn(&self, message: String) {
        self.cx.events.warn(message);
    }
}

/// Returns when what is under way was begun or turned back.
fn began(look: &Look) -> OffsetDateTime {
    let intent = look.seen.intent();
    intent.map_or(look.seen.at, |intent| intent.since)
}

/// Returns that launches which failed are not known.
fn unknown_launches(error: Ec2Error) -> String {
    let why = TargetError::from(error).on_one_line();
    format!("whether launches have failed is not known: {why}")
}

fn judge(counts: Option<super::calls::Counts>) -> Errors {
    match counts {
        None => Errors::Unknown,
        Some(counts) if counts.requests == 0 => Errors::Unknown,
        Some(counts) => {
            let (errors, requests) = (counts.errors, counts.requests);
            let is_bad = errors >= LEAST_ERRORS && 100 * errors > ERROR_PERCENT * requests;
            match is_bad {
                true => Errors::TooMany { errors, requests },
                false => Errors::Few,
            }
        }
    }
}

fn of(error: StepError) -> TargetError {
    match error {
        StepError::Call(error) => error.into(),
        StepError::Stack(error) => error,
        StepError::Smoke(_) | StepError::NoPriority => TargetError::new(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::Counts;
    use super::*;

    #[test]
    fn a_few_errors_or_none_that_were_counted_are_no_trouble_and_no_figures_no_proof() {
        let judged = |requests, errors| judge(Some(Counts { requests, errors }));
        assert_eq!(judge(None), Errors::Unknown);
        assert_eq!(judged(0, 0), Errors::Unknown);
        assert_eq!(judged(100, 5), Errors::Few);
        assert_eq!(judged(10, 2), Errors::Few);
        let (errors, requests) = (6, 100);
        assert_eq!(judged(100, 6), Errors::TooMany { errors, requests });
    }
}
