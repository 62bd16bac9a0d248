//! From the sealed builder to a candidate, and from the candidate to the image.

use std::time::Duration;

use aws_sdk_ec2::types::{
    BlockDeviceMapping, BootModeValues, EbsBlockDevice, Image, ImageState, ImdsSupportValues,
    ResourceType, Snapshot, TpmSupportValues,
};

use super::error::Ec2Error;
use super::{Ec2, tags};
use crate::ledger::{Due, Undo};
use crate::manifest::Arch;
use crate::plan::BakePlan;
use crate::target::{Base, Candidate, Cx, Finished, Machine, TargetError};

/// How long a stop may take; large machines are slow to end.
const STOP: Duration = Duration::from_secs(20 * 60);

impl Ec2 {
    /// Stops the builder, makes an image of it and waits until that is available.
    pub(super) async fn make_candidate(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &Cx<'_>,
    ) -> Result<Candidate, TargetError> {
        self.stop(&builder.id, cx).await?;
        let (region, run) = (self.region.clone(), plan.run.clone());
        let name = self.first_name(plan);
        // The snapshots go after the image that uses them, so their debt is the older one.
        let snapshots = Undo::DeleteSnapshots {
            region: region.clone(),
            run: run.clone(),
        };
        let snapshots = cx.ledger.owe(Due::OnFailure, snapshots)?;
        let due = if self.keeps_first_image() {
            Due::OnFailure
        } else {
            Due::Always
        };
        let debt = cx.ledger.owe(
            due,
            Undo::DeregisterImage {
                region,
                run,
                name: name.clone(),
            },
        )?;
        let id = match self.create_image(plan, &builder.id, &name).await {
            Ok(id) => id,
            Err(error) if error.code() == Some("InvalidAMIName.Duplicate") => {
                let found = self.find_image(&plan.run, &name).await?;
                found.and_then(|i| i.image_id).ok_or(error)?
            }
            Err(error) => {
                if error.is_refusal() {
                    cx.ledger.settle(debt)?;
                    cx.ledger.settle(snapshots)?;
                }
                return Err(self.explain(error).await);
            }
        };
        cx.ledger.learn(debt, &id)?;
        let image = self.wait_until_available(plan, &id, cx).await?;
        for snapshot in snapshots_of(&image) {
            cx.ledger.learn(snapshots, &snapshot)?;
        }
        let base = Base {
            id: id.clone(),
            name,
            arch: plan.arch,
        };
        Ok(Candidate { id, base })
    }

