//! The EC2 target: the only code that talks to EC2.
//!
//! This file tells the trait's story; its neighbours do the parts. What they share is in `client`.

mod caller;
#[cfg(test)]
mod canned;
mod client;
mod credentials;
mod debts;
mod describe;
mod diagnose;
mod error;
mod image;
mod ladder;
mod launch;
mod network;
mod offerings;
mod orphans;
mod quota;
mod reap;
mod release;
mod sdk_clock;
mod source;
mod tags;
mod undo;
mod user_data;
mod wait;

use std::time::Duration;

use async_trait::async_trait;

use super::{Base, Candidate, Finished, Machine, PhaseContext, Role, Target, TargetError};
use crate::clock;
use crate::guest::gate::GateRecord;
use crate::plan::BakePlan;
pub(crate) use client::Ec2;
#[cfg(test)]
pub(crate) use client::settings;
use client::{Holder, Stage, YOUNG};
pub(crate) use reap::Account;

/// How long a machine that does not answer is explained; EC2 may be out of reach itself.
const DIAGNOSIS: Duration = Duration::from_secs(60);

#[async_trait]
impl Target for Ec2 {
    fn region(&self) -> Option<&str> {
        Some(&self.region)
    }

    async fn resolve(&self, plan: &BakePlan, cx: &PhaseContext<'_>) -> Result<Base, TargetError> {
        self.state().until = Some(cx.until);
        self.warn_of_credentials_that_end(plan, cx).await;
        let source = self.source_image(&plan.source, plan.arch).await?;
        let lost = self.lost_by_registering(&source).await?;
        self.state().keeps_first_image = lost.is_some();
        if let Some(lost) = lost {
            cx.phase.warn(format!(
                "{} {lost}: the image has its final name before it is tested",
                source.image_id().unwrap_or_default()
            ));
        }
        let taken = self
            .images(vec![tags::filter("name", [plan.image.name.as_str()])])
            .await?;
        if let Some(taken) = taken.first() {
            let id = taken.image_id().unwrap_or_default();
            let message = format!(
                "{id} in {} has the name {} already",
                self.region, plan.image.name
            );
            return Err(
                TargetError::manifest(message).with_hint("put {{ build_time }} into image.name")
            );
        }
        self.network(plan).await?;
        self.state().stage = Stage::Baking;
        Ok(image::base(&source))
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
    ) -> Result<Finished, TargetError> {
        self.release(plan, candidate, cx).await
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
