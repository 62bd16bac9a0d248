//! Replacing an image by its name (`image.replace`). Names are unique in a region, so the old image goes
//! before the new one has its name.
//!
//! Before that its snapshots are registered a second time, under a name of the run's: the *spare* holds all
//! that the old image is registered with again, where the new one does not come to be. It is a debt in the
//! ledger; and since whoever can write tags can write neither its name nor its description, any `reap` pays it.

use aws_sdk_ec2::operation::register_image::builders::RegisterImageFluentBuilder;
use aws_sdk_ec2::types::{Image, ImageState, ResourceType};

use super::client::Replaced;
use super::debts::Removal;
use super::error::Ec2Error;
use super::image::snapshots_of;
use super::ours::is_ours;
use super::publish::KEPT;
use super::release::mappings;
use super::{Ec2, tags};
use crate::ledger::{DebtId, Due};
use crate::plan::BakePlan;
use crate::run::RunId;
use crate::targets::{PhaseContext, TargetError};

/// EC2 takes so many tags, with keys of so many characters.
const MOST_TAGS: usize = 50;
const LONGEST_KEY: usize = 128;

impl Ec2 {
    /// Returns the image that has the plan's name here, if there is one and it may make way.
    pub(super) async fn to_be_replaced(
        &self,
        plan: &BakePlan,
    ) -> Result<Option<Image>, TargetError> {
        let name = plan.image.name.as_str();
        let found = self.images(vec![tags::filter("name", [name])]).await?;
        let Some(old) = found.into_iter().next() else {
            return Ok(None);
        };
        self.may_make_way(&old, plan).await?;
        Ok(Some(old))
    }

    /// Looks whether an image that has the plan's name here may be replaced.
    pub(super) async fn may_make_way(
        &self,
        old: &Image,
        plan: &BakePlan,
    ) -> Result<(), TargetError> {
        let name = plan.image.name.as_str();
        let id = old.image_id().unwrap_or_default();
        if let Some(why) = why_it_stays(old, plan) {
            let message = format!("{id} in {} has the name {name} and {why}", self.region);
            return Err(TargetError::manifest(message)
                .with_hint("give the image another name: {{ build_time }} makes each its own"));
        }
        let used = self.used_by(id).await?;
        if used.is_empty() {
            return Ok(());
        }
        let message = format!(
            "{id} in {} has the name {name} and is used by {}",
            self.region,
            used.join(", ")
        );
        Err(TargetError::new(message).with_hint(
            "what is used is not replaced: its id would be gone. An SSM parameter (image.ssm_parameter) is the stable handle, and needs no name that stays",
        ))
    }

    /// Has the image that has the plan's name make way, if there is one.
    pub(super) async fn make_way(
        &self,
        plan: &BakePlan,
        cx: &PhaseContext<'_>,
    ) -> Result<Option<Replaced>, TargetError> {
        if !plan.image.replace {
            return Ok(None);
        }
        let Some(old) = self.to_be_replaced(plan).await? else {
            return Ok(None);
        };
        let id = old.image_id().unwrap_or_default().to_owned();
        let shared = self.launch_permissions(&id).await.unwrap_or_default();
        let (debt, spare) = match self.register_spare(plan, &old, cx).await {
            Ok(made) => made,
            Err(error) => return Err(self.explain(error).await),
        };
        let replaced = Replaced {
            old: id.clone(),
            spare,
            debt,
        };
        self.state().replaced = Some(replaced.clone());
        let snapshots = snapshots_of(&old).join(", ");
        let shared: Vec<String> = shared.iter().map(ToString::to_string).collect();
        let shared = match shared.is_empty() {
            true => String::new(),
            false => format!(" (it was with {})", shared.join(", ")),
        };
        cx.phase.warn(format!(
            "{id} in {} makes way for another image of the name {}; its snapshots stay: {snapshots}. Should this fail, it is registered again: with another id, shared with nobody{shared}, neither deprecated nor protected",
            self.region, plan.image.name
        ));
        self.patiently("deregister", || self.deregister(&id))
            .await?;
        Ok(Some(replaced))
    }

