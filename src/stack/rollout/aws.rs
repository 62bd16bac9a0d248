//! What a rollout asks of AWS, in earnest.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_autoscaling::types::{
    AutoScalingGroup, Instance, LaunchTemplateSpecification, LifecycleState,
    ScalingActivityStatusCode,
};
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, ForwardActionConfig, HttpHeaderConditionConfig, LoadBalancerSchemeEnum,
    PathPatternConditionConfig, Rule, RuleCondition, Tag, TargetGroupTuple,
    TargetHealthDescription, TargetHealthReasonEnum, TargetHealthStateEnum,
};
use aws_smithy_types::DateTime;
use time::OffsetDateTime;

use super::super::Stack;
use super::super::alarms::Firing;
use super::calls::{
    Calls, Condition, Counted, Counts, Door, GroupFacts, MemberFacts, NewRule, RuleFacts,
    StackFacts,
};
use super::smoke::{Answered, SmokeTest};
use super::smoke_request;
use super::state::TargetState;
use crate::clock::{self, Instant};
use crate::event::Events;
use crate::run::RunId;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// As many resources DescribeTags takes.
const TAGGED: usize = 20;

/// How far this machine's clock may be ahead of that by which AWS says when a launch failed.
const CLOCKS_APART: i64 = 60;

/// A metric's period, in seconds.
const PERIOD: i32 = 60;

/// AWS for one rollout.
pub(super) struct Aws<'a> {
    stack: &'a Stack,
    run: &'a RunId,
    events: &'a Events,
    began: Instant,
}

impl<'a> Aws<'a> {
    pub(super) fn new(stack: &'a Stack, run: &'a RunId, events: &'a Events) -> Self {
        Self {
            stack,
            run,
            events,
            began: Instant::now(),
        }
    }

    /// Returns the tags of these rules, by their ARNs.
    pub(super) async fn tags_of(
        &self,
        rules: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Ec2Error> {
        let mut found = BTreeMap::new();
        for some in rules.chunks(TAGGED) {
            let asked = self.stack.elb.describe_tags();
            let asked = asked.set_resource_arns(Some(some.to_vec()));
            let answer = asked.send().await;
            let answer = answer.map_err(|e| self.stack.refused("DescribeTags", e))?;
            for described in answer.tag_descriptions.unwrap_or_default() {
                let tags = described.tags.unwrap_or_default().into_iter();
                let tags = tags.filter_map(|tag| Some((tag.key?, tag.value.unwrap_or_default())));
                let arn = described.resource_arn.unwrap_or_default();
                found.insert(arn, tags.collect());
            }
        }
        Ok(found)
    }

    pub(super) async fn described_rules(&self, listener: &str) -> Result<Vec<Rule>, Ec2Error> {
        let mut marker = None;
        let mut all = Vec::new();
        loop {
            let asked = self.stack.elb.describe_rules().listener_arn(listener);
            let answer = asked.set_marker(marker).send().await;
            let answer = answer.map_err(|e| self.stack.refused("DescribeRules", e))?;
            all.extend(answer.rules.unwrap_or_default());
            marker = answer.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                return Ok(all);
            }
        }
    }

    async fn conditions(&self, rule: &NewRule) -> Result<Vec<RuleCondition>, Ec2Error> {
        let all = PathPatternConditionConfig::builder().values("*").build();
        let all = RuleCondition::builder()
            .field("path-pattern")
            .path_pattern_config(all)
            .build();
        Ok(match &rule.condition {
            Condition::All => vec![all],
            Condition::Header { name, value } => {
                let header = HttpHeaderConditionConfig::builder()
                    .http_header_name(name)
                    .values(value)
                    .build();
                let condition = RuleCondition::builder().field("http-header");
                vec![condition.http_header_config(header).build()]
            }
            Condition::AsOf { rule: other } => {
                let rules = self.described_rules(&rule.listener).await?;
                let its = rules
                    .into_iter()
                    .find(|known| known.rule_arn() == Some(other))
                    .and_then(|known| known.conditions)
                    .unwrap_or_default();
                match its.is_empty() {
                    true => vec![all],
                    false => its.into_iter().map(said_once).collect(),
                }
            }
        })
    }

