//! What a build would find and do here. It only reads.

use aws_sdk_ec2::types::Image;
use time::OffsetDateTime;

use super::error::Ec2Error;
use super::ladder::types;
use super::reuse::unfit;
use super::{Ec2, image, tags};
use crate::identity::changes;
use crate::plan::{BakePlan, Reuse};
use crate::targets::ahead::{Ahead, Known, Last, Source};
use crate::targets::{Role, TargetError};

impl Ec2 {
    /// Looks at what a build of `plan` would look at.
    pub(crate) async fn ahead(&self, plan: &BakePlan) -> Result<Ahead, TargetError> {
        let source = self.source_image(&plan.source, plan.arch).await?;
        let base = image::base(&source);
        let content = plan.inputs.content(plan.arch, &base.id());
        let now = OffsetDateTime::now_utc();
        let same = self.of_content(&content.hash).await?;
        let known = |image: &Image| {
            let why = unfit(image, &content.hash, plan.image.max_age, now);
            let forced = (plan.reuse == Reuse::Never).then(|| "--force".to_owned());
            Known {
                id: text(image.image_id()),
                name: text(image.name()),
                made: text(image.creation_date()),
                unfit: why.map(|why| why.to_string()).or(forced),
            }
        };
        let problem = self.network(plan).await.err();
        let keeps_first = self.lost_by_registering(&source).await?.is_some();
        Ok(Ahead {
            region: Some(self.region.clone()),
            source_image: Some(Source {
                id: base.id(),
                name: text(source.name()),
            }),
            same_content: same.iter().rev().map(known).collect(),
            last: self.last(plan, &content.inputs).await?,
            resources: resources(plan, &self.places()),
            calls: calls(plan, keeps_first),
            problems: problem
                .map(|error| error.on_one_line())
                .into_iter()
                .collect(),
            content: Some(content),
        })
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
            changes: changes(
                tags::value(image.tags(), tags::INPUTS).unwrap_or_default(),
                inputs,
            ),
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

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// Returns what a build makes: all of it goes again but the image and its snapshots.
pub(crate) fn resources(plan: &BakePlan, places: &str) -> Vec<String> {
    let types = types(plan).join(" or ");
    let mut made = vec!["a lock (launch template), for as long as it builds".to_owned()];
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

/// Returns the calls that change something, in their order, as often as they are made.
pub(crate) fn calls(plan: &BakePlan, keeps_first: bool) -> Vec<&'static str> {
    let mut calls = vec!["CreateLaunchTemplate"];
    if plan.builder.security_groups.is_empty() {
        calls.extend(["CreateSecurityGroup", "AuthorizeSecurityGroupIngress"]);
    }
    calls.extend([
        "RunInstances",
        "StopInstances",
        "CreateImage",
        "RunInstances",
    ]);
    calls.extend([
        "TerminateInstances",
        "CreateTags",
        "CreateLaunchTemplateVersion",
    ]);
    match keeps_first {
        true => calls.push("ModifyImageAttribute"),
        false => calls.extend(["RegisterImage", "DeregisterImage"]),
    }
    calls.extend(["CreateTags", "ModifyImageAttribute"]);
    calls.extend(["DeleteLaunchTemplate", "TerminateInstances"]);
    if plan.builder.security_groups.is_empty() {
        calls.push("DeleteSecurityGroup");
    }
    calls
}