    async fn stop(&self, id: &str, cx: &Cx<'_>) -> Result<(), TargetError> {
        let request = self.ec2.stop_instances().instance_ids(id);
        request
            .send()
            .await
            .map_err(|e| self.refused("StopInstances", e))?;
        let started = tokio::time::Instant::now();
        loop {
            let found = self.instance(id).await?;
            let state = found
                .as_ref()
                .and_then(|i| i.state())
                .and_then(|s| s.name())
                .map_or("unknown", |n| n.as_str())
                .to_owned();
            match state.as_str() {
                "stopped" => return Ok(()),
                "terminated" | "shutting-down" => {
                    let what = id.to_owned();
                    return Err(Ec2Error::DeadEnd {
                        what,
                        state,
                        wanted: "stopped",
                        reason: None,
                    }
                    .into());
                }
                _ if started.elapsed() > STOP => {
                    let what = id.to_owned();
                    return Err(Ec2Error::TooSlow {
                        what,
                        wanted: "stopped",
                        after: STOP,
                    }
                    .into());
                }
                _ => cx.phase.progress(format!("{id} is {state}"), None),
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    async fn create_image(
        &self,
        plan: &BakePlan,
        instance_id: &str,
        name: &str,
    ) -> Result<String, Ec2Error> {
        let request = self
            .ec2
            .create_image()
            .instance_id(instance_id)
            .name(name)
            .set_description(plan.image.description.clone())
            .tag_specifications(tags::specification(
                ResourceType::Image,
                &tags::image(plan, "candidate"),
            ))
            .tag_specifications(tags::specification(
                ResourceType::Snapshot,
                &tags::image(plan, "snapshot"),
            ));
        let answer = request
            .send()
            .await
            .map_err(|e| self.refused("CreateImage", e))?;
        Ok(answer.image_id.unwrap_or_default())
    }

    async fn wait_until_available(
        &self,
        plan: &BakePlan,
        id: &str,
        cx: &Cx<'_>,
    ) -> Result<Image, TargetError> {
        let limit = plan.builder.timeouts.image;
        let started = tokio::time::Instant::now();
        loop {
            let found = self
                .images(vec![tags::filter("image-id", [id])])
                .await?
                .into_iter()
                .next();
            let state = found.as_ref().and_then(Image::state).cloned();
            match (found, state) {
                (Some(image), Some(ImageState::Available)) => return Ok(image),
                (
                    Some(image),
                    Some(
                        ImageState::Failed
                        | ImageState::Error
                        | ImageState::Invalid
                        | ImageState::Deregistered,
                    ),
                ) => {
                    let state = image
                        .state()
                        .map_or("failed", ImageState::as_str)
                        .to_owned();
                    let reason = image
                        .state_reason()
                        .and_then(|r| r.message())
                        .map(str::to_owned);
                    return Err(Ec2Error::DeadEnd {
                        what: id.to_owned(),
                        state,
                        wanted: "available",
                        reason,
                    }
                    .into());
                }
                _ => {
                    let percent = self.snapshot_progress(plan).await;
                    cx.phase.progress(format!("{id} is pending"), percent);
                }
            }
            if started.elapsed() > limit {
                return Err(Ec2Error::TooSlow {
                    what: id.to_owned(),
                    wanted: "available",
                    after: limit,
                }
                .into());
            }
            // Two minutes in, the snapshot is the slow kind.
            let slow = started.elapsed() > Duration::from_secs(120);
            tokio::time::sleep(if slow { self.poll * 4 } else { self.poll }).await;
        }
    }

    /// Returns how far the slowest of the run's snapshots is. Not knowing is no failure.
    async fn snapshot_progress(&self, plan: &BakePlan) -> Option<u8> {
        let snapshots = self.snapshots(&plan.run).await.ok()?;
        let progress = |s: &Snapshot| {
            s.progress()
                .and_then(|p| p.trim_end_matches('%').parse().ok())
        };
        snapshots.iter().filter_map(progress).min()
    }

    pub(super) async fn images(
        &self,
        filters: Vec<aws_sdk_ec2::types::Filter>,
    ) -> Result<Vec<Image>, Ec2Error> {
        let answer = self
            .ec2
            .describe_images()
            .owners("self")
            .set_filters(Some(filters))
            .send()
            .await;
        Ok(answer
            .map_err(|e| self.refused("DescribeImages", e))?
            .images
            .unwrap_or_default())
    }

    pub(super) async fn snapshots(
        &self,
        run: &crate::run::RunId,
    ) -> Result<Vec<Snapshot>, Ec2Error> {
        let request = self
            .ec2
            .describe_snapshots()
            .owner_ids("self")
            .filters(tags::of_run(run));
        let answer = request
            .send()
            .await
            .map_err(|e| self.refused("DescribeSnapshots", e))?;
        Ok(answer.snapshots.unwrap_or_default())
    }

    pub(super) async fn find_image(
        &self,
        run: &crate::run::RunId,
        name: &str,
    ) -> Result<Option<Image>, Ec2Error> {
        let found = self
            .images(vec![tags::of_run(run), tags::filter("name", [name])])
            .await?;
        Ok(found.into_iter().next())
    }

    /// Registers the candidate's snapshots under the final name, then lets the candidate go.
    pub(super) async fn release(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &Cx<'_>,
    ) -> Result<Finished, TargetError> {
        let name = plan.image.name.clone();
        let id = if self.keeps_first_image() {
            candidate.id.clone()
        } else {
            self.register(plan, candidate, cx).await?
        };
        let mut released = vec![id.clone()];
        released.extend(
            self.snapshots(&plan.run)
                .await?
                .into_iter()
                .filter_map(|s| s.snapshot_id),
        );
        if id != candidate.id {
            self.deregister(&candidate.id).await?;
        }
        let last = [
            (tags::STATE, "released"),
            (tags::EXPIRES, "never"),
            (tags::ROLE, "image"),
        ];
        let last = last
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let request = self
            .ec2
            .create_tags()
            .set_resources(Some(released))
            .set_tags(Some(tags::list(&last)));
        request
            .send()
            .await
            .map_err(|e| self.refused("CreateTags", e))?;
        Ok(Finished { id, name })
    }

    async fn register(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &Cx<'_>,
    ) -> Result<String, TargetError> {
        let image = self.image(&candidate.id).await?;
        let (region, run, name) = (
            self.region.clone(),
            plan.run.clone(),
            plan.image.name.clone(),
        );
        let debt = cx.ledger.owe(
            Due::OnFailure,
            Undo::DeregisterImage {
                region,
                run,
                name: name.clone(),
            },
        )?;
        let request = self
            .ec2
            .register_image()
            .name(&name)
            .set_description(plan.image.description.clone().or(image.description.clone()))
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
            .imds_support(ImdsSupportValues::V20)
            .tag_specifications(tags::specification(
                ResourceType::Image,
                &tags::image(plan, "image"),
            ));
        let id = match request
            .send()
            .await
            .map_err(|e| self.refused("RegisterImage", e))
        {
            Ok(answer) => answer.image_id.unwrap_or_default(),
            Err(error) => match self.find_image(&plan.run, &name).await? {
                // Ours: the first answer was lost.
                Some(image) => image.image_id.unwrap_or_default(),
                None => {
                    if error.is_refusal() {
                        cx.ledger.settle(debt)?;
                    }
                    return Err(self.explain(error).await);
                }
            },
        };
        cx.ledger.learn(debt, &id)?;
        self.wait_until_available(plan, &id, cx).await?;
        Ok(id)
    }

    /// Returns whether CreateImage's image must stay the image: its product codes would be lost.
    fn keeps_first_image(&self) -> bool {
        self.state().keeps_first_image
    }

    fn first_name(&self, plan: &BakePlan) -> String {
        if self.keeps_first_image() {
            plan.image.name.clone()
        } else {
            tags::candidate_name(&plan.run)
        }
    }
}

/// Returns whether a source's products or billing would be lost by RegisterImage.
pub(super) fn has_products(image: &Image) -> bool {
    let billed = image
        .usage_operation()
        .is_some_and(|operation| operation != "RunInstances");
    !image.product_codes().is_empty() || billed
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

/// Returns the ids of an image's snapshots.
pub(super) fn snapshots_of(image: &Image) -> Vec<String> {
    let disks = image.block_device_mappings().iter();
    disks.filter_map(|m| m.ebs()?.snapshot_id.clone()).collect()
}

/// Returns the base a source image is.
pub(super) fn base(image: &Image, arch: Arch) -> Base {
    Base {
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        arch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::ProductCode;

    #[test]
    fn an_image_with_products_keeps_its_first_image() {
        assert!(!has_products(
            &Image::builder().usage_operation("RunInstances").build()
        ));
        assert!(has_products(
            &Image::builder()
                .usage_operation("RunInstances:0g00")
                .build()
        ));
        assert!(has_products(
            &Image::builder()
                .product_codes(ProductCode::builder().build())
                .build()
        ));
    }
}
