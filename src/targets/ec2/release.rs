//! From the candidate that has passed to the released image, and back where that fails.

use aws_sdk_ec2::operation::modify_image_attribute::builders::ModifyImageAttributeFluentBuilder;
use aws_sdk_ec2::operation::register_image::builders::RegisterImageFluentBuilder;
use aws_sdk_ec2::types::{
    AttributeValue, BlockDeviceMapping, BootModeValues, EbsBlockDevice, Image, ImageState,
    ImdsSupportValues, ResourceType, TpmSupportValues,
};

use super::error::Ec2Error;
use super::image::snapshots_of;
use super::wait::LOOK;
use super::{Ec2, Stage, publish, tags};
use crate::clock::{self, Instant};
use crate::exit::Leftover;
use crate::ledger::{DebtId, Due};
use crate::manifest::{BootMode, ImdsSupport, TpmSupport, Volume};
use crate::plan::BakePlan;
use crate::targets::{
    Candidate, LIFETIME, PhaseContext, Published, Publisher, TargetError, Unfinished,
};

impl Ec2 {
    /// Registers the candidate's snapshots under the final name, lets the candidate go, and publishes
    /// the image: in the end it is released by its tags, which keep `reap` away, and then by its
    /// description, so that nobody who can write tags makes `reap` come back.
    pub(super) async fn release(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        self.recheck_lock(cx).await;
        let image = match self.keeps_first_image() {
            true => self.pass(plan, candidate).await?,
            false => match self.register(plan, &candidate.id, cx).await {
                Ok((_, image)) => image,
                Err(error) => return self.keep_candidate(plan, candidate, error, cx).await,
            },
        };
        // What does not go now is unwound: the image is done, whatever becomes of its candidate.
        if image.image_id() != Some(&candidate.id)
            && matches!(self.deregister(&candidate.id).await, Ok(true))
            && let Some(debt) = self.state().candidate.take()
        {
            cx.ledger.settle(debt)?;
        }
        if self.keeps_first_image() {
            let debt = self.state().candidate.take();
            self.state().product.extend(debt);
        }
        if self.has_copies(plan) {
            self.stays(plan, &image, cx).await?;
        }
        let published = self.publish_new(plan, &image, cx).await;
        self.end_publication(plan, published, cx).await
    }

    /// Returns whether a plan wants its image in another region too.
    pub(super) fn has_copies(&self, plan: &BakePlan) -> bool {
        let mut regions = plan.image.publication.regions.iter();
        regions.any(|region| *region != self.region)
    }

    /// Lets the spare of an image that was replaced go where the new one is released, or has it stay.
    async fn end_publication(
        &self,
        plan: &BakePlan,
        published: Result<Published, TargetError>,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        let is_released = matches!(&published, Ok(published) if published.image.is_some());
        // While copies were made it was kept.
        if is_released && plan.image.replace && self.has_copies(plan) {
            self.drop_spare(&plan.run, &plan.image.name, cx).await;
        }
        self.end_replacement(is_released, cx).await?;
        published
    }

    /// Copies take their time: what has passed is not lost with them, whatever ends the build; nor is
    /// the spare of the image that it replaces.
    async fn stays(
        &self,
        plan: &BakePlan,
        image: &Image,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        let id = image.image_id().unwrap_or_default();
        let mut ids = snapshots_of(image);
        ids.push(id.to_owned());
        self.keep(ids, cx).await;
        let product = std::mem::take(&mut self.state().product);
        for debt in product {
            cx.ledger.settle(debt)?;
        }
        self.keep_spare(cx).await?;
        let stays = self.goes_on_with(plan, id, &self.region, Some(id), false);
        self.state().stays = Some(stays);
        Ok(())
    }

