//! `reap`: pays what killed runs owe. Each target knows what that is and how it goes; the journals of
//! this host's runs are opened and closed here.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::CommandContext;
use crate::bake::failed;
use crate::event::Events;
use crate::exit::{Answer, Failure};
use crate::ledger::{self, DeadRun, Runs};
use crate::run::RunId;
use crate::targets::TargetError;
use crate::targets::container::Container;
use crate::targets::reap::{Reaped, Reaper, Request, command};

/// Remove what killed builds left behind
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove only what this run left, expired or not
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// Look only in this region; the default is every enabled region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        // What is half removed is found again by the next `reap`.
        Box::pin(cx.unless_interrupted(self.reap(cx))).await
    }

    async fn reap(&self, cx: &CommandContext) -> Result<Answer, Failure> {
        let runs = ledger::runs().map_err(Failure::new)?;
        Ok(self.reap_by(reapers(), runs, &cx.events).await)
    }

    async fn reap_by(&self, reapers: Vec<Box<dyn Reaper>>, runs: Runs, events: &Events) -> Answer {
        let now = OffsetDateTime::now_utc();
        let Runs {
            dead,
            running,
            unusable,
        } = runs;
        let (dead, kept): (Vec<DeadRun>, Vec<DeadRun>) = dead
            .into_iter()
            .partition(|dead| dead.is_due(self.run.as_ref(), now));
        let request = Request {
            run: self.run.as_ref(),
            region: self.region.as_deref(),
            dry_run: self.dry_run,
            dead: &dead,
            kept: if self.run.is_none() { &kept } else { &[] },
            running: &running,
            now,
            events,
        };
        let mut reaped = Reaped::default();
        reaped.errors.extend(
            unusable.into_iter().map(|error| {
                TargetError::new("not all runs of this host are known").because(error)
            }),
        );
        let mut known = BTreeSet::new();
        for reaper in reapers {
            known.insert(reaper.target());
            reaped.merge(reaper.reap(&request).await);
        }
        for dead in &dead {
            self.unpayable(dead, &known, &mut reaped);
        }
        if !self.dry_run {
            let paid = dead.into_iter().filter(|d| !reaped.owing.contains(&d.run));
            paid.for_each(DeadRun::forget);
        }
        answer(reaped)
    }

    /// A journal is kept for what no target of this program can pay. One that cannot be read is
    /// forgotten when its run is named: nobody could ever pay what it says.
    fn unpayable(&self, dead: &DeadRun, known: &BTreeSet<&str>, reaped: &mut Reaped) {
        let run = &dead.run;
        let not_all = |why: String| {
            TargetError::new(format!("not all that run {run} owes can be paid")).because(why)
        };
        let mut owed = dead.owed.iter().map(|debt| debt.undo.target());
        if let Some(target) = owed.find(|target| !known.contains(target)) {
            let why = format!("this amibake was built without the {target} target");
            reaped.errors.push(not_all(why));
            reaped.owing.insert(run.clone());
        } else if dead.is_garbled && self.run.is_none() {
            let command = command(Some(run), None);
            let error = not_all("a part of its journal cannot be read".to_owned());
            reaped.errors.push(error.with_hint(format!(
                "`{command}` removes what is found of it by its tags, and forgets the journal"
            )));
            reaped.owing.insert(run.clone());
        } else if dead.is_garbled && !reaped.owing.contains(run) {
            let verb = match self.dry_run {
                true => "would forget",
                false => "forget",
            };
            reaped.done.push(format!(
                "{verb} the journal of run {run}, a part of which cannot be read"
            ));
        }
    }
}

/// Reaps an account in all its regions, with what the journals in `folder` say.
#[cfg(all(test, feature = "ec2"))]
pub(crate) async fn reap_account(
    here: crate::targets::ec2::Ec2,
    folder: &std::path::Path,
    events: &Events,
) -> Answer {
    let args = Args {
        dry_run: false,
        run: None,
        region: None,
    };
    let account = crate::targets::ec2::Account { here: Some(here) };
    let runs = ledger::runs_in(folder).expect("a folder of journals");
    args.reap_by(vec![Box::new(account)], runs, events).await
}

/// Returns all targets, each of which may have left something.
fn reapers() -> Vec<Box<dyn Reaper>> {
    vec![
        Box::new(Container::new(None)),
        #[cfg(feature = "ec2")]
        Box::new(crate::targets::ec2::Account::default()),
    ]
}

fn answer(reaped: Reaped) -> Answer {
    let mut answer = Answer::default();
    let mut lines = reaped.done;
    lines.extend(reaped.later);
    if lines.is_empty() && reaped.errors.is_empty() {
        lines.push("nothing to remove".to_owned());
    }
    answer.text = lines.into_iter().map(|line| line + "\n").collect();
    answer
        .failures
        .extend(reaped.errors.into_iter().map(failed));
    if !reaped.left_behind.is_empty() {
        let mut failure = Failure::new("not everything could be removed");
        failure.left_behind = reaped.left_behind;
        answer.failures.push(failure);
    }
    answer
}
