//! `reap`: pays what killed runs owe. Each target knows what that is and how it goes; the journals of
//! this host's runs are opened and closed here.

use std::collections::BTreeSet;

use time::OffsetDateTime;

use super::{CommandContext, Form, Reporting};
use crate::bake::{failed, interrupted};
use crate::exit::{Answer, Failure};
use crate::ledger::{self, DeadRun};
use crate::run::RunId;
use crate::targets::TargetError;
use crate::targets::container::Container;
use crate::targets::reap::{Reaped, Reaper, Request};

/// Remove what killed builds left behind
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Say what would be removed, remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Only this run's, expired or not
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// Only this region; otherwise all that are enabled
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

impl Args {
    pub(super) fn reporting() -> Reporting {
        Reporting {
            form: Form::Human,
            verbosity: 0,
        }
    }

    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        tokio::select! {
            biased;
            // What is half removed is found again by the next `reap`.
            () = cx.interrupt.cancel.cancelled() => Err(interrupted()),
            answer = self.reap(cx) => answer,
        }
    }

    async fn reap(&self, cx: &CommandContext) -> Result<Answer, Failure> {
        let now = OffsetDateTime::now_utc();
        let (dead, running) = ledger::runs().map_err(Failure::new)?;
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
            events: &cx.events,
        };
        let mut reaped = Reaped::default();
        let mut known = BTreeSet::new();
        for reaper in reapers() {
            known.insert(reaper.target());
            reaped.merge(reaper.reap(&request).await);
        }
        for dead in &dead {
            strangers(dead, &known, &mut reaped);
        }
        if !self.dry_run {
            let paid = dead.into_iter().filter(|d| !reaped.owing.contains(&d.run));
            paid.for_each(DeadRun::forget);
        }
        Ok(answer(reaped))
    }
}

/// Returns all targets, each of which may have left something.
fn reapers() -> Vec<Box<dyn Reaper>> {
    vec![
        Box::new(Container::new(None)),
        #[cfg(feature = "ec2")]
        Box::new(crate::targets::ec2::Account),
    ]
}

/// A journal is kept for what no target of this program can pay, or that cannot be read.
fn strangers(dead: &DeadRun, known: &BTreeSet<&str>, reaped: &mut Reaped) {
    let mut owed = dead.owed.iter().map(|debt| debt.undo.target());
    let stranger = owed.find(|target| !known.contains(target));
    let why = match (stranger, dead.is_garbled) {
        (Some(target), _) => format!("this amibake was built without the {target} target"),
        (None, true) => "a part of its journal cannot be read".to_owned(),
        (None, false) => return,
    };
    let message = format!("not all that run {} owes can be paid", dead.run);
    reaped.errors.push(TargetError::new(message).because(why));
    reaped.owing.insert(dead.run.clone());
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
