//! What CloudFormation tells of a stack, all pages of it.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_cloudformation::error::SdkError;
use aws_sdk_cloudformation::operation::RequestId;
use aws_sdk_cloudformation::operation::describe_stacks::DescribeStacksOutput;
use aws_sdk_cloudformation::types::{self, StackEvent, StackStatus};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use super::Stack;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// A stack as it is. Sizes, traffic and health are not CloudFormation's to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Described {
    /// It is found by this after its end, too.
    pub(crate) id: String,
    /// `UPDATE_COMPLETE`
    pub(crate) status: String,
    pub(crate) reason: Option<String>,
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) outputs: BTreeMap<String, String>,
    /// The names by which other stacks may import outputs.
    pub(crate) exports: BTreeSet<String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// What its template was allowed when it was last changed.
    pub(crate) capabilities: Vec<String>,
    /// Whether it refuses to be deleted.
    pub(crate) is_protected: bool,
}

impl Stack {
    /// Returns the stack, if there is one of its name.
    pub(crate) async fn described(&self) -> Result<Option<Described>, Ec2Error> {
        let asked = self.cfn.describe_stacks().stack_name(self.name.as_str());
        let answer = asked.send().await;
        found(answer.map_err(|e| self.refused("DescribeStacks", e)))
    }

    /// Returns the same, and waits for an answer: something is under way.
    pub(super) async fn described_patiently(&self) -> Result<Option<Described>, Ec2Error> {
        self.described_patiently_by(self.name.as_str()).await
    }

    /// Returns the stack of an id, which is found after its end, too.
    pub(super) async fn described_patiently_by(
        &self,
        id: &str,
    ) -> Result<Option<Described>, Ec2Error> {
        let asked = self.cfn.describe_stacks().stack_name(id);
        let call = || asked.clone().send();
        found(self.patiently("DescribeStacks", call).await)
    }

    /// Returns the stack.
    ///
    /// # Errors
    /// That there is none.
    pub(super) async fn existing(&self) -> Result<Described, TargetError> {
        let (name, region) = (&self.name, &self.region);
        self.described().await?.ok_or_else(|| {
            let missing = TargetError::manifest(format!("there is no stack {name} in {region}"));
            missing.with_hint("is it in another region? --region names it")
        })
    }

    /// Returns what happened to a stack, the newest first.
    pub(super) async fn events(&self, id: &str) -> Result<Vec<StackEvent>, Ec2Error> {
        let asked = self.cfn.describe_stack_events().stack_name(id);
        let pages = asked.into_paginator().items().send();
        let listed = pages.try_collect().await;
        listed.map_err(|e| self.refused("DescribeStackEvents", e))
    }

    pub(super) fn refused<E, R>(&self, operation: &'static str, error: SdkError<E, R>) -> Ec2Error
    where
        E: ProvideErrorMetadata + RequestId + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        Ec2Error::from_sdk(operation, &self.region, error)
    }
}

fn found(answer: Result<DescribeStacksOutput, Ec2Error>) -> Result<Option<Described>, Ec2Error> {
    match answer {
        Ok(answer) => Ok(answer.stacks.and_then(|mut all| all.pop()).map(read)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns whether CloudFormation knows no such stack. It has no code for that.
fn is_unknown(error: &Ec2Error) -> bool {
    error.code() == Some("ValidationError")
        && std::error::Error::source(error)
            .is_some_and(|why| why.to_string().contains("does not exist"))
}

fn read(stack: types::Stack) -> Described {
    let status = stack.stack_status.as_ref().map_or("", StackStatus::as_str);
    let parameter = |p: types::Parameter| Some((p.parameter_key?, p.parameter_value?));
    let output = |o: types::Output| Some((o.output_key?, o.output_value?));
    let tag = |t: types::Tag| Some((t.key?, t.value?));
    let capabilities = stack.capabilities.iter().flatten();
    let exported = stack.outputs.iter().flatten();
    let exports = exported.filter_map(|output| output.export_name.clone());
    Described {
        status: status.to_owned(),
        id: stack.stack_id.unwrap_or_default(),
        reason: stack.stack_status_reason,
        exports: exports.collect(),
        parameters: pairs(stack.parameters, parameter),
        outputs: pairs(stack.outputs, output),
        tags: pairs(stack.tags, tag),
        capabilities: capabilities.map(|c| c.as_str().to_owned()).collect(),
        is_protected: stack.enable_termination_protection.unwrap_or(false),
    }
}

fn pairs<T>(
    all: Option<Vec<T>>,
    pair: impl Fn(T) -> Option<(String, String)>,
) -> BTreeMap<String, String> {
    all.into_iter().flatten().filter_map(pair).collect()
}
