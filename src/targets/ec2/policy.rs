//! Permissions as an IAM policy: no wider than IAM lets it be, and short enough to be a managed one.

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use serde_json::{Map, Value as Json, json};

use super::client::refuse_zone;
use super::permissions::{Permission, Purpose, Scope, permissions};
use super::tags;
use crate::plan::BakePlan;
use crate::run::build_time;
use crate::targets::TargetError;

/// Where a policy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// `eu-west-1`; none where nobody has said so.
    pub(super) regions: Vec<String>,
}

impl Place {
    /// Returns the partition's name in ARNs.
    fn partition(&self) -> &'static str {
        match self.regions.first().map(String::as_str) {
            Some(region) if region.starts_with("cn-") => "aws-cn",
            Some(region) if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// Returns the condition that a call is made there.
    fn requested(&self) -> Option<(&'static str, Json)> {
        let is_known = !self.regions.is_empty();
        is_known.then(|| ("StringEquals", json!({"aws:RequestedRegion": self.regions})))
    }

    fn ec2(&self, kind: &str) -> String {
        // Images and snapshots have no account in their names.
        format!("arn:{}:ec2:*:*:{kind}/*", self.partition())
    }

    fn parameters(&self, path: &str) -> Vec<String> {
        let everywhere = ["*".to_owned()];
        let regions = match self.regions.is_empty() {
            true => &everywhere[..],
            false => &self.regions,
        };
        let name = |region: &String| {
            let path = path.trim_start_matches('/');
            format!("arn:{}:ssm:{region}:*:parameter/{path}", self.partition())
        };
        regions.iter().map(name).collect()
    }

    /// Returns a key as a resource: an alias or an id alone may be in any account.
    fn key(&self, key: &str) -> String {
        match key.strip_prefix("arn:") {
            Some(_) if key.contains(":key/") => key.to_owned(),
            _ if key.contains("alias/") => format!("arn:{}:kms:*:*:key/*", self.partition()),
            _ => format!("arn:{}:kms:*:*:key/{key}", self.partition()),
        }
    }

    /// Returns EC2 as KMS names who asks for the caller.
    fn via_ec2(&self) -> Vec<String> {
        let domain = match self.partition() {
            "aws-cn" => "amazonaws.com.cn",
            _ => "amazonaws.com",
        };
        match self.regions.is_empty() {
            true => vec![format!("ec2.*.{domain}")],
            false => {
                let regions = self.regions.iter();
                regions.map(|r| format!("ec2.{r}.{domain}")).collect()
            }
        }
    }
}

/// Returns the policy that allows just these.
pub(super) fn document(permissions: &[Permission], place: &Place) -> Json {
    let mut groups: Vec<(&Scope, Vec<&str>)> = Vec::new();
    for Permission { action, scope, .. } in permissions {
        match groups.iter_mut().find(|(known, _)| *known == scope) {
            Some((_, actions)) => actions.push(action),
            None => groups.push((scope, vec![action])),
        }
    }
    let mut statements = Vec::new();
    for (number, (scope, mut actions)) in groups.into_iter().enumerate() {
        actions.sort_unstable();
        actions.dedup();
        statements.push(statement(number + 1, scope, &actions, place));
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn statement(number: usize, scope: &Scope, actions: &[&str], place: &Place) -> Json {
    let mut statement = json!({
        "Sid": format!("{}{number}", words(scope)),
        "Effect": "Allow",
        "Action": actions,
        "Resource": resources(scope, place),
    });
    let conditions = conditions(scope, place);
    if let (false, Some(fields)) = (conditions.is_empty(), statement.as_object_mut()) {
        fields.insert("Condition".to_owned(), Json::Object(conditions));
    }
    statement
}

/// Returns what a scope is about; a Sid takes letters and digits alone.
fn words(scope: &Scope) -> &'static str {
    match scope {
        Scope::Lists => "Look",
        Scope::New(_) => "MakeTagged",
        Scope::Own(_) => "ChangeOwn",
        Scope::Used(_) => "UseOthers",
        Scope::TagsOf(_) => "TagWhatIsMade",
        Scope::Parameter(_) => "Parameter",
        Scope::KeyByEc2(_) => "EncryptByEc2",
        Scope::GrantByEc2(_) => "LendKeyToEc2",
        Scope::Key(_) => "Key",
        Scope::PassedRole => "PassRoleOfBuilder",
        Scope::Profile(_) => "Profile",
    }
}

fn resources(scope: &Scope, place: &Place) -> Json {
    let kinds = |kinds: &[&str]| {
        kinds
            .iter()
            .map(|k| place.ec2(k))
            .collect::<Vec<_>>()
            .into()
    };
    match scope {
        Scope::Lists => "*".into(),
        Scope::New(names) | Scope::Own(names) | Scope::Used(names) => kinds(names),
        Scope::TagsOf(_) => format!("arn:{}:ec2:*:*:*/*", place.partition()).into(),
        Scope::Parameter(path) => place.parameters(path).into(),
        Scope::KeyByEc2(key) | Scope::GrantByEc2(key) | Scope::Key(key) => place.key(key).into(),
        Scope::PassedRole => format!("arn:{}:iam::*:role/*", place.partition()).into(),
        Scope::Profile(name) => {
            let name = name.rsplit('/').next().unwrap_or(name);
            format!("arn:{}:iam::*:instance-profile/*{name}", place.partition()).into()
        }
    }
}

fn conditions(scope: &Scope, place: &Place) -> Map<String, Json> {
    let mut all = Map::new();
    // IAM answers from one region for all, and an ARN of SSM's names its region.
    let is_regional = !matches!(
        scope,
        Scope::Lists | Scope::PassedRole | Scope::Profile(_) | Scope::Parameter(_)
    );
    let mut add = |operator: &str, keys: Json| {
        let entry = all.entry(operator).or_insert_with(|| json!({}));
        if let (Some(known), Json::Object(keys)) = (entry.as_object_mut(), keys) {
            known.extend(keys);
        }
    };
    let a_run = |of: &str| json!({format!("aws:{of}/{}", tags::RUN): "*"});
    match scope {
        Scope::New(_) => add("StringLike", a_run("RequestTag")),
        Scope::Own(_) => add("StringLike", a_run("ResourceTag")),
        Scope::TagsOf(calls) => add("StringEquals", json!({"ec2:CreateAction": calls})),
        Scope::KeyByEc2(_) => add("StringLike", json!({"kms:ViaService": place.via_ec2()})),
        Scope::GrantByEc2(_) => add("Bool", json!({"kms:GrantIsForAWSResource": "true"})),
        Scope::PassedRole => {
            add(
                "StringLike",
                json!({"iam:PassedToService": "ec2.amazonaws.com*"}),
            );
        }
        Scope::Lists | Scope::Used(_) | Scope::Parameter(_) | Scope::Profile(_) | Scope::Key(_) => {
        }
    }
    if let Some(alias) = key_of(scope).and_then(alias_of) {
        add(
            "ForAnyValue:StringEquals",
            json!({"kms:ResourceAliases": alias}),
        );
    }
    if let (true, Some((operator, keys))) = (is_regional, place.requested()) {
        add(operator, keys);
    }
    all
}

fn key_of(scope: &Scope) -> Option<&str> {
    match scope {
        Scope::KeyByEc2(key) | Scope::GrantByEc2(key) | Scope::Key(key) => Some(key),
        _ => None,
    }
}

/// Returns the alias that a key is named by: `alias/ami`.
pub(super) fn alias_of(key: &str) -> Option<&str> {
    key.find("alias/").map(|at| &key[at..])
}

/// A policy as it is printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The document, as IAM takes it.
    pub(crate) document: String,
    /// What whoever installs it should know.
    pub(crate) warnings: Vec<String>,
}

/// How many characters but white space a managed policy has at most.
const MANAGED: usize = 6144;

/// Returns what `purposes` need for images by these plans. Nothing is called.
pub(crate) async fn iam_policy(
    plans: &[BakePlan],
    purposes: &[Purpose],
    is_minimal: bool,
) -> Result<Policy, TargetError> {
    let mut all: Vec<Permission> = Vec::new();
    for plan in plans {
        for permission in permissions(plan, purposes) {
            let permission = at_any_time(permission, plan);
            if !all.contains(&permission) {
                all.push(permission);
            }
        }
    }
    if is_minimal {
        all.retain(|permission| permission.without.is_none());
    }
    let place = Place {
        regions: regions(plans).await,
    };
    place
        .regions
        .iter()
        .try_for_each(|region| refuse_zone(region))?;
    let document = document(&all, &place);
    Ok(Policy {
        warnings: warnings(&all, &place, &document),
        document: format!("{document:#}"),
    })
}

/// Returns a permission that holds for the next build too, whose parameter has another time in its name.
fn at_any_time(mut permission: Permission, plan: &BakePlan) -> Permission {
    if let Scope::Parameter(path) = &mut permission.scope {
        *path = path.replace(&build_time(plan.run.began()), "*");
    }
    permission
}

fn warnings(all: &[Permission], place: &Place, document: &Json) -> Vec<String> {
    let mut warnings = Vec::new();
    if place.regions.is_empty() {
        warnings.push(
            "neither the manifest nor the environment names a region: the policy holds in all of them"
                .to_owned(),
        );
    }
    if all.iter().any(|p| p.scope == Scope::PassedRole) {
        warnings.push(
            "the policy lets every role be passed to EC2: narrow iam:PassRole to the role of builder.instance_profile"
                .to_owned(),
        );
    }
    let optional = all.iter().filter_map(|p| Some((p.action, p.without?)));
    warnings.extend(optional.map(|(action, lost)| format!("{action} may be left out: {lost}")));
    let size = document
        .to_string()
        .chars()
        .filter(|c| !c.is_whitespace())
        .count();
    if size > MANAGED {
        warnings.push(format!(
            "the policy has {size} characters, and a managed one has {MANAGED} at most: leave out what may be, by --minimal or --for"
        ));
    }
    warnings
}

/// Returns where the images are made, as far as that is known without a call.
async fn regions(plans: &[BakePlan]) -> Vec<String> {
    let mut regions = Vec::new();
    for plan in plans {
        let named = match &plan.builder.region {
            Some(region) => Some(region.clone()),
            None => {
                let environment = EnvironmentVariableRegionProvider::new();
                let chain = RegionProviderChain::first_try(environment);
                let chain = chain.or_else(ProfileFileRegionProvider::new());
                chain.region().await.map(|region| region.to_string())
            }
        };
        regions.extend(named);
        regions.extend(plan.image.publication.regions.iter().cloned());
    }
    regions.sort_unstable();
    regions.dedup();
    regions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(region: &str) -> Place {
        Place {
            regions: vec![region.to_owned()],
        }
    }

    fn one(scope: Scope, place: &Place) -> Json {
        let permission = Permission {
            action: "ec2:Some",
            scope,
            without: None,
        };
        document(&[permission], place)["Statement"][0].clone()
    }

    #[test]
    fn what_is_changed_carries_a_run_s_tag_and_is_where_the_manifest_builds() {
        let statement = one(Scope::Own(&["instance"]), &place("eu-west-1"));
        assert_eq!(
            statement,
            json!({
                "Sid": "ChangeOwn1",
                "Effect": "Allow",
                "Action": ["ec2:Some"],
                "Resource": ["arn:aws:ec2:*:*:instance/*"],
                "Condition": {
                    "StringLike": {"aws:ResourceTag/amibake:run": "*"},
                    "StringEquals": {"aws:RequestedRegion": ["eu-west-1"]},
                },
            })
        );
    }

    #[test]
    fn a_condition_of_one_operator_with_two_keys_has_both() {
        let statement = one(Scope::TagsOf(vec!["RunInstances"]), &place("eu-west-1"));
        assert_eq!(
            statement["Condition"]["StringEquals"],
            json!({"ec2:CreateAction": ["RunInstances"], "aws:RequestedRegion": ["eu-west-1"]})
        );
    }

    #[test]
    fn other_partitions_have_their_own_names() {
        let statement = one(Scope::Used(&["subnet"]), &place("cn-north-1"));
        assert_eq!(
            statement["Resource"],
            json!(["arn:aws-cn:ec2:*:*:subnet/*"])
        );
        let key = Scope::KeyByEc2("alias/ami".into());
        let statement = one(key, &place("cn-north-1"));
        assert_eq!(
            statement["Condition"],
            json!({
                "StringLike": {"kms:ViaService": ["ec2.cn-north-1.amazonaws.com.cn"]},
                "ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/ami"},
                "StringEquals": {"aws:RequestedRegion": ["cn-north-1"]},
            })
        );
    }
}
