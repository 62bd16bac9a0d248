//! A stack is made, or changed, and what came of it is told.

use std::collections::{BTreeMap, BTreeSet};

use super::change_set::{ChangeSet, Options, Request};
use super::operation::{Ended, Kept, Of, POLL};
use super::template::Template;
use super::{Described, Stack, rollout};
use crate::bake::failed;
use crate::clock::sleep;
use crate::event::Events;
use crate::exit::{Failure, Leftover};
use crate::run::RunId;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// Whether an update had something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Updated {
    Done,
    Nothing,
}

impl Stack {
    /// Changes these parameters of the stack, which must be there, and nothing else of it, and waits until that is done.
    ///
    /// It may be dropped while it waits: CloudFormation goes on by itself.
    pub(crate) async fn update(
        &self,
        parameters: &BTreeMap<String, String>,
        run: &RunId,
        events: &Events,
    ) -> Result<Updated, TargetError> {
        let stack = self.existing().await?;
        let request = Request {
            run,
            stack: Some(&stack),
            template: None,
            parameters,
            options: &Options::default(),
        };
        match self.begin_change(&request, Losses::Refused).await? {
            None => Ok(Updated::Nothing),
            Some(begun) => self
                .end_change(&begun, None, events)
                .await
                .map(|()| Updated::Done),
        }
    }

