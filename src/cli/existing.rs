//! Commands about an image that is there and a manifest: `publish`, `resume` and `test`.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::baking::Baking;
use super::build::{PlannedBuild, check_target, no_agent, planned, target};
use super::vars::VarArgs;
use super::{CommandContext, Form, Reporting};
use crate::agent::program::Programs;
use crate::bake::{self, BakeEnv, Baked};
use crate::exit::{Answer, Failure};
use crate::ledger;
use crate::manifest::{Publication, Secrets, Source, TargetKind};
use crate::plan::{self, BakePlan, OnError};
use crate::targets::Publisher;

/// What each of these commands is given.
#[derive(Debug, clap::Args)]
struct Existing {
    /// Image of this account
    #[arg(value_name = "AMI", value_parser = image_id)]
    image: String,
    /// Manifest that says what is wanted of it
    manifest: PathBuf,
    #[command(flatten)]
    vars: VarArgs,
    /// Region of the image; the default is the manifest's
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print events to stderr as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Show more detail; repeatable
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// Publish an image as a manifest wants it: copies, tags, shares, parameters
#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    existing: Existing,
}

/// Go on with the publication of an image that has passed
#[derive(Debug, clap::Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    existing: Existing,
}

/// Boot an image, and look at it as a manifest's gate and tests do
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    existing: Existing,
}

impl PublishArgs {
    pub(super) fn reporting(&self) -> Reporting {
        self.existing.reporting()
    }

    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        Box::pin(self.existing.publish(Publisher::Publish, cx)).await
    }
}

impl ResumeArgs {
    pub(super) fn reporting(&self) -> Reporting {
        self.existing.reporting()
    }

    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        Box::pin(self.existing.publish(Publisher::Resume, cx)).await
    }
}

impl TestArgs {
    pub(super) fn reporting(&self) -> Reporting {
        self.existing.reporting()
    }

    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let Existing { image, .. } = &self.existing;
        let plan = self.existing.plan(Secrets::Needed, cx).await?;
        let programs = Programs::find().map_err(Failure::new)?;
        if programs.get(plan.arch.kernel()).is_none() {
            return Err(no_agent(&plan));
        }
        let mut plan = BakePlan {
            source: Source::Ami(image.clone()),
            provision: Vec::new(),
            ..plan
        };
        // Nothing of it is published, and so nothing of that is looked at.
        plan.image.publication = Publication::default();
        let planned = planned(plan, false, cx)?;
        let baked = work(&planned, &programs, cx, image, Task::Test).await;
        Ok(answer(baked, &planned))
    }
}

/// What is done with the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Publish(Publisher),
    Test,
}

impl Existing {
    fn reporting(&self) -> Reporting {
        Reporting {
            form: if self.json {
                Form::JsonOnStderr
            } else {
                Form::Human
            },
            verbosity: self.verbose,
        }
    }

    async fn publish(&self, publisher: Publisher, cx: &CommandContext) -> Result<Answer, Failure> {
        let plan = self.plan(Secrets::Unneeded, cx).await?;
        // No machine is needed, and so nothing that runs on one.
        let plan = BakePlan {
            provision: Vec::new(),
            ..plan
        };
        let planned = planned(plan, false, cx)?;
        let programs = Programs::default();
        let task = Task::Publish(publisher);
        let baked = work(&planned, &programs, cx, &self.image, task).await;
        Ok(answer(baked, &planned))
    }

    /// Returns what the manifest says of an image of this one's architecture.
    async fn plan(&self, secrets: Secrets, cx: &CommandContext) -> Result<BakePlan, Failure> {
        check_target(TargetKind::Ec2)?;
        let (now, path) = (OffsetDateTime::now_utc(), &self.manifest);
        let vars = &self.vars;
        let manifest = vars.manifest(path, TargetKind::Ec2, secrets, now, cx)?;
        let plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now);
        let mut plans = plans.map_err(Failure::new)?;
        for plan in &mut plans {
            if self.region.is_some() {
                plan.builder.region.clone_from(&self.region);
            }
        }
        let asked = target(&plans[0]).await?;
        let arch = asked.arch_of(&self.image).await.map_err(bake::failed)?;
        let wanted: Vec<String> = plans.iter().map(|plan| plan.arch.to_string()).collect();
        let fits = |plan: &BakePlan| Some(plan.arch) == arch;
        plans.into_iter().find(fits).ok_or_else(|| {
            let arch = arch.map_or("another one".to_owned(), |arch| arch.to_string());
            let message = format!(
                "the manifest wants an image of {}, and {} is of {arch}",
                wanted.join(" or "),
                self.image
            );
            Failure::usage(message)
                .with_hint("`arch` in the manifest says which architectures it wants")
        })
    }
}

async fn work(
    planned: &PlannedBuild,
    programs: &Programs,
    cx: &CommandContext,
    image: &str,
    task: Task,
) -> Baked {
    let events = cx.events.about(&planned.label);
    let events = events.masked(planned.plan.secrets.clone());
    let target = match target(&planned.plan).await {
        Ok(target) => target,
        Err(failure) => return failure.into(),
    };
    let state_folder = match ledger::state_folder() {
        Ok(folder) => folder,
        Err(error) => return Failure::new(error).into(),
    };
    let baking = Baking {
        planned,
        programs,
        target: &*target,
        events: &events,
        state_folder: &state_folder,
        bundle: None,
    };
    let plan = &planned.plan;
    let work = async |env: &BakeEnv<'_>| match task {
        Task::Publish(by) => bake::existing::publish(plan, env, image, by).await,
        Task::Test => bake::existing::test(plan, env, image).await,
    };
    baking.with(cx, work).await
}

fn answer(baked: Baked, planned: &PlannedBuild) -> Answer {
    let mut answer = Answer::default();
    if let Some(image) = baked.image {
        answer.text = image.id + "\n";
    }
    let told = |failure: Failure| failure.masked(&planned.plan.secrets).about(&planned.label);
    let failure = baked.failure.map(told);
    answer.failures.extend(failure);
    answer
}

fn image_id(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("ami-").unwrap_or_default();
    match hex.len() >= 8 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(text.to_owned()),
        false => Err("an image's id is like ami-0abc1234".to_owned()),
    }
}
