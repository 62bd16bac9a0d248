//! What a change set would change, as people read it. Pure.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use aws_sdk_cloudformation::types::{
    Change as SdkChange, ChangeAction, EvaluationType, Replacement, RequiresRecreation,
    ResourceAttribute, ResourceChange, ResourceChangeDetail,
};

/// Longer values are cut: a policy document fills a page.
const LONGEST_VALUE: usize = 80;

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
    name: String,
    values: Option<(String, String)>,
    /// What it follows: a parameter, another resource.
    cause: Option<String>,
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
        let is_launch =
            |detail: &Detail| matches!(&*detail.name, "LaunchTemplate" | "MixedInstancesPolicy");
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
                .for_each(|detail| text.push_str(&line(detail)));
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

fn line(detail: &Detail) -> String {
    let Detail {
        name,
        values,
        cause,
        replaces,
    } = detail;
    let values = match values {
        Some((before, after)) => format!(": {} -> {}", cut(before), cut(after)),
        None => String::new(),
    };
    let cause = cause
        .as_ref()
        .map_or_else(String::new, |cause| format!(", by {cause}"));
    let replaces = if *replaces { " (this replaces it)" } else { "" };
    format!("      {name}{values}{cause}{replaces}\n")
}

fn cut(value: &str) -> String {
    let value = value.replace(['\n', '\r'], " ");
    match value.char_indices().nth(LONGEST_VALUE) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value,
    }
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

/// Returns one for each property: CloudFormation tells of one that follows a parameter twice.
fn details(told: &[ResourceChangeDetail]) -> Vec<Detail> {
    let mut details: Vec<Detail> = Vec::new();
    for detail in told.iter().filter_map(read_detail) {
        match details.iter_mut().find(|known| known.name == detail.name) {
            Some(known) => {
                known.values = known.values.take().or(detail.values);
                known.cause = known.cause.take().or(detail.cause);
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
            let or_nothing = |value: Option<&str>| value.unwrap_or("(nothing)").to_owned();
            Some((or_nothing(before), or_nothing(after)))
        }
    };
    let is_certain = detail.evaluation() == Some(&EvaluationType::Static);
    Some(Detail {
        name: target.name().unwrap_or(attribute).to_owned(),
        values,
        cause: detail.causing_entity().map(str::to_owned),
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
    fn a_long_value_is_cut() {
        let long = "ä".repeat(LONGEST_VALUE + 1);
        assert_eq!(cut(&long).chars().count(), LONGEST_VALUE + 1);
        assert_eq!(cut("a\nb"), "a b");
    }
}
