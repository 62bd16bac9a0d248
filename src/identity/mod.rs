//! What an image is made of, as digests by name: two builds of one content need one image.
//!
//! [`Inputs`] are what is known before anything is called; with the source that the target finds they are a
//! [`Content`]. What they are computed from is `gather`'s; who looks for an image of a content is the target's.
//! Where an image goes, and who is told of it, is no part of its content: that is compared with the account.

mod changes;
mod commits;
mod content;
mod gather;
mod key;

pub(crate) use changes::Change;
#[cfg(feature = "ec2")]
pub(crate) use changes::changes;
pub(crate) use commits::Commits;
use commits::commits;
pub(crate) use content::{Content, ContentHash, Input, Inputs};
pub(crate) use gather::asks_for_computed_environment;
#[cfg(all(test, feature = "ec2"))]
pub(crate) use gather::of_manifest;
use gather::{Engine, GatherError, inputs};
pub(crate) use key::ContentKey;

use crate::agent::program::Program;
use crate::plan::BakePlan;
use crate::provision::Work;

/// Finds out what the image of a plan is made of. Servers are asked for what their branches are at, if
/// they may be; what they said is returned.
pub(crate) async fn identify(
    plan: &mut BakePlan,
    work: &Work,
    agent: Option<&Program>,
    key: Option<&ContentKey>,
    servers_asked: bool,
) -> Result<Commits, GatherError> {
    let engine = Engine::with_agent(agent.and_then(Program::foreign));
    let inputs = inputs(plan, work, &engine, key)?;
    let commits = match servers_asked {
        true => commits(work.bundle.checkouts()).await,
        false => Commits::default(),
    };
    plan.inputs = inputs.with_commits(&commits, &plan.secrets);
    Ok(commits)
}
