//! A manifest as commands take it that look at what would be built.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::CommandContext;
use super::vars::VarArgs;
use crate::exit::Failure;
use crate::manifest::{Secrets, TargetKind};
use crate::plan::{self, BakePlan, OnError};

/// A manifest and the values of its variables.
#[derive(Debug, clap::Args)]
pub(super) struct ManifestArgs {
    /// Manifest to look at
    manifest: PathBuf,
    #[command(flatten)]
    vars: VarArgs,
}

impl ManifestArgs {
    pub(super) fn path(&self) -> &Path {
        &self.manifest
    }

    /// Returns what a build on EC2 would bake now, an image for each architecture.
    pub(super) fn plans(
        &self,
        secrets: Secrets,
        cx: &CommandContext,
    ) -> Result<Vec<BakePlan>, Failure> {
        let (now, target) = (OffsetDateTime::now_utc(), TargetKind::Ec2);
        let vars = &self.vars;
        let loaded = vars.manifest(&self.manifest, target, secrets, now, cx)?;
        plan::bakes(&loaded, TargetKind::Ec2, OnError::default(), now).map_err(Failure::new)
    }
}
