//! What others may act on as soon as it is done (permissions, parameters, launch templates), and how
//! each is taken back: only while it is still what was done, since others may have gone on from there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use aws_sdk_ec2::types::{
    CreateVolumePermission, CreateVolumePermissionModifications, LaunchPermission,
    LaunchPermissionModifications, LaunchTemplateVersion, OperationType, PermissionGroup,
    RequestLaunchTemplateData, SnapshotAttributeName,
};
use aws_sdk_ssm::types::{ParameterType, Tag};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::claim::claim;
use super::differences::Change;
use super::mend::Mending;
use super::outward::{IMAGE, Outward};
use super::seen::{ParameterSeen, TemplateSeen};
use crate::clock::{Instant, sleep};
use crate::ledger::{DebtId, Due, Paid, Undo};
use crate::manifest::{Grant, TemplateName};
use crate::run::RunId;
use crate::targets::ec2::Ec2;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::wait::{LIMIT, LOOK};
use crate::targets::{PhaseContext, TargetError};

/// Who makes a change.
struct By {
    run: RunId,
    /// When the build began that it is of.
    as_of: OffsetDateTime,
    /// Tags of what is made.
    tags: BTreeMap<String, String>,
}

impl Ec2 {
    /// Owes what takes a change back, and makes it.
    pub(super) async fn make_outward(
        &self,
        change: &Change,
        mending: &Mending<'_>,
        debt: (Due, Undo),
        debts: &mut Vec<DebtId>,
        cx: &PhaseContext<'_>,
    ) -> Result<(), Ec2Error> {
        let (ec2, wanted) = (self.clone(), change.clone());
        let Mending { plan, wish, .. } = mending;
        let by = By {
            run: plan.run.clone(),
            as_of: wish.as_of,
            tags: plan.builder.tags.clone(),
        };
        let call = Box::pin(async move { Box::pin(ec2.change_outward(&wanted, &by)).await });
        // Where its answer is lost it is taken back too.
        let making = cx
            .ledger
            .create_held([debt], debts, Ec2Error::is_refusal, call);
        let (_, made) = making.await?;
        // What comes of it comes when its debt is known to be owed: where that is refused, it is taken back.
        match change {
            Change::SetParameter { name, image, .. } => {
                let version = made.parse().unwrap_or_default();
                let theirs = self.until_parameter(name, image, version).await?;
                if let Some(theirs) = theirs {
                    cx.phase.warn(format!(
                        "the parameter {name} in {} has {theirs}, which somebody has put there since",
                        self.region
                    ));
                }
                Ok(())
            }
            Change::AddTemplateVersion {
                template,
                set_default: true,
                ..
            } => {
                let version = made.parse().unwrap_or_default();
                self.set_default_version(&template.id, version).await
            }
            _ => Ok(()),
        }
    }

    /// Makes a change; returns what EC2 calls it, where it does.
    async fn change_outward(&self, change: &Change, by: &By) -> Result<String, Ec2Error> {
        match change {
            Change::SetParameter {
                name,
                image,
                before,
            } => {
                let born_with = before.is_none().then_some(&by.tags);
                let described = Some(claim(image, by.as_of));
                let version = self.put_parameter(name, image, described, born_with);
                let version = version.await?;
                Ok(version.to_string())
            }
            Change::AddTemplateVersion {
                template,
                image,
                set_default,
            } => {
                let adding = Box::pin(self.add_version(template, image, *set_default, by));
                Ok(adding.await?.to_string())
            }
            Change::SetDefaultVersion { template, version } => {
                self.set_default_version(&template.id, *version).await?;
                Ok(version.to_string())
            }
            Change::Share { image, add, remove } => {
                self.share(image, remove, OperationType::Remove).await?;
                self.share(image, add, OperationType::Add).await?;
                Ok(image.clone())
            }
            Change::ShareSnapshot {
                snapshot,
                add,
                remove,
            } => {
                self.share_snapshot(snapshot, remove, OperationType::Remove)
                    .await?;
                self.share_snapshot(snapshot, add, OperationType::Add)
                    .await?;
                Ok(snapshot.clone())
            }
            Change::Copy
            | Change::Tag { .. }
            | Change::Release { .. }
            | Change::Describe { .. }
            | Change::Deprecate { .. }
            | Change::Protect { .. } => Ok(String::new()),
        }
    }

