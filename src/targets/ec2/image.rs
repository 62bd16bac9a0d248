//! From the sealed builder to a candidate: an image that has not passed.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::types::{BootModeValues, Image, ImageState, Instance, ResourceType, Snapshot};

use super::debts::Removal;
use super::error::Ec2Error;
use super::ours::is_ours;
use super::wait::{Wait, Wanted};
use super::{Ec2, launch, tags};
use crate::ledger::{DebtId, Due, Undo};
use crate::plan::BakePlan;
use crate::run::RunId;
use crate::targets::{Base, Candidate, Machine, PhaseContext, TargetError};
use crate::transport::BoxFuture;

/// How long a stop may take; large machines are slow to end.
const STOP: Duration = Duration::from_secs(20 * 60);

/// How often EC2 is asked how far the snapshots of an image are; whether it is there, more often.
const PROGRESS: Duration = Duration::from_secs(10);

impl Ec2 {
    /// Stops the builder, makes an image of it and waits until that is available.
    pub(super) async fn make_candidate(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError> {
        let stopped = self.stop(&builder.id, cx).await?;
        let name = self.first_name(plan);
        // The snapshots go after the image that uses them, so their debt is the older one.
        let expected = disks_of(&stopped);
        let snapshots = self.undoing(&plan.run, Removal::DeleteSnapshots { expected });
        let due = if self.keeps_first_image() {
            Due::OnFailure
        } else {
            Due::Always
        };
        let content = self.content();
        let request = self
            .ec2
            .create_image()
            .instance_id(&builder.id)
            .name(&name)
            .description(tags::untested_description(plan))
            .tag_specifications(tags::specification(
                ResourceType::Image,
                &tags::candidate(plan, &content, "candidate", self.lifetime()),
            ))
            .tag_specifications(tags::specification(
                ResourceType::Snapshot,
                &tags::candidate(plan, &content, "snapshot", self.lifetime()),
            ));
        let (ec2, builder) = (self.clone(), [builder.id.clone()]);
        let call = Box::pin(async move {
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("CreateImage", e))
            };
            let asking = || ec2.once_known(&builder, asking);
            ec2.persist(asking).await.map(|a| a.image_id)
        });
        let debts = [
            (Due::OnFailure, snapshots.into()),
            (due, self.deregistering(plan, &name)),
        ];
        let made = self.new_image(plan, &name, debts, call, cx).await;
        let ([snapshots, debt], id) = match made {
            Ok(made) => made,
            Err(error) => return Err(self.explain(error).await),
        };
        self.state().candidate = Some(debt);
        self.state().product.push(snapshots);
        let image = self.wait_until_available(plan, &id, cx).await?;
        for snapshot in snapshots_of(&image) {
            cx.ledger.learn(snapshots, &snapshot)?;
        }
        let base = Base::Image {
            id: id.clone(),
            name,
        };
        Ok(Candidate { id, base })
    }

    pub(super) fn deregistering(&self, plan: &BakePlan, name: &str) -> Undo {
        let name = name.to_owned();
        self.undoing(&plan.run, Removal::DeregisterImage { name })
            .into()
    }

    /// Owes an image, with what comes with it, and makes the call that makes it. A name that is
    /// taken is an answer that was lost: the SDK has asked again.
    pub(super) async fn new_image<const N: usize>(
        &self,
        plan: &BakePlan,
        name: &str,
        debts: [(Due, Undo); N],
        call: BoxFuture<'static, Result<Option<String>, Ec2Error>>,
        cx: &PhaseContext<'_>,
    ) -> Result<([DebtId; N], String), Ec2Error> {
        let (ec2, run, name) = (self.clone(), plan.run.clone(), name.to_owned());
        let call = Box::pin(async move {
            let id = match call.await {
                Ok(id) => id.unwrap_or_default(),
                Err(error) if error.code() == Some("InvalidAMIName.Duplicate") => {
                    ec2.made_before(&run, &name, error).await?
                }
                Err(error) => return Err(error),
            };
            ec2.born(&id);
            Ok(id)
        });
        cx.ledger.create(debts, Ec2Error::is_refusal, call).await
    }

    /// Returns the run's image of a name that is taken. Another's that was free when this run began
    /// belongs to a build that was quicker.
    async fn made_before(
        &self,
        run: &RunId,
        name: &str,
        error: Ec2Error,
    ) -> Result<String, Ec2Error> {
        // What goes wrong with looking says nothing of what was made.
        let Ok(of_name) = self.images(vec![tags::filter("name", [name])]).await else {
            return Err(error);
        };
        let other = of_name.into_iter().find(|image| !is_ours(image, run));
        if let Some(by) = other.and_then(|image| image.image_id) {
            let name = name.to_owned();
            return Err(Ec2Error::Taken { name, by });
        }
        let found = self.look(|| self.find_image(run, name)).await;
        found
            .ok()
            .and_then(|ids| ids.into_iter().next())
            .ok_or(error)
    }

    /// Stops the builder; returns it as it is then.
    async fn stop(&self, id: &str, cx: &PhaseContext<'_>) -> Result<Instance, TargetError> {
        let request = self.ec2.stop_instances().instance_ids(id);
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("StopInstances", e))
        };
        let builder = [id.to_owned()];
        let stopping = self.persist(|| self.once_known(&builder, asking));
        if let Err(error) = stopping.await {
            return Err(self.explain(error).await);
        }
        let wanted = Wanted {
            what: id,
            state: "stopped",
            limit: STOP,
            key: None,
        };
        self.wait(wanted, cx, |_| async move {
            let Some(found) = self.polled_instance(id).await? else {
                return Ok(self.unseen(id));
            };
            Ok(match launch::state(&found) {
                "stopped" => Wait::Done(found),
                state @ ("terminated" | "shutting-down") => Wait::Dead {
                    state: state.to_owned(),
                    reason: launch::reason(&found),
                },
                state => Wait::Longer(state.to_owned(), None),
            })
        })
        .await
    }

    pub(super) async fn wait_until_available(
        &self,
        plan: &BakePlan,
        id: &str,
        cx: &PhaseContext<'_>,
    ) -> Result<Image, TargetError> {
        let limit = plan.builder.timeouts.image;
        let image = self.await_image(&plan.run, id, limit, cx).await?;
        // They come with their image, and not all of EC2 knows them either.
        for snapshot in snapshots_of(&image) {
            self.born(&snapshot);
        }
        Ok(image)
    }

    async fn await_image(
        &self,
        run: &RunId,
        id: &str,
        limit: Duration,
        cx: &PhaseContext<'_>,
    ) -> Result<Image, TargetError> {
        let wanted = Wanted {
            what: id,
            state: "available",
            limit,
            key: Some("image"),
        };
        let percent = &Mutex::new(None);
        let available = self.wait(wanted, cx, |_| async move {
            Ok(match self.polled_image(id).await? {
                Some(image) if image.state() == Some(&ImageState::Available) => Wait::Done(image),
                Some(image) if has_failed(&image) => {
                    let state = image.state().map_or("failed", ImageState::as_str);
                    let reason = image.state_reason().and_then(|r| r.message());
                    Wait::Dead {
                        state: state.to_owned(),
                        reason: reason.map(str::to_owned),
                    }
                }
                Some(_) => Wait::Longer("pending".into(), *lock(percent)),
                None => self.unseen(id),
            })
        });
        tokio::select! {
            image = available => image,
            never = self.watch_progress(run, percent) => match never {},
        }
    }

    /// Keeps up how far the slowest of the run's snapshots is. Not knowing is no failure.
    async fn watch_progress(&self, run: &RunId, percent: &Mutex<Option<u8>>) -> Infallible {
        let progress = |s: &Snapshot| {
            s.progress()
                .and_then(|p| p.trim_end_matches('%').parse().ok())
        };
        loop {
            // The rounds come every `PROGRESS`, whatever they say.
            if let Ok(snapshots) = self.polled_snapshots(run, PROGRESS).await {
                *lock(percent) = snapshots.iter().filter_map(progress).min();
            }
        }
    }

    /// What EC2 does not list is either so new that not all of EC2 knows it, or somebody removed it.
    fn unseen<T>(&self, id: &str) -> Wait<T> {
        if self.is_young(id) {
            return Wait::Longer("not visible".into(), None);
        }
        Wait::Dead {
            state: "unknown to EC2".into(),
            reason: Some("was it removed by hand?".into()),
        }
    }

    /// Returns the run's image of this name, if it is there.
    pub(super) async fn find_image(
        &self,
        run: &RunId,
        name: &str,
    ) -> Result<Vec<String>, Ec2Error> {
        let filters = vec![tags::of_run(run), tags::filter("name", [name])];
        let mut found = self.images(filters).await?;
        found.retain(|image| is_ours(image, run));
        Ok(found.into_iter().filter_map(|i| i.image_id).collect())
    }

    /// Returns why CreateImage's image must stay the image, if it must: what RegisterImage would lose of
    /// `source`'s.
    pub(super) async fn lost_by_registering(
        &self,
        source: &Image,
    ) -> Result<Option<&'static str>, Ec2Error> {
        if has_products(source) {
            return Ok(Some("has product codes, which RegisterImage would lose"));
        }
        match self.uefi_data(source).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_denied() => Ok(Some(
                "may have UEFI variables, which RegisterImage would lose without the permission ec2:DescribeImageAttribute",
            )),
            // Another's image is not told of: ours, made of it, will be. The credentials were good for
            // what was asked before.
            Err(error) if error.is_refusal() || error.code() == Some("AuthFailure") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether CreateImage's image must stay the image.
    pub(super) fn keeps_first_image(&self) -> bool {
        self.state().keeps_first_image
    }

    fn first_name(&self, plan: &BakePlan) -> String {
        if self.keeps_first_image() {
            plan.image.name.clone()
        } else {
            tags::candidate_name(&plan.run)
        }
    }
}

