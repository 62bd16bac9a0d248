//! One process's calls to the AWS in memory: what is told, what is changed, and how a call goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::Notify;

use super::super::super::alarms::Firing;
use super::super::calls::{
    Calls, Counted, Counts, Door, GroupFacts, MemberFacts, NewRule, RuleFacts, StackFacts,
};
use super::super::colour::Colour;
use super::super::smoke::{Answered, SmokeTest};
use super::super::state::TargetState;
use super::{BEGAN, BOOT, Change, DRAIN, Fault, GRACE, Member, Quality, World, refused};
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// AWS as one process reaches it.
pub(in super::super) struct Process {
    world: World,
    id: usize,
    /// The number of the changing call that goes wrong, from 1.
    fault: Option<(usize, Fault)>,
    calls: Mutex<usize>,
    /// Told when it dies.
    pub(in super::super) killed: Arc<Notify>,
}

impl World {
    /// Returns AWS for a process whose nth changing call goes wrong.
    pub(in super::super) fn process(&self, fault: Option<(usize, Fault)>) -> Process {
        let mut state = self.state();
        state.processes += 1;
        state.counter += 1;
        Process {
            world: self.clone(),
            id: state.counter as usize,
            fault,
            calls: Mutex::new(0),
            killed: Arc::default(),
        }
    }
}

fn unheard(operation: &'static str) -> Ec2Error {
    Ec2Error::NoAnswer {
        operation,
        region: "eu-west-1".to_owned(),
        source: "connection reset".into(),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut state = self.world.state();
        state.processes -= 1;
        state.sleepers.retain(|(id, _)| *id != self.id);
    }
}

impl Process {
    /// Makes a changing call, or has it go wrong.
    async fn change(&self, change: Change) -> Result<(), Ec2Error> {
        tokio::task::yield_now().await;
        let nth = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            *calls += 1;
            *calls
        };
        let name = change.name();
        let fault = self.fault.filter(|(at, fault)| match fault {
            Fault::RefusedAlways => nth >= *at,
            Fault::Throttled => (*at..*at + 3).contains(&nth),
            _ => nth == *at,
        });
        match fault.map(|(_, fault)| fault) {
            None => self.world.state().apply(change),
            Some(Fault::Refused | Fault::RefusedAlways) => Err(refused(name, "AccessDenied")),
            Some(Fault::Throttled) => Err(refused(name, "Throttling")),
            Some(Fault::Unheard) => Err(unheard(name)),
            Some(Fault::Lost) => {
                self.world.state().apply(change)?;
                Err(unheard(name))
            }
            Some(Fault::KilledBefore) => self.die().await,
            Some(Fault::KilledDuring) => {
                self.world.state().do_later(change);
                self.die().await
            }
            Some(Fault::KilledAfter) => {
                let _unheard = self.world.state().apply(change);
                self.die().await
            }
        }
    }

    async fn die(&self) -> Result<(), Ec2Error> {
        self.killed.notify_one();
        std::future::pending().await
    }
}

fn colour_of(name: &str) -> Colour {
    let named = name.rsplit('-').next().and_then(Colour::parse);
    named.expect("groups are named after their colours")
}

#[async_trait]
impl Calls for Process {
    fn now(&self) -> OffsetDateTime {
        BEGAN + self.world.state().now
    }

    fn elapsed(&self) -> Duration {
        self.world.state().now
    }

