//! Templates: the one that comes along (`stack/web.yaml`), one of the user's own, and what each must have for a rollout.
//!
//! What it says otherwise is CloudFormation's to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use amibake_playbook::yaml::{self, Node};

use super::rollout::Colour;
use crate::targets::TargetError;

/// The template of a web application, as it is in the repository.
pub(crate) const WEB: &str = include_str!("../../stack/web.yaml");

/// Where that one is read by people.
pub(super) const WEB_PATH: &str = "stack/web.yaml";

/// The longest body that CloudFormation takes in a call; longer ones lie in S3.
const LONGEST_BYTES: usize = 51_200;

/// The colours, as names of parameters and outputs end.
pub(super) const COLOURS: [&str; 2] = [Colour::Blue.suffix(), Colour::Green.suffix()];

/// The parameter of each colour that says which image runs, without the colour.
pub(crate) const IMAGE: &str = "ImageId";

/// What a stack tells, which a rollout works with.
const OUTPUTS: [&str; 9] = [
    "Url",
    "LoadBalancer",
    "Listener",
    "TargetGroupBlue",
    "TargetGroupGreen",
    "GroupBlue",
    "GroupGreen",
    "MinSize",
    "Alarms",
];

/// What a deploy gives to a stack.
const PARAMETERS: [&str; 3] = ["ImageIdBlue", "ImageIdGreen", "CertificateArn"];

/// Policies by which CloudFormation itself moves a group's instances.
const MOVING: [&str; 2] = ["AutoScalingRollingUpdate", "AutoScalingReplacingUpdate"];

/// The scheme of a load balancer that says nothing of it.
const INTERNET_FACING: &str = "internet-facing";

/// A template, and where it is from.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    path: PathBuf,
    pub(crate) body: String,
    root: Node,
}

impl Template {
    /// Returns the one that comes along.
    pub(crate) fn web() -> Self {
        Self::parse(Path::new(WEB_PATH), WEB.to_owned()).expect("a test reads it")
    }

