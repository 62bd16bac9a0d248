//! Finding an image of a content that is there already, and whether it may be the result.
//!
//! Anybody with CreateTags can mark an image, so tags find it and prove nothing: it must be the account's
//! own, and its description must say what it is made of.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_sdk_ec2::types::{Image, ImageState};
use time::OffsetDateTime;

use super::error::Ec2Error;
use super::{Ec2, tags};
use crate::identity::{Content, ContentHash};
use crate::plan::{BakePlan, Reuse};
use crate::run::{parse_rfc3339, rfc3339};
use crate::targets::{Finished, PhaseContext};

/// Why an image of a content is not used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Its tags say what its description does not: whoever wrote them made it up.
    Unproven,
    NotReleased,
    /// It is what it should be but for its publication.
    Passed,
    /// As EC2 names its state.
    NotAvailable(String),
    Deprecated,
    /// When it was made.
    TooOld(OffsetDateTime),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unproven => {
                f.write_str("its tags name this content and its description does not")
            }
            Self::NotReleased => f.write_str("it is not released"),
            Self::Passed => f.write_str("it has passed and is not published"),
            Self::NotAvailable(state) => write!(f, "it is {state}"),
            Self::Deprecated => f.write_str("it is deprecated"),
            Self::TooOld(made) => {
                write!(f, "it is older than image.max_age: of {}", rfc3339(*made))
            }
        }
    }
}

/// The newest images of a content.
#[derive(Default)]
pub(super) struct Made {
    /// One that may be the result.
    pub(super) finished: Option<Finished>,
    /// One whose publication has not come to its end.
    pub(super) passed: Option<Finished>,
}

impl Ec2 {
    /// Returns what the image is made of.
    pub(super) fn content(&self) -> Content {
        let content = self.state().content.clone();
        content.expect("what an image is made of is known before anything is made of it")
    }

    /// Returns the newest image of this content that may be the result.
    pub(super) async fn finished(
        &self,
        plan: &BakePlan,
        content: &Content,
    ) -> Result<Option<Finished>, Ec2Error> {
        Ok(self.made(plan, content).await?.finished)
    }

    /// The same, and else the newest one whose publication has not come to its end. Whoever holds the
    /// lock may go on with that: who was at it is over.
    pub(super) async fn finished_or_passed(
        &self,
        plan: &BakePlan,
        content: &Content,
        cx: &PhaseContext<'_>,
    ) -> Result<Option<Finished>, Ec2Error> {
        let Made { finished, passed } = self.made(plan, content).await?;
        if let (None, Some(image)) = (&finished, &passed) {
            cx.phase.warn(format!(
                "{} in {} has passed before and was not published: its publication goes on",
                image.id, self.region
            ));
        }
        Ok(finished.or(passed))
    }

    /// Returns what there is of this content, that a build would take.
    pub(super) async fn made(&self, plan: &BakePlan, content: &Content) -> Result<Made, Ec2Error> {
        let mut made = Made::default();
        if plan.reuse == Reuse::Never {
            return Ok(made);
        }
        let now = OffsetDateTime::now_utc();
        for image in self.of_content(&content.hash).await? {
            match unfit(&image, &content.hash, plan.image.max_age, now) {
                None => made.finished = Some(as_finished(image)),
                Some(Unfit::Passed) => made.passed = Some(as_finished(image)),
                Some(_) => {}
            }
        }
        Ok(made)
    }

    /// Returns the account's images that are tagged so, the oldest first.
    pub(super) async fn of_content(&self, hash: &ContentHash) -> Result<Vec<Image>, Ec2Error> {
        let tagged = tags::filter(&format!("tag:{}", tags::CONTENT), [hash.as_str()]);
        let mut found = self.images(vec![tagged]).await?;
        found.sort_by(|a, b| a.creation_date().cmp(&b.creation_date()));
        Ok(found)
    }
}

fn as_finished(image: Image) -> Finished {
    Finished {
        id: image.image_id.unwrap_or_default(),
        name: image.name.unwrap_or_default(),
        copies: BTreeMap::new(),
    }
}

/// Returns whether an image is one of this content that has passed, and waits for its publication.
pub(super) fn has_passed_as(image: &Image, hash: &ContentHash) -> bool {
    let described = image.description().unwrap_or_default();
    tags::value(image.tags(), tags::STATE) == Some(tags::PASSED)
        && tags::passed_content(described).as_ref() == Some(hash)
}

