//! Paying debts: each sends its request at once, and then waits until the thing is gone.

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Instance;

use super::error::Ec2Error;
use super::wait::{LOOK, PATIENCE};
use super::{Ec2, Holder, launch, tags};
use crate::clock::{Instant, sleep};
use crate::ledger::Undo;
use crate::run::RunId;
use crate::targets::{Role, TargetError};

impl Ec2 {
    /// Pays one debt. What is gone is paid.
    pub(super) async fn undo(&self, undo: &Undo, learned: &[String]) -> Result<(), TargetError> {
        let paid = self.try_undo(undo, learned).await;
        if paid.is_err() {
            self.state().stuck.extend(holder(undo));
        }
        paid
    }

    async fn try_undo(&self, undo: &Undo, learned: &[String]) -> Result<(), TargetError> {
        match undo {
            Undo::TerminateInstance { run, role, .. } => {
                let ids = self.known(learned, || self.living(run, *role)).await?;
                self.end_instances(&ids).await
            }
            Undo::DeleteSecurityGroup { run, name, .. } => {
                let ids = self.known(learned, || self.find_group(run, name)).await?;
                for id in ids {
                    self.patiently("delete", || self.delete_group(run, &id))
                        .await?;
                }
                Ok(())
            }
            Undo::DeregisterImage { run, name, .. } => {
                let ids = self.known(learned, || self.find_image(run, name)).await?;
                for id in ids {
                    self.patiently("deregister", || self.deregister(&id))
                        .await?;
                }
                Ok(())
            }
            Undo::DeleteSnapshots { run, expected, .. } if learned.is_empty() => {
                self.sweep_snapshots(run, *expected).await
            }
            Undo::DeleteSnapshots { run, .. } => {
                let mut paid = Ok(());
                for id in learned {
                    let deleted = self.patiently("delete", || self.delete_snapshot(run, id));
                    paid = paid.and(deleted.await);
                }
                paid
            }
            Undo::StopContainer { .. } | Undo::RemoveNetwork { .. } | Undo::RemovePath { .. } => {
                Err(TargetError::new(
                    "a debt of this machine is not EC2's to pay",
                ))
            }
        }
    }

    /// Returns the ids that were learned, or else those that are found.
    async fn known<F, R>(&self, learned: &[String], find: F) -> Result<Vec<String>, Ec2Error>
    where
        F: FnMut() -> R,
        R: Future<Output = Result<Vec<String>, Ec2Error>>,
    {
        match learned {
            [] => self.look(find).await,
            ids => Ok(ids.to_vec()),
        }
    }

    async fn end_instances(&self, ids: &[String]) -> Result<(), TargetError> {
        // One at a time: an unknown id fails all that are named beside it.
        for id in ids {
            self.patiently("terminate", || self.terminate(id)).await?;
        }
        for id in ids {
            self.patiently("see ended", || async {
                let found = self.instance(id).await?;
                Ok(found.map_or_else(|| !self.is_young(id), |i| is_terminated(&i)))
            })
            .await?;
        }
        Ok(())
    }

    pub(super) async fn terminate(&self, id: &str) -> Result<bool, Ec2Error> {
        let answer = self.ec2.terminate_instances().instance_ids(id).send().await;
        self.removed(
            id,
            answer.map_err(|e| self.refused("TerminateInstances", e)),
        )
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

    async fn delete_group(&self, run: &RunId, id: &str) -> Result<bool, Ec2Error> {
        let answer = self.ec2.delete_security_group().group_id(id).send().await;
        let answer = answer.map_err(|e| self.refused("DeleteSecurityGroup", e));
        self.removed_unused(run, Holder::Instance, id, answer)
    }

    pub(super) async fn deregister(&self, id: &str) -> Result<bool, Ec2Error> {
        let answer = self.ec2.deregister_image().image_id(id).send().await;
        self.removed(id, answer.map_err(|e| self.refused("DeregisterImage", e)))
    }

    async fn delete_snapshot(&self, run: &RunId, id: &str) -> Result<bool, Ec2Error> {
        let answer = self.ec2.delete_snapshot().snapshot_id(id).send().await;
        let answer = answer.map_err(|e| self.refused("DeleteSnapshot", e));
        self.removed_unused(run, Holder::Image, id, answer)
    }

    /// Returns whether a removing call has removed the thing. Otherwise it is made again: EC2 has
    /// not heard of the thing everywhere.
    fn removed<T>(&self, id: &str, answer: Result<T, Ec2Error>) -> Result<bool, Ec2Error> {
        match answer {
            Ok(_) => {
                // From now on an unknown id is no sign of youth.
                self.state().born.remove(id);
                Ok(true)
            }
            Err(error) if error.is_gone() => Ok(true),
            Err(error) if error.is_not_found() => Ok(!self.is_young(id)),
            Err(error) => Err(error),
        }
    }

    /// The same for what something else of the run may still use: it is waited for that, unless
    /// that could not be removed.
    fn removed_unused<T>(
        &self,
        run: &RunId,
        holder: Holder,
        id: &str,
        answer: Result<T, Ec2Error>,
    ) -> Result<bool, Ec2Error> {
        let waits = || !self.state().stuck.contains(&(run.clone(), holder));
        match answer {
            Err(error) if error.is_in_use() && waits() => Ok(false),
            answer => self.removed(id, answer),
        }
    }

    /// Snapshots of an image that was pending when it went appear late: they are looked for until
    /// all that are expected have gone, or none has been there for a while.
    async fn sweep_snapshots(
        &self,
        run: &RunId,
        expected: Option<usize>,
    ) -> Result<(), TargetError> {
        let mut gone = BTreeSet::new();
        let (started, mut quiet) = (Instant::now(), Instant::now());
        while quiet.elapsed() < LOOK {
            match self.snapshots(run).await {
                Ok(found) => {
                    for id in found.into_iter().filter_map(|s| s.snapshot_id) {
                        quiet = Instant::now();
                        match self.delete_snapshot(run, &id).await {
                            Ok(true) => _ = gone.insert(id),
                            Ok(false) => {}
                            Err(error) if error.is_transient() => {}
                            Err(error) => return Err(error.into()),
                        }
                    }
                }
                Err(error) if error.is_transient() => quiet = Instant::now(),
                Err(error) => return Err(error.into()),
            }
            if expected.is_some_and(|all| gone.len() >= all) {
                break;
            }
            if started.elapsed() > PATIENCE {
                return Err(TargetError::new(
                    "gave up waiting to delete the run's snapshots",
                ));
            }
            sleep(self.poll).await;
        }
        Ok(())
    }
}

/// Returns what of which run stays when the debt cannot be paid, if something else waits for that.
fn holder(undo: &Undo) -> Option<(RunId, Holder)> {
    match undo {
        Undo::TerminateInstance { run, .. } => Some((run.clone(), Holder::Instance)),
        Undo::DeregisterImage { run, .. } => Some((run.clone(), Holder::Image)),
        Undo::DeleteSecurityGroup { .. }
        | Undo::DeleteSnapshots { .. }
        | Undo::StopContainer { .. }
        | Undo::RemoveNetwork { .. }
        | Undo::RemovePath { .. } => None,
    }
}

fn is_terminated(instance: &Instance) -> bool {
    launch::state(instance) == "terminated"
}
