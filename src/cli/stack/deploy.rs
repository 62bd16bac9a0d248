//! `stack deploy`: brings an image behind a stack's load balancer, or shows what that would change.

use std::collections::{BTreeMap, BTreeSet};
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
use crate::stack::{CommandLine, Deploy, Losses, Options, Stack};

/// Bring an image behind a stack's load balancer, and make the stack if it is not there
#[derive(Debug, Clone, clap::Args)]
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
        let (ami, plan, typed) = (self.ami.clone(), self.plan, self.clone());
        let stack = self.stack.clone();
        let stack = Stack::open(stack.name, stack.region.as_deref()).await;
        let stack = stack.map_err(failed)?;
        // Whatever is wrong with the options is said before a build is waited for.
        let mut deploy = self.deploy()?;
        deploy.check_parameters()?;
        deploy.image = ami.id()?;
        deploy.again = typed.command_line(&stack.region, deploy.image.as_deref());
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

    /// Returns what is wanted, without the image.
    fn deploy(self) -> Result<Deploy, Failure> {
        for (what, pairs) in [("param", &self.parameters), ("tag", &self.tags)] {
            let mut names = BTreeSet::new();
            if let Some((name, _)) = pairs.iter().find(|(name, _)| !names.insert(name)) {
                return Err(Failure::usage(format!("--{what} {name} is given twice")));
            }
        }
        let template = self.template.as_deref().map(Template::load);
        let smoke = self.smoke.as_deref().map(SmokeTests::load);
        let tags: BTreeMap<String, String> = self.tags.into_iter().collect();
        Ok(Deploy {
            run: RunId::new(OffsetDateTime::now_utc()).map_err(Failure::new)?,
            image: None,
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
            again: CommandLine::default(),
        })
    }

    /// Returns the command as it is typed, in this region and with this image: what a build has printed does not come twice.
    fn command_line(&self, region: &str, image: Option<&str>) -> CommandLine {
        let usual = Pacing::default();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string());
        let time = |name: &str, time: Duration, usual: Duration, line: CommandLine| {
            let given = (time != usual).then(|| format!("{}s", time.as_secs()));
            line.option(name, given)
        };
        let mut line = CommandLine::default();
        for word in ["amibake", "stack", "deploy", self.stack.name.as_str()] {
            line = line.word(word);
        }
        line = line
            .option("--region", Some(region))
            .option("--ami", Some(image.unwrap_or("current")))
            .flag("--plan", self.plan)
            .option("--template", path(&self.template));
        for (name, value) in &self.parameters {
            line = line.parameter(name, value);
        }
        for (name, value) in &self.tags {
            line = line.option("--tag", Some(format!("{name}={value}")));
        }
        line = line.option("--role-arn", self.role_arn.clone());
        for name in &self.capabilities {
            line = line.option("--capability", Some(name));
        }
        let steps = self.steps.iter().map(u32::to_string);
        let steps = steps.collect::<Vec<_>>().join(",");
        line = line
            .flag("--recreate", self.recreate)
            .flag("--allow-replacement", self.allow_replacement)
            .option("--smoke", path(&self.smoke))
            .option("--steps", (self.steps != usual.weights).then_some(steps));
        line = time("--bake", self.bake, usual.bake, line);
        line = time("--keep", self.keep, usual.keep, line);
        let within = self.healthy_within;
        line = time("--healthy-within", within, usual.healthy_within, line);
        line.flag("--keep-failed", self.keep_failed)
            .flag("--despite-alarms", self.despite_alarms)
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
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(flatten)]
        args: Args,
    }

    fn typed(words: &[&str]) -> Args {
        let words = ["deploy"].iter().chain(words);
        Whole::try_parse_from(words).unwrap().args
    }

    /// Everything that can be given comes back, so that an option that is new cannot be forgotten.
    #[test]
    fn the_command_that_goes_on_is_the_one_that_was_typed() {
        let all = [
            "web",
            "--region",
            "eu-west-1",
            "--ami",
            "ami-0123456789abcdef0",
            "--template",
            "my web.yaml",
            "--param",
            "A=it's",
            "--param",
            "B=1 2",
            "--tag",
            "Owner=us and them",
            "--role-arn",
            "arn:aws:iam::1:role/x",
            "--capability",
            "CAPABILITY_NAMED_IAM",
            "--recreate",
            "--allow-replacement",
            "--smoke",
            "smoke.yaml",
            "--steps",
            "5,100",
            "--bake",
            "90s",
            "--keep",
            "1h",
            "--healthy-within",
            "20m",
            "--keep-failed",
            "--despite-alarms",
            "--plan",
        ];
        let command = Whole::command();
        for name in command.get_arguments().filter_map(clap::Arg::get_long) {
            let is_given = all.contains(&format!("--{name}").as_str());
            assert!(is_given, "--{name} is not tried");
        }
        let args = typed(&all);
        let image = Some("ami-0123456789abcdef0");
        let line = args
            .command_line("eu-west-1", image)
            .without(&BTreeSet::new());
        let words = words_of_shell(&line);
        let again = typed(&words.iter().skip(3).map(String::as_str).collect::<Vec<_>>());
        assert_eq!(format!("{args:?}"), format!("{again:?}"), "{line}");

        // A build's output does not come twice, and what is usual is not said.
        let piped = typed(&["web"]).command_line("eu-west-1", image);
        let told = "amibake stack deploy web --region eu-west-1 --ami ami-0123456789abcdef0";
        assert_eq!(piped.without(&BTreeSet::new()), told);
        let current = typed(&["web", "--ami", "current"]).command_line("eu-west-1", None);
        let told = "amibake stack deploy web --region eu-west-1 --ami current";
        assert_eq!(current.without(&BTreeSet::new()), told);
    }

    /// Has a shell read a line.
    fn words_of_shell(line: &str) -> Vec<String> {
        let output = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s\\n' {line}")])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn steps_rise_to_all_of_the_traffic() {
        assert_eq!(rising(vec![10, 50, 100]).unwrap(), [10, 50, 100]);
        for wrong in [vec![], vec![10, 50], vec![50, 10, 100], vec![10, 10, 100]] {
            assert!(rising(wrong).is_err());
        }
    }

    #[test]
    fn what_is_given_twice_is_refused() {
        for option in ["--param", "--tag"] {
            let refused = |words: &[&str]| typed(words).deploy().err().map(|e| e.error.to_string());
            let twice = ["web", option, "A=1", option, "B=2", option, "A=1"];
            assert_eq!(refused(&twice), Some(format!("{option} A is given twice")));
            assert_eq!(refused(&twice[..5]), None);
        }
    }

    #[test]
    fn a_value_may_have_the_sign_that_its_name_ends_at() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(pair("A="), Ok(("A".into(), String::new())));
        assert!(pair("A").is_err() && pair("=b").is_err());
    }
}
