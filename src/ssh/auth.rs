//! How we prove ourselves: keys in memory, the agent, key files. Public keys only.
//!
//! A key is offered before it is used, so that a passphrase is asked for only when it is needed.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::signature;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{
    Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, decode_secret_key,
};
use russh::{MethodSet, Signer};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::Destination;
use super::connect::protocol;
use super::deadline::Deadline;
use super::error::{EXPOSED, IdentityError, NOTHING, SshError};
use super::host_key::HostKeyVerifier;
use super::key::fingerprint;
use crate::event::Events;
use crate::prompt;

/// The state of one login.
struct Attempt<'a> {
    handle: &'a mut Handle<HostKeyVerifier>,
    to: &'a Destination,
    deadline: &'a Deadline,
    events: &'a Events,
    tried: Vec<String>,
    methods: MethodSet,
}

/// A key file whose private half is read when the server wants it.
struct Identity {
    path: PathBuf,
    /// Permission bits.
    mode: u32,
    /// Whose file it is.
    owner: u32,
    public: PublicKey,
    text: String,
}

impl Identity {
    /// Asks what `ssh` asks: files of other owners are theirs to protect.
    fn is_exposed(&self) -> bool {
        self.owner == rustix::process::getuid().as_raw() && self.mode & 0o077 != 0
    }
}

/// Keys that were decrypted, by their file: nobody likes to type a passphrase for every host and
/// again after a cut link.
static UNLOCKED: LazyLock<Mutex<HashMap<PathBuf, PrivateKey>>> = LazyLock::new(Mutex::default);

/// Logs in with the first key that the server takes. `deadline` stands still while a passphrase
/// is asked for.
pub(super) async fn log_in(
    handle: &mut Handle<HostKeyVerifier>,
    to: &Destination,
    deadline: &Deadline,
    events: &Events,
) -> Result<(), SshError> {
    let mut attempt = Attempt {
        handle,
        to,
        deadline,
        events,
        tried: Vec::new(),
        methods: MethodSet::empty(),
    };
    if attempt.keys_in_memory().await? {
        return Ok(());
    }
    let identities = read_identities(to)?;
    let accepted = match attempt.agent(&identities).await {
        Ok(false) => attempt.files(&identities).await,
        ended => ended,
    };
    match accepted {
        Ok(true) => Ok(()),
        Ok(false) => Err(attempt.refused()),
        // sshd hangs up after so many keys, which is its way to refuse the next one.
        Err(SshError::Protocol { .. }) if attempt.tried.len() > 1 => Err(attempt.refused()),
        Err(error) => Err(error),
    }
}

