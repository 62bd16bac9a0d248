//! One step, done. A step that was decided on what was seen a moment ago is not made if that is not so
//! any more: before traffic moves, the rule is read again.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::calls::{Calls, Condition, Door, NewRule};
use super::colour::{Colour, Weights};
use super::intent::{self, Intent};
use super::observe::{Look, look};
use super::smoke::{HEADER, SmokeTests};
use super::step::Step;
use crate::exit::chain;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// Our rule comes right before the stack's own; where that has no number, here.
const LAST: u32 = 50_000;

/// What came of a step.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Performed {
    Done,
    /// Something else was there when it was looked at again.
    Outdated,
    /// The user wants an end: it was broken off, and leaves nothing.
    Interrupted,
}

/// Why a step was not done, or is not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    Call(#[from] Ec2Error),
    #[error(transparent)]
    Stack(#[from] TargetError),
    /// The new colour answered, and not as it should.
    #[error("{0}")]
    Smoke(String),
    #[error("every priority from 1 to {LAST} of the listener's rules is taken")]
    NoPriority,
}

impl StepError {
    /// Returns whether the same step may work a little later.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Call(error) => error.is_transient(),
            Self::Stack(_) | Self::Smoke(_) | Self::NoPriority => false,
        }
    }

    /// Returns all of it on one line.
    pub(crate) fn on_one_line(&self) -> String {
        match self {
            Self::Stack(error) => error.on_one_line(),
            Self::Call(_) | Self::Smoke(_) | Self::NoPriority => chain(self),
        }
    }
}

/// What a step is done with.
pub(crate) struct Performer<'a> {
    pub(crate) calls: &'a dyn Calls,
    /// The stack's name.
    pub(crate) name: &'a str,
    pub(crate) run: &'a crate::run::RunId,
    pub(crate) smoke: Option<&'a SmokeTests>,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) look: &'a Look,
}

