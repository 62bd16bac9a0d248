//! The files that go with a run, read and hashed: what [`amibake_playbook::reads::needed`] finds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use amibake_playbook::files::{Disk, Files};
use amibake_playbook::glob;
use amibake_playbook::reads::{Checkout, Found, Reads};
use amibake_protocol::bundle::{self, Hash, Item, ItemKind, LARGE_BYTES};

use crate::secret::Secret;
use crate::vault::Vault;

/// The most bytes of files that travel before the run starts; what is more is sent when a task wants it.
const MOST_BYTES: u64 = 100 << 20;
/// The largest file that is looked at for a vault.
const MOST_VAULTED: u64 = 64 << 20;

/// The files of a run.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    items: Vec<Item>,
    contents: BTreeMap<Hash, (u64, Content)>,
    vault: Vault,
    reads: Reads,
    /// What tasks check out of git.
    checkouts: BTreeSet<Checkout>,
    /// Modules that nobody knows.
    unknown_modules: BTreeSet<String>,
    /// Bytes of the contents.
    bytes: u64,
    /// What the user should know: caps that were met.
    notes: Vec<String>,
}

/// Where a content is.
#[derive(Debug)]
pub(crate) enum Content {
    File(PathBuf),
    /// Here: no file has it, since the vault is opened in memory only.
    Opened(Secret<Vec<u8>>),
}

/// Why files cannot be bundled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    #[error("could not read {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the playbook's files cannot be sent")]
    Bundle(#[from] bundle::BundleError),
}

impl Bundle {
    /// Reads what was found, each file once, with what `vault` opens in place of what lies there. Folders
    /// travel without what is in them, and links that lead nowhere as they are.
    pub(crate) fn of(found: Found, vault: &Vault) -> Result<Self, CollectError> {
        let mut bundle = Self {
            vault: vault.clone(),
            reads: found.reads,
            checkouts: found.checkouts,
            unknown_modules: found.unknown_modules,
            notes: found.notes,
            ..Self::default()
        };
        for path in &found.paths {
            let added = bundle.add(path);
            added.map_err(|source| CollectError::Io {
                path: path.clone(),
                source,
            })?;
        }
        for path in &found.tested {
            bundle.add_tested(path);
        }
        bundle::check(&bundle.items)?;
        Ok(bundle)
    }

    /// Reads files and nothing of what they name.
    #[cfg(test)]
    pub(crate) fn of_paths(paths: &[PathBuf]) -> Result<Self, CollectError> {
        let found = Found {
            paths: paths.to_vec(),
            ..Found::default()
        };
        Self::of(found, &Vault::default())
    }

    /// Returns what may be read, there or not.
    pub(crate) fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Returns what tasks check out of git, as far as that is written.
    pub(crate) fn checkouts(&self) -> &BTreeSet<Checkout> {
        &self.checkouts
    }

    /// Returns the playbook's modules that nobody knows.
    pub(crate) fn unknown_modules(&self) -> &BTreeSet<String> {
        &self.unknown_modules
    }

    /// Returns what the user should know.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns every file and folder.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns every content once: its hash, its size, where it is.
    pub(crate) fn contents(&self) -> impl Iterator<Item = (&Hash, u64, &Content)> {
        let all = self.contents.iter();
        all.map(|(hash, (size, content))| (hash, *size, content))
    }

    /// Returns whether a vault was opened for any of it.
    pub(crate) fn has_opened(&self) -> bool {
        let mut contents = self.contents.values();
        contents.any(|(_, content)| matches!(content, Content::Opened(_)))
    }

    /// Returns the text of a file as it travels.
    pub(crate) fn text_of(&self, path: &Path) -> io::Result<String> {
        let item = self.items.iter().find(|item| item.path == path);
        if let Some(ItemKind::File { hash, .. }) = item.map(|item| &item.kind)
            && let Some((_, Content::Opened(bytes))) = self.contents.get(hash)
        {
            return String::from_utf8(bytes.expose().clone()).map_err(io::Error::other);
        }
        fs::read_to_string(path)
    }

    /// Returns what lies at `path` and below it now, as it is told to a target that may read it: without
    /// contents. `None` if nothing is there, or too much.
    pub(crate) fn seen(path: &Path, most: usize) -> Option<Vec<Item>> {
        let mut items = Vec::new();
        let is_there = path.is_file() || path.is_dir();
        glob::tree(&Disk::here(), path, &mut |path| {
            items.extend(item_of(&path));
            items.len() <= most
        });
        (is_there && items.len() <= most).then_some(items)
    }