impl Attempt<'_> {
    async fn keys_in_memory(&mut self) -> Result<bool, SshError> {
        for key in &self.to.login.keys {
            let hash = self.hash_for(key.public_key()).await?;
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), hash);
            self.tried
                .push(describe(key.public_key(), "the run's own key"));
            let answer = self.handle.authenticate_publickey(&self.to.user, key).await;
            let answer = answer.map_err(|source| protocol(self.to, source))?;
            if self.accepted(answer) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tries the agent's keys: those of the identity files, then the others.
    async fn agent(&mut self, identities: &[Identity]) -> Result<bool, SshError> {
        let Some(socket) = &self.to.login.agent else {
            return Ok(false);
        };
        let Ok(mut agent) = AgentClient::connect_uds(socket).await else {
            self.tried
                .push(format!("(no agent at {})", socket.display()));
            return Ok(false);
        };
        let mut held = agent.request_identities().await.unwrap_or_default();
        let ours = |identity: &AgentIdentity| {
            let key = identity.public_key();
            identities
                .iter()
                .any(|file| file.public.key_data() == key.key_data())
        };
        held.sort_by_key(|identity| !ours(identity));
        if self.to.login.identities_only {
            held.retain(ours);
        }
        for identity in held {
            if self.handle.is_closed() {
                break; // what is not offered any more was not tried
            }
            if self.agent_key(&mut agent, identity).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn agent_key(
        &mut self,
        agent: &mut AgentClient<UnixStream>,
        identity: AgentIdentity,
    ) -> Result<bool, SshError> {
        let key = identity.public_key().into_owned();
        let hash = self.hash_for(&key).await?;
        self.tried.push(describe(&key, "agent"));
        let user = &self.to.user;
        let answer = match identity {
            AgentIdentity::PublicKey { key, .. } => {
                self.handle
                    .authenticate_publickey_with(user, key, hash, agent)
                    .await
            }
            AgentIdentity::Certificate { certificate, .. } => {
                self.handle
                    .authenticate_certificate_with(user, certificate, hash, agent)
                    .await
            }
        };
        // An agent that declines to sign with one key may sign with the next.
        Ok(answer.is_ok_and(|answer| self.accepted(answer)))
    }

    async fn files(&mut self, identities: &[Identity]) -> Result<bool, SshError> {
        for identity in identities {
            if self.has_tried(&identity.public) {
                continue;
            }
            if identity.is_exposed() {
                self.leave_out(identity);
                continue;
            }
            let hash = self.hash_for(&identity.public).await?;
            self.tried.push(describe(
                &identity.public,
                &identity.path.display().to_string(),
            ));
            let mut signer = FileSigner {
                identity,
                deadline: self.deadline,
                may_prompt: self.to.login.may_prompt,
            };
            let answer = self
                .handle
                .authenticate_publickey_with(
                    &self.to.user,
                    identity.public.clone(),
                    hash,
                    &mut signer,
                )
                .await
                .map_err(|source| match source {
                    IdentityError::Ended(_) => protocol(self.to, russh::Error::Disconnect),
                    source => SshError::Identity {
                        path: identity.path.clone(),
                        source,
                    },
                })?;
            if self.accepted(answer) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As `ssh` does with a private key that others can read: it is as good as published.
    fn leave_out(&mut self, identity: &Identity) {
        let path = identity.path.display();
        self.events.warn(format!(
            "the private key {path} is not used: its mode {:04o} lets others read it",
            identity.mode
        ));
        self.tried
            .push(describe(&identity.public, &format!("{path}, {EXPOSED}")));
    }

    fn has_tried(&self, key: &PublicKey) -> bool {
        let fingerprint = fingerprint(key);
        self.tried.iter().any(|tried| tried.contains(&fingerprint))
    }

    fn accepted(&mut self, answer: AuthResult) -> bool {
        match answer {
            AuthResult::Success => true,
            AuthResult::Failure {
                remaining_methods, ..
            } => {
                self.methods = remaining_methods;
                false
            }
        }
    }

    /// RSA keys sign with the best hash that the server announces.
    async fn hash_for(&self, key: &PublicKey) -> Result<Option<HashAlg>, SshError> {
        if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            return Ok(None);
        }
        let best = self.handle.best_supported_rsa_hash().await;
        let best = best.map_err(|source| protocol(self.to, source))?;
        Ok(best.unwrap_or(Some(HashAlg::Sha256)))
    }

    fn refused(self) -> SshError {
        let hung_up = self.handle.is_closed();
        if hung_up && self.tried.len() < 2 {
            return protocol(self.to, russh::Error::Disconnect);
        }
        let methods: Vec<&str> = self.methods.iter().map(Into::into).collect();
        SshError::Refused {
            label: self.to.label(),
            tried: self.tried,
            hung_up,
            methods: if methods.is_empty() {
                NOTHING.into()
            } else {
                methods.join(", ")
            },
        }
    }
}

fn describe(key: &PublicKey, from: &str) -> String {
    format!("{} {} ({from})", key.algorithm(), fingerprint(key))
}

/// Reads what is public of the identity files. A file that the user named must be there.
fn read_identities(to: &Destination) -> Result<Vec<Identity>, SshError> {
    let mut identities = Vec::new();
    for path in &to.login.identity_files {
        match read_identity(path) {
            Ok(identity) => identities.push(identity),
            Err(IdentityError::Read(error))
                if error.kind() == io::ErrorKind::NotFound && !to.login.files_are_explicit => {}
            Err(source) => {
                return Err(SshError::Identity {
                    path: path.clone(),
                    source,
                });
            }
        }
    }
    Ok(identities)
}

/// The public half is in the file itself, or, of an old format that is encrypted, beside it.
fn read_identity(path: &Path) -> Result<Identity, IdentityError> {
    let text = fs::read_to_string(path).map_err(IdentityError::Read)?;
    let found = fs::metadata(path).map_err(IdentityError::Read)?;
    let public = match PrivateKey::from_openssh(&text) {
        Ok(key) => key.public_key().clone(),
        Err(_) => match decode_secret_key(&text, None) {
            Ok(key) => key.public_key().clone(),
            Err(error) => public_beside(path).ok_or(IdentityError::Format(error))?,
        },
    };
    Ok(Identity {
        path: path.to_owned(),
        mode: found.mode() & 0o7777,
        owner: found.uid(),
        public,
        text,
    })
}

fn public_beside(path: &Path) -> Option<PublicKey> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".pub");
    let text = fs::read_to_string(beside).ok()?;
    PublicKey::from_openssh(text.trim()).ok()
}

