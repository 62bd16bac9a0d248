//! What an account lists that may hold an image, all pages of it.

use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchConfiguration};
use aws_sdk_ec2::types::{ImageReference, LaunchTemplateVersion};
use aws_sdk_ssm::operation::describe_parameters::DescribeParametersOutput;
use aws_sdk_ssm::types::ParameterStringFilter;

use crate::targets::ec2::Ec2;
use crate::targets::ec2::client::retries;
use crate::targets::ec2::describe::all_pages;
use crate::targets::ec2::error::Ec2Error;

impl Ec2 {
    fn autoscaling(&self) -> aws_sdk_autoscaling::Client {
        let config = aws_sdk_autoscaling::config::Builder::from(&self.config);
        aws_sdk_autoscaling::Client::from_conf(config.retry_partition(retries()).build())
    }

    pub(super) async fn auto_scaling_groups(&self) -> Result<Vec<AutoScalingGroup>, Ec2Error> {
        let request = self.autoscaling().describe_auto_scaling_groups();
        all_pages!(self, "DescribeAutoScalingGroups", request)
    }

    pub(super) async fn launch_configurations(&self) -> Result<Vec<LaunchConfiguration>, Ec2Error> {
        let request = self.autoscaling().describe_launch_configurations();
        all_pages!(self, "DescribeLaunchConfigurations", request)
    }

    /// Returns all versions of a launch template.
    pub(super) async fn launch_template_versions(
        &self,
        id: &str,
    ) -> Result<Vec<LaunchTemplateVersion>, Ec2Error> {
        let request = self.ec2.describe_launch_template_versions();
        let request = request.launch_template_id(id);
        all_pages!(self, "DescribeLaunchTemplateVersions", request)
    }

    /// Returns what EC2 itself knows to refer to these images.
    pub(super) async fn image_references(
        &self,
        ids: &[&str],
    ) -> Result<Vec<ImageReference>, Ec2Error> {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request = self.ec2.describe_image_references();
        let request = request.set_image_ids(Some(ids));
        let request = request.include_all_resource_types(true);
        all_pages!(self, "DescribeImageReferences", request)
    }

    /// Returns the names of the account's parameters that are plain text.
    pub(super) async fn text_parameters(&self) -> Result<Vec<String>, Ec2Error> {
        let is_text = ParameterStringFilter::builder()
            .key("Type")
            .option("Equals")
            .values("String")
            .build();
        let is_text = is_text.expect("the key is there");
        let request = self.ssm.describe_parameters().parameter_filters(is_text);
        let asking = || async {
            let pages = request.clone().into_paginator().send().try_collect().await;
            let refused = |e| Ec2Error::from_sdk("DescribeParameters", &self.region, e);
            pages.map_err(refused)
        };
        let pages: Vec<DescribeParametersOutput> = self.persist(asking).await?;
        let all = pages.into_iter().filter_map(|page| page.parameters);
        Ok(all
            .flatten()
            .filter_map(|parameter| parameter.name)
            .collect())
    }
}
