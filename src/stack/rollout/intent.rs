//! What a rollout is about to do, written to tags of its rule before it does anything: weights of 10 and
//! 90 alone do not say whether they were on their way forward or back.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::colour::Colour;
use crate::run::{RunId, parse_rfc3339, rfc3339};

/// Names the stack that a rule is of.
pub(crate) const STACK: &str = "amibake:stack";
/// Says what a rule is for.
pub(crate) const ROLE: &str = "amibake:role";
/// A rule that traffic follows.
pub(crate) const TRAFFIC: &str = "traffic";
/// A rule that smoke tests follow.
pub(crate) const SMOKE: &str = "smoke";

/// Returns whether a rule with these tags is one of ours for a stack, of this role.
pub(crate) fn is_of(tags: &BTreeMap<String, String>, stack: &str, role: &str) -> bool {
    let is = |key: &str, value: &str| tags.get(key).is_some_and(|known| known == value);
    is(STACK, stack) && is(ROLE, role)
}

const RUN: &str = "amibake:run";
const TO: &str = "amibake:to";
const FROM: &str = "amibake:from";
const WAY: &str = "amibake:direction";
const PHASE: &str = "amibake:phase";
const SINCE: &str = "amibake:since";
const SIZE: &str = "amibake:size";
const IMAGE: &str = "amibake:image";
const WHY: &str = "amibake:why";

/// A tag's value takes no more.
const LONGEST: usize = 256;

/// Whether traffic is on its way to what is new, or back to what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    Forward,
    Back,
}

/// How far a rollout is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// Traffic is not yet where it is to be, or not yet for long enough.
    Rolling,
    /// All of it is; the other colour is still warm.
    Keeping,
    /// The other colour is empty.
    Done,
}

/// What a rollout is about to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Intent {
    pub(crate) run: RunId,
    /// Where all traffic is to be in the end.
    pub(crate) to: Colour,
    /// Where it was; nowhere at a stack's first rollout.
    pub(crate) from: Option<Colour>,
    pub(crate) direction: Direction,
    pub(crate) phase: Phase,
    /// When this phase began.
    pub(crate) since: OffsetDateTime,
    /// How many instances `to` is to have, at least.
    pub(crate) size: u32,
    /// The image of `to`.
    pub(crate) image: String,
    /// Why it goes back; empty otherwise.
    pub(crate) why: String,
}

impl Intent {
    /// Returns the tags that say so.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let direction = match self.direction {
            Direction::Forward => "forward",
            Direction::Back => "back",
        };
        let phase = match self.phase {
            Phase::Rolling => "rolling",
            Phase::Keeping => "keeping",
            Phase::Done => "done",
        };
        let pairs = [
            (RUN, self.run.to_string()),
            (TO, self.to.name().to_owned()),
            (FROM, self.from.map_or("none", Colour::name).to_owned()),
            (WAY, direction.to_owned()),
            (PHASE, phase.to_owned()),
            (SINCE, rfc3339(self.since)),
            (SIZE, self.size.to_string()),
            (IMAGE, self.image.clone()),
            (WHY, plain(&self.why)),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).into()
    }

    /// Returns what tags say; nothing if they do not say all of it.
    pub(crate) fn read(tags: &BTreeMap<String, String>) -> Option<Self> {
        let value = |key: &str| tags.get(key).map(String::as_str);
        let direction = match value(WAY)? {
            "forward" => Direction::Forward,
            "back" => Direction::Back,
            _ => return None,
        };
        let phase = match value(PHASE)? {
            "rolling" => Phase::Rolling,
            "keeping" => Phase::Keeping,
            "done" => Phase::Done,
            _ => return None,
        };
        Some(Self {
            run: value(RUN)?.parse().ok()?,
            to: Colour::parse(value(TO)?)?,
            from: Colour::parse(value(FROM)?),
            direction,
            phase,
            since: parse_rfc3339(value(SINCE)?)?,
            size: value(SIZE)?.parse().ok()?,
            image: value(IMAGE)?.to_owned(),
            why: value(WHY).unwrap_or_default().to_owned(),
        })
    }
}

/// Returns a text as a tag of a load balancer takes it: few signs, and not many.
fn plain(text: &str) -> String {
    let is_taken = |c: char| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c);
    let signs = text.chars().map(|c| if is_taken(c) { c } else { ' ' });
    let signs: String = signs.take(LONGEST).collect();
    signs.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn an_intent_reads_back_from_its_tags_and_half_of_one_is_none() {
        let intent = Intent {
            run: "20260727t101500z-0a1b2c3d4e5f6071".parse().unwrap(),
            to: Colour::Green,
            from: Some(Colour::Blue),
            direction: Direction::Back,
            phase: Phase::Keeping,
            since: datetime!(2026-07-27 10:15:00 UTC),
            size: 2,
            image: "ami-1".to_owned(),
            why: "i-1 is unhealthy: Target.Timeout".to_owned(),
        };
        let tags = intent.tags();
        assert_eq!(Intent::read(&tags), Some(intent.clone()));
        for key in [RUN, TO, WAY, PHASE, SINCE, SIZE, IMAGE] {
            let mut fewer = tags.clone();
            fewer.remove(key);
            assert_eq!(Intent::read(&fewer), None, "{key}");
        }
        let first = Intent {
            from: None,
            ..intent
        };
        assert_eq!(Intent::read(&first.tags()), Some(first));
    }

    #[test]
    fn a_reason_is_cut_to_what_a_tag_takes() {
        assert_eq!(plain("`x` (é) says: no!"), "x      says: no");
        assert_eq!(plain(&"a".repeat(300)).len(), LONGEST);
    }
}
