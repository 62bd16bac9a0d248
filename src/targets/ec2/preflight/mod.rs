//! What a build would run into, asked of AWS beforehand. Nothing is made: what only making would tell is
//! asked as a dry run, or of IAM's simulator, or is listed as not checked.

mod account;
mod key;
mod key_policy;
mod permission;
mod types;

use std::collections::BTreeSet;

use aws_sdk_ec2::types::Image;
use serde::Serialize;

use super::error::Ec2Error;
use super::permissions::copied_to;
use super::publish::NameHolder;
use super::reuse::{Made, has_passed_as};
use super::{Ec2, image, tags};
use crate::exit::chain;
use crate::identity::ContentHash;
use crate::manifest::{Connect, Publication};
use crate::plan::BakePlan;
use crate::targets::{Fault, Finished, TargetError};
use permission::Caller;
#[cfg(feature = "stack")]
pub(crate) use permission::{Leave, Simulated};
#[cfg(feature = "stack")]
pub(crate) use types::misfit;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Ok,
    /// A build goes on, and may not end as is hoped.
    Warning,
    /// A build would fail.
    Failed,
    NotChecked,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// `quota`
    pub(crate) about: &'static str,
    pub(crate) verdict: Verdict,
    /// What is so; for what failed, what it is and what to do.
    pub(crate) detail: String,
    /// Whose fault it is, if it failed: the manifest's, or the world's.
    #[serde(skip)]
    pub(crate) fault: Option<Fault>,
}

impl Check {
    pub(crate) fn ok(about: &'static str, detail: impl Into<String>) -> Self {
        Self::new(about, Verdict::Ok, detail)
    }

    fn warning(about: &'static str, detail: impl Into<String>) -> Self {
        Self::new(about, Verdict::Warning, detail)
    }

    fn not_checked(about: &'static str, why: impl Into<String>) -> Self {
        Self::new(about, Verdict::NotChecked, why)
    }

    /// Returns that the manifest asks for what cannot be.
    pub(crate) fn wrong(about: &'static str, detail: impl Into<String>) -> Self {
        Self {
            fault: Some(Fault::Manifest),
            ..Self::new(about, Verdict::Failed, detail)
        }
    }

    /// Returns that the account or the network stands in the way.
    fn failed(about: &'static str, detail: impl Into<String>) -> Self {
        Self {
            fault: Some(Fault::World),
            ..Self::new(about, Verdict::Failed, detail)
        }
    }

    fn new(about: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            about,
            verdict,
            detail: detail.into(),
            fault: None,
        }
    }

    /// Returns what an error of the build's own reading means.
    fn of(about: &'static str, error: &TargetError) -> Self {
        Self {
            fault: Some(error.fault),
            ..Self::new(about, Verdict::Failed, error.on_one_line())
        }
    }

    /// Returns it as of a build that launches something, where one of now does not.
    fn of_another_time(self) -> Self {
        match self.verdict {
            Verdict::Failed => Self::warning(
                self.about,
                format!(
                    "{} (for the next build that launches something)",
                    self.detail
                ),
            ),
            Verdict::Ok | Verdict::Warning | Verdict::NotChecked => self,
        }
    }

    /// Returns that something could not be asked. A build does not ask it either.
    fn unasked(about: &'static str, error: &Ec2Error) -> Self {
        Self::not_checked(about, chain(error))
    }
}

/// Of an image that is there already: a build launches nothing.
const CONTENT: &str = "content";

/// What the checks of one image have in common.
struct Preflight<'a> {
    ec2: &'a Ec2,
    plan: &'a BakePlan,
    source: &'a Image,
    caller: &'a Caller,
}

