//! Paying debts: each sends its request at once, and then waits until the thing is gone.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_ec2::types::{Image, ImageState, Instance};

use super::debts::{self, Ec2Undo, Removal};
use super::error::Ec2Error;
use super::orphans::is_snapshot_of;
use super::wait::{LIMIT, LOOK};
use super::{Ec2, Holder, launch, tags};
use crate::clock::{Instant, sleep};
use crate::exit::Leftover;
use crate::ledger::{Debt, Paid, Payer};
use crate::run::RunId;
use crate::targets::{Role, TargetError, unreadable};

#[async_trait]
impl Payer for Ec2 {
    fn leftover(&self, debt: &Debt, run: Option<&RunId>) -> Leftover {
        debts::leftover(debt, run)
    }

    async fn pay(&self, debt: &Debt) -> Result<Paid, TargetError> {
        let undo: Ec2Undo = debt.undo.read().map_err(unreadable)?;
        // What another region has would not be found here, and a debt is paid when nothing is found.
        let there = self.in_region(&undo.region);
        there.state().unwind();
        let paid = there.undo(&undo, &debt.learned).await;
        if paid.is_err() {
            there.state().stuck.extend(holder(&undo));
            there.withdraw(&debt.learned).await;
        }
        paid
    }
}

impl Ec2 {
    /// Pays one debt of this region. What is gone is paid.
    async fn undo(&self, undo: &Ec2Undo, learned: &[String]) -> Result<Paid, TargetError> {
        let run = &undo.run;
        let ids = match &undo.removal {
            Removal::TerminateInstance { role } => {
                let ids = self.known(learned, || self.living(run, *role)).await?;
                self.end_instances(&ids).await?;
                ids
            }
            Removal::DeleteSecurityGroup { name } => {
                let ids = self.known(learned, || self.find_group(run, name)).await?;
                for id in &ids {
                    self.patiently("delete", || self.delete_group(run, id))
                        .await?;
                }
                ids
            }
            Removal::DeregisterImage { name } => {
                let ids = self.known(learned, || self.find_image(run, name)).await?;
                for id in &ids {
                    self.patiently("deregister", || self.deregister(id)).await?;
                }
                ids
            }
            Removal::RestoreImage { name, spare } => {
                let ids = self.known(learned, || self.find_image(run, spare)).await?;
                for id in &ids {
                    self.patiently("restore", || self.restore(run, name, id))
                        .await?;
                }
                ids
            }
            Removal::DeleteLock { name } => {
                let ids = self.known(learned, || self.find_lock(run, name)).await?;
                for id in &ids {
                    self.patiently("delete", || self.delete_lock(id)).await?;
                }
                ids
            }
            Removal::DeleteSnapshots { expected } if learned.is_empty() => {
                self.sweep_snapshots(run, *expected).await?
            }
            Removal::DeleteSnapshots { .. } => {
                let mut paid = Ok(());
                for id in learned {
                    let deleted = self.patiently("delete", || self.delete_snapshot(run, id));
                    paid = paid.and(deleted.await);
                }
                paid?;
                learned.to_vec()
            }
            Removal::Withdraw(outward) => return self.take_back(outward, learned).await,
        };
        Ok(match ids.is_empty() {
            true => Paid::NotFound,
            false => Paid::Gone,
        })
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
        let marked = role.to_string();
        let filters = vec![
            tags::of_run(run),
            tags::filter(&format!("tag:{}", tags::ROLE), [marked.as_str()]),
        ];
        let found = self.instances(filters).await?;
        Ok(found
            .into_iter()
            .filter(|i| !is_terminated(i) && self.is_machine_of(i, run, role))
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
        match answer.map_err(|e| self.refused("DeregisterImage", e)) {
            Err(error) if error.is_unavailable() => self.is_deregistered(id).await,
            answer => self.removed(id, answer),
        }
    }

    /// Returns whether an image is gone by what EC2 lists.
    async fn is_deregistered(&self, id: &str) -> Result<bool, Ec2Error> {
        let listed = self.images(vec![tags::filter("image-id", [id])]).await?;
        let is_there = |i: &Image| i.state() != Some(&ImageState::Deregistered);
        Ok(!self.is_young(id) && !listed.iter().any(is_there))
    }

    async fn delete_snapshot(&self, run: &RunId, id: &str) -> Result<bool, Ec2Error> {
        let answer = self.ec2.delete_snapshot().snapshot_id(id).send().await;
        let answer = answer.map_err(|e| self.refused("DeleteSnapshot", e));
        self.removed_unused(run, Holder::Image, id, answer)
    }

    /// Returns whether a removing call has removed the thing. Otherwise it is made again: EC2 has
    /// not heard of the thing everywhere.
    pub(super) fn removed<T>(
        &self,
        id: &str,
        answer: Result<T, Ec2Error>,
    ) -> Result<bool, Ec2Error> {
        match answer {
            Ok(_) => {
                // From now on an unknown id is no sign of youth.
                self.state().born.remove(id);
                Ok(true)
            }
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
    /// all that are expected have gone, or none has been there for a while. Returns those that went.
    async fn sweep_snapshots(
        &self,
        run: &RunId,
        expected: Option<usize>,
    ) -> Result<Vec<String>, TargetError> {
        let mut gone = BTreeSet::new();
        let (started, mut quiet) = (Instant::now(), Instant::now());
        while quiet.elapsed() < LOOK {
            match self.snapshots(run).await {
                Ok(found) => {
                    let ours = found.into_iter().filter(|s| is_snapshot_of(s, run));
                    for id in ours.filter_map(|s| s.snapshot_id) {
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
            if started.elapsed() > LIMIT {
                return Err(TargetError::new(
                    "gave up waiting to delete the run's snapshots",
                ));
            }
            sleep(self.poll).await;
        }
        Ok(gone.into_iter().collect())
    }
}

/// Returns what of which run stays when the debt cannot be paid, if something else waits for that.
fn holder(undo: &Ec2Undo) -> Option<(RunId, Holder)> {
    let holder = match &undo.removal {
        Removal::TerminateInstance { .. } => Holder::Instance,
        Removal::DeregisterImage { .. } => Holder::Image,
        Removal::DeleteSecurityGroup { .. }
        | Removal::DeleteSnapshots { .. }
        | Removal::RestoreImage { .. }
        | Removal::DeleteLock { .. }
        | Removal::Withdraw(_) => return None,
    };
    Some((undo.run.clone(), holder))
}

fn is_terminated(instance: &Instance) -> bool {
    launch::state(instance) == "terminated"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::replay;
    use crate::run::rfc3339;
    use crate::targets::ec2::canned::{Canned, Said};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// As journals were written before they named the target.
    const OLD: &str = r#"{"record":"owe","id":0,"due":"always","undo":"terminate-instance","region":"us-east-1","run":"20260727t101500z-0a1b2c","role":"builder"}
{"record":"learn","id":0,"name":"i-0abc12"}
"#;

    #[tokio::test]
    async fn a_debt_is_paid_in_the_region_it_names_also_from_an_old_journal() {
        // In the region of the build that pays, EC2 does not know the machine: it would pass for gone.
        let (ec2, canned) = Canned::ec2("eu-west-1", |call| {
            match (call.region.as_str(), call.action.as_str()) {
                ("us-east-1", "TerminateInstances") => Said::Yes(String::new()),
                ("us-east-1", "DescribeInstances") => Said::Yes(
                    "<reservationSet><item><instancesSet><item><instanceId>i-0abc12</instanceId>\
                     <instanceState><code>48</code><name>terminated</name></instanceState>\
                     </item></instancesSet></item></reservationSet>"
                        .into(),
                ),
                _ => Said::No("InvalidInstanceID.NotFound"),
            }
        });
        let owed = replay(OLD);
        assert_eq!(
            ec2.leftover(&owed[0], None).remove_with,
            "aws ec2 terminate-instances --region us-east-1 --instance-ids i-0abc12"
        );
        ec2.pay(&owed[0]).await.unwrap();
        assert_eq!(
            canned.made(),
            [
                "us-east-1 TerminateInstances",
                "us-east-1 DescribeInstances"
            ]
        );
    }

    /// A debt of a thing whose id never arrived.
    fn unnamed(ec2: &Ec2, removal: Removal) -> Debt {
        Debt {
            undo: ec2.undoing(&run(), removal).into(),
            learned: Vec::new(),
        }
    }

    fn run() -> RunId {
        "20260727t101500z-0a1b2c".parse().unwrap()
    }

    #[tokio::test]
    async fn a_machine_that_others_marked_as_the_run_s_is_not_ended() {
        let role = Role::Builder;
        let made = rfc3339(run().began());
        let ours = tags::token(&run(), role, 1, "eu-west-1");
        let listed = [("i-theirs", "theirs"), ("i-ours", &ours)].map(|(id, token)| {
            format!(
                "<item><instanceId>{id}</instanceId><clientToken>{token}</clientToken>\
                 <launchTime>{made}</launchTime></item>"
            )
        });
        let listed = format!(
            "<reservationSet><item><instancesSet>{}</instancesSet></item></reservationSet>",
            listed.concat()
        );
        let (ec2, canned) = Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
            "DescribeInstances" if call.parameters.contains("Name=tag") => {
                Said::Yes(listed.clone())
            }
            _ => Said::Yes(String::new()),
        });
        let debt = unnamed(&ec2, Removal::TerminateInstance { role });
        assert_eq!(ec2.pay(&debt).await.unwrap(), Paid::Gone);
        let ended = canned.asked("TerminateInstances");
        assert_eq!(ended.len(), 1, "{ended:?}");
        assert!(ended[0].contains("i-ours"), "{ended:?}");
    }

    #[tokio::test]
    async fn a_snapshot_that_others_marked_as_the_run_s_is_not_deleted() {
        let made = rfc3339(run().began());
        let early = rfc3339(run().began() - Duration::from_secs(3600));
        let words = "Created by CreateImage(i-1) for ami-1";
        let listed = [
            ("snap-backup", "our only backup", &made),
            ("snap-old", words, &early),
            ("snap-ours", words, &made),
        ];
        let listed = listed.map(|(id, words, made)| {
            format!(
                "<item><snapshotId>{id}</snapshotId><description>{words}</description>\
                 <startTime>{made}</startTime></item>"
            )
        });
        let listed = format!("<snapshotSet>{}</snapshotSet>", listed.concat());
        let (ec2, canned) = Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
            "DescribeSnapshots" => Said::Yes(listed.clone()),
            _ => Said::Yes(String::new()),
        });
        let expected = Some(1);
        let debt = unnamed(&ec2, Removal::DeleteSnapshots { expected });
        assert_eq!(ec2.pay(&debt).await.unwrap(), Paid::Gone);
        let deleted = canned.asked("DeleteSnapshot");
        assert_eq!(deleted.len(), 1, "{deleted:?}");
        assert!(deleted[0].contains("snap-ours"), "{deleted:?}");
    }

    #[tokio::test]
    async fn an_image_that_others_marked_as_the_run_s_is_not_deregistered() {
        let made = rfc3339(run().began());
        let ours = tags::made_by(&run());
        let (ec2, canned) = Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
            "DescribeImages" if call.parameters.contains("Name=tag") => {
                let listed = [("ami-theirs", ""), ("ami-ours", &ours)].map(|(id, words)| {
                    format!(
                        "<item><imageId>{id}</imageId><name>web</name>\
                         <description>{words}</description><creationDate>{made}</creationDate></item>"
                    )
                });
                Said::Yes(format!("<imagesSet>{}</imagesSet>", listed.concat()))
            }
            _ => Said::Yes(String::new()),
        });
        let name = "web".to_owned();
        let debt = unnamed(&ec2, Removal::DeregisterImage { name });
        assert_eq!(ec2.pay(&debt).await.unwrap(), Paid::Gone);
        let gone = canned.asked("DeregisterImage");
        assert_eq!(gone.len(), 1, "{gone:?}");
        assert!(gone[0].contains("ami-ours"), "{gone:?}");
    }

