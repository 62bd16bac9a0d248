//! What is set for a whole account and region, and stands in the way of one manifest.

use super::{Check, Preflight};
use crate::manifest::Grant;
use crate::targets::ec2::Ec2;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::permissions::copied_to;
use crate::targets::ec2::publish::unusable_by_others;

impl Preflight<'_> {
    /// Returns what the account's settings mean for this manifest.
    pub(super) async fn account_settings(&self) -> Vec<Check> {
        let encrypt = &self.plan.image.encrypt;
        let mut checks = vec![self.allowed_images().await];
        match encrypt.kms_key_in(&self.ec2.region) {
            Some(key) => checks.extend(self.key(self.ec2, key).await),
            None if encrypt.is_on() => checks.push(self.default_key().await),
            None => checks.push(self.default_encryption(self.ec2).await),
        }
        for region in copied_to(self.plan) {
            let there = self.ec2.in_region(region);
            match encrypt.kms_key_in(region) {
                Some(key) => checks.extend(self.key(&there, key).await),
                None if encrypt.is_on() => {}
                None => checks.push(self.default_encryption(&there).await),
            }
        }
        if let Some(profile) = &self.plan.builder.instance_profile {
            checks.push(self.profile(profile).await);
        }
        let share = self.plan.image.publication.share.as_ref();
        if let Some(share) = share.filter(|share| share.with.contains(&Grant::Everybody)) {
            let elsewhere = copied_to(self.plan);
            let elsewhere = elsewhere.iter().map(|region| self.ec2.in_region(region));
            for ec2 in std::iter::once(self.ec2.clone()).chain(elsewhere) {
                checks.push(self.public_images(&ec2).await);
                if share.snapshots {
                    checks.push(self.public_snapshots(&ec2).await);
                }
            }
        }
        checks
    }

    /// EC2 takes a profile without a role, whose machine then has no credentials.
    async fn profile(&self, name: &str) -> Check {
        let about = "instance profile";
        let asked = self.ec2.iam().get_instance_profile();
        let answer = asked.instance_profile_name(name).send().await;
        let refused = |e| Ec2Error::from_sdk("GetInstanceProfile", &self.ec2.region, e);
        match answer.map_err(refused) {
            Ok(answer) => {
                let profile = answer.instance_profile;
                let role = profile.as_ref().and_then(|p| p.roles().first());
                match role {
                    Some(role) => Check::ok(about, format!("{name} gives {}", role.arn())),
                    None => Check::wrong(about, format!("the instance profile {name} has no role")),
                }
            }
            Err(error) if error.code() == Some("NoSuchEntity") => {
                Check::wrong(about, format!("there is no instance profile {name}"))
            }
            Err(error) => Check::unasked(about, &error),
        }
    }

    /// PEERS2026 2.2 row 27: the account encrypts what the manifest leaves open, by a key that nobody
    /// else may use.
    async fn default_encryption(&self, ec2: &Ec2) -> Check {
        let about = "encryption";
        let is_on = match ec2.encrypts_by_default().await {
            Ok(is_on) => is_on,
            Err(error) => return Check::unasked(about, &error),
        };
        let region = &ec2.region;
        match (is_on, self.plan.image.publication.is_shared()) {
            (true, true) => Check::wrong(about, unusable_by_others(region)),
            (true, false) => Check::ok(about, format!("by the account's default in {region}")),
            (false, _) => Check::ok(about, format!("none in {region}, as the manifest says")),
        }
    }

    async fn public_images(&self, ec2: &Ec2) -> Check {
        let answer = ec2.ec2.get_image_block_public_access_state().send().await;
        let refused = |e| ec2.refused("GetImageBlockPublicAccessState", e);
        let answer = answer.map_err(refused);
        let state = answer.map(|answer| answer.image_block_public_access_state);
        public("image", &ec2.region, state)
    }

    async fn public_snapshots(&self, ec2: &Ec2) -> Check {
        let asked = ec2.ec2.get_snapshot_block_public_access_state();
        let refused = |e| ec2.refused("GetSnapshotBlockPublicAccessState", e);
        let answer = asked.send().await.map_err(refused);
        let state = answer.map(|answer| answer.state.map(|state| state.as_str().to_owned()));
        public("snapshot", &ec2.region, state)
    }

    /// An account may allow images of some owners alone.
    async fn allowed_images(&self) -> Check {
        let about = "allowed AMIs";
        let answer = self.ec2.ec2.get_allowed_images_settings().send().await;
        let refused = |e| self.ec2.refused("GetAllowedImagesSettings", e);
        let state = match answer.map_err(refused) {
            Ok(answer) => answer.state.unwrap_or_default(),
            Err(error) => return Check::unasked(about, &error),
        };
        let id = self.source.image_id().unwrap_or_default();
        let is_out = self.source.image_allowed() == Some(false);
        match (state.as_str(), is_out) {
            ("enabled", true) => Check::failed(
                about,
                format!(
                    "the account's Allowed AMIs do not allow the source {id}: the settings of {} name who may",
                    self.ec2.region
                ),
            ),
            ("audit-mode", true) => Check::warning(
                about,
                format!(
                    "the account's Allowed AMIs, in audit mode, would not allow the source {id}"
                ),
            ),
            _ => Check::ok(about, state),
        }
    }

    /// Where no key is named, volumes have the account's, of which others cannot use the images.
    async fn default_key(&self) -> Check {
        let about = "encryption";
        let answer = self.ec2.ec2.get_ebs_default_kms_key_id().send().await;
        let refused = |e| self.ec2.refused("GetEbsDefaultKmsKeyId", e);
        match answer.map_err(refused) {
            Ok(answer) => {
                let key = answer.kms_key_id.unwrap_or_default();
                Check::ok(about, format!("by the account's default key, {key}"))
            }
            Err(error) => Check::unasked(about, &error),
        }
    }
}

/// Returns whether a kind of thing may become public in a region.
fn public(kind: &str, region: &str, state: Result<Option<String>, Ec2Error>) -> Check {
    let about = "public sharing";
    let state = match state {
        Ok(state) => state.unwrap_or_else(|| "state unknown".to_owned()),
        Err(error) => return Check::unasked(about, &error),
    };
    match state.as_str() {
        "unblocked" => Check::ok(about, format!("of {kind}s not blocked in {region}")),
        state => Check::failed(
            about,
            format!(
                "the account does not let {kind}s become public in {region} ({state}): `aws ec2 disable-{kind}-block-public-access --region {region}` does"
            ),
        ),
    }
}
