//! What a build asks of AWS in IAM's words: each action, what it is done to, and what is lost where it is
//! denied and the build comes through nevertheless. How that is written as a policy is `policy`'s.

use super::source::canonical_parameters;
use crate::manifest::{Encrypt, Grant, Source, Subnet};
use crate::plan::BakePlan;

/// Leave to make one call, on one sort of things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Permission {
    /// `ec2:RunInstances`
    pub(super) action: &'static str,
    pub(super) scope: Scope,
    /// What is lost without it; `None` where nothing goes on without it.
    pub(super) without: Option<&'static str>,
}

/// What a call is made on. Kinds are EC2's names of resources: `security-group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// Lists, which IAM cannot limit.
    Lists,
    /// What the call makes, and gives a run's tag with it.
    New(&'static [&'static str]),
    /// What has a run's tag.
    Own(&'static [&'static str]),
    /// What others made and a build uses as it is.
    Used(&'static [&'static str]),
    /// Tags that these calls give to what they make.
    TagsOf(Vec<&'static str>),
    /// An SSM parameter, by its path.
    Parameter(String),
    /// A KMS key as the manifest names it, used by EC2 for the caller.
    KeyByEc2(String),
    /// The same key, lent to EC2 by a grant.
    GrantByEc2(String),
    /// The same key, asked about by the caller.
    Key(String),
    /// The role of the builder's instance profile, which a manifest does not name.
    PassedRole,
    /// The instance profile itself.
    Profile(String),
}

/// What it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Purpose {
    /// `build`
    Build,
    /// `preflight`
    Preflight,
    /// `reap` and `status`
    Reap,
    /// `prune`
    Prune,
    /// `publish`, of any image of the account
    Publish,
    /// `resume`, of an image of amibake's that has passed
    Resume,
}

/// What is asked only so that an error can say more.
const LESS_TO_TELL: &str = "an error says less about its cause";

/// What is asked only so that something is known before it is tried.
const LESS_CHECKED: &str = "`preflight` lists it as not checked";

/// Returns all that a bake by `plan` needs, and what `purposes` need besides. One that is needed for
/// something may be left out for nothing.
pub(super) fn permissions(plan: &BakePlan, purposes: &[Purpose]) -> Vec<Permission> {
    let mut all: Vec<Permission> = Vec::new();
    for purpose in purposes {
        let more = match purpose {
            Purpose::Build => of_build(plan),
            Purpose::Preflight => of_preflight(plan),
            Purpose::Reap => of_reap(),
            Purpose::Prune => of_prune(),
            Purpose::Publish => of_publish(plan),
            Purpose::Resume => of_resume(plan),
        };
        for permission in more {
            let mut known = all.iter_mut();
            let is_it = |known: &&mut Permission| {
                known.action == permission.action && known.scope == permission.scope
            };
            match known.find(is_it) {
                Some(known) if permission.without.is_none() => known.without = None,
                Some(_) => {}
                None => all.push(permission),
            }
        }
    }
    all
}

fn of_build(plan: &BakePlan) -> Vec<Permission> {
    let mut all = lists(plan);
    all.extend(machines(plan));
    all.extend(images());
    all.push(tags_of(calls_that_make(plan)));
    all.extend(lock());
    for path in source_parameters(plan) {
        all.push(needed("ssm:GetParameter", Scope::Parameter(path)));
    }
    all.extend(publication(plan, Scope::Own));
    all.extend(of_keys(plan));
    all.push(explained());
    all
}

/// What EC2 does with the keys for the caller.
fn of_keys(plan: &BakePlan) -> Vec<Permission> {
    let mut all = Vec::new();
    for key in keys(plan) {
        let by_ec2 = || Scope::KeyByEc2(key.clone());
        all.extend(BY_EC2.map(|action| needed(action, by_ec2())));
        all.push(needed("kms:CreateGrant", Scope::GrantByEc2(key.clone())));
    }
    all
}