/// Signs with a key file, decrypting it first where that is needed.
struct FileSigner<'a> {
    identity: &'a Identity,
    deadline: &'a Deadline,
    may_prompt: bool,
}

impl Signer for FileSigner<'_> {
    type Error = IdentityError;

    async fn auth_sign(
        &mut self,
        _key: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, IdentityError> {
        let key = self.unlock().await?;
        sign(&key, hash, to_sign)
    }
}

impl FileSigner<'_> {
    async fn unlock(&self) -> Result<PrivateKey, IdentityError> {
        let text = &self.identity.text;
        match decode_secret_key(text, None) {
            Ok(key) if !key.is_encrypted() => return Ok(key),
            Ok(_) | Err(russh::keys::Error::KeyIsEncrypted) => {}
            Err(error) if !text.contains("ENCRYPTED") => return Err(IdentityError::Format(error)),
            Err(_) => {}
        }
        // One question at a time, and for hosts that need the same key one question.
        self.deadline.stopped(self.unlocked()).await
    }

    async fn unlocked(&self) -> Result<PrivateKey, IdentityError> {
        let mut unlocked = UNLOCKED.lock().await;
        if let Some(key) = unlocked.get(&self.identity.path)
            && key.public_key().key_data() == self.identity.public.key_data()
        {
            return Ok(key.clone());
        }
        if !self.may_prompt {
            return Err(IdentityError::NoTerminal);
        }
        let (text, path) = (self.identity.text.clone(), self.identity.path.clone());
        let asked = tokio::task::spawn_blocking(move || ask_passphrase(&text, &path)).await;
        let key = asked.map_err(|_| IdentityError::NoTerminal)??;
        unlocked.insert(self.identity.path.clone(), key.clone());
        Ok(key)
    }
}

fn ask_passphrase(text: &str, path: &Path) -> Result<PrivateKey, IdentityError> {
    let question = format!("Passphrase for {}: ", path.display());
    for _ in 0..3 {
        let passphrase = prompt::secret(&question).map_err(|_| IdentityError::NoTerminal)?;
        if let Ok(key) = decode_secret_key(text, Some(&passphrase)) {
            return Ok(key);
        }
    }
    Err(IdentityError::WrongPassphrase)
}

/// Appends the signature to what it signs, as russh wants it.
fn sign(
    key: &PrivateKey,
    hash: Option<HashAlg>,
    mut to_sign: Vec<u8>,
) -> Result<Vec<u8>, IdentityError> {
    let broken = |error| IdentityError::Sign(russh::keys::Error::SshKey(error));
    let signature = match key.key_data() {
        KeypairData::Rsa(rsa) => signature::Signer::try_sign(&(rsa, hash), &to_sign),
        other => signature::Signer::try_sign(other, &to_sign),
    };
    let signature = signature.map_err(|error| broken(error.into()))?;
    let mut blob = Vec::new();
    signature
        .encode(&mut blob)
        .and_then(|()| blob.encode(&mut to_sign))
        .map_err(|error| broken(error.into()))?;
    Ok(to_sign)
}
