//! Publication: what a manifest wants of an image that has passed is compared with what the account
//! has, region by region, and mended. A build, a repair, `publish` and `resume` all do this and
//! nothing else.
//!
//! Each region is a transaction of its own. Where it fails, what others could act on is taken back
//! and the image, or its copy, stays as one that has passed, for a while; the other regions go on.

mod ahead;
mod check;
mod claim;
mod copy;
mod differences;
mod look;
mod mend;
mod outward;
mod seen;
mod wish;
mod withdraw;

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Image;
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::image::snapshots_of;
use super::{Ec2, tags};
use crate::clock::Instant;
use crate::exit::Leftover;
use crate::plan::BakePlan;
use crate::run::rfc3339;
use crate::shell::quoted;
use crate::targets::{Fault, Finished, PhaseContext, Published, TargetError, Unfinished};
pub(super) use ahead::Foreseen;
pub(super) use check::{NameHolder, unusable_by_others};
pub(crate) use differences::{Change, Difference, differences, forgotten, overtaken, too_late};
pub(super) use look::built;
pub(super) use mend::KEPT;
use mend::Mending;
pub(super) use outward::Outward;
use seen::{RegionSeen, Seen};
pub(crate) use wish::Wish;

/// How a region ended.
struct Ended {
    region: String,
    /// The image or copy there, as far as there is one.
    id: Option<String>,
    error: Option<TargetError>,
    /// Whether the image is released there.
    is_released: bool,
}

impl Ec2 {
    /// Publishes an image that a build of this run has made and that has passed.
    pub(super) async fn publish_new(
        &self,
        plan: &BakePlan,
        image: &Image,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        let wish = Wish::of(plan, &self.region).since(Some(plan.run.began()));
        let seen = self.look_at(&wish, image).await;
        self.publish_seen(plan, &wish, image, seen, cx).await
    }

    /// Publishes an image that was there as the manifest wants it; what is so already costs looks alone.
    /// Where that cannot be for the manifest's own fault, nothing is begun.
    pub(super) async fn publish_old(
        &self,
        plan: &BakePlan,
        image: &Image,
        began: Option<OffsetDateTime>,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        let wish = Wish::of(plan, &self.region).since(began);
        let mut seen = self.look_at(&wish, image).await;
        let is_wrong = |looked: &Result<RegionSeen, TargetError>| matches!(looked, Err(error) if error.fault == Fault::Manifest);
        let mut looked = seen.regions.iter();
        let wrong = looked.find(|(_, looked)| is_wrong(looked));
        let wrong = wrong.map(|(region, _)| region.clone());
        if let Some(Err(error)) = wrong.and_then(|region| seen.regions.remove(&region)) {
            return Err(error);
        }
        self.publish_seen(plan, &wish, image, seen, cx).await
    }

    async fn publish_seen(
        &self,
        plan: &BakePlan,
        wish: &Wish,
        image: &Image,
        mut seen: Seen,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        let copying = self.copy_where_there_is_none(plan, wish, image, &mut seen, cx);
        if copying.await {
            self.look_again(wish, image, &mut seen).await;
        }
        let told = overtaken(wish, &seen).into_iter();
        let told = told.chain(forgotten(wish, &seen));
        for left in told.chain(too_late(wish, &seen)) {
            cx.phase.warn(left);
        }
        let found = differences(wish, &seen);
        tell_taken_back(wish, image, &found, cx);
        let mut changes: BTreeMap<String, Vec<Change>> = BTreeMap::new();
        for Difference { region, change } in found {
            changes.entry(region).or_default().push(change);
        }
        let mut mending = Vec::new();
        for region in wish.regions() {
            let changes = changes.remove(region).unwrap_or_default();
            let there = seen.regions.remove(region);
            mending.push(self.end_region((plan, wish), image, region, there, changes, cx));
        }
        let ended = join_all(mending).await;
        Ok(self.published(plan, image, ended, cx))
    }

    /// Copies take their time, in which others may have changed what was seen before.
    async fn look_again(&self, wish: &Wish, image: &Image, seen: &mut Seen) {
        let id = image.image_id().unwrap_or_default();
        let now = self.image(id).await;
        let now = now.unwrap_or_else(|_| image.clone());
        for (region, looked) in self.look_at(wish, &now).await.regions {
            if matches!(seen.regions.get(&region), Some(Ok(_))) {
                seen.regions.insert(region, looked);
            }
        }
    }

