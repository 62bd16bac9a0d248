//! `stack destroy`: deletes a stack, after a question, and says what is kept.

use serde_json::json;
use time::OffsetDateTime;

use super::{CommandContext, StackArgs};
use crate::bake::failed;
use crate::exit::{Answer, Failure};
use crate::prompt;
use crate::run::RunId;
use crate::stack::rollout::{RolloutContext, StackLock};
use crate::stack::{Described, Kept, Stack};

/// Delete a stack, and say what is kept of it
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// The role by which CloudFormation deletes it; the default is the one that it was made by
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let StackArgs { name, region } = self.stack;
        let looking = async {
            let stack = Stack::open(name, region.as_deref()).await.map_err(failed)?;
            let described = stack.to_be_destroyed().await.map_err(failed)?;
            stack.foresee_destroy(&described, &cx.events).await?;
            Ok((stack, described))
        };
        let (stack, described) = Box::pin(cx.unless_interrupted(looking)).await?;
        if !self.yes {
            ask(&stack, &described).await?;
        }
        let run = RunId::new(OffsetDateTime::now_utc()).map_err(Failure::new)?;
        let lock = StackLock::take(&stack, &run, &cx.events).await?;
        let destroyed = Box::pin(destroy(
            &stack,
            &described,
            &run,
            self.role_arn.as_deref(),
            cx,
        ))
        .await;
        lock.release(&cx.events).await;
        let kept = destroyed?;
        let answer = json!({"stack": stack.name.as_str(), "region": stack.region, "kept": kept});
        let text = serde_json::to_string_pretty(&answer).map_err(Failure::new)?;
        Ok(Answer::text(text))
    }
}

/// Destroys it as it is by now: whoever is asked takes their time.
async fn destroy(
    stack: &Stack,
    asked: &Described,
    run: &RunId,
    role_arn: Option<&str>,
    cx: &CommandContext,
) -> Result<Vec<Kept>, Failure> {
    let rollout = RolloutContext {
        events: &cx.events,
        cancel: &cx.interrupt.cancel,
    };
    let looking = async { stack.to_be_destroyed().await.map_err(failed) };
    let now = cx.unless_interrupted(looking).await?;
    if now.id != asked.id {
        let error = format!("stack {} was made anew meanwhile", stack.name);
        return Err(Failure::new(error).with_hint("nothing was deleted"));
    }
    stack.destroy(&now, run, role_arn, &rollout).await
}

/// Asks whether it is meant.
async fn ask(stack: &Stack, described: &Described) -> Result<(), Failure> {
    let url = described.outputs.get("Url");
    let url = url.map_or_else(String::new, |url| format!(", which serves {url}"));
    let question = format!(
        "delete stack {} in {} ({}){url}? [y/N] ",
        stack.name, stack.region, described.status
    );
    let asked = tokio::task::spawn_blocking(move || prompt::confirm(&question));
    match asked.await.map_err(Failure::new)? {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("nothing was deleted, as was answered")),
        Err(_) => {
            let error = format!("nobody can be asked whether stack {} is to go", stack.name);
            Err(Failure::usage(error).with_hint("there is no terminal: --yes says it is meant"))
        }
    }
}
