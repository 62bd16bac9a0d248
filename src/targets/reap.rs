//! `reap` as its targets see it: what is asked of them, what they answer, and how many debts are
//! paid at a time.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::TargetError;
use crate::event::Events;
use crate::exit::Leftover;
use crate::ledger::{DeadRun, Debt, Payer};
use crate::run::{RunId, rfc3339};

/// What `reap` is asked for.
#[cfg_attr(
    not(feature = "ec2"),
    expect(dead_code, reason = "only EC2 has regions, tags and other hosts' runs")
)]
pub(crate) struct Request<'a> {
    /// This run alone, expired or not.
    pub(crate) run: Option<&'a RunId>,
    /// This region alone.
    pub(crate) region: Option<&'a str>,
    pub(crate) dry_run: bool,
    /// Runs of this host whose process is gone and whose debts are due.
    pub(crate) dead: &'a [DeadRun],
    /// Runs of this host that are kept, to be looked at.
    pub(crate) kept: &'a [DeadRun],
    /// Runs of this host that go on.
    pub(crate) running: &'a BTreeSet<RunId>,
    pub(crate) now: OffsetDateTime,
    pub(crate) events: &'a Events,
}

/// A debt, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owed {
    pub(crate) run: RunId,
    pub(crate) debt: Debt,
}

/// What a target has done, and what it has not.
#[derive(Debug, Default)]
pub(crate) struct Reaped {
    /// What was done, a line each.
    pub(crate) done: Vec<String>,
    /// What is not due yet, a line each.
    pub(crate) later: Vec<String>,
    /// What could not be looked at, and why.
    pub(crate) errors: Vec<TargetError>,
    pub(crate) left_behind: Vec<Leftover>,
    /// Runs that still owe something: their journals are needed.
    pub(crate) owing: BTreeSet<RunId>,
}

/// A target's side of `reap`.
#[async_trait]
pub(crate) trait Reaper: Send + Sync {
    /// Returns the target's name in journals.
    fn target(&self) -> &'static str;

    /// Removes what dead runs of this host left, and what of other runs has expired.
    async fn reap(&self, request: &Request<'_>) -> Reaped;
}

#[cfg(feature = "ec2")]
impl Request<'_> {
    /// Returns whether what a run left is due: it was named, its process was this host's and is
    /// gone, or its time is over and it does not go on here.
    pub(crate) fn is_due(&self, run: &RunId, expires: Option<OffsetDateTime>) -> bool {
        match self.run {
            Some(named) => named == run,
            None => {
                let is_dead = self.dead.iter().any(|dead| dead.run == *run);
                let is_over = expires.is_some_and(|at| at < self.now);
                is_dead || (is_over && !self.running.contains(run))
            }
        }
    }
}

impl Reaped {
    /// Pays all at once; returns whether nothing is left.
    pub(crate) async fn pay(
        &mut self,
        request: &Request<'_>,
        payer: &dyn Payer,
        debts: &[Owed],
    ) -> bool {
        let told = |owed: &Owed| payer.leftover(&owed.debt, Some(&owed.run));
        let verb = match request.dry_run {
            true => "would remove",
            false => "remove",
        };
        let lines = debts
            .iter()
            .map(|owed| format!("{verb} {}", told(owed).what));
        self.done.extend(lines);
        if request.dry_run {
            return true;
        }
        let paying = debts.iter().map(|owed| payer.pay(&owed.debt));
        let mut all = true;
        for (owed, paid) in debts.iter().zip(join_all(paying).await) {
            let Err(error) = paid else { continue };
            let leftover = told(owed);
            let why = error.on_one_line();
            request.events.warn(format!("{}: {why}", leftover.what));
            self.left_behind.push(leftover);
            self.owing.insert(owed.run.clone());
            all = false;
        }
        all
    }

    /// Says that something of a run is not due yet: what, until when, and how it goes at once.
    pub(crate) fn put_off(
        &mut self,
        run: &RunId,
        what: &str,
        until: Option<OffsetDateTime>,
        region: Option<&str>,
    ) {
        let until = match until {
            Some(until) => format!("until {}", rfc3339(until)),
            None => "for ever: its expiry cannot be read".to_owned(),
        };
        let now = command(Some(run), region);
        self.later
            .push(format!("keep {what} {until} (`{now}` removes it now)"));
    }

    /// Adds what another part of the target has done.
    pub(crate) fn merge(&mut self, other: Self) {
        self.done.extend(other.done);
        self.later.extend(other.later);
        self.errors.extend(other.errors);
        self.left_behind.extend(other.left_behind);
        self.owing.extend(other.owing);
    }
}

/// Returns the command that pays the debts of a run.
pub(crate) fn command(run: Option<&RunId>, region: Option<&str>) -> String {
    let run = run.map(|run| format!(" --run {run}")).unwrap_or_default();
    let region = region.map(|r| format!(" --region {r}")).unwrap_or_default();
    format!("amibake reap{run}{region}")
}
