//! `build`: manifests in, image ids out.
//!
//! Everything that can be wrong with what was given is found here, before anything is called; the
//! baking is `bake`'s.

mod output;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use time::OffsetDateTime;

use super::baking::Baking;
use super::vars::VarArgs;
use super::{CommandContext, Form, Reporting, requirements};
use crate::agent::AgentError;
use crate::agent::program::{Program, Programs};
use crate::bake::{self, BakeEnv, Baked};
use crate::event::Events;
use crate::exit::{Answer, Exit, Failure};
use crate::failure_bundle::FailureBundle;
use crate::identity::{self, ContentKey};
use crate::ledger;
use crate::manifest::{Secrets, TargetKind};
use crate::plan::{self, BakePlan, OnError, Reuse};
use crate::provision::{self, Work};
use crate::targets::Target;
use crate::targets::container::Container;
use output::Output;

/// Bake an image from each manifest and print its id
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifests to bake; image ids are printed in this order, one per line
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<PathBuf>,
    /// Where the machines come from
    #[arg(long, value_enum, default_value = "ec2")]
    target: TargetKind,
    #[command(flatten)]
    vars: VarArgs,
    /// Allow the lookups `pipe` and `lines` to run commands on this machine
    #[arg(long)]
    allow_pipe: bool,
    /// Bake although an image of the same content is there
    #[arg(long)]
    force: bool,
    /// What to do with the builder when the build fails
    #[arg(long, value_enum, default_value = "destroy")]
    on_error: OnError,
    /// How many images to bake at the same time
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: u16,
    /// Print events to stderr as JSON, one object per line
    #[arg(long)]
    json: bool,
    /// Keep events, consoles and logs of a failed build below FOLDER; the default is the state folder
    #[arg(long, value_name = "FOLDER")]
    failures: Option<PathBuf>,
    /// Write the result to FILE as JSON, replacing what is there
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show more detail; repeatable
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// One image to bake, checked.
pub(super) struct PlannedBuild {
    pub(super) plan: BakePlan,
    pub(super) work: Work,
    /// What its events are about.
    pub(super) label: String,
}

impl Args {
    pub(super) fn reporting(&self) -> Reporting {
        Reporting {
            form: if self.json {
                Form::JsonOnStderr
            } else {
                Form::Human
            },
            verbosity: self.verbose,
        }
    }

    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        check_target(self.target)?;
        for manifest in &self.manifests {
            requirements::make_ready(manifest, false, cx).await?;
        }
        let mut jobs = self.jobs(cx)?;
        let programs = Programs::find().map_err(Failure::new)?;
        let key = ContentKey::from_environment().map_err(Failure::usage)?;
        for planned in &mut jobs {
            let agent = programs.get(planned.plan.arch.kernel());
            let agent = agent.ok_or_else(|| no_agent(&planned.plan))?;
            planned.identify(agent, key.as_ref(), cx).await?;
        }
        let output = self.output.as_deref().map(Output::open).transpose()?;
        tell_unpaid(cx);
        let (targets, failures) = (Targets::default(), self.failures.as_deref());
        let baking = jobs
            .iter()
            .map(|planned| bake(planned, &programs, &targets, failures, cx));
        let baked: Vec<Baked> = futures_util::stream::iter(baking)
            .buffered(self.jobs.into())
            .collect()
            .await;
        let results: Vec<(&PlannedBuild, Baked)> = jobs.iter().zip(baked).collect();
        let mut answer = Answer {
            several: jobs.len() > 1,
            ..Answer::default()
        };
        if let Some(output) = output {
            answer.failures.extend(output.write(&results).err());
        }
        for (_, baked) in results {
            if let Some(image) = baked.image {
                answer.text.push_str(&image.id);
                answer.text.push('\n');
            }
            answer.failures.extend(baked.failure);
        }
        Ok(answer)
    }

    /// Reads and checks everything that was given.
    fn jobs(&self, cx: &CommandContext) -> Result<Vec<PlannedBuild>, Failure> {
        let (now, secrets) = (OffsetDateTime::now_utc(), Secrets::Needed);
        let manifests = (self.vars).manifests(&self.manifests, self.target, secrets, now, cx)?;
        let mut jobs = Vec::new();
        for manifest in manifests {
            let bakes =
                plan::bakes(&manifest, self.target, self.on_error, now).map_err(Failure::new)?;
            let several = bakes.len() > 1;
            for plan in bakes {
                let mut planned = planned(plan, several, cx)?;
                if self.force {
                    planned.plan.reuse = Reuse::Never;
                }
                planned.work.asks.allow_pipe = self.allow_pipe;
                jobs.push(planned);
            }
        }
        refuse_clashes(jobs.iter().map(|planned| &planned.plan))?;
        Ok(jobs)
    }
}

