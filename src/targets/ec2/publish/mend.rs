//! Mending one region: tags, permissions, parameter and launch template, the release, and then what
//! cannot be taken back.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::Tag;
use time::OffsetDateTime;

use super::differences::{Change, left_to};
use super::outward::Outward;
use super::seen::ImageSeen;
use super::wish::Wish;
use crate::ledger::{DebtId, Due};
use crate::manifest::Protection;
use crate::plan::BakePlan;
use crate::targets::ec2::client::Released;
use crate::targets::ec2::debts::Removal;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::{Ec2, tags};
use crate::targets::{PhaseContext, TargetError};

/// How long an image is kept that has passed and could not be published.
pub(in crate::targets::ec2) const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What is to be mended in a region.
pub(super) struct Mending<'a> {
    /// Where the image was made, and the lock is.
    pub(super) home: &'a Ec2,
    pub(super) plan: &'a BakePlan,
    pub(super) wish: &'a Wish,
    pub(super) image: ImageSeen,
    /// Whether it was published before: what it has stays then, whatever goes wrong now.
    pub(super) was_released: bool,
    pub(super) changes: Vec<Change>,
}

/// What was done, and is undone where the rest fails.
#[derive(Default)]
struct Done {
    debts: Vec<DebtId>,
    /// Tags that the image did not have.
    tags: Vec<String>,
    /// Whether it was asked for the description of a released image.
    described: bool,
}

impl Ec2 {
    /// Mends this region. Returns whether the image is released in it, and what went wrong.
    pub(super) async fn mend(
        &self,
        mending: &Mending<'_>,
        cx: &PhaseContext<'_>,
    ) -> (bool, Option<TargetError>) {
        let mut done = Done::default();
        let (last, transaction): (Vec<&Change>, Vec<&Change>) =
            mending.changes.iter().partition(|c| c.comes_after());
        if let Err(error) = self.transact(mending, &transaction, &mut done, cx).await {
            done.debts.iter().for_each(|debt| cx.ledger.fall_due(*debt));
            if !mending.was_released {
                self.keep_as_passed(mending, &done, cx).await;
            }
            return (mending.was_released, Some(self.explain(error).await));
        }
        // It is the image now, whatever becomes of other regions, or of this process.
        let product = std::mem::take(&mut self.state().product);
        for debt in product.into_iter().chain(done.debts.drain(..)) {
            if let Err(error) = cx.ledger.settle(debt) {
                return (true, Some(error.into()));
            }
        }
        for change in last {
            if let Err(error) = self.perform(mending, change, &mut done, cx).await {
                return (true, Some(self.explain(error).await));
            }
        }
        (true, None)
    }

    /// Does all that can be taken back, in the order it comes in.
    async fn transact(
        &self,
        mending: &Mending<'_>,
        changes: &[&Change],
        done: &mut Done,
        cx: &PhaseContext<'_>,
    ) -> Result<(), Ec2Error> {
        let is_quiet = !changes.iter().any(|change| change.is_outward());
        let mut also = BTreeMap::new();
        for change in changes {
            match change {
                // Nothing comes between: one call does both.
                Change::Tag { tags, ids } if is_quiet && releases(changes, ids) => {
                    also = tags.clone();
                }
                Change::Release { ids } => {
                    self.release_here(mending, ids, &also, done).await?;
                }
                change => self.perform(mending, change, done, cx).await?,
            }
        }
        Ok(())
    }

    async fn perform(
        &self,
        mending: &Mending<'_>,
        change: &Change,
        done: &mut Done,
        cx: &PhaseContext<'_>,
    ) -> Result<(), Ec2Error> {
        let Some(change) = self.as_it_is_now(mending, change, cx).await? else {
            return Ok(());
        };
        let change = &change;
        if let Some(outward) = Outward::of(change, &mending.image.id) {
            let run = &mending.plan.run;
            let undo = self.undoing(run, Removal::Withdraw(outward));
            let debt = (Due::OnFailure, undo.into());
            let making = self.make_outward(change, mending, debt, &mut done.debts, cx);
            return making.await;
        }
        match change {
            Change::Tag { ids, tags } => {
                done.tags = new_keys(&mending.image, tags);
                self.write_tags(ids.clone(), tags).await
            }
            Change::Describe { image, description } => {
                done.described = true;
                self.set_description(image, description).await
            }
            Change::Deprecate { image, at } => self.deprecate(image, *at).await,
            Change::Protect { image, protection } => self.protect(image, *protection).await,
            Change::Release { ids } => {
                self.release_here(mending, ids, &BTreeMap::new(), done).await
            }
            Change::Share { .. }
            | Change::ShareSnapshot { .. }
            | Change::SetParameter { .. }
            | Change::AddTemplateVersion { .. }
            | Change::SetDefaultVersion { .. }
            // A region without a copy has nothing else to be mended.
            | Change::Copy => Ok(()),
        }
    }

