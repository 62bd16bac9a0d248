//! What was fetched once, kept by what it is: repositories, archives by their SHA-256, answers of Galaxy servers.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// `$XDG_CACHE_HOME/amibake/galaxy`, or a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Cache(PathBuf);

/// There is no place for a cache, or none that can be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    #[error("no cache folder: neither XDG_CACHE_HOME nor HOME is set")]
    NoHome,
    #[error("the cache folder {} cannot be used", path.display())]
    Unusable { path: PathBuf, source: io::Error },
}

impl Cache {
    pub(crate) fn here() -> Result<Self, CacheError> {
        let set = |name: &str| {
            let value = std::env::var_os(name).map(PathBuf::from);
            value.filter(|path| path.is_absolute())
        };
        let own = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        own.map(|cache| Self(cache.join("amibake/galaxy")))
            .ok_or(CacheError::NoHome)
    }

    #[cfg(test)]
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Returns the folder for one kind of thing, whether it is there or not.
    pub(super) fn path(&self, kind: &str) -> PathBuf {
        self.0.join(kind)
    }

    /// Returns the same, made if it is not there.
    pub(super) fn folder(&self, kind: &str) -> Result<PathBuf, CacheError> {
        let path = self.path(kind);
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(CacheError::Unusable { path, source }),
        }
    }

    /// Returns the path of the archive with this SHA-256, if it is here.
    pub(super) fn archive(&self, sha256: &str) -> Option<PathBuf> {
        let path = self.0.join("archives").join(sha256);
        path.is_file().then_some(path)
    }

    /// Keeps an archive whose bytes `fill` writes. Returns its SHA-256 and where it is.
    pub(super) fn keep_archive<E: From<CacheError>>(
        &self,
        fill: impl FnOnce(&mut dyn io::Write) -> Result<(), E>,
    ) -> Result<(String, PathBuf), E> {
        let folder = self.folder("archives")?;
        let unusable = |source| CacheError::Unusable {
            path: folder.clone(),
            source,
        };
        let file = tempfile::NamedTempFile::new_in(&folder).map_err(unusable)?;
        let mut hashing = Hashing {
            to: file,
            hash: Sha256::new(),
        };
        fill(&mut hashing)?;
        let sha256 = hex::encode(hashing.hash.finalize());
        let path = folder.join(&sha256);
        let kept = hashing.to.persist(&path);
        kept.map_err(|e| unusable(e.error))?;
        Ok((sha256, path))
    }

    /// Returns what was said last under this address.
    pub(super) fn answer(&self, url: &str) -> Option<String> {
        fs::read_to_string(self.0.join("answers").join(name_of(url))).ok()
    }

    /// Keeps what was said under an address. Without it only `--offline` has less.
    pub(super) fn keep_answer(&self, url: &str, text: &str) -> Result<(), CacheError> {
        let folder = self.folder("answers")?;
        let unusable = |source| CacheError::Unusable {
            path: folder.clone(),
            source,
        };
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(unusable)?;
        file.write_all(text.as_bytes()).map_err(unusable)?;
        let kept = file.persist(folder.join(name_of(url)));
        kept.map(drop).map_err(|e| unusable(e.error))
    }
}

/// Writes, and hashes what is written.
struct Hashing<W> {
    to: W,
    hash: Sha256,
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.hash.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Returns a name for what has an address, of letters and digits alone.
pub(super) fn name_of(address: &str) -> String {
    hex::encode(&Sha256::digest(address.as_bytes())[..16])
}

/// Returns a file's SHA-256 in hexadecimal digits.
pub(super) fn sha256_of(path: &Path) -> io::Result<String> {
    let mut hashing = Hashing {
        to: io::sink(),
        hash: Sha256::new(),
    };
    io::copy(&mut File::open(path)?, &mut hashing)?;
    Ok(hex::encode(hashing.hash.finalize()))
}
