//! A lock of a name that is given, for work that is no build: a stack's. It is as `lock` has it, but who
//! wants one does not wait: whoever has it is told.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::types::ResourceType;
use sha2::{Digest, Sha256};

use super::client::Lock;
use super::error::Ec2Error;
use super::lock::{DEAD, PREFIX, is_taken, nothing};
use super::{Ec2, tags};
use crate::clock;
use crate::run::RunId;
use crate::targets::{BEAT, TargetError};

/// The name of a launch template is no longer.
const LONGEST_NAME: usize = 128;

/// How long one stays that nobody gives back and nobody takes over.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// How often it is asked for while it is there one moment, and not the next.
const ASKS: u32 = 10;

/// What came of asking for one.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one, and it is taken apart at once"
)]
pub(crate) enum NamedTurn {
    Ours {
        lock: NamedLock,
        /// Whose it was, if that one is dead.
        dead: Option<String>,
    },
    Held {
        run: Option<RunId>,
        /// How long ago its holder was heard of.
        heard: Duration,
    },
    /// There can be none, for want of a permission: it is a courtesy.
    Denied { why: String },
}

/// A lock that this process holds: it is told to be so every minute, until this is dropped.
pub(crate) struct NamedLock {
    ec2: Ec2,
    lock: Lock,
    beating: tokio::task::AbortHandle,
    /// Why the last beat was refused, if it was.
    refused: Arc<Mutex<Option<String>>>,
}

impl Drop for NamedLock {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

impl NamedLock {
    fn new(ec2: &Ec2, lock: Lock) -> Self {
        let (beaten, held) = (ec2.clone(), lock.clone());
        let refused: Arc<Mutex<Option<String>>> = Arc::default();
        let told = Arc::clone(&refused);
        let beating = tokio::spawn(async move {
            loop {
                clock::sleep(BEAT).await;
                // What EC2 could not do now, the next beat does.
                let beat = beaten.beat(&held).await;
                let why = beat
                    .err()
                    .map(|error| TargetError::from(error).on_one_line());
                *told.lock().unwrap_or_else(PoisonError::into_inner) = why;
            }
        });
        Self {
            ec2: ec2.clone(),
            lock,
            beating: beating.abort_handle(),
            refused,
        }
    }