    /// Publishes an image of ours that has passed, or any other of this account's, as a plan wants it.
    /// What was not even registered is registered first.
    pub(crate) async fn go_on(
        &self,
        plan: &BakePlan,
        id: &str,
        publisher: Publisher,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        self.state().until = Some(cx.until);
        let image = self.own_image(id).await?;
        // It has answered: from now on a call that gets no answer is made again.
        self.state().stage = Stage::Baking;
        let described = image.description().unwrap_or_default();
        let is_candidate = tags::is_candidate_name(image.name().unwrap_or_default());
        // Whoever can write tags can write neither its name nor its description.
        let passed_in = tags::run_in(described);
        if tags::is_untested(described) || (is_candidate && passed_in.is_none()) {
            return Err(
                TargetError::manifest(format!("{id} has not passed its gate"))
                    .with_hint("what failed or was cut off is built again"),
            );
        }
        let began = match publisher {
            Publisher::Build => Some(plan.run.began()),
            Publisher::Resume => publish::built(&image),
            Publisher::Publish => None,
        };
        let plan = publish::built_as(plan, &image);
        if !is_candidate {
            let published = self.publish_old(&plan, &image, began, cx).await?;
            if let (Some(run), Some(finished)) = (&passed_in, &published.image)
                && plan.image.replace
            {
                self.drop_spare(run, &finished.name, cx).await;
            }
            return Ok(published);
        }
        let (debt, registered) = self.register(&plan, id, cx).await?;
        // It has passed: from here on it stays, whatever comes.
        let ids = vec![registered.image_id().unwrap_or_default().to_owned()];
        self.mark(ids, tags::PASSED, publish::KEPT).await?;
        if let Some(debt) = debt {
            cx.ledger.settle(debt)?;
        }
        if let Err(error) = self.deregister(id).await {
            let error = TargetError::from(error).on_one_line();
            cx.phase.warn(format!(
                "{id} is no longer needed, and is still there: {error}"
            ));
        }
        if self.has_copies(&plan) {
            self.keep_spare(cx).await?;
        }
        let published = self.publish_old(&plan, &registered, began, cx).await;
        self.end_publication(&plan, published, cx).await
    }

    /// Returns an image of this account's that is available.
    async fn own_image(&self, id: &str) -> Result<Image, TargetError> {
        let found = self.images(vec![tags::filter("image-id", [id])]).await?;
        let Some(image) = found.into_iter().next() else {
            return Err(TargetError::manifest(format!(
                "this account has no image {id} in {}",
                self.region
            ))
            .with_hint("`--region` names another region"));
        };
        match image.state() {
            Some(ImageState::Available) => Ok(image),
            state => Err(TargetError::new(format!(
                "{id} is {}",
                state.map_or("in no known state", ImageState::as_str)
            ))),
        }
    }

    /// The image could not be registered under its name: the candidate, which has passed, stays.
    async fn keep_candidate(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        error: TargetError,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        let Ok(image) = self.pass(plan, candidate).await else {
            return Err(error);
        };
        let mut ids = vec![candidate.id.clone()];
        ids.extend(snapshots_of(&image));
        if self.mark(ids, tags::PASSED, publish::KEPT).await.is_err() {
            return Err(error);
        }
        if let Some(debt) = self.state().candidate.take() {
            cx.ledger.settle(debt)?;
        }
        let kept = Leftover {
            what: format!(
                "image {} in {}, which has passed and is not published",
                candidate.id, self.region
            ),
            remove_with: publish::resume(&candidate.id, &self.region, plan),
        };
        Ok(Published {
            image: None,
            unfinished: Some(Unfinished {
                error,
                kept: vec![kept],
            }),
        })
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
        let passed = tags::tested_description(plan, &self.content());
        if let Err(error) = self.set_description(&candidate.id, &passed).await {
            return Err(self.explain(error).await);
        }
        let image = self.image(&candidate.id).await?;
        let wants_v2 = plan.image.attributes.imds_support == ImdsSupport::V2;
        if wants_v2 && self.keeps_first_image() && image.imds_support.is_none() {
            self.require_imds_v2(&candidate.id).await?;
        }
        Ok(image)
    }

    /// CreateImage cannot say it, and so its image is told afterwards.
    async fn require_imds_v2(&self, id: &str) -> Result<(), Ec2Error> {
        let value = AttributeValue::builder().value("v2.0").build();
        self.modify_image(id, |request| request.imds_support(value))
            .await
    }

    /// Gives an image another description.
    pub(super) async fn set_description(
        &self,
        id: &str,
        description: &str,
    ) -> Result<(), Ec2Error> {
        let value = AttributeValue::builder().value(description).build();
        self.modify_image(id, |request| request.description(value))
            .await
    }

    /// Changes an attribute of an image, which may be so new that not all of EC2 knows it.
    pub(super) async fn modify_image(
        &self,
        id: &str,
        change: impl FnOnce(ModifyImageAttributeFluentBuilder) -> ModifyImageAttributeFluentBuilder,
    ) -> Result<(), Ec2Error> {
        let request = change(self.ec2.modify_image_attribute().image_id(id));
        let asking = || async {
            let answer = request.clone().send().await;
            let answer = answer.map_err(|e| self.refused("ModifyImageAttribute", e));
            answer.map(drop)
        };
        let new = [id.to_owned()];
        self.persist(|| self.once_known(&new, asking)).await
    }