    /// Adds what is only tested for: without its content, which is not sent on request either.
    fn add_tested(&mut self, path: &Path) {
        self.items.extend(item_of(path));
    }

    fn add(&mut self, path: &Path) -> io::Result<()> {
        if let Some(target) = Disk::here().link(path) {
            self.push(path, 0o777, ItemKind::Link { target });
            return Ok(());
        }
        let found = path.metadata()?;
        if found.is_dir() {
            self.push(path, found.permissions().mode() & 0o777, ItemKind::Folder);
        } else if found.is_file() {
            self.add_file(path, &found)?;
        } // sockets and devices are no part of a playbook
        Ok(())
    }

    fn push(&mut self, path: &Path, mode: u32, kind: ItemKind) {
        let path = path.to_path_buf();
        self.items.push(Item { path, mode, kind });
    }

    fn add_file(&mut self, path: &Path, found: &Metadata) -> io::Result<()> {
        let size = found.len();
        let kind = if let Some(bytes) = self.open(path)? {
            let (hash, size) = (Hash::of(&bytes), bytes.len() as u64);
            let content = Content::Opened(Secret::new(bytes));
            self.contents.entry(hash.clone()).or_insert((size, content));
            ItemKind::File { hash, size }
        } else if size > LARGE_BYTES || self.is_full(size, path) {
            ItemKind::Large { size }
        } else {
            let hash = Hash::of(&fs::read(path)?);
            let content = (size, Content::File(path.to_path_buf()));
            if self.contents.insert(hash.clone(), content).is_none() {
                self.bytes += size;
            }
            ItemKind::File { hash, size }
        };
        self.push(path, found.permissions().mode() & 0o7777, kind);
        Ok(())
    }
}

impl Bundle {
    /// Returns whether there is no place for `size` bytes more, and tells so the first time.
    fn is_full(&mut self, size: u64, path: &Path) -> bool {
        const FULL: &str = "the playbook's files are more than";
        let full = self.bytes.saturating_add(size) > MOST_BYTES;
        if full && !self.notes.iter().any(|note| note.starts_with(FULL)) {
            let (most, path) = (MOST_BYTES >> 20, path.display());
            self.notes.push(format!(
                "{FULL} {most} MiB: {path} and others are sent when a task wants them"
            ));
        }
        full
    }

    /// Returns the content of a file that the vault locks.
    fn open(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if self.vault.is_empty() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(path)?
            .take(MOST_VAULTED)
            .read_to_end(&mut bytes)?;
        match Vault::concerns(&bytes) {
            true => self.vault.read(bytes).map(Some).map_err(io::Error::other),
            false => Ok(None),
        }
    }
}

/// Returns a file or folder as one whose content is elsewhere.
fn item_of(path: &Path) -> Option<Item> {
    let found = path.metadata().ok()?;
    let kind = match found.is_dir() {
        true => ItemKind::Folder,
        false if found.is_file() => ItemKind::Large { size: found.len() },
        false => return None,
    };
    Some(Item {
        path: path.to_path_buf(),
        mode: found.permissions().mode() & 0o7777,
        kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_travel_once() {
        let temp = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| temp.path().join(name));
        for path in &paths {
            fs::write(path, "same").unwrap();
        }
        let bundle = Bundle::of_paths(&paths).unwrap();
        assert_eq!(bundle.contents().count(), 1);
        assert_eq!(bundle.items().len(), 2, "{:?}", bundle.items());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let gone = PathBuf::from("/nonexistent/site.yml");
        let error = Bundle::of_paths(std::slice::from_ref(&gone)).unwrap_err();
        assert_eq!(error.to_string(), "could not read /nonexistent/site.yml");
    }

    #[test]
    fn a_link_that_cannot_be_followed_travels_as_one() {
        let temp = tempfile::tempdir().unwrap();
        let links = [("gone", "nowhere"), ("loop", ".")].map(|(name, target)| {
            let link = temp.path().join(name);
            std::os::unix::fs::symlink(target, &link).unwrap();
            link
        });
        let bundle = Bundle::of_paths(&links).unwrap();
        let links = bundle.items().iter().filter_map(|item| match &item.kind {
            ItemKind::Link { target } => Some(target.as_str()),
            _ => None,
        });
        assert_eq!(links.collect::<Vec<_>>(), ["nowhere", "."]);
    }

    #[test]
    fn a_file_keeps_all_of_its_mode() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("program");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o4755)).unwrap();
        let bundle = Bundle::of_paths(std::slice::from_ref(&path)).unwrap();
        assert_eq!(bundle.items()[0].mode, 0o4755);
    }
}
