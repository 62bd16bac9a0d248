//! What was created and must go: debts as data, journalled before the call that makes them, and
//! paid whatever the end. How a debt is paid is the target's.

mod dead_run;
mod journal;
mod payer;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::exit::{Leftover, chain};
use crate::run::{RunId, rfc3339};
use crate::targets::writer_of_unnamed;
use crate::transport::BoxFuture;
#[cfg(all(test, feature = "ec2"))]
pub(crate) use dead_run::runs_in;
pub(crate) use dead_run::{DeadRun, Runs, runs};
use journal::Journal;
use journal::Record;
#[cfg(test)]
pub(crate) use journal::replay;
pub(crate) use journal::{JournalError, state_folder};
pub(crate) use payer::{Paid, Payer};

/// When a debt is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Due {
    /// However the bake ends.
    Always,
    /// Unless the bake succeeds: it is the product then.
    OnFailure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BakeEnd {
    Succeeded,
    Failed,
}

/// What undoes one creation: data that its target wrote and alone can read. It goes by the run's
/// name, since the answer with the id may never have arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub(crate) struct Undo {
    target: String,
    #[serde(flatten)]
    data: Map<String, Value>,
}

/// An undo as a journal has it: older ones do not name the target.
#[derive(Deserialize)]
struct Written {
    target: Option<String>,
    #[serde(flatten)]
    data: Map<String, Value>,
}

impl From<Written> for Undo {
    fn from(Written { target, data }: Written) -> Self {
        let target = target.unwrap_or_else(|| writer_of_unnamed(&data).to_owned());
        Self { target, data }
    }
}

impl Undo {
    /// Returns what `target` has written.
    pub(crate) fn new(target: &str, data: &impl Serialize) -> Self {
        let data = match serde_json::to_value(data) {
            Ok(Value::Object(data)) => data,
            other => unreachable!("an undo is a record of plain fields: {other:?}"),
        };
        Self {
            target: target.to_owned(),
            data,
        }
    }

    /// Returns the name of the target that wrote it.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Returns it as its target has it.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&Value::Object(self.data.clone()))
    }
}

/// Something that is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Debt {
    pub(crate) undo: Undo,
    /// What the thing is called, as far as that is known: ids, oldest first.
    pub(crate) learned: Vec<String>,
}

/// Names a debt within its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DebtId(usize);

#[derive(Debug, Clone)]
struct Entry {
    id: DebtId,
    due: Due,
    debt: Debt,
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
    entries: Vec<Entry>,
    journal: Journal,
}

/// How long unwinding may take before what is left is named and given up.
const UNWIND_LIMIT: Duration = Duration::from_secs(15 * 60);

impl Ledger {
    pub(crate) fn open(folder: &Path, run: &RunId) -> Result<Self, JournalError> {
        let inner = Inner {
            run: run.clone(),
            entries: Vec::new(),
            journal: Journal::create(folder, run)?,
        };
        Ok(Self {
            inner: Arc::new(Mutex::new(inner)),
        })
    }

    /// Journals a debt, then holds it. Comes before the request that incurs it.
    pub(crate) fn owe(&self, due: Due, undo: impl Into<Undo>) -> Result<DebtId, JournalError> {
        self.hold(due, undo.into(), None)
    }

    /// Owes, then makes the call that creates the thing and learns its name, which is the last
    /// debt's; those before it are for what comes with the thing.
    ///
    /// The call is a task of its own: an interrupted bake drops its wait and not the call, so that
    /// unwinding hears the answer. An answer that `refused` settles the debts, since nothing came
    /// to be; where there is none, they stay and unwinding looks for the things.
    pub(crate) async fn create<const N: usize, E>(
        &self,
        debts: [(Due, Undo); N],
        refused: fn(&E) -> bool,
        call: BoxFuture<'static, Result<String, E>>,
    ) -> Result<([DebtId; N], String), E>
    where
        E: From<JournalError> + Send + 'static,
    {
        let mut held = Vec::with_capacity(N);
        self.create_held(debts, &mut held, refused, call).await
    }

