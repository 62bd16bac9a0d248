//! Change sets: what would change is told by CloudFormation before it is done, and done if that is wanted.
//!
//! One has a name of its own, so that an answer that was lost is found again. What is told of it is `changes`', what
//! happens when it is executed `operation`'s.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::operation::create_change_set::builders::CreateChangeSetFluentBuilder;
use aws_sdk_cloudformation::operation::describe_change_set::DescribeChangeSetOutput;
use aws_sdk_cloudformation::types::{
    ChangeSetStatus, ChangeSetSummary, ChangeSetType, ExecutionStatus, OnStackFailure, Parameter,
    Tag,
};

use super::changes::Changes;
use super::operation::POLL;
use super::template::Template;
use super::{Described, Stack};
use crate::clock::sleep;
use crate::run::RunId;
use crate::targets::ec2::Ec2Error;
use crate::targets::{Fault, TargetError};

/// Names of change sets that amibake makes begin so.
const PREFIX: &str = "amibake-";

/// What CloudFormation says where it finds nothing to change; it has no code for that.
const NOTHING: [&str; 2] = ["didn't contain changes", "No updates are to be performed"];

/// How a stack is made and changed, besides its template and parameters.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// The role by which CloudFormation makes what the template says, in place of the caller.
    pub(crate) role_arn: Option<String>,
    /// Tags of the stack, which go on to what is in it. None: as they are.
    pub(crate) tags: Option<BTreeMap<String, String>>,
    /// `CAPABILITY_NAMED_IAM`; [`CAPABILITY_IAM`] goes without saying.
    pub(crate) capabilities: Vec<String>,
}

/// Lets a template make roles, as the one that comes along does.
const CAPABILITY_IAM: &str = "CAPABILITY_IAM";

/// What a change set is asked for with.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) run: &'a RunId,
    /// The stack as it is; `None` where it is to be made.
    pub(super) stack: Option<&'a Described>,
    /// `None` is the stack's own.
    pub(super) template: Option<&'a Template>,
    /// Those that are given; all others stay as they are, or are the template's.
    pub(super) parameters: &'a BTreeMap<String, String>,
    pub(super) options: &'a Options,
}

/// A change set that can be executed.
#[derive(Debug)]
pub(super) struct ChangeSet {
    id: String,
    /// The stack's.
    pub(super) stack: String,
    /// By which its operation's events are known.
    pub(super) token: String,
    pub(super) changes: Changes,
    /// Whether it replaces or removes what has the traffic.
    pub(super) is_loss: bool,
}

impl Stack {
    /// Makes a change set and returns it with all that would change; nothing where nothing would.
    ///
    /// Whoever calls it owes its removal, and that of a stack in review which it brings about.
    pub(super) async fn propose(
        &self,
        request: &Request<'_>,
    ) -> Result<Option<ChangeSet>, TargetError> {
        let name = self.unused_name(request.run)?;
        let asked = self.create_request(request, &name);
        let id = match self
            .patiently("CreateChangeSet", || asked.clone().send())
            .await
        {
            Ok(made) => made.id.unwrap_or_default(),
            // Our own, whose answer was lost: nobody else has the name.
            Err(error) if error.code() == Some("AlreadyExistsException") => name.clone(),
            Err(error) => return Err(refused(error)),
        };
        loop {
            let told = match self.change_set(&id).await {
                Ok(told) => told,
                Err(error) => return Err(self.unproposed(&id, error.into()).await),
            };
            match told.status() {
                Some(ChangeSetStatus::CreateComplete) => return Ok(Some(read(told, name))),
                Some(ChangeSetStatus::Failed) => {
                    self.delete_change_set(&id).await?;
                    return nothing_or_refused(self, told.status_reason());
                }
                _ => sleep(POLL).await,
            }
        }
    }

