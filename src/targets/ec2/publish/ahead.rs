//! What a publication would do, before anything is done. The differences are those that publishing mends; an
//! image, or a copy, that is not there yet is taken for one that has just been made.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Image;
use futures_util::future::join_all;
use time::OffsetDateTime;

use super::differences::{Change, Difference, differences, forgotten, overtaken, too_late};
use super::seen::{ImageSeen, Seen, SnapshotSeen};
use super::wish::Wish;
use super::{built_as, mend};
use crate::identity::Content;
use crate::manifest::Grant;
use crate::plan::BakePlan;
use crate::targets::ahead::Problem;
use crate::targets::ec2::image::snapshots_of;
use crate::targets::ec2::{Ec2, tags};
use crate::targets::{Fault, LIFETIME, TargetError};

/// What is to be expected of a publication.
#[derive(Debug, Default)]
pub(in crate::targets::ec2) struct Foreseen {
    pub(in crate::targets::ec2) changes: Vec<Difference>,
    /// Images that make way, by region.
    pub(in crate::targets::ec2) replaced: Vec<(String, String)>,
    /// What is left as it is, or could not be looked at: each in words.
    pub(in crate::targets::ec2) notes: Vec<String>,
    /// What it would stop at.
    pub(in crate::targets::ec2) problems: Vec<Problem>,
}

impl Ec2 {
    /// Looks ahead at the publication of an image that is yet to be made, of so many snapshots.
    pub(in crate::targets::ec2) async fn foresee_new(
        &self,
        plan: &BakePlan,
        content: &Content,
        snapshots: usize,
    ) -> Foreseen {
        let wish = Wish::of(plan, &self.region);
        let mut foreseen = Foreseen::default();
        let now = OffsetDateTime::now_utc();
        let mut seen = Seen {
            at: now,
            made: now,
            regions: BTreeMap::new(),
        };
        for (region, checked) in self.look_before(plan, &wish).await {
            let looked = match checked {
                Ok((taken, looked)) => {
                    let there = self.there(&region);
                    let may = match taken {
                        Some(old) => there.may_make_way(&old, plan).await.map(|()| Some(old)),
                        None => Ok(None),
                    };
                    foreseen.replaces(&there, may);
                    Ok(looked)
                }
                Err(error) if error.fault == Fault::Manifest || region == self.region => {
                    foreseen.problems.push((&error).into());
                    Err(error)
                }
                Err(error) => {
                    foreseen.notes.push(not_looked_at(&region, &error));
                    Err(error)
                }
            };
            seen.regions.insert(region, looked);
        }
        let described = tags::tested_description(plan, content);
        foreseen.compare(plan, &wish, seen, &described, snapshots);
        foreseen
    }

    /// Looks ahead at the publication of an image that is there.
    pub(in crate::targets::ec2) async fn foresee_old(
        &self,
        plan: &BakePlan,
        image: &Image,
    ) -> Foreseen {
        let began = plan.run.began();
        let plan = &built_as(plan, image);
        let wish = Wish::of(plan, &self.region).since(Some(began));
        let mut seen = self.look_at(&wish, image).await;
        let mut foreseen = Foreseen::default();
        let mut lacking = Vec::new();
        for (region, looked) in &mut seen.regions {
            match looked {
                Ok(there) if tags::is_candidate_name(image.name().unwrap_or_default()) => {
                    // It gets an id of its own when it is registered under its name.
                    there.image = None;
                    lacking.push(region.clone());
                }
                Ok(there) if there.image.is_none() => lacking.push(region.clone()),
                Ok(_) => {}
                Err(error) => foreseen.problems.push(Problem {
                    told: not_looked_at(region, error),
                    ..Problem::from(&*error)
                }),
            }
        }
        let lacking = lacking.iter().filter(|_| plan.image.replace);
        let holders = lacking.map(|region| async move {
            let there = self.there(region);
            let holder = there.to_be_replaced(plan).await;
            (there, holder)
        });
        for (there, holder) in join_all(holders).await {
            foreseen.replaces(&there, holder);
        }
        let mut notes = overtaken(&wish, &seen);
        notes.extend(forgotten(&wish, &seen));
        foreseen.notes.extend(notes);
        let described = image.description().unwrap_or_default();
        let snapshots = snapshots_of(image).len();
        foreseen.compare(plan, &wish, seen, described, snapshots);
        foreseen
    }
}

impl Foreseen {
    /// Notes that an image makes way in a region, or why it may not.
    fn replaces(&mut self, there: &Ec2, may: Result<Option<Image>, TargetError>) {
        match may {
            Ok(old) => {
                let id = old.and_then(|old| old.image_id);
                self.replaced
                    .extend(id.map(|id| (there.region.clone(), id)));
            }
            Err(error) => self.problems.push((&error).into()),
        }
    }