    /// Begins to change the stack as `request` says; `None` where nothing would change.
    pub(super) async fn begin_change(
        &self,
        request: &Request<'_>,
        losses: Losses,
    ) -> Result<Option<ChangeSet>, TargetError> {
        let Some(mut change_set) = self.propose(request).await? else {
            return Ok(None);
        };
        let lost = lost(request.stack, &change_set);
        change_set.is_loss = !lost.is_empty();
        if change_set.is_loss && losses == Losses::Refused {
            self.delete_change_set(change_set.id()).await?;
            return Err(self.refused_losses(&lost));
        }
        match self.execute(&change_set).await {
            Ok(()) => Ok(Some(change_set)),
            // One that may have been heard is executed, or may be.
            Err(error) if error.is_denied() => {
                Err(self.unproposed(change_set.id(), error.into()).await)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the end of a change. It may be dropped: CloudFormation goes on by itself.
    pub(super) async fn end_change(
        &self,
        begun: &ChangeSet,
        template: Option<&Template>,
        events: &Events,
    ) -> Result<(), TargetError> {
        let followed = match begun.is_loss {
            true => self.follow_with_traffic(begun, events).await,
            false => {
                let of = Of::Token(&begun.token);
                self.follow(&begun.stack, of, events).await
            }
        };
        let ended = followed.map_err(|error| self.going_on("changing", error))?;
        if ended.is_done() {
            for (Kept { resource, id }, why) in &ended.stuck {
                events.warn(format!(
                    "{resource} {id} is no longer the stack's and stays, since CloudFormation could not delete it and does not try again: {why}"
                ));
            }
            return Ok(());
        }
        let why = self.explained(&ended, template).await;
        Err(self.not_changed(&ended, why))
    }

    /// Follows a change that replaces what has the traffic. When all that is new is there, traffic follows to it: while its
    /// rule leads to target groups of before, these cannot go.
    async fn follow_with_traffic(
        &self,
        begun: &ChangeSet,
        events: &Events,
    ) -> Result<Ended, TargetError> {
        let mut following = self
            .following(&begun.stack, Of::Token(&begun.token))
            .await?;
        let mut has_followed = false;
        loop {
            let ended = self.look_at(&mut following, events).await?;
            // It may have given up what the rule keeps by now: traffic follows all the same.
            if !has_followed && following.has_come_to_clean_up() {
                has_followed = true;
                self.lead_on(events).await;
            }
            if let Some(ended) = ended {
                return Ok(ended);
            }
            sleep(POLL).await;
        }
    }

    async fn lead_on(&self, events: &Events) {
        match rollout::lead_on(self).await {
            Ok(true) => events.note("traffic follows to the target groups that are new".to_owned()),
            Ok(false) => {}
            // The rollout that comes next does it.
            Err(error) => events.warn(format!(
                "traffic does not follow to the new target groups yet, and those of before may stay: {}",
                error.on_one_line()
            )),
        }
    }

    /// Returns why nobody sees what becomes of an operation, which goes on all the same.
    pub(super) fn going_on(&self, doing: &str, error: TargetError) -> TargetError {
        let (name, region) = (&self.name, &self.region);
        let told = format!(
            "CloudFormation goes on {doing} stack {name}: `amibake stack status {name} --region {region}` looks"
        );
        let hint = error.hint().map(|hint| format!("{hint}; {told}"));
        error.with_hint(hint.unwrap_or(told))
    }

    /// Returns that something would go which a rollout stands on: its replacement has no traffic.
    fn refused_losses(&self, lost: &[String]) -> TargetError {
        let message = format!(
            "this would take away what has the traffic of stack {}",
            self.name
        );
        let error = TargetError::manifest(message).because(lost.join(", "));
        error.with_hint("nothing was changed; `--plan` shows all of it, and `--allow-replacement` does it: requests fail meanwhile")
    }

    fn not_changed(&self, ended: &Ended, why: Option<String>) -> TargetError {
        let (name, status) = (&self.name, &ended.status);
        let hint = match &**status {
            "UPDATE_ROLLBACK_COMPLETE" => "the stack is as it was before".to_owned(),
            "UPDATE_ROLLBACK_FAILED" => how_to_continue(name.as_str()),
            _ => format!("`amibake stack history {name}` shows what was done"),
        };
        let message = format!("stack {name} could not be changed and is {status}");
        let error = TargetError::new(message).with_hint(hint);
        match why {
            Some(why) => error.because(why),
            None => error,
        }
    }

    /// Begins to make the stack.
    pub(super) async fn begin_creation(
        &self,
        request: &Request<'_>,
        review: Review,
    ) -> Result<ChangeSet, Failure> {
        let why = match self.propose(request).await {
            Ok(Some(change_set)) => match self.execute(&change_set).await {
                Ok(()) => return Ok(change_set),
                // One that may have been heard is executed, or may be.
                Err(error) if error.is_denied() => {
                    self.unproposed(change_set.id(), error.into()).await
                }
                Err(error) => error.into(),
            },
            Ok(None) => TargetError::manifest("the template has no resources"),
            Err(error) => error,
        };
        Err(self.unreviewed(failed(why), review, request.run).await)
    }

    /// Waits until the stack is made. What could not be made whole goes again. It may be dropped: CloudFormation goes on
    /// by itself.
    pub(super) async fn end_creation(
        &self,
        begun: &ChangeSet,
        template: &Template,
        events: &Events,
    ) -> Result<(), Failure> {
        let of = Of::Token(&begun.token);
        let followed = self.follow(&begun.stack, of, events).await;
        let ended = followed.map_err(|error| failed(self.going_on("making", error)))?;
        if ended.is_done() {
            return Ok(());
        }
        let why = self.explained(&ended, Some(template)).await;
        Err(self.not_made(&ended, why))
    }

    fn not_made(&self, ended: &Ended, why: Option<String>) -> Failure {
        let (name, status) = (&self.name, &ended.status);
        let message = format!("stack {name} could not be made");
        let error = TargetError::new(message);
        let mut failure = failed(match why {
            Some(why) => error.because(why),
            None => error,
        });
        match &**status {
            "DELETE_COMPLETE" => {
                failure.cleaned_up = Some("what was made of it is gone".to_owned());
            }
            _ => failure.left_behind.push(self.leftover(status)),
        }
        failure
    }

    /// Returns the stack as something that is left behind.
    pub(super) fn leftover(&self, status: &str) -> Leftover {
        Leftover {
            what: format!("stack {} in {}, which is {status}", self.name, self.region),
            remove_with: format!(
                "amibake stack destroy {} --region {}",
                self.name, self.region
            ),
        }
    }

    /// Returns why nothing came of a stack, of which CloudFormation then has nothing but a name in review; that goes.
    pub(super) async fn unreviewed(
        &self,
        mut failure: Failure,
        review: Review,
        run: &RunId,
    ) -> Failure {
        if let Err(error) = self.end_review(review, run).await {
            failure
                .left_behind
                .push(self.leftover("REVIEW_IN_PROGRESS"));
            let why = crate::exit::chain(&error);
            let hint = failure.hint.map(|hint| format!("{hint}; {why}"));
            failure.hint = hint.or(Some(why));
        }
        failure
    }

    /// Deletes the stack in review that this run has brought about, and waits until its name is free. It stays where
    /// somebody else has a change set in it by now: whose review it is has that to judge, or is about to execute it.
    pub(super) async fn end_review(&self, review: Review, run: &RunId) -> Result<(), Ec2Error> {
        if review == Review::Found {
            return Ok(());
        }
        let mut is_alone = false;
        loop {
            let Some(stack) = self.described_patiently().await? else {
                return Ok(());
            };
            if stack.status == "REVIEW_IN_PROGRESS" {
                is_alone = is_alone || self.change_sets_besides(run).await?.is_empty();
                if !is_alone {
                    return Ok(());
                }
                let asked = self.cfn.delete_stack().stack_name(&stack.id);
                let call = || asked.clone().send();
                self.patiently("DeleteStack", call).await?;
            } else if stack.status != "DELETE_IN_PROGRESS" {
                return Ok(()); // somebody made something of it
            }
            sleep(POLL).await;
        }
    }
}

/// Whose a stack in review is, while another change set is made in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Review {
    /// This run's: there was no stack.
    Own,
    /// It was there.
    Found,
}

/// Returns what a change set replaces or removes of what a stack tells, which a rollout stands on.
fn lost(stack: Option<&Described>, change_set: &ChangeSet) -> Vec<String> {
    let outputs = stack.iter().flat_map(|stack| stack.outputs.values());
    let needed: BTreeSet<&str> = outputs.map(String::as_str).collect();
    let lost = change_set.changes.that_lose(&needed);
    lost.map(|(name, fate)| format!("{name} would be {fate}"))
        .collect()
}

/// What becomes of an update that would replace or remove what has the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Losses {
    Refused,
    Taken,
}

/// Returns how a stack comes out of UPDATE_ROLLBACK_FAILED.
pub(super) fn how_to_continue(name: &str) -> String {
    format!(
        "CloudFormation could not go back either: mend what it names, then `aws cloudformation continue-update-rollback --stack-name {name}`; with `--resources-to-skip NAME` it leaves that one as it is"
    )
}