fn lock(percent: &Mutex<Option<u8>>) -> MutexGuard<'_, Option<u8>> {
    percent.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether machines of an image may boot by UEFI, and so have variables of it.
pub(super) fn may_be_uefi(image: &Image) -> bool {
    let mode = image.boot_mode.as_ref().map(BootModeValues::as_str);
    mode.is_some_and(|mode| mode.starts_with("uefi"))
}

/// Returns whether a source's products or billing would be lost by RegisterImage.
pub(super) fn has_products(image: &Image) -> bool {
    let billed = image
        .usage_operation()
        .is_some_and(|operation| operation != "RunInstances");
    !image.product_codes().is_empty() || billed
}

fn has_failed(image: &Image) -> bool {
    matches!(
        image.state(),
        Some(
            ImageState::Failed | ImageState::Error | ImageState::Invalid | ImageState::Deregistered
        )
    )
}

/// Returns how many volumes an instance has, if EC2 says so: its image will have as many snapshots.
fn disks_of(instance: &Instance) -> Option<usize> {
    let mapped = instance.block_device_mappings().iter();
    Some(mapped.filter(|m| m.ebs().is_some()).count()).filter(|n| *n > 0)
}

/// Returns the ids of an image's snapshots.
pub(super) fn snapshots_of(image: &Image) -> Vec<String> {
    let disks = image.block_device_mappings().iter();
    disks.filter_map(|m| m.ebs()?.snapshot_id.clone()).collect()
}

