//! Whether a thing of the account is one that a run made: by what nobody else can write.

use std::time::Duration;

use aws_sdk_ec2::types::Image;
use time::OffsetDateTime;

use super::tags;
use crate::run::{RunId, parse_rfc3339};

/// How long after its beginning a run may still make something: the manifest's longest time limit,
/// and a day in which it may have waited for its turn.
const LONGEST: Duration = Duration::from_secs(32 * 24 * 3600);

/// How far this clock and EC2's may differ.
const SLACK: Duration = Duration::from_secs(300);

/// Returns whether an image is one that `run` made and has not released: a candidate by its name,
/// which nobody can change, and one under its final name by its description, which ends in the run
/// until it is released. Whoever can write tags can write neither.
pub(super) fn is_ours(image: &Image, run: &RunId) -> bool {
    let made = image.creation_date().and_then(parse_rfc3339);
    let named = image.name() == Some(tags::candidate_name(run).as_str());
    let ends = [
        tags::candidate_of(run),
        tags::made_by(run),
        tags::spare_of(run),
    ];
    let described = image
        .description()
        .is_some_and(|text| ends.iter().any(|end| text.ends_with(end)));
    (named || described) && in_time(run, made.map(OffsetDateTime::unix_timestamp))
}

/// Returns whether a thing was made in the run's time.
pub(super) fn in_time(run: &RunId, made: Option<i64>) -> bool {
    let Some(made) = made.and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok()) else {
        return false;
    };
    made > run.began() - SLACK && made < run.began() + LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_believed_by_what_tags_cannot_say() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let image = |name: &str, description: &str| {
            let image = Image::builder().name(name).description(description);
            image.creation_date("2026-07-27T10:20:00.000Z").build()
        };
        let production = image("web-7", "the one in production");
        assert!(!is_ours(&production, &run));
        assert!(is_ours(&image(&tags::candidate_name(&run), ""), &run));
        let ours = format!("a web server {}", tags::made_by(&run));
        assert!(is_ours(&image("web-8", &ours), &run));
        let untested = format!("a web server {}", tags::candidate_of(&run));
        assert!(is_ours(&image("web-8", &untested), &run));
        let spare = format!("a web server {}", tags::spare_of(&run));
        let named = tags::spare_name(&run, "web");
        assert!(is_ours(&image(&named, &spare), &run));
        let other: RunId = "20260727t101500z-ffffff".parse().unwrap();
        assert!(!is_ours(&image("web-8", &ours), &other));
        let released = tags::without_run(&ours, &run).unwrap();
        assert_eq!(released, "a web server");
        assert!(!is_ours(&image("web-8", &released), &run));
    }
}
