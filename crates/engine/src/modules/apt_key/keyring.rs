//! apt's keyrings: files of certificates, in armour or not.

use std::path::{Path, PathBuf};

use crate::atomic::How;
use crate::change::{self, Change, Content};
use crate::module::{Context, Failure};
use crate::modules::paths;
use crate::openpgp::{self, Certificate};
use crate::place;

pub(super) const TRUSTED: &str = "/etc/apt/trusted.gpg";
const TRUSTED_PARTS: &str = "/etc/apt/trusted.gpg.d";

/// A file of certificates.
pub(in crate::modules) struct Ring {
    pub(super) path: PathBuf,
    is_new: bool,
    is_armored: bool,
    pub(in crate::modules) certificates: Vec<Certificate>,
}

impl Ring {
    /// Returns apt's keyrings in apt's order, or the one that is named. What is no keyring is none
    /// of apt's, which passes over it too.
    pub(super) fn all(keyring: Option<&Path>) -> Result<Vec<Self>, Failure> {
        if let Some(path) = keyring {
            return Ok(vec![Self::read(path)?]);
        }
        let mut paths = vec![PathBuf::from(TRUSTED)];
        paths.extend(files_in(Path::new(TRUSTED_PARTS), &["gpg", "asc"]));
        let rings = paths.iter().filter_map(|path| Self::read(path).ok());
        Ok(rings.collect())
    }

    /// Reads it; an empty one is made of what is not there.
    pub(in crate::modules) fn read(path: &Path) -> Result<Self, Failure> {
        let mut ring = Self {
            path: path.to_owned(),
            is_new: !path.exists(),
            is_armored: path.extension().is_some_and(|ending| ending == "asc"),
            certificates: Vec::new(),
        };
        if ring.is_new {
            return Ok(ring);
        }
        let failed = |reason: String| {
            Failure::new(format!(
                "Unable to list public keys: {}: {reason}",
                path.display()
            ))
        };
        let bytes = place::read(path).map_err(|e| failed(paths::reason(&e)))?;
        if !bytes.is_empty() {
            ring.is_armored = openpgp::is_armored(&bytes);
            ring.certificates = openpgp::read(&bytes).map_err(|e| failed(e.to_string()))?;
        }
        Ok(ring)
    }

    /// Writes it, for everybody to read: apt checks signatures as a user of its own.
    pub(in crate::modules) fn write(&self, context: &mut Context<'_>) -> Result<(), Failure> {
        let bytes = openpgp::keyring(&self.certificates);
        let bytes = match self.is_armored {
            true => openpgp::with_armour(&bytes).into_bytes(),
            false => bytes,
        };
        let failed = |e: std::io::Error| {
            Failure::new(format!(
                "Unable to add a key to {}: {e}",
                self.path.display()
            ))
        };
        let path = place::real(&self.path).map_err(failed)?;
        let mut changes = vec![Change::Write {
            path: path.clone(),
            content: Content::text(bytes),
            how: How::default(),
        }];
        if self.is_new {
            changes.push(Change::Mode {
                path,
                mode: 0o644,
                of: None,
            });
        }
        change::apply(&changes, context)
    }
}

/// Returns the files of a folder with these endings, by name.
pub(in crate::modules) fn files_in(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let fits = |path: &PathBuf| {
        let ending = path.extension().and_then(std::ffi::OsStr::to_str);
        ending.is_some_and(|ending| endings.contains(&ending)) && path.is_file()
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(fits).collect();
    paths.sort();
    paths
}