/// Returns the base a source image is.
pub(super) fn base(image: &Image) -> Base {
    Base::Image {
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Instant, Pace, sleep};
    use crate::event::{self, Event, Phase};
    use crate::ledger::Ledger;
    use crate::run::rfc3339;
    use crate::targets::ec2::YOUNG;
    use crate::targets::ec2::canned::{Canned, Said};
    use crate::targets::ec2::client::POLL;
    use aws_sdk_ec2::types::ProductCode;

    #[tokio::test]
    async fn an_image_that_is_listed_no_more_was_removed_unless_it_is_new() {
        let ec2 = Ec2::new(Some("eu-west-1")).await.unwrap();
        ec2.born("ami-1");
        assert!(matches!(ec2.unseen::<()>("ami-1"), Wait::Longer(..)));
        let earlier = Instant::now().checked_sub(YOUNG).unwrap();
        ec2.state().born.insert("ami-1".to_owned(), earlier);
        let gone = Wait::<()>::Dead {
            state: "unknown to EC2".into(),
            reason: Some("was it removed by hand?".into()),
        };
        assert_eq!(ec2.unseen("ami-1"), gone);
    }

    const RUN: &str = "20260727t101500z-0a1b2c3d4e5f6071";

    /// Returns what waiting for an image comes to, and what is told meanwhile.
    async fn available(ec2: &Ec2) -> (Result<Image, TargetError>, Vec<Option<u8>>) {
        let (folder, run) = (tempfile::tempdir().unwrap(), RUN.parse().unwrap());
        let ledger = Ledger::open(folder.path(), &run).unwrap();
        let (events, mut reports) = event::channel();
        let hour = Duration::from_secs(3_600);
        let cx = PhaseContext {
            ledger: &ledger,
            phase: events.phase(Phase::Capture),
            until: Instant::now() + hour,
        };
        ec2.born("ami-1");
        let waited = ec2.await_image(&run, "ami-1", hour, &cx).await;
        events.close();
        let mut told = Vec::new();
        while let Some(report) = reports.next().await {
            if let Event::PhaseProgress { percent, .. } = report.event {
                told.push(percent);
            }
        }
        (waited, told)
    }

    /// Finds out how late this machine itself is.
    async fn watch_lag(lag: &mut Duration) -> Infallible {
        const STEP: Duration = Duration::from_millis(100);
        loop {
            let since = Instant::now();
            sleep(STEP).await;
            *lag = since.elapsed().saturating_sub(STEP).max(*lag);
        }
    }

    /// However long it takes, what EC2 has done is noticed within three seconds, and how far it is
    /// told on the way.
    #[tokio::test]
    async fn an_image_is_noticed_within_three_seconds_of_being_available() {
        let _pace = Pace::set(20);
        for takes in [1, 7, 130] {
            let takes = Duration::from_secs(takes);
            let began = Instant::now();
            let (mut ec2, canned) = Canned::ec2("eu-west-1", move |call| {
                let age = began.elapsed();
                let state = match age >= takes {
                    true => "available",
                    false => "pending",
                };
                let percent = 100 * age.as_secs() / takes.as_secs();
                Said::Yes(match call.action.as_str() {
                    "DescribeImages" => format!(
                        "<imagesSet><item><imageId>ami-1</imageId><imageState>{state}</imageState></item></imagesSet>"
                    ),
                    _ => format!(
                        "<snapshotSet><item><progress>{percent}%</progress><tagSet><item><key>amibake:run</key><value>{RUN}</value></item></tagSet></item></snapshotSet>"
                    ),
                })
            });
            ec2.poll = POLL;
            let mut lag = Duration::ZERO;
            let (waited, told) = tokio::select! {
                waited = available(&ec2) => waited,
                never = watch_lag(&mut lag) => match never {},
            };
            waited.unwrap();
            let late = began.elapsed().saturating_sub(takes);
            assert!(
                late <= Duration::from_secs(3) + lag,
                "{late:?} after {takes:?}"
            );
            let rounds = usize::try_from(began.elapsed().as_secs()).unwrap() / 2 + 1;
            assert!(canned.asked("DescribeImages").len() <= rounds + 1);
            assert!(canned.asked("DescribeSnapshots").len() <= rounds / 5 + 2);
            let percents: Vec<u8> = told.into_iter().flatten().collect();
            assert!(percents.is_sorted(), "{percents:?}");
            assert!(takes.as_secs() < 30 || percents.iter().any(|p| *p > 50));
        }
    }

    #[tokio::test]
    async fn an_image_that_fails_is_told_with_ec2_s_reason() {
        let (ec2, _) = Canned::ec2("eu-west-1", |call| {
            Said::Yes(match call.action.as_str() {
                "DescribeImages" => "<imagesSet><item><imageId>ami-1</imageId><imageState>failed</imageState><stateReason><code>Client.InternalError</code><message>Snapshot snap-1 is in error: KMS key is disabled</message></stateReason></item></imagesSet>".to_owned(),
                _ => String::new(),
            })
        });
        let said = available(&ec2).await.0.unwrap_err().to_string();
        assert_eq!(
            said,
            "ami-1 became failed while waiting for available: Snapshot snap-1 is in error: KMS key is disabled"
        );
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_ours_by_an_answer_that_was_lost_or_another_s() {
        let ours: RunId = "20260727t101500z-0a1b2c".parse().unwrap();
        let made = rfc3339(ours.began());
        // Another's says so in a tag, and has its own description.
        let taken_by = async |run: &str| {
            let description = tags::made_by(&run.parse().unwrap());
            let listed = format!(
                "<imagesSet><item><imageId>ami-1</imageId><description>{description}</description>\
                 <creationDate>{made}</creationDate><tagSet><item><key>amibake:run</key>\
                 <value>{ours}</value></item></tagSet></item></imagesSet>"
            );
            let (ec2, _) = Canned::ec2("eu-west-1", move |_| Said::Yes(listed.clone()));
            let refusal = Ec2Error::Refused {
                operation: "RegisterImage",
                region: "eu-west-1".into(),
                code: "InvalidAMIName.Duplicate".into(),
                request_id: None,
                source: "in use".into(),
            };
            ec2.made_before(&ours, "web", refusal).await
        };
        assert_eq!(taken_by("20260727t101500z-0a1b2c").await.unwrap(), "ami-1");
        let error = taken_by("20260727t101500z-ffffff").await.unwrap_err();
        assert!(error.is_refusal(), "nothing of ours is there");
        assert_eq!(
            error.to_string(),
            "ami-1 has taken the name web while this image was made"
        );
    }

    /// Returns what would be lost of a source with this boot mode where EC2 answers so, and how often
    /// it was asked.
    async fn lost(mode: &str, answer: fn() -> Said) -> (Option<&'static str>, usize) {
        let (ec2, canned) = Canned::ec2("eu-west-1", move |_| answer());
        let image = Image::builder().image_id("ami-1").boot_mode(mode.into());
        let lost = ec2.lost_by_registering(&image.build()).await.unwrap();
        (lost, canned.asked("DescribeImageAttribute").len())
    }

    #[tokio::test]
    async fn uefi_variables_that_cannot_be_read_keep_the_first_image() {
        let denied = || Said::No("UnauthorizedOperation");
        let (why, asked) = lost("uefi-preferred", denied).await;
        assert!(why.unwrap().contains("ec2:DescribeImageAttribute"));
        assert_eq!(asked, 1);
        assert_eq!(lost("uefi", || Said::No("AuthFailure")).await, (None, 1));
        assert_eq!(lost("uefi", || Said::Yes(String::new())).await, (None, 1));
        assert_eq!(lost("legacy-bios", denied).await, (None, 0));
    }

    #[tokio::test]
    async fn uefi_variables_are_read_as_they_are() {
        let said = "<imageId>ami-1</imageId><uefiData><value>QU1aTlVFRkk=</value></uefiData>";
        let (ec2, _) = Canned::ec2("eu-west-1", move |_| Said::Yes(said.to_owned()));
        let image = Image::builder().boot_mode("uefi".into()).build();
        let data = ec2.uefi_data(&image).await.unwrap();
        assert_eq!(data.as_deref(), Some("QU1aTlVFRkk="));
    }

    #[test]
    fn an_image_with_products_keeps_its_first_image() {
        assert!(!has_products(
            &Image::builder().usage_operation("RunInstances").build()
        ));
        assert!(has_products(
            &Image::builder()
                .usage_operation("RunInstances:0g00")
                .build()
        ));
        assert!(has_products(
            &Image::builder()
                .product_codes(ProductCode::builder().build())
                .build()
        ));
    }
}
