//! Removing what killed runs left in an account: region by region, those that have expired by their
//! tags, and those of this host by their journals too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::Ec2;
use super::debts::Ec2Undo;
use super::error::Ec2Error;
use super::orphans::{Found, HalfReleased, Orphan, ReleaseMark};
use super::wait::LOOK;
use crate::clock::{self, Instant};
use crate::ledger::Debt;
use crate::run::RunId;
use crate::targets::reap::{Owed, Reaped, Reaper, Request};
use crate::targets::{EC2, Fault, TargetError};

/// The region that every account of the standard partition has enabled.
const EVERYWHERE: &str = "us-east-1";

/// All regions of an account.
pub(crate) struct Account;

#[async_trait]
impl Reaper for Account {
    fn target(&self) -> &'static str {
        EC2
    }

    async fn reap(&self, request: &Request<'_>) -> Reaped {
        let mut reaped = Reaped::default();
        let owed = journalled(request, &mut reaped);
        match regions(request, &owed, &mut reaped).await {
            Ok(regions) => reap_all(&regions, request, &owed, &mut reaped).await,
            // A host that bakes containers alone need not know AWS. Where nothing was found,
            // nobody may be told that all is well without a look at the account.
            Err(error) if owed.is_empty() && request.region.is_none() && has_dead(request) => {
                let why = error.on_one_line();
                let message = format!("only this host was looked at: {why}");
                request.events.warn(message);
            }
            Err(error) => {
                reaped.owing.extend(owed.into_iter().map(|o| o.undo.run));
                reaped.errors.push(error);
            }
        }
        reaped
    }
}

fn has_dead(request: &Request<'_>) -> bool {
    !request.dead.is_empty()
}

/// What a journal of this host says is owed to EC2.
struct Journalled {
    undo: Ec2Undo,
    learned: Vec<String>,
    /// How long ago the run wrote something there last.
    age: Duration,
    /// What it means where the thing is said to be released.
    released: ReleaseMark,
}

/// Returns what the dead runs of this host owe to EC2.
fn journalled(request: &Request<'_>, reaped: &mut Reaped) -> Vec<Journalled> {
    let mut owed = Vec::new();
    for dead in request.dead {
        for debt in dead.owed.iter().filter(|d| d.undo.target() == EC2) {
            match debt.undo.read::<Ec2Undo>() {
                Ok(undo) => owed.push(Journalled {
                    undo,
                    learned: debt.learned.clone(),
                    age: dead.written.elapsed().unwrap_or_default(),
                    released: match dead.has_failed {
                        true => ReleaseMark::WasWithdrawn,
                        false => ReleaseMark::Stands,
                    },
                }),
                Err(error) => {
                    reaped.owing.insert(dead.run.clone());
                    reaped.errors.push(crate::targets::unreadable(error));
                }
            }
        }
    }
    owed
}

