//! The EC2 target: the only code that talks to EC2.
//!
//! This file tells the trait's story; its neighbours do the parts. What they share is in `client`.

mod ahead;
mod answered_at;
mod caller;
#[cfg(test)]
mod canned;
mod client;
#[cfg(test)]
pub(crate) mod counted;
mod credentials;
mod debts;
mod describe;
mod diagnose;
mod endpoint;
mod error;
mod http;
mod image;
#[cfg(feature = "stack")]
mod image_facts;
mod ladder;
mod launch;
mod lock;
mod mfa;
#[cfg(feature = "stack")]
mod named_lock;
mod network;
mod offerings;
mod orphans;
mod ours;
mod permissions;
mod policy;
mod polls;
mod preflight;
mod profile;
mod prune;
mod publish;
mod quota;
mod reap;
mod release;
mod replace;
mod reuse;
mod sdk_clock;
mod source;
mod stack_parameters;
mod status;
mod tags;
mod undo;
mod user_data;
mod wait;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::ArchitectureValues;

use super::{
    Base, Candidate, Finished, Machine, PhaseContext, Published, Publisher, Role, Target,
    TargetError, Turn,
};
use crate::clock;
use crate::exit::Leftover;
use crate::guest::gate::GateRecord;
use crate::identity::Content;
use crate::manifest::Arch;
use crate::plan::BakePlan;
pub(crate) use client::Ec2;
#[cfg(test)]
pub(crate) use client::settings;
use client::{Holder, Stage, YOUNG};
#[cfg(feature = "stack")]
pub(crate) use error::Ec2Error;
#[cfg(feature = "stack")]
pub(crate) use http::tls_provider;
#[cfg(feature = "stack")]
pub(crate) use image_facts::ImageFacts;
#[cfg(feature = "stack")]
pub(crate) use named_lock::{NamedLock, NamedTurn};
pub(crate) use permissions::Purpose;
pub(crate) use policy::iam_policy;
pub(crate) use preflight::{Check, Verdict};
#[cfg(feature = "stack")]
pub(crate) use preflight::{Leave, Simulated, misfit};
pub(crate) use prune::{Fate, Judged, Policy, Unpruned};
pub(crate) use reap::Account;
#[cfg(feature = "stack")]
pub(crate) use stack_parameters::StackParameter;
pub(crate) use status::{Held, Standing, held};

/// How long a machine that does not answer is explained; EC2 may be out of reach itself.
const DIAGNOSIS: Duration = Duration::from_secs(60);

#[async_trait]
impl Target for Ec2 {
    fn region(&self) -> Option<&str> {
        Some(&self.region)
    }

    async fn source(&self, plan: &BakePlan, cx: &PhaseContext<'_>) -> Result<Base, TargetError> {
        self.state().until = Some(cx.until);
        self.warn_of_credentials_that_end(plan, cx).await;
        let source = self.source_image(&plan.source, plan.arch).await?;
        let base = image::base(&source);
        self.state().source = Some(source);
        Ok(base)
    }

    async fn find_finished(
        &self,
        plan: &BakePlan,
        content: &Content,
    ) -> Result<Option<Finished>, TargetError> {
        self.state().content = Some(content.clone());
        Ok(self.finished(plan, content).await?)
    }

    async fn check(
        &self,
        plan: &BakePlan,
        base: &Base,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        let source = self.state().source.take();
        let source = source.expect("what it starts from is found before");
        let lost = self.lost_by_registering(&source).await?;
        self.state().keeps_first_image = lost.is_some();
        if let Some(lost) = lost {
            if let Some(refused) = never_replaced(plan, &base.id(), lost) {
                return Err(refused);
            }
            cx.phase.warn(format!(
                "{} {lost}: the image has its final name before it is tested",
                source.image_id().unwrap_or_default()
            ));
        }
        self.check_publication(plan, cx).await?;
        self.network(plan).await?;
        self.state().stage = Stage::Baking;
        Ok(())
    }

    async fn take_turn(
        &self,
        plan: &BakePlan,
        content: &Content,
        cx: &PhaseContext<'_>,
    ) -> Result<Turn, TargetError> {
        self.wait_for_turn(plan, content, cx).await
    }

    async fn beat(&self) {
        self.beat_lock().await;
    }

    async fn prepare(
        &self,
        _plan: &BakePlan,
        _base: &Base,
        _cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        Ok(()) // an image is there, or was not found
    }

    async fn launch(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError> {
        self.start(plan, base, role, cx).await
    }

    async fn diagnose(&self, machine: &Machine) -> Vec<String> {
        let causes = clock::timeout(DIAGNOSIS, self.causes(machine));
        causes.await.unwrap_or_default()
    }

    async fn console(&self, machine: &Machine) -> Option<String> {
        let text = self.console_of(&machine.id).await?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    async fn death(&self, machine: &Machine) -> Option<TargetError> {
        let asked = clock::timeout(DIAGNOSIS / 6, self.ended(machine));
        asked.await.ok().flatten()
    }

    async fn admit(&self, plan: &BakePlan) -> Result<(), TargetError> {
        self.admit_again(plan).await
    }

    async fn capture(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError> {
        self.make_candidate(plan, builder, cx).await
    }

    async fn dismiss(&self, machine: &Machine) -> Result<(), TargetError> {
        self.terminate(&machine.id).await?;
        Ok(())
    }

    async fn publish(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        _gate: &GateRecord,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        self.release(plan, candidate, cx).await
    }

    fn stays(&self) -> Option<Leftover> {
        self.state().stays.clone()
    }

    async fn arch_of(&self, image: &str) -> Result<Option<Arch>, TargetError> {
        let image = self.image(image).await?;
        let arch = image.architecture().map(ArchitectureValues::as_str);
        Ok(arch.and_then(Arch::parse))
    }

    async fn repair(
        &self,
        plan: &BakePlan,
        finished: &Finished,
        publisher: Publisher,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        self.go_on(plan, &finished.id, publisher, cx).await
    }

    async fn renew(&self, plan: &BakePlan, lifetime: Duration) -> Result<(), TargetError> {
        let mut ids: Vec<String> = self.state().group_id.iter().cloned().collect();
        let alive = ["pending", "running", "stopping", "stopped"];
        let filters = vec![
            tags::of_run(&plan.run),
            tags::filter("instance-state-name", alive),
        ];
        let instances = self.instances(filters).await?;
        ids.extend(instances.into_iter().filter_map(|i| i.instance_id));
        let images = self.images(vec![tags::of_run(&plan.run)]).await?;
        ids.extend(images.into_iter().filter_map(|i| i.image_id));
        let snapshots = self.snapshots(&plan.run).await?;
        ids.extend(snapshots.into_iter().filter_map(|s| s.snapshot_id));
        if ids.is_empty() {
            return Ok(());
        }
        Ok(self.mark_temporary(ids, lifetime).await?)
    }
}

/// Returns why an image may not replace another by its name, if its plan wants that.
fn never_replaced(plan: &BakePlan, base: &str, lost: &str) -> Option<TargetError> {
    let message = format!("{base} {lost}: no image can be replaced by name");
    plan.image.replace.then(|| {
        TargetError::manifest(message)
            .with_hint("the new image would need the name before it is tested")
    })
}
