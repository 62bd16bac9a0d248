//! A deploy, from what is found to what is wanted: the stack is made or changed where it is not as it should be, and a
//! rollout brings the image to the colour that is idle.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Image;
use serde::Serialize;

use super::change_set::{Options, Request};
use super::operation::Of;
use super::parameters::{Asked, Sorted, without_value};
use super::preflight::Look;
use super::rollout::{
    self, End, OnAlarm, OnFailure, Pacing, RolloutContext, SmokeTests, StackLock, Wanted, Way,
};
use super::standing::{Standing, stuck, unmade};
use super::template::{Template, stack_lacks};
use super::update::Losses;
use super::{Described, Stack};
use crate::bake::{failed, interrupted};
use crate::exit::Failure;
use crate::run::RunId;
use crate::targets::TargetError;

/// What is wanted of a stack.
#[derive(Debug)]
pub(crate) struct Deploy {
    pub(crate) run: RunId,
    /// `None` keeps the one that is live.
    pub(crate) image: Option<String>,
    /// `None` keeps the stack's own; a new stack has the one that comes along.
    pub(crate) template: Option<Template>,
    /// As they are typed: those of a colour without its name.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) options: Options,
    pub(crate) losses: Losses,
    /// Whether a stack that was never whole is deleted and made anew.
    pub(crate) recreates: bool,
    pub(crate) pacing: Pacing,
    pub(crate) smoke: Option<SmokeTests>,
    pub(crate) on_failure: OnFailure,
    pub(crate) on_alarm: OnAlarm,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Deployed {
    pub(crate) stack: String,
    pub(crate) region: String,
    /// Whether anything was done.
    pub(crate) changed: bool,
    /// How it ended, if there was something to do.
    pub(crate) rollout: Option<End>,
    pub(crate) outputs: BTreeMap<String, String>,
}

/// What runs, as far as a deploy names it.
pub(super) type Given<'a> = Option<&'a Image>;

impl Stack {
    /// Does what is wanted. Where all is so already, no call changes anything.
    pub(crate) async fn deploy(
        &self,
        deploy: &Deploy,
        cx: &RolloutContext<'_>,
    ) -> Result<Deployed, Failure> {
        let looking = async {
            let image = self.image_of(deploy).await?;
            let is_done = self.look(deploy, image.as_ref(), cx).await?;
            Ok((image, is_done))
        };
        let (image, is_done) = unless_cancelled(cx, looking).await?;
        if is_done {
            return self.deployed(None).await;
        }
        unless_cancelled(cx, self.foresee(deploy, image.as_ref(), cx)).await?;
        let lock = StackLock::take(self, &deploy.run, cx.events).await?;
        let outcome = self.deploy_alone(deploy, image.as_ref(), cx).await;
        lock.release(cx.events).await;
        outcome
    }

