//! Looking at a published image: what each region has of it. Reads alone.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;

use aws_sdk_ec2::types::{Image, ImageState, LaunchTemplateVersion, Tag};
use aws_smithy_types::DateTime;
use futures_util::future::{join_all, join3, try_join, try_join_all};
use time::OffsetDateTime;

use super::claim::claimed;
use super::seen::{
    ImageSeen, ParameterSeen, RegionSeen, Seen, SnapshotSeen, TemplateSeen, VersionSeen,
};
use super::wish::Wish;
use crate::manifest::{Protection, TemplateName};
use crate::run::parse_rfc3339;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::image::snapshots_of;
use crate::targets::ec2::ours::in_time;
use crate::targets::ec2::{Ec2, Stage, tags};
use crate::targets::{Fault, TargetError};

/// What has an image's name in another region.
#[derive(Debug)]
pub(super) enum Holder {
    Nobody,
    Copy(Image),
    Other(Image),
}

impl Ec2 {
    /// Looks at an image of this region and at its copies, in all regions at once.
    pub(crate) async fn look_at(&self, wish: &Wish, image: &Image) -> Seen {
        let mut looking = Vec::new();
        for region in wish.regions() {
            looking.push(self.look_in(region, wish, image));
        }
        let now = OffsetDateTime::now_utc();
        let made = image.creation_date().and_then(parse_rfc3339);
        let regions: BTreeMap<_, _> = join_all(looking).await.into_iter().collect();
        Seen {
            at: now,
            made: made.unwrap_or(now),
            regions,
        }
    }

    async fn look_in(
        &self,
        region: &str,
        wish: &Wish,
        image: &Image,
    ) -> (String, Result<RegionSeen, TargetError>) {
        let there = self.there(region);
        let seen = match region == self.region {
            true => there.look_here(wish, Some(image)).await,
            false => self.look_for_copy(&there, wish, image).await,
        };
        (region.to_owned(), seen)
    }

    async fn look_for_copy(
        &self,
        there: &Self,
        wish: &Wish,
        image: &Image,
    ) -> Result<RegionSeen, TargetError> {
        let copy = match self.holder_there(there, image).await? {
            Holder::Other(other) if !wish.replaces => return Err(there.no_copy(&other, image)),
            Holder::Other(_) | Holder::Nobody => None,
            Holder::Copy(copy) => Some(copy),
        };
        // One that is pending is waited for by whoever asks for it again.
        let copy = copy.filter(|copy| copy.state() == Some(&ImageState::Available));
        there.look_here(wish, copy.as_ref()).await
    }

    /// Returns what has an image's name in another region. One that is down has time to answer; what is no region, or
    /// is not enabled, has none.
    async fn holder_there(&self, there: &Self, image: &Image) -> Result<Holder, TargetError> {
        let stage = std::mem::replace(&mut there.state().stage, Stage::Beginning);
        let first = there.holder_of_name(image, &self.region).await;
        there.state().stage = stage;
        let error = match first {
            Ok(holder) => return Ok(holder),
            Err(error) => error,
        };
        let is_silence = error.is_silence();
        let error = self.refused_by(&there.region, error).await;
        if !is_silence || error.fault == Fault::Manifest {
            return Err(error);
        }
        Ok(there.holder_of_name(image, &self.region).await?)
    }

    /// Returns what has an image's name in this region. That it is a copy EC2 says: whoever can write tags
    /// cannot write what it was copied from.
    pub(super) async fn holder_of_name(
        &self,
        image: &Image,
        home: &str,
    ) -> Result<Holder, Ec2Error> {
        let name = image.name().unwrap_or_default();
        let named = self.images(vec![tags::filter("name", [name])]).await?;
        let Some(found) = named.into_iter().next() else {
            return Ok(Holder::Nobody);
        };
        let is_copy = found.source_image_id() == image.image_id()
            && found.source_image_region() == Some(home);
        Ok(match is_copy {
            true => Holder::Copy(found),
            false => Holder::Other(found),
        })
    }

