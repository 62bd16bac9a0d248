//! What a manifest wants of a published image, in each region.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::manifest::{Copies, Deprecation, Encrypt, LaunchTemplate, Protection, Share};
use crate::plan::BakePlan;
use crate::targets::ec2::tags;

/// A published image as its manifest wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The region that it was made in.
    pub(crate) home: String,
    /// Regions that it is copied to; never the one that it was made in.
    pub(crate) elsewhere: Vec<String>,
    pub(crate) encrypt: Encrypt,
    pub(crate) copies: Copies,
    /// Whether an older image that has the name of a copy makes way for it.
    pub(crate) replaces: bool,
    /// Tags of the image and its snapshots, besides our own.
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) share: Option<Share>,
    pub(crate) parameter: Option<String>,
    pub(crate) template: Option<LaunchTemplate>,
    pub(crate) deprecation: Option<Deprecation>,
    pub(crate) protection: Option<Protection>,
    /// When the build began that it is of: what an image of a later one is named by is left to that.
    /// `None` takes it from all.
    pub(crate) began: Option<OffsetDateTime>,
    /// What is written beside the image's id where something names it: when that build began, or the command.
    pub(crate) as_of: OffsetDateTime,
}

impl Wish {
    /// Returns what `plan` wants of an image that `home` has.
    pub(crate) fn of(plan: &BakePlan, home: &str) -> Self {
        let wanted = plan.image.publication.clone();
        let elsewhere = wanted.regions.into_iter().filter(|region| region != home);
        Self {
            home: home.to_owned(),
            elsewhere: elsewhere.collect(),
            encrypt: plan.image.encrypt.clone(),
            copies: wanted.copies,
            replaces: plan.image.replace,
            tags: tags::for_pickers(plan),
            share: wanted.share,
            parameter: wanted.ssm_parameter,
            template: wanted.launch_template,
            deprecation: wanted.deprecate_after,
            protection: wanted.deregistration_protection,
            began: None,
            as_of: plan.run.began(),
        }
    }

    /// Returns it as what a build wants that began then.
    pub(crate) fn since(self, began: Option<OffsetDateTime>) -> Self {
        Self {
            began,
            as_of: began.unwrap_or(self.as_of),
            ..self
        }
    }

    /// Returns its regions, the one that it was made in first.
    pub(crate) fn regions(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.home)
            .chain(&self.elsewhere)
            .map(String::as_str)
    }

    /// Returns the launch template of a region. An id is of one region alone.
    pub(crate) fn template_in(&self, region: &str) -> Option<&LaunchTemplate> {
        let template = self.template.as_ref()?;
        (template.is_in_every_region() || region == self.home).then_some(template)
    }
}
