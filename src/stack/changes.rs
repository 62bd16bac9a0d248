//! What a change set would change, as people read it. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_sdk_cloudformation::types::{
    Change as SdkChange, ChangeAction, EvaluationType, Replacement, RequiresRecreation,
    ResourceAttribute, ResourceChange, ResourceChangeDetail,
};
use serde_json::Value as Json;

/// Characters: longer values are cut, a policy document fills a page.
const LONGEST_VALUE: usize = 80;

/// Characters of a long value that are shown before what differs.
const BEFORE: usize = 20;

/// A value that is not there.
const NOTHING: &str = "(nothing)";

/// What would become of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// It is made anew, and the old one goes.
    Replaced,
    Removed,
    /// What decides is known only once something else is done.
    MaybeReplaced,
    Changed,
    Added,
}

/// One resource that would change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Change {
    fate: Fate,
    resource: String,
    kind: String,
    physical: Option<String>,
    details: Vec<Detail>,
}

/// One property of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Detail {
    /// The resource's own, `LaunchTemplateData`.
    property: String,
    /// What of it changes, `LaunchTemplateData.ImageId`, as far as CloudFormation tells.
    name: String,
    values: Option<(String, String)>,
    /// What it follows: parameters, other resources.
    causes: Vec<String>,
    /// Whether this is why the resource is made anew.
    replaces: bool,
}

/// All that would change, what is lost first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes(Vec<Change>);

impl Changes {
    pub(super) fn read(changes: Vec<SdkChange>) -> Self {
        let resources = changes
            .into_iter()
            .filter_map(|change| change.resource_change);
        let mut all: Vec<Change> = resources.map(read).collect();
        all.sort_by(|a, b| (a.fate, &a.resource).cmp(&(b.fate, &b.resource)));
        Self(all)
    }

    /// Returns what of these things would go: physical ids that are known to be needed.
    pub(super) fn that_lose<'c>(
        &'c self,
        needed: &'c BTreeSet<&str>,
    ) -> impl Iterator<Item = (&'c str, &'static str)> {
        let is_needed = move |change: &&Change| {
            let id = change.physical.as_deref();
            id.is_some_and(|id| needed.contains(id))
        };
        self.0.iter().filter(is_needed).filter_map(|change| {
            let fate = match change.fate {
                Fate::Replaced => "replaced",
                Fate::Removed => "removed",
                Fate::MaybeReplaced | Fate::Changed | Fate::Added => return None,
            };
            Some((change.resource.as_str(), fate))
        })
    }

    /// Returns whether a group launches something else then.
    pub(super) fn relaunches(&self, group: &str) -> bool {
        let its = |change: &&Change| change.physical.as_deref() == Some(group);
        let is_launch = |detail: &Detail| {
            matches!(&*detail.property, "LaunchTemplate" | "MixedInstancesPolicy")
        };
        let mut its = self.0.iter().filter(its);
        its.any(|change| change.details.iter().any(is_launch))
    }

    /// Returns them as a diff, a line for each resource and one for each property.
    pub(crate) fn diff(&self) -> String {
        let mut text = String::new();
        for change in &self.0 {
            let Change {
                resource,
                kind,
                physical,
                ..
            } = change;
            let id = physical.as_deref().unwrap_or_default();
            let _infallible = match change.fate {
                Fate::Replaced => writeln!(
                    text,
                    "-/+ {resource} ({kind}) IS REPLACED: {id} goes when a new one is there"
                ),
                Fate::Removed => writeln!(text, "-   {resource} ({kind}) IS REMOVED: {id}"),
                Fate::MaybeReplaced => {
                    writeln!(text, "~   {resource} ({kind}) {id}, perhaps replaced")
                }
                Fate::Changed => writeln!(text, "~   {resource} ({kind}) {id}"),
                Fate::Added => writeln!(text, "+   {resource} ({kind})"),
            };
            change
                .details
                .iter()
                .for_each(|detail| text.push_str(&lines(detail)));
        }
        text + &self.sum() + "\n"
    }

    fn sum(&self) -> String {
        let count = |fates: &[Fate]| self.0.iter().filter(|c| fates.contains(&c.fate)).count();
        if self.0.is_empty() {
            return "no resource changes, only what the stack tells".to_owned();
        }
        format!(
            "{} to add, {} to change, {} to replace, {} to remove",
            count(&[Fate::Added]),
            count(&[Fate::Changed, Fate::MaybeReplaced]),
            count(&[Fate::Replaced]),
            count(&[Fate::Removed])
        )
    }
}

