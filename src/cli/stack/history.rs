//! `stack history`: what was done with a stack.

use std::fmt::Write as _;

use super::{CommandContext, StackArgs};
use crate::bake::failed;
use crate::exit::{Answer, Failure};
use crate::stack::{Operation, Stack};

/// Show what was done with a stack in the last 90 days
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    stack: StackArgs,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        let StackArgs { name, region } = self.stack;
        let asking = async {
            let stack = Stack::open(name, region.as_deref()).await.map_err(failed)?;
            stack.history().await.map_err(failed)
        };
        let operations = Box::pin(cx.unless_interrupted(asking)).await?;
        Ok(Answer::text(match self.json {
            true => serde_json::to_string_pretty(&operations).map_err(Failure::new)?,
            false => table(&operations),
        }))
    }
}

fn table(operations: &[Operation]) -> String {
    let width = operations.iter().map(|o| o.status.len()).max().unwrap_or(0);
    let mut text = String::new();
    for Operation {
        began,
        seconds,
        status,
        token,
        images,
        failure,
    } in operations
    {
        let mut told: Vec<String> = Vec::new();
        told.extend(
            images
                .iter()
                .map(|(template, image)| format!("{template} {image}")),
        );
        told.extend(failure.iter().cloned());
        told.extend(token.iter().map(|token| format!("run {token}")));
        let told = told.join(", ");
        let _infallible = writeln!(text, "{began}  {status:width$}  {seconds:5} s  {told}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn an_operation_is_a_line() {
        let operation = Operation {
            began: "2026-07-27T10:15:00Z".into(),
            seconds: 92,
            status: "UPDATE_COMPLETE".into(),
            token: Some("20260727t101500z-0a1b2c3d4e5f6071".into()),
            images: BTreeMap::from([("LaunchTemplateGreen".into(), "ami-2".into())]),
            failure: None,
        };
        assert_eq!(
            table(&[operation]),
            "2026-07-27T10:15:00Z  UPDATE_COMPLETE     92 s  LaunchTemplateGreen ami-2, run 20260727t101500z-0a1b2c3d4e5f6071\n"
        );
    }
}
