//! A run's name and its times. Everything a bake makes carries the name.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// Name of one bake: when it began and sixteen random hex digits, `20260727t101500z-0a1b2c3d4e5f6071`.
///
/// Hundreds of builds may begin in one second, and what they make goes by this name alone.
/// It is part of tags, names, client tokens and paths, so it is lower-case ASCII.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct RunId(String);

/// A text that is no run's name.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the name of a run, such as 20260727t101500z-0a1b2c3d4e5f6071")]
pub(crate) struct NotARun(String);

impl RunId {
    /// Returns a new name for a run that begins `now`.
    pub(crate) fn new(now: OffsetDateTime) -> Result<Self, getrandom::Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let stamp = build_time(now).to_lowercase();
        let random = u64::from_be_bytes(random);
        Ok(Self(format!("{stamp}-{random:016x}")))
    }

    /// Returns when the run began, as its name says.
    pub(crate) fn began(&self) -> OffsetDateTime {
        parse_stamp(&self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

impl TryFrom<String> for RunId {
    type Error = NotARun;

    fn try_from(text: String) -> Result<Self, NotARun> {
        let suffix = text.get(16..).and_then(|rest| rest.strip_prefix('-'));
        let random = suffix.is_some_and(|s| {
            // Six were all there were once: `reap` still meets them.
            matches!(s.len(), 6 | 16) && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if random && parse_stamp(&text).is_some() {
            return Ok(Self(text));
        }
        Err(NotARun(text))
    }
}

impl std::str::FromStr for RunId {
    type Err = NotARun;

    fn from_str(text: &str) -> Result<Self, NotARun> {
        Self::try_from(text.to_owned())
    }
}

fn parse_stamp(text: &str) -> Option<OffsetDateTime> {
    let format = format_description!("[year][month][day]t[hour][minute][second]z");
    let stamp = time::PrimitiveDateTime::parse(text.get(..16)?, &format).ok()?;
    Some(stamp.assume_utc())
}

/// Returns a moment as `build_time` in names: `20260727T101500Z`.
pub(crate) fn build_time(now: OffsetDateTime) -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    now.to_offset(time::UtcOffset::UTC)
        .format(&format)
        .expect("the format has only parts every moment has")
}

/// Returns a moment as tags carry it: `2026-07-27T10:15:00Z`.
pub(crate) fn rfc3339(moment: OffsetDateTime) -> String {
    moment
        .to_offset(time::UtcOffset::UTC)
        .replace_nanosecond(0)
        .unwrap_or(moment)
        .format(&Rfc3339)
        .expect("years of this age have four digits")
}

/// Returns the moment a tag carries, if it is one.
pub(crate) fn parse_rfc3339(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_run_knows_when_it_began() {
        let now = datetime!(2026-07-27 10:15:00 UTC);
        let run = RunId::new(now).unwrap();
        assert!(run.as_str().starts_with("20260727t101500z-"), "{run}");
        assert_eq!(run.as_str().len(), 33, "{run}");
        assert_eq!(run.began(), now);
        assert_eq!(run.to_string().parse::<RunId>().unwrap(), run);
    }

    #[test]
    fn a_text_that_is_no_run_is_refused() {
        for text in [
            "",
            "web",
            "20260727t101500z",
            "20260727t101500z-0a1b2G",
            "20260727t101500z-0a1b2c3",
            "20260727t101500z-0a1b2c3d4e5f60718",
            "../../etc/passwd00000000",
        ] {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tag_s_moment_reads_back() {
        let now = datetime!(2026-07-27 10:15:00 UTC);
        assert_eq!(rfc3339(now), "2026-07-27T10:15:00Z");
        assert_eq!(parse_rfc3339("2026-07-27T10:15:00Z"), Some(now));
    }
}
