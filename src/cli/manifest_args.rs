//! A manifest as commands take it that look at what would be built.

use std::path::{Path, PathBuf};

use time::OffsetDateTime;

use super::CommandContext;
use super::vars::VarArgs;
use crate::exit::Failure;
use crate::manifest::{self, TargetKind};
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
    pub(super) fn plans(&self, cx: &CommandContext) -> Result<Vec<BakePlan>, Failure> {
        let given = self.vars.given()?;
        let now = OffsetDateTime::now_utc();
        let loaded = manifest::load(&self.manifest, TargetKind::Ec2, &given, now);
        let loaded = loaded.map_err(Failure::usage)?;
        self.vars.refuse_unknown([&loaded], cx)?;
        for warning in &loaded.warnings {
            cx.events.warn(warning.headline());
        }
        plan::bakes(&loaded, TargetKind::Ec2, OnError::default(), now).map_err(Failure::new)
    }
}
