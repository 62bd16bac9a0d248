//! What EC2 lists, all pages of it. A filter says what: an unknown id is no error then, and a page
//! may be empty although others follow.

use aws_sdk_ec2::types::{
    Filter, Image, ImageAttributeName, Instance, InstanceTypeOffering, LocationType, NetworkAcl,
    RouteTable, SecurityGroup, Snapshot, Subnet, Vpc,
};

use super::error::Ec2Error;
use super::image::may_be_uefi;
use super::offerings::Offerings;
use super::{Ec2, tags};
use crate::run::RunId;

/// Makes a call page by page, patiently, and returns what all pages list.
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

impl Ec2 {
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
        let answer = self.persist(asking).await?;
        let data = answer.uefi_data.and_then(|data| data.value);
        Ok(data.filter(|data| !data.is_empty()))
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
        ];
        assert_eq!(listed, [2; 8]);
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
            let paged = path.file_name().is_some_and(|name| name == "offerings.rs");
            if !here && !paged && text.contains(".describe_") {
                elsewhere.push(path);
            }
        }
        assert_eq!(elsewhere, Vec::<std::path::PathBuf>::new());
    }
}
