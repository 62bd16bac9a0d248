//! `plan`: what `build` would do, before anything is done.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use amibake_playbook::syntax::AllUsed;
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;

use super::build::lacks_agent;
use super::vars::VarArgs;
use super::{CommandContext, requirements};
use crate::agent::program::Programs;
use crate::exit::{Answer, Failure};
use crate::identity::{self, Commits, ContentKey};
use crate::manifest::{Secrets, TargetKind};
use crate::plan::{self, BakePlan, OnError, Reuse};
use crate::provision::{self, Work};
use crate::targets::ahead::{Ahead, Known, Problem};

/// Show what a build would do, and do nothing
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Manifest to look at
    manifest: PathBuf,
    /// Where the machines would come from
    #[arg(long, value_enum, default_value = "ec2")]
    target: TargetKind,
    #[command(flatten)]
    vars: VarArgs,
    /// Make no call: what only AWS knows is left out
    #[arg(long)]
    offline: bool,
    /// Plan a new image although one of the same content is there
    #[arg(long)]
    force: bool,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// What would become of one image.
#[derive(Debug, Serialize)]
struct Planned {
    #[serde(flatten)]
    plan: BakePlan,
    content: Option<identity::ContentHash>,
    /// Digests of what the image is made of, by name.
    inputs: BTreeMap<String, String>,
    tasks: usize,
    steps: Vec<Step>,
    /// What may be another at the next build although nothing changed here.
    not_pinned: Vec<NotPinned>,
    #[serde(flatten)]
    ahead: Ahead,
}

#[derive(Debug, Serialize)]
struct Step {
    what: String,
    tasks: usize,
}

/// Something that is asked of others while the image is made.
#[derive(Debug, Serialize)]
struct NotPinned {
    what: String,
    why: &'static str,
    /// `site.yaml:4:7`
    places: Vec<String>,
}

/// What gets the newest of something, or asks this machine when it runs: by kind and bare name.
const NOT_PINNED: [(&str, &[&str], &str); 2] = [
    (
        "modules",
        &[
            "apt",
            "deb822_repository",
            "apt_repository",
            "package",
            "dnf",
            "yum",
            "pip",
            "npm",
            "gem",
            "snap",
            "pipx",
            "subversion",
            "get_url",
            "unarchive",
            "uri",
            "command",
            "shell",
            "script",
            "raw",
        ],
        "what it gets, or does, may be another at each run",
    ),
    (
        "lookups",
        &["pipe", "lines", "url", "password", "dig", "random_choice"],
        "what it answers may be another at each run",
    ),
];

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        requirements::make_ready(&self.manifest, self.offline, cx).await?;
        let (now, secrets) = (OffsetDateTime::now_utc(), Secrets::Needed);
        let manifest = (self.vars).manifest(&self.manifest, self.target, secrets, now, cx)?;
        let key = ContentKey::from_environment().map_err(Failure::usage)?;
        let programs = Programs::find().map_err(Failure::new)?;
        let bakes = plan::bakes(&manifest, self.target, OnError::default(), now);
        let mut all = Vec::new();
        for mut bake in bakes.map_err(Failure::new)? {
            if self.force {
                bake.reuse = Reuse::Never;
            }
            let secrets = bake.secrets.clone();
            let planned = self.planned(bake, &programs, key.as_ref(), cx).await;
            all.push(planned.map_err(|failure| failure.masked(&secrets))?);
        }
        let mut text = match self.json {
            true => format!("{:#}\n", json!({ "images": all })),
            false => all.iter().map(Planned::told).collect::<Vec<_>>().join("\n"),
        };
        manifest.secrets.text(&mut text);
        let problems = all.iter().flat_map(|planned| &planned.ahead.problems);
        Ok(Answer {
            ended: problems.map(Problem::exit).max().unwrap_or_default(),
            ..Answer::text(text)
        })
    }

    async fn planned(
        &self,
        mut plan: BakePlan,
        programs: &Programs,
        key: Option<&ContentKey>,
        cx: &CommandContext,
    ) -> Result<Planned, Failure> {
        let work = provision::ready(&plan.provision, &plan.manifest, plan.facts(), &plan.search);
        let work = work.map_err(Failure::usage)?;
        let agent = programs.get(plan.arch.kernel());
        let commits = identity::identify(&mut plan, &work, agent, key, !self.offline).await;
        let commits = commits.map_err(Failure::usage)?;
        let events = cx.events.masked(plan.secrets.clone());
        for warning in &work.warnings {
            events.warn(warning.clone());
        }
        plan.inputs
            .unkeyed()
            .into_iter()
            .for_each(|warning| events.warn(warning));
        let mut ahead = match self.offline {
            true => Ahead::default(),
            false => Box::pin(ahead(&plan)).await?,
        };
        let lacks = lacks_agent(&plan, programs);
        ahead.problems.extend(lacks.map(Problem::of_manifest));
        let mut used = AllUsed::default();
        provision::survey(
            &plan.provision,
            &plan.manifest,
            plan.facts(),
            &plan.search,
            &mut used,
        );
        let inputs = ahead
            .content
            .as_ref()
            .map_or(&plan.inputs, |content| &content.inputs);
        let inputs = inputs
            .digests()
            .map(|(input, digest)| (input.to_string(), digest.to_string()));
        Ok(Planned {
            content: ahead.content.as_ref().map(|content| content.hash.clone()),
            inputs: inputs.collect(),
            tasks: work.tasks,
            steps: steps(&plan, &work),
            not_pinned: not_pinned(&used, &work, &commits),
            ahead,
            plan,
        })
    }
}

