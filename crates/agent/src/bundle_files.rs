//! The bundle as the language reads it: files on tmpfs, large ones fetched when they are wanted.
//! What was left out for its number, or came later, is looked for when nothing else is found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amibake_playbook::files::{Disk, Files, Look};
use amibake_playbook::reads::Reads;
use amibake_protocol::ask::{Answer, Ask, Seen};
use amibake_protocol::bundle::{self, Item, ItemKind};
use amibake_protocol::event::Place;
use amibake_protocol::message::Job;

use crate::hub::Hub;

/// An unpacked bundle.
pub(crate) struct BundleFiles {
    disk: Disk,
    hub: Arc<Hub>,
    reads: Reads,
    /// The modes that the files here have not got, since they are root's: setuid and the like.
    special: BTreeMap<PathBuf, u32>,
    /// Whether the controller opened a vault for any of it.
    opened_vault: bool,
    /// Files whose content has not been fetched yet.
    large: Mutex<BTreeSet<PathBuf>>,
    /// Files that were changed on the controller.
    stale: Mutex<BTreeSet<PathBuf>>,
}

impl BundleFiles {
    pub(crate) fn new(prefix: PathBuf, job: &Job, hub: Arc<Hub>) -> Self {
        let is_large = |item: &&Item| matches!(item.kind, ItemKind::Large { .. });
        let large = job.items.iter().filter(is_large);
        let special = job.items.iter().filter(|item| item.mode & 0o7000 != 0);
        Self {
            disk: Disk::below(prefix),
            special: special.map(|item| (item.path.clone(), item.mode)).collect(),
            opened_vault: job.opened_vault,
            hub,
            reads: job.reads.clone(),
            large: Mutex::new(large.map(|item| item.path.clone()).collect()),
            stale: Mutex::default(),
        }
    }

    /// Fetches what is large at `path` or below it.
    fn fetch(&self, path: &Path) -> io::Result<()> {
        let mut large = held(&self.large);
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
        let path_wanted = path.to_path_buf();
        match self.hub.ask(Ask::File {
            place: whole(path),
            path: path_wanted,
        }) {
            Answer::File { path: arrived } => {
                let place = self.disk.locate(path);
                fs::set_permissions(&arrived, place.metadata()?.permissions())?;
                fs::rename(arrived, place)
            }
            Answer::Refused { reason } => Err(io::Error::other(reason)),
            Answer::Value { .. } => Err(io::Error::other("the controller sent no file")),
        }
    }

    /// Asks the controller what lies at `paths`, and makes place here for what may be read.
    fn ask_for(&self, paths: &[PathBuf]) -> Vec<Seen> {
        let Some(first) = paths.first() else {
            return Vec::new();
        };
        let answer = self.hub.ask(Ask::Look {
            place: whole(first),
            paths: paths.to_vec(),
        });
        let Answer::Value { value } = answer else {
            return Vec::new();
        };
        let seen: Vec<Seen> = serde_json::from_value(value).unwrap_or_default();
        for item in seen.iter().flat_map(items_of) {
            let _ = self.make_place(item); // what cannot be kept is not there
        }
        seen
    }

    fn make_place(&self, item: &Item) -> io::Result<()> {
        if !bundle::is_sound(&item.path) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = self.disk.locate(&item.path);
        match item.kind {
            ItemKind::Folder => fs::create_dir_all(at),
            ItemKind::Large { size } | ItemKind::File { size, .. } => {
                at.parent().map_or(Ok(()), fs::create_dir_all)?;
                let mut create = OpenOptions::new();
                let file = create.write(true).create_new(true).mode(0o600).open(&at)?;
                file.set_len(size)?;
                fs::set_permissions(&at, Permissions::from_mode(item.mode & 0o777))?;
                held(&self.large).insert(item.path.clone());
                Ok(())
            }
            ItemKind::Link { .. } => Ok(()),
        }
    }

    /// Fetches anew what was changed there.
    fn refresh(&self, path: &Path) {
        if held(&self.stale).remove(path) {
            self.ask_for(&[path.to_path_buf()]);
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn whole(path: &Path) -> Place {
    Place {
        file: path.to_string_lossy().into_owned(),
        line: 1,
        column: 1,
    }
}

fn items_of(seen: &Seen) -> &[Item] {
    match seen {
        Seen::Items { items } => items,
        Seen::Nothing | Seen::Withheld => &[],
    }
}

impl Files for BundleFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.refresh(path);
        self.fetch(path)?;
        self.disk.read(path)
    }

    fn is_file(&self, path: &Path) -> bool {
        self.refresh(path);
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

    fn is_vaulted(&self, path: &Path) -> io::Result<bool> {
        let vaulted = self.read(path)?.starts_with(b"$ANSIBLE_VAULT;");
        match self.opened_vault && !vaulted {
            true => Err(io::Error::other(
                "what the controller opened is not told apart from what was open",
            )),
            false => Ok(vaulted),
        }
    }

    fn look(&self, paths: &[PathBuf]) -> Look {
        let tells = |path: &&PathBuf| self.reads.tells(path);
        let open = self.reads.is_open();
        let asked = paths.iter();
        let asked = asked.filter(|path| match tells(path) {
            true => open,
            false => self.reads.is_own(path),
        });
        let asked: Vec<PathBuf> = asked.cloned().collect();
        let seen = self.ask_for(&asked);
        for (path, seen) in asked.iter().zip(&seen) {
            match seen {
                Seen::Nothing => {}
                Seen::Withheld => return Look::Withheld(path.clone()),
                Seen::Items { .. } => return Look::There(path.clone()),
            }
        }
        let outside = paths
            .iter()
            .find(|path| !tells(path) && !self.reads.is_own(path));
        outside.map_or(Look::Absent, |path| Look::Outside(path.clone()))
    }

    fn forget(&self, path: &Path) {
        if self.reads.permits(path) {
            let _ = fs::remove_file(self.disk.locate(path));
            held(&self.large).remove(path);
            held(&self.stale).insert(path.to_path_buf());
        }
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.refresh(path);
        // Whoever opens a file that could not be fetched reads zeros: so it goes instead.
        if self.fetch(path).is_err() {
            let _ = fs::remove_file(self.disk.locate(path));
        }
        self.disk.locate(path)
    }
}
