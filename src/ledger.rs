//! What was created and must go: debts as data, journalled before the call that makes them, and
//! paid whatever the end. How a debt is paid is the target's.

mod journal;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::exit::Leftover;
use crate::run::RunId;
use crate::target::{Role, Target};
use journal::Journal;
use journal::Record;
pub(crate) use journal::{JournalError, dead_runs};

/// When a debt is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Due {
    /// However the bake ends.
    Always,
    /// Unless the bake succeeds: it is the product then.
    OnFailure,
}

/// How the bake ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BakeEnd {
    /// The image is finished.
    Succeeded,
    /// There is none.
    Failed,
}

/// What undoes one creation. It goes by the run's name, since the answer with the id may never
/// have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "undo", rename_all = "kebab-case")]
pub(crate) enum Undo {
    /// EC2: terminate the run's instance of this role.
    TerminateInstance {
        /// Where it is.
        region: String,
        /// Whose it is.
        run: RunId,
        /// Which of the run's.
        role: Role,
    },
    /// EC2: delete the run's security group, once nothing uses it.
    DeleteSecurityGroup {
        /// Where it is.
        region: String,
        /// Whose it is.
        run: RunId,
        /// Its name.
        name: String,
    },
    /// EC2: deregister the image of this name, of this run.
    DeregisterImage {
        /// Where it is.
        region: String,
        /// Whose it is.
        run: RunId,
        /// Its name.
        name: String,
    },
    /// EC2: delete the run's snapshots, once no image uses them.
    DeleteSnapshots {
        /// Where they are.
        region: String,
        /// Whose they are.
        run: RunId,
    },
    /// Here: power a container off.
    StopContainer {
        /// The machine's name.
        name: String,
    },
    /// Here: remove a network namespace and its links.
    RemoveNetwork {
        /// Its name.
        name: String,
    },
    /// Here: remove a file or folder, and what is below it.
    RemovePath {
        /// Where it is.
        path: PathBuf,
    },
}

impl Undo {
    /// Returns what it removes, for people.
    pub(crate) fn what(&self, learned: &[String]) -> String {
        let ids = learned.join(", ");
        let named = |noun: &str, otherwise: &str| match learned {
            [] => format!("{noun} {otherwise}"),
            _ => format!("{noun} {ids}"),
        };
        match self {
            Self::TerminateInstance { region, run, role } => {
                format!(
                    "{} in {region}",
                    named(&format!("{role} instance"), &format!("of run {run}"))
                )
            }
            Self::DeleteSecurityGroup { region, name, .. } => {
                format!("{} in {region}", named("security group", name))
            }
            Self::DeregisterImage { region, name, .. } => {
                format!("{} in {region}", named("image", name))
            }
            Self::DeleteSnapshots { region, run } => {
                format!(
                    "{} in {region}",
                    named("snapshot", &format!("of run {run}"))
                )
            }
            Self::StopContainer { name } => format!("container {name}"),
            Self::RemoveNetwork { name } => format!("network namespace {name}"),
            Self::RemovePath { path } => path.display().to_string(),
        }
    }

    /// Returns whether it is about something of this host.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::StopContainer { .. } | Self::RemoveNetwork { .. } | Self::RemovePath { .. } => {
                true
            }
            Self::TerminateInstance { .. }
            | Self::DeleteSecurityGroup { .. }
            | Self::DeregisterImage { .. }
            | Self::DeleteSnapshots { .. } => false,
        }
    }

    /// Returns the command that removes it.
    pub(crate) fn remedy(&self, learned: &[String]) -> String {
        let last = learned.last();
        match (self, last) {
            (Self::TerminateInstance { region, .. }, Some(id)) => {
                format!("aws ec2 terminate-instances --region {region} --instance-ids {id}")
            }
            (Self::DeleteSecurityGroup { region, .. }, Some(id)) => {
                format!("aws ec2 delete-security-group --region {region} --group-id {id}")
            }
            (Self::DeregisterImage { region, .. }, Some(id)) => {
                format!("aws ec2 deregister-image --region {region} --image-id {id}")
            }
            (Self::DeleteSnapshots { region, .. }, Some(id)) => {
                format!("aws ec2 delete-snapshot --region {region} --snapshot-id {id}")
            }
            (
                Self::TerminateInstance { region, run, .. }
                | Self::DeleteSecurityGroup { region, run, .. }
                | Self::DeregisterImage { region, run, .. }
                | Self::DeleteSnapshots { region, run },
                None,
            ) => format!("amibake reap --run {run} --region {region}"),
            (Self::StopContainer { name }, _) => format!("machinectl poweroff {name}"),
            (Self::RemoveNetwork { name }, _) => format!("ip netns delete {name}"),
            (Self::RemovePath { path }, _) => format!("rm -rf {}", path.display()),
        }
    }
}

