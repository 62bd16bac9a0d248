//! What stands in the way of a deploy, asked before anything changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_ec2::types::{Image, ImageState};

use super::Stack;
use super::deploy::Deploy;
use super::rollout::{self, ALARMED, OnAlarm, Pacing};
use super::template::COLOURS;
use crate::bake::failed;
use crate::cert::Certificates;
use crate::exit::{Exit, Failure};
use crate::run::rfc3339;
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;
use crate::targets::ec2::misfit;

/// How long a certificate must be valid beyond a deploy: its rollback takes less.
const VALID_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    image: Option<&'a Image>,
    /// The parameters as they would be.
    values: &'a BTreeMap<String, String>,
    pacing: &'a Pacing,
}

impl<'a> Look<'a> {
    pub(super) fn of(
        image: Option<&'a Image>,
        values: &'a BTreeMap<String, String>,
        pacing: &'a Pacing,
    ) -> Self {
        Self {
            image,
            values,
            pacing,
        }
    }

    /// Returns the values of what exists once a colour.
    fn of_colours(&self, stem: &str) -> BTreeSet<&'a str> {
        let names = COLOURS.into_iter().map(|colour| format!("{stem}{colour}"));
        names
            .filter_map(|name| self.values.get(&name))
            .map(String::as_str)
            .collect()
    }
}

impl Stack {
    /// Returns what could not be looked at, a sentence each.
    ///
    /// # Errors
    /// All that stands in the way.
    pub(super) async fn preflight(&self, look: &Look<'_>) -> Result<Vec<String>, Failure> {
        let (mut problems, mut unseen) = (Vec::new(), Vec::new());
        if let Some(image) = look.image {
            problems.extend(unavailable(image));
            match self.unfit(image, look).await {
                Ok(problem) => problems.extend(problem),
                // Who may not ask is not kept from deploying.
                Err(error) if error.is_denied() => unseen.push(format!(
                    "whether the instance types boot the image is not known beforehand: {}",
                    TargetError::from(error).on_one_line()
                )),
                Err(error) => return Err(failed(error)),
            }
        }
        problems.extend(self.ending(look).await);
        match problems.is_empty() {
            true => Ok(unseen),
            false => Err(self.cannot(problems)),
        }
    }

    fn cannot(&self, mut problems: Vec<TargetError>) -> Failure {
        let name = &self.name;
        if problems.len() == 1 {
            return failed(problems.swap_remove(0));
        }
        let told: Vec<String> = problems.iter().map(TargetError::on_one_line).collect();
        let message = format!(
            "{} things stand in the way of a deploy to {name}",
            problems.len()
        );
        let failure = failed(TargetError::new(message).because(told.join("; ")));
        let worst = problems
            .into_iter()
            .map(|problem| failed(problem).kind)
            .max();
        failure.of_kind(worst.unwrap_or(Exit::Failed))
    }

    /// Returns that the certificate is not there, or ends too soon: a listener would not take it, or clients not for long.
    async fn ending(&self, look: &Look<'_>) -> Option<TargetError> {
        let arn = look.values.get("CertificateArn")?;
        let certificates = Certificates::of(&self.ec2);
        let end = match certificates.end_of(arn).await {
            Ok(Some(end)) => end,
            Ok(None) => {
                let message = format!("there is no certificate {arn} in {}", self.region);
                let error = TargetError::manifest(message);
                return Some(error.with_hint(
                    "`amibake cert status` shows those that are there; a listener takes one of its own region",
                ));
            }
            Err(error) => return Some(error),
        };
        let needed = look.pacing.longest() + VALID_AFTER;
        let is_valid = end > certificates.now().await + needed;
        (!is_valid).then(|| {
            let hours = needed.as_secs().div_ceil(3600);
            let error = TargetError::new(format!(
                "the certificate {arn} ends at {}, and a deploy wants it valid for {hours} h",
                rfc3339(end)
            ));
            error.with_hint("`amibake cert` renews one that it has made, in place")
        })
    }

    /// Returns that no instance type which the colours have boots the image.
    async fn unfit(&self, image: &Image, look: &Look<'_>) -> Result<Option<TargetError>, Ec2Error> {
        let names: Vec<String> = look
            .of_colours("InstanceType")
            .into_iter()
            .map(str::to_owned)
            .collect();
        if names.is_empty() {
            return Ok(None); // a template of the user's own has its own way
        }
        let types = match self.ec2.instance_types(&names).await {
            Ok(types) => types,
            Err(error) if error.code() == Some("InvalidInstanceType") => {
                let error = TargetError::from(error);
                return Ok(Some(
                    TargetError::manifest(error.on_one_line())
                        .with_hint("look at --param InstanceType"),
                ));
            }
            Err(error) => return Err(error),
        };
        let misfits: Vec<String> = types
            .iter()
            .filter_map(|info| misfit(info, image))
            .collect();
        let none_fits = !types.is_empty() && misfits.len() == types.len();
        Ok(none_fits.then(|| {
            let id = image.image_id().unwrap_or_default();
            let error = TargetError::manifest(format!("no instance type of the stack boots {id}"));
            error
                .because(misfits.join("; "))
                .with_hint("--param InstanceType=… names another")
        }))
    }

    /// Refuses to change a stack while what serves has an alarm that fires. (What becomes of a rollout then is the
    /// rollout's.)
    pub(super) async fn refuse_while_alarmed(&self, deploy: &Deploy) -> Result<(), Failure> {
        if deploy.on_alarm == OnAlarm::Begin {
            return Ok(());
        }
        let wanted = deploy.wanted(BTreeMap::new());
        let fires = rollout::alarms_of_what_serves(self, &wanted).await?;
        if fires.is_empty() {
            return Ok(());
        }
        let message = format!("alarms fire before the deploy begins: {}", fires.join(", "));
        Err(failed(TargetError::new(message).with_hint(ALARMED)))
    }
}

/// Returns that an image cannot be launched now.
fn unavailable(image: &Image) -> Option<TargetError> {
    let id = image.image_id().unwrap_or_default();
    let state = image.state();
    if state == Some(&ImageState::Available) {
        return None;
    }
    let state = state.map_or("of no state", ImageState::as_str);
    let error = TargetError::new(format!("{id} is {state}"));
    Some(match state {
        "pending" => error.with_hint("deploy it when it is available"),
        _ => error.with_hint("an image that is not available cannot be launched: build it again"),
    })
}