    fn metric(of: &Counted, id: &str, name: &str) -> MetricDataQuery {
        let dimension = |name: &str, value: &str| {
            let dimension = Dimension::builder().name(name);
            dimension.value(value).build()
        };
        let balancer = of.load_balancer.split(":loadbalancer/").last();
        let group = of.target_group.rsplit(':').next();
        let metric = Metric::builder()
            .namespace("AWS/ApplicationELB")
            .metric_name(name)
            .dimensions(dimension("LoadBalancer", balancer.unwrap_or_default()))
            .dimensions(dimension("TargetGroup", group.unwrap_or_default()))
            .build();
        let stat = MetricStat::builder().metric(metric).period(PERIOD);
        let stat = stat.stat("Sum").build();
        MetricDataQuery::builder()
            .id(id)
            .metric_stat(stat)
            .return_data(true)
            .build()
    }
}

#[async_trait]
impl Calls for Aws<'_> {
    fn now(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        clock::sleep(duration).await;
    }

    async fn stack(&self) -> Result<Option<StackFacts>, Ec2Error> {
        let stack = self.stack.described().await?;
        Ok(stack.map(|stack| StackFacts {
            status: stack.status,
            parameters: stack.parameters,
            outputs: stack.outputs,
        }))
    }

    async fn groups(&self, names: [&str; 2]) -> Result<BTreeMap<String, GroupFacts>, Ec2Error> {
        let asked = self.stack.asg.describe_auto_scaling_groups();
        let names = names.map(str::to_owned).to_vec();
        let answer = asked.set_auto_scaling_group_names(Some(names)).send().await;
        let answer = answer.map_err(|e| self.stack.refused("DescribeAutoScalingGroups", e))?;
        let groups = answer.auto_scaling_groups.unwrap_or_default().into_iter();
        // One that is being deleted has a status.
        let staying = groups.filter(|group| group.status.is_none());
        let named = staying.map(|group| {
            let name = group.auto_scaling_group_name.clone().unwrap_or_default();
            (name, group_facts(group))
        });
        Ok(named.collect())
    }

    async fn targets(&self, group: &str) -> Result<BTreeMap<String, TargetState>, Ec2Error> {
        let asked = self.stack.elb.describe_target_health();
        let answer = asked.target_group_arn(group).send().await;
        let answer = answer.map_err(|e| self.stack.refused("DescribeTargetHealth", e))?;
        let described = answer.target_health_descriptions.unwrap_or_default();
        Ok(described.into_iter().filter_map(target_state).collect())
    }

    async fn delay(&self, group: &str) -> Result<u32, Ec2Error> {
        let asked = self.stack.elb.describe_target_group_attributes();
        let answer = asked.target_group_arn(group).send().await;
        let answer = answer.map_err(|e| self.stack.refused("DescribeTargetGroupAttributes", e))?;
        let attributes = answer.attributes.unwrap_or_default();
        let delay = attributes
            .into_iter()
            .find(|a| a.key() == Some("deregistration_delay.timeout_seconds"))
            .and_then(|a| a.value?.parse().ok());
        Ok(delay.unwrap_or(300))
    }

    async fn rules(&self, listener: &str) -> Result<Vec<RuleFacts>, Ec2Error> {
        let described = self.described_rules(listener).await?;
        let mut rules: Vec<RuleFacts> = described.into_iter().map(rule_facts).collect();
        let tagged = rules
            .iter()
            .filter(|rule| rule.priority.is_some() && !rule.forwards.is_empty());
        let tagged: Vec<String> = tagged.map(|rule| rule.arn.clone()).collect();
        let mut tags = self.tags_of(&tagged).await?;
        for rule in &mut rules {
            rule.tags = tags.remove(&rule.arn).unwrap_or_default();
        }
        Ok(rules)
    }

    async fn firing(&self, alarms: &[String]) -> Result<Vec<Firing>, Ec2Error> {
        self.stack.firing(alarms).await
    }

    async fn counts(&self, of: &Counted) -> Result<Option<Counts>, Ec2Error> {
        let since = of.since.unix_timestamp();
        let since = since - since % i64::from(PERIOD);
        let until = self.now().unix_timestamp() + i64::from(PERIOD);
        let asked = self.stack.watch.get_metric_data();
        let answer = asked
            .metric_data_queries(Self::metric(of, "requests", "RequestCount"))
            .metric_data_queries(Self::metric(of, "errors", "HTTPCode_Target_5XX_Count"))
            .start_time(DateTime::from_secs(since))
            .end_time(DateTime::from_secs(until))
            .send()
            .await;
        let answer = answer.map_err(|e| self.stack.refused("GetMetricData", e))?;
        let results = answer.metric_data_results.unwrap_or_default();
        let sum = |id: &str| {
            let result = results.iter().find(|result| result.id() == Some(id))?;
            let values = result.values();
            (!values.is_empty()).then(|| whole(values.iter().sum()))
        };
        Ok(sum("requests").map(|requests| Counts {
            requests,
            errors: sum("errors").unwrap_or(0),
        }))
    }

    async fn failed_launches(
        &self,
        group: &str,
        since: OffsetDateTime,
    ) -> Result<Vec<String>, Ec2Error> {
        let asked = self.stack.asg.describe_scaling_activities();
        let asked = asked.auto_scaling_group_name(group).max_records(20);
        let answer = asked.send().await;
        let answer = answer.map_err(|e| self.stack.refused("DescribeScalingActivities", e))?;
        let since = since.unix_timestamp() - CLOCKS_APART;
        let activities = answer.activities.unwrap_or_default().into_iter();
        let failed = activities.filter(|activity| {
            let is_of_now = activity.start_time.is_some_and(|at| at.secs() >= since);
            let failed = [
                ScalingActivityStatusCode::Failed,
                ScalingActivityStatusCode::Cancelled,
            ];
            let is_failed = activity
                .status_code
                .as_ref()
                .is_some_and(|code| failed.contains(code));
            is_of_now && is_failed
        });
        let told = failed.map(|activity| {
            let what = activity.description.unwrap_or_default();
            let what = what.trim_end_matches('.').to_owned();
            match activity.status_message {
                Some(why) => format!("{what}: {why}"),
                None => format!("{what}: no reason was given"),
            }
        });
        Ok(told.collect())
    }

    async fn console(&self, instance: &str) -> Result<Vec<String>, Ec2Error> {
        self.stack.ec2.console_tail(instance).await
    }

    async fn load_balancer(&self, arn: &str) -> Result<(String, bool), Ec2Error> {
        let asked = self.stack.elb.describe_load_balancers();
        let answer = asked.load_balancer_arns(arn).send().await;
        let answer = answer.map_err(|e| self.stack.refused("DescribeLoadBalancers", e))?;
        let found = answer.load_balancers.unwrap_or_default().into_iter().next();
        let found = found.unwrap_or_else(|| {
            aws_sdk_elasticloadbalancingv2::types::LoadBalancer::builder().build()
        });
        let is_internal = found.scheme == Some(LoadBalancerSchemeEnum::Internal);
        Ok((found.dns_name.unwrap_or_default(), is_internal))
    }

    async fn has_image(&self, id: &str) -> Result<bool, Ec2Error> {
        let facts = self.stack.ec2.image_facts(id).await;
        facts.map(|image| image.is_there)
    }

    async fn create_rule(&self, rule: &NewRule) -> Result<(), Ec2Error> {
        let asked = self.stack.elb.create_rule();
        let asked = asked
            .listener_arn(&rule.listener)
            .priority(i32::try_from(rule.priority).unwrap_or(i32::MAX))
            .set_conditions(Some(self.conditions(rule).await?))
            .actions(forward(&rule.forwards))
            .set_tags(Some(tag_list(&rule.tags)));
        let answer = asked.send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("CreateRule", e))
    }

    async fn modify_rule(
        &self,
        arn: &str,
        forwards: &BTreeMap<String, u32>,
    ) -> Result<(), Ec2Error> {
        let asked = self.stack.elb.modify_rule().rule_arn(arn);
        let answer = asked.actions(forward(forwards)).send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("ModifyRule", e))
    }

    async fn delete_rule(&self, arn: &str) -> Result<(), Ec2Error> {
        let answer = self.stack.elb.delete_rule().rule_arn(arn).send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("DeleteRule", e))
    }

    async fn tag_rule(&self, arn: &str, tags: &BTreeMap<String, String>) -> Result<(), Ec2Error> {
        let asked = self.stack.elb.add_tags().resource_arns(arn);
        let answer = asked.set_tags(Some(tag_list(tags))).send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("AddTags", e))
    }

    async fn resize(&self, group: &str, min: u32, desired: Option<u32>) -> Result<(), Ec2Error> {
        let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let asked = self.stack.asg.update_auto_scaling_group();
        let asked = asked
            .auto_scaling_group_name(group)
            .min_size(number(min))
            .set_desired_capacity(desired.map(number));
        let answer = asked.send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("UpdateAutoScalingGroup", e))
    }

    async fn suspend(&self, group: &str, processes: &[&str]) -> Result<(), Ec2Error> {
        let asked = self.stack.asg.suspend_processes();
        let names = processes.iter().map(|name| (*name).to_owned()).collect();
        let asked = asked.auto_scaling_group_name(group);
        let answer = asked.set_scaling_processes(Some(names)).send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("SuspendProcesses", e))
    }

    async fn resume(&self, group: &str, processes: &[&str]) -> Result<(), Ec2Error> {
        let asked = self.stack.asg.resume_processes();
        let names = processes.iter().map(|name| (*name).to_owned()).collect();
        let asked = asked.auto_scaling_group_name(group);
        let answer = asked.set_scaling_processes(Some(names)).send().await;
        answer
            .map(drop)
            .map_err(|e| self.stack.refused("ResumeProcesses", e))
    }

    async fn update_stack(&self, parameters: &BTreeMap<String, String>) -> Result<(), TargetError> {
        let updated = self.stack.update(parameters, self.run, self.events).await;
        updated.map(drop)
    }

    async fn ask(&self, door: &Door, test: &SmokeTest) -> Result<Answered, String> {
        Box::pin(smoke_request::ask(self.stack, door, test)).await
    }
}

