//! The rules of a listener that are amibake's own and not the stack's, when the stack goes. Its target groups cannot go
//! while these name them; but where CloudFormation turns back, traffic is to go where it went. So they are removed when it
//! has come to what serves, and made again where that stays after all.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_elasticloadbalancingv2::types::RuleCondition;

use super::super::{Described, Stack};
use super::aws::{Aws, forward, rule_facts, said_once, tag_list};
use super::calls::{RuleFacts, Site};
use super::colour::Colour;
use super::intent::{SMOKE, TRAFFIC, is_of};
use super::looking::{a_run, unheard};
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// The rules that are not the stack's, and what of it they hang on.
pub(crate) struct OwnRules<'a> {
    stack: &'a Stack,
    /// Nothing where the stack has no such outputs, and so no such rules.
    site: Option<Site>,
    rules: Vec<OwnRule>,
    is_removed: bool,
}

/// A rule, as it can be made again.
#[derive(Debug, Clone)]
struct OwnRule {
    facts: RuleFacts,
    conditions: Vec<RuleCondition>,
}

impl<'a> OwnRules<'a> {
    /// Finds them.
    pub(crate) async fn of(stack: &'a Stack, described: &Described) -> Result<Self, TargetError> {
        let site = Site::read(&described.outputs).ok();
        let rules = match &site {
            Some(site) => found(stack, &site.listener).await?,
            None => Vec::new(),
        };
        Ok(Self {
            stack,
            site,
            rules,
            is_removed: false,
        })
    }

    /// Returns whether there are some that stand.
    pub(crate) fn stand(&self) -> bool {
        !self.rules.is_empty() && !self.is_removed
    }

    /// Returns whether they were removed.
    pub(crate) fn are_removed(&self) -> bool {
        self.is_removed
    }

    /// Returns what serves, by physical ids: groups, target groups, listener.
    pub(crate) fn what_serves(&self) -> BTreeSet<String> {
        self.hanging_on(|_| true)
    }

    /// Returns what must be there for traffic to go where it went.
    pub(crate) fn what_is_needed(&self) -> BTreeSet<String> {
        let site = self.site.as_ref();
        self.hanging_on(|colour| {
            let targets = site.map(|site| &site.target_groups[colour]);
            let has_traffic = |rule: &OwnRule| {
                let weight = targets.and_then(|targets| rule.facts.forwards.get(targets));
                weight.is_some_and(|weight| *weight > 0)
            };
            self.rules.iter().any(has_traffic)
        })
    }

    fn hanging_on(&self, has_group: impl Fn(Colour) -> bool) -> BTreeSet<String> {
        let Some(site) = &self.site else {
            return BTreeSet::new();
        };
        let groups = Colour::BOTH.into_iter().filter(|colour| has_group(*colour));
        let groups = groups.map(|colour| site.groups[colour].clone());
        let targets = Colour::BOTH.map(|colour| site.target_groups[colour].clone());
        let listener = [site.listener.clone()];
        groups.chain(targets).chain(listener).collect()
    }

    /// Removes them; those that are gone are.
    pub(crate) async fn remove(&mut self) -> Result<(), Ec2Error> {
        self.is_removed = true;
        for rule in &self.rules {
            let asked = self.stack.elb.delete_rule().rule_arn(&rule.facts.arn);
            let call = || asked.clone().send();
            match self.stack.patiently("DeleteRule", call).await {
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes the one that traffic follows again, as it was.
    pub(crate) async fn put_back(&mut self) -> Result<(), TargetError> {
        let (Some(site), true) = (&self.site, self.is_removed) else {
            return Ok(());
        };
        let name = self.stack.name.as_str();
        let of_traffic = |rule: &&OwnRule| is_of(&rule.facts.tags, name, TRAFFIC);
        for rule in self.rules.iter().filter(of_traffic) {
            self.make(&site.listener, rule).await?;
        }
        self.is_removed = false;
        Ok(())
    }

    async fn make(&self, listener: &str, rule: &OwnRule) -> Result<(), TargetError> {
        let priority = rule.facts.priority.and_then(|n| i32::try_from(n).ok());
        let asked = self.stack.elb.create_rule().listener_arn(listener);
        let asked = asked
            .set_priority(priority)
            .set_conditions(Some(rule.conditions.clone()))
            .actions(forward(&rule.facts.forwards))
            .set_tags(Some(tag_list(&rule.facts.tags)));
        let call = || asked.clone().send();
        match self.stack.patiently("CreateRule", call).await {
            Ok(_) => Ok(()),
            // An earlier try, whose answer was lost, or one whose removal was not done.
            Err(error) if error.code() == Some("PriorityInUse") => {
                let now = found(self.stack, listener).await?;
                match now.iter().any(|one| one.facts.tags == rule.facts.tags) {
                    true => Ok(()),
                    false => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn found(stack: &Stack, listener: &str) -> Result<Vec<OwnRule>, TargetError> {
    let (run, events) = (a_run()?, unheard());
    let calls = Aws::new(stack, &run, &events);
    let described = match calls.described_rules(listener).await {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        described => described?,
    };
    let mut rules = Vec::new();
    for mut rule in described {
        let conditions = rule.conditions.take().unwrap_or_default();
        let facts = rule_facts(rule);
        if facts.priority.is_some() && !facts.forwards.is_empty() {
            let conditions = conditions.into_iter().map(said_once).collect();
            rules.push(OwnRule { facts, conditions });
        }
    }
    let arns: Vec<String> = rules.iter().map(|rule| rule.facts.arn.clone()).collect();
    let mut tags = match calls.tags_of(&arns).await {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        tags => tags?,
    };
    for rule in &mut rules {
        rule.facts.tags = tags.remove(&rule.facts.arn).unwrap_or_default();
    }
    let is_ours = |tags: &BTreeMap<String, String>| {
        let of = |role| is_of(tags, stack.name.as_str(), role);
        of(TRAFFIC) || of(SMOKE)
    };
    rules.retain(|rule| is_ours(&rule.facts.tags));
    Ok(rules)
}

fn is_gone(error: &Ec2Error) -> bool {
    matches!(error.code(), Some("RuleNotFound" | "ListenerNotFound"))
}
