//! One operation of CloudFormation's: followed event by event to its end, and why it failed.
//!
//! Its events are known by the token that it was begun with: the stack's own status may be that of before for a moment.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_cloudformation::error::SdkError;
use aws_sdk_cloudformation::operation::RequestId;
use aws_sdk_cloudformation::types::{ResourceStatus, StackEvent};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Serialize;

use super::Stack;
use super::template::Template;
use crate::clock::{Instant, sleep};
use crate::event::{Event, Events};
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// How often CloudFormation is asked.
pub(super) const POLL: Duration = Duration::from_secs(2);

/// How long a call that gets no answer, or a "not now", is made again.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// How long it may take until an operation has an event of its own.
const UNHEARD: Duration = Duration::from_secs(2 * 60);

/// What CloudFormation says of what it stops since something else has failed.
const FOLLOWS: [&str; 2] = ["cancelled", "canceled"];

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// The stack's.
    pub(super) status: String,
    /// What CloudFormation says of that.
    pub(super) reason: Option<String>,
    /// What failed first, and why.
    pub(super) cause: Option<Cause>,
    /// What was not deleted since the template says so.
    pub(super) kept: Vec<Kept>,
    /// What could not be deleted, each with the reason.
    pub(super) stuck: Vec<(Kept, String)>,
}

/// What made an operation fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) resource: String,
    /// `UPDATE_FAILED`
    status: String,
    pub(super) reason: String,
}

/// Something that outlives its stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Kept {
    /// As the template names it.
    pub(crate) resource: String,
    pub(crate) id: String,
}

/// Whose events are meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of<'a> {
    /// Of the operation that was begun with this.
    Token(&'a str),
    /// Of whatever goes on.
    Anybody,
}

/// An operation that is followed.
pub(super) struct Following<'a> {
    /// The stack's.
    id: &'a str,
    of: Of<'a>,
    /// The oldest first.
    all: Vec<StackEvent>,
    told: usize,
    began: Instant,
}

impl Following<'_> {
    /// Returns whether all is as the template says, and what was replaced or removed is about to go.
    pub(super) fn has_come_to_clean_up(&self) -> bool {
        let is_it = |event: &StackEvent| {
            let is_own = event.physical_resource_id() == Some(self.id);
            is_own && status(event) == "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"
        };
        self.all.iter().any(is_it)
    }

    /// Returns whether one of these, by their physical ids, is going, has gone, or could not.
    pub(super) fn has_come_to(&self, ids: &BTreeSet<String>) -> bool {
        let is_one = |event: &StackEvent| {
            let id = event.physical_resource_id();
            id.is_some_and(|id| ids.contains(id)) && status(event).starts_with("DELETE_")
        };
        self.all.iter().any(is_one)
    }

    /// Returns whether one of these is gone.
    pub(super) fn has_deleted(&self, ids: &BTreeSet<String>) -> bool {
        let is_gone = |event: &StackEvent| {
            let id = event.physical_resource_id();
            id.is_some_and(|id| ids.contains(id)) && status(event) == "DELETE_COMPLETE"
        };
        self.all.iter().any(is_gone)
    }
}

