//! What was created and must go: debts as data, journalled before the call that makes them, and
//! paid whatever the end. How a debt is paid is the target's.

mod journal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::exit::{Leftover, chain};
use crate::run::{RunId, rfc3339};
use crate::targets::{Role, Target};
use crate::transport::BoxFuture;
use journal::Journal;
use journal::Record;
#[cfg(test)]
pub(crate) use journal::replay;
pub(crate) use journal::{DeadRun, JournalError, dead_runs, state_folder};

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
        /// How many there will be, where that is known: one for each of the builder's volumes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<usize>,
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
            Self::DeleteSnapshots { region, run, .. } => {
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
        self.region().is_none()
    }

    /// Returns the region it is about, if it is about EC2.
    pub(crate) fn region(&self) -> Option<&str> {
        match self {
            Self::TerminateInstance { region, .. }
            | Self::DeleteSecurityGroup { region, .. }
            | Self::DeregisterImage { region, .. }
            | Self::DeleteSnapshots { region, .. } => Some(region),
            Self::StopContainer { .. } | Self::RemoveNetwork { .. } | Self::RemovePath { .. } => {
                None
            }
        }
    }

    /// Returns the command that removes it; `run` is whose it is, where that is known.
    pub(crate) fn remedy(&self, learned: &[String], run: Option<&RunId>) -> String {
        match (self, learned) {
            (Self::TerminateInstance { region, .. }, [id]) => {
                format!("aws ec2 terminate-instances --region {region} --instance-ids {id}")
            }
            (Self::DeleteSecurityGroup { region, .. }, [id]) => {
                format!("aws ec2 delete-security-group --region {region} --group-id {id}")
            }
            (Self::DeregisterImage { region, .. }, [id]) => {
                format!("aws ec2 deregister-image --region {region} --image-id {id}")
            }
            (Self::DeleteSnapshots { region, .. }, [id]) => {
                format!("aws ec2 delete-snapshot --region {region} --snapshot-id {id}")
            }
            (
                Self::TerminateInstance { region, run, .. }
                | Self::DeleteSecurityGroup { region, run, .. }
                | Self::DeregisterImage { region, run, .. }
                | Self::DeleteSnapshots { region, run, .. },
                // None is known, or several, for which EC2 has no one command.
                _,
            ) => reap_command(Some(run), Some(region)),
            // Only `reap` knows what here holds on to what, and unmounts.
            (
                Self::StopContainer { .. } | Self::RemoveNetwork { .. } | Self::RemovePath { .. },
                _,
            ) => reap_command(run, None),
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
    /// Cancelled when the call that incurs it was answered, or never will be.
    answered: Option<CancellationToken>,
}

/// The debts of one run. Cheap to clone; all clones are one ledger.
#[derive(Debug, Clone)]
#[must_use = "call `unwind`, or what was created stays"]
pub(crate) struct Ledger {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    run: RunId,
    debts: Vec<Debt>,
    journal: Journal,
}

/// How long unwinding may take before what is left is named and given up.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

impl Ledger {
    /// Opens the journal of `run` in `folder`.
    pub(crate) fn open(folder: &Path, run: &RunId) -> Result<Self, JournalError> {
        let inner = Inner {
            run: run.clone(),
            debts: Vec::new(),
            journal: Journal::create(folder, run)?,
        };
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
        })
    }

    /// Journals a debt, then holds it. Comes before the request that incurs it.
    pub(crate) fn owe(&self, due: Due, undo: Undo) -> io::Result<DebtId> {
        self.hold(due, undo, None)
    }

    /// Owes, then makes the call that creates the thing and learns its name.
    ///
    /// The call is a task of its own: an interrupted bake drops its wait and not the call, so that
    /// unwinding hears the answer. An answer that `refused` settles the debt, since nothing came
    /// to be; where there is none, the debt stays and unwinding looks for the thing.
    pub(crate) async fn create<E>(
        &self,
        due: Due,
        undo: Undo,
        refused: fn(&E) -> bool,
        call: BoxFuture<'static, Result<String, E>>,
    ) -> Result<(DebtId, String), E>
    where
        E: From<io::Error> + Send + 'static,
    {
        let answered = CancellationToken::new();
        let id = self.hold(due, undo, Some(answered.clone()))?;
        let ledger = self.clone();
        let calling = tokio::spawn(async move {
            let _told = answered.drop_guard();
            let made = call.await;
            match &made {
                Ok(name) => ledger.learn(id, name)?,
                Err(error) if refused(error) => ledger.settle(id)?,
                Err(_) => {}
            }
            made
        });
        match calling.await {
            Ok(made) => made.map(|name| (id, name)),
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(ended) => Err(io::Error::other(ended).into()),
            },
        }
    }

    fn hold(
        &self,
        due: Due,
        undo: Undo,
        answered: Option<CancellationToken>,
    ) -> io::Result<DebtId> {
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
            answered,
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

    /// Journals that nothing is to be paid before `until`, unless somebody names the run.
    pub(crate) fn keep(&self, until: OffsetDateTime) -> io::Result<()> {
        let until = rfc3339(until);
        self.lock().journal.append(&Record::Keep { until })
    }

    /// Returns whether anything was ever owed.
    pub(crate) fn was_used(&self) -> bool {
        !self.lock().debts.is_empty()
    }

    /// Returns what is owed whatever the end, and how to remove it.
    pub(crate) fn outstanding(&self, end: BakeEnd) -> Vec<Leftover> {
        let run = self.lock().run.clone();
        self.due(end).iter().map(|d| leftover(d, &run)).collect()
    }

    /// Returns the command that pays all debts of `run`, whose ledger this is.
    pub(crate) fn reap_command(&self, run: &RunId) -> String {
        let inner = self.lock();
        reap_command(Some(run), inner.debts.iter().find_map(|d| d.undo.region()))
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
        let mut why = Vec::new();
        if end == BakeEnd::Succeeded
            && let Err(error) = self.settle_product()
        {
            why.push(format!(
                "the journal does not say that the image is done: {error}"
            ));
        }
        let due = self.due(end);
        let paying = join_all(due.iter().map(|debt| self.pay(target, debt.id)));
        let mut aborted = false;
        tokio::select! {
            unpaid = paying => why.extend(unpaid.into_iter().flatten()),
            () = abort.cancelled() => {
                aborted = true;
                why.push("cleaning up was interrupted".to_owned());
            }
            () = clock::sleep(PATIENCE) => why.push("cleaning up took too long".to_owned()),
        }
        let leftovers = self.outstanding(end);
        if leftovers.is_empty() {
            self.lock().journal.remove();
        }
        Unwound {
            leftovers,
            why,
            aborted,
        }
    }

    /// What is due on failure alone is nobody's debt any more, nor `reap`'s if this process dies
    /// before the rest is paid.
    fn settle_product(&self) -> io::Result<()> {
        let product: Vec<DebtId> = {
            let inner = self.lock();
            let open = inner.debts.iter().filter(|debt| !debt.paid);
            let product = open.filter(|debt| debt.due == Due::OnFailure);
            product.map(|debt| debt.id).collect()
        };
        product.into_iter().try_for_each(|id| self.settle(id))
    }

    /// Pays one debt; returns why it could not.
    async fn pay(&self, target: &dyn Target, id: DebtId) -> Option<String> {
        let debt = self.unpaid(id)?;
        let looking = target.pay(&debt.undo, &debt.learned);
        let paid = match &debt.answered {
            // The answer may come while the thing is looked for: whichever is first.
            Some(answered) if debt.learned.is_empty() && !answered.is_cancelled() => {
                tokio::select! {
                    biased;
                    () = answered.cancelled() => None,
                    paid = looking => Some(paid),
                }
            }
            _ => Some(looking.await),
        };
        let (debt, paid) = match paid {
            Some(paid) => (debt, paid),
            None => {
                let debt = self.unpaid(id)?;
                let paid = target.pay(&debt.undo, &debt.learned).await;
                (debt, paid)
            }
        };
        match paid {
            Ok(()) => self.settle(id).err().map(|e| e.to_string()),
            Err(error) => Some(format!(
                "{}: {}",
                debt.undo.what(&debt.learned),
                chain(&error)
            )),
        }
    }

    fn unpaid(&self, id: DebtId) -> Option<Debt> {
        let inner = self.lock();
        inner.debts.get(id.0).filter(|debt| !debt.paid).cloned()
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
    /// Whether the user did not want to wait for the end of it.
    pub(crate) aborted: bool,
}

fn reap_command(run: Option<&RunId>, region: Option<&str>) -> String {
    let run = run.map(|run| format!(" --run {run}")).unwrap_or_default();
    let region = region.map(|r| format!(" --region {r}")).unwrap_or_default();
    format!("amibake reap{run}{region}")
}

fn leftover(debt: &Debt, run: &RunId) -> Leftover {
    Leftover {
        what: debt.undo.what(&debt.learned),
        remove_with: debt.undo.remedy(&debt.learned, Some(run)),
    }
}
