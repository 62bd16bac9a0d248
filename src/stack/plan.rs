//! What a deploy would do, told and left undone.

use super::change_set::Request;
use super::deploy::{Deploy, Given};
use super::rollout::{self, RolloutContext};
use super::standing::Standing;
use super::{Described, Stack};
use crate::bake::{failed, interrupted};
use crate::exit::Failure;
use crate::targets::TargetError;

impl Stack {
    /// Returns what a deploy would change and which steps it would take. The change set that tells goes again, and with
    /// it the name of a stack that is not there.
    pub(crate) async fn plan(
        &self,
        deploy: &Deploy,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let image = self.image_of(deploy).await?;
        let image = image.as_ref();
        let found = self.described().await.map_err(failed)?;
        let told = match found.map(|stack| (Standing::of(&stack.status), stack)) {
            None => self.plan_new(deploy, image, cx).await?,
            Some((Standing::Review, _)) => {
                self.refuse_review_of_others().await?;
                self.plan_new(deploy, image, cx).await?
            }
            Some((Standing::Ready, stack)) => self.plan_change(deploy, image, &stack, cx).await?,
            Some((Standing::Busy, stack)) => return Err(failed(self.is_busy(&stack))),
            Some((Standing::Unmade | Standing::Stuck, stack)) => {
                return Err(failed(self.out_of_order(&stack)));
            }
        };
        Ok(told)
    }

    async fn plan_new(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let sorted = self.check_new(deploy, image).await?;
        sorted.tell_unseen(cx.events);
        let template = deploy.template_of_new();
        let request = Request {
            run: &deploy.run,
            stack: None,
            template: Some(&template),
            parameters: &sorted.for_both(),
            options: &deploy.options,
        };
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let change_set = match self.propose(&request).await {
            Ok(change_set) => change_set,
            Err(error) => return Err(self.unreviewed(failed(error)).await),
        };
        if let Err(error) = self.end_review().await {
            let mut failure = failed(error);
            failure
                .left_behind
                .push(self.leftover("REVIEW_IN_PROGRESS"));
            return Err(failure);
        }
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let diff = change_set.map_or_else(String::new, |set| set.changes.diff());
        let (name, region) = (&self.name, &self.region);
        Ok(format!(
            "stack {name} in {region} is new:\n{diff}{}",
            steps(deploy, true)
        ))
    }

    async fn plan_change(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        stack: &Described,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let sorted = self.checked(deploy, image, stack).await?;
        sorted.tell_unseen(cx.events);
        let (name, region) = (&self.name, &self.region);
        if self.is_as_wanted(deploy, &sorted, stack, cx).await? {
            return Ok(format!(
                "stack {name} in {region} is as wanted: nothing would change\n"
            ));
        }
        let wanted = deploy.wanted(sorted.of_colour.clone());
        let of_idle = rollout::parameters_of_idle(self, &wanted).await?;
        let mut parameters = sorted.shared;
        parameters.extend(of_idle);
        let request = Request {
            run: &deploy.run,
            stack: Some(stack),
            template: self.other_template(deploy, cx).await,
            parameters: &parameters,
            options: &deploy.options,
        };
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let change_set = self.propose(&request).await.map_err(failed)?;
        let diff = match &change_set {
            None => "nothing of the stack itself changes\n".to_owned(),
            Some(set) => set.changes.diff(),
        };
        if let Some(set) = change_set {
            let deleted = self.delete_change_set(set.id()).await;
            deleted.map_err(failed)?;
        }
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let steps = match rollout::is_needed(self, &wanted).await? {
            true => steps(deploy, false),
            false => String::new(),
        };
        Ok(format!("stack {name} in {region}:\n{diff}{steps}"))
    }

    fn is_busy(&self, stack: &Described) -> TargetError {
        let (name, status) = (&self.name, &stack.status);
        let error = TargetError::new(format!(
            "stack {name} is {status}, so that nothing can be said of it"
        ));
        error.with_hint("plan again when that has ended; a deploy would wait for it")
    }
}

/// Returns the steps of the rollout, a line each.
fn steps(deploy: &Deploy, is_first: bool) -> String {
    let steps = rollout::plan(&deploy.pacing, is_first, deploy.smoke.is_some());
    let numbered = steps
        .iter()
        .enumerate()
        .map(|(at, step)| format!("{:2}. {step}\n", at + 1));
    format!("then:\n{}", numbered.collect::<String>())
}
