//! Stacks: an image behind a load balancer, by CloudFormation.
//!
//! CloudFormation owns what a template says; this room asks it, and tells what it does. Which colour has traffic is
//! the rollout's. The command line is `cli/stack`'s.

mod alarms;
mod change_set;
mod changes;
mod command_line;
mod deploy;
mod describe;
mod destroy;
mod handle;
mod history;
mod launched;
mod name;
mod operation;
mod parameters;
mod permissions;
mod plan;
mod preflight;
mod prospect;
pub(crate) mod rollout;
mod standing;
pub(crate) mod template;
mod update;

pub(crate) use change_set::Options;
pub(crate) use command_line::CommandLine;
pub(crate) use deploy::Deploy;
pub(crate) use describe::Described;
pub(crate) use handle::Stack;
pub(crate) use history::Operation;
pub(crate) use name::StackName;
pub(crate) use operation::Kept;
pub(crate) use update::Losses;
#[cfg(test)]
pub(crate) use update::Updated;
