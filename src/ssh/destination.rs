//! Where to log in, as whom, and how each side proves itself.

use std::path::PathBuf;
use std::sync::Arc;

use russh::keys::PrivateKey;

use super::connect::Silence;
use super::host_key::Trust;
use super::key::{KeyPair, PublicLine};

/// Where to log in, as whom, and how each side proves itself.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// Name or address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    /// How the host proves itself.
    pub(crate) trust: Trust,
    /// How we prove ourselves.
    pub(crate) login: Login,
    pub(crate) jump: Option<Box<Destination>>,
    /// Told of each try that met no answer at all.
    pub(crate) silence: Silence,
}

/// What may prove us, in the order in which it is tried: `keys`, then the agent's keys that belong
/// to `identity_files`, the agent's other keys, and the files.
#[derive(Debug, Clone, Default)]
pub(crate) struct Login {
    /// Keys in memory.
    pub(crate) keys: Vec<Arc<PrivateKey>>,
    pub(crate) identity_files: Vec<PathBuf>,
    /// Whether a file that is not there is worth a word: the user named it.
    pub(crate) files_are_explicit: bool,
    /// Socket of an agent.
    pub(crate) agent: Option<PathBuf>,
    /// Whether the agent's other keys are left alone.
    pub(crate) identities_only: bool,
    /// Whether a passphrase may be asked for on the terminal.
    pub(crate) may_prompt: bool,
}

impl Destination {
    /// Returns a machine of our own: one key of ours, one host key, no files of the user.
    #[cfg_attr(not(test), expect(dead_code, reason = "the tests' sshd is met so"))]
    pub(crate) fn pinned(host: &str, user: &str, login: &KeyPair, host_key: &PublicLine) -> Self {
        Self {
            host: host.to_owned(),
            port: 22,
            user: user.to_owned(),
            trust: Trust::Exact(vec![host_key.key().clone()]),
            login: Login {
                keys: vec![login.private()],
                ..Login::default()
            },
            jump: None,
            silence: Silence::default(),
        }
    }

    /// Returns the destination as people write it: `user@host`, with the port if it is not 22.
    pub(crate) fn label(&self) -> String {
        match self.port {
            22 => format!("{}@{}", self.user, self.host),
            port => format!("{}@{}:{port}", self.user, self.host),
        }
    }
}