    /// Returns the error for an image that has a copy's name here.
    pub(super) fn no_copy(&self, other: &Image, image: &Image) -> TargetError {
        TargetError::new(format!(
            "{} in {} has the name {}, and is no copy of {}",
            other.image_id().unwrap_or_default(),
            self.region,
            image.name().unwrap_or_default(),
            image.image_id().unwrap_or_default(),
        ))
        .with_hint("deregister it, or give the image another name")
    }

    /// Looks at all that a manifest wants of an image in this region.
    pub(super) async fn look_here(
        &self,
        wish: &Wish,
        image: Option<&Image>,
    ) -> Result<RegionSeen, TargetError> {
        let own = image.and_then(Image::image_id);
        let image = async {
            match image {
                Some(image) => Ok(Some(self.seen_of(wish, image).await?)),
                None => Ok::<_, Ec2Error>(None),
            }
        };
        // Each may ask for what it finds there.
        let (image, parameter, template) = join3(
            image,
            Box::pin(self.parameter_seen(wish, own)),
            Box::pin(self.template_seen(wish, own)),
        )
        .await;
        let parameter = parameter?;
        if let (Some(name), Some(now)) = (&wish.parameter, &parameter) {
            self.check_type(name, now)?;
        }
        Ok(RegionSeen {
            image: image?,
            parameter,
            template: template?,
        })
    }

    async fn seen_of(&self, wish: &Wish, image: &Image) -> Result<ImageSeen, Ec2Error> {
        let id = image.image_id().unwrap_or_default().to_owned();
        let launches = async {
            match wish.share {
                Some(_) => self.launch_permissions(&id).await,
                None => Ok(BTreeSet::new()),
            }
        };
        let (snapshots, grants) = try_join(self.snapshots_seen(wish, image), launches).await?;
        Ok(ImageSeen {
            id,
            description: image.description().unwrap_or_default().to_owned(),
            tags: table(image.tags()),
            snapshots,
            grants,
            deprecated: image.deprecation_time().and_then(parse_rfc3339),
            protection: image.deregistration_protection().map(protection),
        })
    }

    async fn snapshots_seen(
        &self,
        wish: &Wish,
        image: &Image,
    ) -> Result<Vec<SnapshotSeen>, Ec2Error> {
        let ids = snapshots_of(image);
        let ids = ids.iter().map(String::as_str);
        let listed = self.snapshots_by(vec![tags::filter("snapshot-id", ids)]);
        let seen = listed.await?.into_iter().map(|snapshot| async move {
            let id = snapshot.snapshot_id.clone().unwrap_or_default();
            let grants = match wish.share {
                Some(_) => self.volume_permissions(&id).await?,
                None => BTreeSet::new(),
            };
            Ok(SnapshotSeen {
                id,
                tags: table(snapshot.tags()),
                grants,
            })
        });
        try_join_all(seen).await
    }

    /// Returns what the manifest's parameter has now. Of `own`, the image that is published, nobody asks whose
    /// build it is of.
    pub(super) async fn parameter_seen(
        &self,
        wish: &Wish,
        own: Option<&str>,
    ) -> Result<Option<ParameterSeen>, Ec2Error> {
        let Some(name) = &wish.parameter else {
            return Ok(None);
        };
        let Some(mut now) = self.parameter_now(name).await? else {
            return Ok(None);
        };
        let as_of = self.parameter_as_of(name, &now);
        now.later = self.later_build(wish, own, &now.value, as_of).await?;
        Ok(Some(now))
    }

    /// Returns when the build began that has put into a parameter what it has, where it says so. Who may not ask
    /// goes by the image.
    async fn parameter_as_of(
        &self,
        name: &str,
        now: &ParameterSeen,
    ) -> Result<Option<OffsetDateTime>, Ec2Error> {
        let described = match self.parameter_described(name).await {
            Err(error) if error.is_denied() => None,
            described => described?,
        };
        let described = described.filter(|described| described.version() == now.version);
        Ok(described.and_then(|described| {
            let written = described.last_modified_date().map(DateTime::secs);
            claimed(described.description(), &now.value, written)
        }))
    }

