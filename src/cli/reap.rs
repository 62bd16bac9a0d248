//! `reap`: pays what killed runs owe: in the account from tags alone, on this host from journals.

use futures_util::future::join_all;

use super::{CommandContext, Form, Reporting};
#[cfg(feature = "ec2")]
use crate::bake::failed;
use crate::bake::interrupted;
#[cfg(feature = "ec2")]
use crate::clock;
use crate::exit::{Answer, Failure, Leftover};
use crate::ledger::{self, DeadRun, Undo};
use crate::run::RunId;
use crate::targets::Target;
use crate::targets::container::Container;
#[cfg(feature = "ec2")]
use crate::targets::ec2::Ec2;
#[cfg(feature = "ec2")]
use crate::targets::{Fault, TargetError};

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

/// The region that every account of the standard partition has enabled.
#[cfg(feature = "ec2")]
const EVERYWHERE: &str = "us-east-1";

/// Something to remove, and what is known of it.
type Debt = (Undo, Vec<String>);

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
        let mut answer = Answer::default();
        let paid = self.reap_here(cx, &mut answer).await?;
        #[cfg(feature = "ec2")]
        let paid = self.reap_ec2(paid, cx, &mut answer).await?;
        #[cfg(not(feature = "ec2"))]
        let paid = paid.into_iter().filter(is_local);
        if !self.dry_run {
            paid.into_iter().for_each(DeadRun::forget);
        }
        Ok(answer)
    }

    /// A journal that nobody holds is a dead run's. Returns those of which nothing is left here.
    async fn reap_here(
        &self,
        cx: &CommandContext,
        answer: &mut Answer,
    ) -> Result<Vec<DeadRun>, Failure> {
        let container = Container::new(None);
        let now = time::OffsetDateTime::now_utc();
        let mut paid = Vec::new();
        for dead in ledger::dead_runs().map_err(Failure::new)? {
            if !dead.is_due(self.run.as_ref(), now) {
                continue;
            }
            let local = dead.owed.iter().filter(|(undo, _)| undo.is_local());
            let local: Vec<Debt> = local.cloned().rev().collect();
            let run = Some(&dead.run);
            if self.pay(&container, &local, run, cx, answer).await {
                paid.push(dead);
            }
        }
        Ok(paid)
    }

    /// Pays all at once; returns whether nothing is left. `run` is whose they are, if all are one's.
    async fn pay(
        &self,
        target: &dyn Target,
        debts: &[Debt],
        run: Option<&RunId>,
        cx: &CommandContext,
        answer: &mut Answer,
    ) -> bool {
        for (undo, known) in debts {
            let verb = if self.dry_run {
                "would remove"
            } else {
                "remove"
            };
            answer.text += &format!("{verb} {}\n", undo.what(known));
        }
        if self.dry_run {
            return true;
        }
        let paying = debts.iter().map(|(undo, known)| target.pay(undo, known));
        let mut left_behind = Vec::new();
        for ((undo, known), paid) in debts.iter().zip(join_all(paying).await) {
            let Err(error) = paid else { continue };
            let (what, why) = (undo.what(known), error.on_one_line());
            cx.events.warn(format!("{what}: {why}"));
            left_behind.push(Leftover {
                what: undo.what(known),
                remove_with: undo.remedy(known, run),
            });
        }
        if left_behind.is_empty() {
            return true;
        }
        let mut failure = Failure::new("not everything could be removed");
        failure.left_behind = left_behind;
        answer.failures.push(failure);
        false
    }
}

