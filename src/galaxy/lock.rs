//! The lock file beside a requirements file: what each requirement stood for, by commits and SHA-256.
//!
//! It is the whole answer: with it nobody is asked which versions there are.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::with_mode;

/// What a lock file of this program says first.
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lock {
    #[serde(rename = "lock")]
    format: u32,
    /// What was asked for: another question has another answer.
    pub(super) requested: BTreeSet<String>,
    pub(super) roles: Vec<Pin>,
    pub(super) collections: Vec<Pin>,
}

/// Where something is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    Git,
    /// A tarball by its path or address.
    Archive,
    Folder,
    Galaxy,
}

/// One role or collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pin {
    pub(super) name: String,
    pub(super) origin: Origin,
    /// A repository, a path, an address; of Galaxy the server.
    pub(super) source: String,
    /// Where in a repository or folder it lies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) folder: String,
    /// As it was asked for, or as it calls itself.
    pub(super) version: String,
    /// The branch or tag that a collection was asked for by, which calls itself otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) revision: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) commit: Option<String>,
    /// What Galaxy says is downloaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    /// Of the archive; of all files of what is none.
    pub(super) sha256: String,
}

/// Why a lock file does not serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("the lock file {} could not be read", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no lock file of this version", path.display())]
    Bad {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the lock file {} has format {format}, and this program writes {FORMAT}", path.display())]
    Format { path: PathBuf, format: u32 },
    #[error("could not write the lock file {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("there is no lock file {}", path.display())]
    Missing { path: PathBuf },
    #[error("the requirements are not those of the lock file {}: {difference}", path.display())]
    Other { path: PathBuf, difference: String },
    #[error("{name} is not what the lock file says: {what} is {is}, and was {was}")]
    Differs {
        name: String,
        what: &'static str,
        is: String,
        was: String,
    },
}

impl LockError {
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Missing { .. } => Some("`amibake install` without --locked writes it"),
            Self::Other { .. } => Some("`amibake install` without --locked brings it up to date"),
            Self::Differs { .. } => Some("`amibake install --upgrade` takes what is there now"),
            Self::Bad { .. } | Self::Format { .. } => {
                Some("`amibake install --upgrade` writes it anew")
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } => None,
        }
    }
}

/// Returns where the lock file of a requirements file lies.
pub(crate) fn lock_path(requirements: &Path) -> PathBuf {
    let mut name = requirements.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    requirements.with_file_name(name)
}

impl Lock {
    pub(super) fn new(requested: BTreeSet<String>) -> Self {
        Self {
            format: FORMAT,
            requested,
            roles: Vec::new(),
            collections: Vec::new(),
        }
    }

    /// Reads a lock file, if there is one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, LockError> {
        let owned = || path.to_path_buf();
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let path = owned();
                return Err(LockError::Unreadable { path, source });
            }
        };
        let lock: Self = serde_json::from_slice(&text).map_err(|source| LockError::Bad {
            path: owned(),
            source,
        })?;
        match lock.format {
            FORMAT => Ok(Some(lock)),
            format => Err(LockError::Format {
                path: owned(),
                format,
            }),
        }
    }

    /// Writes it whole or not at all, where it is not there so already.
    pub(super) fn write(&self, path: &Path) -> Result<(), LockError> {
        let text = self.text();
        if fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        let written = tempfile::Builder::new()
            .prefix(".amibake-")
            .permissions(with_mode(0o644))
            .tempfile_in(folder)
            .and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.persist(path).map(drop).map_err(|e| e.error)
            });
        written.map_err(|source| LockError::Unwritable {
            path: path.to_path_buf(),
            source,
        })
    }

    pub(super) fn text(&self) -> String {
        let mut lock = self.clone();
        lock.roles.sort_by(|one, other| one.name.cmp(&other.name));
        let name = |pin: &Pin| pin.name.clone();
        lock.collections.sort_by_key(name);
        let text = serde_json::to_string_pretty(&lock).expect("a lock file is plain data");
        text + "\n"
    }

    /// Returns in words what is asked for otherwise than it was.
    pub(super) fn difference(&self, requested: &BTreeSet<String>) -> Option<String> {
        let added = requested.difference(&self.requested);
        let added = added.map(|line| format!("new is `{line}`"));
        let gone = self.requested.difference(requested);
        let gone = gone.map(|line| format!("gone is `{line}`"));
        let all: Vec<String> = added.chain(gone).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

impl Pin {
    /// Compares with what was fetched now.
    pub(super) fn check(&self, now: &Self) -> Result<(), LockError> {
        let short = |commit: &Option<String>| commit.clone().unwrap_or_else(|| "none".to_owned());
        let differs = |what, is: String, was: String| LockError::Differs {
            name: self.name.clone(),
            what,
            is,
            was,
        };
        if self.commit != now.commit {
            return Err(differs(
                "the commit",
                short(&now.commit),
                short(&self.commit),
            ));
        }
        if self.sha256 != now.sha256 {
            return Err(differs(
                "its SHA-256",
                now.sha256.clone(),
                self.sha256.clone(),
            ));
        }
        Ok(())
    }
}
