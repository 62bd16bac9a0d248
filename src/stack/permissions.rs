//! What a deploy and a deletion ask of AWS by the caller's own leave, and whether IAM's simulator says that they may, before
//! anything changes. What CloudFormation asks for the caller is not among it.

use super::deploy::Deploy;
use super::{Described, Stack};
use crate::bake::failed;
use crate::event::Events;
use crate::exit::Failure;
use crate::targets::TargetError;
use crate::targets::ec2::{Leave, Simulated};

/// On what a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum On {
    /// Lists, which IAM cannot limit.
    All,
    Stack,
    Listener,
    Rule,
    Group,
}

/// What every deploy that has something to do cannot do without.
const NEEDED: [(&str, On); 16] = [
    ("cloudformation:CreateChangeSet", On::Stack),
    ("cloudformation:DescribeChangeSet", On::Stack),
    ("cloudformation:ExecuteChangeSet", On::Stack),
    ("cloudformation:DescribeStackEvents", On::Stack),
    ("elasticloadbalancing:DescribeRules", On::All),
    ("elasticloadbalancing:DescribeTags", On::All),
    ("elasticloadbalancing:DescribeTargetHealth", On::All),
    (
        "elasticloadbalancing:DescribeTargetGroupAttributes",
        On::All,
    ),
    ("elasticloadbalancing:AddTags", On::Rule),
    ("elasticloadbalancing:ModifyRule", On::Rule),
    ("autoscaling:DescribeAutoScalingGroups", On::All),
    ("autoscaling:UpdateAutoScalingGroup", On::Group),
    ("autoscaling:SuspendProcesses", On::Group),
    ("autoscaling:ResumeProcesses", On::Group),
    ("cloudwatch:DescribeAlarms", On::All),
    ("cloudformation:DescribeStacks", On::Stack),
];

/// For a rule that is made: amibake's own, or one for smoke tests.
const TO_MAKE_RULES: (&str, On) = ("elasticloadbalancing:CreateRule", On::Listener);

const TO_TEST: [(&str, On); 2] = [
    ("elasticloadbalancing:DeleteRule", On::Rule),
    ("elasticloadbalancing:DescribeLoadBalancers", On::All),
];

/// What `stack destroy` cannot do without.
const NEEDED_TO_DESTROY: [(&str, On); 5] = [
    ("cloudformation:DeleteStack", On::Stack),
    ("cloudformation:DescribeStackEvents", On::Stack),
    ("elasticloadbalancing:DescribeRules", On::All),
    ("elasticloadbalancing:DescribeTags", On::All),
    ("elasticloadbalancing:DeleteRule", On::Rule),
];

/// What stands for the part of a name that is not known yet.
const UNKNOWN: &str = "0000000000000000";

impl Stack {
    /// Refuses a deploy that lacks leave for what it does itself, as far as IAM's simulator knows.
    pub(super) async fn refuse_without_leave(
        &self,
        deploy: &Deploy,
        stack: Option<&Described>,
        events: &Events,
    ) -> Result<(), Failure> {
        let mut needed = NEEDED.to_vec();
        if stack.is_none() || deploy.smoke.is_some() {
            needed.push(TO_MAKE_RULES);
        }
        if deploy.smoke.is_some() {
            needed.extend(TO_TEST);
        }
        let doing = format!("a deploy to stack {}", self.name);
        self.refuse_denied(&doing, &needed, stack, events).await
    }

    /// Refuses the deletion of a stack in the same way.
    pub(super) async fn refuse_destroy_without_leave(
        &self,
        stack: &Described,
        events: &Events,
    ) -> Result<(), Failure> {
        // A stack that has no listener to tell has no rules of ours in it.
        let has_rules = stack.outputs.contains_key("Listener");
        let needed = NEEDED_TO_DESTROY.into_iter();
        let needed = needed.filter(|(action, _)| has_rules || action.starts_with("cloudformation"));
        let needed: Vec<_> = needed.collect();
        let doing = format!("the deletion of stack {}", self.name);
        self.refuse_denied(&doing, &needed, Some(stack), events)
            .await
    }