fn explained() -> Permission {
    let action = "sts:DecodeAuthorizationMessage";
    optional(action, Scope::Lists, LESS_TO_TELL)
}

/// What EC2 does with a customer's key for whoever launches, images and copies.
pub(super) const BY_EC2: [&str; 5] = [
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
];

fn lists(plan: &BakePlan) -> Vec<Permission> {
    let mut actions = vec![
        "ec2:DescribeImages",
        "ec2:DescribeInstances",
        "ec2:DescribeRouteTables",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSnapshots",
        "ec2:DescribeSubnets",
    ];
    if plan.builder.subnet == Subnet::Default {
        actions.push("ec2:DescribeVpcs");
    }
    let listed = actions
        .into_iter()
        .map(|action| needed(action, Scope::Lists));
    let more = [
        (
            "ec2:DescribeImageAttribute",
            "an image that boots by UEFI has its final name before it is tested",
        ),
        (
            "ec2:DescribeInstanceTypeOfferings",
            "types are tried in zones that do not offer them",
        ),
        ("ec2:DescribeNetworkAcls", LESS_TO_TELL),
        ("ec2:GetConsoleOutput", LESS_TO_TELL),
    ];
    let more = more.map(|(action, without)| optional(action, Scope::Lists, without));
    listed.chain(more).collect()
}

fn machines(plan: &BakePlan) -> Vec<Permission> {
    let new = &["instance", "network-interface", "volume"];
    let used = &["image", "security-group", "snapshot", "subnet"];
    let mut all = vec![
        needed("ec2:RunInstances", Scope::New(new)),
        needed("ec2:RunInstances", Scope::Used(used)),
        needed("ec2:StopInstances", Scope::Own(&["instance"])),
        needed("ec2:TerminateInstances", Scope::Own(&["instance"])),
    ];
    if has_own_group(plan) {
        let group = || Scope::Own(&["security-group"]);
        all.extend([
            needed("ec2:CreateSecurityGroup", Scope::New(&["security-group"])),
            needed("ec2:CreateSecurityGroup", Scope::Used(&["vpc"])),
            needed("ec2:AuthorizeSecurityGroupIngress", group()),
            needed(
                "ec2:AuthorizeSecurityGroupIngress",
                Scope::New(&["security-group-rule"]),
            ),
            needed("ec2:DeleteSecurityGroup", group()),
        ]);
    }
    if plan.builder.instance_profile.is_some() {
        all.push(needed("iam:PassRole", Scope::PassedRole));
    }
    all
}

/// Who may not have a lock builds nevertheless, and says so.
fn lock() -> Vec<Permission> {
    let lost = "two builds of one content at the same time make two images";
    let own = || Scope::Own(&["launch-template"]);
    vec![
        optional(
            "ec2:CreateLaunchTemplate",
            Scope::New(&["launch-template"]),
            lost,
        ),
        optional("ec2:CreateLaunchTemplateVersion", own(), lost),
        // Whoever makes one without this leaves it.
        needed("ec2:DeleteLaunchTemplate", own()),
        optional("ec2:DescribeLaunchTemplateVersions", Scope::Lists, lost),
        optional("ec2:DescribeLaunchTemplates", Scope::Lists, lost),
    ]
}

fn images() -> Vec<Permission> {
    vec![
        needed("ec2:CreateImage", Scope::New(&["image", "snapshot"])),
        needed("ec2:CreateImage", Scope::Own(&["instance"])),
        needed("ec2:RegisterImage", Scope::New(&["image"])),
        needed("ec2:RegisterImage", Scope::Used(&["snapshot"])),
        needed("ec2:ModifyImageAttribute", Scope::Own(&["image"])),
        needed("ec2:DeregisterImage", Scope::Own(&["image"])),
        needed("ec2:DeleteSnapshot", Scope::Own(&["snapshot"])),
        needed(
            "ec2:CreateTags",
            Scope::Own(&["image", "instance", "security-group", "snapshot"]),
        ),
    ]
}

