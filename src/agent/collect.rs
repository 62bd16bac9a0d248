//! The files that go with a run, read and hashed: what [`amibake_playbook::syntax::sources`] lists.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use amibake_playbook::files::{Disk, Files};
use amibake_protocol::bundle::{self, Hash, Item, ItemKind, LARGE_BYTES};

use crate::secret::Secret;
use crate::vault::Vault;

/// The largest file that is looked at for a vault.
const MOST_VAULTED: u64 = 64 << 20;

/// The files of a run.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    items: Vec<Item>,
    contents: BTreeMap<Hash, (u64, Content)>,
    vault: Vault,
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
    /// Reads `paths`, each one once: absolute names of files, of links that lead nowhere, and of folders,
    /// which travel without what is in them.
    pub(crate) fn of(paths: &[PathBuf]) -> Result<Self, CollectError> {
        Self::opened(paths, &Vault::default())
    }

    /// Does the same, with what `vault` opens in place of what lies there.
    pub(crate) fn opened(paths: &[PathBuf], vault: &Vault) -> Result<Self, CollectError> {
        let mut bundle = Self {
            vault: vault.clone(),
            ..Self::default()
        };
        for path in paths {
            let added = bundle.add(path);
            added.map_err(|source| CollectError::Io {
                path: path.clone(),
                source,
            })?;
        }
        bundle::check(&bundle.items)?;
        Ok(bundle)
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

    /// Returns whether `path` is a file that was left out only for its size.
    pub(crate) fn is_large(&self, path: &Path) -> bool {
        let large = |item: &&Item| matches!(item.kind, ItemKind::Large { .. });
        self.items
            .iter()
            .filter(large)
            .any(|item| item.path == path)
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
        } else if size > LARGE_BYTES {
            ItemKind::Large { size }
        } else {
            let hash = Hash::of_reader(&mut File::open(path)?)?;
            let content = (size, Content::File(path.to_path_buf()));
            self.contents.entry(hash.clone()).or_insert(content);
            ItemKind::File { hash, size }
        };
        self.push(path, found.permissions().mode() & 0o7777, kind);
        Ok(())
    }
}

impl Bundle {
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
        let bundle = Bundle::of(&paths).unwrap();
        assert_eq!(bundle.contents().count(), 1);
        assert_eq!(bundle.items().len(), 2, "{:?}", bundle.items());
    }

    #[test]
    fn what_is_not_there_is_named() {
        let gone = PathBuf::from("/nonexistent/site.yml");
        let error = Bundle::of(std::slice::from_ref(&gone)).unwrap_err();
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
        let bundle = Bundle::of(&links).unwrap();
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
        let bundle = Bundle::of(std::slice::from_ref(&path)).unwrap();
        assert_eq!(bundle.items()[0].mode, 0o4755);
    }
}
