//! The folders that roles and collections are installed in: all is unpacked beside its place first, and then renamed.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::archive::{self, ArchiveError, unwritable};

/// A folder on the file system of its destination, gone with this.
pub(super) struct Stage {
    folder: TempDir,
    count: AtomicUsize,
}

impl Stage {
    pub(super) fn in_folder(root: &Path) -> Result<Self, ArchiveError> {
        fs::create_dir_all(root).map_err(|e| unwritable(root, e))?;
        let folder = tempfile::Builder::new()
            .prefix(".amibake-")
            .tempdir_in(root);
        Ok(Self {
            folder: folder.map_err(|e| unwritable(root, e))?,
            count: AtomicUsize::new(0),
        })
    }

    /// Returns a new folder, empty.
    pub(super) fn new_folder(&self) -> Result<PathBuf, ArchiveError> {
        let path = self.new_path();
        fs::create_dir(&path).map_err(|e| unwritable(&path, e))?;
        Ok(path)
    }

    /// Returns a path at which nothing is.
    pub(super) fn new_path(&self) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.folder.path().join(number.to_string())
    }

    /// Puts a staged folder at its place, and what was there away.
    pub(super) fn put(&self, staged: &Path, place: &Path) -> Result<(), ArchiveError> {
        let failed = |e| unwritable(place, e);
        fs::create_dir_all(place.parent().unwrap_or(place)).map_err(failed)?;
        let old = self.new_path();
        let had_one = match fs::rename(place, &old) {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        fs::rename(staged, place).map_err(|error| {
            if had_one {
                let _stays_away = fs::rename(&old, place);
            }
            failed(error)
        })
    }
}

/// Returns what stands for all files below a folder: their paths, whether they are programs, what they hold.
pub(super) fn digest(root: &Path) -> Result<String, ArchiveError> {
    let mut hash = Sha256::new();
    archive::each_below(root, &mut |path, kind| {
        let place = root.join(path);
        let failed = |e| archive::unreadable(&place, e);
        hash.update(path.as_os_str().as_bytes());
        if kind.is_symlink() {
            let target = fs::read_link(&place).map_err(failed)?;
            hash.update(b"\0link\0");
            hash.update(target.as_os_str().as_bytes());
        } else if kind.is_dir() {
            hash.update(b"\0folder");
        } else {
            let mut file = fs::File::open(&place).map_err(failed)?;
            let found = file.metadata().map_err(failed)?;
            let is_program = found.permissions().mode() & 0o100 != 0;
            hash.update(if is_program { b"\0run \0" } else { b"\0file\0" });
            hash.update(found.len().to_le_bytes());
            let mut buffer = vec![0; 1 << 16];
            loop {
                match file.read(&mut buffer).map_err(failed)? {
                    0 => break,
                    count => hash.update(&buffer[..count]),
                }
            }
        }
        hash.update(b"\0\n");
        Ok(())
    })?;
    Ok(hex::encode(hash.finalize()))
}

/// Copies a folder with harmless modes, links as they are: none leaves it.
pub(super) fn copy(from: &Path, into: &Path) -> Result<(), ArchiveError> {
    archive::each_below(from, &mut |path, kind| {
        let (source, place) = (from.join(path), into.join(path));
        let failed = |e| unwritable(&place, e);
        if path.components().any(|part| part.as_os_str() == ".git") {
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&source).map_err(failed)?;
            return std::os::unix::fs::symlink(target, &place).map_err(failed);
        }
        if kind.is_dir() {
            return fs::create_dir(&place).map_err(failed);
        }
        if !kind.is_file() {
            let why = "is neither file nor folder";
            return Err(archive::refusal(path.as_os_str().as_bytes(), why));
        }
        fs::copy(&source, &place).map_err(failed)?;
        let mode = source.metadata().map_err(failed)?.permissions().mode();
        let mode = archive::with_mode(archive::kept_mode(mode));
        fs::set_permissions(&place, mode).map_err(failed)
    })?;
    archive::check_links(into)
}
