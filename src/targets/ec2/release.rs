//! From the candidate that has passed to the released image, and back where that fails.

use aws_sdk_ec2::types::{
    AttributeValue, BlockDeviceMapping, BootModeValues, EbsBlockDevice, Image, ImdsSupportValues,
    ResourceType, TpmSupportValues,
};

use super::client::Released;
use super::error::Ec2Error;
use super::image::snapshots_of;
use super::{Ec2, tags};
use crate::ledger::Due;
use crate::plan::BakePlan;
use crate::targets::{Candidate, Finished, LIFETIME, PhaseContext, TargetError};

impl Ec2 {
    /// Registers the candidate's snapshots under the final name, lets the candidate go, and releases
    /// the image: by its tags, which keep `reap` away, and then by its description, so that nobody
    /// who can write tags makes `reap` come back.
    pub(super) async fn release(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &PhaseContext<'_>,
    ) -> Result<Finished, TargetError> {
        let name = plan.image.name.clone();
        let image = match self.keeps_first_image() {
            true => self.pass(plan, candidate).await?,
            false => self.register(plan, candidate, cx).await?,
        };
        let id = image.image_id().unwrap_or_default().to_owned();
        // What does not go now is unwound: the image is done, whatever becomes of its candidate.
        if id != candidate.id
            && matches!(self.deregister(&candidate.id).await, Ok(true))
            && let Some(debt) = self.state().candidate.take()
        {
            cx.ledger.settle(debt)?;
        }
        let mut ids = vec![id.clone()];
        ids.extend(snapshots_of(&image));
        self.state().released = Some(Released {
            image: id.clone(),
            ids: ids.clone(),
            before: tags::tested_description(plan),
        });
        match self.mark_released(plan, &id, ids).await {
            Ok(()) => Ok(Finished { id, name }),
            Err(error) => Err(self.explain(error).await),
        }
    }

    async fn mark_released(
        &self,
        plan: &BakePlan,
        id: &str,
        ids: Vec<String>,
    ) -> Result<(), Ec2Error> {
        let last = tags::released(plan);
        let last: Vec<_> = last.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        self.tag(ids, &last).await?;
        self.set_description(id, &tags::final_description(plan))
            .await
    }

    /// Takes the release back of what could not be removed when its bake failed after all: `reap`
    /// is to remove it, and not to finish its release. Nobody takes it for an image in between.
    pub(super) async fn withdraw(&self, ids: &[String]) {
        let Some(released) = self.state().released.clone() else {
            return;
        };
        let mut ids = ids.to_vec();
        ids.retain(|id| released.ids.contains(id));
        if ids.is_empty() {
            return;
        }
        let is_image = ids.contains(&released.image);
        // It is named as left behind, whatever becomes of this.
        let _stays = self.mark_temporary(ids, LIFETIME).await;
        if is_image {
            let _stays = self
                .set_description(&released.image, &released.before)
                .await;
        }
    }

    /// Says in the description of a candidate that stays the image that it has passed.
    async fn pass(&self, plan: &BakePlan, candidate: &Candidate) -> Result<Image, TargetError> {
        let passed = tags::tested_description(plan);
        if let Err(error) = self.set_description(&candidate.id, &passed).await {
            return Err(self.explain(error).await);
        }
        self.image(&candidate.id).await
    }

    /// Gives an image another description.
    pub(super) async fn set_description(
        &self,
        id: &str,
        description: &str,
    ) -> Result<(), Ec2Error> {
        let value = AttributeValue::builder().value(description).build();
        let request = self.ec2.modify_image_attribute();
        let request = request.image_id(id).description(value);
        let asking = || async {
            let answer = request.clone().send().await;
            let answer = answer.map_err(|e| self.refused("ModifyImageAttribute", e));
            answer.map(drop)
        };
        let new = [id.to_owned()];
        self.persist(|| self.once_known(&new, asking)).await
    }

    async fn register(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &PhaseContext<'_>,
    ) -> Result<Image, TargetError> {
        let image = self.image(&candidate.id).await?;
        let uefi_data = match self.uefi_data(&image).await {
            Ok(data) => data,
            Err(error) => return Err(self.explain(error).await),
        };
        let request = self
            .ec2
            .register_image()
            .name(&plan.image.name)
            .description(tags::tested_description(plan))
            .set_architecture(image.architecture.clone())
            .set_root_device_name(image.root_device_name.clone())
            .set_block_device_mappings(Some(mappings(&image, plan)))
            .virtualization_type("hvm")
            .set_ena_support(image.ena_support)
            .set_sriov_net_support(image.sriov_net_support.clone())
            .set_boot_mode(
                image
                    .boot_mode
                    .as_ref()
                    .map(|mode| BootModeValues::from(mode.as_str())),
            )
            .set_tpm_support(
                image
                    .tpm_support
                    .as_ref()
                    .map(|tpm| TpmSupportValues::from(tpm.as_str())),
            )
            .set_uefi_data(uefi_data)
            .imds_support(ImdsSupportValues::V20)
            .tag_specifications(tags::specification(
                ResourceType::Image,
                &tags::candidate(plan, "image", self.lifetime()),
            ));
        let ec2 = self.clone();
        let call = Box::pin(async move {
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("RegisterImage", e))
            };
            ec2.persist(asking).await.map(|a| a.image_id)
        });
        let name = &plan.image.name;
        let debts = [(Due::OnFailure, self.deregistering(plan, name))];
        let made = self.new_image(plan, name, debts, call, cx);
        let id = match made.await {
            Ok((_, id)) => id,
            Err(error) => return Err(self.explain(error).await),
        };
        self.wait_until_available(plan, &id, cx).await
    }
}

/// Returns the candidate's volumes as RegisterImage takes them. Encryption is the snapshot's.
fn mappings(image: &Image, plan: &BakePlan) -> Vec<BlockDeviceMapping> {
    let root = image.root_device_name();
    let stated = |device: Option<&str>| {
        plan.builder
            .volumes
            .iter()
            .find(|v| v.device.as_deref() == device || (v.device.is_none() && device == root))
    };
    let with_snapshots = image
        .block_device_mappings()
        .iter()
        .filter_map(|m| Some((m.device_name(), m.ebs()?)));
    with_snapshots
        .map(|(device, disk)| {
            let volume = stated(device);
            let kind = volume
                .and_then(|v| v.kind.as_deref())
                .map(Into::into)
                .or_else(|| disk.volume_type.clone());
            let disk = EbsBlockDevice::builder()
                .set_snapshot_id(disk.snapshot_id.clone())
                .set_volume_size(disk.volume_size)
                .set_volume_type(kind)
                .set_iops(volume.and_then(|v| v.iops).or(disk.iops))
                .set_throughput(volume.and_then(|v| v.throughput).or(disk.throughput))
                .delete_on_termination(true)
                .build();
            BlockDeviceMapping::builder()
                .set_device_name(device.map(str::to_owned))
                .ebs(disk)
                .build()
        })
        .collect()
}
