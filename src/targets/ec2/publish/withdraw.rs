//! What others may act on as soon as it is done (permissions, parameters, launch templates), and how
//! each is taken back: only while it is still what was done, since others may have gone on from there.

use aws_sdk_ec2::types::{
    CreateVolumePermission, CreateVolumePermissionModifications, LaunchPermission,
    LaunchPermissionModifications, LaunchTemplateVersion, OperationType, PermissionGroup,
    RequestLaunchTemplateData, SnapshotAttributeName,
};
use aws_sdk_ssm::types::ParameterType;
use sha2::{Digest, Sha256};

use super::differences::Change;
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

impl Ec2 {
    /// Owes what takes a change back, and makes it.
    pub(super) async fn make_outward(
        &self,
        change: &Change,
        run: &RunId,
        debt: (Due, Undo),
        debts: &mut Vec<DebtId>,
        cx: &PhaseContext<'_>,
    ) -> Result<(), Ec2Error> {
        let (ec2, wanted, run) = (self.clone(), change.clone(), run.clone());
        let call = Box::pin(async move { Box::pin(ec2.change_outward(&wanted, &run)).await });
        let ([id], made) = cx.ledger.create([debt], Ec2Error::is_refusal, call).await?;
        debts.push(id);
        // What comes of it comes when its debt is known to be owed: where that is refused, it is taken back.
        match change {
            Change::SetParameter { name, image, .. } => self.until_parameter(name, image).await,
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
    async fn change_outward(&self, change: &Change, run: &RunId) -> Result<String, Ec2Error> {
        match change {
            Change::SetParameter {
                name,
                image,
                before,
            } => {
                let is_there = before.is_some();
                let version = self.put_parameter(name, image, is_there).await?;
                Ok(version.to_string())
            }
            Change::AddTemplateVersion {
                template,
                image,
                set_default,
            } => {
                let adding = Box::pin(self.add_version(template, image, *set_default, run));
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

    /// Asks for a parameter to have a value; returns the version that this will be.
    async fn put_parameter(
        &self,
        name: &str,
        value: &str,
        is_there: bool,
    ) -> Result<i64, Ec2Error> {
        let request = self.ssm.put_parameter().name(name).value(value);
        let request = request
            .r#type(ParameterType::String)
            .data_type(IMAGE)
            .overwrite(is_there);
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

    /// Waits until a parameter has the image: SSM answers before it has looked whether that is one.
    async fn until_parameter(&self, name: &str, image: &str) -> Result<(), Ec2Error> {
        let since = Instant::now();
        loop {
            let now = self.parameter_now(name).await?;
            if now.is_some_and(|now| now.value == image) {
                return Ok(());
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

    /// Gives a parameter back what it had, while it has what was put into it.
    async fn restore_parameter(
        &self,
        name: &str,
        image: &str,
        before: Option<&str>,
        ours: Option<i64>,
    ) -> Result<Paid, TargetError> {
        let since = Instant::now();
        loop {
            match self.parameter_now(name).await {
                Ok(Some(now)) if now.value == image => break,
                // What somebody else has put there since is theirs.
                Ok(Some(now)) if ours.is_some_and(|ours| now.version >= ours) => {
                    return Ok(Paid::Gone);
                }
                Ok(_) if since.elapsed() > LOOK => return Ok(Paid::NotFound),
                Err(error) if !error.is_transient() || since.elapsed() > LIMIT => {
                    return Err(error.into());
                }
                Ok(_) | Err(_) => sleep(self.poll).await,
            }
        }
        match before {
            Some(before) => {
                self.patiently("restore", || async {
                    self.put_parameter(name, before, true).await.map(|_| true)
                })
                .await?;
                self.until_parameter(name, before).await?;
            }
            None => {
                self.patiently("delete", || async {
                    let answer = self.ssm.delete_parameter().name(name).send().await;
                    let answer = answer.map_err(|e| self.refused("DeleteParameter", e));
                    gone(answer.map(drop))
                })
                .await?;
            }
        }
        Ok(Paid::Gone)
    }

    // Launch template --------------------------------------------------------------------------

    async fn add_version(
        &self,
        template: &TemplateSeen,
        image: &str,
        set_default: bool,
        run: &RunId,
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
            .version_description(format!("{image} by amibake"))
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