    fn create_request(&self, request: &Request<'_>, name: &str) -> CreateChangeSetFluentBuilder {
        let kind = match request.stack {
            None => ChangeSetType::Create,
            Some(_) => ChangeSetType::Update,
        };
        let Options {
            role_arn,
            tags,
            capabilities,
        } = request.options;
        let asked = self.cfn.create_change_set();
        let asked = asked
            .stack_name(self.name.as_str())
            .change_set_name(name)
            .client_token(name)
            .description("made by amibake stack deploy")
            .set_role_arn(role_arn.clone())
            .set_tags(tags.as_ref().map(|tags| tags.iter().map(tag).collect()))
            .set_parameters(Some(parameters(request)))
            .capabilities(CAPABILITY_IAM.into());
        let kept = request
            .stack
            .map_or(&[][..], |stack| stack.capabilities.as_slice());
        let mut more: Vec<&String> = capabilities.iter().chain(kept).collect();
        more.sort_unstable();
        more.dedup();
        let more = more.into_iter().filter(|name| *name != CAPABILITY_IAM);
        let asked = more.fold(asked, |asked, name| {
            asked.capabilities(name.as_str().into())
        });
        let asked = match request.template {
            Some(template) => asked.template_body(&template.body),
            None => asked.use_previous_template(true),
        };
        // What could not be made whole is to leave nothing.
        let on_failure = (kind == ChangeSetType::Create).then_some(OnStackFailure::Delete);
        asked.change_set_type(kind).set_on_stack_failure(on_failure)
    }