    async fn end_region(
        &self,
        (plan, wish): (&BakePlan, &Wish),
        image: &Image,
        region: &str,
        seen: Option<Result<RegionSeen, TargetError>>,
        changes: Vec<Change>,
        cx: &PhaseContext<'_>,
    ) -> Ended {
        let seen = match seen {
            Some(Ok(seen)) => seen.image,
            Some(Err(error)) => return self.not_looked_at(image, region, error, cx).await,
            None => None,
        };
        let Some(seen) = seen else {
            let error = TargetError::new(format!("{region} has no copy of the image"));
            return self.not_looked_at(image, region, error, cx).await;
        };
        let id = Some(seen.id.clone());
        let mending = Mending {
            home: self,
            plan,
            wish,
            was_released: tags::says_released(&seen.tags),
            image: seen,
            changes,
        };
        let there = self.there(region);
        let (is_released, mut error) = Box::pin(there.mend(&mending, cx)).await;
        let is_by_copy = region != self.region && plan.image.replace;
        if is_by_copy && !mending.was_released {
            let run = tags::run_in(&mending.image.description);
            let run = run.as_ref().unwrap_or(&plan.run);
            let ending = there.end_replacement_by_copy(run, plan, is_released, cx);
            error = error.or(ending.await.err());
        }
        Ended {
            region: region.to_owned(),
            id,
            error,
            is_released,
        }
    }

    /// Nothing was done in a region of which nothing is known. The image itself stays.
    async fn not_looked_at(
        &self,
        image: &Image,
        region: &str,
        error: TargetError,
        cx: &PhaseContext<'_>,
    ) -> Ended {
        let is_home = region == self.region;
        let is_released = is_home && tags::value(image.tags(), tags::STATE) == Some(tags::RELEASED);
        let is_ours = tags::run_in(image.description().unwrap_or_default()).is_some();
        if is_home && is_ours && !is_released {
            let mut ids = snapshots_of(image);
            ids.extend(image.image_id.clone());
            self.keep(ids, cx).await;
        }
        Ended {
            region: region.to_owned(),
            id: image.image_id.clone().filter(|_| is_home),
            error: Some(error),
            is_released,
        }
    }

    /// Has an image that has passed stay for a while.
    pub(super) async fn keep(&self, ids: Vec<String>, cx: &PhaseContext<'_>) {
        let what = ids.join(", ");
        if let Err(error) = self.mark(ids, tags::PASSED, KEPT).await {
            let error = TargetError::from(error).on_one_line();
            cx.phase.warn(format!(
                "{what} in {} could not be marked as what has passed: {error}",
                self.region
            ));
        }
    }