    /// An EC2 that lets an image go at the third try, and until then, and later too, says that it is
    /// not available.
    fn unwilling() -> (Ec2, Canned) {
        let tries = AtomicUsize::new(0);
        Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
            "DeregisterImage" if tries.fetch_add(1, Ordering::SeqCst) == 2 => {
                Said::Yes(String::new())
            }
            "DescribeImages" if tries.load(Ordering::SeqCst) < 3 => Said::Yes(
                "<imagesSet><item><imageId>ami-1</imageId><imageState>pending</imageState>\
                 </item></imagesSet>"
                    .into(),
            ),
            "DescribeImages" => Said::Yes(String::new()),
            _ => Said::No("InvalidAMIID.Unavailable"),
        })
    }

    #[tokio::test]
    async fn an_image_that_is_not_available_is_gone_when_it_is_listed_no_more() {
        let (ec2, canned) = unwilling();
        let name = tags::candidate_name(&run());
        let debt = Debt {
            undo: ec2
                .undoing(&run(), Removal::DeregisterImage { name })
                .into(),
            learned: vec!["ami-1".to_owned()],
        };
        assert_eq!(ec2.pay(&debt).await.unwrap(), Paid::Gone);
        assert_eq!(canned.asked("DeregisterImage").len(), 3);
        ec2.pay(&debt).await.unwrap();
        assert_eq!(canned.asked("DeregisterImage").len(), 4, "it is gone");
    }
}
