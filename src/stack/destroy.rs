//! A stack goes, but for what its template keeps.
//!
//! What may keep it from going is looked at first. Traffic is left where it goes until CloudFormation has come to what serves:
//! it may refuse to delete a stack, or turn back a moment later (an output that another stack imports).

use super::operation::{Ended, Following, Kept, Of, POLL};
use super::rollout::{OwnRules, RolloutContext};
use super::standing::Standing;
use super::{Described, Stack};
use crate::bake::{failed, interrupted};
use crate::clock::sleep;
use crate::event::Events;
use crate::exit::Failure;
use crate::run::RunId;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

impl Stack {
    /// Returns the stack that would go.
    ///
    /// # Errors
    /// That there is none, that it is protected, or that CloudFormation works on it.
    pub(crate) async fn to_be_destroyed(&self) -> Result<Described, TargetError> {
        let stack = self.existing().await?;
        let problem = self.protected(&stack).or_else(|| self.busy(&stack));
        problem.map_or(Ok(stack), Err)
    }

    /// Refuses what CloudFormation would refuse later, or whoever asks may not do.
    pub(crate) async fn foresee_destroy(
        &self,
        stack: &Described,
        events: &Events,
    ) -> Result<(), Failure> {
        if let Some(problem) = self.imported(stack, events).await {
            return Err(failed(problem));
        }
        self.refuse_destroy_without_leave(stack, events).await
    }

    fn protected(&self, stack: &Described) -> Option<TargetError> {
        let name = &self.name;
        let error = TargetError::new(format!("stack {name} has termination protection"));
        stack.is_protected.then(|| error.with_hint(format!(
            "whoever may lift it does so by `aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name {name}`"
        )))
    }

    /// Returns that CloudFormation is at work on it, and so would not delete it.
    fn busy(&self, stack: &Described) -> Option<TargetError> {
        let (name, status) = (&self.name, &stack.status);
        let is_busy = Standing::of(status) == Standing::Busy && status != "DELETE_IN_PROGRESS";
        let error = TargetError::new(format!(
            "stack {name} is {status}, and CloudFormation deletes none that it works on"
        ));
        is_busy.then(|| error.with_hint("nothing was changed; delete it when that has ended"))
    }

    /// Returns that other stacks import what this one exports.
    async fn imported(&self, stack: &Described, events: &Events) -> Option<TargetError> {
        let mut found = Vec::new();
        for export in &stack.exports {
            match self.importers(export).await {
                Ok(importers) if importers.is_empty() => {}
                Ok(importers) => found.push(format!("{export} by {}", importers.join(", "))),
                Err(error) => {
                    let why = TargetError::from(error).on_one_line();
                    events.note(format!(
                        "whether other stacks import {export} is not known: {why}"
                    ));
                }
            }
        }
        let error = TargetError::new(format!(
            "other stacks import what stack {} exports",
            self.name
        ));
        let hint = "nothing was changed; CloudFormation deletes it when they import it no longer";
        (!found.is_empty()).then(|| error.because(found.join("; ")).with_hint(hint))
    }