    /// Registers the snapshots of an image that has passed under the plan's name. An answer that was
    /// lost is no failure where the image is there.
    async fn register(
        &self,
        plan: &BakePlan,
        from: &str,
        cx: &PhaseContext<'_>,
    ) -> Result<(Option<DebtId>, Image), TargetError> {
        let candidate = self.image(from).await?;
        let request = match self.to_be_registered(plan, &candidate).await {
            Ok(request) => request,
            Err(error) => return Err(self.explain(error).await),
        };
        let made_way = self.make_way(plan, cx).await?;
        let (ec2, name) = (self.clone(), plan.image.name.clone());
        let snapshots = snapshots_of(&candidate);
        let call = Box::pin(async move {
            let since = Instant::now();
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("RegisterImage", e))
            };
            let asking = || ec2.once_known(&snapshots, asking);
            loop {
                match (ec2.persist(asking).await, &made_way) {
                    (Err(error), Some(replaced))
                        if error.code() == Some("InvalidAMIName.Duplicate")
                            && since.elapsed() < LOOK
                            && ec2.is_left_by(&name, &replaced.old).await =>
                    {
                        clock::sleep(ec2.poll).await;
                    }
                    (answer, _) => return answer.map(|a| a.image_id),
                }
            }
        });
        let name = &plan.image.name;
        let debts = [(Due::OnFailure, self.deregistering(plan, name))];
        let (debt, id) = match self.new_image(plan, name, debts, call, cx).await {
            Ok(([debt], id)) => {
                self.state().product.push(debt);
                (Some(debt), id)
            }
            Err(error) if error.is_refusal() => return Err(self.explain(error).await),
            Err(error) => match self.look(|| self.find_image(&plan.run, name)).await {
                Ok(found) if !found.is_empty() => (None, found.concat()),
                _ => return Err(self.explain(error).await),
            },
        };
        match self.wait_until_available(plan, &id, cx).await {
            Ok(image) => Ok((debt, image)),
            Err(error) => {
                // What has passed gets its name when it is gone on with: nothing of this run has it then.
                self.state().product.retain(|owed| Some(*owed) != debt);
                debt.iter().for_each(|debt| cx.ledger.fall_due(*debt));
                Err(error)
            }
        }
    }

    async fn to_be_registered(
        &self,
        plan: &BakePlan,
        candidate: &Image,
    ) -> Result<RegisterImageFluentBuilder, Ec2Error> {
        let stated = &plan.image.attributes;
        let uefi_data = match &stated.uefi_data {
            Some(data) => Some(data.clone()),
            None => self.uefi_data(candidate).await?,
        };
        let boot_mode = stated.boot_mode.map(BootMode::as_str);
        let boot_mode = boot_mode.or(candidate.boot_mode.as_ref().map(BootModeValues::as_str));
        let tpm = stated
            .tpm_support
            .map(|TpmSupport::V2| TpmSupportValues::V20);
        let of_candidate = candidate.tpm_support.as_ref();
        let tpm = tpm.or(of_candidate.map(|tpm| TpmSupportValues::from(tpm.as_str())));
        let imds = match stated.imds_support {
            ImdsSupport::V2 => Some(ImdsSupportValues::V20),
            ImdsSupport::AccountDefault => None,
        };
        let described = candidate.description().unwrap_or_default();
        let description = match tags::run_in(described) {
            // It has passed in another run, whose words these are.
            Some(_) => tags::described_by(candidate, &plan.run),
            None => tags::tested_description(plan, &self.content()),
        };
        let mut marks = tags::unreleased(plan, "image", self.lifetime());
        marks.extend(tags::inherited(candidate));
        if let Some(run) = tags::run_in(described) {
            let built = marks.entry(tags::BUILT.to_owned());
            built.or_insert_with(|| run.to_string());
        }
        Ok(self
            .ec2
            .register_image()
            .name(&plan.image.name)
            .description(description)
            .set_architecture(candidate.architecture.clone())
            .set_root_device_name(candidate.root_device_name.clone())
            .set_block_device_mappings(Some(mappings(candidate, &plan.builder.volumes)))
            .virtualization_type("hvm")
            .set_ena_support(stated.ena_support.or(candidate.ena_support))
            .set_sriov_net_support(candidate.sriov_net_support.clone())
            .set_boot_mode(boot_mode.map(BootModeValues::from))
            .set_tpm_support(tpm)
            .set_uefi_data(uefi_data)
            .set_imds_support(imds)
            .tag_specifications(tags::specification(ResourceType::Image, &marks)))
    }
}

/// Returns an image's volumes as RegisterImage takes them, as far as `volumes` does not say otherwise.
/// Encryption is the snapshot's.
pub(super) fn mappings(image: &Image, volumes: &[Volume]) -> Vec<BlockDeviceMapping> {
    let root = image.root_device_name();
    let stated = |device: Option<&str>| {
        volumes
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
