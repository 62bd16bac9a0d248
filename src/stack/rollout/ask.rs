//! What others want to know of a rollout beforehand, and what must go before a stack does.

use std::collections::BTreeMap;

use super::super::{Described, Stack};
use super::aws::Aws;
use super::begin::changes_of;
use super::calls::{Calls, Site};
use super::drive::RolloutError;
use super::ended::{Named, concluded};
use super::intent::{SMOKE, TRAFFIC, is_of};
use super::known::Known;
use super::next::next;
use super::observe::{Look, look};
use super::step::{End, Next, Step};
use super::wanted::{Wanted, Way};
use crate::event::{self, Events};
use crate::exit::Failure;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

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

/// Removes the rules that are not the stack's, so that its target groups can go.
pub(crate) async fn remove_rules(stack: &Stack, described: &Described) -> Result<(), TargetError> {
    // A stack that has no such outputs has no such rules.
    let Ok(site) = Site::read(&described.outputs) else {
        return Ok(());
    };
    let run = crate::run::RunId::new(time::OffsetDateTime::now_utc())
        .map_err(|e| TargetError::new("there is no randomness on this machine").because(e))?;
    let events = unheard();
    let calls = Aws::new(stack, &run, &events);
    let rules = match calls.rules(&site.listener).await {
        Err(error) if is_gone(&error) => return Ok(()),
        rules => rules?,
    };
    let is_ours = |tags: &BTreeMap<String, String>| {
        let of = |role| is_of(tags, stack.name.as_str(), role);
        of(TRAFFIC) || of(SMOKE)
    };
    for rule in rules.into_iter().filter(|rule| is_ours(&rule.tags)) {
        match calls.delete_rule(&rule.arn).await {
            Err(error) if is_gone(&error) => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Looking, and removing rules, has nothing to tell.
fn unheard() -> Events {
    event::channel().0
}

fn is_gone(error: &Ec2Error) -> bool {
    matches!(error.code(), Some("RuleNotFound" | "ListenerNotFound"))
}