    /// Says what came of it, and how it goes on where it is not complete.
    fn published(
        &self,
        plan: &BakePlan,
        image: &Image,
        ended: Vec<Ended>,
        cx: &PhaseContext<'_>,
    ) -> Published {
        let id = image.image_id().unwrap_or_default();
        let mut finished = None;
        let (mut copies, mut kept, mut failed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for end in ended {
            let is_home = end.region == self.region;
            if let Some(there) = end.id.as_ref().filter(|_| end.is_released) {
                match is_home {
                    true => finished = Some(image.name().unwrap_or_default().to_owned()),
                    false => _ = copies.insert(end.region.clone(), there.clone()),
                }
            }
            if let Some(error) = end.error {
                kept.push(self.goes_on_with(
                    plan,
                    id,
                    &end.region,
                    end.id.as_deref(),
                    end.is_released,
                ));
                failed.push((end.region, error));
            }
        }
        let image = finished.map(|name| Finished {
            id: id.to_owned(),
            name,
            copies,
        });
        let unfinished = incomplete(id, failed, kept, cx);
        Published { image, unfinished }
    }

    /// Names what is not published in a region, with the command that goes on.
    pub(in crate::targets::ec2) fn goes_on_with(
        &self,
        plan: &BakePlan,
        id: &str,
        region: &str,
        there: Option<&str>,
        is_released: bool,
    ) -> Leftover {
        let until = rfc3339(OffsetDateTime::now_utc() + KEPT);
        let what = match there {
            Some(there) if is_released => {
                format!("image {there} in {region}, not all of whose publication is done")
            }
            Some(there) => format!(
                "image {there} in {region}, which has passed and is not published (kept until {until})"
            ),
            None => format!("{region} without a copy of {id}"),
        };
        Leftover {
            what,
            remove_with: resume(id, &self.region, plan),
        }
    }

    /// Returns EC2 in a region of a publication, with time to answer: one that is down keeps no other
    /// from being finished.
    fn there(&self, region: &str) -> Self {
        let there = self.in_region(region);
        if region != self.region {
            let (until, stage) = {
                let here = self.state();
                (here.until, here.stage)
            };
            let patience = Instant::now() + PATIENCE;
            let mut state = there.state();
            state.until = until.map(|until| until.min(patience));
            state.stage = stage;
        }
        there
    }
}

/// Returns the plan as of the run that has made an image: what it is published as has that run's time.
pub(super) fn built_as(plan: &BakePlan, image: &Image) -> BakePlan {
    let run = tags::builder_of(image);
    run.map_or_else(|| plan.clone(), |run| plan.as_of(&run))
}

/// Says what a build that uses an image again takes back: `amibake publish` may have put an older one there.
fn tell_taken_back(wish: &Wish, image: &Image, found: &[Difference], cx: &PhaseContext<'_>) {
    let is_released = tags::value(image.tags(), tags::STATE) == Some(tags::RELEASED);
    if !is_released || wish.began.is_none() {
        return;
    }
    for difference in found.iter().filter(|d| d.change.names_another()) {
        cx.phase.warn(format!(
            "{difference}: what somebody, or `amibake publish`, has put there stands until the next build"
        ));
    }
}

/// How long a call to another region is made again where it is not answered.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5 * 60);

/// Returns the command that goes on with a publication, which needs nothing that is sensitive.
pub(super) fn resume(id: &str, region: &str, plan: &BakePlan) -> String {
    let mut words = vec![format!("amibake resume --region {region}")];
    for (name, value) in &plan.given.values {
        words.push(format!("--var {}", quoted(&format!("{name}={value}"))));
    }
    let manifest = plan.manifest.display().to_string();
    words.push(format!("{id} {}", quoted(&manifest)));
    words.join(" ")
}

/// Returns the error of a publication that is not complete: the first region's, and that the image is kept.
fn incomplete(
    id: &str,
    mut failed: Vec<(String, TargetError)>,
    kept: Vec<Leftover>,
    cx: &PhaseContext<'_>,
) -> Option<Unfinished> {
    let regions: Vec<&str> = failed.iter().map(|(region, _)| region.as_str()).collect();
    let message = format!(
        "{id} is not published as the manifest wants it in {}",
        regions.join(", ")
    );
    for (region, error) in failed.iter().skip(1) {
        cx.phase.warn(format!("{region}: {}", error.on_one_line()));
    }
    if failed.is_empty() {
        return None;
    }
    let (_, first) = failed.swap_remove(0);
    let hint = first
        .hint()
        .map(|hint| format!("{hint}\n"))
        .unwrap_or_default();
    let error = TargetError::new(message).because(first).with_hint(format!(
        "{hint}the image has passed and is kept; what was shared for a moment, others may have used"
    ));
    Some(Unfinished { error, kept })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{self, Given, TargetKind};
    use crate::plan::{self, OnError};

    /// A value from the environment is as good as one of the command line: another shell has none of them.
    #[test]
    fn the_command_that_goes_on_is_whole_and_shows_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my web.yaml");
        let text = "name: web\nvariables:\n  greeting: {}\n  size: {default: small}\n  stage: {default: test}\n  \
                    token: {sensitive: true}\nsource: {ami: ami-0123456789abcdef0}\n";
        std::fs::write(&path, text).unwrap();
        let layer = |pairs: &[(&str, &str)]| {
            let pairs = pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            pairs.collect::<BTreeMap<String, String>>()
        };
        let given = Given::new(vec![
            layer(&[("greeting", "it's on"), ("token", "s3cret")]),
            layer(&[("stage", "live"), ("other", "nobody's")]),
        ]);
        let now = OffsetDateTime::now_utc();
        let manifest = manifest::load(&path, TargetKind::Ec2, &given, now).unwrap();
        let plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let path = path.display();
        assert_eq!(
            resume("ami-1", "eu-west-1", &plans[0]),
            format!(
                "amibake resume --region eu-west-1 --var 'greeting=it'\\''s on' --var stage=live ami-1 '{path}'"
            )
        );
    }
}
