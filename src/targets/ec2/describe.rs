//! What EC2 lists, all pages of it. A filter says what: an unknown id is no error then, and a page
//! may be empty although others follow.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ec2::types::{
    CreateVolumePermission, Filter, Image, ImageAttributeName, Instance, InstanceType,
    InstanceTypeInfo, InstanceTypeOffering, LaunchPermission, LaunchTemplate,
    LaunchTemplateVersion, LocationType, NetworkAcl, RouteTable, SecurityGroup, Snapshot,
    SnapshotAttributeName, Subnet, Vpc,
};
use aws_sdk_ssm::operation::describe_parameters::DescribeParametersOutput;
use aws_sdk_ssm::types::{Parameter, ParameterMetadata, ParameterStringFilter};

use super::answered_at::AnsweredAt;
use super::error::Ec2Error;
use super::image::may_be_uefi;
use super::offerings::Offerings;
use super::{Ec2, tags};
use crate::manifest::{Grant, TemplateName};
use crate::run::RunId;

/// Makes a call page by page and returns what all pages list.
macro_rules! pages {
    ($ec2:expr, $operation:literal, $request:expr) => {{
        let pages = $request.into_paginator().items().send();
        let listed = pages.try_collect().await;
        listed.map_err(|error| $ec2.refused($operation, error))
    }};
}

/// Does the same, patiently.
macro_rules! all_pages {
    ($ec2:expr, $operation:literal, $request:expr) => {{
        let request = $request;
        let asking = || async {
            let pages = request.clone().into_paginator().items().send();
            let listed = pages.try_collect().await;
            listed.map_err(|error| $ec2.refused($operation, error))
        };
        $ec2.persist(asking).await
    }};
}

pub(super) use all_pages;

/// A lock, as it was when its holder beat last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) id: String,
    /// The holder.
    pub(super) run: Option<RunId>,
    /// By EC2's clock alone; nothing where its answer does not say what time it is.
    pub(super) age: Duration,
}