/// Returns the regions to look at: the named one, or all that the account has enabled, and those
/// where runs of this host owe something.
async fn regions(
    request: &Request<'_>,
    owed: &[Journalled],
    reaped: &mut Reaped,
) -> Result<Vec<Ec2>, TargetError> {
    if let Some(region) = request.region {
        return Ok(vec![Ec2::new(Some(region)).await?]);
    }
    // Each region knows the others.
    let here = match Ec2::new(None).await {
        Err(error) if error.fault == Fault::Manifest => Ec2::new(Some(EVERYWHERE)).await?,
        here => here?,
    };
    here.be_patient();
    let mut names: BTreeSet<String> = owed.iter().map(|o| o.undo.region.clone()).collect();
    match here.enabled_regions().await {
        Ok(enabled) => names.extend(enabled),
        Err(error) if error.is_denied() => {
            names.insert(here.region.clone());
            let error = TargetError::from(error);
            reaped
                .errors
                .push(error.with_hint("name each region with --region"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(names.iter().map(|name| here.in_region(name)).collect())
}

/// Reaps all regions at once. One that a policy denies is told, and is no failure of the others.
async fn reap_all(
    regions: &[Ec2],
    request: &Request<'_>,
    owed: &[Journalled],
    reaped: &mut Reaped,
) {
    let reaping = regions.iter().map(|ec2| async move {
        let here = owed.iter().filter(|o| o.undo.region == ec2.region);
        let region = Region {
            ec2,
            request,
            owed: here.collect(),
            began: Instant::now(),
        };
        let (part, looked) = region.reap().await;
        (region, part, looked)
    });
    let mut denied = Vec::new();
    for (region, part, looked) in join_all(reaping).await {
        reaped.merge(part);
        let Err(error) = looked else { continue };
        reaped.owing.extend(region.runs());
        match error.is_denied() && region.owed.is_empty() {
            true => denied.push((region.ec2.region.as_str(), error)),
            false => reaped.errors.push(error.into()),
        }
    }
    if denied.len() < regions.len() && !denied.is_empty() {
        let names: Vec<&str> = denied.iter().map(|(name, _)| *name).collect();
        let names = names.join(", ");
        let message = format!("the credentials may not look at {names}: nothing was reaped there");
        request.events.warn(message);
    } else {
        // Nothing was looked at: that all is well cannot be said.
        let errors = denied.into_iter().map(|(_, error)| error.into());
        reaped.errors.extend(errors);
    }
    let looked_at = |undo: &Ec2Undo| regions.iter().any(|ec2| ec2.region == undo.region);
    let others = owed.iter().filter(|o| !looked_at(&o.undo));
    reaped.owing.extend(others.map(|o| o.undo.run.clone()));
}

/// One region, and what journals say is owed there.
struct Region<'a> {
    ec2: &'a Ec2,
    request: &'a Request<'a>,
    owed: Vec<&'a Journalled>,
    began: Instant,
}

impl Region<'_> {
    /// Pays what is due until nothing more is found. A run that was killed in the middle of a call
    /// may have made what is listed later: what a known run left is looked for twice, and what a
    /// journal still waits for as long as EC2 may need to list it.
    async fn reap(&self) -> (Reaped, Result<(), Ec2Error>) {
        let mut reaped = Reaped::default();
        // What is gone may be listed for a while.
        let mut paid: Vec<Owed> = Vec::new();
        let is_known = self.request.run.is_some() || !self.owed.is_empty();
        let mut in_vain = 0;
        let mut finished = BTreeSet::new();
        loop {
            self.ec2.be_patient();
            let Found {
                orphans: found,
                half_released,
                looked,
            } = self.ec2.orphans(self.request.run).await;
            for image in half_released {
                // It may be listed late as it was.
                if self.may_finish(&image) && !finished.contains(&image.id) {
                    self.finish_release(&image, &mut reaped).await;
                    finished.insert(image.id);
                }
            }
            let due = match self.due(&found).await {
                Ok(due) => due.into_iter().filter(|owed| !paid.contains(owed)),
                Err(error) => return (reaped, Err(error)),
            };
            let due: Vec<Owed> = due.collect();
            let all = reaped.pay(self.request, self.ec2, &due).await;
            in_vain = if due.is_empty() { in_vain + 1 } else { 0 };
            let is_over = in_vain > usize::from(is_known) && !self.awaits(&paid);
            if is_over || !all || self.request.dry_run || looked.is_err() {
                self.put_off(&found, &mut reaped);
                return (reaped, looked);
            }
            if due.is_empty() {
                clock::sleep(self.ec2.poll).await;
            }
            paid.extend(due);
        }
    }

    /// Returns whether a journal ends in the middle of a call, and what that makes may yet be listed.
    fn awaits(&self, paid: &[Owed]) -> bool {
        let is_young = |age: Duration| age + self.began.elapsed() < LOOK;
        let is_paid = |wanted: &Ec2Undo| {
            let undos = paid.iter().filter(|owed| owed.run == wanted.run);
            let mut undos = undos.filter_map(|owed| owed.debt.undo.read::<Ec2Undo>().ok());
            undos.any(|undo| undo.removal.is_for(&wanted.removal))
        };
        let mut unnamed = self.owed.iter().filter(|o| o.learned.is_empty());
        unnamed.any(|o| is_young(o.age) && !is_paid(&o.undo))
    }

    /// Returns what is to be paid: what was found and is due, and what journals name that is there
    /// although its tags say nothing of it any more.
    async fn due(&self, found: &[Orphan]) -> Result<Vec<Owed>, Ec2Error> {
        let due = |o: &&Orphan| self.request.is_due(&o.undo.run, o.expires);
        let mut owed: Vec<Owed> = found.iter().filter(due).map(Orphan::owed).collect();
        for Journalled {
            undo,
            learned,
            released,
            ..
        } in &self.owed
        {
            for id in learned {
                let listed = found.iter().any(|o| o.id.as_deref() == Some(id));
                if !listed && self.ec2.is_there(undo, id, *released).await? {
                    owed.push(Owed {
                        run: undo.run.clone(),
                        debt: Debt {
                            undo: undo.clone().into(),
                            learned: vec![id.clone()],
                        },
                    });
                }
            }
        }
        Ok(owed)
    }

    /// Returns whether nobody else finishes a release, or has withdrawn it.
    fn may_finish(&self, image: &HalfReleased) -> bool {
        let goes_on = self.request.running.contains(&image.run);
        let mut owed = self.owed.iter().filter(|o| o.undo.run == image.run);
        !goes_on && !owed.any(|o| o.released == ReleaseMark::WasWithdrawn)
    }

    /// Finishes a release that was cut off: nobody may take the image for left behind.
    async fn finish_release(&self, image: &HalfReleased, reaped: &mut Reaped) {
        let what = format!("the release of image {} in {}", image.id, self.ec2.region);
        if self.request.dry_run {
            reaped.done.push(format!("would finish {what}"));
            return;
        }
        let set = self.ec2.set_description(&image.id, &image.description);
        match set.await {
            Ok(()) => reaped.done.push(format!("finish {what}")),
            Err(error) => {
                let error = TargetError::from(error);
                let hint = error.hint().map(str::to_owned);
                let told = TargetError::new(format!("{what} could not be finished"));
                let told = told.because(error);
                reaped.errors.push(match hint {
                    Some(hint) => told.with_hint(hint),
                    None => told,
                });
                reaped.owing.insert(image.run.clone());
            }
        }
    }

    /// Says what stays for now, a run at a time.
    fn put_off(&self, found: &[Orphan], reaped: &mut Reaped) {
        let Request { run, running, .. } = self.request;
        let mut later: BTreeMap<&RunId, (Vec<String>, Option<OffsetDateTime>)> = BTreeMap::new();
        for orphan in found {
            let undo = &orphan.undo;
            if run.is_none() && !self.request.is_due(&undo.run, orphan.expires) {
                let (things, until) = later.entry(&undo.run).or_default();
                things.push(undo.what(orphan.id.as_slice()));
                *until = (*until).max(orphan.expires);
            }
        }
        for (run, (things, until)) in later {
            let things = things.join(", ");
            if running.contains(run) {
                let line = format!("keep {things}: run {run} goes on");
                reaped.later.push(line);
            } else {
                reaped.put_off(run, &things, until, Some(&self.ec2.region));
            }
        }
    }

    /// Returns the runs of this host that owe something here.
    fn runs(&self) -> impl Iterator<Item = RunId> {
        self.owed.iter().map(|o| o.undo.run.clone())
    }
}

#[cfg(test)]
mod tests;