    fn unused_name(&self, run: &RunId) -> Result<String, TargetError> {
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| {
            TargetError::new(format!("no name for a change set of {}", self.name)).because(error)
        })?;
        Ok(format!("{PREFIX}{run}-{}", hex::encode(random)))
    }

    /// Returns a change set with all pages of its changes.
    async fn change_set(&self, id: &str) -> Result<DescribeChangeSetOutput, Ec2Error> {
        let asked = self.cfn.describe_change_set().change_set_name(id);
        let asked = asked
            .stack_name(self.name.as_str())
            .include_property_values(true);
        let ask = || asked.clone().send();
        let mut told = self.patiently("DescribeChangeSet", ask).await?;
        while let Some(token) = told.next_token.take() {
            let ask = || asked.clone().next_token(&token).send();
            let page = self.patiently("DescribeChangeSet", ask).await?;
            told.changes
                .get_or_insert_default()
                .extend(page.changes.unwrap_or_default());
            told.next_token = page.next_token;
        }
        Ok(told)
    }

    /// Begins to do what a change set says.
    pub(super) async fn execute(&self, change_set: &ChangeSet) -> Result<(), Ec2Error> {
        let asked = self
            .cfn
            .execute_change_set()
            .change_set_name(&change_set.id);
        let asked = asked
            .client_request_token(&change_set.token)
            .retain_except_on_create(true);
        match self
            .patiently("ExecuteChangeSet", || asked.clone().send())
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some("InvalidChangeSetStatus") => {
                match self.is_executed(&change_set.id).await? {
                    true => Ok(()), // an earlier try, whose answer was lost
                    false => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Returns why nothing comes of a change set, which goes.
    pub(super) async fn unproposed(&self, id: &str, error: TargetError) -> TargetError {
        match self.delete_change_set(id).await {
            Ok(()) => error,
            Err(stays) => {
                let why = crate::exit::chain(&stays);
                let left = format!("the change set {id} stays, which nobody executes: {why}");
                let hint = error.hint().map(|hint| format!("{hint}; {left}"));
                error.with_hint(hint.unwrap_or(left))
            }
        }
    }

    async fn is_executed(&self, id: &str) -> Result<bool, Ec2Error> {
        let told = self.change_set(id).await?;
        let begun = [
            ExecutionStatus::ExecuteInProgress,
            ExecutionStatus::ExecuteComplete,
        ];
        Ok(told
            .execution_status
            .is_some_and(|status| begun.contains(&status)))
    }

    /// Deletes a change set, which may be gone.
    pub(super) async fn delete_change_set(&self, id: &str) -> Result<(), Ec2Error> {
        let asked = self.cfn.delete_change_set().change_set_name(id);
        let asked = asked.stack_name(self.name.as_str());
        match self
            .patiently("DeleteChangeSet", || asked.clone().send())
            .await
        {
            Err(error) if error.code() != Some("ChangeSetNotFound") => Err(error),
            _ => Ok(()),
        }
    }

    /// Returns the names of change sets that are not amibake's.
    pub(super) async fn change_sets_of_others(&self) -> Result<Vec<String>, Ec2Error> {
        let mut names = self.change_sets().await?;
        names.retain(|name| !name.starts_with(PREFIX));
        Ok(names)
    }

    /// Returns the names of change sets that are not this run's.
    pub(super) async fn change_sets_besides(&self, run: &RunId) -> Result<Vec<String>, Ec2Error> {
        let mut names = self.change_sets().await?;
        let own = format!("{PREFIX}{run}-");
        names.retain(|name| !name.starts_with(&own));
        Ok(names)
    }

    async fn change_sets(&self) -> Result<Vec<String>, Ec2Error> {
        let asked = self.cfn.list_change_sets().stack_name(self.name.as_str());
        let pages = asked.into_paginator().items().send();
        let listed: Result<Vec<ChangeSetSummary>, _> = pages.try_collect().await;
        let listed = listed.map_err(|e| self.refused("ListChangeSets", e))?;
        let names = listed.into_iter().filter_map(|set| set.change_set_name);
        Ok(names.collect())
    }
}

impl ChangeSet {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

fn read(told: DescribeChangeSetOutput, token: String) -> ChangeSet {
    ChangeSet {
        id: told.change_set_id.unwrap_or_default(),
        stack: told.stack_id.unwrap_or_default(),
        token,
        changes: Changes::read(told.changes.unwrap_or_default()),
        is_loss: false,
    }
}

/// Returns the parameters that are given, and says of the others that they stay.
fn parameters(request: &Request<'_>) -> Vec<Parameter> {
    let given = request.parameters.iter().map(|(name, value)| {
        let parameter = Parameter::builder().parameter_key(name);
        parameter.parameter_value(value).build()
    });
    let declared = request.template.map(Template::parameters);
    let is_declared = |name: &String| declared.as_ref().is_none_or(|all| all.contains_key(name));
    let known = request
        .stack
        .iter()
        .flat_map(|stack| stack.parameters.keys());
    let kept = known.filter(|name| is_declared(name) && !request.parameters.contains_key(*name));
    let kept = kept.map(|name| {
        let parameter = Parameter::builder().parameter_key(name);
        parameter.use_previous_value(true).build()
    });
    given.chain(kept).collect()
}

fn tag((key, value): (&String, &String)) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Returns why a change set was not taken. CloudFormation has one code for values that it does not take and for stacks
/// that it does not change; for the former it begins with "Parameter".
fn refused(error: Ec2Error) -> TargetError {
    let of_parameter = match &error {
        Ec2Error::Refused { code, source, .. } => {
            code == "ValidationError" && source.to_string().starts_with("Parameter")
        }
        _ => false,
    };
    let told = TargetError::from(error);
    match of_parameter {
        true => told.blamed_on(Fault::Manifest).with_hint("the template says what its parameters take; `amibake stack template` prints the one that comes along"),
        false => told,
    }
}

fn nothing_or_refused(
    stack: &Stack,
    reason: Option<&str>,
) -> Result<Option<ChangeSet>, TargetError> {
    let reason = reason.unwrap_or("no reason was given");
    if NOTHING.iter().any(|words| reason.contains(words)) {
        return Ok(None);
    }
    let message = format!(
        "CloudFormation cannot tell what would change of stack {}",
        stack.name
    );
    Err(TargetError::new(message).because(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_not_given_stay_as_long_as_the_template_has_them() {
        let pairs = |all: &[(&str, &str)]| {
            let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
            all.iter().map(pair).collect::<BTreeMap<_, _>>()
        };
        let stack = Described {
            parameters: pairs(&[("MinSize", "2"), ("ImageIdBlue", "ami-1"), ("Gone", "x")]),
            ..Described::default()
        };
        let (run, options) = (
            "20260727t101500z-0a1b2c".parse().unwrap(),
            Options::default(),
        );
        let (given, web) = (pairs(&[("MinSize", "3")]), Template::web());
        let mut request = Request {
            run: &run,
            stack: Some(&stack),
            template: Some(&web),
            parameters: &given,
            options: &options,
        };
        let told = |request: &Request<'_>| {
            let told = |p: Parameter| (p.parameter_key.unwrap(), p.parameter_value);
            parameters(request)
                .into_iter()
                .map(told)
                .collect::<Vec<_>>()
        };
        let three = ("MinSize".to_owned(), Some("3".to_owned()));
        let kept = |name: &str| (name.to_owned(), None);
        assert_eq!(told(&request), [three.clone(), kept("ImageIdBlue")]);
        request.template = None;
        assert_eq!(
            told(&request),
            [three.clone(), kept("Gone"), kept("ImageIdBlue")]
        );
        request.stack = None;
        assert_eq!(told(&request), [three]);
    }
}
