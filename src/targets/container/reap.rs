//! What dead runs left on this host, found by their journals.

use async_trait::async_trait;

use super::Container;
use crate::ledger::DeadRun;
use crate::targets::CONTAINER;
use crate::targets::reap::{Owed, Reaped, Reaper, Request};

#[async_trait]
impl Reaper for Container {
    fn target(&self) -> &'static str {
        CONTAINER
    }

    async fn reap(&self, request: &Request<'_>) -> Reaped {
        let mut reaped = Reaped::default();
        for dead in request.dead {
            reaped.pay(request, self, &owed(dead)).await;
        }
        for kept in request.kept {
            if !owed(kept).is_empty() {
                let what = format!("what run {} left on this host", kept.run);
                reaped.put_off(&kept.run, &what, kept.kept_until, None);
            }
        }
        reaped
    }
}

/// Returns what a run owes here, newest first.
fn owed(dead: &DeadRun) -> Vec<Owed> {
    let ours = dead
        .owed
        .iter()
        .rev()
        .filter(|d| d.undo.target() == CONTAINER);
    let owed = |debt: &_| Owed {
        run: dead.run.clone(),
        debt: Clone::clone(debt),
    };
    ours.map(owed).collect()
}
