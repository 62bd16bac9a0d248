//! What work on machines is given by a command, whichever it is: who connects, who provisions, what is kept where.

use std::path::Path;

use super::CommandContext;
use super::build::PlannedBuild;
use crate::agent::program::Programs;
use crate::bake::{self, BakeEnv, Baked};
use crate::connector::SshConnector;
use crate::event::Events;
use crate::failure_bundle::FailureBundle;
use crate::provision::AgentProvisioner;
use crate::targets::Target;

/// What is given to the work on one image.
pub(super) struct Baking<'a> {
    pub(super) planned: &'a PlannedBuild,
    pub(super) programs: &'a Programs,
    pub(super) target: &'a dyn Target,
    pub(super) events: &'a Events,
    pub(super) state_folder: &'a Path,
    pub(super) bundle: Option<&'a FailureBundle>,
}

impl Baking<'_> {
    /// Does some work, which the command's interrupts end.
    pub(super) async fn with(
        &self,
        cx: &CommandContext,
        work: impl AsyncFnOnce(&BakeEnv<'_>) -> Baked,
    ) -> Baked {
        let provisioner = AgentProvisioner {
            programs: self.programs,
            work: &self.planned.work,
            events: self.events,
            cancel: &cx.interrupt.cancel,
        };
        let env = BakeEnv {
            target: self.target,
            connector: &SshConnector::new(self.events.clone()),
            provisioner: &provisioner,
            events: self.events,
            interrupt: &cx.interrupt,
            state_folder: self.state_folder,
            renew_every: bake::RENEW_EVERY,
            bundle: self.bundle,
        };
        work(&env).await
    }
}
