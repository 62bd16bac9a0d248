//! Removing what killed runs left in an account: region by region, those that have expired by their
//! tags, and those of this host by their journals too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::debts::{Ec2Undo, Removal};
use super::error::Ec2Error;
use super::orphans::{Found, HalfReleased, Orphan, ReleaseMark};
use super::wait::LOOK;
use super::{Ec2, tags};
use crate::clock::{self, Instant};
use crate::ledger::Debt;
use crate::run::{RunId, rfc3339};
use crate::targets::reap::{Owed, Reaped, Reaper, Request};
use crate::targets::{EC2, Fault, TargetError};

/// The region that every account of the standard partition has enabled.
pub(super) const EVERYWHERE: &str = "us-east-1";

/// How far two clocks may differ without anybody being told.
const SKEW: Duration = Duration::from_secs(5 * 60);

/// All regions of an account.
#[derive(Default)]
pub(crate) struct Account {
    /// How it is reached, where environment and profile do not say so.
    pub(crate) here: Option<Ec2>,
}

impl Account {
    async fn ec2(&self, region: Option<&str>) -> Result<Ec2, TargetError> {
        match &self.here {
            Some(here) => Ok(region.map_or_else(|| here.clone(), |region| here.in_region(region))),
            None => Ec2::new(region).await,
        }
    }

