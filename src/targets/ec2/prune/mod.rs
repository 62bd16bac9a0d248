//! Removing old images of a manifest: by how many are kept and how old they are, and never one that
//! something uses, or that one goes back to. A build removes none of these.

mod look;
mod remove;
mod uses;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Image, ImageState};
use time::OffsetDateTime;

use super::error::Ec2Error;
use super::image::snapshots_of;
use super::{Ec2, tags};
use crate::exit::Leftover;
use crate::run::{parse_rfc3339, rfc3339};
use crate::targets::TargetError;
use uses::Uses;

/// Which images are old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// So many of each architecture stay, the newest.
    pub(crate) keep: Option<usize>,
    /// Younger ones stay.
    pub(crate) older_than: Option<Duration>,
    /// One that was launched since stays.
    pub(crate) launched_within: Duration,
}

/// What becomes of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is not old.
    Stays,
    /// It is old, and this is in the way, or it would not go.
    Refused(String),
    /// It is old, and goes.
    Goes,
}

/// An image that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) region: String,
    pub(crate) image_id: String,
    pub(crate) name: String,
    /// `2026-07-27T10:15:00Z`
    pub(crate) made: String,
    pub(crate) fate: Fate,
}

/// An image that should have gone, and has not gone whole.
#[derive(Debug)]
pub(crate) struct Unpruned {
    pub(crate) error: TargetError,
    /// What of it is still there although it is gone itself.
    pub(crate) left: Vec<Leftover>,
}

impl From<TargetError> for Unpruned {
    fn from(error: TargetError) -> Self {
        let left = Vec::new();
        Self { error, left }
    }
}

/// A released image of a manifest, as far as that counts here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Released {
    image_id: String,
    name: String,
    arch: String,
    made: OffsetDateTime,
    last_launched: Option<OffsetDateTime>,
    is_protected: bool,
}

impl Released {
    /// Returns one of the manifest, if it is: tags say so, and the description, which whoever can
    /// write tags cannot write, says that amibake has released it.
    fn of(image: &Image, manifest: &str) -> Option<Self> {
        let is_named = tags::value(image.tags(), tags::MANIFEST) == Some(manifest);
        let is_released = tags::value(image.tags(), tags::STATE) == Some(tags::RELEASED);
        let is_ours = tags::content_of(image.description()?).is_some();
        let is_there = image.state() == Some(&ImageState::Available);
        if !(is_named && is_released && is_ours && is_there) {
            return None;
        }
        Some(Self {
            image_id: image.image_id()?.to_owned(),
            name: image.name().unwrap_or_default().to_owned(),
            arch: image.architecture().map_or("", |a| a.as_str()).to_owned(),
            made: image.creation_date().and_then(parse_rfc3339)?,
            last_launched: image.last_launched_time().and_then(parse_rfc3339),
            is_protected: image
                .deregistration_protection()
                .is_some_and(|state| state.starts_with("enabled")),
        })
    }
}

impl Ec2 {
    /// Judges the images of a manifest in this region, oldest first; with `does_remove`, removes those
    /// that go, and leaves the rest of them when one could not be.
    ///
    /// # Errors
    /// That not all uses could be looked for: nothing is removed then.
    pub(crate) async fn prune(
        &self,
        manifest: &str,
        policy: Policy,
        does_remove: bool,
    ) -> Result<(Vec<Judged>, Vec<Unpruned>), TargetError> {
        self.be_patient();
        let of_manifest = tags::filter(&format!("tag:{}", tags::MANIFEST), [manifest]);
        let found = self.images(vec![of_manifest]).await?;
        let mut images: Vec<Released> = found
            .iter()
            .filter_map(|image| Released::of(image, manifest))
            .collect();
        images.sort_by(|a, b| (a.made, &a.image_id).cmp(&(b.made, &b.image_id)));
        let old = old(&images, policy, OffsetDateTime::now_utc());
        let uses = match old.is_empty() {
            true => Uses::default(),
            false => {
                self.uses(
                    &images
                        .iter()
                        .map(|i| i.image_id.as_str())
                        .collect::<Vec<_>>(),
                )
                .await?
            }
        };
        let mut judged = Vec::new();
        let mut errors = Vec::new();
        for image in &images {
            let mut fate = fate(image, &old, &images, &uses, policy);
            if does_remove
                && fate == Fate::Goes
                && let Err(error) = self.remove(&image.image_id, &found).await
            {
                // What is left of one is left when it is gone itself.
                if error.left.is_empty() {
                    fate = Fate::Refused("it could not be removed".to_owned());
                }
                errors.push(error);
            }
            judged.push(Judged {
                region: self.region.clone(),
                image_id: image.image_id.clone(),
                name: image.name.clone(),
                made: rfc3339(image.made),
                fate,
            });
        }
        Ok((judged, errors))
    }