impl Stack {
    /// Makes a call until it is answered with more than "not now".
    pub(super) async fn patiently<T, E, R, F>(
        &self,
        operation: &'static str,
        mut call: impl FnMut() -> F,
    ) -> Result<T, Ec2Error>
    where
        F: Future<Output = Result<T, SdkError<E, R>>>,
        E: ProvideErrorMetadata + RequestId + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let began = Instant::now();
        loop {
            match call().await.map_err(|e| self.refused(operation, e)) {
                Err(error) if error.is_transient() && began.elapsed() < PATIENCE => {
                    sleep(POLL).await;
                }
                answer => return answer,
            }
        }
    }

    /// Follows an operation on the stack with this id to its end.
    pub(super) async fn follow(
        &self,
        id: &str,
        of: Of<'_>,
        events: &Events,
    ) -> Result<Ended, TargetError> {
        let mut following = self.following(id, of).await?;
        loop {
            if let Some(ended) = self.look_at(&mut following, events).await? {
                return Ok(ended);
            }
            sleep(POLL).await;
        }
    }

    /// Begins to follow an operation on the stack with this id.
    pub(super) async fn following<'a>(
        &self,
        id: &'a str,
        of: Of<'a>,
    ) -> Result<Following<'a>, TargetError> {
        let mut all = match of {
            Of::Token(_) => Vec::new(),
            Of::Anybody => self.page_of_events(id, None).await?.0,
        };
        all.reverse();
        Ok(Following {
            id,
            of,
            told: all.len(),
            all,
            began: Instant::now(),
        })
    }

    /// Tells what is new of an operation; returns how it ended, if it has.
    pub(super) async fn look_at(
        &self,
        following: &mut Following<'_>,
        events: &Events,
    ) -> Result<Option<Ended>, TargetError> {
        let Following { id, of, .. } = *following;
        let mut new = self.new_events(id, of, &following.all).await?;
        new.reverse();
        following.all.extend(new);
        let all = &following.all;
        all[following.told..].iter().for_each(|e| tell(e, events));
        following.told = all.len();
        let mut own = all.iter().filter(|e| e.physical_resource_id() == Some(id));
        let last = own.next_back();
        let status = last.map_or("", status);
        if is_end(status) {
            return Ok(Some(Ended {
                status: status.to_owned(),
                reason: last.and_then(|e| e.resource_status_reason.clone()),
                cause: first_cause(id, all),
                kept: outlive(all),
                stuck: stuck(all),
            }));
        }
        if status.is_empty() && following.began.elapsed() > UNHEARD {
            return self.settled(id).await.map(Some);
        }
        Ok(None)
    }

    /// Waits until nothing goes on with a stack, whose events do not say so.
    async fn settled(&self, id: &str) -> Result<Ended, TargetError> {
        loop {
            let stack = self.described_patiently_by(id).await?;
            let (status, reason) = match stack {
                Some(stack) => (stack.status, stack.reason),
                None => ("DELETE_COMPLETE".to_owned(), None),
            };
            if is_end(&status) {
                return Ok(Ended {
                    status,
                    reason,
                    cause: None,
                    kept: Vec::new(),
                    stuck: Vec::new(),
                });
            }
            sleep(POLL).await;
        }
    }

    /// Returns events that are not known yet, the newest first. Those of one operation lie together.
    async fn new_events(
        &self,
        id: &str,
        of: Of<'_>,
        known: &[StackEvent],
    ) -> Result<Vec<StackEvent>, Ec2Error> {
        let newest = known.last().and_then(StackEvent::event_id);
        let is_old = |event: &StackEvent| {
            let is_known = newest.is_some() && event.event_id() == newest;
            is_known || !is_of(event, of)
        };
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let (page, next) = self.page_of_events(id, token).await?;
            for event in page {
                if is_old(&event) {
                    return Ok(found);
                }
                // What came meanwhile has pushed some to the next page, where they are told again.
                let is_told = |one: &StackEvent| one.event_id() == event.event_id();
                if !found.iter().any(is_told) {
                    found.push(event);
                }
            }
            if next.is_none() {
                return Ok(found);
            }
            token = next;
        }
    }

    async fn page_of_events(
        &self,
        id: &str,
        token: Option<String>,
    ) -> Result<(Vec<StackEvent>, Option<String>), Ec2Error> {
        let asked = self.cfn.describe_stack_events().stack_name(id);
        let asked = asked.set_next_token(token);
        let call = || asked.clone().send();
        let page = self.patiently("DescribeStackEvents", call).await?;
        Ok((page.stack_events.unwrap_or_default(), page.next_token))
    }

    /// Returns why an operation failed, with the place in the template, as far as that is known.
    pub(super) async fn explained(
        &self,
        ended: &Ended,
        template: Option<&Template>,
    ) -> Option<String> {
        let cause = ended.cause.as_ref()?;
        let place = match template {
            Some(template) => Ok(template.place_of(&cause.resource)),
            None => {
                let own = self.template_of_stack().await;
                own.map(|own| own.and_then(|own| own.place_of(&cause.resource)))
            }
        };
        let place = match place {
            Ok(place) => place.map_or_else(String::new, |place| format!(" ({place})")),
            Err(error) => format!(" (its line is not known: {error})"),
        };
        let Cause {
            resource,
            status,
            reason,
        } = cause;
        Some(format!("{resource}{place} is {status}: {reason}"))
    }

    /// Returns the template that the stack has, if it can be read.
    async fn template_of_stack(&self) -> Result<Option<Template>, Ec2Error> {
        let Some(body) = self.body_of_template().await? else {
            return Ok(None);
        };
        let path = match body == super::template::WEB {
            true => super::template::WEB_PATH.to_owned(),
            false => format!("the template of {}", self.name),
        };
        Ok(Template::parse(path.as_ref(), body).ok())
    }

    /// Returns the text of the template that the stack has.
    pub(super) async fn body_of_template(&self) -> Result<Option<String>, Ec2Error> {
        let asked = self.cfn.get_template().stack_name(self.name.as_str());
        let answer = asked.send().await;
        let answer = answer.map_err(|e| self.refused("GetTemplate", e))?;
        Ok(answer.template_body)
    }
}

impl Ended {
    /// Returns whether the template is what there is now.
    pub(super) fn is_done(&self) -> bool {
        matches!(&*self.status, "CREATE_COMPLETE" | "UPDATE_COMPLETE")
    }
}

fn is_of(event: &StackEvent, of: Of<'_>) -> bool {
    match of {
        Of::Token(token) => event.client_request_token() == Some(token),
        Of::Anybody => true,
    }
}

/// Returns what an event says became of its resource.
pub(super) fn status(event: &StackEvent) -> &str {
    event.resource_status().map_or("", ResourceStatus::as_str)
}