/// Returns what is needed once the image has passed, by the keys of `image:`. The image and its snapshots are of
/// some `sort`: a run's own, or anybody's.
fn publication(plan: &BakePlan, sort: fn(&'static [&'static str]) -> Scope) -> Vec<Permission> {
    let wanted = &plan.image.publication;
    let mut all = Vec::new();
    if !copied_to(plan).is_empty() {
        all.push(needed("ec2:CopyImage", Scope::New(&["image", "snapshot"])));
        all.push(needed("ec2:CopyImage", Scope::Used(&["image", "snapshot"])));
    }
    if wanted.share.is_some() {
        all.push(needed("ec2:DescribeImageAttribute", Scope::Lists));
        if !plan.image.encrypt.is_on() {
            all.push(optional(
                "ec2:GetEbsEncryptionByDefault",
                Scope::Lists,
                "that the account encrypts by a key of its own is found when the image is shared",
            ));
        }
        // Their own shares are looked at, and taken back, where the manifest wants none.
        all.push(needed("ec2:DescribeSnapshotAttribute", Scope::Lists));
        let snapshots = sort(&["snapshot"]);
        all.push(needed("ec2:ModifySnapshotAttribute", snapshots));
    }
    if let Some(path) = &wanted.ssm_parameter {
        let actions = [
            "ssm:DeleteParameter",
            "ssm:GetParameter",
            "ssm:PutParameter",
        ];
        all.extend(actions.map(|action| needed(action, Scope::Parameter(path.clone()))));
        all.push(optional(
            "ssm:DescribeParameters",
            Scope::Lists,
            "of two builds the one whose image is newer has the parameter, although the other began later",
        ));
        if !plan.builder.tags.is_empty() {
            let parameter = Scope::Parameter(path.clone());
            all.push(needed("ssm:AddTagsToResource", parameter));
        }
    }
    if let Some(template) = &wanted.launch_template {
        let used = || Scope::Used(&["launch-template"]);
        all.extend([
            needed("ec2:DescribeLaunchTemplates", Scope::Lists),
            needed("ec2:DescribeLaunchTemplateVersions", Scope::Lists),
            needed("ec2:CreateLaunchTemplateVersion", used()),
            needed("ec2:DeleteLaunchTemplateVersions", used()),
        ]);
        if template.set_default {
            all.push(needed("ec2:ModifyLaunchTemplate", used()));
        }
    }
    if wanted.deprecate_after.is_some() {
        all.push(needed("ec2:EnableImageDeprecation", sort(&["image"])));
    }
    if wanted.deregistration_protection.is_some() {
        let actions = [
            "ec2:DisableImageDeregistrationProtection",
            "ec2:EnableImageDeregistrationProtection",
        ];
        all.extend(actions.map(|action| needed(action, sort(&["image"]))));
    }
    if plan.image.replace {
        all.extend(USES.map(|action| needed(action, Scope::Lists)));
        all.push(optional(
            "ec2:DescribeImageReferences",
            Scope::Lists,
            "recipes of Image Builder are not known as use",
        ));
    }
    all.push(optional(
        "ec2:DeleteTags",
        sort(&["image", "snapshot"]),
        "the manifest's tags stay on an image whose publication was withdrawn",
    ));
    all
}

/// Returns the regions that the image is copied to, as far as the manifest says where it is made.
pub(super) fn copied_to(plan: &BakePlan) -> Vec<&str> {
    let home = plan.builder.region.as_deref();
    let regions = plan.image.publication.regions.iter().map(String::as_str);
    regions.filter(|region| Some(*region) != home).collect()
}

