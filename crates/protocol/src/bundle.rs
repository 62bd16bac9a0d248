//! The bundle: the files of a run by hash, and how they are unpacked below a prefix.
//!
//! What belongs into a bundle is the controller's to choose; which paths are sound is checked
//! here, by both sides.

use std::collections::HashMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The most files and folders one bundle has.
pub const MAX_ITEMS: usize = 50_000;
/// The most bytes that travel before the run starts.
pub const MAX_BYTES: u64 = 256 << 20;
/// Files above this size stay with the controller until a task wants them.
pub const LARGE_BYTES: u64 = 4 << 20;

/// The SHA-256 of a content, in hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(String);

impl Hash {
    /// Returns the hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Returns the hash of all that `from` holds.
    pub fn of_reader(from: &mut impl Read) -> io::Result<Self> {
        let (mut hasher, mut part) = (Hasher::default(), vec![0; 64 << 10]);
        loop {
            match from.read(&mut part)? {
                0 => return Ok(hasher.finish()),
                n => hasher.update(&part[..n]),
            }
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        match text.len() == 64 && text.bytes().all(fits) {
            true => Ok(Self(text)),
            false => Err("a hash is 64 hexadecimal digits"),
        }
    }
}

/// Computes a [`struct@Hash`] piece by piece.
#[derive(Default, Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the hash of all bytes added.
    #[must_use]
    pub fn finish(self) -> Hash {
        Hash(hex::encode(self.0.finalize()))
    }
}

/// One file or folder of a bundle. The controller follows links; what are left are those that it
/// cannot follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its path on the controller.
    pub path: PathBuf,
    /// Its permission bits. A file gets no setuid where it is unpacked: it is root's there.
    pub mode: u32,
    #[serde(flatten)]
    pub kind: ItemKind,
}

/// What an [`Item`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "kebab-case")]
pub enum ItemKind {
    Folder,
    /// A file whose content travels with the bundle.
    File {
        hash: Hash,
        /// In bytes.
        size: u64,
    },
    /// A file whose content is asked for when a task wants it.
    Large {
        /// In bytes.
        size: u64,
    },
    /// A link that leads nowhere, or to a folder that it is in.
    Link {
        target: String,
    },
}

/// Why a bundle cannot be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A path is not absolute, or goes up.
    #[error("{} is not a path that a bundle may have", .0.display())]
    BadPath(PathBuf),
    /// There are more files, or more bytes, than a bundle may have.
    #[error("the bundle is too big")]
    TooBig,
    /// A content did not come.
    #[error("the content of {} is missing", .0.display())]
    Missing(PathBuf),
    /// The disk refused.
    #[error("could not unpack {}", .path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        source: io::Error,
    },
}

/// Returns whether `path` is absolute and plain: no `..`, no `.`.
#[must_use]
pub fn is_sound(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !path.as_os_str().as_encoded_bytes().contains(&0)
}

/// Checks what `items` claim before any of it is written.
pub fn check(items: &[Item]) -> Result<(), BundleError> {
    if items.len() > MAX_ITEMS {
        return Err(BundleError::TooBig);
    }
    let mut bytes = 0_u64;
    for item in items {
        if !is_sound(&item.path) {
            return Err(BundleError::BadPath(item.path.clone()));
        }
        if let ItemKind::File { size, .. } = item.kind {
            bytes = bytes.saturating_add(size);
        }
    }
    match bytes > MAX_BYTES {
        true => Err(BundleError::TooBig),
        false => Ok(()),
    }
}