    /// Returns why it could not be said of late that its holder works, if that was so.
    pub(crate) fn unrenewed(&self) -> Option<String> {
        let refused = self.refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives it back.
    pub(crate) async fn release(self) -> Result<(), TargetError> {
        let (ec2, id) = (&self.ec2, &self.lock.id);
        ec2.patiently("delete", || ec2.delete_lock(id)).await
    }
}

impl Ec2 {
    /// Asks for the lock `name`.
    pub(crate) async fn named_lock(
        &self,
        name: &str,
        run: &RunId,
    ) -> Result<NamedTurn, TargetError> {
        self.be_patient();
        match self.ask_for_named_lock(&full(name), run).await {
            Ok(turn) => Ok(turn),
            Err(error) if error.is_refusal() => Ok(NamedTurn::Denied {
                why: TargetError::from(error).on_one_line(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns who has the lock `name` and how long ago that one was heard of, unless it is nobody's.
    pub(crate) async fn named_lock_s_holder(
        &self,
        name: &str,
    ) -> Result<Option<(Option<RunId>, Duration)>, TargetError> {
        let beat = self.beat_of(&full(name)).await?;
        let alive = beat.filter(|beat| beat.age < DEAD);
        Ok(alive.map(|beat| (beat.run, beat.age)))
    }

    async fn ask_for_named_lock(&self, name: &str, run: &RunId) -> Result<NamedTurn, Ec2Error> {
        let mut dead = None;
        for ask in 1..=ASKS {
            match self.make_named_lock(name, run, ask).await {
                Ok(id) => {
                    let run = run.clone();
                    let lock = NamedLock::new(self, Lock { id, run });
                    return Ok(NamedTurn::Ours { lock, dead });
                }
                Err(error) if is_taken(&error) => {}
                Err(error) => return Err(error),
            }
            let Some(beat) = self.beat_of(name).await? else {
                // It went this moment, or is not known everywhere yet.
                clock::sleep(self.poll).await;
                continue;
            };
            if beat.run.as_ref() == Some(run) {
                // By an answer that was lost it is this run's.
                let (id, run) = (beat.id, run.clone());
                let lock = NamedLock::new(self, Lock { id, run });
                return Ok(NamedTurn::Ours { lock, dead });
            }
            if beat.age < DEAD {
                let (run, heard) = (beat.run, beat.age);
                return Ok(NamedTurn::Held { run, heard });
            }
            dead = Some(beat.holder());
            self.persist(|| self.delete_lock(&beat.id)).await?;
        }
        Ok(NamedTurn::Held {
            run: None,
            heard: Duration::ZERO,
        })
    }

    async fn make_named_lock(&self, name: &str, run: &RunId, ask: u32) -> Result<String, Ec2Error> {
        let request = self
            .ec2
            .create_launch_template()
            .launch_template_name(name)
            .client_token(format!("{run}-{ask}-lock"))
            .version_description(tags::made_by(run))
            .launch_template_data(nothing())
            .tag_specifications(tags::specification(
                ResourceType::LaunchTemplate,
                &tags::named_lock(run, LIFETIME),
            ));
        let asking = || async {
            let answer = request.clone().send().await;
            answer.map_err(|e| self.refused("CreateLaunchTemplate", e))
        };
        let made = self.persist(asking).await?;
        let id = made.launch_template.and_then(|t| t.launch_template_id);
        let id = id.unwrap_or_default();
        self.born(&id); // who gives it back at once is not told that it is gone
        Ok(id)
    }
}

/// Returns a lock's whole name, or what is short enough and as much its own.
fn full(name: &str) -> String {
    let whole = format!("{PREFIX}{name}");
    match whole.len() <= LONGEST_NAME {
        true => whole,
        false => format!("{PREFIX}{}", hex::encode(&Sha256::digest(name)[..16])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::ec2::canned::{Canned, Said};

    const OURS: &str = "20260727t101500z-0a1b2c3d4e5f6071";
    const OTHER: &str = "20260727t091500z-0a1b2c3d4e5f6072";

    fn held_by(run: &str) -> Said {
        let run: RunId = run.parse().unwrap();
        let by = tags::made_by(&run);
        Said::Yes(format!(
            "<launchTemplateVersionSet><item><launchTemplateId>lt-1</launchTemplateId>\
             <versionDescription>{by}</versionDescription></item></launchTemplateVersionSet>"
        ))
    }

    async fn asked(holder: &'static str) -> NamedTurn {
        let (ec2, _) = Canned::ec2("eu-west-1", move |call| match call.action.as_str() {
            "CreateLaunchTemplate" => Said::No("InvalidLaunchTemplateName.AlreadyExistsException"),
            _ => held_by(holder),
        });
        let run = OURS.parse().unwrap();
        ec2.named_lock("stack-web", &run).await.unwrap()
    }

    #[tokio::test]
    async fn one_that_is_taken_is_this_run_s_by_its_version_or_somebody_else_s_who_is_told() {
        assert!(matches!(
            asked(OURS).await,
            NamedTurn::Ours { dead: None, .. }
        ));
        let NamedTurn::Held { run, .. } = asked(OTHER).await else {
            panic!("it is another's");
        };
        assert_eq!(run.unwrap().as_str(), OTHER);
    }

    #[tokio::test]
    async fn without_the_permission_work_goes_on_without() {
        let (ec2, _) = Canned::ec2("eu-west-1", |_| Said::No("UnauthorizedOperation"));
        let run = OURS.parse().unwrap();
        let turn = ec2.named_lock("stack-web", &run).await.unwrap();
        assert!(matches!(turn, NamedTurn::Denied { .. }));
    }

    #[test]
    fn the_longest_name_of_a_stack_is_short_enough() {
        assert_eq!(full("stack-web"), "amibake-lock-stack-web");
        let long = full(&format!("stack-{}", "a".repeat(128)));
        assert!(
            long.len() <= LONGEST_NAME && long.starts_with(PREFIX),
            "{long}"
        );
        assert_ne!(long, full(&format!("stack-{}", "a".repeat(127))));
    }
}
