//! Where machines and images come from, behind one small trait.
//!
//! A target launches a machine, makes a candidate image of it and publishes that; what it creates
//! is in the ledger first. Each target owns its debts: how they are written, told, paid and reaped.
//! Talking to the machine is `ssh`'s and `agent`'s, the order `bake`'s.

pub(crate) mod container;
#[cfg(feature = "ec2")]
pub(crate) mod ec2;
pub(crate) mod reap;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use russh::keys::{PrivateKey, PublicKey};
use serde_json::{Map, Value};

use crate::clock::Instant;
use crate::event::PhaseHandle;
use crate::exit::{Leftover, chain};
use crate::ledger::{Debt, JournalError, Ledger};
use crate::plan::BakePlan;
use crate::run::RunId;
use crate::ssh::KeyPair;

/// EC2's name in journals.
pub(crate) const EC2: &str = "ec2";

/// How long a run's things live where nobody renews their expiry.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// What a machine is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It is provisioned, sealed, and becomes the candidate.
    Builder,
    /// It is booted from the candidate and looked at.
    Candidate,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Builder => "builder",
            Self::Candidate => "candidate",
        })
    }
}

/// What a machine is booted from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Base {
    /// An image of EC2's.
    Image {
        /// `ami-0abc12`.
        id: String,
        /// Its name, for people: `ubuntu-noble-24.04-amd64-server-20260720`.
        name: String,
    },
    /// A root on this host, which need not be there before [`Target::prepare`].
    Root {
        /// Where it is.
        path: PathBuf,
        /// Its name, which says what it is made of.
        name: String,
    },
    /// The disk of a machine on this host that was stopped.
    Disk {
        /// The machine's.
        machine: String,
    },
}

impl Base {
    /// Returns what tells it from all others.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Image { id, .. } => id.clone(),
            Self::Root { path, .. } => path.display().to_string(),
            Self::Disk { machine } => machine.clone(),
        }
    }

    /// Returns its name, for people.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Image { name, .. } | Self::Root { name, .. } => name,
            Self::Disk { machine } => machine,
        }
    }
}

/// The keys of one machine, made here for it alone.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    /// What the controller logs in with.
    pub(crate) login: PrivateKey,
    /// What the machine proves itself with, until it has made its own.
    pub(crate) host: PrivateKey,
}

/// A machine that runs, or is about to.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// `i-0abc12`, a container's name.
    pub(crate) id: String,
    /// Address of its SSH server.
    pub(crate) host: String,
    /// Port of its SSH server.
    pub(crate) port: u16,
    /// Login user, who may use sudo without a password.
    pub(crate) user: String,
    /// The key to log in with.
    pub(crate) login_key: PrivateKey,
    /// The only host key it may show.
    pub(crate) host_key: PublicKey,
}

/// An image nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Image id, or a path.
    pub(crate) id: String,
    /// What [`Target::launch`] boots to look at it.
    pub(crate) base: Base,
}

/// A finished image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// `ami-0abc12`, or a path: what goes to stdout.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
}

/// What came of paying a debt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paid {
    /// The thing is gone.
    Gone,
    /// Nobody knows a name of it, and looking for it found nothing.
    NotFound,
}

/// A target as the one that knows its debts.
#[async_trait]
pub(crate) trait Payer: Send + Sync {
    /// Returns a debt in words, with the command that pays it; `run` is whose it is, where that is
    /// known.
    fn leftover(&self, debt: &Debt, run: Option<&RunId>) -> Leftover;

    /// Pays a debt.
    ///
    /// Idempotent: what is gone already is paid. It sends its request at once and then waits, so
    /// that many are paid at a time.
    async fn pay(&self, debt: &Debt) -> Result<Paid, TargetError>;
}

/// Where machines and images come from.
#[async_trait]
pub(crate) trait Target: Payer {
    /// Returns the region that it works in, where there are regions.
    fn region(&self) -> Option<&str> {
        None
    }

