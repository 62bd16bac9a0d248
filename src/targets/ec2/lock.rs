//! A lock that runs of any machine share: a launch template, whose name EC2 gives to one alone.
//!
//! Its holder makes a new version of it every minute, and whoever waits reads how old the newest is: by
//! EC2's own clock, on both sides, so that nobody's is trusted. One that has not beaten for ten minutes is
//! removed by its id, never by its name, which may be another's by then; one of this host whose process is
//! gone, by its journal, at once. EC2 compares and sets nothing, so a
//! lock is a courtesy: two holders must do no harm. Where it is not permitted, work goes on without.

use std::time::Duration;

use aws_sdk_ec2::operation::create_launch_template::builders::CreateLaunchTemplateFluentBuilder;
use aws_sdk_ec2::types::{RequestLaunchTemplateData, ResourceType, ShutdownBehavior};

use super::client::Lock;
use super::debts::Removal;
use super::describe::Beat;
use super::error::Ec2Error;
use super::{Ec2, tags};
use crate::clock::{self, Instant};
use crate::identity::Content;
use crate::ledger::{Due, Ledger};
use crate::plan::{BakePlan, Reuse};
use crate::run::RunId;
use crate::targets::{PhaseContext, TargetError, Turn};

/// A holder that has not beaten for so long is dead; it does so every [`crate::targets::BEAT`].
pub(super) const DEAD: Duration = Duration::from_secs(10 * 60);

/// How often those who wait look.
const LOOK: Duration = Duration::from_secs(5);

/// What came of asking for one.
enum Asked {
    Held,
    /// Another has it, or had it a moment ago.
    Taken,
}

/// Returns the name of the lock that those have who make an image of one content.
pub(super) fn name_of(content: &Content) -> String {
    format!("{PREFIX}{}", content.hash)
}

/// How the names of all locks begin.
pub(super) const PREFIX: &str = "amibake-lock-";

impl Ec2 {
    /// Waits until this run alone makes an image of `content`, or another has made it.
    pub(super) async fn wait_for_turn(
        &self,
        plan: &BakePlan,
        content: &Content,
        cx: &PhaseContext<'_>,
    ) -> Result<Turn, TargetError> {
        match self.turn(plan, content, cx).await {
            Ok(turn) => Ok(turn),
            // It is a courtesy: what EC2 says no to, for want of a permission or of room, stops no build.
            Err(error) if error.is_refusal() => {
                let why = TargetError::from(error).on_one_line();
                cx.phase.warn(format!(
                    "nothing keeps other builds from making the same image at the same time: {why}"
                ));
                Ok(Turn::Ours)
            }
            Err(error) => Err(self.explain(error).await),
        }
    }

    async fn turn(
        &self,
        plan: &BakePlan,
        content: &Content,
        cx: &PhaseContext<'_>,
    ) -> Result<Turn, Ec2Error> {
        let name = name_of(content);
        let since = Instant::now();
        for ask in 1.. {
            self.state().until = Some(Instant::now() + plan.builder.timeouts.total);
            if let Asked::Held = self.ask_for_lock(&name, ask, plan, cx.ledger).await? {
                // It may have been made between the last look and this.
                let made = self.finished_or_passed(plan, content, cx).await?;
                return Ok(made.map_or(Turn::Ours, Turn::Made));
            }
            if let Some(turn) = self.wait_until_free(&name, plan, since, cx).await? {
                return Ok(turn);
            }
            if let Some(made) = self.finished(plan, content).await? {
                return Ok(Turn::Made(made));
            }
        }
        unreachable!("it is asked for until there is an answer")
    }

