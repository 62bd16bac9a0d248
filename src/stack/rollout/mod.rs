//! A rollout: traffic goes from one colour of a stack to the other, and back if something is wrong.
//!
//! All that is known of it is in AWS. A process looks (`observe`), decides by what it sees alone (`next`)
//! and does one step (`perform`), until there is an end; so any process on any machine goes on where
//! another has stopped, or turns it back. The stack itself is its neighbours' affair.

mod aws;
mod begin;
mod calls;
mod colour;
mod drive;
mod ended;
#[cfg(test)]
pub(crate) mod fake;
mod foresee;
mod foretold;
mod intent;
mod known;
mod lock;
mod looking;
mod next;
mod observe;
mod own_rules;
mod perform;
mod replaced;
mod smoke;
mod smoke_request;
mod state;
mod status;
mod step;
mod tell;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use colour::Colour;
pub(crate) use drive::RolloutContext;
pub(crate) use ended::{ALARMED, Before, Named};
pub(crate) use foresee::{Act, Ahead, Foreseen, Roll, foresee, internal};
pub(crate) use foretold::foretold;
pub(crate) use intent::{Direction, Phase};
pub(crate) use lock::{StackLock, rollback_lock};
pub(crate) use own_rules::OwnRules;
pub(crate) use replaced::{await_health, lead_on};
pub(crate) use smoke::SmokeTests;
#[cfg(test)]
pub(crate) use state::GroupState;
pub(crate) use status::{ColourReport, Report, report};
pub(crate) use step::End;
pub(crate) use wanted::{OnAlarm, OnFailure, Pacing, Wanted, Way};

use super::Stack;
use crate::exit::Failure;

/// Rolls a stack out, or back, as if nothing had been done or typed before.
#[cfg(test)]
pub(crate) async fn run(
    stack: &Stack,
    wanted: &Wanted,
    cx: &RolloutContext<'_>,
) -> Result<End, Failure> {
    run_named(stack, wanted, &Named::of(stack), cx).await
}

/// Rolls a stack out, or back. How it ended without an error is for stdout; else it is told by what was done before, and
/// by the command as it is typed.
pub(crate) async fn run_named(
    stack: &Stack,
    wanted: &Wanted,
    named: &Named,
    cx: &RolloutContext<'_>,
) -> Result<End, Failure> {
    let calls = aws::Aws::new(stack, &wanted.run, cx.events);
    let ended = drive::drive(&calls, stack.name.as_str(), wanted, cx).await;
    ended::concluded(ended, named)
}
