//! What others may act on as soon as it is done: permissions, parameters, versions of launch templates.

use serde::{Deserialize, Serialize};

use super::differences::Change;
use crate::manifest::Grant;
use crate::shell::quoted;

/// What a parameter holds that EC2 takes in place of an image's id.
pub(super) const IMAGE: &str = "aws:ec2:image";

/// Something that others may act on, and what takes it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outward", rename_all = "kebab-case")]
pub(in crate::targets::ec2) enum Outward {
    /// An SSM parameter has the image; before, it had another, or was not there.
    Parameter {
        name: String,
        image: String,
        before: Option<String>,
    },
    /// A launch template has a version with the image.
    TemplateVersion {
        /// `lt-0abc12`.
        template: String,
        image: String,
        /// The newest version before it.
        latest: i64,
        /// The default version before it.
        default: i64,
    },
    /// Another version of a launch template is the default.
    DefaultVersion {
        template: String,
        image: String,
        version: i64,
        default: i64,
    },
    Share {
        image: String,
        with: Vec<Grant>,
    },
    ShareSnapshot {
        image: String,
        snapshot: String,
        with: Vec<Grant>,
    },
}

impl Outward {
    /// Returns what takes a change back, if others may act on it.
    pub(super) fn of(change: &Change, image: &str) -> Option<Self> {
        let image = image.to_owned();
        Some(match change {
            Change::SetParameter { name, before, .. } => Self::Parameter {
                name: name.clone(),
                image,
                before: before.as_ref().map(|before| before.value.clone()),
            },
            Change::AddTemplateVersion { template, .. } => Self::TemplateVersion {
                template: template.id.clone(),
                image,
                latest: template.latest.number,
                default: template.default.number,
            },
            Change::SetDefaultVersion { template, version } => Self::DefaultVersion {
                template: template.id.clone(),
                image,
                version: *version,
                default: template.default.number,
            },
            Change::Share { add, .. } => Self::Share {
                image,
                with: add.clone(),
            },
            Change::ShareSnapshot { snapshot, add, .. } => Self::ShareSnapshot {
                image,
                snapshot: snapshot.clone(),
                with: add.clone(),
            },
            Change::Copy
            | Change::Tag { .. }
            | Change::Release { .. }
            | Change::Describe { .. }
            | Change::Deprecate { .. }
            | Change::Protect { .. } => return None,
        })
    }

    /// Returns the image that it was done for.
    pub(in crate::targets::ec2) fn image(&self) -> &str {
        match self {
            Self::Parameter { image, .. }
            | Self::TemplateVersion { image, .. }
            | Self::DefaultVersion { image, .. }
            | Self::Share { image, .. }
            | Self::ShareSnapshot { image, .. } => image,
        }
    }

    /// Returns what is taken back, for people.
    pub(in crate::targets::ec2) fn what(&self) -> String {
        let list = |with: &[Grant]| {
            let with: Vec<String> = with.iter().map(ToString::to_string).collect();
            with.join(", ")
        };
        match self {
            Self::Parameter { name, image, .. } => format!("parameter {name} with {image}"),
            Self::TemplateVersion {
                template, image, ..
            } => format!("version of launch template {template} with {image}"),
            Self::DefaultVersion {
                template, version, ..
            } => format!("default version {version} of launch template {template}"),
            Self::Share { image, with } => format!("{image} shared with {}", list(with)),
            Self::ShareSnapshot { snapshot, with, .. } => {
                format!("{snapshot} shared with {}", list(with))
            }
        }
    }

    /// Returns the command that takes it back, where there is a single one.
    pub(in crate::targets::ec2) fn remedy(
        &self,
        region: &str,
        learned: &[String],
    ) -> Option<String> {
        Some(match self {
            Self::Parameter {
                name,
                before: Some(before),
                ..
            } => format!(
                "aws ssm put-parameter --region {region} --name {name} --overwrite --type String --data-type {IMAGE} --value {}",
                quoted(before)
            ),
            Self::Parameter { name, .. } => {
                format!("aws ssm delete-parameter --region {region} --name {name}")
            }
            Self::TemplateVersion { template, .. } => {
                let [version] = learned else {
                    return None;
                };
                format!(
                    "aws ec2 delete-launch-template-versions --region {region} --launch-template-id {template} --versions {version}"
                )
            }
            Self::DefaultVersion {
                template, default, ..
            } => format!(
                "aws ec2 modify-launch-template --region {region} --launch-template-id {template} --default-version {default}"
            ),
            Self::Share { image, with } => format!(
                "aws ec2 modify-image-attribute --region {region} --image-id {image} --launch-permission 'Remove=[{}]'",
                shorthand(with)
            ),
            Self::ShareSnapshot { snapshot, with, .. } => format!(
                "aws ec2 modify-snapshot-attribute --region {region} --snapshot-id {snapshot} --attribute createVolumePermission --create-volume-permission 'Remove=[{}]'",
                shorthand(with)
            ),
        })
    }
}

/// Returns permissions as the AWS CLI takes them.
fn shorthand(grants: &[Grant]) -> String {
    let words = grants.iter().map(|grant| match grant {
        Grant::Account(id) => format!("{{UserId={id}}}"),
        Grant::Organization(arn) => format!("{{OrganizationArn={arn}}}"),
        Grant::OrganizationalUnit(arn) => format!("{{OrganizationalUnitArn={arn}}}"),
        Grant::Everybody => "{Group=all}".to_owned(),
    });
    words.collect::<Vec<_>>().join(",")
}
