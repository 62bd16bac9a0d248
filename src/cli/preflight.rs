//! `preflight`: what a build would run into, asked of AWS before anything is made.

use std::fmt::Write as _;

use super::build::lacks_agent;
use super::manifest_args::ManifestArgs;
use super::{CommandContext, requirements};
use crate::agent::program::Programs;
use crate::bake::failed;
use crate::exit::{Answer, Exit, Failure};
use crate::identity::{self, ContentKey};
use crate::manifest::Secrets;
use crate::plan::BakePlan;
use crate::provision;
use crate::targets::Fault;
use crate::targets::ec2::{Check, Ec2, Verdict};

/// Ask AWS whether a build would succeed, and make nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// Print the checks as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        requirements::make_ready(self.manifest.path(), false, cx).await?;
        let key = ContentKey::from_environment().map_err(Failure::usage)?;
        // Under a key the values are part of the content, by which an image that is there is found.
        let secrets = match key {
            Some(_) => Secrets::Needed,
            None => Secrets::Unneeded,
        };
        let mut plans = self.manifest.plans(secrets, cx)?;
        let programs = Programs::find().map_err(Failure::new)?;
        for plan in &mut plans {
            let work =
                provision::ready(&plan.provision, &plan.manifest, plan.facts(), &plan.search);
            let work = work.map_err(|error| Failure::usage(error).masked(&plan.secrets))?;
            let agent = programs.get(plan.arch.kernel());
            let found = identity::identify(plan, &work, agent, key.as_ref(), true).await;
            found.map_err(|error| Failure::usage(error).masked(&plan.secrets))?;
        }
        Box::pin(cx.unless_interrupted(self.look(&plans, &programs))).await
    }

    async fn look(&self, plans: &[BakePlan], programs: &Programs) -> Result<Answer, Failure> {
        let mut all = Vec::new();
        for plan in plans {
            let ec2 = Ec2::new(plan.builder.region.as_deref()).await;
            let ec2 = ec2.map_err(failed)?;
            let mut checks = ec2.preflight(plan).await.map_err(failed)?;
            checks.push(agent(plan, programs));
            all.push((plan, checks));
        }
        let ended = all.iter().flat_map(|(_, checks)| checks).map(end_of);
        let mut answer = Answer {
            ended: ended.max().unwrap_or_default(),
            ..Answer::default()
        };
        answer.text = match self.json {
            true => json(&all)?,
            false => table(&all),
        };
        Ok(answer)
    }
}

/// Returns whether there is an agent for the machines of a plan.
fn agent(plan: &BakePlan, programs: &Programs) -> Check {
    match lacks_agent(plan, programs) {
        Some(lacks) => Check::wrong("agent", lacks),
        None => Check::ok("agent", format!("for {}", plan.arch.kernel())),
    }
}

/// Returns how the command ends by one check.
fn end_of(check: &Check) -> Exit {
    match (check.verdict, check.fault) {
        (Verdict::Failed, Some(Fault::Manifest)) => Exit::Usage,
        (Verdict::Failed, _) => Exit::Failed,
        (Verdict::Ok | Verdict::Warning | Verdict::NotChecked, _) => Exit::Done,
    }
}

fn json(all: &[(&BakePlan, Vec<Check>)]) -> Result<String, Failure> {
    let images = all.iter().map(|(plan, checks)| {
        serde_json::json!({"name": plan.image.name, "arch": plan.arch.to_string(), "checks": checks})
    });
    let images: Vec<_> = images.collect();
    serde_json::to_string_pretty(&images).map_err(Failure::new)
}

/// Returns the checks, one a line; what failed is the first thing to be seen in each.
fn table(all: &[(&BakePlan, Vec<Check>)]) -> String {
    let checks = || all.iter().flat_map(|(_, checks)| checks);
    let width = checks().map(|check| check.about.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (plan, checks) in all {
        if all.len() > 1 {
            let _infallible = writeln!(text, "{} ({})", plan.image.name, plan.arch);
        }
        for check in checks {
            let verdict = word(check.verdict);
            let (about, detail) = (check.about, &check.detail);
            let _infallible = writeln!(text, "{verdict:11}  {about:width$}  {detail}");
        }
    }
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warning => "WARNING",
        Verdict::Failed => "FAILED",
        Verdict::NotChecked => "not checked",
    }
}