    /// Finds what `plan` starts from, and looks at everything that would fail later. It only reads.
    async fn resolve(&self, plan: &BakePlan, cx: &PhaseContext<'_>) -> Result<Base, TargetError>;

    /// Makes what was resolved, where it is not there yet: a root on this host.
    async fn prepare(
        &self,
        plan: &BakePlan,
        base: &Base,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError>;

    /// Starts a machine from `base` and returns when it has an address. SSH may not answer yet.
    async fn launch(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError>;

    /// Returns what is known about a machine that cannot be reached: likely causes, then the
    /// tail of its console.
    async fn diagnose(&self, machine: &Machine) -> Vec<String>;

    /// Returns that a machine has ended, or is about to, and why. Not knowing is `None`.
    async fn death(&self, _machine: &Machine) -> Option<TargetError> {
        None
    }

    /// Lets this machine in again, from the address it has now: a machine that was reached, or
    /// should be, has fallen silent.
    async fn admit(&self, plan: &BakePlan) -> Result<(), TargetError>;

    /// Stops the sealed builder and makes a candidate of it.
    async fn capture(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError>;

    /// Asks for a machine's end, without waiting: it is of no more use.
    async fn dismiss(&self, machine: &Machine) -> Result<(), TargetError>;

    /// Makes the candidate, which passed, the image.
    async fn publish(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &PhaseContext<'_>,
    ) -> Result<Finished, TargetError>;

    /// Says that the run lives until `lifetime` from now, where others would clean up after it.
    async fn renew(&self, plan: &BakePlan, lifetime: Duration) -> Result<(), TargetError>;
}

/// Returns the name of the target whose debt has this form, in journals that do not say it.
pub(crate) fn of_unnamed(data: &Map<String, Value>) -> &'static str {
    match data.contains_key("region") {
        true => EC2,
        false => container::NAME,
    }
}

/// Returns the error for a debt that another version has written.
fn unreadable(error: serde_json::Error) -> TargetError {
    TargetError::new("this version cannot read what is owed").because(error)
}

/// Returns the last lines of a console or a log.
pub(crate) fn tail(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().rev().take(20).map(str::trim_end);
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.reverse();
    lines
}

/// What a target's work may use.
pub(crate) struct PhaseContext<'a> {
    /// Where debts go before the call that makes them.
    pub(crate) ledger: &'a Ledger,
    /// The phase under way, for saying how far it is.
    pub(crate) phase: PhaseHandle,
    /// When `builder.timeouts.total` is over, and the bake with it.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(dead_code, reason = "only EC2 makes one wait")
    )]
    pub(crate) until: Instant,
}

/// Why a target could not do its part.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct TargetError {
    message: String,
    /// Whose fault it is.
    pub(crate) fault: Fault,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whose fault an error is, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The manifest asks for what cannot be: exit 2.
    Manifest,
    /// The world's.
    World,
}

impl TargetError {
    /// Returns an error that says `message`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            fault: Fault::World,
            hint: None,
            source: None,
        }
    }

    /// Returns an error about what the manifest asks for.
    pub(crate) fn manifest(message: impl Into<String>) -> Self {
        Self {
            fault: Fault::Manifest,
            ..Self::new(message)
        }
    }

    /// Adds what the user can do.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds why.
    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what happened, why, and what the user can do, on one line.
    pub(crate) fn on_one_line(&self) -> String {
        let hint = self.hint.iter().map(|hint| format!(" (hint: {hint})"));
        chain(self) + &hint.collect::<String>()
    }

    /// Returns what the user can do.
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl From<JournalError> for TargetError {
    fn from(error: JournalError) -> Self {
        Self::new("a debt could not be written down").because(error)
    }
}

impl Keys {
    /// Makes the keys of one machine.
    pub(crate) fn make() -> Result<Self, TargetError> {
        Ok(Self {
            login: ed25519()?,
            host: ed25519()?,
        })
    }
}

fn ed25519() -> Result<PrivateKey, TargetError> {
    let pair =
        KeyPair::generate("").map_err(|e| TargetError::new("no key for a machine").because(e))?;
    Ok(pair.into_private())
}