    /// Reads one of the user's own.
    ///
    /// # Errors
    /// A file that cannot be read, is too long for a call, or lacks what a rollout needs.
    pub(crate) fn load(path: &Path) -> Result<Self, TargetError> {
        let body = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("the template {} cannot be read", path.display());
            TargetError::manifest(message).because(error)
        })?;
        if body.len() > LONGEST_BYTES {
            let message = format!(
                "the template {} has {} bytes, and CloudFormation takes {LONGEST_BYTES} in a call",
                path.display(),
                body.len()
            );
            return Err(TargetError::manifest(message).with_hint(
                "longer ones would have to lie in S3, which amibake does not use: shorten it",
            ));
        }
        let template = Self::parse(path, body)?;
        template.check()?;
        Ok(template)
    }

    /// Returns a template that a stack has.
    pub(crate) fn parse(path: &Path, body: String) -> Result<Self, TargetError> {
        let document = yaml::parse_tagged(path, body.as_bytes()).map_err(|wrong| {
            let message = format!("the template {} cannot be read", path.display());
            TargetError::manifest(message).because(wrong.to_string())
        })?;
        Ok(Self {
            path: path.to_owned(),
            root: document.root,
            body,
        })
    }

    /// Returns its parameters, with their defaults as text.
    pub(crate) fn parameters(&self) -> BTreeMap<String, Option<String>> {
        let parameters = self.section("Parameters");
        let default = |rules: &Node| rules.get("Default").and_then(text);
        parameters
            .map(|(name, rules)| (name.to_owned(), default(rules)))
            .collect()
    }

    /// Returns the parameters whose values nobody is to see.
    pub(crate) fn secrets(&self) -> BTreeSet<String> {
        let is_secret =
            |rules: &Node| rules.get("NoEcho").and_then(text).as_deref() == Some("true");
        let parameters = self.section("Parameters");
        let secret = parameters.filter(|(_, rules)| is_secret(rules));
        secret.map(|(name, _)| name.to_owned()).collect()
    }

    /// Returns whether its load balancer is inside its VPC alone with these parameters; nothing where it does not say that
    /// by a word or a parameter.
    pub(super) fn is_internal(&self, values: &BTreeMap<String, String>) -> Option<bool> {
        let scheme = |balancer: &Node| {
            let Some(scheme) = balancer.get("Properties").and_then(|p| p.get("Scheme")) else {
                return Some(INTERNET_FACING.to_owned());
            };
            let parameter = match scheme.tag.as_deref() {
                None => scheme.get("Ref"),
                Some("!Ref") => Some(scheme),
                Some(_) => return None,
            };
            match parameter {
                Some(parameter) => values.get(parameter.as_str()?).cloned(),
                None => scheme.as_str().map(str::to_owned),
            }
        };
        let balancers = self.of_type("AWS::ElasticLoadBalancingV2::LoadBalancer");
        let schemes: Option<BTreeSet<String>> = balancers.map(|(_, b)| scheme(b)).collect();
        let schemes = schemes?;
        let only = schemes.first().filter(|_| schemes.len() == 1)?;
        Some(only != INTERNET_FACING)
    }

    /// Returns whether what it says is made by something else of what is written in it.
    pub(super) fn is_transformed(&self) -> bool {
        self.root.get("Transform").is_some()
    }

    /// Returns where a resource stands: `stack/web.yaml:412`.
    pub(crate) fn place_of(&self, resource: &str) -> Option<String> {
        let resources = self.root.get("Resources")?.as_map()?;
        let (key, _) = resources
            .iter()
            .find(|(key, _)| key.as_str() == Some(resource))?;
        Some(format!("{}:{}", self.path.display(), key.span.line))
    }

    fn section(&self, name: &str) -> impl Iterator<Item = (&str, &Node)> {
        let pairs = self
            .root
            .get(name)
            .and_then(Node::as_map)
            .unwrap_or_default();
        pairs
            .iter()
            .filter_map(|(key, value)| Some((key.as_str()?, value)))
    }

    fn check(&self) -> Result<(), TargetError> {
        let lacking = self.lacking();
        if lacking.is_empty() {
            return Ok(());
        }
        let message = format!(
            "the template {} lacks what a rollout needs",
            self.path.display()
        );
        Err(TargetError::manifest(message)
            .because(lacking.join("; "))
            .with_hint("docs/deploy.md, \"A template of your own\", has the list; `amibake stack template` prints one that has all of it"))
    }

    /// Returns what it must have and has not, or has and must not.
    pub(super) fn lacking(&self) -> Vec<String> {
        let parameters = self.parameters();
        let outputs: Vec<&str> = self.section("Outputs").map(|(name, _)| name).collect();
        let mut lacking = without_colour(parameters.keys().map(String::as_str));
        lacking.extend(missing("parameter", &PARAMETERS, |name| {
            parameters.contains_key(name)
        }));
        lacking.extend(missing("output", &OUTPUTS, |name| outputs.contains(&name)));
        let secrets = self.secrets();
        let of_colours = per_colour(parameters.keys().map(String::as_str)).into_iter();
        let hidden = of_colours.filter(|name| {
            COLOURS
                .iter()
                .any(|c| secrets.contains(&format!("{name}{c}")))
        });
        lacking.extend(hidden.map(|name| {
            format!("{name} is NoEcho, and a rollout compares what the colours have: give both the same secret by one parameter")
        }));
        if !self.forwards_to_both() {
            lacking.push("no listener or rule forwards to both target groups".to_owned());
        }
        for (name, group) in self.of_type("AWS::AutoScaling::AutoScalingGroup") {
            lacking.extend(self.group_lacks(name, group));
        }
        lacking
    }

    fn of_type<'t>(&'t self, kind: &'t str) -> impl Iterator<Item = (&'t str, &'t Node)> {
        let is_it =
            move |resource: &Node| resource.get("Type").and_then(Node::as_str) == Some(kind);
        self.section("Resources")
            .filter(move |(_, resource)| is_it(resource))
    }

    /// Returns whether both target groups are in use whatever the traffic: otherwise nobody checks the health of
    /// the one without, and they cannot be deleted in order.
    fn forwards_to_both(&self) -> bool {
        let listeners = self.of_type("AWS::ElasticLoadBalancingV2::Listener");
        let rules = self.of_type("AWS::ElasticLoadBalancingV2::ListenerRule");
        let actions = listeners.map(|(_, l)| (l, "DefaultActions"));
        let mut actions = actions.chain(rules.map(|(_, r)| (r, "Actions")));
        actions.any(|(resource, key)| {
            let actions = resource.get("Properties").and_then(|p| p.get(key));
            let mut actions = actions.and_then(Node::as_seq).unwrap_or_default().iter();
            actions.any(names_two_groups)
        })
    }

    fn group_lacks(&self, name: &str, group: &Node) -> Vec<String> {
        let mut lacking = Vec::new();
        let place = self.place_of(name).unwrap_or_default();
        let of = |keys: &[&str]| keys.iter().try_fold(group, |node, key| node.get(key));
        let version = of(&["Properties", "LaunchTemplate", "Version"]);
        if !version.is_some_and(is_latest_number) {
            lacking.push(format!(
                "{name} ({place}) does not name its launch template's version by `!GetAtt X.LatestVersionNumber`"
            ));
        }
        let ignores = of(&[
            "UpdatePolicy",
            "AutoScalingScheduledAction",
            "IgnoreUnmodifiedGroupSizeProperties",
        ]);
        if ignores.and_then(text).as_deref() != Some("true") {
            lacking.push(format!(
                "{name} ({place}) has no UpdatePolicy with IgnoreUnmodifiedGroupSizeProperties, so that an update would reset its size"
            ));
        }
        let moves = MOVING
            .iter()
            .filter(|policy| of(&["UpdatePolicy", policy]).is_some_and(is_at_work));
        lacking.extend(moves.map(|policy| {
            format!("{name} ({place}) has the UpdatePolicy {policy}, so that an update would replace instances that serve")
        }));
        lacking
    }
}