    /// Time goes on when all processes sleep.
    async fn sleep(&self, duration: Duration) {
        let until = {
            let mut state = self.world.state();
            let until = state.now + duration;
            state.sleepers.push((self.id, until));
            until
        };
        loop {
            {
                let mut state = self.world.state();
                if state.now >= until {
                    state.sleepers.retain(|(id, _)| *id != self.id);
                    return;
                }
                if state.sleepers.len() >= state.processes {
                    let next = state.sleepers.iter().map(|(_, at)| *at).min();
                    state.advance(next.unwrap_or(until));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stack(&self) -> Result<Option<StackFacts>, Ec2Error> {
        tokio::task::yield_now().await;
        Ok(Some(self.world.state().stack.clone()))
    }

    async fn groups(&self, names: [&str; 2]) -> Result<BTreeMap<String, GroupFacts>, Ec2Error> {
        let state = self.world.state();
        let facts = names.map(|name| {
            let colour = colour_of(name);
            let group = &state.groups[colour];
            let member = |m: &Member| MemberFacts {
                id: m.id.clone(),
                zone: "eu-west-1a".to_owned(),
                lifecycle: match m.gone {
                    Some(_) => "Terminating:Wait".to_owned(),
                    None if state.now < m.born + BOOT / 2 => "Pending".to_owned(),
                    None => "InService".to_owned(),
                },
                is_well: !m.is_unwell,
                version: Some(m.version.to_string()),
            };
            let facts = GroupFacts {
                min: group.min,
                desired: group.desired,
                max: group.max,
                suspended: group.suspended.clone(),
                grace: Some(GRACE),
                version: Some(group.version.to_string()),
                members: group.members.iter().map(member).collect(),
            };
            (name.to_owned(), facts)
        });
        Ok(facts.into())
    }

    async fn targets(&self, group: &str) -> Result<BTreeMap<String, TargetState>, Ec2Error> {
        let state = self.world.state();
        let colour = colour_of(group);
        let target = |m: &Member| {
            let (told, reason) = match m.gone {
                Some(_) => ("draining", Some("Target.DeregistrationInProgress")),
                None if state.is_healthy(colour, m) => ("healthy", None),
                None if state.now < m.born + BOOT => {
                    ("initial", Some("Elb.RegistrationInProgress"))
                }
                None => ("unhealthy", Some("Target.FailedHealthChecks")),
            };
            let target = TargetState {
                state: told.to_owned(),
                reason: reason.map(str::to_owned),
                description: None,
            };
            (m.id.clone(), target)
        };
        Ok(state.groups[colour].members.iter().map(target).collect())
    }

    async fn delay(&self, _group: &str) -> Result<u32, Ec2Error> {
        Ok(DRAIN)
    }

    async fn rules(&self, _listener: &str) -> Result<Vec<RuleFacts>, Ec2Error> {
        tokio::task::yield_now().await;
        let state = self.world.state();
        Ok(state.rules.iter().map(|(rule, _)| rule.clone()).collect())
    }

    async fn firing(&self, _alarms: &[String]) -> Result<Vec<Firing>, Ec2Error> {
        Ok(self.world.state().firing())
    }

    async fn counts(&self, of: &Counted) -> Result<Option<Counts>, Ec2Error> {
        let state = self.world.state();
        let colour = colour_of(&of.target_group);
        let members = state.groups[colour].members.iter();
        let mut qualities = members.filter_map(|m| state.quality.get(&m.image));
        let fails = qualities.any(|quality| *quality == Quality::Errors);
        let errors = if fails { 50 } else { 0 };
        let requests = 100;
        Ok(Some(Counts { requests, errors }))
    }

    async fn failed_launches(
        &self,
        _group: &str,
        _since: OffsetDateTime,
    ) -> Result<Vec<String>, Ec2Error> {
        Ok(Vec::new())
    }

    async fn console(&self, instance: &str) -> Result<Vec<String>, Ec2Error> {
        let mut state = self.world.state();
        let weights = state.weights();
        state.at_consoles.push(weights);
        Ok(vec![format!("{instance} login:")])
    }

    async fn load_balancer(&self, _arn: &str) -> Result<(String, bool), Ec2Error> {
        Ok(("web.elb".to_owned(), self.world.state().is_internal))
    }

    async fn has_image(&self, id: &str) -> Result<bool, Ec2Error> {
        Ok(!self.world.state().images_gone.contains(id))
    }

    async fn create_rule(&self, rule: &NewRule) -> Result<(), Ec2Error> {
        self.change(Change::Create(rule.clone())).await
    }

    async fn modify_rule(
        &self,
        arn: &str,
        forwards: &BTreeMap<String, u32>,
    ) -> Result<(), Ec2Error> {
        let change = Change::Modify(arn.to_owned(), forwards.clone());
        self.change(change).await
    }

    async fn delete_rule(&self, arn: &str) -> Result<(), Ec2Error> {
        self.change(Change::Delete(arn.to_owned())).await
    }

    async fn tag_rule(&self, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), Ec2Error> {
        let change = Change::Tag(arn.to_owned(), tags.clone());
        self.change(change).await
    }

    async fn resize(&self, group: &str, min: u32, desired: Option<u32>) -> Result<(), Ec2Error> {
        let change = Change::Resize(colour_of(group), min, desired);
        self.change(change).await
    }

    async fn suspend(&self, group: &str, processes: &[&str]) -> Result<(), Ec2Error> {
        let names = processes.iter().map(|name| (*name).to_owned());
        let change = Change::Suspend(colour_of(group), names.collect());
        self.change(change).await
    }

    async fn resume(&self, group: &str, processes: &[&str]) -> Result<(), Ec2Error> {
        let names = processes.iter().map(|name| (*name).to_owned());
        let change = Change::Resume(colour_of(group), names.collect());
        self.change(change).await
    }

    async fn update_stack(&self, parameters: &BTreeMap<String, String>) -> Result<(), TargetError> {
        self.change(Change::Update(parameters.clone())).await?;
        while self.world.state().stack.status.ends_with("IN_PROGRESS") {
            self.sleep(Duration::from_secs(5)).await;
        }
        Ok(())
    }

    async fn ask(&self, door: &Door, _test: &SmokeTest) -> Result<Answered, String> {
        if self.world.state().hangs_in_smoke() {
            self.sleep(Duration::from_secs(600)).await;
            return Err("no answer within 600 s".to_owned());
        }
        let mut state = self.world.state();
        let is_it =
            |(_, header): &&(RuleFacts, Option<String>)| header.as_ref() == Some(&door.value);
        let rule = state.rules.iter().find(is_it);
        let Some((rule, _)) = rule else {
            return Err("the rule is not there".to_owned());
        };
        let named = rule.forwards.keys().next().expect("it leads somewhere");
        let colour = colour_of(named);
        if state.weights().percent(colour) == 0 {
            state.asked_idle += 1;
        }
        let members = state.groups[colour].members.iter();
        let mut qualities = members.filter_map(|m| state.quality.get(&m.image));
        let fails = qualities.any(|quality| *quality == Quality::FailsSmoke);
        Ok(Answered {
            status: if fails { 500 } else { 200 },
            body: String::new(),
        })
    }
}