impl Performer<'_> {
    /// Does one step.
    pub(crate) async fn perform(&self, step: &Step) -> Result<Performed, StepError> {
        let group = |colour: Colour| self.look.site.groups[colour].as_str();
        match step {
            Step::Begin(intent) => self.begin(intent).await?,
            Step::Mark(intent) | Step::Reverse { intent, .. } => return self.mark(intent).await,
            Step::Update { colour, parameters } => {
                let suffix = colour.suffix();
                let named = parameters.iter();
                let named: BTreeMap<String, String> = named
                    .map(|(name, value)| (format!("{name}{suffix}"), value.clone()))
                    .collect();
                self.calls.update_stack(&named).await?;
            }
            Step::Suspend { colour, processes } => {
                self.calls.suspend(group(*colour), processes).await?;
            }
            Step::Resume { colour, processes } => {
                self.calls.resume(group(*colour), processes).await?;
            }
            Step::RaiseMin { colour, min } | Step::HandBack { colour, min } => {
                self.calls.resize(group(*colour), *min, None).await?;
            }
            Step::Resize { colour, size } => {
                self.calls
                    .resize(group(*colour), *size, Some(*size))
                    .await?;
            }
            Step::ScaleIn { colour } | Step::Abandon { colour, .. } => {
                return self.scale_in(*colour).await;
            }
            Step::Smoke { colour } => return self.smoke(*colour).await,
            Step::RemoveSmokeRule { arn } => self.remove_rule(arn).await?,
            Step::Shift(weights) => return self.shift(*weights).await,
        }
        Ok(Performed::Done)
    }

    /// Says what is going to be done: in the rule that is there, or in one that sends traffic where it goes
    /// already. Where nobody serves, it does not go to the colour that is to be the first.
    async fn begin(&self, intent: &Intent) -> Result<(), StepError> {
        if let Some(rule) = &self.look.seen.rule {
            let mut tags = intent.tags();
            tags.extend(self.ours(intent::TRAFFIC));
            return Ok(self.calls.tag_rule(&rule.arn, &tags).await?);
        }
        let live = self.look.seen.live().unwrap_or(intent.to.other());
        let (condition, below) = match &self.look.own_rule {
            Some((rule, priority)) => (Condition::AsOf { rule: rule.clone() }, *priority),
            None => (Condition::All, LAST),
        };
        let is_free = |priority: &u32| !self.look.priorities.contains(priority);
        let priority = (1..below).rev().find(is_free);
        let mut tags = intent.tags();
        tags.extend(self.ours(intent::TRAFFIC));
        let rule = NewRule {
            listener: self.look.site.listener.clone(),
            priority: priority.ok_or(StepError::NoPriority)?,
            condition,
            forwards: self.look.site.forwards(Weights::giving(live, 100)),
            tags,
        };
        Ok(self.calls.create_rule(&rule).await?)
    }

    fn ours(&self, role: &str) -> BTreeMap<String, String> {
        let pairs = [(intent::STACK, self.name), (intent::ROLE, role)];
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    async fn mark(&self, intent: &Intent) -> Result<Performed, StepError> {
        let now = self.look_again().await?;
        match &now.seen.rule {
            Some(rule) if self.is_as_seen(&now, None) => {
                self.calls.tag_rule(&rule.arn, &intent.tags()).await?;
                Ok(Performed::Done)
            }
            Some(_) | None => Ok(Performed::Outdated),
        }
    }

    async fn shift(&self, weights: Weights) -> Result<Performed, StepError> {
        let now = self.look_again().await?;
        let gains = |colour: &Colour| weights.percent(*colour) > now.seen.percent(*colour);
        let gaining = Colour::BOTH.into_iter().find(gains);
        let rule = now.seen.rule.as_ref();
        let Some(rule) = rule.filter(|_| self.is_as_seen(&now, gaining)) else {
            return Ok(Performed::Outdated);
        };
        let forwards = now.site.forwards(weights);
        self.calls.modify_rule(&rule.arn, &forwards).await?;
        Ok(Performed::Done)
    }

    /// Has a group end its instances, unless it has traffic by now.
    async fn scale_in(&self, colour: Colour) -> Result<Performed, StepError> {
        let now = self.look_again().await?;
        if !self.is_as_seen(&now, Some(colour.other())) {
            return Ok(Performed::Outdated);
        }
        let group = &self.look.site.groups[colour];
        self.calls.resize(group, 0, Some(0)).await?;
        Ok(Performed::Done)
    }

    async fn look_again(&self) -> Result<Look, StepError> {
        let drain = self.look.seen.drain_seconds;
        match look(self.calls, self.name, drain).await {
            Ok(look) => Ok(look),
            Err(super::observe::LookError::Call(error)) => Err(error.into()),
            Err(error) => Err(TargetError::from(error).into()),
        }
    }

    /// Returns whether traffic is as it was when the step was decided on, nobody else has begun, and the
    /// colour that the step relies on serves with no fewer instances.
    fn is_as_seen(&self, now: &Look, relies_on: Option<Colour>) -> bool {
        let (before, now) = (&self.look.seen, &now.seen);
        let is_no_worse =
            |colour: Colour| now.colours[colour].healthy() >= before.colours[colour].healthy();
        let is_ours = now.intent().is_none_or(|intent| &intent.run == self.run);
        is_ours
            && before.intent() == now.intent()
            && before.rule.as_ref().map(|rule| rule.weights)
                == now.rule.as_ref().map(|rule| rule.weights)
            && relies_on.is_none_or(is_no_worse)
    }

    async fn remove_rule(&self, arn: &str) -> Result<(), StepError> {
        match self.calls.delete_rule(arn).await {
            Err(error) if error.code() == Some("RuleNotFound") => Ok(()),
            removed => Ok(removed?),
        }
    }

    /// Makes the requests of the smoke tests by a rule for a header that nobody else can know.
    async fn smoke(&self, colour: Colour) -> Result<Performed, StepError> {
        let Some(tests) = self.smoke else {
            return Ok(Performed::Done);
        };
        let (address, _) = self
            .calls
            .load_balancer(&self.look.site.load_balancer)
            .await?;
        let door = Door {
            address,
            value: secret()?,
            certificate: self.look.certificate.clone().unwrap_or_default(),
        };
        let is_free = |priority: &u32| !self.look.priorities.contains(priority);
        let rule = NewRule {
            listener: self.look.site.listener.clone(),
            priority: (1..LAST).find(is_free).ok_or(StepError::NoPriority)?,
            condition: Condition::Header {
                name: HEADER.to_owned(),
                value: door.value.clone(),
            },
            forwards: [(self.look.site.target_groups[colour].clone(), 1)].into(),
            tags: self.ours(intent::SMOKE),
        };
        self.calls.create_rule(&rule).await?;
        let tested = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ok(Performed::Interrupted),
            tested = self.ask_all(&door, tests) => tested.map(|()| Performed::Done),
        };
        // What is not removed now, the next look finds.
        if let Ok(now) = self.look_again().await {
            for arn in &now.seen.smoke_rules {
                self.remove_rule(arn).await?;
            }
        }
        tested
    }

    async fn ask_all(&self, door: &Door, tests: &SmokeTests) -> Result<(), StepError> {
        // The load balancer needs a moment to know the rule: until then the live colour answers, which is
        // why the first requests are made late.
        self.calls.sleep(super::next::PROPAGATION).await;
        for test in &tests.0 {
            for _ in 0..test.times {
                let answer = self.calls.ask(door, test).await;
                let complaint = match answer {
                    Ok(answer) => test.complaint(&answer),
                    Err(why) => Some(format!("{} {}: {why}", test.method, test.path)),
                };
                if let Some(complaint) = complaint {
                    return Err(StepError::Smoke(complaint));
                }
            }
        }
        Ok(())
    }
}

/// Returns a value that nobody guesses.
fn secret() -> Result<String, StepError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| TargetError::new("there is no randomness on this machine").because(e))?;
    Ok(hex::encode(random))
}
