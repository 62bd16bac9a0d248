//! A machine: what it is for, what it is booted from, and how it is logged in to.

use std::path::PathBuf;

use russh::keys::{PrivateKey, PublicKey};

use super::error::TargetError;
use crate::ssh::KeyPair;

/// What a machine is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It is provisioned, sealed, and becomes the candidate.
    Builder,
    /// It is booted from the candidate and looked at.
    Candidate,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Builder => "builder",
            Self::Candidate => "candidate",
        })
    }
}

/// What a machine is booted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// An image of EC2's.
    Image {
        /// `ami-0abc12`.
        id: String,
        /// Its name, for people: `ubuntu-noble-24.04-amd64-server-20260720`.
        name: String,
    },
    /// A root on this host, which need not be there before [`super::Target::prepare`].
    Root {
        path: PathBuf,
        /// Its name, which says what it is made of.
        name: String,
    },
    /// The disk of a machine on this host that was stopped.
    Disk { machine: String },
}

impl Base {
    /// Returns what tells it from all others.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Image { id, .. } => id.clone(),
            Self::Root { path, .. } => path.display().to_string(),
            Self::Disk { machine } => machine.clone(),
        }
    }

    /// Returns its name, for people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Image { name, .. } | Self::Root { name, .. } => name,
            Self::Disk { machine } => machine,
        }
    }
}

/// The keys of one machine, made here for it alone.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// What the controller logs in with.
    pub(crate) login: PrivateKey,
    /// What the machine proves itself with, until it has made its own.
    pub(crate) host: PrivateKey,
}

/// A machine that runs, or is about to.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// `i-0abc12`, a container's name.
    pub(crate) id: String,
    /// Address of its SSH server.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Login user, who may use sudo without a password.
    pub(crate) user: String,
    pub(crate) login_key: PrivateKey,
    /// The only host key it may show.
    pub(crate) host_key: PublicKey,
}

impl Keys {
    pub(crate) fn make() -> Result<Self, TargetError> {
        Ok(Self {
            login: ed25519()?,
            host: ed25519()?,
        })
    }
}

fn ed25519() -> Result<PrivateKey, TargetError> {
    let pair = KeyPair::generate("")
        .map_err(|e| TargetError::new("a machine's key could not be made").because(e))?;
    Ok(pair.into_private())
}
