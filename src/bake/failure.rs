//! What a bake fails with.

use std::any::Any;

use crate::agent::AgentError;
use crate::connector::{ConnectError, LiesWith};
use crate::exit::{Exit, Failure};
use crate::guest::GuestError;
use crate::targets::{Fault, TargetError, Unfinished};

/// A publication that did not come to its end is a failure that leaves the image behind.
pub(super) fn not_published(unfinished: Unfinished) -> Failure {
    let mut failure = failed(unfinished.error);
    failure.kind = Exit::Failed;
    failure.left_behind = unfinished.kept;
    failure
}

/// Both halves of the gate, the sealed root and the booted candidate, say no in one way.
pub(super) fn gate_failed(found: &[String]) -> Failure {
    let found = match found {
        [one] => format!(": {one}"),
        several => format!(" in {} places:\n  {}", several.len(), several.join("\n  ")),
    };
    Failure::new(format!("the image failed its gate{found}"))
        .of_kind(Exit::GateFailed)
        .with_hint("nothing was published; what is meant to be in the image is accepted by `gate: {waive: [{check: …, path: …, reason: …}]}`")
}

/// Returns the failure of a command that was told to stop.
pub(crate) fn interrupted() -> Failure {
    Failure::new("interrupted").of_kind(Exit::Interrupted)
}

/// Returns whether it may have failed because the machine is gone.
pub(super) fn is_about_the_link(failure: &Failure) -> bool {
    let error: &(dyn std::error::Error + 'static) = &*failure.error;
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let guest = error.downcast_ref::<GuestError>();
        let agent = error.downcast_ref::<AgentError>();
        guest.is_some_and(GuestError::is_about_the_link)
            || matches!(agent, Some(AgentError::Link(_)))
    })
}

/// Returns whether the image may be to blame for what went wrong on its machine. It is not where the
/// link was cut, another machine answered, or the machine was ended from outside.
pub(super) fn is_the_image_s(failure: &Failure) -> bool {
    let error = &*failure.error;
    let connecting = error.downcast_ref::<ConnectError>();
    let ended = error.downcast_ref::<TargetError>();
    !is_about_the_link(failure)
        && connecting.is_none_or(|error| error.lies_with == LiesWith::Machine)
        && ended.is_none_or(|error| error.fault != Fault::World)
}

pub(super) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic");
    Failure::new(format!(
        "amibake itself failed (please report this): {text}"
    ))
}

pub(super) fn too_slow(what: &str, limit: &str) -> Failure {
    Failure::new(format!("{what} took longer than builder.timeouts.{limit}"))
}

/// Returns what a target's error means for the command.
pub(crate) fn failed(error: impl Into<TargetError>) -> Failure {
    let error = error.into();
    let hint = error.hint().map(str::to_owned);
    let kind = error.fault.exit();
    let mut failure = Failure::new(error).of_kind(kind);
    failure.hint = hint;
    failure
}
