//! What a build would find and do here. It only reads.

use aws_sdk_ec2::types::Image;
use time::OffsetDateTime;

use super::error::Ec2Error;
use super::ladder::types;
use super::publish::{Difference, Foreseen};
use super::reuse::{Unfit, unfit};
use super::{Ec2, image, never_replaced, tags};
use crate::identity::{Content, changes};
use crate::plan::{BakePlan, Reuse};
use crate::targets::ahead::{Ahead, Known, Last, Problem, Source, ToPublish};
use crate::targets::{Role, TargetError};

/// What a build would come to.
enum Outcome {
    Finished(Image),
    /// Its publication is gone on with.
    Passed(Image),
    New,
}

impl Ec2 {
    /// Looks at what a build of `plan` would look at.
    pub(crate) async fn ahead(&self, plan: &BakePlan) -> Result<Ahead, TargetError> {
        let source = self.source_image(&plan.source, plan.arch).await?;
        let base = image::base(&source);
        let content = plan.inputs.content(plan.arch, &base.id());
        self.state().content = Some(content.clone());
        let same = self.of_content(&content.hash).await?;
        let mut ahead = Ahead {
            region: Some(self.region.clone()),
            source_image: Some(Source {
                id: base.id(),
                name: text(source.name()),
            }),
            last: self.last(plan, &content.inputs).await?,
            ..Ahead::default()
        };
        let now = OffsetDateTime::now_utc();
        let known = same.iter().rev().map(|i| known(i, plan, &content, now));
        ahead.same_content = known.collect();
        let outcome = outcome(&ahead, same);
        let (mut resources, mut problems) = (Vec::new(), Vec::new());
        let mut keeps_first = false;
        if !matches!(outcome, Outcome::Finished(_)) {
            let lost = self.lost_by_registering(&source).await?;
            keeps_first = lost.is_some();
            let refused = lost.and_then(|lost| never_replaced(plan, &base.id(), lost));
            problems.extend(refused.as_ref().map(Problem::from));
            let network = self.network(plan).await;
            problems.extend(network.as_ref().err().map(Problem::from));
        }
        let foreseen = match &outcome {
            Outcome::Finished(image) => Box::pin(self.foresee_old(plan, image)).await,
            Outcome::Passed(image) => {
                resources.push(LOCK.to_owned());
                Box::pin(self.foresee_old(plan, image)).await
            }
            Outcome::New => {
                resources = self::resources(plan, &self.places());
                let snapshots = snapshots(&source, plan);
                Box::pin(self.foresee_new(plan, &content, snapshots)).await
            }
        };
        let calls = Calls {
            plan,
            home: &self.region,
            has_copies: self.has_copies(plan),
            foreseen: &foreseen,
        };
        ahead.calls = calls.of(&outcome, keeps_first);
        resources.extend(foreseen.resources());
        ahead.resources = resources;
        ahead.publication = foreseen.changes.iter().map(to_publish).collect();
        ahead.notes = replaced(&foreseen);
        ahead.notes.extend(foreseen.notes);
        problems.extend(foreseen.problems);
        ahead.problems = problems;
        ahead.content = Some(content);
        Ok(ahead)
    }

    /// Returns the newest released image of the manifest, and what changed since.
    async fn last(
        &self,
        plan: &BakePlan,
        inputs: &crate::identity::Inputs,
    ) -> Result<Option<Last>, Ec2Error> {
        let filters = vec![
            tags::filter(&format!("tag:{}", tags::MANIFEST), [plan.name.as_str()]),
            tags::filter(&format!("tag:{}", tags::STATE), [tags::RELEASED]),
            tags::filter("architecture", [super::source::ec2_arch(plan.arch)]),
        ];
        let mut found = self.images(filters).await?;
        let is_ours = |image: &Image| tags::content_of(image.description().unwrap_or_default());
        found.retain(|image| is_ours(image).is_some());
        let newest = found
            .into_iter()
            .max_by(|a, b| a.creation_date().cmp(&b.creation_date()));
        Ok(newest.map(|image| Last {
            changes: tags::value(image.tags(), tags::INPUTS).map(|tag| changes(tag, inputs)),
            id: text(image.image_id()),
            name: text(image.name()),
            made: text(image.creation_date()),
        }))
    }

    /// Returns the subnets that machines may go to, for people.
    fn places(&self) -> String {
        let state = self.state();
        let Some(network) = &state.network else {
            return "no subnet".to_owned();
        };
        let places = network.subnets.iter().map(|place| place.id.as_str());
        places.collect::<Vec<_>>().join(" or ")
    }
}

/// Returns what a build would come to, of the images of its content.
fn outcome(ahead: &Ahead, same: Vec<Image>) -> Outcome {
    let taken = |id: &str| same.into_iter().find(|i| i.image_id() == Some(id));
    let found = match (ahead.finished(), ahead.passed()) {
        (Some(known), _) => taken(&known.id).map(Outcome::Finished),
        (None, Some(known)) => taken(&known.id).map(Outcome::Passed),
        (None, None) => None,
    };
    found.unwrap_or(Outcome::New)
}

