//! What stands in the way of a deploy, asked before anything changes.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{Image, ImageState};

use super::Stack;
use super::deploy::Deploy;
use super::launched::Types;
use super::rollout::{ALARMED, Act, Foreseen, OnAlarm, Pacing};
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
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// The image that is launched, if one is.
    pub(super) image: Option<&'a Image>,
    pub(super) types: Types,
    /// The parameters as they would be.
    pub(super) values: &'a BTreeMap<String, String>,
    pub(super) foreseen: &'a Foreseen,
    pub(super) pacing: &'a Pacing,
}

impl Stack {
    /// Returns what could not be looked at, a sentence each.
    ///
    /// # Errors
    /// All that stands in the way.
    pub(super) async fn preflight(&self, look: &Look<'_>) -> Result<Vec<String>, Failure> {
        let mut problems = out_of_bounds(look.values, look.foreseen);
        let mut unseen = Vec::new();
        if let Some(image) = look.image {
            problems.extend(unavailable(image));
            match self.unfit(image, &look.types).await {
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

    /// Returns that the instance type which launches the image does not boot it.
    async fn unfit(&self, image: &Image, types: &Types) -> Result<Option<TargetError>, Ec2Error> {
        let names = types.names();
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
            let error = TargetError::manifest(format!("{} cannot boot {id}", names.join(" and ")));
            error
                .because(misfits.join("; "))
                .with_hint("--param InstanceType=… names another")
        }))
    }

    /// Refuses to change a stack while what serves has an alarm that fires. (What becomes of a rollout then is the
    /// rollout's.)
    pub(super) fn refuse_while_alarmed(
        deploy: &Deploy,
        foreseen: &Foreseen,
    ) -> Result<(), Failure> {
        if deploy.on_alarm == OnAlarm::Begin || foreseen.alarms.is_empty() {
            return Ok(());
        }
        let fires = foreseen.alarms.join(", ");
        let message = format!("alarms fire before the deploy begins: {fires}");
        let hint = format!("nothing was changed; {ALARMED}");
        Err(failed(TargetError::new(message).with_hint(hint)))
    }
}

/// Returns that sizes do not agree: CloudFormation would find out when all else is changed, or take instances away.
fn out_of_bounds(values: &BTreeMap<String, String>, foreseen: &Foreseen) -> Vec<TargetError> {
    let size = |name: &str| values.get(name)?.trim().parse::<u32>().ok();
    let (min, max) = (size("MinSize"), size("MaxSize"));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        let message = format!("MinSize is {min} and MaxSize is {max}, which is less");
        let error = TargetError::manifest(message);
        return vec![error.with_hint("give both by --param, or the one that does not fit")];
    }
    let (wanted, most) = match (&foreseen.act, &foreseen.live) {
        (Act::Roll(roll), live) => {
            let serving = live.as_ref().map_or(0, |(_, group)| group.desired);
            (roll.size.max(serving), roll.max)
        }
        (Act::Nothing | Act::Finish(_) | Act::Unknown, Some((_, group))) => {
            (group.desired.max(group.min), group.max)
        }
        (Act::Nothing | Act::Finish(_) | Act::Unknown, None) => return Vec::new(),
    };
    if wanted <= most {
        return Vec::new();
    }
    let message = format!("{wanted} instances are to serve, and MaxSize is {most}");
    let hint = "a group with fewer at most would end instances that serve: let it become smaller first (a deploy of a smaller MinSize alone), or give a larger MaxSize";
    vec![TargetError::manifest(message).with_hint(hint)]
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::rollout::{Colour, GroupState, Roll};
    use super::*;

    fn group(min: u32, desired: u32, max: u32) -> GroupState {
        GroupState {
            name: "blue".to_owned(),
            min,
            desired,
            max,
            grace: None,
            suspended: BTreeSet::new(),
        }
    }

    #[test]
    fn sizes_that_do_not_agree_are_told_and_what_serves_is_not_to_become_less() {
        let values = |min: &str, max: &str| {
            let pairs = [("MinSize", min), ("MaxSize", max)];
            pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
        };
        let told = |values: &BTreeMap<String, String>, foreseen: &Foreseen| {
            let told = out_of_bounds(values, foreseen);
            told.first().map(ToString::to_string).unwrap_or_default()
        };
        let nothing = Foreseen::of(Act::Nothing);
        let wrong = "MinSize is 5 and MaxSize is 4, which is less";
        assert_eq!(told(&values("5", "4"), &nothing), wrong);
        assert_eq!(told(&values("4", "4"), &nothing), "");
        assert_eq!(told(&values("", "many"), &nothing), "");

        // As `foresee` has it, MaxSize is the group's most already.
        let serves = |act, group| Foreseen {
            live: Some((Colour::Blue, group)),
            ..Foreseen::of(act)
        };
        let fewer = "4 instances are to serve, and MaxSize is 3";
        let small = serves(Act::Nothing, group(2, 4, 3));
        assert_eq!(told(&values("2", "3"), &small), fewer);
        assert_eq!(
            told(&values("2", "4"), &serves(Act::Nothing, group(2, 4, 4))),
            ""
        );
        let roll = |size, max| {
            let (to, from) = (Colour::Green, Some(Colour::Blue));
            Act::Roll(Roll {
                to,
                from,
                size,
                max,
                suspends: true,
                parameters: BTreeMap::new(),
            })
        };
        let rolls = serves(roll(4, 3), group(2, 4, 3));
        assert_eq!(told(&values("2", "3"), &rolls), fewer);
        assert_eq!(
            told(&values("2", "3"), &serves(roll(3, 3), group(2, 3, 3))),
            ""
        );
    }
}