    /// The same, and says what is owed for it even where the call fails: one that was not refused may have done
    /// what was asked.
    pub(crate) async fn create_held<const N: usize, E>(
        &self,
        debts: [(Due, Undo); N],
        held: &mut Vec<DebtId>,
        refused: fn(&E) -> bool,
        call: BoxFuture<'static, Result<String, E>>,
    ) -> Result<([DebtId; N], String), E>
    where
        E: From<JournalError> + Send + 'static,
    {
        let answered = CancellationToken::new();
        let mut ids = [DebtId(0); N];
        for (id, (due, undo)) in ids.iter_mut().zip(debts) {
            *id = self.hold(due, undo, Some(answered.clone()))?;
            held.push(*id);
        }
        let ledger = self.clone();
        let calling = tokio::spawn(async move {
            let _told = answered.drop_guard();
            let made = call.await;
            match (&made, ids.last()) {
                (Ok(name), Some(id)) => ledger.learn(*id, name)?,
                (Err(error), _) if refused(error) => {
                    ids.iter().try_for_each(|id| ledger.settle(*id))?;
                }
                (Ok(_) | Err(_), _) => {}
            }
            made
        });
        match calling.await {
            Ok(made) => made.map(|name| (ids, name)),
            // Nobody ends the task but a runtime that ends itself.
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
        }
    }

    fn hold(
        &self,
        due: Due,
        undo: Undo,
        answered: Option<CancellationToken>,
    ) -> Result<DebtId, JournalError> {
        let mut inner = self.lock();
        let id = DebtId(inner.entries.len());
        inner.journal.append(&Record::Owe {
            id,
            due,
            undo: undo.clone(),
        })?;
        let learned = Vec::new();
        inner.entries.push(Entry {
            id,
            due,
            debt: Debt { undo, learned },
            paid: false,
            answered,
        });
        Ok(id)
    }

    /// Adds what the target calls the thing, so that undoing it need not look.
    pub(crate) fn learn(&self, id: DebtId, name: &str) -> Result<(), JournalError> {
        let mut inner = self.lock();
        inner.journal.append(&Record::Learn {
            id,
            name: name.to_owned(),
        })?;
        if let Some(entry) = inner.entries.get_mut(id.0) {
            entry.debt.learned.push(name.to_owned());
        }
        Ok(())
    }

    /// Forgets a debt: it was paid, or the request was refused and nothing came to be.
    pub(crate) fn settle(&self, id: DebtId) -> Result<(), JournalError> {
        let mut inner = self.lock();
        inner.journal.append(&Record::Settle { id })?;
        if let Some(entry) = inner.entries.get_mut(id.0) {
            entry.paid = true;
        }
        Ok(())
    }

    /// Has a debt paid however the bake ends: what was to stay if it went well is not to stay any
    /// more. A journal makes no difference between the two.
    pub(crate) fn fall_due(&self, id: DebtId) {
        let mut inner = self.lock();
        if let Some(entry) = inner.entries.get_mut(id.0) {
            entry.due = Due::Always;
        }
    }

    /// Journals that nothing is to be paid before `until`, unless somebody names the run.
    pub(crate) fn keep(&self, until: OffsetDateTime) -> Result<(), JournalError> {
        let until = rfc3339(until);
        self.lock().journal.append(&Record::Keep { until })
    }

    /// Returns whether another run of this host is dead: its journal is there, and nobody holds it.
    #[cfg_attr(not(feature = "ec2"), expect(dead_code, reason = "only EC2 has locks"))]
    pub(crate) fn knows_as_dead(&self, run: &RunId) -> bool {
        dead_run::is_dead(self.lock().journal.folder(), run)
    }

    /// Returns whether anything was ever owed.
    pub(crate) fn was_used(&self) -> bool {
        !self.lock().entries.is_empty()
    }

