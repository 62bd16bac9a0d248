//! Whether a customer's key can encrypt the image, and who may use it by its own policy: what the identity's
//! policies say of it counts for nothing where that says nothing.

use aws_sdk_kms::types::{KeyManagerType, KeyMetadata, KeySpec, KeyState, KeyUsageType};

use super::key_policy::{KeyPolicy, KeyUser};
use super::{Check, Preflight};
use crate::manifest::Grant;
use crate::targets::ec2::Ec2;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::permissions::BY_EC2;

const ABOUT: &str = "encryption";

/// What an account does with a key to launch an image that is shared with it.
const TO_LAUNCH: [&str; 3] = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey"];

impl Preflight<'_> {
    /// Returns what can be said of a key in the region of `ec2`.
    pub(super) async fn key(&self, ec2: &Ec2, key: &str) -> Vec<Check> {
        let answer = ec2.kms().describe_key().key_id(key).send().await;
        let refused = |e| Ec2Error::from_sdk("DescribeKey", &ec2.region, e);
        let found = match answer.map_err(refused) {
            Ok(answer) => answer.key_metadata,
            Err(error) if error.code() == Some("NotFoundException") => {
                let told = format!("there is no key {key} in {}", ec2.region);
                return vec![Check::wrong(ABOUT, told)];
            }
            Err(error) => return vec![Check::unasked(ABOUT, &error)],
        };
        let Some(found) = found else {
            let told = "DescribeKey told nothing of the key";
            return vec![Check::not_checked(ABOUT, told)];
        };
        let key = format!("{key} in {}", ec2.region);
        let state = found.key_state().map_or("", KeyState::as_str);
        let is_aws_s = found.key_manager() == Some(&KeyManagerType::Aws);
        if let Some(why) = self.why_unfit(&found) {
            return vec![Check::wrong(ABOUT, format!("the key {key} {why}"))];
        }
        let whose = if is_aws_s { "AWS's" } else { "a customer's" };
        let mut checks = vec![Check::ok(ABOUT, format!("{key} is {state}, {whose} key"))];
        // AWS's own lets all of its account use it.
        if !is_aws_s {
            checks.extend(self.key_policy(ec2, &key, &found).await);
        }
        checks
    }

    /// Returns why a key cannot be that of the image.
    fn why_unfit(&self, found: &KeyMetadata) -> Option<String> {
        if !found.enabled {
            let state = found.key_state().map_or("", KeyState::as_str);
            return Some(format!("is {state}"));
        }
        if found.key_usage() != Some(&KeyUsageType::EncryptDecrypt) {
            return Some("is not for encryption".to_owned());
        }
        // There are others that encrypt, and EBS takes none of them.
        if found.key_spec() != Some(&KeySpec::SymmetricDefault) {
            return Some("is not symmetric, as those of volumes are".to_owned());
        }
        let is_aws_s = found.key_manager() == Some(&KeyManagerType::Aws);
        (is_aws_s && self.plan.image.publication.is_shared()).then(|| {
            "is AWS's own, which no other account may use, and the manifest shares the image"
                .to_owned()
        })
    }

    /// Returns what a key's own policy says of the caller, and of those whom the image is shared with.
    async fn key_policy(&self, ec2: &Ec2, key: &str, found: &KeyMetadata) -> Vec<Check> {
        let owner = found.aws_account_id().unwrap_or_default();
        if owner != self.caller.account {
            let told =
                format!("the own policy of the key {key}: its account, {owner}, alone reads it");
            return vec![Check::not_checked(ABOUT, told)];
        }
        let asked = ec2.kms().get_key_policy().key_id(found.key_id());
        let answer = asked.policy_name("default").send().await;
        let refused = |e| Ec2Error::from_sdk("GetKeyPolicy", &ec2.region, e);
        let policy = match answer.map_err(refused) {
            Ok(answer) => KeyPolicy::read(&answer.policy.unwrap_or_default()),
            Err(error) => {
                let told = format!(
                    "the own policy of the key {key}: {}",
                    crate::exit::chain(&error)
                );
                return vec![Check::not_checked(ABOUT, told)];
            }
        };
        let Some(policy) = policy else {
            let told =
                format!("the own policy of the key {key} is in a form that is not known here");
            return vec![Check::not_checked(ABOUT, told)];
        };
        let mut checks = vec![self.lets_caller(key, &policy)];
        let share = self.plan.image.publication.share.as_ref();
        for grant in share.map_or(&[][..], |share| &share.with[..]) {
            checks.extend(lets_others(key, &policy, grant));
        }
        checks
    }

    fn lets_caller(&self, key: &str, policy: &KeyPolicy) -> Check {
        let needed: Vec<&str> = BY_EC2.into_iter().chain(["kms:CreateGrant"]).collect();
        let principal = self.caller.principal();
        let caller = KeyUser {
            account: &self.caller.account,
            principal: principal.as_deref(),
        };
        let lacking = policy.lacking(&caller, &needed);
        if lacking.is_empty() {
            let told = format!(
                "the own policy of the key {key} leaves it to IAM, or names {}",
                self.caller.arn
            );
            return Check::ok(ABOUT, told);
        }
        Check::warning(
            ABOUT,
            format!(
                "the own policy of the key {key} lets neither {} nor IAM's policies of its account allow {}: a build fails, unless a grant does",
                self.caller.arn,
                lacking.join(", ")
            ),
        )
    }
}

/// Returns whether a key's policy lets somebody use it whom the image is shared with, as far as it says.
fn lets_others(key: &str, policy: &KeyPolicy, grant: &Grant) -> Option<Check> {
    let Grant::Account(account) = grant else {
        let told = format!("whether the own policy of the key {key} lets {grant} use it");
        return Some(Check::not_checked(ABOUT, told));
    };
    let user = KeyUser {
        account,
        principal: None,
    };
    let lacking = policy.lacking(&user, &TO_LAUNCH);
    (!lacking.is_empty()).then(|| {
        Check::warning(
            ABOUT,
            format!(
                "the image is shared with {account}, which the own policy of the key {key} does not let use {}: nobody there can launch it",
                lacking.join(", ")
            ),
        )
    })
}