    /// Returns what would launch an image, in words: launch templates and SSM parameters.
    pub(super) async fn named_by(&self, id: &str) -> Result<Option<String>, Ec2Error> {
        let mut uses = Uses::default();
        self.used_by_templates(&mut uses).await?;
        self.used_by_parameters(&[id], &mut uses).await?;
        let by = uses.of(id).join(", ");
        Ok((!by.is_empty()).then_some(by))
    }

    /// Returns what uses an image here, in words. Whom it is shared with is not seen from here, and does not
    /// count.
    pub(super) async fn used_by(&self, id: &str) -> Result<Vec<String>, TargetError> {
        let mut uses = Uses::default();
        for (what, looked) in self.look_for_uses_here(&[id], &mut uses).await {
            if let Err(error) = looked {
                let message = format!("whether {id} is used cannot be told without {what}");
                return Err(TargetError::new(message).because(TargetError::from(error)));
            }
        }
        Ok(uses.of(id).into_iter().map(str::to_owned).collect())
    }

    /// Returns the snapshots of an image of the account's.
    pub(super) async fn disks(&self, id: &str) -> Vec<String> {
        let found = self.images(vec![tags::filter("image-id", [id])]).await;
        let found = found.unwrap_or_default();
        found.first().map(snapshots_of).unwrap_or_default()
    }

    /// Returns what uses these images: by EC2's own word where it has one, and by looking.
    async fn uses(&self, ids: &[&str]) -> Result<Uses, TargetError> {
        let mut uses = Uses::default();
        for (what, looked) in self.look_for_uses(ids, &mut uses).await {
            if let Err(error) = looked {
                let error = TargetError::from(error);
                return Err(TargetError::new(format!(
                    "whether an image is used cannot be told without {what}: nothing was removed"
                ))
                .because(error));
            }
        }
        Ok(uses)
    }
}

/// Returns the ids of images that are old by a policy.
fn old(images: &[Released], policy: Policy, now: OffsetDateTime) -> Vec<String> {
    let mut of_arch: BTreeMap<&str, Vec<&Released>> = BTreeMap::new();
    for image in images {
        of_arch.entry(&image.arch).or_default().push(image);
    }
    let mut old = Vec::new();
    for group in of_arch.values() {
        // The newest stays, whatever was asked for: it is what is there.
        let keep = policy.keep.unwrap_or(1).max(1);
        let beyond = &group[..group.len().saturating_sub(keep)];
        let is_aged =
            |image: &&&Released| policy.older_than.is_none_or(|age| image.made < now - age);
        old.extend(
            beyond
                .iter()
                .filter(is_aged)
                .map(|image| image.image_id.clone()),
        );
    }
    old
}

fn fate(image: &Released, old: &[String], all: &[Released], uses: &Uses, policy: Policy) -> Fate {
    if !old.contains(&image.image_id) {
        return Fate::Stays;
    }
    let used = uses.of(&image.image_id);
    if !used.is_empty() {
        return Fate::Refused(format!("used by {}", used.join(", ")));
    }
    if image.is_protected {
        return Fate::Refused("protected against deregistration".to_owned());
    }
    let since = OffsetDateTime::now_utc() - policy.launched_within;
    if let Some(at) = image.last_launched.filter(|at| *at > since) {
        return Fate::Refused(format!("launched at {}", rfc3339(at)));
    }
    if let Some(newer) = goes_back_here(image, all, uses) {
        return Fate::Refused(format!("what one goes back to from {newer}, which is used"));
    }
    Fate::Goes
}

