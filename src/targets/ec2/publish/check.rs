//! What would keep an image from being published, looked at before there is a machine.

use aws_sdk_ec2::types::Image;
use futures_util::future::join_all;

use super::outward::IMAGE;
use super::seen::{ParameterSeen, RegionSeen};
use super::wish::Wish;
use crate::identity::Content;
use crate::plan::BakePlan;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::reuse::has_passed_as;
use crate::targets::ec2::{Ec2, tags};
use crate::targets::{Fault, PhaseContext, TargetError};

/// What has the name in a region that an image is to have.
#[derive(Debug)]
pub(in crate::targets::ec2) enum NameHolder {
    Nobody,
    Ours(Image),
    /// What the manifest says makes way, if it may.
    Old(Image),
    /// Another one, and that so it cannot be.
    Other(TargetError),
}

/// The image that is to be replaced in a region, and what else the region has.
pub(super) type LookedBefore = (Option<Image>, RegionSeen);

/// Returns the region that was meant.
fn nearest<'r>(name: &str, known: impl Iterator<Item = &'r String>) -> Option<&'r str> {
    let distance = |known: &String| strsim::damerau_levenshtein(name, known);
    let nearest = known.min_by_key(|known| distance(known))?;
    (distance(nearest) <= 2).then_some(nearest.as_str())
}

/// Returns what is wrong with sharing what an account encrypts by itself, in words.
pub(in crate::targets::ec2) fn unusable_by_others(region: &str) -> String {
    format!(
        "the account encrypts volumes by default in {region}, by a key that others may not use, and the manifest shares the image: name a customer's key in image.encrypt.kms_key"
    )
}

impl Ec2 {
    /// Returns whether the account encrypts here what nobody asked it to.
    pub(in crate::targets::ec2) async fn encrypts_by_default(&self) -> Result<bool, Ec2Error> {
        let answer = self.ec2.get_ebs_encryption_by_default().send().await;
        let refused = |e| self.refused("GetEbsEncryptionByDefault", e);
        let answer = answer.map_err(refused)?;
        Ok(answer.ebs_encryption_by_default == Some(true))
    }

    /// Looks in all regions. One that does not answer is told: it may do so when its time comes.
    pub(in crate::targets::ec2) async fn check_publication(
        &self,
        plan: &BakePlan,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        let wish = Wish::of(plan, &self.region);
        for (region, checked) in self.look_before(plan, &wish).await {
            match checked {
                Ok((None, _)) => {}
                // Otherwise it would be found out when the image has passed.
                Ok((Some(taken), _)) => self.there(&region).may_make_way(&taken, plan).await?,
                Err(error) if error.fault == Fault::Manifest || region == self.region => {
                    return Err(error);
                }
                Err(error) => cx.phase.warn(format!(
                    "{region} could not be looked at before the build: {}",
                    error.on_one_line()
                )),
            }
        }
        Ok(())
    }

    /// Looks in each region at the parameter and the launch template that are to have the image's id; in none, if the
    /// manifest names neither.
    pub(in crate::targets::ec2) async fn check_places(
        &self,
        plan: &BakePlan,
    ) -> Vec<(String, Result<(), TargetError>)> {
        let wish = Wish::of(plan, &self.region);
        let has_place =
            |region: &&str| wish.parameter.is_some() || wish.template_in(region).is_some();
        let looking = wish.regions().filter(has_place).map(async |region| {
            let seen = self.there(region).look_here(&wish, None).await;
            (region.to_owned(), seen.map(drop))
        });
        join_all(looking).await
    }

    /// Looks in all regions at once.
    pub(super) async fn look_before(
        &self,
        plan: &BakePlan,
        wish: &Wish,
    ) -> Vec<(String, Result<LookedBefore, TargetError>)> {
        let looking = wish.regions();
        let looking = looking.map(|region| self.check_region(plan, wish, region));
        join_all(looking).await
    }

    async fn check_region(
        &self,
        plan: &BakePlan,
        wish: &Wish,
        region: &str,
    ) -> (String, Result<LookedBefore, TargetError>) {
        let (there, content) = (self.there(region), self.state().content.clone());
        let checked = async {
            let taken = there.check_name(plan, content.as_ref(), self).await?;
            there.check_encryption(wish).await?;
            let seen = there.look_here(wish, None).await?;
            Ok((taken, seen))
        };
        (region.to_owned(), checked.await)
    }

