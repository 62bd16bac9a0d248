//! Paying debts: each sends its request at once, and then waits until the thing is gone.

use std::time::Duration;

use aws_sdk_ec2::types::Instance;
use tokio::time::Instant;

use super::error::Ec2Error;
use super::{Ec2, tags};
use crate::ledger::Undo;
use crate::run::RunId;
use crate::target::{Role, TargetError};

/// How long something whose id never arrived is looked for.
const LOOK: Duration = Duration::from_secs(20);

/// How long undoing one thing may take; a security group waits for its instance.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

impl Ec2 {
    /// Pays one debt. What is gone is paid.
    pub(super) async fn undo(&self, undo: &Undo, learned: &[String]) -> Result<(), TargetError> {
        match undo {
            Undo::TerminateInstance { run, role, .. } => {
                self.end_instances(run, *role, learned).await
            }
            Undo::DeleteSecurityGroup { run, name, .. } => {
                self.delete_group(run, name, learned).await
            }
            Undo::DeregisterImage { run, name, .. } => self.end_image(run, name, learned).await,
            Undo::DeleteSnapshots { run, .. } if learned.is_empty() => {
                self.sweep_snapshots(run).await
            }
            Undo::DeleteSnapshots { .. } => self.delete_snapshots(learned).await,
            Undo::StopContainer { .. } | Undo::RemoveNetwork { .. } | Undo::RemovePath { .. } => {
                Err(TargetError::new(
                    "a debt of this machine is not EC2's to pay",
                ))
            }
        }
    }

    async fn end_instances(
        &self,
        run: &RunId,
        role: Role,
        learned: &[String],
    ) -> Result<(), TargetError> {
        let ids = match learned {
            [] => self.look(|| self.living(run, role)).await?,
            ids => ids.to_vec(),
        };
        if ids.is_empty() {
            return Ok(());
        }
        self.patiently("terminate", || self.terminate(&ids)).await?;
        self.patiently("see ended", || async {
            let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
            let found = self
                .instances(vec![tags::filter("instance-id", ids)])
                .await?;
            Ok(found.iter().all(is_terminated))
        })
        .await
    }

    pub(super) async fn terminate(&self, ids: &[String]) -> Result<bool, Ec2Error> {
        let request = self
            .ec2
            .terminate_instances()
            .set_instance_ids(Some(ids.to_vec()));
        match request
            .send()
            .await
            .map_err(|e| self.refused("TerminateInstances", e))
        {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(true),
        }
    }

    async fn living(&self, run: &RunId, role: Role) -> Result<Vec<String>, Ec2Error> {
        let role = role.to_string();
        let filters = vec![
            tags::of_run(run),
            tags::filter(&format!("tag:{}", tags::ROLE), [role.as_str()]),
        ];
        let found = self.instances(filters).await?;
        Ok(found
            .into_iter()
            .filter(|i| !is_terminated(i))
            .filter_map(|i| i.instance_id)
            .collect())
    }

    async fn delete_group(
        &self,
        run: &RunId,
        name: &str,
        learned: &[String],
    ) -> Result<(), TargetError> {
        let ids = match learned {
            [] => {
                self.look(|| async { Ok(self.find_group(run, name).await?.into_iter().collect()) })
                    .await?
            }
            ids => ids.to_vec(),
        };
        for id in ids {
            self.patiently("delete", || async {
                let request = self.ec2.delete_security_group().group_id(&id);
                match request
                    .send()
                    .await
                    .map_err(|e| self.refused("DeleteSecurityGroup", e))
                {
                    Ok(_) => Ok(true),
                    Err(error) if error.is_not_found() => Ok(true),
                    // Its instance's interface is not gone yet.
                    Err(error) if error.code() == Some("DependencyViolation") => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn end_image(
        &self,
        run: &RunId,
        name: &str,
        learned: &[String],
    ) -> Result<(), TargetError> {
        let ids = match learned {
            [] => {
                let found = self.look(|| async {
                    let image = self.find_image(run, name).await?;
                    Ok(image.and_then(|i| i.image_id).into_iter().collect())
                });
                found.await?
            }
            ids => ids.to_vec(),
        };
        for id in ids {
            self.patiently("deregister", || async {
                self.deregister(&id).await.map(|()| true)
            })
            .await?;
        }
        Ok(())
    }

    pub(super) async fn deregister(&self, id: &str) -> Result<(), Ec2Error> {
        let request = self.ec2.deregister_image().image_id(id);
        match request
            .send()
            .await
            .map_err(|e| self.refused("DeregisterImage", e))
        {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn delete_snapshots(&self, ids: &[String]) -> Result<(), TargetError> {
        for id in ids {
            // An image may still use it; that one is on its way out.
            self.patiently("delete", || self.delete_snapshot(id))
                .await?;
        }
        Ok(())
    }

    /// Snapshots of an image that was pending when it went appear late: they are looked for until
    /// none has been there for a while.
    pub(super) async fn sweep_snapshots(&self, run: &RunId) -> Result<(), TargetError> {
        let mut quiet = Instant::now();
        let give_up = Instant::now() + PATIENCE;
        while quiet.elapsed() < LOOK && Instant::now() < give_up {
            for snapshot in self.snapshots(run).await? {
                quiet = Instant::now();
                self.delete_snapshot(snapshot.snapshot_id.as_deref().unwrap_or_default())
                    .await?;
            }
            tokio::time::sleep(self.poll).await;
        }
        Ok(())
    }

    /// Returns whether it is gone; it is not while an image uses it.
    pub(super) async fn delete_snapshot(&self, id: &str) -> Result<bool, Ec2Error> {
        let request = self.ec2.delete_snapshot().snapshot_id(id);
        match request
            .send()
            .await
            .map_err(|e| self.refused("DeleteSnapshot", e))
        {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(true),
            Err(error) if error.code() == Some("InvalidSnapshot.InUse") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks for something whose id is not known until it is there, or long enough.
    async fn look<F, R>(&self, mut find: F) -> Result<Vec<String>, TargetError>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<Vec<String>, Ec2Error>>,
    {
        let started = Instant::now();
        loop {
            let found = find().await?;
            if !found.is_empty() || started.elapsed() > LOOK {
                return Ok(found);
            }
            tokio::time::sleep(self.poll).await;
        }
    }

    /// Tries until it is done, past what is transient, within a bound.
    async fn patiently<F, R>(&self, what: &str, mut attempt: F) -> Result<(), TargetError>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<bool, Ec2Error>>,
    {
        let started = Instant::now();
        loop {
            let last = match attempt().await {
                Ok(true) => return Ok(()),
                Ok(false) => None,
                Err(error) if error.is_refusal() => return Err(error.into()),
                Err(error) => Some(error),
            };
            if started.elapsed() > PATIENCE {
                let slow = || TargetError::new(format!("gave up waiting to {what} it"));
                return Err(last.map_or_else(slow, Into::into));
            }
            tokio::time::sleep(self.poll).await;
        }
    }
}

fn is_terminated(instance: &Instance) -> bool {
    let state = instance.state().and_then(|s| s.name());
    state.is_some_and(|name| name.as_str() == "terminated")
}