/// Returns the customer's keys that the image is encrypted with.
pub(super) fn keys(plan: &BakePlan) -> Vec<String> {
    let mut keys = match &plan.image.encrypt {
        Encrypt::Off => Vec::new(),
        Encrypt::On { kms_key, regions } => {
            kms_key.iter().chain(regions.values()).cloned().collect()
        }
    };
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Returns the calls of a build that make something.
fn calls_that_make(plan: &BakePlan) -> Vec<&'static str> {
    let mut calls = vec![
        "CreateImage",
        "CreateLaunchTemplate",
        "RegisterImage",
        "RunInstances",
    ];
    if has_own_group(plan) {
        calls.extend(["AuthorizeSecurityGroupIngress", "CreateSecurityGroup"]);
    }
    if !copied_to(plan).is_empty() {
        calls.push("CopyImage");
    }
    calls
}

/// Tags that things are born with are a permission of their own.
fn tags_of(mut calls: Vec<&'static str>) -> Permission {
    calls.sort_unstable();
    needed("ec2:CreateTags", Scope::TagsOf(calls))
}

fn of_preflight(plan: &BakePlan) -> Vec<Permission> {
    let image = &plan.image;
    let mut actions = vec![
        "ec2:DescribeInstanceTypes",
        "ec2:GetAllowedImagesSettings",
        "iam:SimulatePrincipalPolicy",
        "servicequotas:GetServiceQuota",
    ];
    match (image.encrypt.is_on(), image.encrypt.kms_key()) {
        (true, Some(_)) => {}
        (true, None) => actions.push("ec2:GetEbsDefaultKmsKeyId"),
        (false, _) => actions.push("ec2:GetEbsEncryptionByDefault"),
    }
    let share = image.publication.share.as_ref();
    if let Some(share) = share.filter(|share| share.with.contains(&Grant::Everybody)) {
        actions.push("ec2:GetImageBlockPublicAccessState");
        if share.snapshots {
            actions.push("ec2:GetSnapshotBlockPublicAccessState");
        }
    }
    let lists = actions.into_iter();
    let mut all: Vec<_> = lists
        .map(|action| optional(action, Scope::Lists, LESS_CHECKED))
        .collect();
    if let Some(profile) = &plan.builder.instance_profile {
        let scope = Scope::Profile(profile.clone());
        all.push(optional("iam:GetInstanceProfile", scope, LESS_CHECKED));
    }
    for key in keys(plan) {
        let actions = ["kms:DescribeKey", "kms:GetKeyPolicy"];
        let of_key = || Scope::Key(key.clone());
        all.extend(actions.map(|action| optional(action, of_key(), LESS_CHECKED)));
    }
    all
}

fn of_reap() -> Vec<Permission> {
    let kinds = [
        ("ec2:TerminateInstances", &["instance"]),
        ("ec2:DeleteSecurityGroup", &["security-group"]),
        ("ec2:DeregisterImage", &["image"]),
        ("ec2:DeleteSnapshot", &["snapshot"]),
        ("ec2:ModifyImageAttribute", &["image"]),
    ];
    let lists = [
        "ec2:DescribeImages",
        "ec2:DescribeInstances",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSnapshots",
    ];
    let mut all: Vec<_> = lists
        .map(|action| needed(action, Scope::Lists))
        .into_iter()
        .collect();
    all.push(optional(
        "ec2:DescribeRegions",
        Scope::Lists,
        "`reap` must be told each region by --region",
    ));
    let names = [
        "ec2:DescribeLaunchTemplateVersions",
        "ec2:DescribeLaunchTemplates",
        "ssm:DescribeParameters",
        "ssm:GetParameter",
        "ssm:GetParameters",
    ];
    all.extend(names.map(|action| {
        let lost = "`reap` keeps images of builds that were killed while they published";
        optional(action, Scope::Lists, lost)
    }));
    all.extend(kinds.map(|(action, kinds)| needed(action, Scope::Own(kinds))));
    all.push(needed(
        "ec2:DeleteLaunchTemplate",
        Scope::Own(&["launch-template"]),
    ));
    all
}