fn group_facts(group: AutoScalingGroup) -> GroupFacts {
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let suspended = group.suspended_processes.unwrap_or_default().into_iter();
    let mixed = group
        .mixed_instances_policy
        .and_then(|policy| policy.launch_template?.launch_template_specification);
    let version = |of: LaunchTemplateSpecification| of.version;
    let asks_balancer = group
        .health_check_type
        .as_deref()
        .is_some_and(|kinds| kinds.contains("ELB"));
    let grace = Duration::from_secs(number(group.health_check_grace_period).into());
    GroupFacts {
        min: number(group.min_size),
        desired: number(group.desired_capacity),
        max: number(group.max_size),
        suspended: suspended.filter_map(|one| one.process_name).collect(),
        grace: asks_balancer.then_some(grace),
        version: group.launch_template.or(mixed).and_then(version),
        members: group
            .instances
            .unwrap_or_default()
            .into_iter()
            .map(member_facts)
            .collect(),
    }
}

fn member_facts(instance: Instance) -> MemberFacts {
    let lifecycle = instance.lifecycle_state.as_ref();
    MemberFacts {
        lifecycle: lifecycle.map_or("", LifecycleState::as_str).to_owned(),
        is_well: instance.health_status.as_deref() == Some("Healthy"),
        id: instance.instance_id.unwrap_or_default(),
        zone: instance.availability_zone.unwrap_or_default(),
        version: instance.launch_template.and_then(|of| of.version),
    }
}

