//! What killed runs left in the account, found by tags alone.
//!
//! Anybody with CreateTags can mark a machine, so a tag is believed only with our own naming or
//! token, and when the thing was made in the run's time. What is released is never touched.

use std::time::Duration;

use aws_sdk_ec2::types::{Filter, ImageState, Tag};
use time::OffsetDateTime;

use super::{Ec2, image, launch, tags};
use crate::ledger::Undo;
use crate::run::{RunId, parse_rfc3339};
use crate::target::{Role, TargetError};

/// How long after its beginning a run may still make something.
const LONGEST: Duration = Duration::from_secs(48 * 3600);

/// How far this clock and EC2's may differ.
const SLACK: Duration = Duration::from_secs(300);

/// Something of a run that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// What removes it.
    pub(crate) undo: Undo,
    /// Its id; `None` for what may yet appear.
    pub(crate) id: Option<String>,
    /// When its run would have renewed it; `None` when the tag is missing or no time.
    pub(crate) expires: Option<OffsetDateTime>,
}

impl Ec2 {
    /// Returns the regions that are enabled for the account.
    pub(crate) async fn enabled_regions(&self) -> Result<Vec<String>, TargetError> {
        let answer = self.ec2.describe_regions().send().await;
        let regions = answer.map_err(|e| self.refused("DescribeRegions", e))?;
        let regions = regions.regions.unwrap_or_default();
        Ok(regions.into_iter().filter_map(|r| r.region_name).collect())
    }

    /// Returns what is there of `run`, or of all runs.
    pub(crate) async fn orphans(&self, run: Option<&RunId>) -> Result<Vec<Orphan>, TargetError> {
        let of = || match run {
            Some(run) => vec![tags::of_run(run)],
            None => vec![tags::filter("tag-key", [tags::RUN])],
        };
        let mut found = self.orphan_instances(of()).await?;
        found.extend(self.orphan_groups(of()).await?);
        found.extend(self.orphan_images(of()).await?);
        found.extend(self.orphan_snapshots(of()).await?);
        Ok(found)
    }