impl Ec2 {
    /// Looks at all that a build by `plan` needs of the account and the region.
    ///
    /// # Errors
    /// That nothing could be asked: there are no credentials, or the region does not answer.
    pub(crate) async fn preflight(&self, plan: &BakePlan) -> Result<Vec<Check>, TargetError> {
        self.be_patient();
        let caller = self.caller().await?;
        let mut checks = vec![Check::ok("credentials", caller.arn.clone())];
        let source = match self.source_image(&plan.source, plan.arch).await {
            Ok(source) => source,
            Err(error) => {
                checks.push(Check::of("source", &error));
                checks.extend(self.permissions_denied(plan, &caller, None).await);
                return Ok(checks);
            }
        };
        checks.push(found(&source));
        checks.extend(self.registration(&source).await);
        let names = self.names(plan, &source).await;
        checks.extend(names.checks);
        checks.extend(self.publication_places(plan, &names.not_there).await);
        let preflight = Preflight {
            ec2: self,
            plan,
            source: &source,
            caller: &caller,
        };
        checks.extend(preflight.account_settings().await);
        let launches = !checks.iter().any(|check| check.about == CONTENT);
        let mut of_launch = preflight.instance_types().await;
        of_launch.extend(self.address(plan).await);
        let first = match self.network(plan).await {
            Ok(network) => {
                of_launch.push(Check::ok("network", subnets(&network)));
                Some((&source, network))
            }
            Err(error) => {
                of_launch.push(Check::of("network", &error));
                None
            }
        };
        checks.extend(of_launch.into_iter().map(|check| match launches {
            true => check,
            false => check.of_another_time(),
        }));
        let first = first.as_ref().map(|(source, network)| (*source, network));
        checks.extend(self.permissions_denied(plan, &caller, first).await);
        Ok(checks)
    }

    /// Asks where SSH comes from, as a build does that lets it in.
    async fn address(&self, plan: &BakePlan) -> Option<Check> {
        let builder = &plan.builder;
        let is_asked = builder.connect == Connect::PublicIp && builder.security_groups.is_empty();
        if !is_asked || builder.ingress_cidrs.is_some() {
            return None;
        }
        Some(match self.echo.public_address().await {
            Ok(address) => Check::ok("address", format!("SSH comes from {address}")),
            Err(error) => Check::of("address", &error),
        })
    }

    /// Returns whether the image gets its final name only when it has passed.
    async fn registration(&self, source: &Image) -> Option<Check> {
        match self.lost_by_registering(source).await {
            Ok(None) => None,
            Ok(Some(lost)) => Some(Check::warning(
                "source",
                format!("the source {lost}: the image has its final name before it is tested"),
            )),
            Err(error) => Some(Check::unasked("source", &error)),
        }
    }

    /// Looks whether the image's name is free wherever it is wanted. Where an image of this content is
    /// there, a build takes that, and its own name stands in nobody's way.
    async fn names(&self, plan: &BakePlan, source: &Image) -> Names {
        self.be_patient();
        let content = plan.inputs.content(plan.arch, &image::base(source).id());
        let made = match self.made(plan, &content).await {
            Ok(made) => made,
            Err(error) => return Names::of(vec![Check::of("name", &error.into())]),
        };
        let mut names = Names::default();
        let mut there = |Finished { id, name, .. }: &Finished, what: &str| {
            let taken = format!("{id} ({name}) {what}: a build launches nothing");
            names.checks.push(Check::ok(CONTENT, taken));
        };
        let ours = match &made {
            Made {
                finished: Some(image),
                ..
            } => {
                there(image, "is made of this");
                Ours::Finished(&content.hash)
            }
            Made {
                passed: Some(image),
                ..
            } => {
                there(image, "has passed, and its publication goes on");
                Ours::Passed(&content.hash)
            }
            Made { .. } => Ours::Passed(&content.hash),
        };
        self.name_is_free(plan, ours, self, &mut names).await;
        for region in copied_to(plan) {
            let there = self.in_region(region);
            there.name_is_free(plan, ours, self, &mut names).await;
        }
        names
    }

