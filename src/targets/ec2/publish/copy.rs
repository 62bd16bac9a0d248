//! Copies to other regions, several at a time. Each is asked for with a token made of what is copied,
//! where to and with which key: two that repair the same image make one copy.

use std::time::Duration;

use aws_sdk_ec2::types::{Image, ImageState, ResourceType};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::look::Holder;
use super::seen::{RegionSeen, Seen};
use super::wish::Wish;
use crate::clock::{Instant, sleep};
use crate::ledger::{DebtId, Due};
use crate::plan::BakePlan;
use crate::targets::ec2::debts::Removal;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::image::snapshots_of;
use crate::targets::ec2::{Ec2, tags};
use crate::targets::{PhaseContext, TargetError};

/// How often a copy is asked for anew: a token that made one that is gone by now makes no other.
const ATTEMPTS: u32 = 10;

/// How long a copy is looked for that another asked for just now, as it seems.
const NEW: Duration = Duration::from_secs(10);

/// One copy to be made.
struct Copying<'a> {
    plan: &'a BakePlan,
    wish: &'a Wish,
    image: &'a Image,
    home: &'a Ec2,
}

impl Ec2 {
    /// Copies the image to each region that has no copy; what comes of it is seen there. Returns whether there
    /// was one.
    pub(super) async fn copy_where_there_is_none(
        &self,
        plan: &BakePlan,
        wish: &Wish,
        image: &Image,
        seen: &mut Seen,
        cx: &PhaseContext<'_>,
    ) -> bool {
        let lacks = |region: &&String| {
            matches!(
                seen.regions.get(*region),
                Some(Ok(RegionSeen { image: None, .. }))
            )
        };
        let copying = Copying {
            plan,
            wish,
            image,
            home: self,
        };
        let mut all = Vec::new();
        for region in wish.elsewhere.iter().filter(lacks) {
            all.push(self.copy_to(region, &copying, cx));
        }
        let copied: Vec<_> = futures_util::stream::iter(all)
            .buffer_unordered(wish.copies.at_once.into())
            .collect()
            .await;
        let has_copied = !copied.is_empty();
        seen.regions.extend(copied);
        has_copied
    }

    async fn copy_to(
        &self,
        region: &str,
        copying: &Copying<'_>,
        cx: &PhaseContext<'_>,
    ) -> (String, Result<RegionSeen, TargetError>) {
        let copied = Box::pin(self.there(region).copy(copying, cx)).await;
        (region.to_owned(), copied)
    }

    /// Copies an image to this region, and looks at the copy when it is available.
    async fn copy(
        &self,
        copying: &Copying<'_>,
        cx: &PhaseContext<'_>,
    ) -> Result<RegionSeen, TargetError> {
        self.make_way_for(copying, cx).await?;
        let mut attempt = 1;
        loop {
            let (debts, id) = match self.ask_for_copy(copying, &mut attempt, cx).await {
                Ok(asked) => asked,
                Err(error) => return Err(self.explain(error).await),
            };
            let Copying { plan, wish, .. } = copying;
            let error = match self.wait_until_available(plan, &id, cx).await {
                Ok(copy) => {
                    self.adopt(&copy, plan, debts, cx)?;
                    // The time that it had to answer may be over.
                    let there = copying.home.there(&self.region);
                    let seen = there.look_here(wish, Some(&copy)).await;
                    if seen.is_err() {
                        let mut ids = snapshots_of(&copy);
                        ids.push(id);
                        there.keep(ids, cx).await;
                        there.keep_spare(cx).await?;
                    }
                    return seen;
                }
                Err(error) => error,
            };
            let listed = self.images(vec![tags::filter("image-id", [id.as_str()])]);
            let listed = listed.await.unwrap_or_default();
            let is_gone = listed.is_empty();
            for debt in debts {
                let others = listed.iter().any(|copy| !is_of(copy, plan));
                match others {
                    true => cx.ledger.settle(debt)?,
                    // Nobody is to find half a copy.
                    false => cx.ledger.fall_due(debt),
                }
            }
            if !is_gone || attempt >= ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
        }
    }