    /// Waits until nobody holds a lock, or who does is dead. Who makes another image anyway does not wait.
    async fn wait_until_free(
        &self,
        name: &str,
        plan: &BakePlan,
        since: Instant,
        cx: &PhaseContext<'_>,
    ) -> Result<Option<Turn>, Ec2Error> {
        let Some(mut beat) = self.beat_of(name).await? else {
            // It went this moment, or is not known everywhere yet.
            clock::sleep(self.poll).await;
            return Ok(None);
        };
        if plan.reuse == Reuse::Never {
            let message = format!("{} makes the same image at this time", beat.holder());
            cx.phase.warn(message);
            return Ok(Some(Turn::Ours));
        }
        let limit = 2 * plan.builder.timeouts.total;
        let is_of_dead = |beat: &Beat| {
            let mut run = beat.run.iter();
            run.any(|run| cx.ledger.knows_as_dead(run))
        };
        while beat.age < DEAD && !is_of_dead(&beat) {
            if since.elapsed() > limit {
                return Err(Ec2Error::TooSlow {
                    what: format!("{}, which makes the same image,", beat.holder()),
                    wanted: "done",
                    after: limit,
                    key: Some("total"),
                });
            }
            self.state().until = Some(Instant::now() + plan.builder.timeouts.total);
            let minutes = since.elapsed().as_secs() / 60;
            let holder = beat.holder();
            let message =
                format!("waiting for {holder}, which makes the same image: {minutes} min");
            cx.phase.progress(message, None);
            clock::sleep(LOOK).await;
            match self.beat_of(name).await? {
                Some(next) => beat = next,
                None => return Ok(None),
            }
        }
        let holder = beat.holder();
        let why = match beat.age < DEAD {
            true => format!("{holder} ended on this host without paying its debts"),
            false => format!(
                "{holder} has not been heard of for {} minutes",
                beat.age.as_secs() / 60
            ),
        };
        cx.phase.warn(format!("{why}: its lock is taken over"));
        self.persist(|| self.delete_lock(&beat.id)).await?;
        Ok(None)
    }

    /// Asks for a lock, the `ask`th time. Whose it is, its version says: a token is remembered for a while.
    async fn ask_for_lock(
        &self,
        name: &str,
        ask: usize,
        plan: &BakePlan,
        ledger: &Ledger,
    ) -> Result<Asked, Ec2Error> {
        let run = &plan.run;
        let removal = Removal::DeleteLock {
            name: name.to_owned(),
        };
        let debt = self.undoing(run, removal).into();
        let request = self.lock_request(plan, name, ask);
        let (ec2, own, name) = (self.clone(), run.clone(), name.to_owned());
        let call = Box::pin(async move {
            let asking = || async {
                let answer = request.clone().send().await;
                answer.map_err(|e| ec2.refused("CreateLaunchTemplate", e))
            };
            let id = match ec2.persist(asking).await {
                Ok(made) => made.launch_template.and_then(|t| t.launch_template_id),
                // By an answer that was lost it may be this run's.
                Err(error) if is_taken(&error) => {
                    let beat = ec2.beat_of(&name).await.ok().flatten();
                    let ours = beat.filter(|beat| beat.run.as_ref() == Some(&own));
                    Some(ours.ok_or(error)?.id)
                }
                Err(error) => return Err(error),
            };
            let id = id.unwrap_or_default();
            ec2.born(&id);
            Ok(id)
        });
        let debts = [(Due::Always, debt)];
        match ledger.create(debts, Ec2Error::is_refusal, call).await {
            Ok((_, id)) => {
                let run = run.clone();
                self.state().lock = Some(Lock { id, run });
                Ok(Asked::Held)
            }
            Err(error) if is_taken(&error) => Ok(Asked::Taken),
            Err(error) => Err(error),
        }
    }

    /// Returns the call that makes a lock.
    pub(super) fn lock_request(
        &self,
        plan: &BakePlan,
        name: &str,
        ask: usize,
    ) -> CreateLaunchTemplateFluentBuilder {
        let run = &plan.run;
        let end = &name[name.len().saturating_sub(8)..];
        self.ec2
            .create_launch_template()
            .launch_template_name(name)
            .client_token(format!("{run}-{ask}-{end}"))
            .version_description(tags::made_by(run))
            .launch_template_data(nothing())
            .tag_specifications(tags::specification(
                ResourceType::LaunchTemplate,
                &tags::lock(plan, self.lifetime()),
            ))
    }

    /// Says that the holder works, if this run holds a lock.
    pub(super) async fn beat_lock(&self) {
        let Some(lock) = self.state().lock.clone() else {
            return;
        };
        // What EC2 could not do now, the next beat does.
        let _beaten = self.beat(&lock).await;
    }