    async fn orphan_instances(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, TargetError> {
        let mut found = Vec::new();
        for instance in self.instances(of).await? {
            let Some((run, expires)) = marked(instance.tags()) else {
                continue;
            };
            let role = match tags::value(instance.tags(), tags::ROLE) {
                Some("builder") => Role::Builder,
                Some("candidate") => Role::Candidate,
                _ => continue,
            };
            let attempt = tags::value(instance.tags(), tags::ATTEMPT);
            let attempt = attempt.and_then(|a| a.parse().ok()).unwrap_or(1);
            let ours = tags::token(&run, role, attempt, &self.region);
            let made = instance.launch_time().map(aws_smithy_types::DateTime::secs);
            if instance.client_token() == Some(ours.as_str())
                && in_time(&run, made)
                && launch::state(&instance) != "terminated"
            {
                let region = self.region.clone();
                let undo = Undo::TerminateInstance { region, run, role };
                found.extend(orphan(undo, instance.instance_id, expires));
            }
        }
        Ok(found)
    }

    async fn orphan_groups(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, TargetError> {
        let request = self.ec2.describe_security_groups();
        let answer = request.set_filters(Some(of)).send().await;
        let answer = answer.map_err(|e| self.refused("DescribeSecurityGroups", e))?;
        let mut found = Vec::new();
        for group in answer.security_groups.unwrap_or_default() {
            let Some((run, expires)) = marked(group.tags()) else {
                continue;
            };
            let name = tags::group_name(&run);
            if group.group_name() == Some(name.as_str()) {
                let region = self.region.clone();
                let undo = Undo::DeleteSecurityGroup { region, run, name };
                found.extend(orphan(undo, group.group_id, expires));
            }
        }
        Ok(found)
    }

    async fn orphan_images(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, TargetError> {
        let mut found = Vec::new();
        for image in self.images(of).await? {
            let Some((run, expires)) = marked(image.tags()) else {
                continue;
            };
            let made = image.creation_date().and_then(parse_rfc3339);
            if in_time(&run, made.map(OffsetDateTime::unix_timestamp)) {
                let region = self.region.clone();
                if image.state() == Some(&ImageState::Pending) {
                    // Its snapshots may not be listed yet, and would appear when it is gone.
                    let (region, run) = (region.clone(), run.clone());
                    let expected = None;
                    let undo = Undo::DeleteSnapshots {
                        region,
                        run,
                        expected,
                    };
                    let id = None;
                    found.push(Orphan { undo, id, expires });
                }
                let name = image.name.unwrap_or_default();
                let undo = Undo::DeregisterImage { region, run, name };
                found.extend(orphan(undo, image.image_id, expires));
            }
        }
        Ok(found)
    }

    async fn orphan_snapshots(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, TargetError> {
        let request = self.ec2.describe_snapshots().owner_ids("self");
        let answer = request.set_filters(Some(of)).send().await;
        let answer = answer.map_err(|e| self.refused("DescribeSnapshots", e))?;
        let mut found = Vec::new();
        for snapshot in answer.snapshots.unwrap_or_default() {
            let Some((run, expires)) = marked(snapshot.tags()) else {
                continue;
            };
            let made = snapshot.start_time().map(aws_smithy_types::DateTime::secs);
            let id = snapshot.snapshot_id.clone().unwrap_or_default();
            if in_time(&run, made) && !self.is_in_released_image(&id).await? {
                let region = self.region.clone();
                let expected = None;
                let undo = Undo::DeleteSnapshots {
                    region,
                    run,
                    expected,
                };
                found.extend(orphan(undo, snapshot.snapshot_id, expires));
            }
        }
        Ok(found)
    }

    /// A snapshot whose own tag was not written is still the released image's.
    async fn is_in_released_image(&self, id: &str) -> Result<bool, TargetError> {
        let users = self
            .images(vec![
                tags::filter("block-device-mapping.snapshot-id", [id]),
                tags::filter(&format!("tag:{}", tags::STATE), ["released"]),
            ])
            .await?;
        let uses = |i| image::snapshots_of(i).iter().any(|s| s == id);
        Ok(users.iter().any(uses))
    }
}

fn orphan(undo: Undo, id: Option<String>, expires: Option<OffsetDateTime>) -> Option<Orphan> {
    let id = Some(id?);
    Some(Orphan { undo, id, expires })
}

/// Returns the run that a thing says it belongs to, unless it is released.
fn marked(tags: &[Tag]) -> Option<(RunId, Option<OffsetDateTime>)> {
    let state = super::tags::value(tags, super::tags::STATE)?;
    let run = super::tags::value(tags, super::tags::RUN)?.parse().ok()?;
    let expires = super::tags::value(tags, super::tags::EXPIRES).and_then(parse_rfc3339);
    (state == "temporary").then_some((run, expires))
}

/// Returns whether a thing was made in the run's time.
fn in_time(run: &RunId, made: Option<i64>) -> bool {
    let Some(made) = made.and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok()) else {
        return false;
    };
    made > run.began() - SLACK && made < run.began() + LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> Tag {
        Tag::builder().key(key).value(value).build()
    }

    #[test]
    fn what_is_released_or_not_marked_as_ours_is_not_touched() {
        let run = tag(tags::RUN, "20260727t101500z-0a1b2c");
        let temporary = tag(tags::STATE, "temporary");
        assert!(marked(&[run.clone(), temporary.clone()]).is_some());
        assert!(marked(&[run.clone(), tag(tags::STATE, "released")]).is_none());
        assert!(marked(std::slice::from_ref(&run)).is_none());
        assert!(marked(&[tag(tags::RUN, "mine"), temporary]).is_none());
    }

    #[test]
    fn a_thing_older_than_the_run_it_names_is_not_its() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let began = run.began().unix_timestamp();
        assert!(in_time(&run, Some(began + 60)));
        assert!(!in_time(&run, Some(began - 3600)));
        assert!(!in_time(&run, Some(began + 30 * 24 * 3600)));
        assert!(!in_time(&run, None));
    }
}
