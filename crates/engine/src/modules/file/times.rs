//! `access_time` and `modification_time`: kept, now, or a moment in a given format.

use std::path::Path;
use std::time::SystemTime;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::args::Args;
use crate::change::Change;
use crate::module::Failure;

/// One of the two times as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    Preserve,
    Now,
    At(SystemTime),
}

impl Time {
    pub(super) fn read(text: &str, format: &str) -> Result<Self, Failure> {
        match text {
            "preserve" => return Ok(Self::Preserve),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        let moment = DateTime::strptime(format, text)
            .and_then(|local| local.to_zoned(TimeZone::system()))
            .map_err(|e| {
                Failure::new(format!(
                    "Error while obtaining timestamp for time {text} using format {format}: {e}"
                ))
            })?;
        Ok(Self::At(moment.into()))
    }

    fn resolve(self, before: SystemTime) -> Option<SystemTime> {
        match self {
            Self::Preserve => Some(before),
            Self::At(time) => Some(time),
            Self::Now => None,
        }
    }
}

/// Both times as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    accessed: Time,
    modified: Time,
}

impl Times {
    pub(super) fn read(args: &Args, touch: bool) -> Result<Self, Failure> {
        let default = if touch { "now" } else { "preserve" };
        let read = |name: &str| {
            let format = args.str(&format!("{name}_format")).unwrap_or_default();
            Time::read(args.str(name).unwrap_or(default), format)
        };
        Ok(Self {
            accessed: read("access_time")?,
            modified: read("modification_time")?,
        })
    }

    /// Returns whether either is to be set.
    pub(super) fn any(self) -> bool {
        (self.accessed, self.modified) != (Time::Preserve, Time::Preserve)
    }

    /// Plans the change, if a file with these times needs one. "Now" always does.
    pub(super) fn plan(
        self,
        path: &Path,
        accessed: SystemTime,
        modified: SystemTime,
    ) -> Option<Change> {
        let wanted = (
            self.accessed.resolve(accessed),
            self.modified.resolve(modified),
        );
        if wanted == (Some(accessed), Some(modified)) {
            return None;
        }
        Some(Change::Times {
            path: path.to_owned(),
            accessed: wanted.0,
            modified: wanted.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_ansibles_default_format() {
        let time = Time::read("202001021530.45", "%Y%m%d%H%M.%S").unwrap();
        assert!(matches!(time, Time::At(_)));
        assert!(Time::read("yesterday", "%Y%m%d%H%M.%S").is_err());
    }

    #[test]
    fn kept_times_need_no_change_and_now_always_does() {
        let (a, m) = (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH);
        let mut times = Times {
            accessed: Time::Preserve,
            modified: Time::At(m),
        };
        assert_eq!(times.plan(Path::new("/x"), a, m), None);
        times.modified = Time::Now;
        assert!(times.plan(Path::new("/x"), a, m).is_some());
    }
}
