//! Keys made in memory: they never touch a disk here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};

use crate::secret::Secret;

/// An ed25519 key pair: a login key, or a one-time host key.
#[derive(Clone)]
pub(crate) struct KeyPair(Arc<PrivateKey>);

/// A public key as `authorized_keys` and `known_hosts` hold it: `ssh-ed25519 AAAA…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicLine(PublicKey);

/// A key that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The system gave no randomness, or the key has no text form.
    #[error("an ed25519 key could not be made")]
    Make(#[source] russh::keys::ssh_key::Error),
    #[error("`{text}` is not a public key such as `ssh-ed25519 AAAA…`")]
    NotAKey {
        text: String,
        source: russh::keys::ssh_key::Error,
    },
}

impl KeyPair {
    /// Makes a new pair; `comment` ends its public line.
    pub(crate) fn generate(comment: &str) -> Result<Self, KeyError> {
        let mut key =
            PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(KeyError::Make)?;
        key.set_comment(comment);
        Ok(Self(Arc::new(key)))
    }

    /// Returns the private half, out of our hands.
    pub(crate) fn into_private(self) -> PrivateKey {
        Arc::unwrap_or_clone(self.0)
    }
}

#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the tests' sshd has its keys so")
)]
impl KeyPair {
    pub(crate) fn public(&self) -> PublicLine {
        PublicLine(self.0.public_key().clone())
    }

    /// Returns the private half in OpenSSH's format, as cloud-init's `ssh_keys` takes it.
    pub(crate) fn private_openssh(&self) -> Result<Secret<String>, KeyError> {
        let pem = self.0.to_openssh(LineEnding::LF).map_err(KeyError::Make)?;
        Ok(Secret::new(pem.to_string()))
    }

    /// Returns the private half for signing.
    pub(super) fn private(&self) -> Arc<PrivateKey> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public().fingerprint())
    }
}

impl PublicLine {
    /// Returns the fingerprint as `ssh-keygen -l` prints it: `SHA256:…`.
    pub(crate) fn fingerprint(&self) -> String {
        fingerprint(&self.0)
    }

    pub(super) fn key(&self) -> &PublicKey {
        &self.0
    }
}

impl fmt::Display for PublicLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_openssh().unwrap_or_default())
    }
}

impl FromStr for PublicLine {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let key = PublicKey::from_openssh(text.trim());
        key.map(Self).map_err(|source| KeyError::NotAKey {
            text: text.trim().to_owned(),
            source,
        })
    }
}

/// Returns a key's fingerprint, as `ssh` prints it.
pub(super) fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_never_shows_its_private_half() {
        let pair = KeyPair::generate("amibake run-1").unwrap();
        let pem = pair.private_openssh().unwrap();
        assert!(pem.expose().starts_with("-----BEGIN OPENSSH PRIVATE KEY"));
        assert_eq!(format!("{pem:?} {pem}"), "*** ***");
        assert!(!format!("{pair:?}").contains("BEGIN"));
    }

    #[test]
    fn a_public_line_reads_back() {
        let line = KeyPair::generate("amibake run-1").unwrap().public();
        let text = line.to_string();
        assert!(text.starts_with("ssh-ed25519 AAAA") && text.ends_with(" amibake run-1"));
        assert_eq!(text.parse::<PublicLine>().unwrap(), line);
        assert!("ssh-ed25519 nonsense".parse::<PublicLine>().is_err());
    }
}