    /// One of this content that has passed is gone on with. Returns the image that is to be replaced.
    async fn check_name(
        &self,
        plan: &BakePlan,
        content: Option<&Content>,
        home: &Self,
    ) -> Result<Option<Image>, TargetError> {
        let is_passed =
            |image: &Image| content.is_some_and(|content| has_passed_as(image, &content.hash));
        let holder = match self.who_has_name(plan, is_passed).await {
            Ok(holder) => holder,
            Err(error) => return Err(home.refused_by(&self.region, error).await),
        };
        match holder {
            NameHolder::Nobody | NameHolder::Ours(_) => Ok(None),
            NameHolder::Old(old) => Ok(Some(old)),
            NameHolder::Other(taken) => Err(taken),
        }
    }

    /// Returns what has the name that an image is to have. Names of an account's images are unique in a region;
    /// `is_ours` tells what a build goes on with.
    pub(in crate::targets::ec2) async fn who_has_name(
        &self,
        plan: &BakePlan,
        is_ours: impl Fn(&Image) -> bool,
    ) -> Result<NameHolder, Ec2Error> {
        let name = plan.image.name.as_str();
        let named = self.images(vec![tags::filter("name", [name])]).await?;
        let (mut ours, others): (Vec<_>, Vec<_>) = named.into_iter().partition(is_ours);
        let Some(other) = others.into_iter().next() else {
            return Ok(ours.pop().map_or(NameHolder::Nobody, NameHolder::Ours));
        };
        if plan.image.replace {
            return Ok(NameHolder::Old(other));
        }
        let id = other.image_id().unwrap_or_default();
        let message = format!("{id} in {} has the name {name} already", self.region);
        let taken = TargetError::manifest(message);
        Ok(NameHolder::Other(
            taken.with_hint("put {{ build_time }} into image.name"),
        ))
    }

    /// Returns why another region did not answer this one's account: it may not be enabled, or be no region. Which
    /// there are is asked here, where the credentials were good.
    pub(in crate::targets::ec2) async fn refused_by(
        &self,
        region: &str,
        error: Ec2Error,
    ) -> TargetError {
        let knows_nobody = error.code() == Some("AuthFailure");
        if region == self.region || !(knows_nobody || error.is_silence()) {
            return error.into();
        }
        let is_enabled = match self.all_regions().await {
            Ok(all) if !all.contains_key(region) => {
                let near = nearest(region, all.keys()).map(|name| format!("did you mean {name}? "));
                let near = near.unwrap_or_default();
                return TargetError::manifest(format!("there is no region {region}"))
                    .because(TargetError::from(error))
                    .with_hint(format!("{near}image.regions names it"));
            }
            Ok(all) => all.get(region) == Some(&true),
            // Who may not ask goes by what the region said.
            Err(unasked) => !(knows_nobody && unasked.is_denied()),
        };
        if is_enabled {
            return error.into();
        }
        TargetError::manifest(format!(
            "the region {region} is not enabled for this account"
        ))
        .because(TargetError::from(error))
        .with_hint("enable it in the account's settings, or take it out of image.regions")
    }

    /// Where this cannot be asked, sharing itself tells.
    async fn check_encryption(&self, wish: &Wish) -> Result<(), TargetError> {
        let is_shared = wish.share.as_ref().is_some_and(|s| !s.with.is_empty());
        if !is_shared || wish.encrypt.is_on() {
            return Ok(());
        }
        match self.encrypts_by_default().await {
            Ok(true) => Err(TargetError::manifest(unusable_by_others(&self.region))),
            Ok(false) | Err(_) => Ok(()),
        }
    }

    /// What a parameter is cannot be changed.
    pub(super) fn check_type(&self, name: &str, now: &ParameterSeen) -> Result<(), TargetError> {
        if now.data_type == IMAGE {
            return Ok(());
        }
        let message = format!(
            "the parameter {name} in {} is of the data type {}, not {IMAGE}",
            self.region, now.data_type
        );
        Err(TargetError::manifest(message)
            .with_hint("delete it, or name another in image.ssm_parameter"))
    }
}
