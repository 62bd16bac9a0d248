//! What a deploy would do, told and left undone.

use super::change_set::{ChangeSet, Request};
use super::deploy::Deploy;
use super::prospect::{Change, Given, New, Prospect};
use super::rollout::{self, Act, Foreseen, RolloutContext, StackLock};
use super::{Described, Stack};
use crate::bake::{failed, interrupted};
use crate::exit::Failure;
use crate::targets::TargetError;

/// What comes before the rollout.
const MADE: &str = "CloudFormation makes it (CreateChangeSet, ExecuteChangeSet)";
const CHANGED: &str =
    "CloudFormation changes what both colours have (CreateChangeSet, ExecuteChangeSet)";
const COMPARED: &str = "CloudFormation finds nothing to change (CreateChangeSet, DeleteChangeSet)";

/// What a deploy calls besides what is listed.
const LOCK: &str = "all of it while nobody else deploys to the stack, by a lock (CreateLaunchTemplate, each minute CreateLaunchTemplateVersion, DeleteLaunchTemplate)\n";

impl Stack {
    /// Returns what a deploy would change and which steps it would take. The change set that tells goes again, and with
    /// it the name of a stack that is not there.
    pub(crate) async fn plan(
        &self,
        deploy: &Deploy,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let image = self.image_of(deploy).await?;
        let found = self.described().await.map_err(failed)?;
        let prospect = self.prospect(deploy, image.as_ref(), found).await?;
        prospect.tell_unseen(cx.events);
        match prospect {
            Prospect::New(_) => self.plan_new_alone(deploy, image.as_ref(), cx).await,
            Prospect::Anew(stack, new) => Ok(self.plan_anew(deploy, &stack, &new)),
            Prospect::Change(change) => self.plan_change(deploy, *change, cx).await,
            Prospect::Busy(stack) => Err(failed(self.is_busy(&stack))),
        }
    }

    /// Plans a stack that is not there while nobody else makes it, whose review this would end otherwise.
    async fn plan_new_alone(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let lock = StackLock::take(self, &deploy.run, cx.events).await?;
        let planning = async {
            let found = self.described_patiently().await.map_err(failed)?;
            match self.prospect(deploy, image, found).await? {
                Prospect::New(new) => self.plan_new(deploy, &new, cx).await,
                Prospect::Anew(..) | Prospect::Change(_) | Prospect::Busy(_) => {
                    let message = format!("stack {} was made by somebody meanwhile", self.name);
                    Err(Failure::new(message).with_hint("plan again"))
                }
            }
        };
        let planned = planning.await;
        lock.release(cx.events).await;
        planned
    }

    async fn plan_new(
        &self,
        deploy: &Deploy,
        new: &New,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let template = deploy.template_of_new();
        let request = Request {
            run: &deploy.run,
            stack: None,
            template: Some(&template),
            parameters: &new.sorted.for_both(),
            options: &deploy.options,
        };
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let diff = match self.propose(&request).await {
            Ok(set) => self.diff_of_new(set, new, deploy).await?,
            Err(error) => {
                let failure = failed(error);
                return Err(self.unreviewed(failure, new.review, &deploy.run).await);
            }
        };
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let (name, region) = (&self.name, &self.region);
        Ok(format!(
            "stack {name} in {region} is new:\n{diff}{}",
            steps(deploy, &new.foreseen, Some(MADE))
        ))
    }

    /// Returns what a change set tells, which goes, and with it a stack in review that it has brought about.
    async fn diff_of_new(
        &self,
        set: Option<ChangeSet>,
        new: &New,
        deploy: &Deploy,
    ) -> Result<String, Failure> {
        let ended = match &set {
            Some(set) => self.delete_change_set(set.id()).await,
            None => Ok(()),
        };
        let ended = match ended {
            Ok(()) => self.end_review(new.review, &deploy.run).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            let mut failure = failed(error);
            failure
                .left_behind
                .push(self.leftover("REVIEW_IN_PROGRESS"));
            return Err(failure);
        }
        Ok(set.map_or_else(String::new, |set| set.changes.diff()))
    }