/// Returns what of a stack is not as a rollout needs it, by what CloudFormation tells of it.
pub(crate) fn stack_lacks(
    parameters: &BTreeMap<String, String>,
    outputs: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut lacking = without_colour(parameters.keys().map(String::as_str));
    lacking.extend(missing("parameter", &PARAMETERS, |name| {
        parameters.contains_key(name)
    }));
    lacking.extend(missing("output", &OUTPUTS, |name| {
        outputs.contains_key(name)
    }));
    lacking
}

fn missing(kind: &str, wanted: &[&str], has: impl Fn(&str) -> bool) -> Option<String> {
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| !has(name)).collect();
    match missing.is_empty() {
        true => None,
        false => Some(format!("no {kind} {}", missing.join(", "))),
    }
}

/// Returns the parameters of one colour that the other has not.
fn without_colour<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<String> {
    let [blue, green] = COLOURS;
    let twin = |name: &str| {
        let of_blue = name.strip_suffix(blue).map(|stem| format!("{stem}{green}"));
        of_blue.or_else(|| name.strip_suffix(green).map(|stem| format!("{stem}{blue}")))
    };
    let has = |twin: &str| names.clone().any(|name| name == twin);
    let lone = names.clone().filter_map(|name| Some((name, twin(name)?)));
    let lone = lone.filter(|(name, twin)| !PARAMETERS.contains(name) && !has(twin));
    lone.map(|(name, twin)| format!("{name} is there without {twin}"))
        .collect()
}

/// Returns what exists once a colour: `ImageId` of `ImageIdBlue` and `ImageIdGreen`.
pub(crate) fn per_colour<'n>(names: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    names
        .filter_map(|name| name.strip_suffix(COLOURS[0]))
        .collect()
}

fn names_two_groups(action: &Node) -> bool {
    let groups = action
        .get("ForwardConfig")
        .and_then(|f| f.get("TargetGroups"));
    groups
        .and_then(Node::as_seq)
        .is_some_and(|groups| groups.len() == 2)
}

/// Returns whether it is `!GetAtt X.LatestVersionNumber`, in one of the ways to write that.
fn is_latest_number(node: &Node) -> bool {
    let argument = match node.tag.as_deref() {
        Some("!GetAtt") => Some(node),
        _ => node.get("Fn::GetAtt"),
    };
    let attribute = argument.and_then(|argument| match argument.as_seq() {
        Some(parts) => parts.last().and_then(Node::as_str),
        None => argument
            .as_str()
            .and_then(|text| text.split_once('.'))
            .map(|(_, name)| name),
    });
    attribute == Some("LatestVersionNumber")
}

/// Returns whether an update policy does something: `AutoScalingReplacingUpdate` may say that it does not.
fn is_at_work(policy: &Node) -> bool {
    policy.get("WillReplace").and_then(text).as_deref() != Some("false")
}