/// Returns a line for each value within it that differs, or one where that is not known.
fn lines(detail: &Detail) -> String {
    let Detail {
        name,
        values,
        causes,
        replaces,
        ..
    } = detail;
    let causes = match &causes[..] {
        [] => String::new(),
        causes => format!(", by {}", causes.join(" and ")),
    };
    let replaces = if *replaces { " (this replaces it)" } else { "" };
    let all = match values {
        Some((before, after)) => told_apart(name, before, after),
        None => vec![name.clone()],
    };
    let line = |what: &String| format!("      {what}{causes}{replaces}\n");
    all.iter().map(line).collect()
}

/// Returns what differs in two values, `Name.Key: 1 -> 2`: of JSON its members, of text where it begins to differ.
fn told_apart(name: &str, before: &str, after: &str) -> Vec<String> {
    let of_json = |text: &str| serde_json::from_str::<Json>(text).ok();
    let mut all = Vec::new();
    match (of_json(before), of_json(after)) {
        (Some(before), Some(after)) if before != after => {
            members(name, Some(&before), Some(&after), &mut all);
        }
        _ => all.push(format!("{name}: {}", arrow(before, after))),
    }
    all
}

fn members(name: &str, before: Option<&Json>, after: Option<&Json>, all: &mut Vec<String>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Json::Object(before)), Some(Json::Object(after))) => {
            let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for key in keys {
                let name = format!("{name}.{key}");
                members(&name, before.get(key), after.get(key), all);
            }
        }
        (Some(Json::Array(before)), Some(Json::Array(after))) => {
            for at in 0..before.len().max(after.len()) {
                let name = format!("{name}[{at}]");
                members(&name, before.get(at), after.get(at), all);
            }
        }
        (before, after) => {
            let text = |value: Option<&Json>| match value {
                Some(Json::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => NOTHING.to_owned(),
            };
            all.push(format!("{name}: {}", arrow(&text(before), &text(after))));
        }
    }
}

/// Returns both values, long ones from a little before where they differ.
fn arrow(before: &str, after: &str) -> String {
    let both = before.chars().zip(after.chars());
    let alike = both.take_while(|(one, other)| one == other).count();
    let is_long = |text: &str| text.chars().count() > LONGEST_VALUE;
    let from = match is_long(before) || is_long(after) {
        true => alike.saturating_sub(BEFORE),
        false => 0,
    };
    format!("{} -> {}", part(before, from), part(after, from))
}

fn part(value: &str, from: usize) -> String {
    let shown = value.chars().skip(from).take(LONGEST_VALUE);
    let shown = shown.map(|c| if matches!(c, '\n' | '\r') { ' ' } else { c });
    let (mut text, goes_on) = (String::new(), value.chars().count() > from + LONGEST_VALUE);
    text.extend((from > 0).then_some('…').into_iter().chain(shown));
    text.extend(goes_on.then_some('…'));
    text
}

fn read(change: ResourceChange) -> Change {
    let fate = match change.action {
        Some(ChangeAction::Add | ChangeAction::Import) => Fate::Added,
        Some(ChangeAction::Remove) => Fate::Removed,
        // What is modified, or by a word that is not known here.
        _ => match change.replacement {
            Some(Replacement::True) => Fate::Replaced,
            Some(Replacement::Conditional) => Fate::MaybeReplaced,
            _ => Fate::Changed,
        },
    };
    Change {
        fate,
        resource: change.logical_resource_id.unwrap_or_default(),
        kind: change.resource_type.unwrap_or_default(),
        physical: change.physical_resource_id.filter(|id| !id.is_empty()),
        details: details(&change.details.unwrap_or_default()),
    }
}

