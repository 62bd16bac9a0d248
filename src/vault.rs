//! Ansible's vault, opened on this side: what travels is the content, never the password.
//!
//! A file that is encrypted as a whole is read as its content. In a YAML file each `!vault |` block
//! becomes the `!unsafe` text that it holds, on as many lines, so that places stay what they are.

mod envelope;
mod inline;
mod password;

pub(crate) use password::VaultArgs;

use std::io;
use std::path::{Path, PathBuf};

use amibake_playbook::files::{Disk, Files};

use crate::secret::Secret;

/// How an encrypted text, or a file of nothing else, begins.
const MARK: &str = "$ANSIBLE_VAULT;";

/// The passwords there are, in the order in which they are tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vault {
    passwords: Vec<Secret<String>>,
}

/// Something that stays locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("it is encrypted by ansible-vault, and no password was given")]
    NoPassword,
    #[error("it is encrypted by ansible-vault, and none of the passwords given opens it")]
    WrongPassword,
    /// It is damaged, or of a kind that does not exist any more.
    #[error("it is not an ansible-vault text of format 1.1 or 1.2 with AES256")]
    Format,
    /// It is YAML text, which must be text.
    #[error("what it holds is not UTF-8 text")]
    NotText,
    #[error("the value of line {line} cannot be opened")]
    Value {
        /// Where `!vault` stands, from 1.
        line: usize,
        source: Box<VaultError>,
    },
    #[error("{from} gives no vault password: {reason}")]
    Source {
        /// The file, script or prompt.
        from: String,
        reason: String,
    },
}

impl Vault {
    /// Returns whether there is nothing to open anything with.
    pub(crate) fn is_empty(&self) -> bool {
        self.passwords.is_empty()
    }

    /// Returns the bytes of a file as the playbook means them; those without vault as they are.
    pub(crate) fn read(&self, bytes: Vec<u8>) -> Result<Vec<u8>, VaultError> {
        if bytes.starts_with(MARK.as_bytes()) {
            let text = String::from_utf8(bytes).map_err(|_| VaultError::Format)?;
            return self.open(&text);
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.contains("!vault") && text.contains(MARK) => {
                inline::opened(text, &|value| self.open(value)).map(String::into_bytes)
            }
            _ => Ok(bytes),
        }
    }

    /// Returns whether a file's content is another than its bytes.
    pub(crate) fn concerns(bytes: &[u8]) -> bool {
        let holds = |part: &str| bytes.windows(part.len()).any(|w| w == part.as_bytes());
        bytes.starts_with(MARK.as_bytes()) || holds("!vault") && holds(MARK)
    }

    fn open(&self, text: &str) -> Result<Vec<u8>, VaultError> {
        let envelope = envelope::Envelope::parse(text)?;
        if self.is_empty() {
            return Err(VaultError::NoPassword);
        }
        let mut opened = self.passwords.iter().map(|p| envelope.open(p.expose()));
        opened.find_map(Result::ok).ok_or(VaultError::WrongPassword)
    }
}

/// This machine's files, those that a vault locks opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Opened {
    disk: Disk,
    vault: Vault,
}

impl Opened {
    /// Returns the files as `vault` opens them. Without any password they are as they lie there:
    /// whether a locked one matters is seen when it is used.
    pub(crate) fn with(vault: &Vault) -> Self {
        Self {
            disk: Disk::here(),
            vault: vault.clone(),
        }
    }
}

impl Opened {
    /// Returns what opens them.
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }
}

impl Files for Opened {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = self.disk.read(path)?;
        if self.vault.is_empty() {
            return Ok(bytes);
        }
        self.vault.read(bytes).map_err(io::Error::other)
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
        Disk::here().link(path)
    }

    fn real(&self, path: &Path) -> PathBuf {
        self.disk.real(path)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        self.disk.mode(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.disk.locate(path)
    }
}

#[cfg(test)]
mod tests;