/// Returns a scalar as CloudFormation passes it on.
fn text(node: &Node) -> Option<String> {
    match node.as_bool() {
        Some(truth) => Some(truth.to_string()),
        None => node.scalar_text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Template {
        Template::parse(Path::new("mine.yaml"), text.to_owned()).unwrap()
    }

    #[test]
    fn the_one_that_comes_along_has_all_that_a_rollout_needs() {
        let web = Template::web();
        assert_eq!(web.lacking(), Vec::<String>::new());
        assert!(WEB.len() <= LONGEST_BYTES);
        let place = web.place_of("GroupGreen").unwrap();
        let line: usize = place.rsplit(':').next().unwrap().parse().unwrap();
        assert_eq!(WEB.lines().nth(line - 1), Some("  GroupGreen:"), "{place}");
        assert_eq!(
            web.parameters()["InstanceTypeBlue"].as_deref(),
            Some("t3.small")
        );
        assert_eq!(web.parameters()["MinSize"].as_deref(), Some("2"));
        assert_eq!(web.parameters()["ImageIdBlue"], None);
    }

    #[test]
    fn what_one_of_the_user_s_own_lacks_is_named() {
        let without = |from: &str, to: &str| {
            let text = WEB.replace(from, to);
            assert_ne!(text, WEB);
            of(&text).lacking().join("\n")
        };
        assert_eq!(without("  Url:", "  Web:"), "no output Url");
        assert_eq!(
            without("  CertificateArn:", "  Certificate:"),
            "no parameter CertificateArn"
        );
        assert_eq!(
            without("  InstanceTypeGreen:", "  TypeOfTheOther:"),
            "InstanceTypeBlue is there without InstanceTypeGreen"
        );
        assert_eq!(
            without("ForwardConfig:", "ForwardsTo:"),
            "no listener or rule forwards to both target groups"
        );
        let latest = without("!GetAtt LaunchTemplateBlue.LatestVersionNumber", "$Latest");
        assert!(latest.starts_with("GroupBlue (mine.yaml:"), "{latest}");
        assert!(
            latest.contains("does not name its launch template's version"),
            "{latest}"
        );
        let sizes = without("IgnoreUnmodifiedGroupSizeProperties: true", "X: true");
        assert_eq!(sizes.matches("would reset its size").count(), 2, "{sizes}");
    }

    #[test]
    fn what_would_move_instances_by_itself_or_cannot_be_compared_is_named() {
        let with = |from: &str, to: &str| of(&WEB.replacen(from, to, 1)).lacking().join("\n");
        let policy = "    UpdatePolicy:\n";
        let told = with(
            policy,
            &format!("{policy}      AutoScalingRollingUpdate: {{MinInstancesInService: 1}}\n"),
        );
        assert!(told.starts_with("GroupBlue (mine.yaml:"), "{told}");
        assert!(told.ends_with("has the UpdatePolicy AutoScalingRollingUpdate, so that an update would replace instances that serve"), "{told}");
        let not = format!("{policy}      AutoScalingReplacingUpdate: {{WillReplace: false}}\n");
        assert_eq!(with(policy, &not), "");
        let told = with(
            "  InstanceTypeBlue:\n",
            "  InstanceTypeBlue:\n    NoEcho: true\n",
        );
        assert!(told.starts_with("InstanceType is NoEcho"), "{told}");
    }

    #[test]
    fn whether_it_can_be_reached_from_outside_is_read_where_it_is_said() {
        let scheme = |value: &str| {
            let text = WEB.replace("      Scheme: !Ref Scheme\n", value);
            let values = [("Scheme".to_owned(), "internal".to_owned())].into();
            of(&text).is_internal(&values)
        };
        assert_eq!(scheme("      Scheme: !Ref Scheme\n"), Some(true));
        assert_eq!(scheme("      Scheme: {Ref: Scheme}\n"), Some(true));
        assert_eq!(scheme("      Scheme: internal\n"), Some(true));
        assert_eq!(scheme("      Scheme: internet-facing\n"), Some(false));
        assert_eq!(scheme(""), Some(false));
        assert_eq!(
            scheme("      Scheme: !If [Notify, internal, internet-facing]\n"),
            None
        );
        assert_eq!(of("Resources: {}").is_internal(&BTreeMap::new()), None);
    }

    #[test]
    fn what_nobody_is_to_see_is_known() {
        let text = "Parameters: {A: {Type: String, NoEcho: true}, B: {Type: String}, C: {Type: String, NoEcho: 'true'}}";
        assert_eq!(of(text).secrets(), ["A".to_owned(), "C".to_owned()].into());
    }

    #[test]
    fn a_template_in_json_is_read_as_well() {
        let version = r#"{"Fn::GetAtt": ["L", "LatestVersionNumber"]}"#;
        let policy =
            r#"{"AutoScalingScheduledAction": {"IgnoreUnmodifiedGroupSizeProperties": "true"}}"#;
        let group = format!(
            r#"{{"Resources": {{"G": {{"Type": "AWS::AutoScaling::AutoScalingGroup", "UpdatePolicy": {policy},
              "Properties": {{"LaunchTemplate": {{"Version": {version}}}}}}}}}}}"#
        );
        let template = of(&group);
        let (_, group) = template
            .of_type("AWS::AutoScaling::AutoScalingGroup")
            .next()
            .unwrap();
        assert_eq!(template.group_lacks("G", group), Vec::<String>::new());
    }

    #[test]
    fn what_exists_once_a_colour_goes_by_its_name_without_one() {
        let names = ["ImageIdBlue", "ImageIdGreen", "MinSize", "InstanceTypeBlue"];
        assert_eq!(per_colour(names.into_iter()), ["ImageId", "InstanceType"]);
        let parameters: BTreeMap<String, String> =
            names.map(|name| (name.to_owned(), String::new())).into();
        assert_eq!(
            stack_lacks(&parameters, &BTreeMap::new()),
            [
                "InstanceTypeBlue is there without InstanceTypeGreen",
                "no parameter CertificateArn",
                "no output Url, LoadBalancer, Listener, TargetGroupBlue, TargetGroupGreen, GroupBlue, GroupGreen, MinSize, Alarms"
            ]
        );
    }
}