    /// Tells what becomes of a stack that was never whole: CloudFormation says nothing of what comes after it.
    fn plan_anew(&self, deploy: &Deploy, stack: &Described, new: &New) -> String {
        let (name, region, status) = (&self.name, &self.region, &stack.status);
        let steps = steps(deploy, &new.foreseen, Some(MADE));
        format!(
            "stack {name} in {region} is {status}:\nit is deleted, with rules of its listener that amibake has made (DeleteRule, DeleteStack), and what a new one has can be told when it is gone\n{steps}"
        )
    }

    async fn plan_change(
        &self,
        deploy: &Deploy,
        change: Change,
        cx: &RolloutContext<'_>,
    ) -> Result<String, Failure> {
        let (name, region) = (&self.name, &self.region);
        let is_of_the_stack = change.is_of_the_stack();
        if !is_of_the_stack && change.foreseen.act == Act::Nothing {
            return Ok(format!(
                "stack {name} in {region} is as wanted: nothing would change\n"
            ));
        }
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let mut change_set = self.propose_all(deploy, &change, &change.foreseen).await?;
        let foreseen = relaunching(&change.foreseen, change_set.as_ref());
        if let Some(foreseen) = &foreseen {
            // The idle colour changes, too.
            change_set = self.propose_all(deploy, &change, foreseen).await?;
        }
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let diff = match &change_set {
            None => "nothing of the stack itself changes\n".to_owned(),
            Some(set) => set.changes.diff(),
        };
        let foreseen = foreseen.unwrap_or(change.foreseen);
        let changed = match (is_of_the_stack, &change_set) {
            (false, _) => None,
            (true, Some(_)) => Some(CHANGED),
            (true, None) => Some(COMPARED),
        };
        let steps = steps(deploy, &foreseen, changed);
        Ok(format!("stack {name} in {region}:\n{diff}{steps}"))
    }

    /// Has CloudFormation tell what the stack's change and the idle colour's come to, in one.
    async fn propose_all(
        &self,
        deploy: &Deploy,
        change: &Change,
        foreseen: &Foreseen,
    ) -> Result<Option<ChangeSet>, Failure> {
        let mut parameters = change.sorted.shared.clone();
        if let Act::Roll(roll) = &foreseen.act {
            parameters.extend(roll.parameters.clone());
        }
        let template = deploy.template.as_ref();
        let request = Request {
            run: &deploy.run,
            stack: Some(&change.stack),
            template: template.filter(|_| change.has_other_template),
            parameters: &parameters,
            options: &deploy.options,
        };
        let change_set = self.propose(&request).await.map_err(failed)?;
        if let Some(set) = &change_set {
            self.delete_change_set(set.id()).await.map_err(failed)?;
        }
        Ok(change_set)
    }

    fn is_busy(&self, stack: &Described) -> TargetError {
        let (name, status) = (&self.name, &stack.status);
        let error = TargetError::new(format!(
            "stack {name} is {status}, so that nothing can be said of it"
        ));
        error.with_hint("plan again when that has ended; a deploy would wait for it")
    }
}

/// Returns what is foreseen where the stack's change has the colour that serves launch something else: then what serves is
/// as it is no longer to be, and the other colour is brought up.
fn relaunching(foreseen: &Foreseen, change_set: Option<&ChangeSet>) -> Option<Foreseen> {
    if !matches!(foreseen.act, Act::Nothing | Act::Finish(_)) {
        return None;
    }
    let (_, group) = foreseen.live.as_ref()?;
    let roll = foreseen.if_relaunched.as_ref()?;
    let relaunches = change_set?.changes.relaunches(&group.name);
    relaunches.then(|| Foreseen {
        act: Act::Roll(roll.clone()),
        ..foreseen.clone()
    })
}

/// Returns what CloudFormation does first, and the steps of the rollout, a line each.
fn steps(deploy: &Deploy, foreseen: &Foreseen, first: Option<&str>) -> String {
    let rollout = rollout::foretold(foreseen, &deploy.pacing, deploy.smoke.is_some());
    let steps = first.map(str::to_owned).into_iter().chain(rollout);
    let numbered = steps
        .enumerate()
        .map(|(at, step)| format!("{:2}. {step}\n", at + 1));
    format!("then:\n{}{LOCK}", numbered.collect::<String>())
}
