//! The names, tags and tokens that things of a run carry, and how they are recognised later.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::plan::BakePlan;
use crate::run::{RunId, rfc3339};
use crate::targets::{LIFETIME, Role};

pub(super) const RUN: &str = "amibake:run";
pub(super) const ROLE: &str = "amibake:role";
pub(super) const ATTEMPT: &str = "amibake:attempt";
pub(super) const STATE: &str = "amibake:state";
pub(super) const EXPIRES: &str = "amibake:expires";

/// States: to be removed, or there to stay.
pub(super) const TEMPORARY: &str = "temporary";
pub(super) const RELEASED: &str = "released";

/// Returns the tags of something temporary.
pub(super) fn temporary(plan: &BakePlan, role: &str) -> BTreeMap<String, String> {
    let mut tags = plan.builder.tags.clone();
    tags.insert("Name".into(), format!("amibake {role} {}", plan.name));
    tags.extend(ours(&plan.run, role, LIFETIME));
    tags
}

/// Returns the tags of a candidate and its snapshots: whose they are, and what a tag policy may
/// demand. Nobody who picks an image by its name's tag or the user's may find one that has not passed.
pub(super) fn candidate(
    plan: &BakePlan,
    role: &str,
    lifetime: Duration,
) -> BTreeMap<String, String> {
    let mut tags = plan.builder.tags.clone();
    tags.remove("Name");
    tags.extend(ours(&plan.run, role, lifetime));
    tags
}

/// Returns the tags that a candidate and its snapshots get when they are released: the user's, and
/// that nobody is to remove them.
pub(super) fn released(plan: &BakePlan) -> BTreeMap<String, String> {
    let mut tags = plan.image.tags.clone();
    tags.entry("Name".into())
        .or_insert_with(|| plan.image.name.clone());
    let ours = [(STATE, RELEASED), (EXPIRES, "never"), (ROLE, "image")];
    tags.extend(ours.map(|(k, v)| (k.to_owned(), v.to_owned())));
    tags
}

fn ours(run: &RunId, role: &str, lifetime: Duration) -> BTreeMap<String, String> {
    let expires = OffsetDateTime::now_utc() + lifetime;
    let pairs = [
        (RUN, run.to_string()),
        (ROLE, role.to_owned()),
        (STATE, TEMPORARY.to_owned()),
        (EXPIRES, rfc3339(expires)),
    ];
    pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
}

/// Returns tags as a creating call takes them.
pub(super) fn specification(
    kind: ResourceType,
    tags: &BTreeMap<String, String>,
) -> TagSpecification {
    TagSpecification::builder()
        .resource_type(kind)
        .set_tags(Some(list(tags)))
        .build()
}

/// Returns tags as EC2's list.
pub(super) fn list(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter()
        .map(|(k, v)| Tag::builder().key(k).value(v).build())
        .collect()
}

pub(super) fn value<'t>(tags: &'t [Tag], key: &str) -> Option<&'t str> {
    tags.iter()
        .find(|t| t.key() == Some(key))
        .and_then(Tag::value)
}

/// Returns the filter for the things of a run.
pub(super) fn of_run(run: &RunId) -> Filter {
    filter(&format!("tag:{RUN}"), [run.as_str()])
}

pub(super) fn filter<'v>(name: &str, values: impl IntoIterator<Item = &'v str>) -> Filter {
    let values = values.into_iter().map(str::to_owned).collect();
    Filter::builder()
        .name(name)
        .set_values(Some(values))
        .build()
}

/// Returns filters as people are told them: `name=web-* and tag:tier=a or b`.
pub(super) fn told(filters: &BTreeMap<String, Vec<String>>) -> String {
    let told = filters
        .iter()
        .map(|(name, values)| format!("{name}={}", values.join(" or ")));
    told.collect::<Vec<_>>().join(" and ")
}

pub(super) fn group_name(run: &RunId) -> String {
    format!("amibake-{run}")
}

/// Returns the name an image has until it has passed.
pub(super) fn candidate_name(run: &RunId) -> String {
    format!("amibake-candidate-{run}")
}

/// Returns a candidate's description: what it will be, and whose it is until it has passed.
pub(super) fn untested_description(plan: &BakePlan) -> String {
    format!("{} {}", final_description(plan), candidate_of(&plan.run))
}

/// Returns the description of an image that has passed: what it will be, and whose it is until it
/// is released.
pub(super) fn tested_description(plan: &BakePlan) -> String {
    format!("{} {}", final_description(plan), made_by(&plan.run))
}

/// Returns the image's description: the user's words, or what it was made of.
pub(super) fn final_description(plan: &BakePlan) -> String {
    let words = plan.image.description.clone();
    words.unwrap_or_else(|| format!("{}, baked by amibake", plan.name))
}

/// Returns how the description of a run's candidate ends. Who may write tags may not write that.
pub(super) fn candidate_of(run: &RunId) -> String {
    format!("(amibake candidate of run {run})")
}

/// Returns how the description of a run's image ends that has passed and is not released.
pub(super) fn made_by(run: &RunId) -> String {
    format!("(amibake run {run})")
}

/// Returns the description of an image that has passed without its end: the released image's. None
/// if it has no such end.
pub(super) fn without_run(description: &str, run: &RunId) -> Option<String> {
    let words = description.strip_suffix(&made_by(run))?.trim_end();
    Some(match words {
        // EC2 takes no empty description.
        "" => "baked by amibake".to_owned(),
        words => words.to_owned(),
    })
}

/// Returns the client token of one attempt at a launch: the same request gets the same machine,
/// and a machine with this token was made by this run.
pub(super) fn token(run: &RunId, role: Role, attempt: usize, region: &str) -> String {
    let digest = Sha256::digest(format!("{run}\n{role}\n{attempt}\n{region}"));
    let hex = hex::encode(&digest[..24]);
    format!("amibake-{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_has_its_own_token_that_ec2_accepts() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let one = token(&run, Role::Builder, 1, "eu-west-1");
        assert_eq!(one, token(&run, Role::Builder, 1, "eu-west-1"));
        assert_ne!(one, token(&run, Role::Builder, 2, "eu-west-1"));
        assert_ne!(one, token(&run, Role::Candidate, 1, "eu-west-1"));
        assert!(one.len() <= 64 && one.is_ascii());
    }
}