impl Ec2 {
    /// Returns an SSM parameter, or one of its versions (`/ami/web:3`), if it is there.
    pub(super) async fn parameter(&self, name: &str) -> Result<Option<Parameter>, Ec2Error> {
        let request = self.ssm.get_parameter().name(name);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("GetParameter", e))
        };
        match self.persist(asking).await {
            Ok(answer) => Ok(answer.parameter),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what is said of an SSM parameter beside its value, if it is there.
    pub(super) async fn parameter_described(
        &self,
        name: &str,
    ) -> Result<Option<ParameterMetadata>, Ec2Error> {
        let of_name = ParameterStringFilter::builder().key("Name");
        let of_name = of_name.option("Equals").values(name).build();
        let of_name = of_name.expect("the key is there");
        let request = self.ssm.describe_parameters().parameter_filters(of_name);
        let asking = || async {
            let pages = request.clone().into_paginator().send().try_collect().await;
            pages.map_err(|e| self.refused("DescribeParameters", e))
        };
        let pages: Vec<DescribeParametersOutput> = self.persist(asking).await?;
        let mut found = pages.into_iter().filter_map(|page| page.parameters);
        Ok(found.find_map(|parameters| parameters.into_iter().next()))
    }

    /// Returns the account's own images.
    pub(super) async fn images(&self, filters: Vec<Filter>) -> Result<Vec<Image>, Ec2Error> {
        self.images_of(vec!["self".to_owned()], filters).await
    }

    /// Returns images of these owners, or of anybody who lets this account use them.
    pub(super) async fn images_of(
        &self,
        owners: Vec<String>,
        filters: Vec<Filter>,
    ) -> Result<Vec<Image>, Ec2Error> {
        let owners = Some(owners).filter(|owners| !owners.is_empty());
        let request = self.ec2.describe_images().set_owners(owners);
        let request = request.set_filters(Some(filters));
        all_pages!(self, "DescribeImages", request)
    }

    /// Returns the account's own images; who asks in rounds has patience of its own.
    pub(super) async fn own_images_once(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<Image>, Ec2Error> {
        let request = self.ec2.describe_images().owners("self");
        pages!(self, "DescribeImages", request.set_filters(Some(filters)))
    }

    /// Returns an image's UEFI variables (keys for secure boot among them) as RegisterImage takes them,
    /// if it has some: nobody but its owner is told.
    pub(super) async fn uefi_data(&self, image: &Image) -> Result<Option<String>, Ec2Error> {
        if !may_be_uefi(image) {
            return Ok(None);
        }
        let request = self.ec2.describe_image_attribute();
        let request = request
            .set_image_id(image.image_id.clone())
            .attribute(ImageAttributeName::UefiData);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("DescribeImageAttribute", e))
        };
        let ids: Vec<String> = image.image_id.clone().into_iter().collect();
        let answer = self.persist(|| self.once_known(&ids, asking)).await?;
        let data = answer.uefi_data.and_then(|data| data.value);
        Ok(data.filter(|data| !data.is_empty()))
    }

    /// Returns who may launch an image of ours.
    pub(super) async fn launch_permissions(&self, id: &str) -> Result<BTreeSet<Grant>, Ec2Error> {
        let request = self.ec2.describe_image_attribute();
        let request = request
            .image_id(id)
            .attribute(ImageAttributeName::LaunchPermission);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("DescribeImageAttribute", e))
        };
        let ids = [id.to_owned()];
        let answer = self.persist(|| self.once_known(&ids, asking)).await?;
        let permissions = answer.launch_permissions.unwrap_or_default();
        let grant = |permission: LaunchPermission| {
            let everybody = permission.group.map(|_| Grant::Everybody);
            let account = permission.user_id.map(Grant::Account);
            let organization = permission.organization_arn.map(Grant::Organization);
            let unit = permission.organizational_unit_arn;
            let unit = unit.map(Grant::OrganizationalUnit);
            everybody.or(account).or(organization).or(unit)
        };
        Ok(permissions.into_iter().filter_map(grant).collect())
    }

    /// Returns who may make volumes of a snapshot of ours.
    pub(super) async fn volume_permissions(&self, id: &str) -> Result<BTreeSet<Grant>, Ec2Error> {
        let request = self.ec2.describe_snapshot_attribute();
        let request = request
            .snapshot_id(id)
            .attribute(SnapshotAttributeName::CreateVolumePermission);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("DescribeSnapshotAttribute", e))
        };
        let ids = [id.to_owned()];
        let answer = self.persist(|| self.once_known(&ids, asking)).await?;
        let permissions = answer.create_volume_permissions.unwrap_or_default();
        let grant = |permission: CreateVolumePermission| {
            let everybody = permission.group.map(|_| Grant::Everybody);
            everybody.or(permission.user_id.map(Grant::Account))
        };
        Ok(permissions.into_iter().filter_map(grant).collect())
    }

    /// Returns the versions of a launch template from a number on.
    pub(super) async fn versions_since(
        &self,
        template: &TemplateName,
        least: i64,
    ) -> Result<Vec<LaunchTemplateVersion>, Ec2Error> {
        let request = self.ec2.describe_launch_template_versions();
        let request = match template {
            TemplateName::Id(id) => request.launch_template_id(id),
            TemplateName::Name(name) => request.launch_template_name(name),
        };
        let request = request.min_version(least.to_string());
        let listed = all_pages!(self, "DescribeLaunchTemplateVersions", request);
        match listed {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Returns the latest and the default version of a launch template, if that exists.
    pub(super) async fn template_versions(
        &self,
        template: &TemplateName,
    ) -> Result<Vec<LaunchTemplateVersion>, Ec2Error> {
        let request = self.ec2.describe_launch_template_versions();
        let request = match template {
            TemplateName::Id(id) => request.launch_template_id(id),
            TemplateName::Name(name) => request.launch_template_name(name),
        };
        let request = request.versions("$Latest").versions("$Default");
        let listed = all_pages!(self, "DescribeLaunchTemplateVersions", request);
        match listed {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Returns the account's own snapshots.
    pub(super) async fn snapshots_by(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<Snapshot>, Ec2Error> {
        let request = self.ec2.describe_snapshots().owner_ids("self");
        let request = request.set_filters(Some(filters));
        all_pages!(self, "DescribeSnapshots", request)
    }

    /// Returns the account's own snapshots; who asks in rounds has patience of its own.
    pub(super) async fn snapshots_once(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<Snapshot>, Ec2Error> {
        let request = self.ec2.describe_snapshots().owner_ids("self");
        pages!(
            self,
            "DescribeSnapshots",
            request.set_filters(Some(filters))
        )
    }

    pub(super) async fn snapshots(&self, run: &RunId) -> Result<Vec<Snapshot>, Ec2Error> {
        self.snapshots_by(vec![tags::of_run(run)]).await
    }

    /// Returns instances, ended ones too for a while.
    pub(super) async fn instances(&self, filters: Vec<Filter>) -> Result<Vec<Instance>, Ec2Error> {
        let request = self.ec2.describe_instances().set_filters(Some(filters));
        let reservations: Vec<_> = all_pages!(self, "DescribeInstances", request)?;
        let instances = reservations.into_iter().filter_map(|r| r.instances);
        Ok(instances.flatten().collect())
    }

    /// Returns instances; who asks in rounds has patience of its own.
    pub(super) async fn instances_once(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<Instance>, Ec2Error> {
        let request = self.ec2.describe_instances().set_filters(Some(filters));
        let reservations: Vec<_> = pages!(self, "DescribeInstances", request)?;
        let instances = reservations.into_iter().filter_map(|r| r.instances);
        Ok(instances.flatten().collect())
    }

    /// Returns the instance with this id, if EC2 lists it.
    pub(super) async fn instance(&self, id: &str) -> Result<Option<Instance>, Ec2Error> {
        let found = self
            .instances(vec![tags::filter("instance-id", [id])])
            .await?;
        Ok(found.into_iter().next())
    }

    pub(super) async fn groups(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<SecurityGroup>, Ec2Error> {
        let request = self.ec2.describe_security_groups();
        let request = request.set_filters(Some(filters));
        all_pages!(self, "DescribeSecurityGroups", request)
    }

    pub(super) async fn subnets(&self, filters: Vec<Filter>) -> Result<Vec<Subnet>, Ec2Error> {
        let request = self.ec2.describe_subnets().set_filters(Some(filters));
        all_pages!(self, "DescribeSubnets", request)
    }

    pub(super) async fn vpcs(&self, filters: Vec<Filter>) -> Result<Vec<Vpc>, Ec2Error> {
        let request = self.ec2.describe_vpcs().set_filters(Some(filters));
        all_pages!(self, "DescribeVpcs", request)
    }

    pub(super) async fn route_tables(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<RouteTable>, Ec2Error> {
        let request = self.ec2.describe_route_tables().set_filters(Some(filters));
        all_pages!(self, "DescribeRouteTables", request)
    }

    pub(super) async fn network_acls(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<NetworkAcl>, Ec2Error> {
        let request = self.ec2.describe_network_acls().set_filters(Some(filters));
        all_pages!(self, "DescribeNetworkAcls", request)
    }

    pub(super) async fn launch_templates(
        &self,
        filters: Vec<Filter>,
    ) -> Result<Vec<LaunchTemplate>, Ec2Error> {
        let request = self.ec2.describe_launch_templates();
        let request = request.set_filters(Some(filters));
        all_pages!(self, "DescribeLaunchTemplates", request)
    }

    /// Returns what the newest version of a lock says, if the lock is there.
    pub(super) async fn beat_of(&self, name: &str) -> Result<Option<Beat>, Ec2Error> {
        let request = self.ec2.describe_launch_template_versions();
        let request = request.launch_template_name(name).versions("$Latest");
        let asking = || async {
            let now = AnsweredAt::default();
            let asked = request.clone().customize().interceptor(now.clone());
            let answer = asked.send().await;
            let answer = answer.map_err(|e| self.refused("DescribeLaunchTemplateVersions", e));
            Ok((answer?, now.moment()))
        };
        let (answer, now) = match self.persist(asking).await {
            Err(error) if error.is_not_found() => return Ok(None),
            answered => answered?,
        };
        let mut versions = answer.launch_template_versions.unwrap_or_default();
        Ok(versions.pop().map(|newest| {
            let made = newest.create_time().map(aws_smithy_types::DateTime::secs);
            let age = now.zip(made).map_or(0, |(now, made)| now - made);
            Beat {
                run: newest.version_description().and_then(tags::maker),
                id: newest.launch_template_id.unwrap_or_default(),
                age: Duration::from_secs(u64::try_from(age).unwrap_or(0)),
            }
        }))
    }

    /// Returns what EC2 knows of these types. One that it does not know fails them all.
    pub(crate) async fn instance_types(
        &self,
        types: &[String],
    ) -> Result<Vec<InstanceTypeInfo>, Ec2Error> {
        let types = types
            .iter()
            .map(|t| InstanceType::from(t.as_str()))
            .collect();
        let request = self.ec2.describe_instance_types();
        let request = request.set_instance_types(Some(types));
        all_pages!(self, "DescribeInstanceTypes", request)
    }

    /// Returns which zones offer these types, as far as the account may ask.
    pub(super) async fn offerings(&self, types: &[String]) -> Result<Offerings, Ec2Error> {
        let types = tags::filter("instance-type", types.iter().map(String::as_str));
        let request = self.ec2.describe_instance_type_offerings();
        let request = request
            .location_type(LocationType::AvailabilityZone)
            .filters(types);
        let listed: Result<Vec<InstanceTypeOffering>, Ec2Error> =
            all_pages!(self, "DescribeInstanceTypeOfferings", request);
        match listed {
            Ok(listed) => {
                let pairs = listed.into_iter().filter_map(|offering| {
                    let instance_type = offering.instance_type?;
                    Some((instance_type.as_str().to_owned(), offering.location?))
                });
                Ok(Offerings::Known(pairs.collect()))
            }
            // Not permitted, or no call of this service: EC2 itself has answered.
            Err(Ec2Error::Refused { .. }) => Ok(Offerings::Unknown),
            Err(error) => Err(error),
        }
    }

    /// Returns the regions that are enabled for the account. EC2 has no pages of them.
    pub(super) async fn enabled_regions(&self) -> Result<Vec<String>, Ec2Error> {
        let asking = || async {
            let answer = self.ec2.describe_regions().send().await;
            answer.map_err(|e| self.refused("DescribeRegions", e))
        };
        let regions = self.persist(asking).await?;
        let regions = regions.regions.unwrap_or_default();
        Ok(regions.into_iter().filter_map(|r| r.region_name).collect())
    }

    /// Returns all regions that there are, and whether the account has them enabled.
    pub(super) async fn all_regions(&self) -> Result<BTreeMap<String, bool>, Ec2Error> {
        let answer = self.ec2.describe_regions().all_regions(true).send().await;
        let answer = answer.map_err(|e| self.refused("DescribeRegions", e))?;
        let regions = answer.regions.unwrap_or_default().into_iter();
        let stands = regions.filter_map(|region| {
            let is_enabled = region.opt_in_status() != Some("not-opted-in");
            Some((region.region_name?, is_enabled))
        });
        Ok(stands.collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::targets::ec2::canned::{Call, Canned, Said};

    /// Answers with an empty page, then with one thing a page.
    fn page(call: &Call) -> Said {
        let (set, thing) = match call.action.as_str() {
            "DescribeImages" => ("imagesSet", "<imageId>ami-1</imageId>"),
            "DescribeSnapshots" => ("snapshotSet", "<snapshotId>snap-1</snapshotId>"),
            "DescribeInstances" => (
                "reservationSet",
                "<instancesSet><item><instanceId>i-1</instanceId></item></instancesSet>",
            ),
            "DescribeSecurityGroups" => ("securityGroupInfo", "<groupId>sg-1</groupId>"),
            "DescribeSubnets" => ("subnetSet", "<subnetId>subnet-1</subnetId>"),
            "DescribeVpcs" => ("vpcSet", "<vpcId>vpc-1</vpcId>"),
            "DescribeRouteTables" => ("routeTableSet", "<routeTableId>rtb-1</routeTableId>"),
            "DescribeNetworkAcls" => ("networkAclSet", "<networkAclId>acl-1</networkAclId>"),
            "DescribeLaunchTemplates" => (
                "launchTemplates",
                "<launchTemplateId>lt-1</launchTemplateId>",
            ),
            other => panic!("{other}"),
        };
        let item = format!("<item>{thing}</item>");
        let (items, next) = match call.parameters.split_once("NextToken=") {
            None => (String::new(), "<nextToken>one</nextToken>"),
            Some((_, token)) if token.starts_with("one") => (item, "<nextToken>two</nextToken>"),
            Some(_) => (item, ""),
        };
        Said::Yes(format!("<{set}>{items}</{set}>{next}"))
    }

    #[tokio::test]
    async fn all_pages_of_every_list_are_read() {
        let (ec2, canned) = Canned::ec2("eu-west-1", page);
        let run = "20260727t101500z-0a1b2c".parse().unwrap();
        let listed = [
            ec2.images(Vec::new()).await.unwrap().len(),
            ec2.snapshots(&run).await.unwrap().len(),
            ec2.instances(Vec::new()).await.unwrap().len(),
            ec2.groups(Vec::new()).await.unwrap().len(),
            ec2.subnets(Vec::new()).await.unwrap().len(),
            ec2.vpcs(Vec::new()).await.unwrap().len(),
            ec2.route_tables(Vec::new()).await.unwrap().len(),
            ec2.network_acls(Vec::new()).await.unwrap().len(),
            ec2.launch_templates(Vec::new()).await.unwrap().len(),
        ];
        assert_eq!(listed, [2; 9]);
        assert_eq!(canned.made().len(), 3 * listed.len());
    }

    /// A list that is asked for elsewhere may be cut off after its first page.
    #[test]
    fn nothing_is_listed_but_here() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/targets/ec2");
        let mut elsewhere = Vec::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                continue; // tests
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let here = path.file_name().is_some_and(|name| name == "describe.rs");
            // Asked page by page where it is, as an iterator.
            let paged = ["offerings.rs", "stack_parameters.rs"];
            let paged = path
                .file_name()
                .is_some_and(|name| paged.iter().any(|file| name == *file));
            if !here && !paged && text.contains(".describe_") {
                elsewhere.push(path);
            }
        }
        assert_eq!(elsewhere, Vec::<std::path::PathBuf>::new());
    }
}