    /// Looks once more whether the lock is this run's, before what others would do too. One that is lost is told
    /// once.
    pub(super) async fn recheck_lock(&self, cx: &PhaseContext<'_>) {
        let Some(lock) = self.state().lock.clone() else {
            return;
        };
        let id = [lock.id.clone()];
        let beating = || self.once_known(&id, || self.beat(&lock));
        let why = match self.persist(beating).await {
            Ok(()) => return,
            Err(error) if error.is_not_found() => {
                "its lock was taken over: was this machine asleep?".to_owned()
            }
            Err(error) => TargetError::from(error).on_one_line(),
        };
        if std::mem::replace(&mut self.state().lock_is_doubted, true) {
            return;
        }
        cx.phase
            .warn(format!("another build may make the same image: {why}"));
    }

    /// Makes a new version of a lock: of a name that is another's now, its id is unknown.
    pub(super) async fn beat(&self, lock: &Lock) -> Result<(), Ec2Error> {
        let request = self.ec2.create_launch_template_version();
        let request = request
            .launch_template_id(&lock.id)
            .version_description(tags::made_by(&lock.run))
            .launch_template_data(nothing());
        let answer = request.send().await;
        let answer = answer.map_err(|e| self.refused("CreateLaunchTemplateVersion", e));
        answer.map(drop)
    }

    /// Returns the run's lock of this name, if it is there.
    pub(super) async fn find_lock(&self, run: &RunId, name: &str) -> Result<Vec<String>, Ec2Error> {
        let named = tags::filter("launch-template-name", [name]);
        let found = self
            .launch_templates(vec![tags::of_run(run), named])
            .await?;
        Ok(found
            .into_iter()
            .filter_map(|t| t.launch_template_id)
            .collect())
    }

    /// Removes a lock; returns whether it is gone.
    pub(super) async fn delete_lock(&self, id: &str) -> Result<bool, Ec2Error> {
        let request = self.ec2.delete_launch_template();
        let answer = request.launch_template_id(id).send().await;
        self.removed(
            id,
            answer.map_err(|e| self.refused("DeleteLaunchTemplate", e)),
        )
    }
}

impl Beat {
    /// Returns who holds the lock, for people.
    pub(super) fn holder(&self) -> String {
        match &self.run {
            Some(run) => format!("run {run}"),
            None => format!("the holder of {}", self.id),
        }
    }
}

/// EC2 takes no template without anything in it. From this one nothing can be launched.
pub(super) fn nothing() -> RequestLaunchTemplateData {
    RequestLaunchTemplateData::builder()
        .instance_initiated_shutdown_behavior(ShutdownBehavior::Terminate)
        .build()
}

pub(super) fn is_taken(error: &Ec2Error) -> bool {
    error.code() == Some("InvalidLaunchTemplateName.AlreadyExistsException")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::BakeEnd;
    use crate::manifest::{self, Given, TargetKind};
    use crate::plan::{self, OnError};
    use crate::targets::ec2::canned::{Canned, Said};
    use time::OffsetDateTime;

    /// Returns what came of asking where the name is taken by this run, or by another, and what is owed then.
    async fn asked(by_this: bool) -> (bool, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yaml");
        std::fs::write(&path, "name: web\nsource: {ami: ami-0123456789abcdef0}\n").unwrap();
        let now = OffsetDateTime::now_utc();
        let manifest = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now).unwrap();
        let plan = &plans[0];
        let other = RunId::new(now).unwrap();
        let holder = tags::made_by(if by_this { &plan.run } else { &other });
        let (ec2, _) = Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
            "CreateLaunchTemplate" => Said::No("InvalidLaunchTemplateName.AlreadyExistsException"),
            _ => Said::Yes(format!(
                "<launchTemplateVersionSet><item><launchTemplateId>lt-1</launchTemplateId>\
                 <versionDescription>{holder}</versionDescription></item></launchTemplateVersionSet>"
            )),
        });
        let ledger = Ledger::open(folder.path(), &plan.run).unwrap();
        let asked = ec2
            .ask_for_lock("amibake-lock-0123", 1, plan, &ledger)
            .await;
        let owed = ledger.outstanding(&ec2, BakeEnd::Succeeded);
        let owed = owed.into_iter().map(|left| left.what).collect();
        (matches!(asked.unwrap(), Asked::Held), owed)
    }

    /// Its answer was lost, and its token forgotten.
    #[tokio::test]
    async fn a_lock_that_is_there_already_is_this_run_s_by_its_version() {
        let owed = vec!["lock lt-1 in eu-west-1".to_owned()];
        assert_eq!(asked(true).await, (true, owed));
        assert_eq!(asked(false).await, (false, Vec::new()));
    }
}