fn steps(plan: &BakePlan, work: &Work) -> Vec<Step> {
    let steps = plan.inputs.steps().iter().zip(&work.tasks_of);
    let steps = steps.map(|(what, tasks)| Step {
        what: what.clone(),
        tasks: *tasks,
    });
    steps.collect()
}

fn not_pinned(used: &AllUsed, work: &Work, commits: &Commits) -> Vec<NotPinned> {
    let mut found = Vec::new();
    for (kind, name, _, places) in used.iter() {
        let bare = name.rsplit('.').next().unwrap_or(name);
        let listed = NOT_PINNED
            .iter()
            .find(|(of, names, _)| *of == kind.plural() && names.contains(&bare));
        found.extend(listed.map(|(_, _, why)| NotPinned {
            what: name.to_owned(),
            why,
            places: places.iter().map(ToString::to_string).collect(),
        }));
    }
    found.extend(commits.unknown.iter().map(|what| NotPinned {
        what: format!("git: {what}"),
        why: "a new commit there makes no other image",
        places: Vec::new(),
    }));
    if work.bundle.reads().is_open() {
        found.push(NotPinned {
            what: "files".to_owned(),
            why: "tasks read files that the run itself writes here, or more than are listed",
            places: Vec::new(),
        });
    }
    if identity::asks_for_computed_environment(work) {
        found.push(NotPinned {
            what: "env".to_owned(),
            why: "the name of the variable is computed when it runs",
            places: Vec::new(),
        });
    }
    found
}

#[cfg(feature = "ec2")]
async fn ahead(plan: &BakePlan) -> Result<Ahead, Failure> {
    if plan.target != TargetKind::Ec2 {
        return Ok(Ahead::default());
    }
    let ec2 = crate::targets::ec2::Ec2::new(plan.builder.region.as_deref()).await;
    let ec2 = ec2.map_err(crate::bake::failed)?;
    ec2.ahead(plan).await.map_err(crate::bake::failed)
}

#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "EC2 is asked")]
async fn ahead(_plan: &BakePlan) -> Result<Ahead, Failure> {
    Ok(Ahead::default())
}