    /// Has an older image make way that has the copy's name here, where the manifest says so: the copy has the
    /// name from the next call on, and is what the name means when it is done.
    async fn make_way_for(
        &self,
        copying: &Copying<'_>,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        let Copying {
            plan, image, home, ..
        } = copying;
        match self.holder_of_name(image, &home.region).await? {
            Holder::Nobody | Holder::Copy(_) => Ok(()),
            Holder::Other(_)
                if plan.image.replace && image.name() == Some(plan.image.name.as_str()) =>
            {
                self.make_way(plan, cx).await.map(drop)
            }
            Holder::Other(other) => Err(self.no_copy(&other, image)),
        }
    }

    /// Owes a copy that is there, unless another run has made it: by the same token, EC2 answers both
    /// with one.
    fn adopt(
        &self,
        copy: &Image,
        plan: &BakePlan,
        debts: Vec<DebtId>,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        if !is_of(copy, plan) {
            for debt in debts {
                cx.ledger.settle(debt)?;
            }
            return Ok(());
        }
        if let [snapshots, _] = debts[..] {
            for snapshot in snapshots_of(copy) {
                cx.ledger.learn(snapshots, &snapshot)?;
            }
        }
        self.state().product.extend(debts);
        Ok(())
    }

    /// Asks for a copy until EC2 makes one: so many are made at a time, and no more. Returns the id of
    /// another's where that asked first.
    async fn ask_for_copy(
        &self,
        copying: &Copying<'_>,
        attempt: &mut u32,
        cx: &PhaseContext<'_>,
    ) -> Result<(Vec<DebtId>, String), Ec2Error> {
        loop {
            match self.ask_once(copying, *attempt, cx).await {
                Err(error) if error.is_full() && Instant::now() + self.poll * 16 < cx.until => {
                    let message = format!("{} makes no more copies at a time", self.region);
                    cx.phase.progress(message, None);
                    sleep(self.poll * 8).await;
                }
                Err(error) if error.means_another_asks() => {
                    match self.copy_of_another(copying).await {
                        // It is another's: nothing of it is owed.
                        Some(id) => return Ok((Vec::new(), id)),
                        None if *attempt < ATTEMPTS => *attempt += 1,
                        None => return Err(error),
                    }
                }
                asked => return asked.map(|(debts, id)| (debts.to_vec(), id)),
            }
        }
    }

    /// Looks for a copy that another has just asked for.
    async fn copy_of_another(&self, copying: &Copying<'_>) -> Option<String> {
        let since = Instant::now();
        loop {
            let holder = self.holder_of_name(copying.image, &copying.home.region);
            let copy = match holder.await.ok()? {
                Holder::Copy(copy) => Some(copy),
                Holder::Nobody => None,
                // EC2 may not have heard everywhere that it is gone.
                Holder::Other(old) if self.has_made_way(&old) => None,
                Holder::Other(_) => return None,
            };
            if let Some(copy) = copy {
                let has_failed = copy.state() == Some(&ImageState::Failed);
                let id = copy.image_id?;
                if !has_failed {
                    return Some(id);
                }
                // It would hold the name for ever.
                self.deregister(&id).await.ok()?;
                return None;
            }
            if since.elapsed() > NEW {
                return None;
            }
            sleep(self.poll).await;
        }
    }

    async fn ask_once(
        &self,
        copying: &Copying<'_>,
        attempt: u32,
        cx: &PhaseContext<'_>,
    ) -> Result<([DebtId; 2], String), Ec2Error> {
        let Copying {
            plan,
            wish,
            image,
            home,
        } = copying;
        let source = image.image_id().unwrap_or_default();
        let name = image.name().unwrap_or_default().to_owned();
        let key = wish.encrypt.kms_key_in(&self.region);
        let marks = |role: &str| {
            let mut marks = tags::unreleased(plan, role, home.lifetime());
            marks.extend(tags::inherited(image));
            marks
        };
        let request = self
            .ec2
            .copy_image()
            .client_token(token(source, &self.region, key, attempt))
            .source_image_id(source)
            .source_region(&home.region)
            .name(&name)
            .description(tags::described_by(image, &plan.run))
            .set_encrypted(wish.encrypt.is_on().then_some(true))
            .set_kms_key_id(key.map(str::to_owned))
            .set_snapshot_copy_completion_duration_minutes(
                wish.copies.within_minutes.map(i64::from),
            )
            .tag_specifications(tags::specification(ResourceType::Image, &marks("copy")))
            .tag_specifications(tags::specification(
                ResourceType::Snapshot,
                &marks("snapshot"),
            ));
        let (ec2, there) = (self.clone(), (*home).clone());
        let sources = [source.to_owned()];
        let call = Box::pin(async move {
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("CopyImage", e))
            };
            // It is looked for where it was made, a moment ago.
            let asking = || there.once_known(&sources, asking);
            let answer = ec2.persist(asking).await?;
            let id = answer.image_id.unwrap_or_default();
            ec2.born(&id);
            Ok(id)
        });
        let expected = Some(snapshots_of(image).len());
        let snapshots = self.undoing(&plan.run, Removal::DeleteSnapshots { expected });
        let deregister = self.undoing(&plan.run, Removal::DeregisterImage { name });
        let debts = [
            (Due::OnFailure, snapshots.into()),
            (Due::OnFailure, deregister.into()),
        ];
        cx.ledger.create(debts, Ec2Error::is_refusal, call).await
    }
}

/// Returns whether this run has made a copy.
fn is_of(copy: &Image, plan: &BakePlan) -> bool {
    tags::value(copy.tags(), tags::RUN) == Some(plan.run.as_str())
}

/// Returns the client token of a copy.
fn token(source: &str, region: &str, key: Option<&str>, attempt: u32) -> String {
    let key = key.unwrap_or_default();
    let digest = Sha256::digest(format!("copy\n{source}\n{region}\n{key}\n{attempt}"));
    format!("amibake-{}", hex::encode(&digest[..24]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_s_token_is_of_what_where_and_with_which_key() {
        let one = token("ami-1", "us-east-1", None, 1);
        assert_eq!(one, token("ami-1", "us-east-1", None, 1));
        for other in [
            token("ami-2", "us-east-1", None, 1),
            token("ami-1", "us-east-2", None, 1),
            token("ami-1", "us-east-1", Some("alias/ami"), 1),
            token("ami-1", "us-east-1", None, 2),
        ] {
            assert_ne!(one, other);
        }
        assert!(one.len() <= 64 && one.is_ascii());
    }
}
