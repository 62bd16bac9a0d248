//! Manifest and arguments to a [`BakePlan`]: all that will happen, printable, before anything does.

use std::path::PathBuf;

use serde::Serialize;

use crate::manifest::{Arch, Builder, Image, Provision, Source, TargetKind, Test};
use crate::run::RunId;

/// What becomes of the machines when a bake fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnError {
    /// They go.
    #[default]
    Destroy,
    /// The builder stays, for looking at, until its own timer ends it.
    Keep,
}

/// One image: everything that is decided before anything is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BakePlan {
    /// The run this bake is.
    pub(crate) run: RunId,
    /// The manifest's name.
    pub(crate) name: String,
    /// The manifest.
    pub(crate) manifest: PathBuf,
    /// Where the machine comes from.
    pub(crate) target: TargetKind,
    /// Architecture of this image.
    pub(crate) arch: Arch,
    /// What it starts from.
    pub(crate) source: Source,
    /// The machine.
    pub(crate) builder: Builder,
    /// What is done on it.
    pub(crate) provision: Vec<Provision>,
    /// What the image must pass.
    pub(crate) tests: Vec<Test>,
    /// What becomes of it; its name is final.
    pub(crate) image: Image,
    /// What becomes of the machines when it fails.
    pub(crate) on_error: OnError,
}