    /// Looks at what there is, says what cannot be looked at, and refuses what cannot be. Returns whether all is as
    /// wanted.
    async fn look(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<bool, Failure> {
        let check_new = async || {
            let sorted = self.check_new(deploy, image).await?;
            sorted.tell_unseen(cx.events);
            Ok(false)
        };
        let Some(stack) = self.described().await.map_err(failed)? else {
            return check_new().await;
        };
        match Standing::of(&stack.status) {
            Standing::Review => {
                self.refuse_review_of_others().await?;
                check_new().await
            }
            Standing::Unmade if deploy.recreates => check_new().await,
            Standing::Ready => {
                let sorted = self.checked(deploy, image, &stack).await?;
                sorted.tell_unseen(cx.events);
                let is_done = self.is_as_wanted(deploy, &sorted, &stack, cx).await?;
                if !is_done && (!sorted.shared.is_empty() || deploy.retags(&stack)) {
                    self.refuse_while_alarmed(deploy).await?;
                }
                Ok(is_done)
            }
            // It is waited for, and looked at again.
            Standing::Busy => Ok(false),
            Standing::Unmade | Standing::Stuck => Err(failed(self.out_of_order(&stack))),
        }
    }

    /// Looks at what may go wrong later on.
    async fn foresee(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<(), Failure> {
        let stack = self.described().await.map_err(failed)?;
        self.refuse_without_leave(deploy, stack.as_ref(), cx.events)
            .await?;
        if let Some(image) = image.filter(|image| image.imds_support().is_none()) {
            let id = image.image_id().unwrap_or_default();
            cx.events.warn(format!(
                "{id} is not marked for IMDSv2: programs in it that ask the instance metadata service by version 1 get no answer where the template demands version 2, as the one that comes along does"
            ));
        }
        Ok(())
    }

    /// Does it while nobody else deploys to the stack.
    async fn deploy_alone(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<Deployed, Failure> {
        let of_colour = loop {
            let found = self.described_patiently().await.map_err(failed)?;
            let Some(stack) = found else {
                break self.make(deploy, image, cx).await?;
            };
            match Standing::of(&stack.status) {
                Standing::Busy => self.wait_for_others(&stack, cx).await?,
                Standing::Review => break self.make(deploy, image, cx).await?,
                Standing::Ready => break self.alter(deploy, image, &stack, cx).await?,
                Standing::Unmade if deploy.recreates => {
                    cx.events.warn(format!(
                        "stack {} is {}, and is deleted first",
                        self.name, stack.status
                    ));
                    let role = deploy.options.role_arn.as_deref();
                    let kept = self.destroy(&stack, &deploy.run, role, cx).await?;
                    kept.iter().for_each(|kept| {
                        cx.events
                            .warn(format!("{} {} is kept", kept.resource, kept.id));
                    });
                }
                Standing::Unmade | Standing::Stuck => {
                    return Err(failed(self.out_of_order(&stack)));
                }
            }
        };
        let wanted = deploy.wanted(of_colour);
        let ended = rollout::run(self, &wanted, cx).await?;
        self.deployed(Some(ended)).await
    }

    /// Makes the stack, both colours with the same parameters, and nothing running. Returns these.
    async fn make(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        cx: &RolloutContext<'_>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let template = deploy.template_of_new();
        let sorted = self.check_new(deploy, image).await?;
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let request = Request {
            run: &deploy.run,
            stack: None,
            template: Some(&template),
            parameters: &sorted.for_both(),
            options: &deploy.options,
        };
        let begun = self.begin_creation(&request).await?;
        let making = self.end_creation(&begun, &template, cx.events);
        self.unless_left(cx, "making", making).await?;
        Ok(sorted.of_colour)
    }

    /// Changes what of the stack is not one colour's. Returns what is.
    async fn alter(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        stack: &Described,
        cx: &RolloutContext<'_>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let sorted = self.checked(deploy, image, stack).await?;
        let template = self.other_template(deploy, cx).await;
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        if sorted.shared.is_empty() && template.is_none() && !deploy.retags(stack) {
            return Ok(sorted.of_colour);
        }
        let request = Request {
            run: &deploy.run,
            stack: Some(stack),
            template,
            parameters: &sorted.shared,
            options: &deploy.options,
        };
        let begun = self
            .begin_change(&request, deploy.losses)
            .await
            .map_err(failed)?;
        if let Some(begun) = begun {
            let changing = async {
                let ended = self.end_change(&begun, template, cx.events).await;
                ended.map_err(failed)
            };
            self.unless_left(cx, "changing", changing).await?;
        }
        Ok(sorted.of_colour)
    }

    /// Returns what would be given to a new stack, when nothing speaks against it.
    pub(super) async fn check_new(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
    ) -> Result<Sorted, Failure> {
        if image.is_none() {
            let (name, region) = (&self.name, &self.region);
            let message = format!("there is no stack {name} in {region} whose image could be kept");
            return Err(Failure::usage(message).with_hint("a first deploy names an image"));
        }
        let template = deploy.template_of_new();
        let declared = template.parameters();
        let mut sorted = deploy.sorted(image, declared.keys().map(String::as_str))?;
        let given = sorted.for_both();
        if let Some(error) = without_value(&template, &given) {
            return Err(failed(error));
        }
        let mut values: BTreeMap<String, String> = declared
            .into_iter()
            .filter_map(|(name, default)| Some((name, default?)))
            .collect();
        values.extend(given);
        let look = Look::of(image, &values, &deploy.pacing);
        sorted.unseen = self.preflight(&look).await?;
        Ok(sorted)
    }

    /// Returns what would be changed of a stack, when nothing speaks against it.
    pub(super) async fn checked(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        stack: &Described,
    ) -> Result<Sorted, Failure> {
        let sorted = match &deploy.template {
            Some(template) => {
                let declared = template.parameters();
                deploy.sorted(image, declared.keys().map(String::as_str))?
            }
            None => {
                self.check_parts(stack)?;
                deploy.sorted(image, stack.parameters.keys().map(String::as_str))?
            }
        };
        let mut sorted = sorted.unlike(stack);
        let mut values = stack.parameters.clone();
        values.extend(sorted.shared.clone());
        values.extend(sorted.for_both());
        let look = Look::of(image, &values, &deploy.pacing);
        sorted.unseen = self.preflight(&look).await?;
        Ok(sorted)
    }

    fn check_parts(&self, stack: &Described) -> Result<(), Failure> {
        let lacking = stack_lacks(&stack.parameters, &stack.outputs);
        if lacking.is_empty() {
            return Ok(());
        }
        let message = format!("stack {} lacks what a rollout needs", self.name);
        let error = TargetError::manifest(message).because(lacking.join("; "));
        Err(failed(error.with_hint(
            "docs/deploy.md, \"A template of your own\", has the list; --template gives it another",
        )))
    }

    pub(super) async fn is_as_wanted(
        &self,
        deploy: &Deploy,
        sorted: &Sorted,
        stack: &Described,
        cx: &RolloutContext<'_>,
    ) -> Result<bool, Failure> {
        if !sorted.shared.is_empty() || deploy.retags(stack) {
            return Ok(false);
        }
        if self.other_template(deploy, cx).await.is_some() {
            return Ok(false);
        }
        let wanted = deploy.wanted(sorted.of_colour.clone());
        Ok(!rollout::is_needed(self, &wanted).await?)
    }

    /// Returns the template that is given, unless the stack has it.
    pub(super) async fn other_template<'d>(
        &self,
        deploy: &'d Deploy,
        cx: &RolloutContext<'_>,
    ) -> Option<&'d Template> {
        let given = deploy.template.as_ref()?;
        let own = self.body_of_template().await;
        let own = own.unwrap_or_else(|error| {
            let why = TargetError::from(error).on_one_line();
            cx.events.note(format!(
                "the template is given to the stack whether it has it or not: {why}"
            ));
            None
        });
        let is_own = own.is_some_and(|own| own == given.body);
        Some(given).filter(|_| !is_own)
    }

    /// Waits for the end of what somebody else has CloudFormation do.
    async fn wait_for_others(
        &self,
        stack: &Described,
        cx: &RolloutContext<'_>,
    ) -> Result<(), Failure> {
        let (name, status) = (&self.name, &stack.status);
        cx.events
            .warn(format!("stack {name} is {status}: this waits for its end"));
        let following = async {
            let ended = self.follow(&stack.id, Of::Anybody, cx.events).await;
            ended.map(drop).map_err(failed)
        };
        unless_cancelled(cx, following).await
    }

    /// Refuses a stack whose first change set is another's to judge.
    pub(super) async fn refuse_review_of_others(&self) -> Result<(), Failure> {
        let others = self.change_sets_of_others().await.map_err(failed)?;
        let Some(set) = others.first() else {
            return Ok(());
        };
        let (name, set) = (&self.name, set.change_set_name().unwrap_or_default());
        let message = format!(
            "stack {name} is REVIEW_IN_PROGRESS: somebody is to look at its change set {set}"
        );
        Err(Failure::new(message).with_hint(format!(
            "execute it, or delete the stack, which has nothing yet: `amibake stack destroy {name}`"
        )))
    }

    pub(super) fn out_of_order(&self, stack: &Described) -> TargetError {
        let (name, status) = (self.name.as_str(), stack.status.as_str());
        let why = match Standing::of(status) {
            Standing::Unmade => unmade,
            Standing::Ready | Standing::Review | Standing::Busy | Standing::Stuck => stuck,
        };
        why(name, status, stack.reason.as_deref())
    }

    pub(super) async fn image_of(&self, deploy: &Deploy) -> Result<Option<Image>, Failure> {
        match &deploy.image {
            Some(id) => self.ec2.image(id).await.map(Some).map_err(failed),
            None => Ok(None),
        }
    }

    async fn deployed(&self, rollout: Option<End>) -> Result<Deployed, Failure> {
        let stack = self.existing().await.map_err(failed)?;
        Ok(Deployed {
            stack: self.name.to_string(),
            region: self.region.clone(),
            changed: rollout.is_some(),
            rollout,
            outputs: stack.outputs,
        })
    }

    /// Does work that may be left to CloudFormation by whoever interrupts.
    async fn unless_left<T>(
        &self,
        cx: &RolloutContext<'_>,
        doing: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(self.left(doing)),
            done = work => done,
        }
    }

