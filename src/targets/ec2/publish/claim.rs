//! Which build an image was published by, as what names it says: the description of a parameter, and that of a
//! launch template's version. The image itself tells when it was made, which is earlier where it was used again.

use time::{Duration, OffsetDateTime};

use crate::run::{parse_rfc3339, rfc3339};

/// How far this clock and AWS's may differ.
const SLACK: Duration = Duration::minutes(5);

/// Returns what is written beside an image's id by a build that began then, or by a command.
pub(super) fn claim(image: &str, began: OffsetDateTime) -> String {
    format!("{image} by amibake as of {}", rfc3339(began))
}

/// Returns when that began, if it is said of this image: what others have put there since may be described as
/// it was. Nobody begins after what he has written.
pub(super) fn claimed(
    described: Option<&str>,
    image: &str,
    written: Option<i64>,
) -> Option<OffsetDateTime> {
    let began = described?
        .strip_prefix(image)?
        .strip_prefix(" by amibake as of ")?;
    let began = parse_rfc3339(began)?;
    let written = OffsetDateTime::from_unix_timestamp(written?).ok()?;
    (began <= written + SLACK).then_some(began)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_claim_is_believed_of_the_image_it_is_about_and_no_later_than_it_was_written() {
        let began = datetime!(2026-07-27 10:15 UTC);
        let text = claim("ami-1", began);
        let at = |minutes| Some((began + Duration::minutes(minutes)).unix_timestamp());
        let read = |image, written| claimed(Some(&text), image, written);
        assert_eq!(read("ami-1", at(40)), Some(began));
        // By a clock that is a little behind.
        assert_eq!(read("ami-1", at(-4)), Some(began));
        assert_eq!(read("ami-1", at(-6)), None);
        assert_eq!(read("ami-1", None), None);
        assert_eq!(read("ami-12", at(40)), None);
        assert_eq!(read("ami-2", at(40)), None);
        assert_eq!(claimed(Some("by hand"), "ami-1", at(40)), None);
        assert_eq!(claimed(None, "ami-1", at(40)), None);
    }
}
