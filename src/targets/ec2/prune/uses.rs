//! What uses an image: instances, launch templates in all versions, auto scaling groups and their launch
//! configurations, SSM parameters, parameters of CloudFormation stacks, other accounts.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    ImageAttributeName, ImageReference, Instance, LaunchPermission, LaunchTemplate,
    LaunchTemplateVersion,
};
use aws_sdk_ssm::types::Parameter;
use futures_util::future::join_all;

use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::stack_parameters::StackParameter;
use crate::targets::ec2::{Ec2, launch, lock, tags};

/// How many parameters one call returns.
const PARAMETERS: usize = 10;

/// How many calls are under way at a time.
const AT_ONCE: usize = 8;

/// Who uses which image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Uses {
    by: BTreeMap<String, BTreeSet<String>>,
}

impl Uses {
    pub(super) fn add(&mut self, image_id: &str, by: impl Into<String>) {
        self.by
            .entry(image_id.to_owned())
            .or_default()
            .insert(by.into());
    }

    /// Returns what uses an image, in words.
    pub(super) fn of(&self, image_id: &str) -> Vec<&str> {
        let by = self.by.get(image_id);
        by.into_iter().flatten().map(String::as_str).collect()
    }
}

/// One way of looking, and whether it could be gone.
type Looked = (&'static str, Result<(), Ec2Error>);

impl Ec2 {
    /// Looks for all that uses these images, whom they are shared with among it.
    pub(super) async fn look_for_uses(&self, ids: &[&str], uses: &mut Uses) -> Vec<Looked> {
        let mut looked = self.look_for_uses_here(ids, uses).await;
        looked.push((
            "ec2:DescribeImageAttribute",
            self.used_by_accounts(ids, uses).await,
        ));
        looked
    }

    /// Looks for all of this account that uses these images.
    pub(super) async fn look_for_uses_here(&self, ids: &[&str], uses: &mut Uses) -> Vec<Looked> {
        let mut looked = vec![
            (
                "ec2:DescribeInstances",
                self.used_by_instances(ids, uses).await,
            ),
            (
                "autoscaling:DescribeAutoScalingGroups",
                self.used_by_groups(uses).await,
            ),
            (
                "autoscaling:DescribeLaunchConfigurations",
                self.used_by_launch_configurations(uses).await,
            ),
        ];
        looked.extend([
            (
                "ec2:DescribeLaunchTemplateVersions",
                self.used_by_templates(uses).await,
            ),
            (
                "ssm:GetParameters",
                self.used_by_parameters(ids, uses).await,
            ),
            (
                "cloudformation:DescribeStacks and cloudformation:ListStacks",
                self.used_by_stacks(ids, uses).await,
            ),
        ]);
        // It knows recipes of Image Builder too, but of a template the last versions alone, and not
        // every region has it, nor every policy.
        let _unknown = self.references(ids, uses).await;
        looked
    }

    async fn used_by_instances(&self, ids: &[&str], uses: &mut Uses) -> Result<(), Ec2Error> {
        for ids in ids.chunks(200) {
            let of_images = tags::filter("image-id", ids.iter().copied());
            let found = self.instances(vec![of_images]).await?;
            let lives = |instance: &&Instance| launch::state(instance) != "terminated";
            for instance in found.iter().filter(lives) {
                let id = instance.instance_id().unwrap_or_default();
                uses.add(
                    instance.image_id().unwrap_or_default(),
                    format!("instance {id}"),
                );
            }
        }
        Ok(())
    }

    /// Whoever an image is shared with may launch it, and is not seen from here.
    async fn used_by_accounts(&self, ids: &[&str], uses: &mut Uses) -> Result<(), Ec2Error> {
        for id in ids {
            let request = self.ec2.describe_image_attribute().image_id(*id);
            let request = request.attribute(ImageAttributeName::LaunchPermission);
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| self.refused("DescribeImageAttribute", e))
            };
            for permission in self.persist(asking).await?.launch_permissions() {
                uses.add(id, shared_with(permission));
            }
        }
        Ok(())
    }

    async fn used_by_groups(&self, uses: &mut Uses) -> Result<(), Ec2Error> {
        for group in self.auto_scaling_groups().await? {
            let name = group.auto_scaling_group_name().unwrap_or_default();
            let policy = group.mixed_instances_policy();
            let template = policy.and_then(|policy| policy.launch_template());
            for one in template.map_or(&[][..], |template| template.overrides()) {
                if let Some(id) = one.image_id() {
                    uses.add(id, format!("auto scaling group {name}"));
                }
            }
        }
        Ok(())
    }

    async fn used_by_launch_configurations(&self, uses: &mut Uses) -> Result<(), Ec2Error> {
        for one in self.launch_configurations().await? {
            if let (Some(id), Some(name)) = (one.image_id(), one.launch_configuration_name()) {
                uses.add(id, format!("launch configuration {name}"));
            }
        }
        Ok(())
    }

    /// What EC2 itself says of the account.
    async fn references(&self, ids: &[&str], uses: &mut Uses) -> Result<(), Ec2Error> {
        for ids in ids.chunks(100) {
            for reference in self.image_references(ids).await? {
                if let Some((id, by)) = told(&reference) {
                    uses.add(id, by);
                }
            }
        }
        Ok(())
    }

    pub(super) async fn used_by_templates(&self, uses: &mut Uses) -> Result<(), Ec2Error> {
        let templates = self.launch_templates(Vec::new()).await?;
        let mut by_parameter = Vec::new();
        for templates in templates.chunks(AT_ONCE) {
            let looking = templates.iter().map(|t| self.images_in(t));
            for found in join_all(looking).await {
                for (image_id, by) in found? {
                    match image_id.strip_prefix("resolve:ssm:") {
                        Some(parameter) => by_parameter.push((parameter.to_owned(), by)),
                        None => uses.add(&image_id, by),
                    }
                }
            }
        }
        for (parameter, by) in by_parameter {
            let found = self.parameter(&parameter).await?;
            if let Some(id) = found.and_then(|p| p.value) {
                uses.add(&id, by);
            }
        }
        Ok(())
    }

    /// Returns what the versions of a template name as their image, and each version in words.
    async fn images_in(
        &self,
        template: &LaunchTemplate,
    ) -> Result<Vec<(String, String)>, Ec2Error> {
        let name = template.launch_template_name().unwrap_or_default();
        if name.starts_with(lock::PREFIX) {
            return Ok(Vec::new()); // a lock names none
        }
        let id = template.launch_template_id().unwrap_or_default();
        let versions = match self.launch_template_versions(id).await {
            Err(error) if error.is_not_found() => Vec::new(), // it went meanwhile
            versions => versions?,
        };
        let of = |version: LaunchTemplateVersion| {
            let number = version.version_number().unwrap_or_default();
            let image_id = version.launch_template_data?.image_id?;
            Some((image_id, format!("launch template {name} version {number}")))
        };
        Ok(versions.into_iter().filter_map(of).collect())
    }

    /// Parameters whose value is one of these images, whatever type they say to be of: templates and
    /// scripts keep ids in plain text.
    pub(super) async fn used_by_parameters(
        &self,
        ids: &[&str],
        uses: &mut Uses,
    ) -> Result<(), Ec2Error> {
        let names = self.text_parameters().await?;
        let batches: Vec<&[String]> = names.chunks(PARAMETERS).collect();
        for batches in batches.chunks(AT_ONCE) {
            let looking = batches.iter().map(|names| self.parameters(names));
            for found in join_all(looking).await {
                for parameter in found? {
                    if let (Some(id), Some(name)) = (parameter.value(), parameter.name())
                        && ids.contains(&id)
                    {
                        uses.add(id, format!("SSM parameter {name}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A stack is updated and rolled back with the parameters that it has: that of the colour that is not live
    /// names an image of which no instance and perhaps no launch template is left.
    async fn used_by_stacks(&self, ids: &[&str], uses: &mut Uses) -> Result<(), Ec2Error> {
        for parameter in self.stack_parameters().await? {
            if ids.contains(&parameter.value.as_str()) {
                let StackParameter { stack, key, value } = parameter;
                uses.add(&value, format!("stack {stack} as {key}"));
            }
        }
        Ok(())
    }

    async fn parameters(&self, names: &[String]) -> Result<Vec<Parameter>, Ec2Error> {
        let request = self.ssm.get_parameters().set_names(Some(names.to_vec()));
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| Ec2Error::from_sdk("GetParameters", &self.region, e))
        };
        let answer = self.persist(asking).await?;
        Ok(answer.parameters.unwrap_or_default())
    }
}

fn shared_with(permission: &LaunchPermission) -> String {
    let whole = permission.organization_arn();
    let whole = whole.or_else(|| permission.organizational_unit_arn());
    match (permission.user_id(), whole) {
        (Some(account), _) => format!("account {account}, with which it is shared"),
        (None, Some(arn)) => format!("{arn}, with which it is shared"),
        (None, None) => "everybody: it is public".to_owned(),
    }
}

/// Returns a reference as EC2 tells it: the image, and what refers to it.
fn told(reference: &ImageReference) -> Option<(&str, String)> {
    let kind = reference.resource_type()?.as_str();
    let noun = match kind {
        "ec2:Instance" => "instance",
        "ec2:LaunchTemplate" => "launch template",
        "ssm:Parameter" => "SSM parameter",
        other => other,
    };
    let name = reference
        .arn()?
        .rsplit_once('/')
        .map_or(reference.arn()?, |(_, name)| name);
    Some((reference.image_id()?, format!("{noun} {name}")))
}