    /// Looks once more at a parameter that is about to be set, and at the lock: others may have it, since it was
    /// looked at. Copies take up to hours.
    async fn as_it_is_now(
        &self,
        mending: &Mending<'_>,
        change: &Change,
        cx: &PhaseContext<'_>,
    ) -> Result<Option<Change>, Ec2Error> {
        let Change::SetParameter { name, image, .. } = change else {
            return Ok(Some(change.clone()));
        };
        let own = Some(mending.image.id.as_str());
        let before = self.parameter_seen(mending.wish, own).await?;
        if let Some(later) = before.as_ref().and_then(|now| now.later.as_ref()) {
            let what = format!("the parameter {name}");
            cx.phase.warn(left_to(&what, &self.region, later));
            return Ok(None);
        }
        if before.as_ref().is_some_and(|now| now.value == *image) {
            return Ok(None);
        }
        mending.home.recheck_lock(cx).await;
        Ok(Some(Change::SetParameter {
            name: name.clone(),
            image: image.clone(),
            before,
        }))
    }

    /// Says that the image is there to stay: from now on `reap` keeps away.
    async fn release_here(
        &self,
        mending: &Mending<'_>,
        ids: &[String],
        also: &BTreeMap<String, String>,
        done: &mut Done,
    ) -> Result<(), Ec2Error> {
        let image = &mending.image;
        self.state().released = Some(Released {
            image: image.id.clone(),
            ids: ids.to_vec(),
            before: image.description.clone(),
        });
        if !also.is_empty() {
            done.tags = new_keys(image, also);
        }
        let mut tags = also.clone();
        tags.extend(tags::of_released());
        self.write_tags(ids.to_vec(), &tags).await
    }

    async fn write_tags(
        &self,
        ids: Vec<String>,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), Ec2Error> {
        let pairs: Vec<_> = tags.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        self.tag(ids, &pairs).await
    }

    async fn deprecate(&self, image: &str, at: OffsetDateTime) -> Result<(), Ec2Error> {
        let at = aws_smithy_types::DateTime::from_secs(at.unix_timestamp().div_euclid(60) * 60);
        let request = self.ec2.enable_image_deprecation();
        let request = request.image_id(image).deprecate_at(at);
        let asking = || async {
            let answer = request.clone().send().await;
            let answer = answer.map_err(|e| self.refused("EnableImageDeprecation", e));
            answer.map(drop)
        };
        let new = [image.to_owned()];
        self.persist(|| self.once_known(&new, asking)).await
    }

    async fn protect(&self, image: &str, protection: Protection) -> Result<(), Ec2Error> {
        let enable = self.ec2.enable_image_deregistration_protection();
        let enable = enable.image_id(image);
        let disable = self.ec2.disable_image_deregistration_protection();
        let disable = disable.image_id(image);
        let asking = || async {
            let operation = protecting(protection);
            match protection {
                Protection::Off => {
                    let answer = disable.clone().send().await;
                    answer.map(drop).map_err(|e| self.refused(operation, e))
                }
                Protection::On | Protection::WithCooldown => {
                    let cooldown = protection == Protection::WithCooldown;
                    let answer = enable.clone().with_cooldown(cooldown).send().await;
                    answer.map(drop).map_err(|e| self.refused(operation, e))
                }
            }
        };
        let new = [image.to_owned()];
        self.persist(|| self.once_known(&new, asking)).await
    }

    /// Has the image stay as one that has passed, which nobody finds by the tags that people pick by.
    async fn keep_as_passed(&self, mending: &Mending<'_>, done: &Done, cx: &PhaseContext<'_>) {
        self.state().released = None;
        let image = &mending.image;
        let mut ids = vec![image.id.clone()];
        ids.extend(image.snapshots.iter().map(|s| s.id.clone()));
        // Another's image has no time of ours.
        if tags::run_in(&image.description).is_some() {
            self.keep(ids.clone(), cx).await;
        }
        if done.described
            && let Err(error) = self.set_description(&image.id, &image.description).await
        {
            // Without its end, `reap` would not know it for one that was never released.
            let error = TargetError::from(error).on_one_line();
            cx.phase.warn(format!(
                "{} in {} may be described as a released image: {error}",
                image.id, self.region
            ));
        }
        if done.tags.is_empty() {
            return;
        }
        let lost = done.tags.iter().map(|key| Tag::builder().key(key).build());
        let request = self.ec2.delete_tags().set_resources(Some(ids));
        let request = request.set_tags(Some(lost.collect()));
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map(drop).map_err(|e| self.refused("DeleteTags", e))
        };
        if let Err(error) = self.persist(asking).await {
            let error = TargetError::from(error).on_one_line();
            cx.phase.warn(format!(
                "{} in {} is not published, and has the manifest's tags: {error}",
                image.id, self.region
            ));
        }
    }
}

/// Returns whether the things are about to be released, all of them.
pub(super) fn releases(changes: &[&Change], tagged: &[String]) -> bool {
    changes.iter().any(|change| {
        matches!(change, Change::Release { ids } if tagged.iter().all(|id| ids.contains(id)))
    })
}

/// Returns the call that protects an image, or does no longer.
pub(super) fn protecting(protection: Protection) -> &'static str {
    match protection {
        Protection::Off => "DisableImageDeregistrationProtection",
        Protection::On | Protection::WithCooldown => "EnableImageDeregistrationProtection",
    }
}

/// Returns which of the tags an image lacks altogether.
fn new_keys(image: &ImageSeen, tags: &BTreeMap<String, String>) -> Vec<String> {
    let keys = tags.keys().filter(|key| !image.tags.contains_key(*key));
    keys.cloned().collect()
}