/// Returns why an image of the account's own may not be the result, if so.
pub(super) fn unfit(
    image: &Image,
    hash: &ContentHash,
    max_age: Duration,
    now: OffsetDateTime,
) -> Option<Unfit> {
    let described = image.description().unwrap_or_default();
    let (is_published, proven) = match tags::value(image.tags(), tags::STATE) {
        Some(tags::RELEASED) => (true, tags::content_of(described)),
        Some(tags::PASSED) => (false, tags::passed_content(described)),
        _ => return Some(Unfit::NotReleased),
    };
    if proven.as_ref() != Some(hash) {
        return Some(Unfit::Unproven);
    }
    match image.state() {
        Some(ImageState::Available) => {}
        other => {
            let state = other.map_or("in no state", ImageState::as_str);
            return Some(Unfit::NotAvailable(state.to_owned()));
        }
    }
    let deprecated = image.deprecation_time().and_then(parse_rfc3339);
    if deprecated.is_some_and(|at| at <= now) {
        return Some(Unfit::Deprecated);
    }
    let made = image.creation_date().and_then(parse_rfc3339);
    let made = made.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    if now - made > max_age {
        return Some(Unfit::TooOld(made));
    }
    (!is_published).then_some(Unfit::Passed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Inputs;
    use crate::manifest::Arch;
    use aws_sdk_ec2::types::Tag;
    use time::macros::datetime;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn hash(id: &str) -> ContentHash {
        Inputs::default().content(Arch::Amd64, id).hash
    }

    fn why(change: impl FnOnce(&mut Image)) -> Option<Unfit> {
        let tag = Tag::builder().key(tags::STATE).value(tags::RELEASED);
        let mut image = Image::builder()
            .state(ImageState::Available)
            .description(format!("web [amibake content {}]", hash("ami-1")))
            .creation_date("2026-07-27T10:15:00.000Z")
            .tags(tag.build())
            .build();
        change(&mut image);
        let now = datetime!(2026-07-30 10:15:00 UTC);
        unfit(&image, &hash("ami-1"), 7 * DAY, now)
    }

    #[test]
    fn an_image_is_used_again_by_what_its_description_says_and_for_as_long_as_it_is_young() {
        assert_eq!(why(|_| {}), None);
        let poisoned = why(|image| image.description = Some("web".to_owned()));
        assert_eq!(poisoned, Some(Unfit::Unproven));
        let of_other = format!("web [amibake content {}]", hash("ami-2"));
        let other = why(|image| image.description = Some(of_other));
        assert_eq!(other, Some(Unfit::Unproven));
        let untested = format!("web [amibake content {}] (amibake run x)", hash("ami-1"));
        let untested = why(|image| image.description = Some(untested));
        assert_eq!(untested, Some(Unfit::Unproven));
        assert_eq!(why(|image| image.tags = None), Some(Unfit::NotReleased));
        let passed = |described: &str| {
            let described = described.to_owned();
            why(|image| {
                let tag = Tag::builder().key(tags::STATE).value(tags::PASSED);
                image.tags = Some(vec![tag.build()]);
                image.description = Some(described);
            })
        };
        let run = "(amibake run 20260727t101500z-0a1b2c)";
        let ours = format!("web [amibake content {}] {run}", hash("ami-1"));
        assert_eq!(passed(&ours), Some(Unfit::Passed));
        let others = format!("web [amibake content {}] {run}", hash("ami-2"));
        for described in [&others, "web", run] {
            assert_eq!(passed(described), Some(Unfit::Unproven), "{described}");
        }
        let disabled = why(|image| image.state = Some(ImageState::Disabled));
        assert_eq!(disabled, Some(Unfit::NotAvailable("disabled".to_owned())));
        let at = "2026-07-29T00:00:00.000Z".to_owned();
        let deprecated = why(|image| image.deprecation_time = Some(at));
        assert_eq!(deprecated, Some(Unfit::Deprecated));
        let at = "2026-07-23T10:14:59.000Z".to_owned();
        let old = why(|image| image.creation_date = Some(at));
        assert_eq!(old, Some(Unfit::TooOld(datetime!(2026-07-23 10:14:59 UTC))));
        let undated = why(|image| image.creation_date = None);
        assert!(matches!(undated, Some(Unfit::TooOld(_))));
    }
}