impl PlannedBuild {
    /// Finds out what the image is made of, where another of the same may be used for it.
    async fn identify(
        &mut self,
        agent: &Program,
        key: Option<&ContentKey>,
        cx: &CommandContext,
    ) -> Result<(), Failure> {
        if self.plan.target != TargetKind::Ec2 {
            return Ok(());
        }
        let commits = identity::identify(&mut self.plan, &self.work, Some(agent), key, true).await;
        let commits = commits.map_err(|error| Failure::usage(error).about(&self.label))?;
        let events = cx.events.about(&self.label);
        let events = events.masked(self.plan.secrets.clone());
        let unkeyed = self.plan.inputs.unkeyed();
        let warnings = unkeyed.into_iter().chain(commits.unpinned());
        warnings.for_each(|warning| events.warn(warning));
        Ok(())
    }
}

pub(super) fn planned(
    plan: BakePlan,
    several: bool,
    cx: &CommandContext,
) -> Result<PlannedBuild, Failure> {
    let label = match several {
        true => format!("{} ({})", plan.name, plan.arch),
        false => plan.name.clone(),
    };
    let work = provision::ready(&plan.provision, &plan.manifest, plan.facts(), &plan.search);
    let work = work.map_err(|error| Failure::usage(error).masked(&plan.secrets))?;
    let events = cx.events.about(&label).masked(plan.secrets.clone());
    for warning in &work.warnings {
        events.warn(warning.clone());
    }
    Ok(PlannedBuild { plan, work, label })
}

/// Two images of one name cannot be: the second would fail when all its work is done. Of two that write to one
/// place, the last would win.
pub(super) fn refuse_clashes<'a>(
    plans: impl IntoIterator<Item = &'a BakePlan>,
) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for plan in plans {
        let regions = regions_of(plan);
        for (key, value) in plan.image.of_its_own() {
            let Some(value) = value else { continue };
            for region in &regions {
                if !seen.insert((region.clone(), key, value.clone())) {
                    let message = format!("two images would have the same `image.{key}`: {value}");
                    let failure = Failure::usage(message);
                    return Err(failure.with_hint(format!("put {{{{ name }}}} into image.{key}")));
                }
            }
        }
    }
    Ok(())
}

/// Returns where an image will be: none stands for the region of the profile, which is not looked up here.
fn regions_of(plan: &BakePlan) -> BTreeSet<Option<String>> {
    let of_environment = || {
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter();
        let mut set = names.filter_map(|name| std::env::var(name).ok());
        set.find(|region| !region.is_empty())
    };
    let home = plan.builder.region.clone().or_else(of_environment);
    let copies = plan.image.publication.regions.iter().cloned().map(Some);
    copies.chain([home]).collect()
}

/// Says what this program cannot do before it reads anything.
pub(super) fn check_target(target: TargetKind) -> Result<(), Failure> {
    match target {
        TargetKind::Container => Ok(()),
        TargetKind::Ec2 if cfg!(feature = "ec2") => Ok(()),
        TargetKind::Ec2 => Err(
            Failure::usage("this amibake was built without the EC2 target")
                .with_hint("build it with `cargo build --release`, or use `--target container`"),
        ),
        TargetKind::Vm => Err(Failure::usage("`--target vm` is not supported yet")
            .with_hint("`--target container` makes a machine on this host")),
    }
}

/// Says which runs of this host were killed and still owe something.
fn tell_unpaid(cx: &CommandContext) {
    // A state folder that cannot be read fails the bake, in its own words.
    let Ok(ledger::Runs { dead, .. }) = ledger::runs() else {
        return;
    };
    let now = OffsetDateTime::now_utc();
    let unpaid = dead.iter().filter(|d| d.is_due(None, now) && d.owes());
    let runs: Vec<&str> = unpaid.map(|dead| dead.run.as_str()).collect();
    match runs.as_slice() {
        [] => {}
        [run] => cx.events.warn(format!(
            "run {run} ended without cleaning up; `amibake reap` removes what it left"
        )),
        runs => cx.events.warn(format!(
            "{} runs ended without cleaning up ({}); `amibake reap` removes what they left",
            runs.len(),
            runs.join(", ")
        )),
    }
}

pub(super) fn no_agent(plan: &BakePlan) -> Failure {
    let error = AgentError::NoAgent(plan.arch.kernel().to_owned());
    let hint = error.hint();
    let mut failure = Failure::usage(error);
    failure.hint = hint.map(str::to_owned);
    failure
}

