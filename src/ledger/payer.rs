//! What the ledger asks of a target: to name and to pay the debts that it wrote.

use async_trait::async_trait;

use super::Debt;
use crate::exit::Leftover;
use crate::run::RunId;
use crate::targets::TargetError;

/// What came of paying a debt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paid {
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
