//! How a stack is found, and what would come of a deploy to it: looked at before anything changes, by a deploy and by its
//! plan alike. All that a deploy can be refused for is refused here.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::Image;

use super::deploy::Deploy;
use super::launched::{Launched, Types, defaults, first_roll, number, values_ahead};
use super::parameters::{Asked, Sorted, without_value};
use super::preflight::Look;
use super::rollout::{self, Act, Ahead, Foreseen};
use super::standing::{Standing, stuck, unmade};
use super::template::{Template, stack_lacks};
use super::update::Review;
use super::{Described, Stack};
use crate::bake::failed;
use crate::event::Events;
use crate::exit::Failure;
use crate::targets::TargetError;

/// What runs, as far as a deploy names it.
pub(super) type Given<'a> = Option<&'a Image>;

/// What a deploy comes upon, and what it would do.
#[derive(Debug)]
pub(super) enum Prospect {
    /// There is no stack, or a name in review alone.
    New(New),
    /// It was never whole: it goes, and another is made.
    Anew(Described, New),
    Change(Box<Change>),
    /// CloudFormation is at work on it: it is waited for, and looked at again.
    Busy(Described),
}

/// A stack that is to be made.
#[derive(Debug)]
pub(super) struct New {
    pub(super) sorted: Sorted,
    pub(super) review: Review,
    pub(super) foreseen: Foreseen,
}

/// What would be changed of a stack that is there.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) stack: Described,
    /// Without what it has already.
    pub(super) sorted: Sorted,
    /// Whether it is to have the template that is given.
    pub(super) has_other_template: bool,
    pub(super) retags: bool,
    pub(super) foreseen: Foreseen,
}

impl Prospect {
    fn sorted(&self) -> Option<&Sorted> {
        match self {
            Self::New(new) | Self::Anew(_, new) => Some(&new.sorted),
            Self::Change(change) => Some(&change.sorted),
            Self::Busy(_) => None,
        }
    }

    /// Says what could not be looked at.
    pub(super) fn tell_unseen(&self, events: &Events) {
        let unseen = self.sorted().into_iter().flat_map(|all| &all.unseen);
        unseen.for_each(|what| events.warn(what.clone()));
    }

    /// Returns whether all is as wanted.
    pub(super) fn is_nothing(&self) -> bool {
        match self {
            Self::New(_) | Self::Anew(..) | Self::Busy(_) => false,
            Self::Change(change) => {
                !change.is_of_the_stack() && change.foreseen.act == Act::Nothing
            }
        }
    }

    /// Returns the stack, if it is one that stays.
    pub(super) fn stack(&self) -> Option<&Described> {
        match self {
            Self::New(_) | Self::Anew(..) => None,
            Self::Change(change) => Some(&change.stack),
            Self::Busy(stack) => Some(stack),
        }
    }
}

impl Change {
    /// Returns whether something changes that is not one colour's.
    pub(super) fn is_of_the_stack(&self) -> bool {
        !self.sorted.shared.is_empty() || self.has_other_template || self.retags
    }
}

impl Stack {
    /// Looks at the stack that was found, and refuses what cannot be.
    pub(super) async fn prospect(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        found: Option<Described>,
    ) -> Result<Prospect, Failure> {
        let Some(stack) = found else {
            let new = self.check_new(deploy, image, Review::Own).await?;
            return Ok(Prospect::New(new));
        };
        match Standing::of(&stack.status) {
            Standing::Review => {
                self.refuse_review_of_others().await?;
                let new = self.check_new(deploy, image, Review::Found).await?;
                Ok(Prospect::New(new))
            }
            Standing::Unmade if deploy.recreates => {
                let new = self.check_new(deploy, image, Review::Own).await?;
                Ok(Prospect::Anew(stack, new))
            }
            Standing::Ready => {
                let change = self.check_change(deploy, image, stack).await?;
                Ok(Prospect::Change(Box::new(change)))
            }
            Standing::Busy => Ok(Prospect::Busy(stack)),
            Standing::Unmade | Standing::Stuck => Err(failed(self.out_of_order(&stack))),
        }
    }

    /// Refuses a stack whose first change set is another's to judge.
    async fn refuse_review_of_others(&self) -> Result<(), Failure> {
        let others = self.change_sets_of_others().await.map_err(failed)?;
        let Some(set) = others.first() else {
            return Ok(());
        };
        let name = &self.name;
        let message = format!(
            "stack {name} is REVIEW_IN_PROGRESS: somebody is to look at its change set {set}"
        );
        Err(Failure::new(message).with_hint(format!(
            "execute it, or delete the stack, which has nothing yet: `amibake stack destroy {name}`"
        )))
    }