    async fn register_spare(
        &self,
        plan: &BakePlan,
        old: &Image,
        cx: &PhaseContext<'_>,
    ) -> Result<(DebtId, String), Ec2Error> {
        let (run, name) = (&plan.run, &plan.image.name);
        let spare = tags::spare_name(run, name);
        let mut marks = tags::unreleased(plan, "spare", self.lifetime());
        marks.extend(tags::put_by(old));
        let described = tags::spare_description(old.description().unwrap_or_default(), run);
        let uefi_data = self.uefi_data(old).await?;
        let request = self
            .registered_as(old, uefi_data)
            .name(&spare)
            .description(described)
            .tag_specifications(tags::specification(ResourceType::Image, &marks));
        let (ec2, snapshots) = (self.clone(), snapshots_of(old));
        let call = Box::pin(async move {
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("RegisterImage", e))
            };
            let asking = || ec2.once_known(&snapshots, asking);
            ec2.persist(asking).await.map(|a| a.image_id)
        });
        let restore = Removal::RestoreImage {
            name: name.clone(),
            spare: spare.clone(),
        };
        let debts = [(Due::Always, self.undoing(run, restore).into())];
        let made = self.new_image(plan, &spare, debts, call, cx).await;
        let ([debt], id) = made?;
        Ok((debt, id))
    }

    /// Returns a request for an image that is as another is registered.
    fn registered_as(
        &self,
        image: &Image,
        uefi_data: Option<String>,
    ) -> RegisterImageFluentBuilder {
        self.ec2
            .register_image()
            .set_architecture(image.architecture.clone())
            .set_root_device_name(image.root_device_name.clone())
            .set_block_device_mappings(Some(mappings(image, &[])))
            .virtualization_type("hvm")
            .set_ena_support(image.ena_support)
            .set_sriov_net_support(image.sriov_net_support.clone())
            .set_boot_mode(image.boot_mode.clone())
            .set_tpm_support(image.tpm_support.clone())
            .set_imds_support(image.imds_support.clone())
            .set_uefi_data(uefi_data)
    }

    /// Returns whether nobody has a name but an image that made way: EC2 may not have heard of that yet.
    pub(super) async fn is_left_by(&self, name: &str, old: &str) -> bool {
        let named = self.images(vec![tags::filter("name", [name])]).await;
        named.is_ok_and(|named| named.iter().all(|image| image.image_id() == Some(old)))
    }

    /// Returns whether an image has made way for one of this run, and may be listed still.
    pub(super) fn has_made_way(&self, image: &Image) -> bool {
        let state = self.state();
        let old = state
            .replaced
            .as_ref()
            .map(|replaced| replaced.old.as_str());
        old.is_some() && old == image.image_id()
    }

    /// Ends a replacement in this region: the spare goes with what the run owes where the new image is
    /// released, and stays where that waits for its publication: they go together, or the old one comes back.
    pub(super) async fn end_replacement(
        &self,
        is_released: bool,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        if is_released {
            self.state().replaced = None;
            return Ok(());
        }
        self.keep_spare(cx).await
    }

    /// The same for a copy that `run` has made. A spare that an earlier run has kept goes with the release too.
    pub(super) async fn end_replacement_by_copy(
        &self,
        run: &RunId,
        plan: &BakePlan,
        is_released: bool,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        if is_released && self.state().replaced.is_none() {
            self.drop_spare(run, &plan.image.name, cx).await;
        }
        self.end_replacement(is_released, cx).await
    }

    /// Has the spare stay for as long as an image that has passed.
    pub(super) async fn keep_spare(&self, cx: &PhaseContext<'_>) -> Result<(), TargetError> {
        let replaced = self.state().replaced.take();
        let Some(replaced) = replaced else {
            return Ok(());
        };
        self.keep(vec![replaced.spare], cx).await;
        Ok(cx.ledger.settle(replaced.debt)?)
    }

    /// Lets the spare go that was made for an image of `run`, which is released now.
    pub(super) async fn drop_spare(&self, run: &RunId, name: &str, cx: &PhaseContext<'_>) {
        let spare = tags::spare_name(run, name);
        let dropping = async {
            for id in self.find_image(run, &spare).await? {
                self.patiently("deregister", || self.deregister(&id))
                    .await?;
            }
            Ok::<_, TargetError>(())
        };
        if let Err(error) = dropping.await {
            cx.phase.warn(format!(
                "{spare} in {} is no longer needed, and is still there until it expires: {}",
                self.region,
                error.on_one_line()
            ));
        }
    }

    /// Registers an image again under its name, if that is free, and lets its spare go. Returns whether
    /// both is done: what the run has there without having released it goes first.
    pub(super) async fn restore(
        &self,
        run: &RunId,
        name: &str,
        spare: &str,
    ) -> Result<bool, Ec2Error> {
        let found = self.images(vec![tags::filter("image-id", [spare])]).await?;
        let is_there = |image: &&Image| image.state() != Some(&ImageState::Deregistered);
        let Some(kept) = found.iter().find(is_there) else {
            return Ok(!self.is_young(spare));
        };
        let named = self.images(vec![tags::filter("name", [name])]).await?;
        if let Some(holder) = named.first() {
            let state = tags::value(holder.tags(), tags::STATE);
            let is_released = state == Some(tags::RELEASED);
            if is_released || !is_ours(holder, run) {
                return self.deregister(spare).await;
            }
            if state != Some(tags::PASSED) {
                self.deregister(holder.image_id().unwrap_or_default())
                    .await?;
            }
            return Ok(false);
        }
        let uefi_data = self.uefi_data(kept).await?;
        let request = self
            .registered_as(kept, uefi_data)
            .name(name)
            .description(tags::without_spare(
                kept.description().unwrap_or_default(),
                run,
            ))
            .tag_specifications(tags::specification(
                ResourceType::Image,
                &tags::taken_out(kept.tags()),
            ));
        let answer = request.send().await;
        match answer.map_err(|e| self.refused("RegisterImage", e)) {
            Ok(_) => self.deregister(spare).await,
            // By an answer that was lost, or not everywhere yet.
            Err(error) if error.code() == Some("InvalidAMIName.Duplicate") => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns what keeps an image from making way, by itself.
fn why_it_stays(old: &Image, plan: &BakePlan) -> Option<String> {
    let described = old.description().unwrap_or_default();
    let state = tags::value(old.tags(), tags::STATE);
    let of_manifest = tags::value(old.tags(), tags::MANIFEST) == Some(plan.name.as_str());
    let is_ours = tags::content_of(described).is_some();
    if let Some(run) = tags::run_in(described).filter(|_| state == Some(tags::PASSED)) {
        return Some(format!(
            "has passed and is not published: `amibake resume` publishes it, and `amibake reap --run {run}` removes it when it expires"
        ));
    }
    if !(of_manifest && is_ours && state == Some(tags::RELEASED)) {
        return Some(
            "is no image that this manifest has released, so that it is not replaced".to_owned(),
        );
    }
    if old.state() != Some(&ImageState::Available) {
        let state = old.state().map_or("in no state", ImageState::as_str);
        return Some(format!("is {state}"));
    }
    let protected = old.deregistration_protection();
    if protected.is_some_and(|said| said.starts_with("enabled") || said.contains("cooldown")) {
        return Some("is protected against deregistration".to_owned());
    }
    does_not_fit(old, plan)
}

/// Returns why a spare could not hold all that an image has.
fn does_not_fit(old: &Image, plan: &BakePlan) -> Option<String> {
    let described = old.description().unwrap_or_default();
    let spare = tags::spare_description(described, &plan.run);
    if spare.chars().count() > tags::LONGEST_DESCRIPTION {
        return Some("has a description that is too long to be kept meanwhile".to_owned());
    }
    let kept = tags::put_by(old);
    let all = kept.len() + tags::unreleased(plan, "spare", KEPT).len();
    let is_long = |key: &String| key.chars().count() > LONGEST_KEY;
    (all > MOST_TAGS || kept.keys().any(is_long))
        .then(|| "has more tags, or longer ones, than can be kept meanwhile".to_owned())
}
