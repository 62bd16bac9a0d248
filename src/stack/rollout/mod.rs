//! A rollout: traffic goes from one colour of a stack to the other, and back if something is wrong.
//!
//! All that is known of it is in AWS. A process looks (`observe`), decides by what it sees alone (`next`)
//! and does one step (`perform`), until there is an end; so any process on any machine goes on where
//! another has stopped, or turns it back. The stack itself is its neighbours' affair.

mod ask;
mod aws;
mod begin;
mod calls;
mod colour;
mod drive;
mod ended;
#[cfg(test)]
pub(crate) mod fake;
mod intent;
mod known;
mod lock;
mod next;
mod observe;
mod own_rules;
mod perform;
mod smoke;
mod smoke_request;
mod state;
mod status;
mod step;
mod tell;
#[cfg(test)]
mod tests;
mod wanted;

pub(crate) use ask::{alarms_of_what_serves, is_needed, parameters_of_idle};
pub(crate) use colour::Colour;
pub(crate) use drive::RolloutContext;
pub(crate) use ended::ALARMED;
pub(crate) use intent::{Direction, Phase};
pub(crate) use lock::{StackLock, rollback_lock};
pub(crate) use own_rules::OwnRules;
pub(crate) use smoke::SmokeTests;
pub(crate) use status::{ColourReport, Report, report};
pub(crate) use step::End;
pub(crate) use wanted::{OnAlarm, OnFailure, Pacing, Wanted, Way};

use super::Stack;
use crate::exit::Failure;

/// Rolls a stack out, or back. How it ended without an error is for stdout.
pub(crate) async fn run(
    stack: &Stack,
    wanted: &Wanted,
    cx: &RolloutContext<'_>,
) -> Result<End, Failure> {
    let calls = aws::Aws::new(stack, &wanted.run, cx.events);
    let ended = drive::drive(&calls, stack.name.as_str(), wanted, cx).await;
    ended::concluded(ended, ended::Named::of(stack))
}

/// Returns what a deploy will do after the stack is as it should be, in words.
pub(crate) fn plan(pacing: &Pacing, is_first: bool, has_smoke_tests: bool) -> Vec<String> {
    let mut steps = vec![
        "the idle colour gets the parameters, and as many instances as serve now".to_owned(),
        format!(
            "they are healthy in {} looks in a row, within {} min",
            pacing.polls,
            pacing.healthy_within.as_secs() / 60
        ),
    ];
    if has_smoke_tests {
        steps.push("the smoke tests pass".to_owned());
    }
    if is_first {
        "blue gets its instances".clone_into(&mut steps[0]);
        steps.push("it has all of the traffic".to_owned());
        return steps;
    }
    let bake = pacing.bake.as_secs();
    let weights = pacing.weights.iter();
    steps.extend(weights.map(|w| format!("it has {w} % of the traffic, for {bake} s at least")));
    let keep = pacing.keep.as_secs() / 60;
    steps.push(format!(
        "the old colour stays warm for {keep} min, and is then emptied"
    ));
    steps
}