    fn out_of_order(&self, stack: &Described) -> TargetError {
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

    /// Returns what would be given to a new stack, when nothing speaks against it.
    async fn check_new(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        review: Review,
    ) -> Result<New, Failure> {
        if image.is_none() {
            let (name, region) = (&self.name, &self.region);
            let message = format!("there is no stack {name} in {region} whose image could be kept");
            return Err(Failure::usage(message).with_hint("a first deploy names an image"));
        }
        let template = deploy.template_of_new();
        let declared = template.parameters();
        let mut sorted = sorted(deploy, image, declared.keys().map(String::as_str))?;
        let given = sorted.for_both();
        if let Some(error) = without_value(&template, &given) {
            return Err(failed(error));
        }
        let mut values = defaults(declared);
        values.extend(given);
        if deploy.smoke.is_some() && template.is_internal(&values) == Some(true) {
            return Err(rollout::internal(self));
        }
        let foreseen = Foreseen::of(Act::Roll(first_roll(&values)));
        let look = Look {
            image,
            types: Types::of_colours(&values),
            values: &values,
            foreseen: &foreseen,
            pacing: &deploy.pacing,
        };
        sorted.unseen = self.preflight(&look).await?;
        Ok(New {
            sorted,
            review,
            foreseen,
        })
    }

    /// Returns what would be changed of a stack, when nothing speaks against it.
    async fn check_change(
        &self,
        deploy: &Deploy,
        image: Given<'_>,
        stack: Described,
    ) -> Result<Change, Failure> {
        let mut unseen = Vec::new();
        let own = self.own_template(&mut unseen).await;
        let given = deploy.template.as_ref();
        let has_other_template = given.is_some_and(|given| !own.is(given));
        let template = given.or(own.template());
        let declared = given.map(Template::parameters);
        let mut sorted = match &declared {
            Some(declared) => sorted(deploy, image, declared.keys().map(String::as_str))?,
            None => {
                self.check_parts(&stack, template)?;
                sorted(deploy, image, stack.parameters.keys().map(String::as_str))?
            }
        }
        .unlike(&stack);
        let values = values_ahead(&stack, declared, &sorted);
        // Another template brings what is lacking, and nothing can be seen before.
        let is_mended = given.is_some() && !lacking(&stack, own.template()).is_empty();
        let foreseen = match is_mended {
            true => Foreseen::of(Act::Unknown),
            false => self.foreseen(deploy, &sorted, &values, template).await?,
        };
        let launched = Launched::of(&foreseen, has_other_template, &values, &sorted);
        let current = match (&launched, image) {
            (Some(launched), None) => self.live_image(launched).await?,
            (None, _) | (_, Some(_)) => None,
        };
        let look = Look {
            image: image.or(current.as_ref()).filter(|_| launched.is_some()),
            types: launched.map_or_else(Types::default, |launched| launched.types),
            values: &values,
            foreseen: &foreseen,
            pacing: &deploy.pacing,
        };
        unseen.extend(self.preflight(&look).await?);
        sorted.unseen = unseen;
        let change = Change {
            retags: deploy.retags(&stack),
            stack,
            sorted,
            has_other_template,
            foreseen,
        };
        if change.is_of_the_stack() {
            Self::refuse_while_alarmed(deploy, &change.foreseen)?;
        }
        Ok(change)
    }

    /// Returns what the rollout will do once the stack is as it is to be.
    async fn foreseen(
        &self,
        deploy: &Deploy,
        sorted: &Sorted,
        values: &BTreeMap<String, String>,
        template: Option<&Template>,
    ) -> Result<Foreseen, Failure> {
        let size = |name: &str| number(sorted.shared.get(name));
        let ahead = Ahead {
            min_size: size("MinSize"),
            max_size: size("MaxSize"),
            is_internal: template.and_then(|template| template.is_internal(values)),
        };
        let wanted = deploy.wanted(sorted.of_colour.clone());
        rollout::foresee(self, &wanted, &ahead).await
    }

    /// Returns the image that stays, and is launched anew.
    async fn live_image(&self, launched: &Launched) -> Result<Option<Image>, Failure> {
        match &launched.image {
            Some(id) => self.ec2.image(id).await.map(Some).map_err(failed),
            None => Ok(None),
        }
    }

    /// Refuses a stack that was made of something else than what a rollout needs.
    fn check_parts(&self, stack: &Described, template: Option<&Template>) -> Result<(), Failure> {
        let lacking = lacking(stack, template);
        if lacking.is_empty() {
            return Ok(());
        }
        let message = format!("stack {} lacks what a rollout needs", self.name);
        let error = TargetError::manifest(message).because(lacking.join("; "));
        Err(failed(error.with_hint(
            "docs/deploy.md, \"A template of your own\", has the list; --template gives it another",
        )))
    }

    /// Reads the template that the stack has, and says where that cannot be.
    async fn own_template(&self, unseen: &mut Vec<String>) -> Own {
        let body = match self.body_of_template().await {
            Ok(Some(body)) => body,
            Ok(None) => return Own::default(),
            Err(error) => {
                unseen.push(format!(
                    "whether the stack's template is as a rollout needs it is not known beforehand: {}",
                    TargetError::from(error).on_one_line()
                ));
                return Own::default();
            }
        };
        let name = format!("the template of {}", self.name);
        let template = match Template::parse(name.as_ref(), body.clone()) {
            Ok(template) if template.is_transformed() => {
                unseen.push(format!("{name} is transformed, and not looked at"));
                None
            }
            Ok(template) => Some(template),
            Err(error) => {
                unseen.push(format!("it is not looked at: {}", error.on_one_line()));
                None
            }
        };
        Own {
            body: Some(body),
            template,
        }
    }
}

/// The template that a stack has, as far as it can be read.
#[derive(Debug, Default)]
struct Own {
    body: Option<String>,
    template: Option<Template>,
}

impl Own {
    fn is(&self, given: &Template) -> bool {
        self.body.as_ref() == Some(&given.body)
    }

    fn template(&self) -> Option<&Template> {
        self.template.as_ref()
    }
}

/// Returns what a stack and its template have not, or must not have.
fn lacking(stack: &Described, template: Option<&Template>) -> Vec<String> {
    let lacking = stack_lacks(&stack.parameters, &stack.outputs);
    match lacking.is_empty() {
        true => template.map(Template::lacking).unwrap_or_default(),
        false => lacking,
    }
}

/// Sorts what is given by the parameters that there are.
pub(super) fn sorted<'n>(
    deploy: &Deploy,
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
        parameters: &deploy.parameters,
    };
    asked.sorted(names).map_err(failed)
}