/// Returns the bytes that all files take, those included that come when they are wanted.
#[must_use]
pub fn bytes(items: &[Item]) -> u64 {
    let sizes = items.iter().map(|item| match item.kind {
        ItemKind::File { size, .. } | ItemKind::Large { size } => size,
        ItemKind::Folder | ItemKind::Link { .. } => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

/// Unpacks `items` below `prefix`, a new folder of ours on the file system of `contents`, where
/// contents lie by hash. They are moved from there, so that no content lies there twice.
pub fn unpack(items: &[Item], contents: &Path, prefix: &Path) -> Result<(), BundleError> {
    check(items)?;
    let mut uses: HashMap<&Hash, usize> = HashMap::new();
    for item in items {
        if let ItemKind::File { hash, .. } = &item.kind {
            *uses.entry(hash).or_default() += 1;
        }
    }
    let mut made = PathBuf::new(); // the folder that was made last: most files lie beside the one before
    for item in items {
        let at = below(prefix, &item.path);
        let failed = |source| BundleError::Io {
            path: item.path.clone(),
            source,
        };
        if let Some(parent) = at.parent().filter(|parent| *parent != made) {
            folder(parent).map_err(failed)?;
            made = parent.to_path_buf();
        }
        match &item.kind {
            ItemKind::Folder => folder(&at).map_err(failed)?,
            ItemKind::File { hash, .. } => {
                let content = contents.join(hash.as_str());
                if !content.is_file() {
                    return Err(BundleError::Missing(item.path.clone()));
                }
                let left = uses.entry(hash).or_default();
                *left = left.saturating_sub(1);
                place(&content, &at, *left == 0).map_err(failed)?;
                let mode = Permissions::from_mode(item.mode & 0o777);
                std::fs::set_permissions(&at, mode).map_err(failed)?;
            }
            ItemKind::Link { target } => symlink(target, &at).map_err(failed)?,
            ItemKind::Large { size } => {
                let to = create(&at).map_err(failed)?;
                to.set_len(*size)
                    .and_then(|()| to.set_permissions(Permissions::from_mode(item.mode & 0o777)))
                    .map_err(failed)?;
            }
        }
    }
    set_folder_modes(items, prefix)
}

/// Returns where `path` of the controller lies below `prefix`.
#[must_use]
pub fn below(prefix: &Path, path: &Path) -> PathBuf {
    prefix.join(path.strip_prefix("/").unwrap_or(path))
}

/// Puts a content into its place, which must be free: the last time by moving it.
fn place(content: &Path, at: &Path, last: bool) -> io::Result<()> {
    if !last {
        let mut to = create(at)?;
        return io::copy(&mut File::open(content)?, &mut to).map(drop);
    }
    std::fs::hard_link(content, at)?;
    std::fs::remove_file(content)
}

fn create(at: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(at)
}

fn folder(at: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(at)
}

/// Gives folders their modes last, so that a read-only one can be filled first.
fn set_folder_modes(items: &[Item], prefix: &Path) -> Result<(), BundleError> {
    for item in items.iter().rev() {
        if matches!(item.kind, ItemKind::Folder) {
            let at = below(prefix, &item.path);
            let mode = Permissions::from_mode(item.mode & 0o777 | 0o700);
            std::fs::set_permissions(&at, mode).map_err(|source| BundleError::Io {
                path: item.path.clone(),
                source,
            })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, hash: &Hash) -> Item {
        Item {
            path: path.into(),
            mode: 0o640,
            kind: ItemKind::File {
                hash: hash.clone(),
                size: 2,
            },
        }
    }

    #[test]
    fn a_bundle_is_unpacked_under_the_controllers_paths() {
        let folder = tempfile::tempdir().unwrap();
        let hash = Hash::of(b"hi");
        std::fs::write(folder.path().join(hash.as_str()), "hi").unwrap();
        let prefix = folder.path().join("files");
        unpack(&[file("/home/ann/a.yml", &hash)], folder.path(), &prefix).unwrap();
        let at = prefix.join("home/ann/a.yml");
        assert_eq!(std::fs::read_to_string(&at).unwrap(), "hi");
        assert_eq!(at.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_content_is_moved_to_its_place_and_copied_only_for_others_like_it() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let contents = folder.path().join("contents");
        std::fs::create_dir(&contents).unwrap();
        let hash = Hash::of(b"hi");
        let content = contents.join(hash.as_str());
        std::fs::write(&content, "hi").unwrap();
        let inode = content.metadata().unwrap().ino();
        let prefix = folder.path().join("files");
        let items = [file("/a", &hash), file("/b", &hash)];
        assert_eq!(bytes(&items), 4);
        unpack(&items, &contents, &prefix).unwrap();
        assert_eq!(std::fs::read_dir(&contents).unwrap().count(), 0);
        assert_eq!(std::fs::read_to_string(prefix.join("a")).unwrap(), "hi");
        let last = prefix.join("b").metadata().unwrap();
        assert_eq!((last.ino(), last.nlink()), (inode, 1));
    }

    #[test]
    fn paths_that_go_anywhere_else_are_refused() {
        let hash = Hash::of(b"hi");
        for bad in ["a.yml", "../a", "/a/../../b", "/a/./../b", "", "/a\0b"] {
            let refused = check(&[file(bad, &hash)]);
            assert!(matches!(refused, Err(BundleError::BadPath(_))), "{bad:?}");
        }
    }

    #[test]
    fn links_stay_links_and_setuid_is_not_given() {
        let folder = tempfile::tempdir().unwrap();
        let hash = Hash::of(b"hi");
        std::fs::write(folder.path().join(hash.as_str()), "hi").unwrap();
        let prefix = folder.path().join("files");
        let program = Item {
            mode: 0o4755,
            ..file("/a/program", &hash)
        };
        let link = Item {
            path: "/b/link".into(),
            mode: 0o777,
            kind: ItemKind::Link {
                target: "/nowhere/at/all".to_owned(),
            },
        };
        unpack(&[program, link], folder.path(), &prefix).unwrap();
        let mode = prefix.join("a/program").metadata().unwrap().permissions();
        assert_eq!(mode.mode() & 0o7777, 0o755);
        let target = std::fs::read_link(prefix.join("b/link")).unwrap();
        assert_eq!(target, Path::new("/nowhere/at/all"));
    }

    #[test]
    fn a_file_is_never_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let hash = Hash::of(b"hi");
        std::fs::write(folder.path().join(hash.as_str()), "hi").unwrap();
        let twice = [file("/a", &hash), file("/a", &hash)];
        let refused = unpack(&twice, folder.path(), &folder.path().join("files"));
        assert!(matches!(refused, Err(BundleError::Io { .. })));
    }
}