/// Names a debt within its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DebtId(usize);

#[derive(Debug, Clone)]
struct Debt {
    id: DebtId,
    due: Due,
    undo: Undo,
    learned: Vec<String>,
    paid: bool,
}

/// The debts of one run. Cheap to clone; all clones are one ledger.
#[derive(Debug, Clone)]
#[must_use = "call `unwind`, or what was created stays"]
pub(crate) struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    debts: Vec<Debt>,
    journal: Journal,
}

/// How long unwinding may take before what is left is named and given up.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

impl Ledger {
    /// Opens the journal of `run` in the state folder.
    pub(crate) fn open(run: &RunId) -> Result<Self, JournalError> {
        let journal = Journal::create(&journal::state_folder()?, run)?;
        Ok(Self::over(journal))
    }

    fn over(journal: Journal) -> Self {
        let inner = Inner {
            debts: Vec::new(),
            journal,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Journals a debt, then holds it. Comes before the request that incurs it.
    pub(crate) fn owe(&self, due: Due, undo: Undo) -> io::Result<DebtId> {
        let mut inner = self.lock();
        let id = DebtId(inner.debts.len());
        inner.journal.append(&Record::Owe {
            id,
            due,
            undo: undo.clone(),
        })?;
        inner.debts.push(Debt {
            id,
            due,
            undo,
            learned: Vec::new(),
            paid: false,
        });
        Ok(id)
    }

    /// Adds what EC2 calls the thing, so that undoing it need not look.
    pub(crate) fn learn(&self, id: DebtId, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.journal.append(&Record::Learn {
            id,
            name: name.to_owned(),
        })?;
        if let Some(debt) = inner.debts.get_mut(id.0) {
            debt.learned.push(name.to_owned());
        }
        Ok(())
    }

    /// Forgets a debt: it was paid, or the request was refused and nothing came to be.
    pub(crate) fn settle(&self, id: DebtId) -> io::Result<()> {
        let mut inner = self.lock();
        inner.journal.append(&Record::Settle { id })?;
        if let Some(debt) = inner.debts.get_mut(id.0) {
            debt.paid = true;
        }
        Ok(())
    }

    /// Returns whether anything was ever owed.
    pub(crate) fn was_used(&self) -> bool {
        !self.lock().debts.is_empty()
    }

    /// Returns what is owed whatever the end, and how to remove it.
    pub(crate) fn outstanding(&self, end: BakeEnd) -> Vec<Leftover> {
        self.due(end).iter().map(leftover).collect()
    }

    /// Pays what is due, all of it at once, past any failure: each undo sends its request and then
    /// waits, and one that needs another first waits for it. Returns what is still owed.
    ///
    /// The journal is removed when nothing is. When `abort` is cancelled, waiting ends.
    pub(crate) async fn unwind(
        &self,
        target: &dyn Target,
        end: BakeEnd,
        abort: &CancellationToken,
    ) -> Unwound {
        let due = self.due(end);
        let paying = join_all(due.iter().map(|debt| self.pay(target, debt)));
        let why = tokio::select! {
            why = paying => why.into_iter().flatten().collect(),
            () = abort.cancelled() => vec!["cleaning up was interrupted".to_owned()],
            () = tokio::time::sleep(PATIENCE) => vec!["cleaning up took too long".to_owned()],
        };
        let leftovers = self.outstanding(end);
        if leftovers.is_empty() {
            self.lock().journal.remove();
        }
        Unwound { leftovers, why }
    }

    async fn pay(&self, target: &dyn Target, debt: &Debt) -> Option<String> {
        match target.pay(&debt.undo, &debt.learned).await {
            Ok(()) => self.settle(debt.id).err().map(|e| e.to_string()),
            Err(error) => Some(format!(
                "{}: {}",
                debt.undo.what(&debt.learned),
                chain(&error)
            )),
        }
    }

    /// Newest first, so that requests go out in that order too.
    fn due(&self, end: BakeEnd) -> Vec<Debt> {
        let inner = self.lock();
        let due = inner.debts.iter().rev();
        due.filter(|debt| !debt.paid && (debt.due == Due::Always || end == BakeEnd::Failed))
            .cloned()
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere must not keep the debts from being paid.
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// What came of unwinding.
#[derive(Debug)]
pub(crate) struct Unwound {
    /// What is still there.
    pub(crate) leftovers: Vec<Leftover>,
    /// Why, a sentence each.
    pub(crate) why: Vec<String>,
}

fn leftover(debt: &Debt) -> Leftover {
    Leftover {
        what: debt.undo.what(&debt.learned),
        remove_with: debt.undo.remedy(&debt.learned),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
