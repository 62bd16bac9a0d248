//! A stack goes, but for what its template keeps.

use super::operation::{Kept, Of};
use super::{Described, Stack, rollout};
use crate::bake::failed;
use crate::event::Events;
use crate::exit::Failure;
use crate::run::RunId;
use crate::targets::TargetError;

impl Stack {
    /// Returns the stack that would go.
    ///
    /// # Errors
    /// That there is none, or that it is protected.
    pub(crate) async fn to_be_destroyed(&self) -> Result<Described, TargetError> {
        let stack = self.existing().await?;
        if !stack.is_protected {
            return Ok(stack);
        }
        let name = &self.name;
        let error = TargetError::new(format!("stack {name} has termination protection"));
        Err(error.with_hint(format!(
            "whoever may lift it does so by `aws cloudformation update-termination-protection --no-enable-termination-protection --stack-name {name}`"
        )))
    }

    /// Deletes the stack and waits until it is gone. Returns what is kept.
    ///
    /// It may be dropped while it waits: CloudFormation goes on by itself.
    pub(crate) async fn destroy(
        &self,
        stack: &Described,
        run: &RunId,
        role_arn: Option<&str>,
        events: &Events,
    ) -> Result<Vec<Kept>, Failure> {
        // While our rule names them, the target groups cannot go.
        let removed = rollout::remove_rules(self, stack).await;
        removed.map_err(failed)?;
        let of = match &*stack.status {
            // A second request changes nothing, and has no events.
            "DELETE_IN_PROGRESS" => Of::Anybody,
            _ => {
                let asked = self.cfn.delete_stack().stack_name(&stack.id);
                let asked = asked
                    .client_request_token(run.as_str())
                    .set_role_arn(role_arn.map(str::to_owned));
                let call = || asked.clone().send();
                let deleted = self.patiently("DeleteStack", call).await;
                deleted.map_err(failed)?;
                Of::Token(run.as_str())
            }
        };
        let followed = self.follow(&stack.id, of, events).await;
        let ended = followed.map_err(|error| failed(self.going_on("deleting", error)))?;
        if ended.status == "DELETE_COMPLETE" {
            return Ok(ended.kept);
        }
        let message = format!("stack {} could not be deleted", self.name);
        let error = match self.explained(&ended, None).await {
            Some(why) => TargetError::new(message).because(why),
            None => TargetError::new(message),
        };
        let mut failure = failed(error);
        failure.left_behind.push(self.leftover(&ended.status));
        Err(failure)
    }
}
