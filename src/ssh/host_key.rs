//! Whether the machine that answers is the one that was meant.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use russh::client::DisconnectReason;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};

use super::error::{HostKeyError, SshError};
use super::key::fingerprint;
use super::known_hosts::{self, Entry, KnownHosts, Verdict, match_pattern};
use super::peer_transcript::PeerTranscript;
use crate::event::Events;

/// How a host proves itself.
#[derive(Debug, Clone)]
pub(crate) enum Trust {
    /// By one of these keys.
    Exact(Vec<PublicKey>),
    /// As `known_hosts` files say.
    Known(Arc<KnownHostsPolicy>),
}

/// What is known of hosts, and what to do with a new one.
#[derive(Debug, Clone)]
pub(crate) struct KnownHostsPolicy {
    /// All files, read.
    pub(super) hosts: KnownHosts,
    /// Stands for the host's name in the files.
    pub(super) alias: Option<String>,
    /// The file to which the key of a new host is appended; without one it is refused.
    pub(super) note_in: Option<PathBuf>,
    /// Whether names are hashed there.
    pub(super) hashed: bool,
    /// The keys of hosts that were new in this run, by their names.
    pub(super) met: Arc<Mutex<BTreeMap<String, PublicKey>>>,
}

/// Judges the key a host shows; russh calls it in the middle of the key exchange.
pub(super) struct HostKeyVerifier {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) trust: Trust,
    pub(super) events: Events,
    pub(super) transcript: PeerTranscript,
}

impl HostKeyVerifier {
    fn name(&self) -> String {
        if let Trust::Known(known) = &self.trust
            && let Some(alias) = &known.alias
        {
            return alias.clone();
        }
        known_hosts::name_of(&self.host, self.port)
    }

    fn verify(&self, shown: &PublicKeyOrCertificate) -> Result<(), HostKeyError> {
        match (&self.trust, shown) {
            (Trust::Exact(pinned), shown) => self.verify_pinned(pinned, &shown.public_key()),
            (Trust::Known(known), PublicKeyOrCertificate::PublicKey { key, .. }) => {
                self.verify_known(known, key)
            }
            (Trust::Known(known), PublicKeyOrCertificate::Certificate(certificate)) => {
                self.verify_certificate(known, certificate)
            }
        }
    }

    fn verify_pinned(&self, pinned: &[PublicKey], shown: &PublicKey) -> Result<(), HostKeyError> {
        if pinned.iter().any(|key| key.key_data() == shown.key_data()) {
            return Ok(());
        }
        let expected: Vec<String> = pinned.iter().map(fingerprint).collect();
        Err(HostKeyError::NotPinned {
            name: self.name(),
            got: fingerprint(shown),
            expected: expected.join(" or "),
        })
    }

    fn verify_known(&self, known: &KnownHostsPolicy, key: &PublicKey) -> Result<(), HostKeyError> {
        let (name, got) = (self.name(), fingerprint(key));
        match known.hosts.verdict(&name, key) {
            Verdict::Known => Ok(()),
            Verdict::Revoked(entry) => Err(revoked_by(entry, &name, key)),
            Verdict::Changed(entry) => Err(HostKeyError::Changed {
                name,
                got,
                expected: fingerprint(&entry.key),
                file: entry.file.clone(),
                line: entry.line,
            }),
            Verdict::Unknown if self.is_known_without_port(known, key) => Ok(()),
            Verdict::Unknown => self.meet(known, key),
        }
    }

    /// OpenSSH, too, takes a key that is known for the bare name on another port.
    fn is_known_without_port(&self, known: &KnownHostsPolicy, key: &PublicKey) -> bool {
        known.alias.is_none()
            && self.port != 22
            && matches!(known.hosts.verdict(&self.host, key), Verdict::Known)
    }

    /// Notes the key of a new host, or refuses it. Met again, after a cut link or a reboot, it must be the same.
    fn meet(&self, known: &KnownHostsPolicy, key: &PublicKey) -> Result<(), HostKeyError> {
        let (name, got) = (self.name(), fingerprint(key));
        let mut met = known.met.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = met.get(&name) {
            return self.verify_pinned(std::slice::from_ref(before), key);
        }
        let Some(file) = &known.note_in else {
            return Err(HostKeyError::Unknown {
                name,
                algorithm: key.algorithm().to_string(),
                got,
            });
        };
        match known_hosts::append(file, &name, key, known.hashed) {
            Ok(()) => {
                let file = file.display();
                self.events.warn(format!(
                    "the new host key of {name}, {got}, was added to {file}"
                ));
                met.insert(name, key.clone());
                Ok(())
            }
            Err(source) => Err(HostKeyError::Append {
                name,
                file: file.clone(),
                source,
            }),
        }
    }

