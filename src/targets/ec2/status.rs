//! What is there of amibake's in an account, by its tags and descriptions: what runs, what was left, and
//! what was released. It only reads.

use aws_sdk_ec2::types::{Image, ImageState};
use futures_util::future::join_all;
use serde::Serialize;
use time::OffsetDateTime;

use super::orphans::Orphan;
use super::reap::EVERYWHERE;
use super::{Ec2, tags};
use crate::run::{RunId, rfc3339};
use crate::targets::{Fault, TargetError};

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Standing {
    /// Its run renews it, here or elsewhere.
    Alive,
    /// An image that has passed: it waits for its publication.
    Passed,
    /// Nobody has renewed it: `reap` removes it.
    Expired,
    /// There to stay.
    Released,
}

/// Something in the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Held {
    pub(crate) standing: Standing,
    pub(crate) region: String,
    /// `builder instance i-0abc12 in eu-west-1`
    pub(crate) what: String,
    pub(crate) run: Option<RunId>,
    /// The manifest of a released image.
    pub(crate) manifest: Option<String>,
    /// When it expires, or was made if it does not.
    pub(crate) moment: Option<String>,
}

/// Returns what is held in `region`, or in all that are enabled, and what could not be looked at.
pub(crate) async fn held(
    region: Option<&str>,
    now: OffsetDateTime,
) -> Result<(Vec<Held>, Vec<TargetError>), TargetError> {
    let here = match Ec2::new(region).await {
        Err(error) if error.fault == Fault::Manifest && region.is_none() => {
            Ec2::new(Some(EVERYWHERE)).await?
        }
        here => here?,
    };
    here.be_patient();
    let mut errors = Vec::new();
    let names = match region {
        Some(region) => vec![region.to_owned()],
        None => match here.enabled_regions().await {
            Ok(names) => names,
            Err(error) if error.is_denied() => {
                let error = TargetError::from(error);
                errors.push(error.with_hint("name each region with --region"));
                vec![here.region.clone()]
            }
            Err(error) => return Err(error.into()),
        },
    };
    let regions: Vec<Ec2> = names.iter().map(|name| here.in_region(name)).collect();
    let looking = regions.iter().map(|ec2| ec2.held_here(now));
    let mut all = Vec::new();
    for (held, error) in join_all(looking).await {
        all.extend(held);
        errors.extend(error);
    }
    all.sort_by(|a, b| (a.standing, &a.region, &a.moment).cmp(&(b.standing, &b.region, &b.moment)));
    Ok((all, errors))
}

impl Ec2 {
    async fn held_here(&self, now: OffsetDateTime) -> (Vec<Held>, Option<TargetError>) {
        self.be_patient();
        let found = self.orphans(None).await;
        let mut held: Vec<Held> = found.orphans.iter().map(|o| temporary(o, now)).collect();
        let mut error = found.looked.err().map(TargetError::from);
        let released = tags::filter(&format!("tag:{}", tags::STATE), [tags::RELEASED]);
        match self.images(vec![released]).await {
            Ok(images) => held.extend(images.iter().filter_map(|i| self.released(i))),
            Err(other) => error = error.or(Some(other.into())),
        }
        (held, error)
    }

    /// Returns an image that amibake has released, as its description says too.
    fn released(&self, image: &Image) -> Option<Held> {
        tags::content_of(image.description()?)?;
        let region = self.region.clone();
        let (id, name) = (image.image_id()?, image.name().unwrap_or_default());
        let state = match image.state() {
            Some(ImageState::Available) | None => String::new(),
            Some(other) => format!(", {}", other.as_str()),
        };
        let tag = |key| tags::value(image.tags(), key).map(str::to_owned);
        Some(Held {
            standing: Standing::Released,
            what: format!("image {id} in {region} ({name}{state})"),
            region,
            run: tag(tags::RUN).and_then(|run| run.parse().ok()),
            manifest: tag(tags::MANIFEST),
            moment: image.creation_date().map(str::to_owned),
        })
    }
}

fn temporary(orphan: &Orphan, now: OffsetDateTime) -> Held {
    let undo = &orphan.undo;
    // What has no time that can be read is never removed by itself.
    let is_over = orphan.expires.is_some_and(|at| at < now);
    Held {
        standing: match (is_over, orphan.has_passed) {
            (true, _) => Standing::Expired,
            (false, true) => Standing::Passed,
            (false, false) => Standing::Alive,
        },
        region: undo.region.clone(),
        what: undo.what(orphan.id.as_slice()),
        run: Some(undo.run.clone()),
        manifest: None,
        moment: orphan.expires.map(rfc3339),
    }
}
