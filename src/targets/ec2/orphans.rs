//! What runs left in the account, found by tags alone.
//!
//! Anybody with CreateTags can mark a thing, so a tag is believed only with what that right cannot
//! write: our token, our name, our description, and when the thing was made in the run's time. What
//! is released is never touched.

use aws_sdk_ec2::types::{Filter, Image, ImageState, Instance, Snapshot, Tag};
use time::OffsetDateTime;

use super::debts::{Ec2Undo, Removal};
use super::error::Ec2Error;
use super::ours::{in_time, is_ours};
use super::publish::Outward;
use super::{Ec2, image, launch, lock, tags};
use crate::ledger::Debt;
use crate::run::{RunId, parse_rfc3339};
use crate::targets::Role;
use crate::targets::reap::Owed;

/// What the tag means that says that something is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReleaseMark {
    /// That it is: nobody removes it.
    Stands,
    /// Nothing: the journal says that the run has failed after it wrote that.
    WasWithdrawn,
}

/// Something of a run that is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orphan {
    /// What removes it.
    pub(super) undo: Ec2Undo,
    /// Its id; `None` for what may yet appear.
    pub(super) id: Option<String>,
    /// When its run would have renewed it; `None` when the tag is missing or no time.
    pub(super) expires: Option<OffsetDateTime>,
    /// Whether it has passed, and waits for its publication: its time alone takes it.
    pub(super) has_passed: bool,
}

/// An image that is released by its tags, and has still the description of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HalfReleased {
    pub(super) run: RunId,
    pub(super) id: String,
    /// What its description is to be.
    pub(super) description: String,
}

/// What was found in a region.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) orphans: Vec<Orphan>,
    pub(super) half_released: Vec<HalfReleased>,
    /// Whether all could be looked for.
    pub(super) looked: Result<(), Ec2Error>,
}

impl HalfReleased {
    /// A build that was killed in the middle of its last two calls leaves an image so. One that is
    /// named or described as a candidate has not got that far, whatever its tags say.
    fn of(image: &Image) -> Option<Self> {
        let run: RunId = tags::value(image.tags(), tags::RUN)?.parse().ok()?;
        let description = tags::without_run(image.description()?, &run)?;
        let is_final = image.name() != Some(tags::candidate_name(&run).as_str());
        (is_released(image.tags()) && is_final).then(|| Self {
            run,
            id: image.image_id().unwrap_or_default().to_owned(),
            description,
        })
    }
}

impl Orphan {
    /// Returns it as a debt.
    pub(super) fn owed(&self) -> Owed {
        Owed {
            run: self.undo.run.clone(),
            debt: Debt {
                undo: self.undo.clone().into(),
                learned: self.id.iter().cloned().collect(),
            },
        }
    }
}

impl Ec2 {
    /// Returns what is there of `run`, or of all runs. What is found counts, although another kind
    /// of thing could not be looked for.
    pub(super) async fn orphans(&self, run: Option<&RunId>) -> Found {
        let of = || match run {
            Some(run) => vec![tags::of_run(run)],
            None => vec![tags::filter("tag-key", [tags::RUN])],
        };
        let mut half_released = Vec::new();
        let kinds = [
            self.orphan_instances(of()).await,
            self.orphan_groups(of()).await,
            self.orphan_images(of(), &mut half_released).await,
            self.orphan_snapshots(of()).await,
            self.orphan_locks(of()).await,
        ];
        let (mut orphans, mut looked) = (Vec::new(), Ok(()));
        for kind in kinds {
            match kind {
                Ok(found) => orphans.extend(found),
                Err(error) => looked = looked.and(Err(error)),
            }
        }
        Found {
            orphans,
            half_released,
            looked,
        }
    }

    async fn orphan_instances(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, Ec2Error> {
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
            if self.is_machine_of(&instance, &run, role) && launch::state(&instance) != "terminated"
            {
                let undo = self.undoing(&run, Removal::TerminateInstance { role });
                found.extend(orphan(undo, instance.instance_id, expires));
            }
        }
        Ok(found)
    }

