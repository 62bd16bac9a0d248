//! What a look at a stack has that changes nothing: a run of its own, and nobody who hears of it.

use crate::event::{self, Events};
use crate::run::RunId;
use crate::targets::TargetError;

pub(super) fn a_run() -> Result<RunId, TargetError> {
    RunId::new(time::OffsetDateTime::now_utc())
        .map_err(|e| TargetError::new("there is no randomness on this machine").because(e))
}

pub(super) fn unheard() -> Events {
    event::channel().0
}
