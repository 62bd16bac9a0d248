//! Which permissions are lacking: what makes something is asked as a dry run, all else of IAM's simulator.

use aws_sdk_ec2::types::Image;
use aws_sdk_iam::types::PolicyEvaluationDecisionType as Decision;
use aws_sdk_iam::types::{ContextEntry, ContextKeyTypeEnum, EvaluationResult};

use super::{Check, Verdict};
use crate::exit::chain;
use crate::plan::BakePlan;
use crate::targets::ec2::error::Ec2Error;
use crate::targets::ec2::ladder::{self, Climbed, Network};
use crate::targets::ec2::launch::Request;
use crate::targets::ec2::permissions::{
    Permission, Purpose, Scope, copied_to, has_own_group, permissions,
};
use crate::targets::ec2::policy::alias_of;
use crate::targets::ec2::{Ec2, lock, tags, user_data};
use crate::targets::{Keys, Role, TargetError};

/// What the checks are about.
const ABOUT: &str = "permissions";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(super) arn: String,
    pub(crate) account: String,
}

/// Leave to make one call on one thing.
#[cfg(feature = "stack")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leave {
    pub(crate) action: &'static str,
    pub(crate) resource: String,
}

/// What IAM's simulator says of calls.
#[cfg(feature = "stack")]
#[derive(Debug)]
pub(crate) enum Simulated {
    Denied(Vec<Denied>),
    /// It could not be asked, and why.
    Unknown(String),
}

/// A call that IAM would deny.
#[cfg(feature = "stack")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) action: &'static str,
    /// Whether a policy asks for something that only the call itself says: a tag, an address.
    pub(crate) is_unsure: bool,
}

impl Caller {
    #[cfg(feature = "stack")]
    pub(crate) fn partition(&self) -> &str {
        self.arn.split(':').nth(1).unwrap_or("aws")
    }

    /// Returns whose policies count: a role's session is not known to IAM, its role is.
    pub(super) fn principal(&self) -> Option<String> {
        let mut parts = self.arn.splitn(6, ':');
        let (partition, service) = (parts.nth(1)?, parts.next()?);
        let of_service = parts.nth(2)?;
        match service {
            "iam" if of_service != "root" => Some(self.arn.clone()),
            "sts" => {
                let role = of_service
                    .strip_prefix("assumed-role/")?
                    .split('/')
                    .next()?;
                Some(format!("arn:{partition}:iam::{}:role/{role}", self.account))
            }
            _ => None,
        }
    }
}

impl Ec2 {
    pub(super) async fn caller(&self) -> Result<Caller, TargetError> {
        let asking = || async {
            let answer = self.sts.get_caller_identity().send().await;
            answer.map_err(|e| Ec2Error::from_sdk("GetCallerIdentity", &self.region, e))
        };
        let answer = self.persist(asking).await?;
        Ok(Caller {
            arn: answer.arn.unwrap_or_default(),
            account: answer.account.unwrap_or_default(),
        })
    }

