//! `stack status`: which colour has the traffic, and how both are.

use std::fmt::Write as _;

use super::StackArgs;
use crate::bake::failed;
use crate::cli::CommandContext;
use crate::exit::{Answer, Failure};
use crate::stack::Stack;
use crate::stack::rollout::{Colour, ColourReport, Report, report};

/// Show which colour has the traffic, how both are, and what they are made of
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let region = self.stack.region.as_deref();
        let stack = Stack::open(self.stack.name, region).await.map_err(failed)?;
        let asking = async { report(&stack, &cx.events).await.map_err(failed) };
        let report = cx.unless_interrupted(asking).await?;
        Ok(Answer::text(match self.json {
            true => serde_json::to_string(&report).map_err(Failure::new)?,
            false => told(&report),
        }))
    }
}

fn told(report: &Report) -> String {
    let mut text = format!("{} in {}, {}\n", report.stack, report.region, report.status);
    if let Some(url) = &report.url {
        let _infallible = writeln!(text, "{url}");
    }
    for colour in Colour::BOTH {
        told_colour(&mut text, colour, &report.colours[colour]);
    }
    if let Some(rollout) = &report.rollout {
        let way = match rollout.direction {
            crate::stack::rollout::Direction::Forward => "to",
            crate::stack::rollout::Direction::Back => "back to",
        };
        let phase = match rollout.phase {
            crate::stack::rollout::Phase::Rolling => "under way, or interrupted",
            crate::stack::rollout::Phase::Keeping => "done, the other colour is still warm",
            crate::stack::rollout::Phase::Done => "done",
        };
        let (run, to, since) = (&rollout.run, rollout.to, &rollout.since);
        let why = rollout.why.iter().map(|why| format!(": {why}"));
        let why: String = why.collect();
        let _infallible = writeln!(
            text,
            "rollout  {way} {to}, {phase}, since {since} (run {run}){why}"
        );
    }
    for alarm in &report.alarms {
        let _infallible = writeln!(text, "alarm    {alarm} fires");
    }
    if let Some(lock) = &report.lock {
        let run = lock.run.as_ref().map_or("unknown", |run| run.as_str());
        let since = lock.since.as_deref().unwrap_or("an unknown time");
        let heard = lock.heard;
        let _infallible = writeln!(
            text,
            "lock     run {run}, since {since}, heard of {heard} s ago"
        );
    }
    text
}

fn told_colour(text: &mut String, colour: Colour, report: &ColourReport) {
    let (traffic, healthy, desired) = (report.traffic, report.healthy, report.desired);
    let _infallible = writeln!(
        text,
        "{:<8} {traffic} % of the traffic, {healthy} of {desired} instances healthy",
        colour.name()
    );
    if let Some(image) = &report.image {
        let manifest = image.manifest.as_deref().unwrap_or("no manifest of ours");
        let content = image.content.as_deref().unwrap_or("unknown content");
        let made = image.made.as_deref().unwrap_or("an unknown time");
        let gone = if image.is_there {
            ""
        } else {
            ", which is gone"
        };
        let id = &image.id;
        let _infallible = writeln!(
            text,
            "         {id}{gone}: {manifest}, {content}, made {made}"
        );
    }
    for instance in &report.instances {
        let (id, zone, lifecycle) = (&instance.id, &instance.zone, &instance.lifecycle);
        let health = match &*instance.health {
            "" => "not a target yet",
            health => health,
        };
        let reason = instance.reason.iter().map(|reason| format!(" ({reason})"));
        let reason: String = reason.collect();
        let _infallible = writeln!(
            text,
            "         {id} in {zone}: {lifecycle}, {health}{reason}"
        );
    }
}
