//! What can go wrong between here and a shell there, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::key::KeyError;

/// A connection that did not come to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshError {
    #[error("the name {host} does not resolve")]
    Resolve { host: String, source: io::Error },
    #[error("{host} port {port} cannot be reached")]
    Connect {
        host: String,
        port: u16,
        /// Refused, no route, …
        source: io::Error,
    },
    #[error("{host} port {port} {stage} within {after:?}")]
    TimedOut {
        host: String,
        port: u16,
        /// What it did not get done.
        stage: Stage,
        /// How long it was given.
        after: Duration,
    },
    #[error("{host} port {port} {}{}", hung_up(*stage), quoted(said))]
    HungUp {
        host: String,
        port: u16,
        /// What it did not get done.
        stage: Stage,
        /// What it said before, for people.
        said: Box<str>,
        /// How the end was noticed.
        source: russh::Error,
    },
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    /// The host did not accept us.
    #[error(
        "{label} refused every key: {}; it accepts {methods}",
        tried_list(tried)
    )]
    Refused {
        /// `user@host`.
        label: String,
        /// What was offered, in order.
        tried: Vec<String>,
        /// What the server would take: `publickey,password`.
        methods: String,
        /// Whether it hung up, as sshd does after `MaxAuthTries`.
        hung_up: bool,
    },
    #[error("the key {} cannot be used", path.display())]
    Identity {
        path: PathBuf,
        source: IdentityError,
    },
    #[error("the SSH connection to {label} failed")]
    Protocol {
        /// `user@host`.
        label: String,
        source: russh::Error,
    },
    #[error("the jump host {label} could not open the connection")]
    Jump {
        /// `user@host` of the jump host.
        label: String,
        source: Box<SshError>,
    },
    #[error("no connection to {label} after {after:?} and {tries} tries")]
    GaveUp {
        /// `user@host`.
        label: String,
        tries: u32,
        after: Duration,
        /// The last failure.
        source: Box<SshError>,
    },
    #[error("{}:{line}: {message}", file.display())]
    Config {
        file: PathBuf,
        line: usize,
        message: String,
    },
    #[error("{what} cannot be read")]
    Read {
        what: &'static str,
        source: io::Error,
    },
    #[error("the host key that was given cannot be used")]
    Key(#[source] KeyError),
    /// What russh raised inside its own callbacks; never leaves this module.
    #[error("the SSH protocol failed")]
    Russh(#[from] russh::Error),
}

/// What a host that hangs was at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing came back at all.
    Connect,
    /// It took the connection, and no session came of it.
    KeyExchange,
    /// It has proven itself, and neither takes nor refuses us.
    Login,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "did not answer",
            Self::KeyExchange => "took the connection, but spoke no complete SSH greeting",
            Self::Login => "proved itself, but did not decide about the login",
        })
    }
}

fn hung_up(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => "is open, but hangs up before it says its version",
        Stage::KeyExchange => "hangs up in the middle of the key exchange",
        Stage::Login => "proved itself, but hangs up in the middle of the login",
    }
}

fn quoted(said: &str) -> String {
    match said {
        "" => String::new(),
        said => format!(", saying {said:?}"),
    }
}

/// A host that did not prove itself. Nothing was sent to it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostKeyError {
    #[error("the host key of {name} is {got}, expected {expected}: another machine answers there")]
    NotPinned {
        name: String,
        /// Fingerprint shown.
        got: String,
        /// Fingerprint expected.
        expected: String,
    },
    /// `known_hosts` has another.
    #[error(
        "the host key of {name} has changed: it shows {got}, {}:{line} has {expected}",
        file.display()
    )]
    Changed {
        name: String,
        /// Fingerprint shown.
        got: String,
        /// Fingerprint known.
        expected: String,
        /// Where the known one stands.
        file: PathBuf,
        line: usize,
    },
    #[error("the host key of {name} is not known: it shows {algorithm} {got}")]
    Unknown {
        name: String,
        algorithm: String,
        /// Fingerprint shown.
        got: String,
    },
    #[error("the host key of {name}, {got}, is revoked in {}:{line}", file.display())]
    Revoked {
        name: String,
        /// Fingerprint shown.
        got: String,
        file: PathBuf,
        line: usize,
    },
    #[error("the host certificate of {name} is not valid: {reason}")]
    Certificate { name: String, reason: String },
    #[error("the host key of {name} cannot be written to {}", file.display())]
    Append {
        name: String,
        file: PathBuf,
        source: io::Error,
    },
}

