//! The bundle as the language reads it: files on tmpfs, large ones fetched when they are wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use amibake_playbook::files::{Disk, Files};
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::bundle::{Item, ItemKind};
use amibake_protocol::event::Place;

use crate::hub::Hub;

/// An unpacked bundle.
pub(crate) struct BundleFiles {
    disk: Disk,
    hub: Arc<Hub>,
    /// The modes that the files here have not got, since they are root's: setuid and the like.
    special: BTreeMap<PathBuf, u32>,
    /// Files whose content has not been fetched yet.
    large: Mutex<BTreeSet<PathBuf>>,
}

impl BundleFiles {
    pub(crate) fn new(prefix: PathBuf, items: &[Item], hub: Arc<Hub>) -> Self {
        let is_large = |item: &&Item| matches!(item.kind, ItemKind::Large { .. });
        let large = items.iter().filter(is_large);
        let special = items.iter().filter(|item| item.mode & 0o7000 != 0);
        Self {
            disk: Disk::below(prefix),
            special: special.map(|item| (item.path.clone(), item.mode)).collect(),
            hub,
            large: Mutex::new(large.map(|item| item.path.clone()).collect()),
        }
    }

    /// Fetches what is large at `path` or below it.
    fn fetch(&self, path: &Path) -> io::Result<()> {
        let mut large = self.large.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: Vec<PathBuf> = large
            .iter()
            .filter(|known| known.starts_with(path))
            .cloned()
            .collect();
        for path in wanted {
            self.fetch_one(&path)?;
            large.remove(&path);
        }
        Ok(())
    }

    fn fetch_one(&self, path: &Path) -> io::Result<()> {
        let place = Place {
            file: path.to_string_lossy().into_owned(),
            line: 1,
            column: 1,
        };
        let path_wanted = path.to_path_buf();
        match self.hub.ask(Ask::File {
            place,
            path: path_wanted,
        }) {
            Answer::File { path: arrived } => {
                let place = self.disk.locate(path);
                std::fs::set_permissions(&arrived, place.metadata()?.permissions())?;
                std::fs::rename(arrived, place)
            }
            Answer::Refused { reason } => Err(io::Error::other(reason)),
            Answer::Value { .. } => Err(io::Error::other("the controller sent no file")),
        }
    }
}

impl Files for BundleFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.fetch(path)?;
        self.disk.read(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.disk.is_file(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.disk.is_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.disk.list(path)
    }

    fn link(&self, path: &Path) -> Option<String> {
        self.disk.link(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        match self.special.get(path) {
            Some(mode) => Ok(mode & 0o7777),
            None => self.disk.mode(path),
        }
    }

    fn locate(&self, path: &Path) -> PathBuf {
        // Whoever opens a file that could not be fetched reads zeros: so it goes instead.
        if self.fetch(path).is_err() {
            let _ = std::fs::remove_file(self.disk.locate(path));
        }
        self.disk.locate(path)
    }
}
