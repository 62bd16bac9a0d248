//! What a manifest says of where its image goes, who may use it and who is told of it, typed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use time::OffsetDateTime;

use crate::run::rfc3339;

/// What of `image:` is done in the account once the image has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Publication {
    /// Regions that it is copied to; the builder's own may be among them.
    pub regions: Vec<String>,
    pub copies: Copies,
    /// Who may use it; `None` leaves its permissions as they are.
    pub share: Option<Share>,
    /// Name of the SSM parameter that holds its id in each region.
    pub ssm_parameter: Option<String>,
    pub launch_template: Option<LaunchTemplate>,
    pub deprecate_after: Option<Deprecation>,
    pub deregistration_protection: Option<Protection>,
}

impl Publication {
    /// Returns whether somebody else may have the image.
    pub(crate) fn is_shared(&self) -> bool {
        let share = self.share.as_ref();
        share.is_some_and(|share| !share.with.is_empty())
    }
}

/// `image.copies`: how it is copied to other regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Copies {
    /// Regions that it is copied to at the same time.
    pub at_once: u16,
    /// EC2 is asked to be done within so many minutes, and charges for it; `None` is as it comes.
    pub within_minutes: Option<u16>,
}

impl Default for Copies {
    fn default() -> Self {
        Self {
            at_once: 5,
            within_minutes: None,
        }
    }
}

/// `image.share`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Share {
    /// Who may launch it.
    pub with: Vec<Grant>,
    /// Whether those accounts, or everybody, may also make volumes of its snapshots.
    pub snapshots: bool,
}

/// Somebody who may use an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grant {
    /// Twelve digits.
    Account(String),
    /// ARN of an organisation.
    Organization(String),
    /// ARN of an organisational unit.
    OrganizationalUnit(String),
    /// Everybody who uses AWS.
    Everybody,
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account {id}"),
            Self::Organization(arn) | Self::OrganizationalUnit(arn) => f.write_str(arn),
            Self::Everybody => f.write_str("everybody"),
        }
    }
}

/// `image.launch_template`: gets a new version with the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LaunchTemplate {
    /// Its name in every region of the image, or its id in the builder's.
    pub template: TemplateName,
    /// Whether the new version becomes the default one.
    pub set_default: bool,
}

impl LaunchTemplate {
    pub(crate) fn is_in_every_region(&self) -> bool {
        matches!(self.template, TemplateName::Name(_))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TemplateName {
    /// `lt-0abc12`, which one region alone has.
    Id(String),
    Name(String),
}

impl fmt::Display for TemplateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Id(text) | Self::Name(text)) = self;
        f.write_str(text)
    }
}

/// `image.deprecate_after`: when EC2 no longer lists it to those it is shared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Deprecation {
    /// So long after the image was made.
    After(Duration),
    At(#[serde(serialize_with = "in_rfc3339")] OffsetDateTime),
}

fn in_rfc3339<S: Serializer>(moment: &OffsetDateTime, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&rfc3339(*moment))
}

/// `image.deregistration_protection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protection {
    On,
    /// It lasts a day longer than it is wanted, whoever takes it away.
    WithCooldown,
    Off,
}

/// What RegisterImage states of machines of the image; `None` is as the source has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Attributes {
    pub imds_support: ImdsSupport,
    pub boot_mode: Option<BootMode>,
    /// UEFI variables in base64, as `aws ec2 get-instance-uefi-data` writes them into a file.
    pub uefi_data: Option<String>,
    pub ena_support: Option<bool>,
    /// Whether they have a NitroTPM.
    pub tpm_support: Option<TpmSupport>,
}

/// `image.imds_support`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) enum ImdsSupport {
    /// Its machines answer IMDSv2 alone.
    #[default]
    #[serde(rename = "v2.0")]
    V2,
    /// As the account, or who launches it, decides.
    #[serde(rename = "account-default")]
    AccountDefault,
}

/// `image.boot_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BootMode {
    LegacyBios,
    Uefi,
    UefiPreferred,
}

impl BootMode {
    pub(crate) const ALL: [Self; 3] = [Self::LegacyBios, Self::Uefi, Self::UefiPreferred];

    /// Returns it as EC2 spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::LegacyBios => "legacy-bios",
            Self::Uefi => "uefi",
            Self::UefiPreferred => "uefi-preferred",
        }
    }
}

/// `image.tpm_support`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum TpmSupport {
    #[serde(rename = "v2.0")]
    V2,
}

/// `image.encrypt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encrypt {
    /// As the account's default is.
    Off,
    On {
        /// KMS key id, ARN or alias in the builder's region; `None` is the account's default key.
        kms_key: Option<String>,
        /// Keys by region, where the alias does not do.
        regions: BTreeMap<String, String>,
    },
}

impl Default for Encrypt {
    fn default() -> Self {
        Self::On {
            kms_key: None,
            regions: BTreeMap::new(),
        }
    }
}

impl Encrypt {
    /// Returns whether volumes are encrypted, whatever the account's default is.
    pub(crate) fn is_on(&self) -> bool {
        matches!(self, Self::On { .. })
    }

    /// Returns the key of every region that has none of its own.
    pub(crate) fn kms_key(&self) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::On { kms_key, .. } => kms_key.as_deref(),
        }
    }

    /// Returns whether some of it is encrypted by the key that is the account's unless another is named,
    /// which others cannot use.
    pub(crate) fn has_default_key(&self) -> bool {
        let Self::On { kms_key, regions } = self else {
            return false;
        };
        let mut named = kms_key.iter().chain(regions.values());
        kms_key.is_none() || named.any(|key| key.ends_with("alias/aws/ebs"))
    }

    /// Returns the key in a region, the copy's or the builder's volumes'.
    pub(crate) fn kms_key_in(&self, region: &str) -> Option<&str> {
        match self {
            Self::Off => None,
            Self::On { kms_key, regions } => {
                let own = regions.get(region).map(String::as_str);
                own.or(kms_key.as_deref())
            }
        }
    }
}
