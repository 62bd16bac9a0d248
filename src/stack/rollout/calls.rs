//! What a rollout asks of AWS: one method a call, so that tests can stand in for it. In earnest it is
//! `aws`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::super::alarms::{Firing, alarms_of};
use super::colour::{Colour, Weights};
use super::smoke::{Answered, SmokeTest};
use super::state::TargetState;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// A stack, as CloudFormation has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StackFacts {
    /// `UPDATE_COMPLETE`
    pub(crate) status: String,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) outputs: BTreeMap<String, String>,
}

/// An auto scaling group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GroupFacts {
    pub(crate) min: u32,
    pub(crate) desired: u32,
    pub(crate) max: u32,
    pub(crate) suspended: BTreeSet<String>,
    /// How long after its launch it lets an instance be unhealthy, if it asks the load balancer.
    pub(crate) grace: Option<Duration>,
    /// What it launches from now.
    pub(crate) version: Option<String>,
    pub(crate) members: Vec<MemberFacts>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberFacts {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) lifecycle: String,
    pub(crate) is_well: bool,
    /// What it was launched from.
    pub(crate) version: Option<String>,
}

/// A rule of the listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RuleFacts {
    pub(crate) arn: String,
    /// None of the listener's default action, which comes last.
    pub(crate) priority: Option<u32>,
    /// By target group, where it forwards.
    pub(crate) forwards: BTreeMap<String, u32>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Which requests a rule is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// Those that another rule is for.
    AsOf {
        rule: String,
    },
    All,
    Header {
        name: String,
        value: String,
    },
}

/// A rule that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewRule {
    pub(crate) listener: String,
    pub(crate) priority: u32,
    pub(crate) condition: Condition,
    /// By target group.
    pub(crate) forwards: BTreeMap<String, u32>,
    pub(crate) tags: BTreeMap<String, String>,
}

/// Where a colour's answers are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) load_balancer: String,
    pub(crate) target_group: String,
    pub(crate) since: OffsetDateTime,
}

/// How many answers there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

/// Where smoke tests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Door {
    /// The load balancer's own name.
    pub(crate) address: String,
    /// The value of the header that leads to the idle colour.
    pub(crate) value: String,
    /// The listener's certificate.
    pub(crate) certificate: String,
}

/// What a rollout asks of AWS.
#[async_trait]
pub(crate) trait Calls: Send + Sync {
    fn now(&self) -> OffsetDateTime;
    /// Returns a time of a clock that only goes forward.
    fn elapsed(&self) -> Duration;
    async fn sleep(&self, duration: Duration);

    /// Returns the stack, if there is one.
    async fn stack(&self) -> Result<Option<StackFacts>, Ec2Error>;
    /// Returns these groups, those that are there.
    async fn groups(&self, names: [&str; 2]) -> Result<BTreeMap<String, GroupFacts>, Ec2Error>;
    /// Returns what is registered with a target group, by instance.
    async fn targets(&self, group: &str) -> Result<BTreeMap<String, TargetState>, Ec2Error>;
    /// Returns a target group's deregistration delay, in seconds.
    async fn delay(&self, group: &str) -> Result<u32, Ec2Error>;
    async fn rules(&self, listener: &str) -> Result<Vec<RuleFacts>, Ec2Error>;
    /// Returns which of these alarms fire.
    async fn firing(&self, alarms: &[String]) -> Result<Vec<Firing>, Ec2Error>;
    /// Returns what was counted, if anything was.
    async fn counts(&self, of: &Counted) -> Result<Option<Counts>, Ec2Error>;
    /// Returns what a group could not launch since then, a sentence each.
    async fn failed_launches(
        &self,
        group: &str,
        since: OffsetDateTime,
    ) -> Result<Vec<String>, Ec2Error>;
    /// Returns the end of an instance's console.
    async fn console(&self, instance: &str) -> Result<Vec<String>, Ec2Error>;
    /// Returns a load balancer's DNS name, and whether it is inside its VPC alone.
    async fn load_balancer(&self, arn: &str) -> Result<(String, bool), Ec2Error>;
    /// Returns whether an image is there.
    async fn has_image(&self, id: &str) -> Result<bool, Ec2Error>;

    async fn create_rule(&self, rule: &NewRule) -> Result<(), Ec2Error>;
    async fn modify_rule(
        &self,
        arn: &str,
        forwards: &BTreeMap<String, u32>,
    ) -> Result<(), Ec2Error>;
    async fn delete_rule(&self, arn: &str) -> Result<(), Ec2Error>;
    async fn tag_rule(&self, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), Ec2Error>;
    async fn resize(&self, group: &str, min: u32, desired: Option<u32>) -> Result<(), Ec2Error>;
    async fn suspend(&self, group: &str, processes: &[&str]) -> Result<(), Ec2Error>;
    async fn resume(&self, group: &str, processes: &[&str]) -> Result<(), Ec2Error>;
    /// Has CloudFormation change parameters of the stack, and waits for the end of it.
    async fn update_stack(&self, parameters: &BTreeMap<String, String>) -> Result<(), TargetError>;
    /// Makes a request of a smoke test.
    async fn ask(&self, door: &Door, test: &SmokeTest) -> Result<Answered, String>;
}

/// What the stack's outputs name. Whoever writes a template of their own has these too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) listener: String,
    pub(crate) load_balancer: String,
    pub(crate) target_groups: super::colour::Both<String>,
    pub(crate) groups: super::colour::Both<String>,
    pub(crate) alarms: Vec<String>,
    pub(crate) min_size: u32,
}

impl Site {
    /// Reads it off a stack's outputs; names what is missing or no number.
    pub(crate) fn read(outputs: &BTreeMap<String, String>) -> Result<Self, String> {
        let named = |name: &str| {
            let value = outputs.get(name).filter(|value| !value.is_empty());
            value.cloned().ok_or_else(|| name.to_owned())
        };
        let each = |what: &str| -> Result<_, String> {
            Ok(super::colour::Both {
                blue: named(&format!("{what}{}", Colour::Blue.suffix()))?,
                green: named(&format!("{what}{}", Colour::Green.suffix()))?,
            })
        };
        Ok(Self {
            listener: named("Listener")?,
            load_balancer: named("LoadBalancer")?,
            target_groups: each("TargetGroup")?,
            groups: each("Group")?,
            alarms: alarms_of(outputs),
            min_size: named("MinSize")?
                .parse()
                .map_err(|_| "MinSize".to_owned())?,
        })
    }

    /// Returns weights as a rule has them.
    pub(crate) fn forwards(&self, weights: Weights) -> BTreeMap<String, u32> {
        let pair = |colour| (self.target_groups[colour].clone(), weights[colour]);
        Colour::BOTH.map(pair).into()
    }
}