    /// Takes back what is still as it was done.
    pub(in crate::targets::ec2) async fn take_back(
        &self,
        outward: &Outward,
        learned: &[String],
    ) -> Result<Paid, TargetError> {
        let version = learned.last().and_then(|text| text.parse().ok());
        let what = "take back";
        match outward {
            Outward::Parameter {
                name,
                image,
                before,
            } => {
                return self
                    .restore_parameter(name, image, before.as_deref(), version)
                    .await;
            }
            Outward::TemplateVersion {
                template,
                image,
                latest,
                default,
            } => {
                let template = TemplateName::Id(template.clone());
                self.patiently(what, || {
                    self.delete_version(&template, image, *latest, *default)
                })
                .await?;
            }
            Outward::DefaultVersion {
                template,
                version,
                default,
                ..
            } => {
                let id = TemplateName::Id(template.clone());
                self.patiently(what, || self.restore_default(&id, *version, *default))
                    .await?;
            }
            Outward::Share { image, with } => {
                self.patiently(what, || async {
                    gone(self.share(image, with, OperationType::Remove).await)
                })
                .await?;
            }
            Outward::ShareSnapshot { snapshot, with, .. } => {
                self.patiently(what, || async {
                    let unshared = self.share_snapshot(snapshot, with, OperationType::Remove);
                    gone(unshared.await)
                })
                .await?;
            }
        }
        Ok(match learned {
            // It may yet be done: then it is asked again.
            [] => Paid::NotFound,
            _ => Paid::Gone,
        })
    }

    // Permissions ------------------------------------------------------------------------------

    async fn share(
        &self,
        image: &str,
        grants: &[Grant],
        operation: OperationType,
    ) -> Result<(), Ec2Error> {
        if grants.is_empty() {
            return Ok(());
        }
        let permissions = grants.iter().map(|grant| {
            let permission = LaunchPermission::builder();
            match grant {
                Grant::Account(id) => permission.user_id(id),
                Grant::Organization(arn) => permission.organization_arn(arn),
                Grant::OrganizationalUnit(arn) => permission.organizational_unit_arn(arn),
                Grant::Everybody => permission.group(PermissionGroup::All),
            }
            .build()
        });
        let permissions = Some(permissions.collect());
        let changed = LaunchPermissionModifications::builder();
        let changed = match operation {
            OperationType::Remove => changed.set_remove(permissions),
            _ => changed.set_add(permissions),
        };
        self.modify_image(image, |request| request.launch_permission(changed.build()))
            .await
    }

    /// EC2 takes one kind of change a call here.
    async fn share_snapshot(
        &self,
        snapshot: &str,
        grants: &[Grant],
        operation: OperationType,
    ) -> Result<(), Ec2Error> {
        if grants.is_empty() {
            return Ok(());
        }
        let permissions = grants.iter().filter_map(|grant| {
            let permission = CreateVolumePermission::builder();
            Some(match grant {
                Grant::Account(id) => permission.user_id(id).build(),
                Grant::Everybody => permission.group(PermissionGroup::All).build(),
                Grant::Organization(_) | Grant::OrganizationalUnit(_) => return None,
            })
        });
        let permissions = Some(permissions.collect());
        let changed = CreateVolumePermissionModifications::builder();
        let changed = match operation {
            OperationType::Remove => changed.set_remove(permissions),
            _ => changed.set_add(permissions),
        };
        let request = self.ec2.modify_snapshot_attribute().snapshot_id(snapshot);
        let request = request
            .attribute(SnapshotAttributeName::CreateVolumePermission)
            .create_volume_permission(changed.build());
        let asking = || async {
            let answer = request.clone().send().await;
            let answer = answer.map_err(|e| self.refused("ModifySnapshotAttribute", e));
            answer.map(drop)
        };
        let ids = [snapshot.to_owned()];
        self.persist(|| self.once_known(&ids, asking)).await
    }

    // Parameter --------------------------------------------------------------------------------

    /// Returns what a parameter has now, if it is there.
    pub(super) async fn parameter_now(
        &self,
        name: &str,
    ) -> Result<Option<ParameterSeen>, Ec2Error> {
        let found = self.parameter(name).await?;
        Ok(found.map(|parameter| ParameterSeen {
            value: parameter.value.unwrap_or_default(),
            version: parameter.version,
            data_type: parameter.data_type.unwrap_or_default(),
            later: None,
        }))
    }

