//! What was done with a stack, as far back as CloudFormation tells its events (90 days).
//!
//! Which colour had traffic when is not among them: that is a rule's, and CloudTrail has its calls.

use std::collections::BTreeMap;

use aws_sdk_cloudformation::types::StackEvent;
use aws_smithy_types::DateTime;
use serde::Serialize;
use serde_json::Value as Json;
use time::OffsetDateTime;

use super::Stack;
use super::operation::{Cause, is_end, status};
use crate::run::rfc3339;
use crate::targets::TargetError;

const LAUNCH_TEMPLATE: &str = "AWS::EC2::LaunchTemplate";

/// One operation: all from a first `…_IN_PROGRESS` to an end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Operation {
    /// When it began: `2026-07-27T10:15:00Z`
    pub(crate) began: String,
    pub(crate) seconds: i64,
    /// What the stack was at its end, or is.
    pub(crate) status: String,
    /// What was given as its token: a run of amibake's.
    pub(crate) token: Option<String>,
    /// The images of launch templates that were made or changed, by the template's name.
    pub(crate) images: BTreeMap<String, String>,
    /// What failed first, and why.
    pub(crate) failure: Option<String>,
}

impl Stack {
    /// Returns the operations, the newest first.
    pub(crate) async fn history(&self) -> Result<Vec<Operation>, TargetError> {
        let stack = self.existing().await?;
        let mut events = self.events(&stack.id).await?;
        events.reverse();
        let mut operations = operations(&stack.id, &events);
        operations.reverse();
        Ok(operations)
    }
}

/// Returns the operations that events, the oldest first, are of.
fn operations(stack: &str, events: &[StackEvent]) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut is_over = true;
    for event in events {
        let is_own = event.physical_resource_id() == Some(stack);
        let status = status(event);
        if is_own && is_over {
            operations.push(begun(event, status));
        }
        let Some(operation) = operations.last_mut() else {
            continue; // older events are told no more
        };
        match is_own {
            true => {
                is_over = is_end(status);
                status.clone_into(&mut operation.status);
                operation.seconds = moment(event).unix_timestamp() - since(operation);
                operation.token = operation.token.take().or_else(|| token(event));
            }
            false => add(operation, event, status),
        }
    }
    operations
}

fn begun(event: &StackEvent, status: &str) -> Operation {
    Operation {
        began: rfc3339(moment(event)),
        seconds: 0,
        status: status.to_owned(),
        token: token(event),
        images: BTreeMap::new(),
        failure: None,
    }
}

fn token(event: &StackEvent) -> Option<String> {
    event.client_request_token().map(str::to_owned)
}

fn since(operation: &Operation) -> i64 {
    crate::run::parse_rfc3339(&operation.began).map_or(0, OffsetDateTime::unix_timestamp)
}

fn add(operation: &mut Operation, event: &StackEvent, status: &str) {
    let name = event.logical_resource_id().unwrap_or_default();
    if operation.failure.is_none() {
        let cause = Cause::told_by(event);
        operation.failure = cause.map(|cause| format!("{}: {}", cause.resource, cause.reason));
    }
    let is_made = matches!(status, "CREATE_COMPLETE" | "UPDATE_COMPLETE");
    if is_made && event.resource_type() == Some(LAUNCH_TEMPLATE) {
        let image = event.resource_properties().and_then(image_of);
        operation
            .images
            .extend(image.map(|image| (name.to_owned(), image)));
    }
}

/// Returns the image in a launch template's properties.
fn image_of(properties: &str) -> Option<String> {
    let properties: Json = serde_json::from_str(properties).ok()?;
    let image = properties.get("LaunchTemplateData")?.get("ImageId")?;
    image.as_str().map(str::to_owned)
}

fn moment(event: &StackEvent) -> OffsetDateTime {
    let seconds = event.timestamp().map_or(0, DateTime::secs);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/web/1";

    fn event(at: i64, name: &str, status: &str) -> StackEvent {
        let id = if name == "web" { ID } else { "lt-1" };
        let kind = if name == "web" {
            "AWS::CloudFormation::Stack"
        } else {
            LAUNCH_TEMPLATE
        };
        let image = r#"{"LaunchTemplateData": {"ImageId": "ami-2"}}"#;
        StackEvent::builder()
            .timestamp(DateTime::from_secs(at))
            .logical_resource_id(name)
            .physical_resource_id(id)
            .resource_type(kind)
            .resource_status(status.into())
            .resource_properties(image)
            .client_request_token("run-1")
            .build()
    }

    #[test]
    fn an_operation_goes_from_its_beginning_to_its_end_whatever_is_in_between() {
        let events = [
            event(0, "web", "REVIEW_IN_PROGRESS"),
            event(5, "web", "CREATE_IN_PROGRESS"),
            event(6, "LaunchTemplateBlue", "CREATE_COMPLETE"),
            event(9, "web", "CREATE_COMPLETE"),
            event(20, "web", "UPDATE_IN_PROGRESS"),
            event(21, "LaunchTemplateGreen", "UPDATE_FAILED"),
            event(22, "web", "UPDATE_ROLLBACK_IN_PROGRESS"),
            event(23, "LaunchTemplateGreen", "UPDATE_COMPLETE"),
            event(24, "web", "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS"),
            event(25, "web", "UPDATE_ROLLBACK_COMPLETE"),
        ];
        let all = operations(ID, &events);
        let told = |o: &Operation| (o.status.clone(), o.seconds);
        assert_eq!(
            all.iter().map(told).collect::<Vec<_>>(),
            [
                ("REVIEW_IN_PROGRESS".to_owned(), 0),
                ("CREATE_COMPLETE".to_owned(), 4),
                ("UPDATE_ROLLBACK_COMPLETE".to_owned(), 5)
            ]
        );
        assert_eq!(all[1].images["LaunchTemplateBlue"], "ami-2");
        assert_eq!(
            (&*all[1].began, &all[1].failure),
            ("1970-01-01T00:00:05Z", &None)
        );
        let failed = "LaunchTemplateGreen: no reason was given";
        assert_eq!(all[2].failure.as_deref(), Some(failed));
        assert_eq!(all[2].token.as_deref(), Some("run-1"));
    }

    #[test]
    fn what_was_stopped_since_something_else_has_failed_is_not_what_failed_first() {
        let with = |name, reason: &str| {
            StackEvent::builder()
                .logical_resource_id(name)
                .physical_resource_id("")
                .resource_status("CREATE_FAILED".into())
                .resource_status_reason(reason)
                .build()
        };
        let events = [
            event(0, "web", "CREATE_IN_PROGRESS"),
            with("GroupBlue", "Resource creation cancelled"),
            with("NatGateway", "no addresses are left"),
            event(2, "web", "ROLLBACK_COMPLETE"),
        ];
        let all = operations(ID, &events);
        let failed = "NatGateway: no addresses are left";
        assert_eq!(all[0].failure.as_deref(), Some(failed));
    }

    #[test]
    fn what_is_left_of_an_operation_whose_beginning_is_forgotten_is_told() {
        let events = [
            event(1, "LaunchTemplateBlue", "CREATE_COMPLETE"),
            event(2, "web", "CREATE_COMPLETE"),
        ];
        let all = operations(ID, &events);
        assert_eq!((all.len(), &*all[0].status), (1, "CREATE_COMPLETE"));
    }
}