/// A private key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("it is encrypted and there is no terminal to ask for its passphrase")]
    NoTerminal,
    /// The passphrase was wrong, three times.
    #[error("the passphrase was wrong")]
    WrongPassphrase,
    #[error("it is not a private key in a format that is supported")]
    Format(#[source] russh::keys::Error),
    #[error("the signature could not be made")]
    Sign(#[source] russh::keys::Error),
    #[error("the connection ended")]
    Ended(#[from] russh::SendError),
}

/// What a server takes that was not asked, or that has hung up.
pub(super) const NOTHING: &str = "nothing more";
/// How a key that is readable for others is marked among those tried.
pub(super) const EXPOSED: &str = "not used: others can read it";

fn tried_list(tried: &[String]) -> String {
    match tried {
        [] => "there is none to try".to_owned(),
        tried => format!("tried {}", tried.join(", ")),
    }
}

impl SshError {
    /// Returns whether trying again later may help: a machine that is still booting refuses
    /// connections, breaks them off, and knows no key yet.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::TimedOut { .. }
            | Self::HungUp { .. }
            | Self::Refused { .. }
            | Self::Protocol { .. }
            | Self::Russh(_) => true,
            Self::Jump { source, .. } => source.may_pass(),
            Self::HostKey(_)
            | Self::Identity { .. }
            | Self::GaveUp { .. }
            | Self::Config { .. }
            | Self::Read { .. }
            | Self::Key(_) => false,
        }
    }

    /// Returns whether nothing came back at all.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::TimedOut { stage, .. } => *stage == Stage::Connect,
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::TimedOut
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            ),
            _ => false,
        }
    }

    /// Returns whether no machine had a part in it: there is no way to it from here, or no address.
    pub(crate) fn is_about_the_network(&self) -> bool {
        match self {
            Self::Resolve { .. } => true,
            Self::Connect { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
                    | io::ErrorKind::AddrNotAvailable
            ),
            Self::Jump { source, .. } | Self::GaveUp { source, .. } => {
                source.is_about_the_network()
            }
            _ => false,
        }
    }

    /// Returns whether it proved itself and takes none of our keys.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Jump { source, .. } | Self::GaveUp { source, .. } => source.is_refusal(),
            _ => false,
        }
    }

    /// Returns whether somebody answered who is not whom we meant.
    pub(crate) fn is_mistaken_identity(&self) -> bool {
        match self {
            Self::HostKey(_) => true,
            Self::Jump { source, .. } | Self::GaveUp { source, .. } => {
                source.is_mistaken_identity()
            }
            _ => false,
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Resolve { .. } => Some("check the spelling, DNS and `HostName` in ~/.ssh/config".into()),
            Self::Connect { source, .. } => Some(connect_hint(source)),
            Self::TimedOut { stage, .. } => Some(stage_hint(*stage).into()),
            Self::HungUp { stage, .. } => Some(hung_up_hint(*stage).into()),
            Self::HostKey(error) => Some(error.hint()),
            Self::Refused { hung_up: true, .. } => Some(
                "it counts every key that is offered (MaxAuthTries): name the right one with --identity and `IdentitiesOnly yes`".into(),
            ),
            Self::Refused { tried, .. } if tried.iter().any(|tried| tried.contains(EXPOSED)) => {
                Some("`chmod 600` the key: others can read it".into())
            }
            Self::Refused { methods, .. } if methods != NOTHING && !methods.contains("publickey") => Some(
                "this server takes no keys, and amibake logs in with nothing else: see `PubkeyAuthentication` in its sshd_config".into(),
            ),
            Self::Refused { label, .. } => Some(format!(
                "put the public key into ~/.ssh/authorized_keys of {label}, or give the right one with --identity"
            )),
            Self::Identity { source, .. } => identity_hint(source),
            Self::Jump { source, .. } | Self::GaveUp { source, .. } => source.hint(),
            Self::Key(_) => Some("it is a line of /etc/ssh/ssh_host_*_key.pub on the host".into()),
            Self::Protocol { source, .. } | Self::Russh(source) => protocol_hint(source).map(str::to_owned),
            Self::Config { .. } | Self::Read { .. } => None,
        }
    }
}

fn stage_hint(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => {
            "packets are dropped on the way: a firewall, a security group, or a machine that is off"
        }
        Stage::KeyExchange => {
            "another service may listen on that port, or the machine is overloaded: try `ssh -v`"
        }
        Stage::Login => {
            "something its sshd asks (PAM, a directory, DNS) hangs there: see the machine's log"
        }
    }
}

fn hung_up_hint(stage: Stage) -> &'static str {
    match stage {
        Stage::Connect => {
            "its sshd lacks its host keys or /run/sshd, has too many connections at once, or does not want this address: see the machine's log"
        }
        Stage::KeyExchange => "its sshd says why in the machine's log",
        Stage::Login => {
            "it is booting or shutting down (/run/nologin), PAM does not want this account, or too many keys were offered (MaxAuthTries): see the machine's log"
        }
    }
}

fn protocol_hint(error: &russh::Error) -> Option<&'static str> {
    match error {
        russh::Error::Version => Some("what answers on that port is not an SSH server"),
        russh::Error::NoCommonAlgo { .. } => {
            Some("its sshd offers only algorithms that are too old: see `ssh -v`")
        }
        _ => None,
    }
}

fn connect_hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "the machine is there, but nothing listens on that port: is sshd running, and on this port?"
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            "there is no route to it from here: check the address, the VPN, the subnet"
        }
        _ => "check the address and the port",
    }
    .to_owned()
}

fn identity_hint(error: &IdentityError) -> Option<String> {
    match error {
        IdentityError::NoTerminal => Some("add it to an agent first: `ssh-add FILE`".into()),
        IdentityError::Read(_)
        | IdentityError::WrongPassphrase
        | IdentityError::Format(_)
        | IdentityError::Sign(_)
        | IdentityError::Ended(_) => None,
    }
}

impl HostKeyError {
    fn hint(&self) -> String {
        match self {
            Self::NotPinned { .. } => {
                "nothing was sent to it; this is either the wrong address or an attack".into()
            }
            Self::Changed { file, name, .. } => format!(
                "if the machine was reinstalled: `ssh-keygen -R '{name}' -f {}`; otherwise somebody is in between",
                file.display()
            ),
            Self::Unknown { .. } => {
                "compare the fingerprint, then give --accept-new-host-key once, or --host-key"
                    .into()
            }
            Self::Revoked { .. } => "do not use this machine before its key is replaced".into(),
            Self::Certificate { .. } => {
                "sign the host's key again with `ssh-keygen -s CA -h -n NAME`".into()
            }
            Self::Append { .. } => "give another file with --known-hosts".into(),
        }
    }
}
