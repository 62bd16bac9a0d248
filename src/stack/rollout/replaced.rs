//! What follows when a stack's target groups are replaced: traffic does, and somebody must be healthy there.

use super::super::Stack;
use super::aws::Aws;
use super::calls::Calls;
use super::drive::{POLL, RolloutContext};
use super::looking::{a_run, unheard};
use super::observe::look;
use super::wanted::Wanted;
use crate::clock::{Instant, sleep};
use crate::targets::TargetError;

/// Has traffic follow to the target groups that have taken the place of others, where its rule leads to those; returns
/// whether it did.
pub(crate) async fn lead_on(stack: &Stack) -> Result<bool, TargetError> {
    let (events, run) = (unheard(), a_run()?);
    let calls = Aws::new(stack, &run, &events);
    let look = look(&calls as &dyn Calls, stack.name.as_str(), 0).await?;
    let Some(rule) = look.seen.rule.as_ref().filter(|rule| rule.is_astray) else {
        return Ok(false);
    };
    let forwards = look.site.forwards(rule.weights);
    calls.modify_rule(&rule.arn, &forwards).await?;
    Ok(true)
}

/// Waits until the colour that serves is healthy in target groups that are new to it, and says where it is not in time.
pub(crate) async fn await_health(stack: &Stack, wanted: &Wanted, cx: &RolloutContext<'_>) {
    let calls = Aws::new(stack, &wanted.run, cx.events);
    let began = Instant::now();
    loop {
        let told = match look(&calls as &dyn Calls, stack.name.as_str(), 0).await {
            Ok(look) => match look.seen.live().map(|live| &look.seen.colours[live]) {
                Some(live) if !live.is_whole(live.group.desired) => {
                    format!(
                        "{} of {} instances are healthy",
                        live.healthy(),
                        live.group.desired
                    )
                }
                Some(_) | None => return,
            },
            Err(error) => TargetError::from(error).on_one_line(),
        };
        if began.elapsed() > wanted.pacing.healthy_within || cx.cancel.is_cancelled() {
            cx.events.warn(format!("in the new target groups {told}"));
            return;
        }
        sleep(POLL).await;
    }
}