/// Returns one for each property, or part of one: CloudFormation tells of one that follows parameters once for each,
/// and once more.
fn details(told: &[ResourceChangeDetail]) -> Vec<Detail> {
    let mut details: Vec<Detail> = Vec::new();
    for detail in told.iter().filter_map(read_detail) {
        match details.iter_mut().find(|known| known.name == detail.name) {
            Some(known) => {
                known.values = known.values.take().or(detail.values);
                let new = |cause: &String| !known.causes.contains(cause);
                let causes: Vec<String> = detail.causes.into_iter().filter(new).collect();
                known.causes.extend(causes);
                known.replaces |= detail.replaces;
            }
            None => details.push(detail),
        }
    }
    details
}

fn read_detail(detail: &ResourceChangeDetail) -> Option<Detail> {
    let target = detail.target()?;
    let attribute = target.attribute().map_or("", ResourceAttribute::as_str);
    let values = match (target.before_value(), target.after_value()) {
        (None, None) => None,
        (before, after) => {
            let or_nothing = |value: Option<&str>| value.unwrap_or(NOTHING).to_owned();
            Some((or_nothing(before), or_nothing(after)))
        }
    };
    let is_certain = detail.evaluation() == Some(&EvaluationType::Static);
    let property = target.name().unwrap_or(attribute).to_owned();
    let within = target
        .path()
        .and_then(|path| path.strip_prefix("/Properties/"));
    Some(Detail {
        name: within.map_or_else(|| property.clone(), |path| path.replace('/', ".")),
        property,
        values,
        causes: detail
            .causing_entity()
            .map(str::to_owned)
            .into_iter()
            .collect(),
        replaces: is_certain && target.requires_recreation() == Some(&RequiresRecreation::Always),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_cloudformation::types::ResourceTargetDefinition;

    fn detail(
        name: &str,
        cause: Option<&str>,
        values: Option<(&str, &str)>,
        kind: &str,
    ) -> ResourceChangeDetail {
        let target = ResourceTargetDefinition::builder()
            .attribute(ResourceAttribute::Properties)
            .name(name)
            .requires_recreation(kind.into())
            .set_before_value(values.map(|(before, _)| before.to_owned()))
            .set_after_value(values.map(|(_, after)| after.to_owned()));
        let evaluation = if cause.is_some() { "Static" } else { "Dynamic" };
        ResourceChangeDetail::builder()
            .target(target.build())
            .evaluation(evaluation.into())
            .set_causing_entity(cause.map(str::to_owned))
            .build()
    }

    fn change(
        action: &str,
        name: &str,
        replacement: &str,
        details: &[ResourceChangeDetail],
    ) -> SdkChange {
        let change = ResourceChange::builder()
            .action(action.into())
            .logical_resource_id(name)
            .resource_type("AWS::EC2::VPC")
            .set_physical_resource_id((action != "Add").then(|| format!("{name}-1")))
            .replacement(replacement.into())
            .set_details(Some(details.to_vec()));
        SdkChange::builder().resource_change(change.build()).build()
    }

    fn some() -> Changes {
        let cidr = Some(("10.9.0.0/16", "10.8.0.0/16"));
        Changes::read(vec![
            change("Add", "New", "False", &[]),
            change(
                "Modify",
                "Group",
                "Conditional",
                &[detail("LaunchTemplate", None, None, "Conditionally")],
            ),
            change("Remove", "Old", "False", &[]),
            change(
                "Modify",
                "Vpc",
                "True",
                &[
                    detail("CidrBlock", Some("Cidr"), cidr, "Always"),
                    detail("CidrBlock", None, cidr, "Always"),
                ],
            ),
            change(
                "Modify",
                "Alarm",
                "False",
                &[detail("Threshold", None, Some(("5", "6")), "Never")],
            ),
        ])
    }

    #[test]
    fn what_is_lost_comes_first_and_loudly_and_each_property_once() {
        assert_eq!(
            some().diff(),
            "-/+ Vpc (AWS::EC2::VPC) IS REPLACED: Vpc-1 goes when a new one is there\n      \
             CidrBlock: 10.9.0.0/16 -> 10.8.0.0/16, by Cidr (this replaces it)\n\
             -   Old (AWS::EC2::VPC) IS REMOVED: Old-1\n\
             ~   Group (AWS::EC2::VPC) Group-1, perhaps replaced\n      \
             LaunchTemplate\n\
             ~   Alarm (AWS::EC2::VPC) Alarm-1\n      \
             Threshold: 5 -> 6\n\
             +   New (AWS::EC2::VPC)\n\
             1 to add, 2 to change, 1 to replace, 1 to remove\n"
        );
        assert_eq!(
            Changes::default().diff(),
            "no resource changes, only what the stack tells\n"
        );
    }

    #[test]
    fn what_a_rollout_needs_is_not_lost_unseen() {
        let all = some();
        let needed = BTreeSet::from(["Vpc-1", "Old-1", "Group-1"]);
        let lost: Vec<_> = all.that_lose(&needed).collect();
        assert_eq!(lost, [("Vpc", "replaced"), ("Old", "removed")]);
    }

    #[test]
    fn a_group_that_launches_something_else_is_seen() {
        assert!(some().relaunches("Group-1"));
        assert!(!some().relaunches("Alarm-1") && !some().relaunches("Group-2"));
    }

    #[test]
    fn of_a_long_value_is_shown_what_differs() {
        let long = "ä".repeat(LONGEST_VALUE + 1);
        let shown = "ä".repeat(LONGEST_VALUE);
        assert_eq!(arrow(&long, "a\nb"), format!("{shown}… -> a b"));
        let (before, after) = (format!("{long}old"), format!("{long}new"));
        let alike = "ä".repeat(BEFORE);
        assert_eq!(
            arrow(&before, &after),
            format!("…{alike}old -> …{alike}new")
        );
    }

    #[test]
    fn of_json_are_shown_the_members_that_differ_and_all_causes() {
        let data = |image: &str, kind: &str| {
            format!(
                r#"{{"UserData":"{}","ImageId":"{image}","Tags":[1,2],"Type":"{kind}"}}"#,
                "x".repeat(99)
            )
        };
        let (before, after) = (data("ami-1", "t3.small"), data("ami-2", "t3.large"));
        let values = Some((&*before, &*after));
        let data = |cause| detail("LaunchTemplateData", cause, values, "Never");
        let told = [
            data(Some("ImageIdGreen")),
            data(Some("InstanceType")),
            data(Some("ImageIdGreen")),
            data(None),
        ];
        let told = Changes::read(vec![change("Modify", "Launch", "False", &told)]).diff();
        let by = ", by ImageIdGreen and InstanceType\n";
        let lines = [
            format!("      LaunchTemplateData.ImageId: ami-1 -> ami-2{by}"),
            format!("      LaunchTemplateData.Type: t3.small -> t3.large{by}"),
        ];
        assert!(told.contains(&lines.concat()), "{told}");
        let mut all = Vec::new();
        let of = |text: &str| serde_json::from_str::<Json>(text).unwrap();
        members(
            "A",
            Some(&of(r#"{"b": [1, 2], "c": 1}"#)),
            Some(&of(r#"{"b": [1, 3, 4]}"#)),
            &mut all,
        );
        assert_eq!(
            all,
            [
                "A.b[1]: 2 -> 3",
                "A.b[2]: (nothing) -> 4",
                "A.c: 1 -> (nothing)"
            ]
        );
    }

    #[test]
    fn a_part_of_a_property_has_its_own_line() {
        let target = |path: &str| {
            let target =
                ResourceTargetDefinition::builder().attribute(ResourceAttribute::Properties);
            let target = target.name("LaunchTemplateData").path(path);
            let target = target.before_value("a").after_value("b").build();
            ResourceChangeDetail::builder().target(target).build()
        };
        let told = ["ImageId", "InstanceType"]
            .map(|key| target(&format!("/Properties/LaunchTemplateData/{key}")));
        let told = Changes::read(vec![change("Modify", "Launch", "False", &told)]).diff();
        for key in ["ImageId", "InstanceType"] {
            assert!(
                told.contains(&format!("      LaunchTemplateData.{key}: a -> b\n")),
                "{told}"
            );
        }
    }
}