    async fn orphan_groups(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, Ec2Error> {
        let mut found = Vec::new();
        for group in self.groups(of).await? {
            let Some((run, expires)) = marked(group.tags()) else {
                continue;
            };
            let name = tags::group_name(&run);
            if group.group_name() == Some(name.as_str()) {
                let undo = self.undoing(&run, Removal::DeleteSecurityGroup { name });
                found.extend(orphan(undo, group.group_id, expires));
            }
        }
        Ok(found)
    }

    async fn orphan_images(
        &self,
        of: Vec<Filter>,
        half_released: &mut Vec<HalfReleased>,
    ) -> Result<Vec<Orphan>, Ec2Error> {
        let mut found = Vec::new();
        for image in self.images(of).await? {
            half_released.extend(HalfReleased::of(&image));
            let Some((run, expires)) = marked(image.tags()) else {
                continue;
            };
            if is_ours(&image, &run) {
                if image.state() == Some(&ImageState::Pending) {
                    // Its snapshots may not be listed yet, and would appear when it is gone.
                    let expected = None;
                    let undo = self.undoing(&run, Removal::DeleteSnapshots { expected });
                    let id = None;
                    found.push(Orphan {
                        undo,
                        id,
                        expires,
                        has_passed: false,
                    });
                }
                let has_passed = has_passed(image.tags());
                let name = image.name.unwrap_or_default();
                let removal = match tags::kept_by_spare(&name, &run) {
                    Some(kept) => Removal::RestoreImage {
                        name: kept.to_owned(),
                        spare: name.clone(),
                    },
                    None => Removal::DeregisterImage { name },
                };
                let undo = self.undoing(&run, removal);
                let orphan = orphan(undo, image.image_id, expires);
                found.extend(orphan.map(|o| Orphan { has_passed, ..o }));
            }
        }
        Ok(found)
    }

    async fn orphan_snapshots(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, Ec2Error> {
        let mut found = Vec::new();
        for snapshot in self.snapshots_by(of).await? {
            let Some((run, expires)) = marked(snapshot.tags()) else {
                continue;
            };
            if self.is_run_s(&run, &snapshot, ReleaseMark::Stands).await? {
                let expected = None;
                let undo = self.undoing(&run, Removal::DeleteSnapshots { expected });
                let has_passed = has_passed(snapshot.tags());
                let orphan = orphan(undo, snapshot.snapshot_id, expires);
                found.extend(orphan.map(|o| Orphan { has_passed, ..o }));
            }
        }
        Ok(found)
    }

    /// A lock is by its name: whoever holds it and is alive makes a new one, or goes on without.
    async fn orphan_locks(&self, of: Vec<Filter>) -> Result<Vec<Orphan>, Ec2Error> {
        let mut found = Vec::new();
        for template in self.launch_templates(of).await? {
            let Some((run, expires)) = marked(template.tags()) else {
                continue;
            };
            let made = template.create_time().map(aws_smithy_types::DateTime::secs);
            let name = template.launch_template_name.unwrap_or_default();
            if name.starts_with(lock::PREFIX) && in_time(&run, made) {
                let undo = self.undoing(&run, Removal::DeleteLock { name });
                found.extend(orphan(undo, template.launch_template_id, expires));
            }
        }
        Ok(found)
    }

    /// Returns whether the run launched a machine as this role: by its token, and when it began.
    pub(super) fn is_machine_of(&self, instance: &Instance, run: &RunId, role: Role) -> bool {
        let attempt = tags::value(instance.tags(), tags::ATTEMPT);
        let attempt = attempt.and_then(|a| a.parse().ok()).unwrap_or(1);
        let ours = tags::token(run, role, attempt, &self.region);
        let made = instance.launch_time().map(aws_smithy_types::DateTime::secs);
        instance.client_token() == Some(ours.as_str()) && in_time(run, made)
    }

    /// Returns whether a snapshot is the run's alone: made with an image, and of no image now but
    /// the run's own. One whose own tag was not written is still the released image's.
    async fn is_run_s(
        &self,
        run: &RunId,
        snapshot: &Snapshot,
        released: ReleaseMark,
    ) -> Result<bool, Ec2Error> {
        let id = snapshot.snapshot_id().unwrap_or_default();
        let uses = |i: &Image| image::snapshots_of(i).iter().any(|s| s == id);
        let mut users = self
            .images(vec![tags::filter("block-device-mapping.snapshot-id", [id])])
            .await?;
        users.retain(uses);
        let theirs = |i: &Image| {
            let marked = marked(i.tags()).is_some_and(|(of, _)| of == *run);
            !(marked || released == ReleaseMark::WasWithdrawn) || !is_ours(i, run)
        };
        Ok(is_snapshot_of(snapshot, run) && !users.iter().any(theirs))
    }

    /// Returns whether something that a run's journal names is still there, and is not released.
    pub(super) async fn is_there(
        &self,
        undo: &Ec2Undo,
        id: &str,
        released: ReleaseMark,
    ) -> Result<bool, Ec2Error> {
        let is_released = |tags: &[Tag]| is_released(tags) && released != ReleaseMark::WasWithdrawn;
        Ok(match &undo.removal {
            Removal::TerminateInstance { .. } => {
                let found = self.instance(id).await?;
                found.is_some_and(|i| launch::state(&i) != "terminated")
            }
            Removal::DeleteSecurityGroup { .. } => {
                let found = self.groups(vec![tags::filter("group-id", [id])]);
                !found.await?.is_empty()
            }
            Removal::DeregisterImage { .. } => {
                let found = self.images(vec![tags::filter("image-id", [id])]);
                let mut found = found.await?.into_iter();
                found.any(|i| is_ours(&i, &undo.run) && !is_released(i.tags()))
            }
            Removal::RestoreImage { .. } => {
                let found = self.images(vec![tags::filter("image-id", [id])]);
                found.await?.iter().any(|i| is_ours(i, &undo.run))
            }
            Removal::DeleteLock { name } => {
                let found = self.find_lock(&undo.run, name).await?;
                found.iter().any(|found| found == id)
            }
            Removal::DeleteSnapshots { .. } => {
                let found = self.snapshots_by(vec![tags::filter("snapshot-id", [id])]);
                match found.await?.as_slice() {
                    [it] if !is_released(it.tags()) => {
                        self.is_run_s(&undo.run, it, released).await?
                    }
                    _ => false,
                }
            }
            Removal::Withdraw(outward) => self.stands(outward, released).await?,
        })
    }

    /// Returns whether something that a run did for an image is to be taken back: not where that is
    /// released, whatever the journal says of the run.
    async fn stands(&self, outward: &Outward, released: ReleaseMark) -> Result<bool, Ec2Error> {
        let found = self.images(vec![tags::filter("image-id", [outward.image()])]);
        // One that lost its run's mark too was published since, whatever a journal says.
        let is_published = |image: &Image| {
            let is_marked = tags::run_in(image.description().unwrap_or_default()).is_some();
            is_released(image.tags()) && !(is_marked && released == ReleaseMark::WasWithdrawn)
        };
        Ok(!found.await?.iter().any(is_published))
    }
}

/// Returns whether a snapshot was made with an image, in the run's time.
pub(super) fn is_snapshot_of(snapshot: &Snapshot, run: &RunId) -> bool {
    let made = snapshot.start_time().map(aws_smithy_types::DateTime::secs);
    let description = snapshot.description();
    let is_of_image = |text: &str| OF_AN_IMAGE.iter().any(|words| text.starts_with(words));
    description.is_some_and(is_of_image) && in_time(run, made)
}

/// How EC2 describes the snapshots that CreateImage and CopyImage make; nobody can describe one anew.
const OF_AN_IMAGE: [&str; 2] = ["Created by CreateImage(", "Copied for DestinationAmi "];

fn is_released(tags: &[Tag]) -> bool {
    super::tags::value(tags, super::tags::STATE) == Some(super::tags::RELEASED)
}

fn orphan(undo: Ec2Undo, id: Option<String>, expires: Option<OffsetDateTime>) -> Option<Orphan> {
    let id = Some(id?);
    Some(Orphan {
        undo,
        id,
        expires,
        has_passed: false,
    })
}

fn has_passed(tags: &[Tag]) -> bool {
    super::tags::value(tags, super::tags::STATE) == Some(super::tags::PASSED)
}

/// Returns the run that a thing says it belongs to, unless it is released.
fn marked(tags: &[Tag]) -> Option<(RunId, Option<OffsetDateTime>)> {
    let state = super::tags::value(tags, super::tags::STATE)?;
    let run = super::tags::value(tags, super::tags::RUN)?.parse().ok()?;
    let expires = super::tags::value(tags, super::tags::EXPIRES).and_then(parse_rfc3339);
    let may_go = [super::tags::TEMPORARY, super::tags::PASSED].contains(&state);
    may_go.then_some((run, expires))
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
    fn a_release_that_was_cut_off_is_known_by_its_tag_and_its_description() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let image = |state: &str, name: &str, words: &str| {
            let tags = [tag(tags::RUN, run.as_str()), tag(tags::STATE, state)];
            let image = Image::builder().image_id("ami-1").name(name);
            let image = image.description(words).set_tags(Some(tags.to_vec()));
            HalfReleased::of(&image.build()).map(|half| half.description)
        };
        let ours = format!("a web server {}", tags::made_by(&run));
        let words = Some("a web server".to_owned());
        assert_eq!(image("released", "web-8", &ours), words);
        assert_eq!(image("released", "web-8", "a web server"), None);
        assert_eq!(image("temporary", "web-8", &ours), None);
        assert_eq!(image("released", &tags::candidate_name(&run), &ours), None);
        // One with product codes has its final name before it is tested.
        let untested = format!("a web server {}", tags::candidate_of(&run));
        assert_eq!(image("released", "web-8", &untested), None);
        // An empty one is as EC2 had it from before.
        let old = image("released", "web-8", &tags::made_by(&run));
        assert_eq!(old.as_deref(), Some("baked by amibake"));
    }

    #[test]
    fn a_thing_older_than_the_run_it_names_is_not_its() {
        let run: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let began = run.began().unix_timestamp();
        assert!(in_time(&run, Some(began + 60)));
        assert!(!in_time(&run, Some(began - 3600)));
        assert!(!in_time(&run, Some(began + 33 * 24 * 3600)));
        assert!(!in_time(&run, None));
    }
}
