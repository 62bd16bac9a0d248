//! What the lock file of a manifest's `requirements` says, installed in a folder of the cache that nothing changes any
//! more: builds of several manifests, or of several versions of one, do not disturb each other.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::archive::unwritable;
use super::lock::{Lock, LockError, Pin, lock_path};
use super::{Cache, InstallError, Locking, Request, Tell};
use crate::ansible_config::{AnsibleConfig, SearchPaths, Surroundings};

/// A lock file that a manifest names by its requirements, and where what it says lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LockedSet {
    /// The requirements file.
    pub(crate) file: PathBuf,
    /// A line for each role and collection: its name, version, commit and SHA-256.
    pub(crate) lines: Vec<String>,
    pub(crate) folder: PathBuf,
}

impl LockedSet {
    /// Reads the lock file of a requirements file. Nobody is asked.
    pub(crate) fn of(file: &Path, cache: &Cache) -> Result<Self, LockError> {
        let path = lock_path(file);
        let lock = Lock::read(&path)?.ok_or(LockError::Missing { path })?;
        let name = hex::encode(&Sha256::digest(lock.text().as_bytes())[..16]);
        let pins = lock.roles.iter().chain(&lock.collections);
        let line = |pin: &Pin| {
            let commit = pin.commit.as_deref().unwrap_or("-");
            format!("{} {} {commit} {}", pin.name, pin.version, pin.sha256)
        };
        Ok(Self {
            file: file.to_path_buf(),
            lines: pins.map(line).collect(),
            folder: cache.path("sets").join(name),
        })
    }

    pub(crate) fn is_there(&self) -> bool {
        self.folder.is_dir()
    }

    /// Returns where its roles and collections lie.
    pub(crate) fn search(&self) -> SearchPaths {
        SearchPaths {
            roles: vec![self.folder.join("roles")],
            collections: vec![self.folder.join("collections")],
        }
    }

    /// Installs it, if it is not there.
    pub(crate) fn install(
        &self,
        cache: &Cache,
        config: &AnsibleConfig,
        around: &Surroundings<'_>,
        offline: bool,
        cancel: &CancellationToken,
        tell: Tell<'_>,
    ) -> Result<(), InstallError> {
        if self.is_there() {
            return Ok(());
        }
        let failed = |e: io::Error| unwritable(&self.folder, e);
        let above = cache.folder("sets")?;
        let making = tempfile::Builder::new()
            .prefix(".amibake-")
            .tempdir_in(&above);
        let making = making.map_err(failed)?;
        let search = Self {
            folder: making.path().join("set"),
            ..self.clone()
        }
        .search();
        let request = Request {
            file: self.file.clone(),
            roles: search.roles[0].clone(),
            collections: search.collections[0].clone(),
            locking: Locking::Locked,
            force: false,
            dependencies: true,
            prereleases: false,
            offline,
            at_once: AT_ONCE,
            server: None,
            pause: Duration::from_secs(1),
            cancel: cancel.clone(),
        };
        super::install(&request, cache, config, around, tell)?;
        match fs::rename(making.path().join("set"), &self.folder) {
            // Another build has just made the same.
            Err(_) if self.is_there() => Ok(()),
            renamed => Ok(renamed.map_err(failed)?),
        }
    }
}

/// How many are fetched at once, where nobody says.
pub(crate) const AT_ONCE: NonZeroUsize = NonZeroUsize::new(8).expect("eight is more than none");
