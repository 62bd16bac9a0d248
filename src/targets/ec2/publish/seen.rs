//! What the account has of a published image, in each region, as far as its manifest speaks of it.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;

use crate::manifest::{Grant, Protection};
use crate::targets::TargetError;

/// What was seen of an image, and when.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) at: OffsetDateTime,
    /// When the image itself was made, which its copies count from too.
    pub(crate) made: OffsetDateTime,
    /// Each region, or why nothing is known of it.
    pub(crate) regions: BTreeMap<String, Result<RegionSeen, TargetError>>,
}

/// What one region has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RegionSeen {
    /// The image, or its copy.
    pub(crate) image: Option<ImageSeen>,
    pub(crate) parameter: Option<ParameterSeen>,
    pub(crate) template: Option<TemplateSeen>,
}

/// An image or a copy of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageSeen {
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) snapshots: Vec<SnapshotSeen>,
    /// Who may launch it, where the manifest says who should.
    pub(crate) grants: BTreeSet<Grant>,
    pub(crate) deprecated: Option<OffsetDateTime>,
    pub(crate) protection: Option<Protection>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SnapshotSeen {
    pub(crate) id: String,
    pub(crate) tags: BTreeMap<String, String>,
    /// Who may make volumes of it, where the manifest says who should.
    pub(crate) grants: BTreeSet<Grant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParameterSeen {
    pub(crate) value: String,
    pub(crate) version: i64,
    /// `aws:ec2:image`.
    pub(crate) data_type: String,
    /// The image that it names, where that is of a later build.
    pub(crate) later: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateSeen {
    /// `lt-0abc12`.
    pub(crate) id: String,
    pub(crate) latest: VersionSeen,
    pub(crate) default: VersionSeen,
    /// The image of the version that counts, where that is of a later build.
    pub(crate) later: Option<String>,
}

/// A version of a launch template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct VersionSeen {
    pub(crate) number: i64,
    /// What it launches.
    pub(crate) image: String,
    /// When the build began that has made it, where it says so.
    pub(crate) as_of: Option<OffsetDateTime>,
}
