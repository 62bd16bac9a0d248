//! What can be done with a stack as it is found. Pure.

use super::update::how_to_continue;
use crate::targets::TargetError;

/// A stack's status, by what follows from it for a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It can be changed.
    Ready,
    /// It has a name and nothing else: a change set waits for somebody.
    Review,
    /// CloudFormation is at work on it.
    Busy,
    /// It was never whole or is no longer, and can only be deleted.
    Unmade,
    /// Somebody has to mend something first.
    Stuck,
}

impl Standing {
    pub(super) fn of(status: &str) -> Self {
        match status {
            "REVIEW_IN_PROGRESS" => Self::Review,
            "CREATE_COMPLETE"
            | "UPDATE_COMPLETE"
            | "UPDATE_ROLLBACK_COMPLETE"
            | "IMPORT_COMPLETE"
            | "IMPORT_ROLLBACK_COMPLETE" => Self::Ready,
            "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" | "DELETE_FAILED" => {
                Self::Unmade
            }
            _ if status.ends_with("_IN_PROGRESS") => Self::Busy,
            _ => Self::Stuck,
        }
    }
}

/// Returns why a stack that can only be deleted is not deployed to.
pub(super) fn unmade(name: &str, status: &str, reason: Option<&str>) -> TargetError {
    let why = match status {
        "DELETE_FAILED" => "it was not deleted whole, and what is left can only be deleted",
        _ => "it was never whole, and can only be deleted",
    };
    let message = format!("stack {name} is {status}: {why}");
    with_reason(TargetError::new(message), reason).with_hint(format!(
        "--recreate deletes what there is of it and makes it anew; `amibake stack destroy {name}` only deletes it"
    ))
}

/// Returns why a stack that has to be mended first is not deployed to.
pub(super) fn stuck(name: &str, status: &str, reason: Option<&str>) -> TargetError {
    let hint = match status {
        "UPDATE_ROLLBACK_FAILED" => how_to_continue(name),
        "UPDATE_FAILED" => format!(
            "somebody kept it from going back: `aws cloudformation rollback-stack --stack-name {name}` does that, then deploy again"
        ),
        _ => format!(
            "`aws cloudformation describe-stack-events --stack-name {name}` tells what happened"
        ),
    };
    let message = format!("stack {name} is {status} and cannot be changed");
    with_reason(TargetError::new(message), reason).with_hint(hint)
}

fn with_reason(error: TargetError, reason: Option<&str>) -> TargetError {
    match reason.map(str::trim).filter(|reason| !reason.is_empty()) {
        Some(reason) => error.because(reason.to_owned()),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudformation::types::StackStatus;

    #[test]
    fn every_status_that_there_is_has_its_consequence() {
        let of = |wanted| {
            let all = StackStatus::values().iter().copied();
            all.filter(|status| Standing::of(status) == wanted)
                .collect::<Vec<_>>()
        };
        let stuck = [
            "IMPORT_ROLLBACK_FAILED",
            "UPDATE_FAILED",
            "UPDATE_ROLLBACK_FAILED",
        ];
        let mut found = of(Standing::Stuck);
        found.retain(|status| *status != "DELETE_COMPLETE"); // found by its id alone
        assert_eq!(found, stuck);
        assert_eq!(of(Standing::Review), ["REVIEW_IN_PROGRESS"]);
        let unmade = [
            "CREATE_FAILED",
            "DELETE_FAILED",
            "ROLLBACK_COMPLETE",
            "ROLLBACK_FAILED",
        ];
        assert_eq!(of(Standing::Unmade), unmade);
        assert_eq!(of(Standing::Ready).len(), 5);
        assert_eq!(
            StackStatus::values().len(),
            5 + 4 + 1 + 1 + 3 + of(Standing::Busy).len()
        );
    }

    #[test]
    fn how_it_goes_on_is_said() {
        let told = stuck("web", "UPDATE_ROLLBACK_FAILED", Some("The following…")).on_one_line();
        assert!(
            told.contains("continue-update-rollback --stack-name web"),
            "{told}"
        );
        let told = unmade("web", "ROLLBACK_COMPLETE", None).on_one_line();
        assert!(told.contains("--recreate"), "{told}");
    }
}
