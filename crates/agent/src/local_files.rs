//! The files of a run on the controller itself: as they lie there, also those that the run makes.
//! Only what a vault was opened for is read from the bundle.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use amibake_playbook::files::{Disk, Files};
use amibake_protocol::bundle::{Hash, Item, ItemKind};
use amibake_protocol::message::Job;

use crate::bundle_files::BundleFiles;

/// This machine's files, and the bundle's where they are locked here.
pub(crate) struct LocalFiles {
    here: Disk,
    bundle: BundleFiles,
    /// Files whose content here is a vault's.
    opened: BTreeSet<PathBuf>,
}

impl LocalFiles {
    pub(crate) fn new(job: &Job, bundle: BundleFiles) -> Self {
        let opened = job
            .items
            .iter()
            .filter(|item| job.opened_vault && is_another(item));
        Self {
            here: Disk::here(),
            bundle,
            opened: opened.map(|item| item.path.clone()).collect(),
        }
    }

    fn of(&self, path: &Path) -> &dyn Files {
        match self.opened.contains(path) {
            true => &self.bundle,
            false => &self.here,
        }
    }
}

/// Returns whether an item's content is another than that of the file it was made of.
fn is_another(item: &Item) -> bool {
    let ItemKind::File { hash, .. } = &item.kind else {
        return false;
    };
    let here = File::open(&item.path).and_then(|mut file| Hash::of_reader(&mut file));
    here.is_ok_and(|here| here != *hash)
}

impl Files for LocalFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.of(path).read(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.here.is_file(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.here.is_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.here.list(path)
    }

    fn link(&self, path: &Path) -> Option<String> {
        self.here.link(path)
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.here.real(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.here.mode(path)
    }

    fn is_vaulted(&self, path: &Path) -> io::Result<bool> {
        self.here.is_vaulted(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.of(path).locate(path)
    }
}