    /// Returns the regions to look at: the named one, or all that the account has enabled, and those
    /// where runs of this host owe something.
    async fn regions(
        &self,
        request: &Request<'_>,
        owed: &[Journalled],
        reaped: &mut Reaped,
    ) -> Result<Vec<Ec2>, TargetError> {
        if let Some(region) = request.region {
            return Ok(vec![self.ec2(Some(region)).await?]);
        }
        // Each region knows the others.
        let here = match self.ec2(None).await {
            Err(error) if error.fault == Fault::Manifest => self.ec2(Some(EVERYWHERE)).await?,
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
}

#[async_trait]
impl Reaper for Account {
    fn target(&self) -> &'static str {
        EC2
    }

    async fn reap(&self, request: &Request<'_>) -> Reaped {
        let mut reaped = Reaped::default();
        let owed = journalled(request, &mut reaped);
        match self.regions(request, &owed, &mut reaped).await {
            Ok(regions) => {
                let request = Request {
                    now: now(&regions, request).await,
                    ..*request
                };
                reap_all(&regions, &request, &owed, &mut reaped).await;
            }
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

/// Returns the time by AWS's clock, where it says so: by one that is ahead, others' builds would be over
/// that go on.
async fn now(regions: &[Ec2], request: &Request<'_>) -> OffsetDateTime {
    let here = request.now;
    let Some(ec2) = regions.first() else {
        return here;
    };
    let Some(there) = ec2.time_there().await else {
        return here;
    };
    let apart = (there - here).abs();
    if apart > SKEW {
        let minutes = apart.whole_minutes();
        request.events.warn(format!(
            "the clock of this machine is {minutes} min off AWS's, which is what expiries are judged by"
        ));
    }
    there
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
        let mut named = BTreeSet::new();
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
            let due = self.without_named(due, &mut named, &mut reaped).await;
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

    /// Leaves out images that have passed and are named already, with their snapshots: a build that was
    /// killed in the middle of its publication has told a parameter or a template of one, and whatever
    /// launches by that would fail. Where a journal is here, it says what is to be taken back first.
    async fn without_named(
        &self,
        due: Vec<Owed>,
        named: &mut BTreeSet<String>,
        reaped: &mut Reaped,
    ) -> Vec<Owed> {
        for owed in due.iter().filter(|owed| self.may_be_named(owed)) {
            for id in &owed.debt.learned {
                if named.contains(id) {
                    continue;
                }
                let Some(why) = self.why_it_stays(id).await else {
                    continue;
                };
                let region = &self.ec2.region;
                reaped.later.push(format!(
                    "keep image {id} in {region}, which is not released: {why}"
                ));
                named.extend(self.ec2.disks(id).await);
                named.insert(id.clone());
            }
        }
        let is_free = |owed: &Owed| !owed.debt.learned.iter().any(|id| named.contains(id));
        due.into_iter().filter(is_free).collect()
    }

    /// Returns whether it is an image under its final name, of a run that has no journal here.
    fn may_be_named(&self, owed: &Owed) -> bool {
        let is_known = self.owed.iter().any(|known| known.undo.run == owed.run);
        let undo = owed.debt.undo.read::<Ec2Undo>();
        let is_final = undo.is_ok_and(|undo| match &undo.removal {
            Removal::DeregisterImage { name } => *name != tags::candidate_name(&owed.run),
            _ => false,
        });
        is_final && !is_known
    }

    async fn why_it_stays(&self, id: &str) -> Option<String> {
        match self.ec2.named_by(id).await {
            Ok(None) => None,
            Ok(Some(by)) => {
                let resume = self.what_resumes(id).await;
                Some(format!(
                    "it is named by {by}; `{resume}` finishes its publication"
                ))
            }
            Err(error) => {
                let why = TargetError::from(error).on_one_line();
                Some(format!("whether something names it cannot be asked: {why}"))
            }
        }
    }

    /// Returns the command that goes on with the publication of an image: of a copy, that of its original.
    async fn what_resumes(&self, id: &str) -> String {
        let found = self.ec2.images(vec![tags::filter("image-id", [id])]).await;
        let image = found.ok().and_then(|found| found.into_iter().next());
        let original = match &image {
            Some(image) => self.ec2.original_of(image).await,
            None => None,
        };
        let of = original.and_then(|(region, image)| Some((region, image.image_id?)));
        let (region, id) = of.unwrap_or_else(|| (self.ec2.region.clone(), id.to_owned()));
        format!("amibake resume --region {region} {id} MANIFEST")
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
        let due = |o: &&Orphan| self.is_due(o);
        let mut owed: Vec<Owed> = found.iter().filter(due).map(Orphan::owed).collect();
        for Journalled {
            undo,
            learned,
            released,
            ..
        } in &self.owed
        {
            let own_name = undo.removal.own_name();
            for id in own_name
                .iter()
                .filter(|_| learned.is_empty())
                .chain(learned)
            {
                let listed = found.iter().any(|o| o.id.as_deref() == Some(id));
                if !listed && self.ec2.is_there(undo, id, *released).await? {
                    owed.push(Owed {
                        run: undo.run.clone(),
                        debt: Debt {
                            undo: undo.clone().into(),
                            // What has its own name has learned something else, or nothing.
                            learned: match own_name {
                                Some(_) => learned.clone(),
                                None => vec![id.clone()],
                            },
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

    /// What has passed is kept for its publication, whatever became of its run.
    fn is_due(&self, orphan: &Orphan) -> bool {
        match orphan.has_passed {
            true => orphan.expires.is_some_and(|at| at < self.request.now),
            false => self.request.is_due(&orphan.undo.run, orphan.expires),
        }
    }

    /// Says what stays for now, a run at a time.
    fn put_off(&self, found: &[Orphan], reaped: &mut Reaped) {
        let Request { run, running, .. } = self.request;
        let mut later: BTreeMap<&RunId, (Vec<String>, Option<OffsetDateTime>)> = BTreeMap::new();
        for orphan in found {
            let undo = &orphan.undo;
            let what = undo.what(orphan.id.as_slice());
            if orphan.has_passed && !self.is_due(orphan) {
                let until = orphan.expires.map(rfc3339).unwrap_or_default();
                let line = format!(
                    "keep {what} until {until}: it has passed, and `amibake resume` publishes it"
                );
                reaped.later.push(line);
            } else if run.is_none() && !self.is_due(orphan) {
                let (things, until) = later.entry(&undo.run).or_default();
                things.push(what);
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
