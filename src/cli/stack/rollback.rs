//! `stack rollback`: traffic goes back to the colour that was live before.

use std::time::Duration;

use time::OffsetDateTime;

use super::StackArgs;
use crate::bake::failed;
use crate::cli::CommandContext;
use crate::exit::{Answer, Failure};
use crate::run::RunId;
use crate::stack::Stack;
use crate::stack::rollout::{
    Before, Named, OnAlarm, OnFailure, Pacing, RolloutContext, StackLock, Wanted, Way,
    rollback_lock, run_named,
};

/// Send all traffic back to the colour that was live before
///
/// While that colour is warm this is one call, and takes seconds. When its instances are gone, they are launched
/// anew from its image first. A deploy that is under way is stopped by it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    /// How long instances that are launched anew may take to be healthy
    #[arg(long, value_name = "TIME", value_parser = crate::manifest::time, default_value = "15m")]
    healthy_within: Duration,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let region = self.stack.region.as_deref();
        let stack = Stack::open(self.stack.name, region).await.map_err(failed)?;
        let run_id = RunId::new(OffsetDateTime::now_utc()).map_err(Failure::new)?;
        let wanted = Wanted {
            run: run_id,
            way: Way::Back,
            pacing: Pacing {
                healthy_within: self.healthy_within,
                ..Pacing::default()
            },
            smoke: None,
            on_failure: OnFailure::Destroy,
            on_alarm: OnAlarm::Refuse,
        };
        let context = RolloutContext {
            events: &cx.events,
            cancel: &cx.interrupt.cancel,
        };
        let again = again(&stack, self.healthy_within);
        let named = Named::of_command(&stack, again, Before::Nothing);
        // Who is in a hurry does not wait for a lock, nor for being given one.
        let lock = rollback_lock(&stack, &wanted.run, &cx.events);
        let (lock, ended) = tokio::join!(lock, run_named(&stack, &wanted, &named, &context));
        if let Some(lock) = lock {
            StackLock::release(lock, &cx.events).await;
        }
        let end = ended?;
        Ok(Answer::text(
            serde_json::to_string(&end).map_err(Failure::new)?,
        ))
    }
}

/// Returns the command that goes on with a rollback.
fn again(stack: &Stack, within: Duration) -> String {
    let is_usual = within == Pacing::default().healthy_within;
    let within = (!is_usual).then(|| format!(" --healthy-within {}s", within.as_secs()));
    let (name, region) = (&stack.name, &stack.region);
    let within = within.unwrap_or_default();
    format!("amibake stack rollback {name} --region {region}{within}")
}