    /// Returns an image that something names, if the build that has put it there began later than the one that
    /// publishes. Where that does not say when it began, the image does: of a copy, the one that it was copied from.
    async fn later_build(
        &self,
        wish: &Wish,
        own: Option<&str>,
        named: &str,
        as_of: impl Future<Output = Result<Option<OffsetDateTime>, Ec2Error>>,
    ) -> Result<Option<String>, Ec2Error> {
        let is_other = named.starts_with("ami-") && own != Some(named);
        let Some(began) = wish.began.filter(|_| is_other) else {
            return Ok(None);
        };
        if let Some(theirs) = as_of.await? {
            return Ok((theirs > began).then(|| named.to_owned()));
        }
        let found = self.images(vec![tags::filter("image-id", [named])]).await?;
        let Some(image) = found.into_iter().next() else {
            return Ok(None);
        };
        let original = self.original_of(&image).await;
        let built = built(original.as_ref().map_or(&image, |(_, original)| original));
        Ok(built.is_some_and(|at| at > began).then(|| named.to_owned()))
    }

    /// Returns what an image of this region is a copy of, and where that is, if this account has it still.
    pub(in crate::targets::ec2) async fn original_of(
        &self,
        image: &Image,
    ) -> Option<(String, Image)> {
        let (id, region) = (image.source_image_id()?, image.source_image_region()?);
        let there = self.in_region(region);
        let asked = there.images(vec![tags::filter("image-id", [id])]).await;
        Some((region.to_owned(), asked.ok()?.into_iter().next()?))
    }

    async fn template_seen(
        &self,
        wish: &Wish,
        own: Option<&str>,
    ) -> Result<Option<TemplateSeen>, TargetError> {
        let Some(wanted) = wish.template_in(&self.region) else {
            return Ok(None);
        };
        let versions = self.template_versions(&wanted.template).await?;
        let Some(mut template) = template(&versions) else {
            return Err(no_template(&wanted.template, &self.region));
        };
        let counts = match wanted.set_default {
            true => &template.default,
            false => &template.latest,
        };
        let as_of = ready(Ok(counts.as_of));
        template.later = self.later_build(wish, own, &counts.image, as_of).await?;
        Ok(Some(template))
    }
}

/// Returns when the build began that an image is of: as its run's name says, where that can be, or when
/// it was made.
pub(in crate::targets::ec2) fn built(image: &Image) -> Option<OffsetDateTime> {
    let made = image.creation_date().and_then(parse_rfc3339);
    let run = tags::builder_of(image);
    // A tag is anybody's to write: no build ends before it begins.
    let of_run = run.filter(|run| in_time(run, made.map(OffsetDateTime::unix_timestamp)));
    of_run.map(|run| run.began()).or(made)
}

/// Returns the error for a launch template that a region does not have.
pub(super) fn no_template(template: &TemplateName, region: &str) -> TargetError {
    TargetError::manifest(format!(
        "there is no launch template {template} in {region}"
    ))
    .with_hint("amibake adds versions to launch templates, and makes none")
}

fn template(versions: &[LaunchTemplateVersion]) -> Option<TemplateSeen> {
    let seen = |version: &LaunchTemplateVersion| {
        let data = version.launch_template_data();
        let image = data.and_then(|data| data.image_id()).unwrap_or_default();
        let written = version.create_time().map(DateTime::secs);
        VersionSeen {
            number: version.version_number().unwrap_or_default(),
            image: image.to_owned(),
            as_of: claimed(version.version_description(), image, written),
        }
    };
    let latest = versions.iter().max_by_key(|v| v.version_number())?;
    let default = versions.iter().find(|v| v.default_version() == Some(true));
    Some(TemplateSeen {
        id: latest.launch_template_id()?.to_owned(),
        latest: seen(latest),
        default: seen(default.unwrap_or(latest)),
        later: None,
    })
}

/// EC2 says `enabled-with-cooldown`, `enabled-without-cooldown`, or that it is not.
fn protection(said: &str) -> Protection {
    match said {
        "enabled-with-cooldown" => Protection::WithCooldown,
        said if said.starts_with("enabled") => Protection::On,
        _ => Protection::Off,
    }
}

fn table(tags: &[Tag]) -> BTreeMap<String, String> {
    let pairs = tags.iter().filter_map(|t| Some((t.key()?, t.value()?)));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}