    fn left(&self, doing: &str) -> Failure {
        let (name, region) = (&self.name, &self.region);
        interrupted().with_hint(format!(
            "CloudFormation goes on {doing} stack {name}, and no traffic has moved: the same command goes on from there; `amibake stack status {name} --region {region}` looks"
        ))
    }
}

impl Deploy {
    pub(super) fn template_of_new(&self) -> Template {
        self.template.clone().unwrap_or_else(Template::web)
    }

    /// Sorts what is given by the parameters that there are.
    fn sorted<'n>(
        &self,
        image: Given<'_>,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<Sorted, Failure> {
        let image = image.map(|image| {
            (
                image.image_id().unwrap_or_default(),
                image.root_device_name(),
            )
        });
        let asked = Asked {
            image,
            parameters: &self.parameters,
        };
        asked.sorted(names).map_err(failed)
    }

    /// Returns whether the stack is to have other tags.
    fn retags(&self, stack: &Described) -> bool {
        self.options
            .tags
            .as_ref()
            .is_some_and(|tags| *tags != stack.tags)
    }

    pub(super) fn wanted(&self, parameters: BTreeMap<String, String>) -> Wanted {
        Wanted {
            run: self.run.clone(),
            way: Way::Forward { parameters },
            pacing: self.pacing.clone(),
            smoke: self.smoke.clone(),
            on_failure: self.on_failure,
            on_alarm: self.on_alarm,
        }
    }
}

/// Does work that leaves nothing when it is dropped.
async fn unless_cancelled<T>(
    cx: &RolloutContext<'_>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(interrupted()),
        done = work => done,
    }
}