    /// Asks for a parameter to have a value; returns the version that this will be. One that is to be made has
    /// tags from then on, which an organisation may demand; of one that is there SSM takes none.
    async fn put_parameter(
        &self,
        name: &str,
        value: &str,
        described: Option<String>,
        born_with: Option<&BTreeMap<String, String>>,
    ) -> Result<i64, Ec2Error> {
        let request = self.ssm.put_parameter().name(name).value(value);
        let request = request
            .r#type(ParameterType::String)
            .data_type(IMAGE)
            .set_description(described)
            .overwrite(born_with.is_none())
            .set_tags(born_with.and_then(parameter_tags));
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("PutParameter", e))
        };
        match self.persist(asking).await {
            // Our own answer was lost; what somebody else has made meanwhile is not overwritten.
            Err(error) if error.code() == Some("ParameterAlreadyExists") => {
                match self.parameter_now(name).await? {
                    Some(now) if now.value == value => Ok(now.version),
                    _ => Err(error),
                }
            }
            answer => Ok(answer?.version),
        }
    }

    /// Waits until a parameter has the image in the version that was made: SSM answers before it has looked
    /// whether that is one. Returns what somebody else has put there since.
    async fn until_parameter(
        &self,
        name: &str,
        image: &str,
        version: i64,
    ) -> Result<Option<String>, Ec2Error> {
        let since = Instant::now();
        loop {
            if let Some(now) = self.parameter_now(name).await? {
                match stand(&now, image, Some(version)) {
                    Stand::Ours if now.version == version => return Ok(None),
                    Stand::Theirs => return Ok(Some(now.value)),
                    // The same by a call whose answer was lost; or not looked at yet.
                    Stand::Ours | Stand::Before => {}
                }
            }
            if since.elapsed() > LIMIT / 2 {
                return Err(Ec2Error::TooSlow {
                    what: format!("the parameter {name}"),
                    wanted: "what was put into it",
                    after: since.elapsed(),
                    key: None,
                });
            }
            sleep(self.poll).await;
        }
    }

    /// Gives a parameter back what it had, while its value and version are what was put into it.
    async fn restore_parameter(
        &self,
        name: &str,
        image: &str,
        before: Option<&str>,
        ours: Option<i64>,
    ) -> Result<Paid, TargetError> {
        let since = Instant::now();
        loop {
            let now = match self.parameter_now(name).await {
                Err(error) if !error.is_transient() || since.elapsed() > LIMIT => {
                    return Err(error.into());
                }
                now => now.ok(),
            };
            let looked = now.as_ref().map(Option::as_ref);
            match looked.map(|now| now.map(|now| stand(now, image, ours))) {
                Some(Some(Stand::Ours)) => break,
                Some(Some(Stand::Theirs)) => return Ok(Paid::Gone),
                Some(_) if since.elapsed() > LOOK => return Ok(Paid::NotFound),
                Some(_) | None => sleep(self.poll).await,
            }
        }
        self.put_back(name, before).await?;
        Ok(Paid::Gone)
    }

    async fn put_back(&self, name: &str, before: Option<&str>) -> Result<(), TargetError> {
        let Some(before) = before else {
            return self
                .patiently("delete", || async {
                    let answer = self.ssm.delete_parameter().name(name).send().await;
                    let answer = answer.map_err(|e| self.refused("DeleteParameter", e));
                    gone(answer.map(drop))
                })
                .await;
        };
        let version = AtomicI64::new(0);
        self.patiently("restore", || async {
            let made = self.put_parameter(name, before, None, None).await?;
            version.store(made, Ordering::Relaxed);
            Ok(true)
        })
        .await?;
        let version = version.load(Ordering::Relaxed);
        let _theirs = self.until_parameter(name, before, version).await?;
        Ok(())
    }

    // Launch template --------------------------------------------------------------------------

    async fn add_version(
        &self,
        template: &TemplateSeen,
        image: &str,
        set_default: bool,
        By { run, as_of, .. }: &By,
    ) -> Result<i64, Ec2Error> {
        // What is tried out in the newest version is not what everybody gets.
        let number = match set_default {
            true => template.default.number,
            false => template.latest.number,
        };
        // A version that an earlier run added and took back is not made again by its token.
        let text = format!("version\n{}\n{image}\n{number}\n{run}", template.id);
        let token = hex::encode(&Sha256::digest(text)[..24]);
        let data = RequestLaunchTemplateData::builder().image_id(image).build();
        let request = self.ec2.create_launch_template_version();
        let request = request
            .client_token(format!("amibake-{token}"))
            .launch_template_id(&template.id)
            .source_version(number.to_string())
            .version_description(claim(image, *as_of))
            .launch_template_data(data);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("CreateLaunchTemplateVersion", e))
        };
        let answer = self.persist(asking).await?;
        let version = answer.launch_template_version;
        let number = version.and_then(|v| v.version_number).unwrap_or_default();
        self.born(&version_id(&template.id, number));
        Ok(number)
    }

    async fn set_default_version(&self, template: &str, version: i64) -> Result<(), Ec2Error> {
        let request = self.ec2.modify_launch_template();
        let request = request
            .launch_template_id(template)
            .default_version(version.to_string());
        let asking = || async {
            let answer = request.clone().send().await;
            let answer = answer.map_err(|e| self.refused("ModifyLaunchTemplate", e));
            answer.map(drop)
        };
        let ids = [version_id(template, version)];
        self.persist(|| self.once_known(&ids, asking)).await
    }

    /// Deletes the version with the image, if it is the newest one that was added since.
    async fn delete_version(
        &self,
        template: &TemplateName,
        image: &str,
        latest: i64,
        default: i64,
    ) -> Result<bool, Ec2Error> {
        let versions = self.versions_since(template, latest + 1).await?;
        let is_ours = |version: &&LaunchTemplateVersion| {
            let data = version.launch_template_data();
            version.version_number() > Some(latest)
                && data.and_then(|data| data.image_id()) == Some(image)
        };
        let Some(ours) = versions.iter().find(is_ours) else {
            return Ok(true);
        };
        let id = ours.launch_template_id().unwrap_or_default();
        let number = ours.version_number().unwrap_or_default();
        if ours.default_version() == Some(true) {
            self.set_default_version(id, default).await?;
        }
        let request = self.ec2.delete_launch_template_versions();
        let request = request.launch_template_id(id).versions(number.to_string());
        let answer = request.send().await;
        let answer = answer.map_err(|e| self.refused("DeleteLaunchTemplateVersions", e))?;
        // It says by itself which it has not deleted: those are asked for again.
        Ok(answer
            .unsuccessfully_deleted_launch_template_versions()
            .is_empty())
    }

    async fn restore_default(
        &self,
        template: &TemplateName,
        version: i64,
        default: i64,
    ) -> Result<bool, Ec2Error> {
        let versions = self.template_versions(template).await?;
        let now = versions.iter().find(|v| v.default_version() == Some(true));
        if now.and_then(LaunchTemplateVersion::version_number) == Some(version) {
            self.set_default_version(&template.to_string(), default)
                .await?;
        }
        Ok(true)
    }
}

