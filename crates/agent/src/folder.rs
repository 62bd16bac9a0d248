//! A run's folder: what lies where, who may hold it, when it may go.

use std::collections::HashSet;
use std::fs::{DirBuilder, DirEntry, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use amibake_protocol::bundle;
use amibake_protocol::message::Job;
use rustix::fs::{FlockOperation, flock};

use crate::{AgentError, io};

/// How long the folder of a run whose process died is kept: longer than a controller tries to
/// come back to hear of it.
const KEPT: Duration = Duration::from_mins(30);

/// Bundles above this size lie on disk.
const MOST_IN_MEMORY: u64 = 32 << 20;

/// The folder of one run: private, on tmpfs.
#[derive(Debug, Clone)]
pub(crate) struct RunFolder(PathBuf);

impl RunFolder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The job, until the run has read it.
    pub(crate) fn job(&self) -> PathBuf {
        self.0.join("job.json")
    }

    /// What the run was at before a reboot, until it has read it.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// Where the bundle is: a folder, or a link to one on disk.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.0.join("bundle")
    }

    /// Contents of the bundle by hash, until they are unpacked.
    pub(crate) fn contents(&self) -> PathBuf {
        self.bundle().join("contents")
    }

    /// The bundle under the controller's paths.
    pub(crate) fn files(&self) -> PathBuf {
        self.bundle().join("files")
    }

    /// Makes the folders for the bundle of `job`, below `disk` if it is large and may lie there.
    pub(crate) fn make_bundle(&self, job: &Job, disk: &Path) -> Result<(), AgentError> {
        let small = bundle::bytes(&job.items) <= MOST_IN_MEMORY;
        if small || job.opened_vault {
            make(&self.bundle())?;
        } else {
            let all = on_disk(disk);
            private(&all)?;
            let age = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
            let apart = all.join(format!("{}-{}", std::process::id(), age.as_nanos()));
            make(&apart)?;
            symlink(&apart, self.bundle()).map_err(io("link to", &apart))?;
        }
        make(&self.contents())?;
        make(&self.files())
    }

    /// Removes the bundle, wherever it is.
    pub(crate) fn remove_bundle(&self) -> io::Result<()> {
        match std::fs::read_link(self.bundle()) {
            Ok(apart) => {
                gone(std::fs::remove_dir_all(apart))?;
                std::fs::remove_file(self.bundle())
            }
            Err(_) => gone(std::fs::remove_dir_all(self.bundle())),
        }
    }

    /// Everything that happened, as frames.
    pub(crate) fn events(&self) -> PathBuf {
        self.0.join("events")
    }

    /// What the detached process wrote to its standard error.
    pub(crate) fn last_words(&self) -> PathBuf {
        self.0.join("stderr")
    }

    /// Where the running agent takes controllers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    /// Returns the lock that a running agent holds, or `None` if another holds it.
    pub(crate) fn lock(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.0.join("lock"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes all of it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.remove_bundle()?;
        gone(std::fs::remove_dir_all(&self.0))
    }
}

/// Takes what is not there for removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where large bundles are, beside the agent itself.
fn on_disk(disk: &Path) -> PathBuf {
    disk.join("bundles")
}

/// Makes a private folder.
pub(crate) fn make(path: &Path) -> Result<(), AgentError> {
    DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(io("create", path))
}

/// Makes `base`, the folder of all runs, and refuses one that someone else could have made.
pub(crate) fn private(base: &Path) -> Result<(), AgentError> {
    match DirBuilder::new().mode(0o700).create(base) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(io("create", base)(e)),
        _ => {}
    }
    let found = base.symlink_metadata().map_err(io("look at", base))?;
    let me = rustix::process::geteuid().as_raw();
    match found.is_dir() && found.uid() == me && found.mode() % 0o100 == 0 {
        true => Ok(()),
        false => Err(AgentError::NotOurs(base.to_path_buf())),
    }
}

/// Removes the folders of runs that ended, or never began, long ago; on disk, also of those that a
/// reboot took from memory.
pub(crate) fn sweep(base: &Path, disk: &Path) {
    let mut used = HashSet::new();
    for entry in std::fs::read_dir(base).into_iter().flatten().flatten() {
        let folder = RunFolder::new(entry.path());
        if is_old(&entry) && matches!(folder.lock(), Ok(Some(_))) {
            let _ = folder.remove();
        }
        used.extend(std::fs::read_link(folder.bundle()));
    }
    let bundles = std::fs::read_dir(on_disk(disk)).into_iter().flatten();
    for entry in bundles.flatten() {
        if is_old(&entry) && !used.contains(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn is_old(entry: &DirEntry) -> bool {
    let made = entry.metadata().and_then(|m| m.modified());
    made.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().join("runs");
        private(&base).unwrap();
        std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(private(&base), Err(AgentError::NotOurs(_))));
        let link = temp.path().join("link");
        std::os::unix::fs::symlink("/root", &link).unwrap();
        assert!(matches!(private(&link), Err(AgentError::NotOurs(_))));
    }

    #[test]
    fn one_agent_at_a_time_holds_a_run() {
        let temp = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(temp.path().to_path_buf());
        let held = folder.lock().unwrap();
        assert!(held.is_some());
        assert!(folder.lock().unwrap().is_none());
        drop(held);
        assert!(folder.lock().unwrap().is_some());
    }
}