    fn verify_certificate(
        &self,
        known: &KnownHostsPolicy,
        certificate: &Certificate,
    ) -> Result<(), HostKeyError> {
        let name = self.name();
        let key = PublicKey::from(certificate.public_key().clone());
        let authority = PublicKey::from(certificate.signature_key().clone());
        for suspect in [&key, &authority] {
            if let Some(refused) = revoked(&known.hosts, &name, suspect) {
                return Err(refused);
            }
        }
        let trusted: Vec<_> = authorities(known, &name, &self.host)
            .iter()
            .map(|key| key.fingerprint(HashAlg::Sha256))
            .collect();
        let host = known.alias.as_deref().unwrap_or(&self.host);
        match complaint(certificate, &trusted, host) {
            None => Ok(()),
            Some(reason) => Err(HostKeyError::Certificate { name, reason }),
        }
    }
}

/// Returns how a key is refused that `hosts` revokes for `name`.
pub(super) fn revoked(hosts: &KnownHosts, name: &str, key: &PublicKey) -> Option<HostKeyError> {
    let entry = hosts.revoked(name, key)?;
    Some(revoked_by(entry, name, key))
}

fn revoked_by(entry: &Entry, name: &str, key: &PublicKey) -> HostKeyError {
    HostKeyError::Revoked {
        name: name.to_owned(),
        got: fingerprint(key),
        file: entry.file.clone(),
        line: entry.line,
    }
}

/// Returns the authorities for a host, those for its bare name included.
fn authorities<'a>(known: &'a KnownHostsPolicy, name: &str, host: &str) -> Vec<&'a PublicKey> {
    let mut keys = known.hosts.authorities(name);
    if known.alias.is_none() && name != host {
        keys.extend(known.hosts.authorities(host));
    }
    keys
}

/// Returns what is wrong with a certificate.
fn complaint(
    certificate: &Certificate,
    trusted: &[russh::keys::ssh_key::Fingerprint],
    host: &str,
) -> Option<String> {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    if certificate.cert_type() != CertType::Host {
        return Some("it is a user certificate".into());
    }
    if !trusted.contains(&authority) {
        return Some(format!(
            "its authority {authority} is not trusted for this host"
        ));
    }
    let principals = certificate.valid_principals();
    if !principals.iter().any(|name| match_pattern(name, host)) {
        return Some(format!("it is for {}", principals.join(", ")));
    }
    if !certificate.critical_options().is_empty() {
        return Some("it has critical options, and a host's may have none".into());
    }
    certificate
        .validate(trusted)
        .err()
        .map(|_| "its signature is wrong, or its time is over or has not come".into())
}

impl russh::client::Handler for HostKeyVerifier {
    type Error = SshError;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, SshError> {
        self.verify(shown)?;
        Ok(true)
    }

    async fn auth_banner(
        &mut self,
        banner: &str,
        _session: &mut russh::client::Session,
    ) -> Result<(), SshError> {
        self.transcript.told(banner);
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<SshError>) -> Result<(), SshError> {
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => self.transcript.told(&info.message),
            DisconnectReason::Error(SshError::Russh(error)) => self.transcript.breaks(error),
            DisconnectReason::Error(error) => return Err(error),
        }
        Ok(())
    }
}

/// Orders host key types: what is known of the host first, so that the server shows that key.
pub(super) fn preferred(trust: &Trust, host: &str, port: u16) -> russh::Preferred {
    let defaults = russh::Preferred::DEFAULT;
    let (known, certificates) = match trust {
        Trust::Exact(keys) => (keys.iter().map(PublicKey::algorithm).collect(), false),
        Trust::Known(known) => of_files(known, host, port),
    };
    let rank = |algorithm: &Algorithm| !known.iter().any(|known| same_type(known, algorithm));
    let mut order: Vec<Algorithm> = defaults.key.to_vec();
    order.sort_by_key(rank);
    if matches!(trust, Trust::Exact(_)) {
        order.retain(|algorithm| !rank(algorithm));
    }
    russh::Preferred {
        host_key_certificates: if certificates {
            Cow::Owned(order.clone())
        } else {
            Cow::Borrowed(&[])
        },
        key: Cow::Owned(order),
        cipher: Cow::Borrowed(&[
            russh::cipher::AES_256_GCM,
            russh::cipher::AES_128_GCM,
            russh::cipher::CHACHA20_POLY1305,
            russh::cipher::AES_256_CTR,
            russh::cipher::AES_128_CTR,
        ]),
        ..defaults
    }
}

fn of_files(known: &KnownHostsPolicy, host: &str, port: u16) -> (Vec<Algorithm>, bool) {
    let name = match &known.alias {
        Some(alias) => alias.clone(),
        None => known_hosts::name_of(host, port),
    };
    let mut types = known.hosts.algorithms(&name);
    if types.is_empty() && known.alias.is_none() {
        types = known.hosts.algorithms(host);
    }
    (types, !authorities(known, &name, host).is_empty())
}

/// An RSA key signs with any of the RSA algorithms.
fn same_type(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}