fn known(image: &Image, plan: &BakePlan, content: &Content, now: OffsetDateTime) -> Known {
    let why = unfit(image, &content.hash, plan.image.max_age, now);
    let is_passed = why == Some(Unfit::Passed);
    let forced = plan.reuse == Reuse::Never && (why.is_none() || is_passed);
    Known {
        id: text(image.image_id()),
        name: text(image.name()),
        made: text(image.creation_date()),
        unfit: match forced {
            true => Some("--force".to_owned()),
            false => why.map(|why| why.to_string()),
        },
        passed: is_passed && !forced,
    }
}

fn to_publish(difference: &Difference) -> ToPublish {
    ToPublish {
        region: difference.region.clone(),
        change: difference.change.to_string(),
    }
}

/// Returns the images that make way, in words.
fn replaced(foreseen: &Foreseen) -> Vec<String> {
    let replaced = foreseen.replaced.iter();
    replaced
        .map(|(region, id)| format!("{id} in {region} makes way; its snapshots stay"))
        .collect()
}

/// Returns of how many snapshots an image is: those of its source, and those of more volumes.
fn snapshots(source: &Image, plan: &BakePlan) -> usize {
    let disks = source.block_device_mappings().iter();
    let disks = disks.filter(|disk| disk.ebs().is_some());
    let disks: Vec<Option<&str>> = disks.map(|disk| disk.device_name()).collect();
    let volumes = plan.builder.volumes.iter();
    let more = volumes.filter(|v| v.device.is_some() && !disks.contains(&v.device.as_deref()));
    disks.len() + more.count()
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

const LOCK: &str = "a lock (launch template), for as long as it builds";

/// Returns what a build makes: all of it goes again but the image and its snapshots.
fn resources(plan: &BakePlan, places: &str) -> Vec<String> {
    let types = types(plan).join(" or ");
    let mut made = vec![LOCK.to_owned()];
    if plan.builder.security_groups.is_empty() {
        made.push("a security group, for as long as it builds".to_owned());
    }
    for role in [Role::Builder, Role::Candidate] {
        made.push(format!("the {role} instance: {types} in {places}"));
    }
    made.push("a candidate image, until it has passed".to_owned());
    made.push(format!(
        "the image {} and its snapshots, which stay",
        plan.image.name
    ));
    made
}

/// The calls that change something, in their order, as often as they are made.
struct Calls<'a> {
    plan: &'a BakePlan,
    home: &'a str,
    has_copies: bool,
    foreseen: &'a Foreseen,
}

impl Calls<'_> {
    fn of(&self, outcome: &Outcome, keeps_first: bool) -> Vec<&'static str> {
        match outcome {
            Outcome::Finished(_) => self.publishing(),
            Outcome::Passed(image) => {
                let mut calls = vec!["CreateLaunchTemplate"];
                if tags::is_candidate_name(image.name().unwrap_or_default()) {
                    calls.extend(self.makes_way(|region| region == self.home));
                    calls.extend(["RegisterImage", "CreateTags", "DeregisterImage"]);
                }
                calls.extend(self.publishing());
                calls.push("DeleteLaunchTemplate");
                calls
            }
            Outcome::New => self.building(keeps_first),
        }
    }

    fn building(&self, keeps_first: bool) -> Vec<&'static str> {
        let has_group = self.plan.builder.security_groups.is_empty();
        let mut calls = vec!["CreateLaunchTemplate"];
        if has_group {
            calls.extend(["CreateSecurityGroup", "AuthorizeSecurityGroupIngress"]);
        }
        calls.extend(["RunInstances", "StopInstances", "CreateImage"]);
        calls.extend(["RunInstances", "TerminateInstances"]);
        calls.extend(["CreateTags", "CreateLaunchTemplateVersion"]);
        calls.extend(self.makes_way(|region| region == self.home));
        match keeps_first {
            true => calls.push("ModifyImageAttribute"),
            false => calls.extend(["RegisterImage", "DeregisterImage"]),
        }
        if self.has_copies {
            calls.push("CreateTags");
        }
        calls.extend(self.publishing());
        calls.extend(["DeleteLaunchTemplate", "TerminateInstances"]);
        if has_group {
            calls.push("DeleteSecurityGroup");
        }
        calls
    }

    /// Copies take their time: the spare of what makes way is kept for as long.
    fn publishing(&self) -> Vec<&'static str> {
        let replaced = &self.foreseen.replaced;
        let is_here = replaced.iter().any(|(region, _)| region == self.home);
        let mut calls = Vec::new();
        if is_here && self.has_copies {
            calls.push("CreateTags");
        }
        calls.extend(self.makes_way(|region| region != self.home));
        calls.extend(self.foreseen.calls());
        calls.extend(replaced.iter().map(|_| "DeregisterImage"));
        calls
    }

    /// An image that makes way is registered a second time before it goes.
    fn makes_way(&self, is_it: impl Fn(&str) -> bool) -> Vec<&'static str> {
        let replaced = self.foreseen.replaced.iter();
        let replaced = replaced.filter(|(region, _)| is_it(region));
        replaced
            .flat_map(|_| ["RegisterImage", "DeregisterImage"])
            .collect()
    }
}