/// An image that was baked elsewhere has no tag of a run. Whoever may tag any image and snapshot may tag copies,
/// too, when they are made.
fn of_publish(plan: &BakePlan) -> Vec<Permission> {
    let mut all = of_any_publication(plan, Scope::Used);
    if plan.image.replace {
        all.push(needed("ec2:RegisterImage", Scope::New(&["image"])));
        all.push(needed("ec2:RegisterImage", Scope::Used(&["snapshot"])));
    }
    if plan.image.replace || !copied_to(plan).is_empty() {
        // Copies that come to nothing, and what makes way.
        all.push(needed("ec2:DeregisterImage", Scope::Own(&["image"])));
        all.push(needed("ec2:DeleteSnapshot", Scope::Own(&["snapshot"])));
    }
    all
}

/// What has passed may not be registered under its name yet.
fn of_resume(plan: &BakePlan) -> Vec<Permission> {
    let mut all = of_any_publication(plan, Scope::Own);
    let mut making = vec!["RegisterImage"];
    if !copied_to(plan).is_empty() {
        making.push("CopyImage");
    }
    all.extend([
        needed("ec2:DescribeImageAttribute", Scope::Lists),
        needed("ec2:RegisterImage", Scope::New(&["image"])),
        needed("ec2:RegisterImage", Scope::Used(&["snapshot"])),
        needed("ec2:DeregisterImage", Scope::Own(&["image"])),
        needed("ec2:DeleteSnapshot", Scope::Own(&["snapshot"])),
        tags_of(making),
    ]);
    all
}

/// Returns what it takes to publish an image that is there, of a `sort`.
fn of_any_publication(
    plan: &BakePlan,
    sort: fn(&'static [&'static str]) -> Scope,
) -> Vec<Permission> {
    let mut all = vec![
        needed("ec2:DescribeImages", Scope::Lists),
        needed("ec2:DescribeSnapshots", Scope::Lists),
        needed("ec2:CreateTags", sort(&["image", "snapshot"])),
        needed("ec2:ModifyImageAttribute", sort(&["image"])),
    ];
    all.extend(publication(plan, sort));
    if !copied_to(plan).is_empty() {
        all.extend(of_keys(plan));
    }
    all.push(explained());
    all
}

/// What tells who uses an image.
const USES: [&str; 10] = [
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLaunchConfigurations",
    "cloudformation:DescribeStacks",
    "cloudformation:ListStacks",
    "ec2:DescribeInstances",
    "ec2:DescribeLaunchTemplateVersions",
    "ec2:DescribeLaunchTemplates",
    "ssm:DescribeParameters",
    "ssm:GetParameter",
    "ssm:GetParameters",
];

/// What uses an image must be known before it goes.
fn of_prune() -> Vec<Permission> {
    let lists = ["ec2:DescribeImageAttribute", "ec2:DescribeImages"];
    let lists = lists.into_iter().chain(USES);
    let mut all: Vec<_> = lists.map(|action| needed(action, Scope::Lists)).collect();
    all.push(optional(
        "ec2:DescribeImageReferences",
        Scope::Lists,
        "recipes of Image Builder are not known as use",
    ));
    all.push(needed("ec2:DeregisterImage", Scope::Own(&["image"])));
    all.push(needed("ec2:DeleteSnapshot", Scope::Own(&["snapshot"])));
    all
}

/// Returns whether a build makes a security group.
pub(super) fn has_own_group(plan: &BakePlan) -> bool {
    plan.builder.security_groups.is_empty()
}

/// Returns the parameters that a source is looked up in.
fn source_parameters(plan: &BakePlan) -> Vec<String> {
    match &plan.source {
        Source::Ubuntu(release) => canonical_parameters(release, plan.arch),
        Source::Ssm(path) => vec![path.clone()],
        Source::Ami(_)
        | Source::Filter(_)
        | Source::Manifest(_)
        | Source::Debian(_)
        | Source::Image { .. } => Vec::new(),
    }
}

fn needed(action: &'static str, scope: Scope) -> Permission {
    Permission {
        action,
        scope,
        without: None,
    }
}

fn optional(action: &'static str, scope: Scope, without: &'static str) -> Permission {
    Permission {
        action,
        scope,
        without: Some(without),
    }
}