#[cfg(feature = "ec2")]
impl Args {
    /// Pays what is owed to EC2, by its tags. Returns those of the dead runs of which nothing is
    /// left there either.
    async fn reap_ec2(
        &self,
        dead: Vec<DeadRun>,
        cx: &CommandContext,
        answer: &mut Answer,
    ) -> Result<Vec<DeadRun>, Failure> {
        // A host that bakes containers alone need not know AWS. Where nothing was found, nobody
        // may be told that all is well without a look at the account.
        let is_local_host = self.region.is_none() && !dead.is_empty() && dead.iter().all(is_local);
        let mut reaped = Vec::new();
        match self.regions().await {
            Ok(regions) => {
                for ec2 in regions {
                    match self.reap_region(&ec2, cx, answer).await {
                        Ok(()) => reaped.push(ec2),
                        Err(failure) => answer.failures.push(failure),
                    }
                }
            }
            Err(error) if is_local_host => {
                let why = error.on_one_line();
                cx.events
                    .warn(format!("only this host was looked at: {why}"));
            }
            // What was done on this host is told all the same.
            Err(error) => answer.failures.push(failed(error)),
        }
        Ok(self.paid(dead, &reaped).await)
    }

    /// Returns the regions to look at: the named one, or all that the account has enabled.
    async fn regions(&self) -> Result<Vec<Ec2>, TargetError> {
        if let Some(region) = &self.region {
            return Ok(vec![Ec2::new(Some(region)).await?]);
        }
        // Each region knows the others.
        let here = match Ec2::new(None).await {
            Err(error) if error.fault == Fault::Manifest => Ec2::new(Some(EVERYWHERE)).await?,
            here => here?,
        };
        let mut regions = Vec::new();
        for region in here.enabled_regions().await? {
            regions.push(Ec2::new(Some(&region)).await?);
        }
        Ok(regions)
    }

    /// Returns the runs that owe nothing in any region: those that were looked at have nothing of
    /// theirs, expired or not.
    async fn paid(&self, dead: Vec<DeadRun>, reaped: &[Ec2]) -> Vec<DeadRun> {
        let mut paid = Vec::new();
        for run in dead {
            let mut left = false;
            for region in run.owed.iter().filter_map(|(undo, _)| undo.region()) {
                left |= match reaped.iter().find(|ec2| ec2.region() == region) {
                    Some(ec2) => owes(ec2, &run).await,
                    None => true,
                };
            }
            if !left {
                paid.push(run);
            }
        }
        paid
    }

    /// A run that was killed in the middle of a call may have made what is listed a moment later:
    /// it is over when nothing is found twice.
    async fn reap_region(
        &self,
        ec2: &Ec2,
        cx: &CommandContext,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let mut empty = 0;
        // What is gone may be listed for a while.
        let mut paid: Vec<Debt> = Vec::new();
        while empty < 2 {
            let mut debts = self.ec2_debts(ec2).await?;
            debts.retain(|debt| !paid.contains(debt));
            empty = if debts.is_empty() { empty + 1 } else { 0 };
            let run = self.run.as_ref();
            if !self.pay(ec2, &debts, run, cx, answer).await || self.dry_run {
                return Ok(());
            }
            if self.run.is_none() && empty > 0 {
                return Ok(());
            }
            paid.extend(debts);
            if empty == 1 {
                clock::sleep(std::time::Duration::from_secs(2)).await;
            }
        }
        Ok(())
    }

    async fn ec2_debts(&self, ec2: &Ec2) -> Result<Vec<Debt>, Failure> {
        let now = time::OffsetDateTime::now_utc();
        let found = ec2.orphans(self.run.as_ref()).await;
        let found = found.map_err(failed)?;
        let due = found
            .into_iter()
            .filter(|o| self.run.is_some() || o.expires.is_some_and(|at| at < now));
        Ok(due.map(|o| (o.undo, o.id.into_iter().collect())).collect())
    }
}

/// Returns whether something of a run is still there, by its tags or by its journal, or may be.
#[cfg(feature = "ec2")]
async fn owes(ec2: &Ec2, dead: &DeadRun) -> bool {
    if !matches!(&ec2.orphans(Some(&dead.run)).await, Ok(found) if found.is_empty()) {
        return true;
    }
    for (undo, ids) in &dead.owed {
        let here = undo.region() == Some(ec2.region());
        if here && !matches!(ec2.is_there(undo, ids).await, Ok(false)) {
            return true;
        }
    }
    false
}

/// Returns whether a run owes nothing to EC2.
fn is_local(dead: &DeadRun) -> bool {
    dead.owed.iter().all(|(undo, _)| undo.is_local())
}