    /// Returns which of these calls, named for whoever asks, IAM's simulator would deny.
    #[cfg(feature = "stack")]
    pub(crate) async fn ask_simulator(
        &self,
        named: impl FnOnce(&Caller) -> Vec<Leave>,
    ) -> Simulated {
        let caller = match self.caller().await {
            Ok(caller) => caller,
            Err(error) => return Simulated::Unknown(error.on_one_line()),
        };
        let Some(principal) = caller.principal() else {
            let arn = &caller.arn;
            return Simulated::Unknown(format!("{arn} has no policies that IAM simulates"));
        };
        let mut by_resource: Vec<(String, Vec<&'static str>)> = Vec::new();
        for Leave { action, resource } in named(&caller) {
            match by_resource.iter_mut().find(|(known, _)| *known == resource) {
                Some((_, actions)) => actions.push(action),
                None => by_resource.push((resource, vec![action])),
            }
        }
        let mut denied = Vec::new();
        for (resource, actions) in by_resource {
            let results = self
                .simulation(&principal, &actions, &resource, &Scope::Lists)
                .await;
            let results = match results {
                Ok(results) => results,
                Err(error) => return Simulated::Unknown(chain(&error)),
            };
            let no = results
                .iter()
                .filter(|one| *one.eval_decision() != Decision::Allowed);
            denied.extend(no.filter_map(|one| {
                let mut known = actions.iter().copied();
                let action = known.find(|name| *name == one.eval_action_name())?;
                Some(Denied {
                    action,
                    is_unsure: !one.missing_context_values().is_empty(),
                })
            }));
        }
        Simulated::Denied(denied)
    }

    /// Returns what may not be done, or that nothing is lacking. Without both a source and a subnet nothing can be
    /// tried as a dry run.
    pub(super) async fn permissions_denied(
        &self,
        plan: &BakePlan,
        caller: &Caller,
        first: Option<(&Image, &Network)>,
    ) -> Vec<Check> {
        let mut checks = Vec::new();
        match first {
            Some((source, network)) => checks.extend(self.dry_runs(plan, source, network).await),
            None => checks.push(Check::not_checked(
                ABOUT,
                "RunInstances can be tried as a dry run only with a source and a subnet, and one of them failed",
            )),
        }
        checks.extend(self.simulated(plan, caller).await);
        checks
    }

    async fn dry_runs(&self, plan: &BakePlan, source: &Image, network: &Network) -> Vec<Check> {
        let mut checks = Vec::new();
        if plan.builder.security_groups.is_empty() {
            let request = self.group_request(plan, &network.vpc_id).dry_run(true);
            let answer = request.send().await;
            let refused = |e| self.refused("CreateSecurityGroup", e);
            let tried = answer.map(drop).map_err(refused);
            checks.push(
                self.tried("ec2:CreateSecurityGroup", &["security-group"], tried)
                    .await,
            );
        }
        match self.launch_dry_run(plan, source, network).await {
            Ok(tried) => {
                let kinds = &["instance", "network-interface", "volume"];
                checks.push(self.tried("ec2:RunInstances", kinds, tried).await);
            }
            Err(error) => checks.push(Check::of(ABOUT, &error)),
        }
        checks.push(self.lock_dry_run(plan).await);
        checks.push(untried_tags(plan));
        checks
    }

    /// A lock is a courtesy: who may not have one builds nevertheless.
    async fn lock_dry_run(&self, plan: &BakePlan) -> Check {
        let action = "ec2:CreateLaunchTemplate";
        let name = format!("{}{}", lock::PREFIX, plan.run);
        let answer = self.lock_request(plan, &name, 1).dry_run(true).send().await;
        let tried = answer.map(drop);
        let tried = tried.map_err(|e| self.refused("CreateLaunchTemplate", e));
        let check = self.tried(action, &["launch-template"], tried).await;
        match check.verdict {
            Verdict::Failed => Check::warning(
                ABOUT,
                format!(
                    "{}: nothing keeps two builds of one content apart",
                    check.detail
                ),
            ),
            Verdict::Ok | Verdict::Warning | Verdict::NotChecked => check,
        }
    }

    async fn launch_dry_run(
        &self,
        plan: &BakePlan,
        source: &Image,
        network: &Network,
    ) -> Result<Result<(), Ec2Error>, TargetError> {
        let keys = Keys::make()?;
        let own = plan.builder.user_data.as_deref();
        let unattended = plan.builder.timeouts.unattended;
        let user_data = user_data::render(&keys, &plan.run, Role::Builder, unattended, own)?;
        let request = Request {
            plan,
            image: source,
            role: Role::Builder,
            user_data: &user_data,
            groups: &plan.builder.security_groups,
        };
        let types = ladder::types(plan);
        let rungs = ladder::ladder(&types, Role::Builder, network, &Climbed::default());
        let Some(rung) = rungs.first() else {
            return Err(network.offerings.out_of_reach(&types, &self.region));
        };
        let call = self.launch_request(&request, rung, 1).dry_run(true);
        let answer = call.send().await;
        let refused = |e| self.refused("RunInstances", e);
        Ok(answer.map(drop).map_err(refused))
    }

    /// Returns what a dry run says. EC2 answers one that would do with an error of its own.
    async fn tried(
        &self,
        action: &'static str,
        tagged: &[&str],
        tried: Result<(), Ec2Error>,
    ) -> Check {
        match tried {
            Ok(()) => Check::ok(ABOUT, format!("{action}, by a dry run")),
            Err(error) if error.code() == Some("DryRunOperation") => {
                Check::ok(ABOUT, format!("{action}, by a dry run"))
            }
            Err(error) if error.is_denied() => {
                let told = self.explain(error).await;
                let tagged = tagged.join(", ");
                Check::failed(
                    ABOUT,
                    format!(
                        "{action}: {} (tags go with the call to {tagged}; a policy that demands others is met by builder.tags)",
                        chain(&told)
                    ),
                )
            }
            Err(error) => Check::failed(ABOUT, chain(&error)),
        }
    }

    /// Returns what IAM's simulator says of the other permissions.
    async fn simulated(&self, plan: &BakePlan, caller: &Caller) -> Vec<Check> {
        let asked = permissions(plan, &[Purpose::Build]);
        let mut names: Vec<&str> = asked.iter().map(|p| p.action).collect();
        names.sort_unstable();
        names.dedup();
        let Some(principal) = caller.principal() else {
            let told = format!(
                "{} has no policies that IAM simulates: {}",
                caller.arn,
                names.join(", ")
            );
            return vec![Check::not_checked(ABOUT, told)];
        };
        let (mut allowed, mut checks) = (Vec::new(), Vec::new());
        for (scope, of_scope) in by_scope(&asked) {
            match self.simulate(&principal, caller, scope, &of_scope).await {
                Ok(denied) => {
                    for permission in of_scope {
                        match denied
                            .iter()
                            .find(|(action, _)| action == permission.action)
                        {
                            Some((_, why)) => checks.push(lacking(permission, why)),
                            None => allowed.push(permission.action),
                        }
                    }
                }
                Err(error) => {
                    let names: Vec<&str> = of_scope.iter().map(|p| p.action).collect();
                    let told = format!("{}: {}", names.join(", "), chain(&error));
                    checks.push(Check::not_checked(ABOUT, told));
                }
            }
        }
        allowed.sort_unstable();
        allowed.dedup();
        if !allowed.is_empty() {
            checks.push(Check::ok(
                ABOUT,
                format!("{} by IAM's simulator", allowed.join(", ")),
            ));
        }
        checks
    }

    /// Returns the actions that IAM would deny, and how.
    async fn simulate(
        &self,
        principal: &str,
        caller: &Caller,
        scope: &Scope,
        permissions: &[&Permission],
    ) -> Result<Vec<(String, String)>, Ec2Error> {
        let actions: Vec<&str> = permissions.iter().map(|p| p.action).collect();
        let mut denied = Vec::new();
        for resource in self.examples(scope, caller) {
            let results = self
                .simulation(principal, &actions, &resource, scope)
                .await?;
            denied.extend(results.iter().filter_map(|result| no(result, &resource)));
        }
        Ok(denied)
    }

    async fn simulation(
        &self,
        principal: &str,
        actions: &[&str],
        resource: &str,
        scope: &Scope,
    ) -> Result<Vec<EvaluationResult>, Ec2Error> {
        let actions = actions.iter().map(|action| (*action).to_owned());
        let request = self
            .iam()
            .simulate_principal_policy()
            .policy_source_arn(principal)
            .set_action_names(Some(actions.collect()))
            .resource_arns(resource)
            .set_context_entries(Some(self.context(scope)));
        let pages = request.into_paginator().items().send();
        let results = pages.try_collect().await;
        results.map_err(|e| Ec2Error::from_sdk("SimulatePrincipalPolicy", &self.region, e))
    }

    /// Returns a resource of each kind that a scope is about, which need not be there.
    fn examples(&self, scope: &Scope, caller: &Caller) -> Vec<String> {
        let (region, account) = (&self.region, &caller.account);
        let partition = caller.arn.split(':').nth(1).unwrap_or("aws");
        let ec2 = |kind: &&str| {
            let owner = match *kind {
                "image" | "snapshot" => "",
                _ => account.as_str(),
            };
            format!(
                "arn:{partition}:ec2:{region}:{owner}:{kind}/{}",
                example(kind)
            )
        };
        match scope {
            Scope::Lists => vec!["*".to_owned()],
            Scope::New(kinds) | Scope::Own(kinds) | Scope::Used(kinds) => {
                kinds.iter().map(ec2).collect()
            }
            Scope::TagsOf(_) => vec![ec2(&"instance")],
            Scope::Parameter(path) => {
                let path = path.trim_start_matches('/');
                let owner = if path.starts_with("aws/") {
                    ""
                } else {
                    account
                };
                vec![format!(
                    "arn:{partition}:ssm:{region}:{owner}:parameter/{path}"
                )]
            }
            Scope::KeyByEc2(key) | Scope::GrantByEc2(key) | Scope::Key(key) => {
                vec![key_example(
                    key,
                    &format!("arn:{partition}:kms:{region}:{account}"),
                )]
            }
            Scope::PassedRole => vec![format!("arn:{partition}:iam::{account}:role/builder")],
            Scope::Profile(name) => {
                vec![format!(
                    "arn:{partition}:iam::{account}:instance-profile/{name}"
                )]
            }
        }
    }

    /// Returns what a call of this scope says of itself.
    fn context(&self, scope: &Scope) -> Vec<ContextEntry> {
        let entry = |key: &str, value: &str, kind: ContextKeyTypeEnum| {
            let entry = ContextEntry::builder().context_key_name(key);
            entry
                .context_key_values(value)
                .context_key_type(kind)
                .build()
        };
        let text = |key: &str, value: &str| entry(key, value, ContextKeyTypeEnum::String);
        let aliases = |key: &str| {
            let kind = ContextKeyTypeEnum::StringList;
            alias_of(key).map(|alias| entry("kms:ResourceAliases", alias, kind))
        };
        let run = "20260727t101500z-0a1b2c3d4e5f6071";
        let mut entries = vec![text("aws:RequestedRegion", &self.region)];
        match scope {
            Scope::New(_) => entries.push(text(&format!("aws:RequestTag/{}", tags::RUN), run)),
            Scope::Own(_) => entries.push(text(&format!("aws:ResourceTag/{}", tags::RUN), run)),
            Scope::TagsOf(calls) => {
                entries.extend(
                    calls
                        .iter()
                        .take(1)
                        .map(|call| text("ec2:CreateAction", call)),
                );
            }
            Scope::KeyByEc2(key) | Scope::GrantByEc2(key) => {
                entries.push(text("kms:ViaService", &via_ec2(&self.region)));
                entries.push(entry(
                    "kms:GrantIsForAWSResource",
                    "true",
                    ContextKeyTypeEnum::Boolean,
                ));
                entries.extend(aliases(key));
            }
            Scope::Key(key) => entries.extend(aliases(key)),
            Scope::PassedRole => entries.push(text("iam:PassedToService", "ec2.amazonaws.com")),
            Scope::Lists | Scope::Used(_) | Scope::Parameter(_) | Scope::Profile(_) => {}
        }
        entries
    }
}

/// Whether an organisation demands tags of an image and its snapshots is told by the calls that make
/// them alone: there is no machine yet that they could be tried on, nor a group for a rule; and SSM knows no dry run.
fn untried_tags(plan: &BakePlan) -> Check {
    let mut calls = vec!["CreateImage", "RegisterImage"];
    let mut things = vec!["image", "snapshot"];
    if !copied_to(plan).is_empty() {
        calls.push("CopyImage");
    }
    if has_own_group(plan) {
        calls.push("AuthorizeSecurityGroupIngress");
        things.push("security-group-rule");
    }
    if plan.image.publication.ssm_parameter.is_some() {
        calls.push("PutParameter");
        things.push("parameter");
    }
    let keys: Vec<&str> = plan.builder.tags.keys().map(String::as_str).collect();
    let keys = match keys.is_empty() {
        true => "no tags but amibake's own; builder.tags adds some".to_owned(),
        false => format!("the tags {} of builder.tags", keys.join(", ")),
    };
    Check::not_checked(
        "tags",
        format!(
            "whether a policy of the organisation demands more tags of {}, which {} cannot be asked beforehand: they are made with {keys}",
            things.join(", "),
            calls.join(", ")
        ),
    )
}

/// Returns permissions by what they are about, but for those that are tried as a dry run.
fn by_scope(all: &[Permission]) -> Vec<(&Scope, Vec<&Permission>)> {
    let mut groups: Vec<(&Scope, Vec<&Permission>)> = Vec::new();
    for permission in all {
        match groups
            .iter_mut()
            .find(|(scope, _)| **scope == permission.scope)
        {
            Some((_, known)) => known.push(permission),
            None => groups.push((&permission.scope, vec![permission])),
        }
    }
    groups
}

/// Returns what is said of a permission that is lacking.
fn lacking(permission: &Permission, why: &str) -> Check {
    let action = permission.action;
    match permission.without {
        None => Check::failed(ABOUT, format!("{action} is denied {why}")),
        Some(lost) => Check::warning(ABOUT, format!("{action} is denied {why}: {lost}")),
    }
}

/// Returns an action that is denied, and on what.
fn no(result: &EvaluationResult, resource: &str) -> Option<(String, String)> {
    let decision = result.eval_decision();
    let by = match decision {
        Decision::Allowed => return None,
        Decision::ExplicitDeny => "explicitly",
        _ => "since nothing allows it",
    };
    let kind = resource
        .rsplit(':')
        .next()
        .and_then(|name| name.split('/').next());
    let on = kind
        .filter(|kind| *kind != "*")
        .map(|kind| format!(" on {kind}"));
    Some((
        result.eval_action_name().to_owned(),
        format!("{by}{}", on.unwrap_or_default()),
    ))
}

/// Returns the resource that a call with a key is about, in a place: `arn:aws:kms:eu-west-1:123456789012`.
fn key_example(key: &str, place: &str) -> String {
    match alias_of(key) {
        // It stands for a key that only KMS knows, where the alias is.
        Some(alias) => {
            let its = key.strip_suffix(&format!(":{alias}")).unwrap_or(place);
            format!("{its}:key/1234abcd-12ab-34cd-56ef-1234567890ab")
        }
        None if key.starts_with("arn:") => key.to_owned(),
        None => format!("{place}:key/{key}"),
    }
}

/// Returns EC2 as KMS names who asks for the caller.
fn via_ec2(region: &str) -> String {
    let country = if region.starts_with("cn-") { ".cn" } else { "" };
    format!("ec2.{region}.amazonaws.com{country}")
}

/// Returns an id of a kind that nothing has.
fn example(kind: &str) -> String {
    let prefix = match kind {
        "image" => "ami",
        "instance" => "i",
        "launch-template" => "lt",
        "network-interface" => "eni",
        "security-group" => "sg",
        "security-group-rule" => "sgr",
        "snapshot" => "snap",
        "volume" => "vol",
        other => other,
    };
    format!("{prefix}-00000000000000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the printed policy has them: a key as a resource, an alias as a condition.
    #[test]
    fn a_key_is_asked_for_as_its_policy_names_it() {
        let place = "arn:aws-cn:kms:cn-north-1:123456789012";
        let dummy = "1234abcd-12ab-34cd-56ef-1234567890ab";
        let elsewhere = "arn:aws:kms:eu-west-1:210987654321";
        for (key, resource) in [
            ("0abc", format!("{place}:key/0abc")),
            (
                &format!("{elsewhere}:key/0abc"),
                format!("{elsewhere}:key/0abc"),
            ),
            ("alias/ami", format!("{place}:key/{dummy}")),
            (
                &format!("{elsewhere}:alias/ami"),
                format!("{elsewhere}:key/{dummy}"),
            ),
        ] {
            assert_eq!(key_example(key, place), resource);
        }
        assert_eq!(via_ec2("cn-north-1"), "ec2.cn-north-1.amazonaws.com.cn");
        assert_eq!(via_ec2("eu-west-1"), "ec2.eu-west-1.amazonaws.com");
    }

    #[test]
    fn the_policies_of_a_session_are_its_role_s() {
        let principal = |arn: &str| {
            let account = "123456789012".to_owned();
            Caller {
                arn: arn.to_owned(),
                account,
            }
            .principal()
        };
        let role = Some("arn:aws-cn:iam::123456789012:role/ci".to_owned());
        assert_eq!(
            principal("arn:aws-cn:sts::123456789012:assumed-role/ci/run-7"),
            role
        );
        let user = "arn:aws:iam::123456789012:user/teams/ann";
        assert_eq!(principal(user).as_deref(), Some(user));
        assert_eq!(principal("arn:aws:iam::123456789012:root"), None);
        assert_eq!(
            principal("arn:aws:sts::123456789012:federated-user/ann"),
            None
        );
        assert_eq!(principal(""), None);
    }
}
