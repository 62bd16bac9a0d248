//! Which files go with a run: everything below the roots, without what git keeps.
//!
//! Links are followed inside the roots and refused when they lead out: a role from elsewhere
//! must not be able to name this machine's secrets.

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
/// Folders that never belong to a bundle.
const LEFT_OUT: [&str; 4] = [".git", "__pycache__", ".tox", ".venv"];

/// The files of a run.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    roots: Vec<PathBuf>,
    items: Vec<Item>,
    contents: BTreeMap<Hash, (u64, Content)>,
    vault: Vault,
}

/// Where a content is.
#[derive(Debug)]
pub(crate) enum Content {
    /// In this file.
    File(PathBuf),
    /// Here: no file has it, since the vault is opened in memory only.
    Opened(Secret<Vec<u8>>),
}

/// Why files cannot be bundled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// A file could not be read.
    #[error("could not read {}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A link leads out of the roots.
    #[error("{} is a link that leads out of the playbook's folders", .0.display())]
    LeadsOut(PathBuf),
    /// There is too much of it.
    #[error("the playbook's folders cannot be sent")]
    Bundle(#[from] bundle::BundleError),
}

impl Bundle {
    /// Reads everything below `roots`: absolute files or folders that must exist.
    pub(crate) fn of(roots: &[PathBuf]) -> Result<Self, CollectError> {
        Self::opened(roots, &Vault::default())
    }

    /// Does the same, with what `vault` opens in place of what lies there.
    pub(crate) fn opened(roots: &[PathBuf], vault: &Vault) -> Result<Self, CollectError> {
        let mut bundle = Self {
            roots: roots.to_vec(),
            vault: vault.clone(),
            ..Self::default()
        };
        let mut seen: Vec<&PathBuf> = roots.iter().collect();
        seen.sort();
        seen.dedup();
        let outer: Vec<&PathBuf> = seen
            .iter()
            .filter(|root| !seen.iter().any(|o| o != *root && root.starts_with(o)))
            .copied()
            .collect();
        for root in outer {
            bundle.add(root, &mut Vec::new())?;
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

    /// Returns whether `path`, links resolved, lies in one of the roots.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        let Ok(real) = path.canonicalize() else {
            return false;
        };
        let mut real_roots = self.roots.iter().filter_map(|r| r.canonicalize().ok());
        real_roots.any(|root| real.starts_with(root))
    }

    fn add(&mut self, path: &Path, above: &mut Vec<PathBuf>) -> Result<(), CollectError> {
        let failed = |source| CollectError::Io {
            path: path.to_path_buf(),
            source,
        };
        let is_link = path.symlink_metadata().map_err(failed)?.is_symlink();
        if let Some(target) = Disk::here().link(path) {
            self.items.push(Item {
                path: path.to_path_buf(),
                mode: 0o777,
                kind: ItemKind::Link { target },
            });
            return Ok(());
        }
        let found = path.metadata().map_err(failed)?;
        if is_link && !above.is_empty() && !self.holds(path) {
            return Err(CollectError::LeadsOut(path.to_path_buf()));
        }
        if found.is_dir() {
            return self.add_folder(path, &found, above);
        }
        match found.is_file() {
            true => self.add_file(path, &found).map_err(failed),
            false => Ok(()), // sockets and devices are no part of a playbook
        }
    }

    fn add_folder(
        &mut self,
        path: &Path,
        found: &Metadata,
        above: &mut Vec<PathBuf>,
    ) -> Result<(), CollectError> {
        let failed = |source| CollectError::Io {
            path: path.to_path_buf(),
            source,
        };
        let real = path.canonicalize().map_err(failed)?;
        if above.contains(&real) {
            return Ok(()); // a link to a folder it is in
        }
        self.items.push(Item {
            path: path.to_path_buf(),
            mode: found.permissions().mode() & 0o777,
            kind: ItemKind::Folder,
        });
        above.push(real);
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut names: Vec<_> = entries
            .map_err(failed)?
            .iter()
            .map(fs::DirEntry::file_name)
            .collect();
        names.sort();
        for name in names {
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                self.add(&path.join(name), above)?;
            }
        }
        above.pop();
        Ok(())
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
        self.items.push(Item {
            path: path.to_path_buf(),
            mode: found.permissions().mode() & 0o7777,
            kind,
        });
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
    fn equal_contents_travel_once_and_git_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        for name in ["a", "b", ".git/c"] {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "same").unwrap();
        }
        let bundle = Bundle::of(&[temp.path().to_path_buf()]).unwrap();
        assert_eq!(bundle.contents().count(), 1);
        assert_eq!(bundle.items().len(), 3, "{:?}", bundle.items());
    }

    #[test]
    fn a_link_cannot_lead_a_bundle_to_other_files() {
        let (temp, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("id_ed25519"), "secret").unwrap();
        std::os::unix::fs::symlink(other.path(), temp.path().join("files")).unwrap();
        let refused = Bundle::of(&[temp.path().to_path_buf()]);
        assert!(matches!(refused, Err(CollectError::LeadsOut(_))));
    }

    #[test]
    fn a_link_that_cannot_be_followed_travels_as_one() {
        let temp = tempfile::tempdir().unwrap();
        for (name, target) in [("gone", "nowhere"), ("loop", ".")] {
            std::os::unix::fs::symlink(target, temp.path().join(name)).unwrap();
        }
        let bundle = Bundle::of(&[temp.path().to_path_buf()]).unwrap();
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
