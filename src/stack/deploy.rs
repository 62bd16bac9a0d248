//! A deploy, from what is found to what is wanted: the stack is made or changed where it is not as it should be, and a
//! rollout brings the image to the colour that is idle.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::change_set::{Options, Request};
use super::operation::Of;
use super::parameters::Sorted;
use super::prospect::{Change, Given, New, Prospect, sorted};
use super::rollout::{
    self, Before, End, Named, OnAlarm, OnFailure, Pacing, RolloutContext, SmokeTests, StackLock,
    Wanted, Way,
};
use super::template::Template;
use super::update::Losses;
use super::{CommandLine, Described, Stack};
use crate::bake::{failed, interrupted};
use crate::exit::Failure;
use crate::run::RunId;

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
    /// As it is typed, for whoever goes on with it.
    pub(crate) again: CommandLine,
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

/// What is done before the rollout: the parameters that are one colour's, and what was changed.
struct Ready {
    of_colour: BTreeMap<String, String>,
    before: Before,
    /// Whether what had the traffic was replaced.
    is_loss: bool,
    /// The command that goes on.
    again: String,
}

impl Stack {
    /// Does what is wanted. Where all is so already, no call changes anything.
    pub(crate) async fn deploy(
        &self,
        deploy: &Deploy,
        cx: &RolloutContext<'_>,
    ) -> Result<Deployed, Failure> {
        let looking = Box::pin(async {
            let image = self.image_of(deploy).await?;
            let found = self.described().await.map_err(failed)?;
            let prospect = self.prospect(deploy, image.as_ref(), found).await?;
            prospect.tell_unseen(cx.events);
            if !prospect.is_nothing() {
                self.foresee(deploy, image.as_ref(), prospect.stack(), cx)
                    .await?;
            }
            Ok((image, prospect.is_nothing()))
        });
        let (image, is_nothing) = unless_cancelled(cx, looking).await?;
        if is_nothing {
            return self.deployed(None).await;
        }
        let lock = StackLock::take(self, &deploy.run, cx.events).await?;
        let outcome = self.deploy_alone(deploy, image.as_ref(), cx).await;
        lock.release(cx.events).await;
        outcome
    }

    /// Looks at what may go wrong later on.
    async fn foresee(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        stack: Option<&Described>,
        cx: &RolloutContext<'_>,
    ) -> Result<(), Failure> {
        self.refuse_without_leave(deploy, stack, cx.events).await?;
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
        let ready = loop {
            let found = self.described_patiently().await.map_err(failed)?;
            match self.prospect(deploy, image, found).await? {
                Prospect::New(new) => break self.make(deploy, new, cx).await?,
                Prospect::Anew(stack, _) => self.clear_away(&stack, deploy, cx).await?,
                Prospect::Change(change) => break self.alter(deploy, *change, cx).await?,
                Prospect::Busy(stack) => self.wait_for_others(&stack, cx).await?,
            }
        };
        let wanted = deploy.wanted(ready.of_colour);
        if ready.is_loss {
            rollout::await_health(self, &wanted, cx).await;
        }
        let named = Named::of_command(self, ready.again, ready.before);
        let ended = rollout::run_named(self, &wanted, &named, cx).await?;
        self.deployed(Some(ended)).await
    }

    /// Deletes a stack that was never whole.
    async fn clear_away(
        &self,
        stack: &Described,
        deploy: &Deploy,
        cx: &RolloutContext<'_>,
    ) -> Result<(), Failure> {
        cx.events.warn(format!(
            "stack {} is {}, and is deleted first",
            self.name, stack.status
        ));
        let role = deploy.options.role_arn.as_deref();
        let kept = self.destroy(stack, &deploy.run, role, cx).await?;
        for kept in kept {
            let told = format!("{} {} is kept", kept.resource, kept.id);
            cx.events.warn(told);
        }
        Ok(())
    }

    /// Makes the stack, both colours with the same parameters, and nothing running.
    async fn make(
        &self,
        deploy: &Deploy,
        new: New,
        cx: &RolloutContext<'_>,
    ) -> Result<Ready, Failure> {
        let template = deploy.template_of_new();
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let request = Request {
            run: &deploy.run,
            stack: None,
            template: Some(&template),
            parameters: &new.sorted.for_both(),
            options: &deploy.options,
        };
        let begun = self.begin_creation(&request, new.review).await?;
        let again = deploy.again(None);
        let making = self.end_creation(&begun, &template, cx.events);
        self.unless_left(cx, "making", &again, making).await?;
        Ok(Ready {
            of_colour: new.sorted.of_colour,
            before: Before::StackMade,
            is_loss: false,
            again,
        })
    }

    /// Changes what of the stack is not one colour's.
    async fn alter(
        &self,
        deploy: &Deploy,
        change: Change,
        cx: &RolloutContext<'_>,
    ) -> Result<Ready, Failure> {
        if cx.cancel.is_cancelled() {
            return Err(interrupted());
        }
        let template = deploy
            .template
            .as_ref()
            .filter(|_| change.has_other_template);
        let mut ready = Ready {
            before: Before::Nothing,
            is_loss: false,
            again: deploy.again(Some(&change.stack)),
            of_colour: change.sorted.of_colour.clone(),
        };
        if !change.is_of_the_stack() {
            return Ok(ready);
        }
        let request = Request {
            run: &deploy.run,
            stack: Some(&change.stack),
            template,
            parameters: &change.sorted.shared,
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
            self.unless_left(cx, "changing", &ready.again, changing)
                .await?;
            ready.before = Before::StackChanged;
            ready.is_loss = begun.is_loss;
        }
        Ok(ready)
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
        again: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(self.left(doing, again)),
            done = work => done,
        }
    }

    fn left(&self, doing: &str, again: &str) -> Failure {
        let (name, region) = (&self.name, &self.region);
        interrupted().with_hint(format!(
            "CloudFormation goes on {doing} stack {name}, and no traffic has moved; go on: {again}; look: amibake stack status {name} --region {region}"
        ))
    }
}

impl Deploy {
    pub(super) fn template_of_new(&self) -> Template {
        self.template.clone().unwrap_or_else(Template::web)
    }

    /// Refuses parameters that the template which is given does not have: nobody is to wait for an image before that is said.
    pub(crate) fn check_parameters(&self) -> Result<(), Failure> {
        let Some(template) = &self.template else {
            return Ok(());
        };
        let declared = template.parameters();
        sorted(self, None, declared.keys().map(String::as_str)).map(|_: Sorted| ())
    }

    /// Returns the command that goes on, without secrets: those of the template, and of a stack that is there what
    /// CloudFormation does not tell either.
    pub(super) fn again(&self, stack: Option<&Described>) -> String {
        let mut secret: BTreeSet<String> = self.template_of_new().secrets();
        let hidden = |value: &str| !value.is_empty() && value.chars().all(|c| c == '*');
        let known = stack.iter().flat_map(|stack| &stack.parameters);
        secret.extend(
            known
                .filter(|(_, value)| hidden(value))
                .map(|(name, _)| name.clone()),
        );
        self.again.without(&secret)
    }

    /// Returns whether the stack is to have other tags.
    pub(super) fn retags(&self, stack: &Described) -> bool {
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