impl Planned {
    /// Returns it for people.
    fn told(&self) -> String {
        let Self { plan, ahead, .. } = self;
        let mut text = format!(
            "{} ({}) on {}",
            plan.name,
            plan.arch,
            target_name(plan.target)
        );
        if let Some(region) = &ahead.region {
            text += &format!(" in {region}");
        }
        text.push('\n');
        let mut line = |name: &str, value: &str| {
            let _infallible = writeln!(text, "  {name:<11} {value}");
        };
        if let Some(source) = &ahead.source_image {
            line("source", &format!("{} ({})", source.id, source.name));
        }
        if let Some(content) = &self.content {
            line("content", &content.to_string());
        }
        line("result", &self.result());
        let goes_on = ahead.passed().map(|image| &image.id);
        let is_not_used = |image: &&Known| image.unfit.is_some() && goes_on != Some(&image.id);
        for image in ahead.same_content.iter().filter(is_not_used) {
            let why = image.unfit.as_deref().unwrap_or_default();
            line("not used", &format!("{} ({}): {why}", image.id, image.name));
        }
        if let Some(last) = &ahead.last {
            let since = format!("since {} ({}, {})", last.id, last.name, last.made);
            match last.changes.as_deref() {
                None => line(
                    "last",
                    &format!(
                        "{} ({}) does not say what it is made of",
                        last.id, last.name
                    ),
                ),
                Some([]) => line("unchanged", &since),
                Some(changes) => changes.iter().for_each(|change| {
                    line(
                        "changed",
                        &format!("{} {}, {since}", change.what, change.how.word()),
                    );
                }),
            }
        }
        for (number, step) in (1..).zip(&self.steps) {
            let tasks = if step.tasks == 1 { "task" } else { "tasks" };
            line(
                "step",
                &format!("{number}. {}: {} {tasks}", step.what, step.tasks),
            );
        }
        ahead.resources.iter().for_each(|made| line("makes", made));
        for done in &ahead.publication {
            line("publishes", &format!("{}: {}", done.region, done.change));
        }
        if !ahead.calls.is_empty() {
            line("calls", &ahead.calls.join(", "));
        }
        for open in &self.not_pinned {
            let places = match open.places.as_slice() {
                [] => String::new(),
                [one] => format!(" at {one}"),
                [first, more @ ..] => format!(" at {first} and {} more", more.len()),
            };
            line(
                "not pinned",
                &format!("{}{places}: {}", open.what, open.why),
            );
        }
        ahead.notes.iter().for_each(|note| line("note", note));
        ahead
            .problems
            .iter()
            .for_each(|problem| line("problem", &problem.told));
        text
    }

    fn result(&self) -> String {
        match (self.ahead.finished(), self.ahead.passed()) {
            (Some(image), _) => format!(
                "{} ({}), made {}: nothing is launched",
                image.id, image.name, image.made
            ),
            (None, Some(image)) => format!(
                "{} ({}), made {}, has passed and is not published: its publication goes on, nothing is launched",
                image.id, image.name, image.made
            ),
            (None, None) => format!("a new image, {}", self.plan.image.name),
        }
    }
}

fn target_name(target: TargetKind) -> &'static str {
    match target {
        TargetKind::Ec2 => "EC2",
        TargetKind::Container => "this host",
        TargetKind::Vm => "QEMU",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event;
    use crate::interrupt::Interrupt;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    #[tokio::test]
    async fn a_machine_that_no_agent_is_for_is_a_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        std::fs::write(&path, "name: web\nsource: {ubuntu: '24.04', arch: arm64}\n").unwrap();
        let now = OffsetDateTime::now_utc();
        let given = crate::manifest::Given::default();
        let manifest = crate::manifest::load(&path, TargetKind::Ec2, &given, now).unwrap();
        let plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let words = ["plan", "--offline", path.to_str().unwrap()];
        let Command { args } = Command::try_parse_from(words).unwrap();
        let (events, _reports) = event::channel();
        let interrupt = Interrupt::default();
        let cx = CommandContext { events, interrupt };
        let programs = Programs::default();
        let planned = args.planned(plans[0].clone(), &programs, None, &cx);
        let told = planned.await.unwrap().told();
        let problem =
            "problem     there is no agent for this machine's architecture, aarch64; build it with";
        assert!(told.contains(problem), "{told}");
    }
}