/// Returns tags as SSM takes them, if there are some.
fn parameter_tags(tags: &BTreeMap<String, String>) -> Option<Vec<Tag>> {
    let tag = |(key, value)| Tag::builder().key(key).value(value).build().ok();
    let tags: Option<Vec<Tag>> = tags.iter().map(tag).collect();
    tags.filter(|tags| !tags.is_empty())
}

/// Whose a parameter's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// What was put there is not there yet.
    Before,
    Ours,
    /// Others have set it since, be it to the same.
    Theirs,
}

/// Returns whose a parameter's value is, of which `image` was made the version `ours`. Where that answer was
/// lost, the value alone tells.
fn stand(now: &ParameterSeen, image: &str, ours: Option<i64>) -> Stand {
    match ours {
        Some(ours) if now.version > ours => Stand::Theirs,
        Some(ours) if now.version == ours && now.value != image => Stand::Theirs,
        _ if now.value == image => Stand::Ours,
        _ => Stand::Before,
    }
}

/// Returns what a version of a launch template goes by here.
fn version_id(template: &str, version: i64) -> String {
    format!("{template} version {version}")
}

/// Returns whether something is taken back: nothing is left of what is gone itself.
fn gone(answer: Result<(), Ec2Error>) -> Result<bool, Ec2Error> {
    match answer {
        Err(error) if error.is_not_found() || error.is_unavailable() => Ok(true),
        answer => answer.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_ours_by_its_value_and_its_version() {
        let now = |value: &str, version| ParameterSeen {
            value: value.to_owned(),
            version,
            data_type: IMAGE.to_owned(),
            later: None,
        };
        for (is, ours, whose) in [
            (now("ami-1", 7), Some(7), Stand::Ours),
            // By a call whose answer was lost, before the one that was answered.
            (now("ami-1", 6), Some(7), Stand::Ours),
            (now("ami-0", 6), Some(7), Stand::Before),
            (now("ami-1", 8), Some(7), Stand::Theirs),
            (now("ami-2", 8), Some(7), Stand::Theirs),
            // It was deleted and made anew.
            (now("ami-2", 7), Some(7), Stand::Theirs),
            (now("ami-1", 3), None, Stand::Ours),
            (now("ami-2", 3), None, Stand::Before),
        ] {
            assert_eq!(stand(&is, "ami-1", ours), whose, "{is:?}");
        }
    }
}