    /// Looks whether what is to have the image's id can have it; not in regions that are none of the account's.
    async fn publication_places(
        &self,
        plan: &BakePlan,
        not_there: &BTreeSet<String>,
    ) -> Vec<Check> {
        let about = "publication";
        let Publication {
            ssm_parameter,
            launch_template,
            ..
        } = &plan.image.publication;
        let template = launch_template.as_ref();
        let template = template.map(|launch| format!("launch template {}", launch.template));
        let places: Vec<String> = ssm_parameter.iter().cloned().chain(template).collect();
        let checked = self.check_places(plan).await.into_iter();
        let checked = checked.filter(|(region, _)| !not_there.contains(region));
        let checked = checked.map(|(region, looked)| match looked {
            Ok(()) => Check::ok(
                about,
                format!(
                    "nothing stands in the way of {} in {region}",
                    places.join(" and ")
                ),
            ),
            Err(error) if error.fault == Fault::Manifest || region == self.region => {
                Check::of(about, &error)
            }
            Err(error) => Check::warning(about, error.on_one_line()),
        });
        checked.collect()
    }

    async fn name_is_free(&self, plan: &BakePlan, ours: Ours<'_>, home: &Self, names: &mut Names) {
        self.be_patient();
        let about = "name";
        let holder = self.who_has_name(plan, |image| ours.is(image)).await;
        let in_region = |image: &Image| {
            let id = image.image_id().unwrap_or_default();
            format!("{id} in {}", self.region)
        };
        names.checks.push(match holder {
            Err(error) => {
                let error = home.refused_by(&self.region, error).await;
                if error.fault == Fault::Manifest {
                    names.not_there.insert(self.region.clone());
                }
                Check::of(about, &error)
            }
            Ok(NameHolder::Nobody) => {
                let name = &plan.image.name;
                Check::ok(about, format!("{name} is free in {}", self.region))
            }
            Ok(NameHolder::Ours(own)) => {
                let own = in_region(&own);
                Check::ok(
                    about,
                    format!("{own} has it, and is what a build goes on with"),
                )
            }
            Ok(NameHolder::Old(old)) => match self.may_make_way(&old, plan).await {
                Ok(()) => Check::ok(about, format!("{} is replaced", in_region(&old))),
                Err(error) => Check::of(about, &error),
            },
            Ok(NameHolder::Other(taken)) => Check::of(about, &taken),
        });
    }
}

/// What looking for the image's name has told.
#[derive(Default)]
struct Names {
    checks: Vec<Check>,
    /// Regions that there are not, or that are not enabled: more of them is not asked.
    not_there: BTreeSet<String>,
}

impl Names {
    fn of(checks: Vec<Check>) -> Self {
        let not_there = BTreeSet::new();
        Self { checks, not_there }
    }
}

/// Which images are the build's own, whatever their names: of its content, and as far as it goes on with.
#[derive(Clone, Copy)]
enum Ours<'a> {
    /// One is finished: it, and its copies.
    Finished(&'a ContentHash),
    /// One that waits for its publication.
    Passed(&'a ContentHash),
}

impl Ours<'_> {
    fn is(self, image: &Image) -> bool {
        let described = image.description().unwrap_or_default();
        match self {
            Self::Finished(hash) => {
                tags::content_of(described).as_ref() == Some(hash) || has_passed_as(image, hash)
            }
            Self::Passed(hash) => has_passed_as(image, hash),
        }
    }
}

fn found(source: &Image) -> Check {
    let id = source.image_id().unwrap_or_default();
    let name = source.name().unwrap_or_default();
    match source.deprecation_time() {
        Some(at) if at < crate::run::rfc3339(time::OffsetDateTime::now_utc()).as_str() => {
            Check::warning("source", format!("{id} ({name}) is deprecated since {at}"))
        }
        _ => Check::ok("source", format!("{id} ({name})")),
    }
}

fn subnets(network: &super::ladder::Network) -> String {
    let subnets = network.subnets.iter().map(|place| place.id.as_str());
    let subnets = subnets.collect::<Vec<_>>().join(", ");
    format!("{subnets} in {}", network.vpc_id)
}
