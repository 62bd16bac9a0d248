//! `status`: what there is of amibake's on this host and in the account, and what becomes of it.

use std::fmt::Write as _;

use serde_json::json;
use time::OffsetDateTime;

use super::CommandContext;
use crate::bake::failed;
use crate::exit::{Answer, Failure};
use crate::ledger::{self, Runs};
use crate::targets::ec2::{Held, Standing, held};

/// Show what runs, what was left behind and what was released
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Look only in this region; the default is every enabled region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let runs = ledger::runs().map_err(Failure::new)?;
        let now = OffsetDateTime::now_utc();
        let looking = async { held(self.region.as_deref(), now).await.map_err(failed) };
        let (all, errors) = Box::pin(cx.unless_interrupted(looking)).await?;
        let mut answer = Answer::text(match self.json {
            true => json(&all, &runs).to_string(),
            false => table(&all, &runs, errors.is_empty()),
        });
        answer.failures.extend(errors.into_iter().map(failed));
        Ok(answer)
    }
}

fn json(all: &[Held], runs: &Runs) -> serde_json::Value {
    let owing = runs.dead.iter().filter(|dead| dead.owes());
    let owing: Vec<&str> = owing.map(|dead| dead.run.as_str()).collect();
    json!({"here": {"running": runs.running, "owing": owing}, "account": all})
}

/// That nothing is there is known where all could be looked at.
fn table(all: &[Held], runs: &Runs, is_whole: bool) -> String {
    let mut text = String::new();
    for run in &runs.running {
        let _infallible = writeln!(text, "running   run {run} on this host");
    }
    for dead in runs.dead.iter().filter(|dead| dead.owes()) {
        let run = &dead.run;
        let _infallible = writeln!(
            text,
            "left      by run {run} of this host: `amibake reap` removes it"
        );
    }
    for held in all {
        let what = &held.what;
        let moment = held.moment.as_deref().unwrap_or("an unknown time");
        let run = held.run.as_ref().map_or("unknown", |run| run.as_str());
        let of = held.manifest.as_deref().unwrap_or("unknown");
        let _infallible = match held.standing {
            Standing::Alive => writeln!(text, "alive     {what}: run {run}, until {moment}"),
            Standing::Passed => writeln!(
                text,
                "passed    {what}: run {run}, kept until {moment}; `amibake resume` publishes it"
            ),
            Standing::Expired => {
                writeln!(
                    text,
                    "expired   {what}: run {run}, since {moment}; `amibake reap` removes it"
                )
            }
            Standing::Released => writeln!(text, "released  {what}: manifest {of}, made {moment}"),
        };
    }
    if text.is_empty() && is_whole {
        text.push_str("nothing is there\n");
    }
    text
}