    /// Returns what is owed at such an end, in the words of `payer`.
    pub(crate) fn outstanding(&self, payer: &dyn Payer, end: BakeEnd) -> Vec<Leftover> {
        let run = self.lock().run.clone();
        let due = self.due(end).into_iter();
        due.map(|entry| payer.leftover(&entry.debt, Some(&run)))
            .collect()
    }

    /// Pays what is due, all of it at once, past any failure: each undo sends its request and then
    /// waits, and one that needs another first waits for it. Returns what is still owed.
    ///
    /// The journal is removed when nothing is. When `abort` is cancelled, waiting ends.
    pub(crate) async fn unwind(
        &self,
        payer: &dyn Payer,
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
        if end == BakeEnd::Failed
            && !due.is_empty()
            && let Err(error) = self.lock().journal.append(&Record::Fail)
        {
            why.push(format!(
                "the journal does not say that the bake has failed: {error}"
            ));
        }
        let paying = join_all(due.iter().map(|entry| self.pay(payer, entry.id)));
        let mut aborted = false;
        tokio::select! {
            unpaid = paying => why.extend(unpaid.into_iter().flatten()),
            () = abort.cancelled() => {
                aborted = true;
                why.push("cleaning up was interrupted".to_owned());
            }
            () = clock::sleep(UNWIND_LIMIT) => why.push("cleaning up took too long".to_owned()),
        }
        let leftovers = self.outstanding(payer, end);
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
    fn settle_product(&self) -> Result<(), JournalError> {
        let product: Vec<DebtId> = {
            let inner = self.lock();
            let open = inner.entries.iter().filter(|entry| !entry.paid);
            let product = open.filter(|entry| entry.due == Due::OnFailure);
            product.map(|entry| entry.id).collect()
        };
        product.into_iter().try_for_each(|id| self.settle(id))
    }

    /// Pays one debt; returns why it could not.
    async fn pay(&self, payer: &dyn Payer, id: DebtId) -> Option<String> {
        loop {
            let entry = self.unpaid(id)?;
            let paying = payer.pay(&entry.debt);
            let unanswered = entry.unanswered();
            let paid = match &unanswered {
                None => paying.await,
                // The answer may come while the thing is looked for: whichever is first.
                Some(answered) => tokio::select! {
                    biased;
                    () = answered.cancelled() => continue,
                    paid = paying => paid,
                },
            };
            if let (Ok(Paid::NotFound), Some(answered)) = (&paid, &unanswered) {
                // What is asked for may yet be done: only the call's end says that it is not.
                answered.cancelled().await;
                continue;
            }
            return match paid {
                Ok(_) => self.settle(id).err().map(|error| chain(&error)),
                Err(error) => {
                    let leftover = payer.leftover(&entry.debt, None);
                    Some(format!("{}: {}", leftover.what, chain(&error)))
                }
            };
        }
    }

    fn unpaid(&self, id: DebtId) -> Option<Entry> {
        let inner = self.lock();
        let entry = inner.entries.get(id.0);
        entry.filter(|entry| !entry.paid).cloned()
    }

    /// Newest first, so that requests go out in that order too.
    fn due(&self, end: BakeEnd) -> Vec<Entry> {
        let inner = self.lock();
        let open = inner.entries.iter().rev().filter(|entry| !entry.paid);
        open.filter(|entry| entry.due == Due::Always || end == BakeEnd::Failed)
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
    pub(crate) leftovers: Vec<Leftover>,
    /// Why, a sentence each.
    pub(crate) why: Vec<String>,
    /// Whether the user did not want to wait for the end of it.
    pub(crate) aborted: bool,
}

impl Entry {
    /// Returns the call that incurs it, if that may still be answered.
    fn unanswered(&self) -> Option<CancellationToken> {
        let open = |answered: &&CancellationToken| {
            self.debt.learned.is_empty() && !answered.is_cancelled()
        };
        self.answered.as_ref().filter(open).cloned()
    }
}