/// Returns whether nothing more comes of an operation.
pub(super) fn is_end(status: &str) -> bool {
    !status.is_empty() && (!status.ends_with("_IN_PROGRESS") || status == "REVIEW_IN_PROGRESS")
}

/// Returns what outlives its stack. A page of events that moves on while it is read may tell one twice.
fn outlive(all: &[StackEvent]) -> Vec<Kept> {
    let mut found: Vec<Kept> = Vec::new();
    for one in all.iter().filter_map(kept) {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// Returns what an event says is kept.
fn kept(event: &StackEvent) -> Option<Kept> {
    let thing = Kept::named_by(event)?;
    (status(event) == "DELETE_SKIPPED").then_some(thing)
}

/// Returns what could not be deleted in the end: CloudFormation tries more than once.
fn stuck(all: &[StackEvent]) -> Vec<(Kept, String)> {
    let mut found: Vec<(Kept, String)> = Vec::new();
    for event in all {
        let Some(thing) = Kept::named_by(event) else {
            continue;
        };
        let of_it = |(known, _): &(Kept, String)| known.id == thing.id;
        found.retain(|one| !of_it(one));
        if status(event) == "DELETE_FAILED" {
            let reason = event.resource_status_reason();
            found.push((thing, reason.unwrap_or("no reason was given").to_owned()));
        }
    }
    found
}

impl Kept {
    fn named_by(event: &StackEvent) -> Option<Self> {
        Some(Self {
            id: event.physical_resource_id()?.to_owned(),
            resource: event.logical_resource_id()?.to_owned(),
        })
    }
}

fn tell(event: &StackEvent, events: &Events) {
    events.send(Event::StackChanged {
        resource: event.logical_resource_id().unwrap_or_default().to_owned(),
        resource_type: event.resource_type().unwrap_or_default().to_owned(),
        status: status(event).to_owned(),
        reason: event.resource_status_reason().map(str::to_owned),
    });
}

/// Returns what failed first of itself; events come the oldest first.
fn first_cause(id: &str, events: &[StackEvent]) -> Option<Cause> {
    let of_resources = |event: &&StackEvent| event.physical_resource_id() != Some(id);
    events.iter().filter(of_resources).find_map(Cause::told_by)
}

impl Cause {
    /// Returns what failed by an event of a resource, unless it was stopped since something else has.
    pub(super) fn told_by(event: &StackEvent) -> Option<Self> {
        let reason = event.resource_status_reason();
        let reason = reason.unwrap_or("no reason was given").to_owned();
        let words = reason.to_lowercase();
        let is_own =
            status(event).ends_with("_FAILED") && !FOLLOWS.iter().any(|w| words.contains(w));
        is_own.then(|| Self {
            resource: event.logical_resource_id().unwrap_or_default().to_owned(),
            status: status(event).to_owned(),
            reason,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/web/1";

    fn event(name: &str, status: &str, reason: &str) -> StackEvent {
        StackEvent::builder()
            .logical_resource_id(name)
            .physical_resource_id(if name == "web" { ID } else { "i-1" })
            .resource_status(status.into())
            .resource_status_reason(reason)
            .build()
    }

    #[test]
    fn the_first_cause_is_what_failed_of_itself() {
        let events = [
            event("web", "UPDATE_IN_PROGRESS", "User Initiated"),
            event("Vpc", "UPDATE_IN_PROGRESS", ""),
            event("Alarm", "UPDATE_FAILED", "Resource update cancelled"),
            event("Vpc", "UPDATE_FAILED", "the quota is used up"),
            event("Gateway", "UPDATE_FAILED", "no VPC"),
            event(
                "web",
                "UPDATE_ROLLBACK_FAILED",
                "The following resource(s) failed",
            ),
        ];
        let cause = first_cause(ID, &events).unwrap();
        assert_eq!(
            (&*cause.resource, &*cause.reason),
            ("Vpc", "the quota is used up")
        );
        assert_eq!(first_cause(ID, &events[..2]), None);
    }

    #[test]
    fn what_could_not_be_deleted_at_first_and_then_could_is_not_stuck() {
        let failed = event("Vpc", "DELETE_FAILED", "somebody is in it");
        let stuck_then = |status: &str| stuck(&[failed.clone(), event("Vpc", status, "")]);
        assert_eq!(stuck_then("DELETE_COMPLETE"), []);
        assert_eq!(stuck_then("DELETE_IN_PROGRESS"), []);
        let vpc = Kept {
            resource: "Vpc".to_owned(),
            id: "i-1".to_owned(),
        };
        assert_eq!(stuck(&[failed]), [(vpc, "somebody is in it".to_owned())]);
    }

    #[test]
    fn a_stack_in_review_waits_for_somebody_and_one_that_cleans_up_for_itself() {
        for (status, ends) in [
            ("", false),
            ("UPDATE_IN_PROGRESS", false),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", false),
            ("UPDATE_COMPLETE", true),
            ("UPDATE_ROLLBACK_FAILED", true),
            ("REVIEW_IN_PROGRESS", true),
        ] {
            assert_eq!(is_end(status), ends, "{status}");
        }
    }
}
