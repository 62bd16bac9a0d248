//! What the container target owes on this host, and its words. How it is paid is in `undo`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ledger::Undo;
use crate::targets::CONTAINER;

/// What undoes one creation here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub(super) enum Removal {
    /// Power a container off.
    StopContainer {
        /// The machine's name.
        name: String,
    },
    /// Remove a network namespace and its links.
    RemoveNetwork { name: String },
    /// Remove a file or folder, and what is below it.
    RemovePath { path: PathBuf },
}

impl From<Removal> for Undo {
    fn from(removal: Removal) -> Self {
        Self::new(CONTAINER, &removal)
    }
}

impl Removal {
    /// Returns what it removes, for people.
    pub(super) fn what(&self) -> String {
        match self {
            Self::StopContainer { name } => format!("container {name}"),
            Self::RemoveNetwork { name } => format!("network namespace {name}"),
            Self::RemovePath { path } => path.display().to_string(),
        }
    }
}
