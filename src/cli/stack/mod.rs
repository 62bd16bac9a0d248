//! `stack`: one file per command, each with its `Args` and its `run`.

mod deploy;
mod destroy;
mod history;
mod image_id;
mod rollback;
mod status;
mod template;

use clap::Subcommand;

use super::CommandContext;
use crate::exit::{Answer, Failure};
use crate::stack::StackName;

/// Put an image behind a load balancer, by CloudFormation
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one, made once")]
enum Command {
    Deploy(deploy::Args),
    Destroy(destroy::Args),
    History(history::Args),
    Rollback(rollback::Args),
    Status(status::Args),
    Template(template::Args),
}

/// Which stack is meant.
#[derive(Debug, Clone, clap::Args)]
struct StackArgs {
    /// The stack's name
    #[arg(value_name = "STACK")]
    name: StackName,
    /// The region it is in; the default is the environment's or the profile's
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
}

impl Args {
    pub(super) async fn run(self, cx: &CommandContext) -> Result<Answer, Failure> {
        match self.command {
            Command::Deploy(args) => Box::pin(args.run(cx)).await,
            Command::Destroy(args) => Box::pin(args.run(cx)).await,
            Command::History(args) => Box::pin(args.run(cx)).await,
            Command::Rollback(args) => Box::pin(args.run(cx)).await,
            Command::Status(args) => Box::pin(args.run(cx)).await,
            Command::Template(_) => template::Args::run(),
        }
    }
}