/// Returns what a build would say at once of machines that no agent is for, in one line.
pub(super) fn lacks_agent(plan: &BakePlan, programs: &Programs) -> Option<String> {
    let error = programs.require(plan.arch.kernel()).err()?;
    let hint = error.hint().map(|hint| format!("; {hint}"));
    Some(format!("{error}{}", hint.unwrap_or_default()))
}

async fn bake(
    planned: &PlannedBuild,
    programs: &Programs,
    targets: &Targets,
    failures: Option<&Path>,
    cx: &CommandContext,
) -> Baked {
    let mut baked = bake_telling(planned, programs, targets, failures, cx).await;
    baked.failure = baked
        .failure
        .map(|f| f.masked(&planned.plan.secrets).about(&planned.label));
    baked
}

async fn bake_telling(
    planned: &PlannedBuild,
    programs: &Programs,
    targets: &Targets,
    failures: Option<&Path>,
    cx: &CommandContext,
) -> Baked {
    if cx.interrupt.cancel.is_cancelled() {
        return bake::interrupted().into();
    }
    let events = cx.events.about(&planned.label);
    let events = events.masked(planned.plan.secrets.clone());
    let target = match targets.of(&planned.plan).await {
        Ok(target) => target,
        Err(failure) => return failure.into(),
    };
    let state_folder = match ledger::state_folder() {
        Ok(folder) => folder,
        Err(error) => return Failure::new(error).into(),
    };
    let (run, secrets) = (&planned.plan.run, planned.plan.secrets.clone());
    let bundle = FailureBundle::open(&state_folder, failures, run, secrets);
    let bundle = bundle
        .map_err(|error| {
            events.warn(format!(
                "should this build fail, nothing is kept of it: {error}"
            ));
        })
        .ok();
    let events = match &bundle {
        Some(bundle) => events.recorded(bundle.recorder()),
        None => events,
    };
    let baking = Baking {
        planned,
        programs,
        target: &*target,
        events: &events,
        state_folder: &state_folder,
        bundle: bundle.as_ref(),
    };
    let bake = async |env: &BakeEnv<'_>| bake::bake(&planned.plan, env).await;
    let baked = baking.with(cx, bake).await;
    match bundle {
        Some(bundle) => settled(baked, bundle, &events),
        None => baked,
    }
}

/// Keeps the bundle of a build that failed, and says where; of another nothing is kept.
fn settled(mut baked: Baked, bundle: FailureBundle, events: &Events) -> Baked {
    match &mut baked.failure {
        Some(failure) if failure.kind != Exit::Interrupted && failure.kind != Exit::Usage => {
            let kept = bundle.end(failure);
            let kept = format!("what is known of it is in {}", kept.display());
            let hints = failure.hint.take().into_iter().chain([kept]);
            failure.hint = Some(hints.collect::<Vec<_>>().join("\n"));
        }
        _ => {
            if let Err(error) = bundle.remove() {
                events.warn(format!(
                    "the events of this build could not be removed: {error}"
                ));
            }
        }
    }
    baked
}

/// Returns where the machines of one plan come from.
pub(super) async fn target(plan: &BakePlan) -> Result<Box<dyn Target>, Failure> {
    Targets::default().of(plan).await
}

/// Where the machines of all builds come from: what those of one process share.
#[derive(Default)]
struct Targets {
    /// By `builder.region`.
    #[cfg(feature = "ec2")]
    ec2: tokio::sync::Mutex<std::collections::HashMap<Option<String>, crate::targets::ec2::Ec2>>,
}

impl Targets {
    #[cfg_attr(
        not(feature = "ec2"),
        expect(clippy::unused_async, reason = "EC2 asks for its region")
    )]
    async fn of(&self, plan: &BakePlan) -> Result<Box<dyn Target>, Failure> {
        match plan.target {
            #[cfg(feature = "ec2")]
            TargetKind::Ec2 => Ok(Box::new(self.ec2(plan.builder.region.as_ref()).await?)),
            TargetKind::Container => Ok(Box::new(Container::new(None))),
            other => check_target(other).and(Err(Failure::usage("no such target"))),
        }
    }

    /// Returns EC2 for a bake. Who is first in a region asks for the settings of all.
    #[cfg(feature = "ec2")]
    async fn ec2(&self, region: Option<&String>) -> Result<crate::targets::ec2::Ec2, Failure> {
        let mut known = self.ec2.lock().await;
        if let Some(ec2) = known.get(&region.cloned()) {
            return Ok(ec2.for_bake());
        }
        let ec2 = crate::targets::ec2::Ec2::new(region.map(String::as_str)).await;
        let ec2 = ec2.map_err(bake::failed)?;
        known.insert(region.cloned(), ec2.for_bake());
        Ok(ec2)
    }
}