fn target_state(described: TargetHealthDescription) -> Option<(String, TargetState)> {
    let id = described.target?.id?;
    let health = described.target_health?;
    let state = health.state.as_ref();
    let reason = health.reason.as_ref().map(TargetHealthReasonEnum::as_str);
    let state = TargetState {
        state: state.map_or("", TargetHealthStateEnum::as_str).to_owned(),
        reason: reason.map(str::to_owned),
        description: health.description,
    };
    Some((id, state))
}

pub(super) fn rule_facts(rule: Rule) -> RuleFacts {
    let mut forwards = BTreeMap::new();
    for action in rule.actions.unwrap_or_default() {
        if action.r#type != Some(ActionTypeEnum::Forward) {
            continue;
        }
        let groups = action
            .forward_config
            .and_then(|config| config.target_groups);
        for group in groups.unwrap_or_default() {
            let weight = u32::try_from(group.weight.unwrap_or(1)).unwrap_or(0);
            forwards.insert(group.target_group_arn.unwrap_or_default(), weight);
        }
        if let Some(arn) = action.target_group_arn {
            forwards.entry(arn).or_insert(1);
        }
    }
    RuleFacts {
        arn: rule.rule_arn.unwrap_or_default(),
        priority: rule.priority.and_then(|text| text.parse().ok()),
        forwards,
        tags: BTreeMap::new(),
    }
}

/// Returns a condition as it is asked for: an answer has its values twice.
pub(super) fn said_once(mut condition: RuleCondition) -> RuleCondition {
    let has_config =
        condition.path_pattern_config.is_some() || condition.host_header_config.is_some();
    if has_config {
        condition.values = None;
    }
    condition
}

pub(super) fn forward(groups: &BTreeMap<String, u32>) -> Action {
    let mut config = ForwardActionConfig::builder();
    for (arn, weight) in groups {
        let weight = i32::try_from(*weight).unwrap_or(i32::MAX);
        let group = TargetGroupTuple::builder().target_group_arn(arn);
        config = config.target_groups(group.weight(weight).build());
    }
    Action::builder()
        .r#type(ActionTypeEnum::Forward)
        .forward_config(config.build())
        .build()
}

pub(super) fn tag_list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    let tags = tags.iter();
    tags.map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// Returns a sum of counts as the number that it is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "requests are counted in whole numbers, and there are none below zero"
)]
fn whole(sum: f64) -> u64 {
    sum.max(0.0).round() as u64
}
