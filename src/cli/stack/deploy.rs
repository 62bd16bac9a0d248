//! `stack deploy`: brings an image behind a stack's load balancer, or shows what that would change.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use time::OffsetDateTime;

use super::image_id::ImageArg;
use super::{CommandContext, StackArgs};
use crate::bake::failed;
use crate::exit::{Answer, Failure};
use crate::manifest;
use crate::run::RunId;
use crate::stack::rollout::{OnAlarm, OnFailure, Pacing, RolloutContext, SmokeTests};
use crate::stack::template::Template;
use crate::stack::{Deploy, Losses, Options, Stack};

/// Bring an image behind a stack's load balancer, and make the stack if it is not there
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    /// The image: its id, `-` for one on standard input, `current` to keep the one that is live
    #[arg(
        long,
        value_name = "AMI",
        default_value = "-",
        allow_hyphen_values = true
    )]
    ami: ImageArg,
    /// Show what would change and which steps a rollout has, and change nothing
    #[arg(long)]
    plan: bool,
    /// Give the stack another template; a new stack has the one of `stack template`
    #[arg(long, value_name = "FILE")]
    template: Option<PathBuf>,
    /// A parameter of the template; one of a colour without its name: InstanceType=t3.large
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = pair)]
    parameters: Vec<(String, String)>,
    /// Give the stack these tags, in place of those that it has
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// The role by which CloudFormation works, in place of yours
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Allow the template more than CAPABILITY_IAM
    #[arg(long = "capability", value_name = "NAME")]
    capabilities: Vec<String>,
    /// Delete a stack that was never whole, and make it anew
    #[arg(long)]
    recreate: bool,
    /// Replace or remove even what has the traffic; requests fail meanwhile
    #[arg(long)]
    allow_replacement: bool,
    /// Requests that the new colour must answer before it has traffic
    #[arg(long, value_name = "FILE")]
    smoke: Option<PathBuf>,
    /// Percentages of the traffic that the new colour gets, one after the other
    #[arg(long, value_name = "PERCENT,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100), default_values_t = Pacing::default().weights)]
    steps: Vec<u32>,
    /// How long it is watched at each step
    #[arg(long, value_name = "TIME", default_value = "3m", value_parser = manifest::time)]
    bake: Duration,
    /// How long the old colour stays warm, so that a rollback takes seconds
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = manifest::time)]
    keep: Duration,
    /// How long the new colour may take to be healthy
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = manifest::time)]
    healthy_within: Duration,
    /// Keep the instances of a colour that failed, to look at
    #[arg(long)]
    keep_failed: bool,
    /// Begin although alarms fire; those do not count until they have ended
    #[arg(long)]
    despite_alarms: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let image = self.ami.id()?;
        let (stack, plan) = (self.stack.clone(), self.plan);
        let deploy = self.deploy(image)?;
        let stack = Stack::open(stack.name, stack.region.as_deref()).await;
        let stack = stack.map_err(failed)?;
        let cx = RolloutContext {
            events: &cx.events,
            cancel: &cx.interrupt.cancel,
        };
        if plan {
            return Ok(Answer::text(Box::pin(stack.plan(&deploy, &cx)).await?));
        }
        let deployed = Box::pin(stack.deploy(&deploy, &cx)).await?;
        let text = serde_json::to_string_pretty(&deployed).map_err(Failure::new)?;
        Ok(Answer::text(text))
    }

    fn deploy(self, image: Option<String>) -> Result<Deploy, Failure> {
        let template = self.template.as_deref().map(Template::load);
        let smoke = self.smoke.as_deref().map(SmokeTests::load);
        let tags: BTreeMap<String, String> = self.tags.into_iter().collect();
        Ok(Deploy {
            run: RunId::new(OffsetDateTime::now_utc()).map_err(Failure::new)?,
            image,
            template: template.transpose().map_err(failed)?,
            parameters: self.parameters.into_iter().collect(),
            options: Options {
                role_arn: self.role_arn,
                tags: Some(tags).filter(|tags| !tags.is_empty()),
                capabilities: self.capabilities,
            },
            losses: match self.allow_replacement {
                true => Losses::Taken,
                false => Losses::Refused,
            },
            recreates: self.recreate,
            pacing: Pacing {
                weights: rising(self.steps)?,
                bake: self.bake,
                keep: self.keep,
                healthy_within: self.healthy_within,
                ..Pacing::default()
            },
            smoke: smoke.transpose().map_err(Failure::usage)?,
            on_failure: match self.keep_failed {
                true => OnFailure::Keep,
                false => OnFailure::Destroy,
            },
            on_alarm: match self.despite_alarms {
                true => OnAlarm::Begin,
                false => OnAlarm::Refuse,
            },
        })
    }
}

/// Returns percentages that rise and end at all of the traffic.
fn rising(steps: Vec<u32>) -> Result<Vec<u32>, Failure> {
    let rises = steps.is_sorted_by(|a, b| a < b);
    match rises && steps.last() == Some(&100) {
        true => Ok(steps),
        false => {
            Err(Failure::usage("--steps rise, and end with 100")
                .with_hint("10,50,100 is the default"))
        }
    }
}

/// Reads `NAME=VALUE`.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_rise_to_all_of_the_traffic() {
        assert_eq!(rising(vec![10, 50, 100]).unwrap(), [10, 50, 100]);
        for wrong in [vec![], vec![10, 50], vec![50, 10, 100], vec![10, 10, 100]] {
            assert!(rising(wrong).is_err());
        }
    }

    #[test]
    fn a_value_may_have_the_sign_that_its_name_ends_at() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(pair("A="), Ok(("A".into(), String::new())));
        assert!(pair("A").is_err() && pair("=b").is_err());
    }
}