    async fn refuse_denied(
        &self,
        doing: &str,
        needed: &[(&'static str, On)],
        stack: Option<&Described>,
        events: &Events,
    ) -> Result<(), Failure> {
        let simulated = self.ec2.ask_simulator(|caller| {
            let leave = |(action, on): (&'static str, On)| Leave {
                action,
                resource: self.resource(on, caller.partition(), &caller.account, stack),
            };
            needed.iter().copied().map(leave).collect()
        });
        let denied = match simulated.await {
            Simulated::Denied(denied) => denied,
            Simulated::Unknown(why) => {
                events.note(format!(
                    "whether all of it is allowed is not known beforehand: {why}"
                ));
                return Ok(());
            }
        };
        let (unsure, sure): (Vec<_>, Vec<_>) = denied.into_iter().partition(|one| one.is_unsure);
        for one in unsure {
            events.warn(format!(
                "{} may be denied, says IAM's simulator",
                one.action
            ));
        }
        if sure.is_empty() {
            return Ok(());
        }
        let actions: Vec<&str> = sure.iter().map(|one| one.action).collect();
        let message = format!("{doing} is not allowed all that it does");
        let error = TargetError::new(message).because(format!("denied: {}", actions.join(", ")));
        Err(failed(error.with_hint(
            "nothing was changed; docs/deploy.md, \"Permissions\", has what each command needs",
        )))
    }

    /// Returns the ARN of what a call is made on; of what is not there yet, one as it may be.
    fn resource(
        &self,
        on: On,
        partition: &str,
        account: &str,
        stack: Option<&Described>,
    ) -> String {
        let (name, region) = (self.name.as_str(), &self.region);
        let output = |name: &str| stack.and_then(|stack| stack.outputs.get(name).cloned());
        let arn = |service: &str, rest: String| {
            format!("arn:{partition}:{service}:{region}:{account}:{rest}")
        };
        let listener = || {
            output("Listener").unwrap_or_else(|| {
                let rest = format!("listener/app/{name}-{UNKNOWN}/{UNKNOWN}/{UNKNOWN}");
                arn("elasticloadbalancing", rest)
            })
        };
        match on {
            On::All => "*".to_owned(),
            On::Stack => match stack {
                Some(stack) => stack.id.clone(),
                None => arn("cloudformation", format!("stack/{name}/{UNKNOWN}")),
            },
            On::Listener => listener(),
            On::Rule => {
                let rule = listener().replacen(":listener/", ":listener-rule/", 1);
                format!("{rule}/{UNKNOWN}")
            }
            On::Group => {
                let group =
                    output("GroupBlue").unwrap_or_else(|| format!("{name}-GroupBlue-{UNKNOWN}"));
                let rest = format!("autoScalingGroup:{UNKNOWN}:autoScalingGroupName/{group}");
                arn("autoscaling", rest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_asked_beforehand_is_in_the_policy_that_is_documented() {
        let asked = NEEDED.iter().chain([&TO_MAKE_RULES]).chain(&TO_TEST);
        let deploy = include_str!("../../stack/iam/deploy.json");
        assert_needed(deploy, asked);
        let destroy = include_str!("../../stack/iam/destroy.json");
        assert_needed(destroy, NEEDED_TO_DESTROY.iter());
    }

    fn assert_needed<'a>(policy: &str, asked: impl Iterator<Item = &'a (&'static str, On)>) {
        let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        let needed = statements.filter(|one| one["Sid"].as_str().unwrap().starts_with("Needed"));
        let needed: BTreeSet<&str> = needed
            .flat_map(|one| one["Action"].as_array().unwrap())
            .filter_map(serde_json::Value::as_str)
            .collect();
        for (action, _) in asked {
            assert!(needed.contains(action), "{action}");
        }
    }
}