    async fn importers(&self, export: &str) -> Result<Vec<String>, Ec2Error> {
        let asked = self.cfn.list_imports().export_name(export);
        let listed = asked.into_paginator().items().send().try_collect().await;
        match listed.map_err(|e| self.refused("ListImports", e)) {
            // It has no code for that.
            Err(error) if is_unimported(&error) => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Deletes the stack and waits until it is gone. Returns what is kept.
    ///
    /// Interrupted while it waits, it says what stands: CloudFormation goes on by itself.
    pub(crate) async fn destroy(
        &self,
        stack: &Described,
        run: &RunId,
        role_arn: Option<&str>,
        cx: &RolloutContext<'_>,
    ) -> Result<Vec<Kept>, Failure> {
        let mut rules = OwnRules::of(self, stack).await.map_err(failed)?;
        let mut kept = Vec::new();
        // A second request changes nothing, and has no events.
        let mut is_asked = stack.status == "DELETE_IN_PROGRESS";
        loop {
            let of = match is_asked {
                true => Of::Anybody,
                false => {
                    self.ask_to_delete(stack, run, role_arn, cx).await?;
                    Of::Token(run.as_str())
                }
            };
            let following = self.following(&stack.id, of).await;
            let mut following =
                following.map_err(|error| failed(self.going_on("deleting", error)))?;
            let ended = self.follow_deletion(&mut following, &mut rules, cx).await?;
            kept.extend(ended.kept.iter().cloned());
            match &*ended.status {
                "DELETE_COMPLETE" => return Ok(kept),
                // It was asked for by somebody else, and perhaps the rules stood for too long.
                "DELETE_FAILED" if is_asked => {
                    is_asked = false;
                    let told = "what was asked for before this has failed, and is asked for again";
                    cx.events.note(told.to_owned());
                }
                _ => {
                    let traffic = put_back(&mut rules, &following).await;
                    return Err(self.not_deleted(&ended, traffic).await);
                }
            }
        }
    }

    async fn ask_to_delete(
        &self,
        stack: &Described,
        run: &RunId,
        role_arn: Option<&str>,
        cx: &RolloutContext<'_>,
    ) -> Result<(), Failure> {
        if cx.cancel.is_cancelled() {
            return Err(interrupted().with_hint("nothing was changed"));
        }
        let asked = self.cfn.delete_stack().stack_name(&stack.id);
        let asked = asked
            .client_request_token(run.as_str())
            .set_role_arn(role_arn.map(str::to_owned));
        let call = || asked.clone().send();
        let deleted = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => return Err(self.perhaps_asked()),
            deleted = self.patiently("DeleteStack", call) => deleted,
        };
        deleted.map(drop).map_err(|error| {
            let error = TargetError::from(error);
            let told = "the stack is as it was, and traffic goes where it went";
            let hint = error.hint().map(|hint| format!("{hint}; {told}"));
            failed(error.with_hint(hint.unwrap_or_else(|| told.to_owned())))
        })
    }

    /// Follows a deletion to its end. The rules go when it has come to what serves.
    async fn follow_deletion(
        &self,
        following: &mut Following<'_>,
        rules: &mut OwnRules<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<Ended, Failure> {
        let serving = rules.what_serves();
        loop {
            let looked = tokio::select! {
                biased;
                () = cx.cancel.cancelled() => return Err(self.left_deleting(rules)),
                looked = self.look_at(following, cx.events) => looked,
            };
            let looked = looked.map_err(|error| failed(self.going_on("deleting", error)))?;
            if let Some(ended) = looked {
                return Ok(ended);
            }
            if rules.stand()
                && following.has_come_to(&serving)
                && let Err(error) = rules.remove().await
            {
                let why = TargetError::from(error).on_one_line();
                cx.events.warn(format!(
                    "the target groups cannot go while a rule names them, and that stays: {why}"
                ));
            }
            tokio::select! {
                () = cx.cancel.cancelled() => {}
                () = sleep(POLL) => {}
            }
        }
    }

    /// Returns that it is not known whether CloudFormation was asked.
    fn perhaps_asked(&self) -> Failure {
        let (name, region) = (&self.name, &self.region);
        interrupted().with_hint(format!(
            "CloudFormation has not answered yet, and may delete stack {name}; the rule that traffic follows stands: `amibake stack status {name} --region {region}` looks, and `amibake stack destroy {name} --region {region}` goes on"
        ))
    }

    fn left_deleting(&self, rules: &OwnRules<'_>) -> Failure {
        let (name, region) = (&self.name, &self.region);
        let again = format!("`amibake stack destroy {name} --region {region}`");
        interrupted().with_hint(match rules.stand() {
            true => format!(
                "CloudFormation goes on deleting stack {name}; the rule that traffic follows stands, and keeps the target groups: {again} removes it and waits for the rest"
            ),
            false => format!("CloudFormation goes on deleting stack {name}: {again} waits for it"),
        })
    }

    /// Returns why a stack is there still, and what of its traffic.
    async fn not_deleted(&self, ended: &Ended, traffic: Option<String>) -> Failure {
        let (name, status) = (&self.name, &ended.status);
        let was_touched = status.starts_with("DELETE_");
        let error = TargetError::new(match was_touched {
            true => format!("stack {name} could not be deleted"),
            false => format!("stack {name} was not deleted, and is {status} again"),
        });
        let why = match was_touched {
            true => self.explained(ended, None).await,
            false => ended.reason.clone(),
        };
        let error = match why {
            Some(why) => error.because(why),
            None => error,
        };
        let mut failure = failed(error);
        failure.hint = traffic;
        if was_touched {
            failure.left_behind.push(self.leftover(status));
        }
        failure
    }
}

/// Has traffic go where it went, where what serves is still there; returns what is to be said of it.
async fn put_back(rules: &mut OwnRules<'_>, following: &Following<'_>) -> Option<String> {
    if following.has_deleted(&rules.what_is_needed()) {
        return None;
    }
    if rules.stand() {
        return Some("traffic goes where it went".to_owned());
    }
    if !rules.are_removed() {
        return None;
    }
    Some(match rules.put_back().await {
        Ok(()) => "traffic goes where it went, by a rule that was made again".to_owned(),
        Err(error) => format!(
            "the rule that traffic follows is gone, and could not be made again: {}",
            error.on_one_line()
        ),
    })
}

fn is_unimported(error: &Ec2Error) -> bool {
    error.code() == Some("ValidationError")
        && std::error::Error::source(error)
            .is_some_and(|why| why.to_string().contains("is not imported by any stack"))
}