    /// Lists what is to be done in each region: first the copy, where there is none.
    fn compare(
        &mut self,
        plan: &BakePlan,
        wish: &Wish,
        mut seen: Seen,
        described: &str,
        snapshots: usize,
    ) {
        let mut copied = Vec::new();
        for (region, looked) in &mut seen.regions {
            let Ok(there) = looked else { continue };
            if there.image.is_some() {
                continue;
            }
            let is_copy = *region != wish.home;
            there.image = Some(unborn(plan, is_copy, described, snapshots));
            if is_copy {
                copied.push(region.clone());
            }
        }
        self.notes.extend(too_late(wish, &seen));
        for difference in differences(wish, &seen) {
            if let Some(at) = copied.iter().position(|r| *r == difference.region) {
                let region = copied.swap_remove(at);
                let change = Change::Copy;
                self.changes.push(Difference { region, change });
            }
            self.changes.push(difference);
        }
    }

    /// Returns the calls that this takes, but for those that have images make way.
    pub(in crate::targets::ec2) fn calls(&self) -> Vec<&'static str> {
        let mut calls = Vec::new();
        let of_region = |a: &Difference, b: &Difference| a.region == b.region;
        for region in self.changes.chunk_by(of_region) {
            let changes: Vec<&Change> = region.iter().map(|d| &d.change).collect();
            let is_quiet = !changes.iter().any(|change| change.is_outward());
            for change in &changes {
                match change {
                    Change::Tag { ids, .. } if is_quiet && mend::releases(&changes, ids) => {}
                    change => calls.extend(calls_of(change)),
                }
            }
        }
        calls
    }

    /// Returns what is made by this and stays, in words.
    pub(in crate::targets::ec2) fn resources(&self) -> Vec<String> {
        let made = self
            .changes
            .iter()
            .filter_map(|Difference { region, change }| {
                Some(match change {
                    Change::Copy => {
                        format!("a copy of the image in {region} and its snapshots, which stay")
                    }
                    Change::SetParameter {
                        name, before: None, ..
                    } => format!("the parameter {name} in {region}, which stays"),
                    Change::AddTemplateVersion { template, .. } => {
                        format!(
                            "a version of launch template {} in {region}, which stays",
                            template.id
                        )
                    }
                    _ => return None,
                })
            });
        made.collect()
    }
}

/// Returns an image that has passed, or a copy of one, as it is before anything is done for it.
fn unborn(plan: &BakePlan, is_copy: bool, described: &str, snapshots: usize) -> ImageSeen {
    let name = if is_copy { "the copy" } else { "the image" };
    let tags = tags::unreleased(plan, "image", LIFETIME);
    let description = match tags::run_in(described) {
        Some(_) => described.to_owned(),
        None => format!("{described} {}", tags::made_by(&plan.run)),
    };
    let snapshot = |number| SnapshotSeen {
        id: match snapshots {
            1 => "its snapshot".to_owned(),
            _ => format!("its snapshot {number}"),
        },
        tags: tags.clone(),
        ..SnapshotSeen::default()
    };
    ImageSeen {
        id: name.to_owned(),
        description,
        snapshots: (1..=snapshots).map(snapshot).collect(),
        tags: tags.clone(),
        ..ImageSeen::default()
    }
}

/// Returns the calls that mend one difference.
fn calls_of(change: &Change) -> Vec<&'static str> {
    match change {
        Change::Copy => vec!["CopyImage"],
        Change::Tag { .. } | Change::Release { .. } => vec!["CreateTags"],
        Change::Share { add, remove, .. } => one_each("ModifyImageAttribute", add, remove),
        Change::ShareSnapshot { add, remove, .. } => {
            one_each("ModifySnapshotAttribute", add, remove)
        }
        Change::SetParameter { .. } => vec!["PutParameter"],
        Change::AddTemplateVersion {
            set_default: false, ..
        } => vec!["CreateLaunchTemplateVersion"],
        Change::AddTemplateVersion {
            set_default: true, ..
        } => vec!["CreateLaunchTemplateVersion", "ModifyLaunchTemplate"],
        Change::SetDefaultVersion { .. } => vec!["ModifyLaunchTemplate"],
        Change::Describe { .. } => vec!["ModifyImageAttribute"],
        Change::Deprecate { .. } => vec!["EnableImageDeprecation"],
        Change::Protect { protection, .. } => vec![mend::protecting(*protection)],
    }
}

/// Returns a call for those who are let in, and one for those who are not any more.
fn one_each(call: &'static str, add: &[Grant], remove: &[Grant]) -> Vec<&'static str> {
    let lists = [add, remove];
    lists
        .iter()
        .filter(|grants| !grants.is_empty())
        .map(|_| call)
        .collect()
}

fn not_looked_at(region: &str, error: &TargetError) -> String {
    format!("{region} could not be looked at: {}", error.on_one_line())
}
