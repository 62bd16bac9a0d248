//! What others want to know of a rollout beforehand.

use std::collections::BTreeMap;

use super::super::Stack;
use super::aws::Aws;
use super::begin::changes_of;
use super::calls::Calls;
use super::drive::RolloutError;
use super::ended::{Named, concluded};
use super::known::Known;
use super::next::next;
use super::observe::{Look, look};
use super::step::{End, Next, Step};
use super::wanted::{Wanted, Way};
use crate::event::{self, Events};
use crate::exit::Failure;

async fn looked(stack: &Stack, wanted: &Wanted) -> Result<Look, Failure> {
    let events = unheard();
    let calls = Aws::new(stack, &wanted.run, &events);
    let looked = look(&calls as &dyn Calls, stack.name.as_str(), 0).await;
    looked.map_err(|error| {
        let error = RolloutError::Look(error.into());
        match concluded(Err(error), Named::of(stack)) {
            Err(failure) => failure,
            Ok(_) => unreachable!("an error is no end"),
        }
    })
}

/// Returns whether a rollout has anything to do; one that was interrupted has.
pub(crate) async fn is_needed(stack: &Stack, wanted: &Wanted) -> Result<bool, Failure> {
    let look = looked(stack, wanted).await?;
    Ok(match next(&look.seen, wanted, &Known::default()) {
        Next::End(End::Unchanged { .. } | End::IsBack { .. }) => false,
        Next::End(_) | Next::Do(_) | Next::Wait(_) => true,
    })
}

/// Returns what parameters a rollout will have the stack change, by their whole names.
pub(crate) async fn parameters_of_idle(
    stack: &Stack,
    wanted: &Wanted,
) -> Result<BTreeMap<String, String>, Failure> {
    let look = looked(stack, wanted).await?;
    let Next::Do(Step::Begin(intent)) = next(&look.seen, wanted, &Known::default()) else {
        return Ok(BTreeMap::new());
    };
    let Way::Forward { parameters } = &wanted.way else {
        return Ok(BTreeMap::new());
    };
    let changes = changes_of(&look.seen, &intent, parameters);
    let suffix = intent.to.suffix();
    let named = changes.into_iter();
    Ok(named
        .map(|(name, value)| (format!("{name}{suffix}"), value))
        .collect())
}

/// Returns the alarms that fire and are not of the idle colour, whose state says nothing of what serves.
pub(crate) async fn alarms_of_what_serves(
    stack: &Stack,
    wanted: &Wanted,
) -> Result<Vec<String>, Failure> {
    let look = looked(stack, wanted).await?;
    Ok(look.seen.alarms_about(None).map(str::to_owned).collect())
}

/// Looking has nothing to tell.
fn unheard() -> Events {
    event::channel().0
}
