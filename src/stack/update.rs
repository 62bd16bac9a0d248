//! A stack is made, or changed, and what came of it is told.

use std::collections::{BTreeMap, BTreeSet};

use super::change_set::{ChangeSet, Options, Request};
use super::operation::{Ended, Of, POLL, is_end};
use super::template::Template;
use super::{Described, Stack};
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
        let Some(change_set) = self.propose(request).await? else {
            return Ok(None);
        };
        let refused = match losses {
            Losses::Refused => self.refused_losses(request.stack, &change_set),
            Losses::Taken => None,
        };
        if let Some(error) = refused {
            self.delete_change_set(change_set.id()).await?;
            return Err(error);
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
        let of = Of::Token(&begun.token);
        let followed = self.follow(&begun.stack, of, events).await;
        let ended = followed.map_err(|error| self.going_on("changing", error))?;
        if ended.is_done() {
            return Ok(());
        }
        let why = self.explained(&ended, template).await;
        Err(self.not_changed(&ended, why))
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
    fn refused_losses(
        &self,
        stack: Option<&Described>,
        change_set: &ChangeSet,
    ) -> Option<TargetError> {
        let outputs = stack.iter().flat_map(|stack| stack.outputs.values());
        let needed: BTreeSet<&str> = outputs.map(String::as_str).collect();
        let lost = change_set.changes.that_lose(&needed);
        let lost: Vec<String> = lost
            .map(|(name, fate)| format!("{name} would be {fate}"))
            .collect();
        if lost.is_empty() {
            return None;
        }
        let message = format!(
            "this would take away what has the traffic of stack {}",
            self.name
        );
        let error = TargetError::manifest(message).because(lost.join(", "));
        Some(error.with_hint("nothing was changed; `--plan` shows all of it, and `--allow-replacement` does it: requests fail meanwhile"))
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
    pub(super) async fn begin_creation(&self, request: &Request<'_>) -> Result<ChangeSet, Failure> {
        let begun = match self.propose(request).await {
            Ok(Some(change_set)) => {
                let executed = self.execute(&change_set).await;
                executed.map(|()| change_set).map_err(TargetError::from)
            }
            Ok(None) => Err(TargetError::manifest("the template has no resources")),
            Err(error) => Err(error),
        };
        match begun {
            Ok(change_set) => Ok(change_set),
            Err(error) => Err(self.unreviewed(failed(error)).await),
        }
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
    pub(super) async fn unreviewed(&self, mut failure: Failure) -> Failure {
        if let Err(error) = self.end_review().await {
            failure
                .left_behind
                .push(self.leftover("REVIEW_IN_PROGRESS"));
            failure.hint = failure.hint.or_else(|| Some(error.to_string()));
        }
        failure
    }

    /// Deletes a stack that is in review and has nothing, and waits until its name is free.
    pub(super) async fn end_review(&self) -> Result<(), Ec2Error> {
        loop {
            let Some(stack) = self.described_patiently().await? else {
                return Ok(());
            };
            if stack.status == "REVIEW_IN_PROGRESS" {
                let asked = self.cfn.delete_stack().stack_name(&stack.id);
                let call = || asked.clone().send();
                self.patiently("DeleteStack", call).await?;
            } else if is_end(&stack.status) {
                return Ok(()); // somebody made something of it
            }
            sleep(POLL).await;
        }
    }
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