/// Returns the image that is used and has this one as its predecessor.
fn goes_back_here<'a>(image: &Released, all: &'a [Released], uses: &Uses) -> Option<&'a str> {
    let mut later = all
        .iter()
        .filter(|other| other.arch == image.arch)
        .skip_while(|other| other.image_id != image.image_id);
    let successor = later.nth(1)?;
    let is_used = !uses.of(&successor.image_id).is_empty();
    is_used.then_some(successor.image_id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-07-30 00:00:00 UTC);
    const DAY: Duration = Duration::from_secs(86_400);

    fn image(day: u8, arch: &str) -> Released {
        Released {
            image_id: format!("ami-{arch}{day}"),
            name: format!("web-{day}"),
            arch: arch.to_owned(),
            made: datetime!(2026-07-01 00:00:00 UTC) + DAY * u32::from(day - 1),
            last_launched: None,
            is_protected: false,
        }
    }

    fn policy(keep: Option<usize>, days: Option<u32>) -> Policy {
        Policy {
            keep,
            older_than: days.map(|days| DAY * days),
            launched_within: DAY * 30,
        }
    }

    #[test]
    fn what_is_old_is_beyond_the_newest_of_its_architecture_and_as_old_as_that() {
        let images = [1, 10, 20, 29].map(|day| image(day, "x"));
        let arm = [5].map(|day| image(day, "a"));
        let all: Vec<Released> = images.into_iter().chain(arm).collect();
        let old = |keep, days| old(&all, policy(keep, days), NOW);
        assert_eq!(old(Some(2), None), ["ami-x1", "ami-x10"]);
        assert_eq!(old(Some(2), Some(25)), ["ami-x1"]);
        assert_eq!(old(None, Some(15)), ["ami-x1", "ami-x10"]);
        assert_eq!(old(Some(9), Some(1)), Vec::<String>::new());
        let newest_stays = old(Some(0), Some(0));
        assert_eq!(newest_stays, ["ami-x1", "ami-x10", "ami-x20"]);
    }

    #[test]
    fn one_that_is_used_or_gone_back_to_is_refused_with_the_reason() {
        let mut all: Vec<Released> = [1, 2, 3, 4, 5].map(|day| image(day, "x")).into();
        all[0].is_protected = true;
        let mut uses = Uses::default();
        uses.add("ami-x3", "instance i-1");
        let policy = policy(Some(1), None);
        let old = old(&all, policy, NOW);
        let fate = |n: usize| fate(&all[n], &old, &all, &uses, policy);
        assert_eq!(
            fate(0),
            Fate::Refused("protected against deregistration".into())
        );
        let back = "what one goes back to from ami-x3, which is used";
        assert_eq!(fate(1), Fate::Refused(back.into()));
        assert_eq!(fate(2), Fate::Refused("used by instance i-1".into()));
        assert_eq!(fate(3), Fate::Goes);
        assert_eq!(fate(4), Fate::Stays);
    }

    #[test]
    fn tags_alone_make_no_image_the_manifest_s() {
        let image = |description: &str| {
            let tag = |k: &str, v: &str| aws_sdk_ec2::types::Tag::builder().key(k).value(v).build();
            Image::builder()
                .image_id("ami-1")
                .state(ImageState::Available)
                .creation_date("2026-07-27T10:20:00.000Z")
                .description(description)
                .tags(tag(tags::MANIFEST, "web"))
                .tags(tag(tags::STATE, tags::RELEASED))
                .build()
        };
        let mark = format!("web [amibake content {}]", "0".repeat(40));
        let is_ours = |d: &str, m: &str| Released::of(&image(d), m).is_some();
        assert!(!is_ours("the one in production", "web"));
        assert!(is_ours(&mark, "web"));
        assert!(!is_ours(&mark, "db"));
    }
}
