//! One look at a stack: what AWS tells of it, put together.

use std::collections::{BTreeMap, BTreeSet};

use super::super::alarms::Firing;
use super::calls::{Calls, GroupFacts, RuleFacts, Site, StackFacts};
use super::colour::{Both, Colour, Weights};
use super::intent::{self, Direction, Intent, Phase};
use super::state::{
    Alarm, ColourState, GroupState, InstanceState, Observed, Rule, Standing, TargetState,
};
use crate::targets::TargetError;
use crate::targets::ec2::Ec2Error;

/// Why a stack cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Call(#[from] Ec2Error),
    #[error("there is no stack {0}")]
    NoStack(String),
    /// The template lacks something.
    #[error("the stack's output {0} is missing, or is not what it should be")]
    Output(String),
    #[error("there is no auto scaling group {0}, which the stack's outputs name")]
    NoGroup(String),
}

impl LookError {
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_transient())
    }
}

impl From<LookError> for TargetError {
    fn from(error: LookError) -> Self {
        match error {
            LookError::Call(error) => error.into(),
            LookError::NoStack(_) => Self::manifest(error.to_string())
                .with_hint("is it in another region? --region names it"),
            LookError::Output(_) | LookError::NoGroup(_) => Self::new(error.to_string())
                .with_hint("docs/deploy.md says what a template must have"),
        }
    }
}

/// What a look needs to know beforehand, and what it has found beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) seen: Observed,
    pub(crate) site: Site,
    /// What the stack has for the listener's certificate.
    pub(crate) certificate: Option<String>,
    /// Priorities that are taken.
    pub(crate) priorities: BTreeSet<u32>,
    /// The stack's own rule for both colours, if that is a rule.
    pub(crate) own_rule: Option<(String, u32)>,
}

/// Looks at the stack called `name`.
pub(crate) async fn look(calls: &dyn Calls, name: &str, drain: u32) -> Result<Look, LookError> {
    let stack = calls.stack().await?;
    let stack = stack.ok_or_else(|| LookError::NoStack(name.to_owned()))?;
    let site = Site::read(&stack.outputs).map_err(LookError::Output)?;
    let Both { blue, green } = &site.groups;
    let (groups, targets_blue, targets_green, rules, alarms) = tokio::join!(
        calls.groups([blue, green]),
        calls.targets(&site.target_groups.blue),
        calls.targets(&site.target_groups.green),
        calls.rules(&site.listener),
        calls.firing(&site.alarms),
    );
    let mut groups = groups?;
    let mut colour = |colour: Colour, targets: BTreeMap<String, TargetState>| {
        let name = &site.groups[colour];
        let group = groups
            .remove(name)
            .ok_or_else(|| LookError::NoGroup(name.clone()))?;
        Ok::<_, LookError>(colour_state(colour, name, &stack, group, targets))
    };
    let colours = Both {
        blue: colour(Colour::Blue, targets_blue?)?,
        green: colour(Colour::Green, targets_green?)?,
    };
    let mut found = Rules::sort(name, &site, rules?);
    if let Some(rule) = found.ours.as_mut().filter(|rule| rule.is_astray) {
        rule.weights = meant(rule, &colours);
    }
    let seen = Observed {
        at: calls.now(),
        stack: standing(&stack.status),
        min_size: site.min_size,
        colours,
        rule: found.ours,
        fallback: found.fallback,
        smoke_rules: found.smoke,
        foreign_rules: found.foreign,
        alarms: alarms?.into_iter().map(|one| alarm(&site, &one)).collect(),
        drain_seconds: drain,
    };
    Ok(Look {
        seen,
        site,
        certificate: stack.parameters.get("CertificateArn").cloned(),
        priorities: found.priorities,
        own_rule: found.own,
    })
}

fn alarm(site: &Site, firing: &Firing) -> Alarm {
    let is_of = |colour: &Colour| {
        let targets = site.target_groups[*colour].rsplit(':').next();
        let is_watched = |name: &str| firing.watches.contains(name);
        targets.is_some_and(is_watched) || is_watched(&site.groups[*colour])
    };
    let mut of = Colour::BOTH.into_iter().filter(is_of);
    Alarm {
        of: match (of.next(), of.next()) {
            (one, None) => one,
            (_, Some(_)) => None,
        },
        name: firing.name.clone(),
    }
}

/// Returns how traffic is to be shared by a rule that leads to target groups of before: as it was about to be, to a colour
/// that has somebody.
fn meant(rule: &Rule, colours: &Both<ColourState>) -> Weights {
    let meant = match &rule.intent {
        Some(intent)
            if intent.phase == Phase::Rolling && intent.direction == Direction::Forward =>
        {
            intent.from.unwrap_or(intent.to)
        }
        Some(intent) => intent.to,
        None => Colour::Blue,
    };
    let has_somebody = |colour: &Colour| !colours[*colour].is_to_be_empty();
    let serving = [meant, meant.other()].into_iter().find(has_somebody);
    Weights::giving(serving.unwrap_or(meant), 100)
}

fn standing(status: &str) -> Standing {
    match status.ends_with("_IN_PROGRESS") && status != "REVIEW_IN_PROGRESS" {
        true => Standing::Busy(status.to_owned()),
        false => Standing::Settled,
    }
}

fn colour_state(
    colour: Colour,
    name: &str,
    stack: &StackFacts,
    group: GroupFacts,
    targets: BTreeMap<String, TargetState>,
) -> ColourState {
    let version = group.version.clone();
    let instances = group.members.into_iter().map(|member| InstanceState {
        target: targets.get(&member.id).cloned().unwrap_or(TargetState {
            state: String::new(),
            reason: None,
            description: None,
        }),
        is_current: is_current(member.version.as_deref(), version.as_deref()),
        id: member.id,
        zone: member.zone,
        lifecycle: member.lifecycle,
        is_well: member.is_well,
    });
    ColourState {
        parameters: of_colour(colour, &stack.parameters),
        instances: instances.collect(),
        group: GroupState {
            name: name.to_owned(),
            min: group.min,
            desired: group.desired,
            max: group.max,
            suspended: group.suspended,
            grace: group.grace,
        },
    }
}

/// Returns whether both are one version. What is no number says nothing: `$Latest`.
fn is_current(launched: Option<&str>, now: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|text| text.parse::<u64>().ok());
    match (number(launched), number(now)) {
        (Some(launched), Some(now)) => launched == now,
        (Some(_) | None, None) | (None, Some(_)) => true,
    }
}

/// Returns the parameters that each colour has, as this one has them, by their names without it.
pub(crate) fn of_colour(
    colour: Colour,
    parameters: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let named = |name: &str, colour: Colour| format!("{name}{}", colour.suffix());
    let own = parameters.iter().filter_map(|(name, value)| {
        let base = name.strip_suffix(colour.suffix())?;
        let has_twin = parameters.contains_key(&named(base, colour.other()));
        has_twin.then(|| (base.to_owned(), value.clone()))
    });
    own.collect()
}

/// The rules of a listener, by what they are to a rollout.
struct Rules {
    ours: Option<Rule>,
    smoke: Vec<String>,
    foreign: Vec<String>,
    /// What comes last.
    fallback: Weights,
    own: Option<(String, u32)>,
    priorities: BTreeSet<u32>,
}

impl Rules {
    fn sort(stack: &str, site: &Site, rules: Vec<RuleFacts>) -> Self {
        let mut sorted = Self {
            ours: None,
            smoke: Vec::new(),
            foreign: Vec::new(),
            fallback: Weights::giving(Colour::Blue, 100),
            own: None,
            priorities: rules.iter().filter_map(|rule| rule.priority).collect(),
        };
        let tagged = |rule: &RuleFacts, role: &str| intent::is_of(&rule.tags, stack, role);
        let (mut both, mut astray) = (Vec::new(), None);
        for rule in rules {
            let names = |colour: Colour| rule.forwards.contains_key(&site.target_groups[colour]);
            match (names(Colour::Blue), names(Colour::Green)) {
                _ if tagged(&rule, intent::SMOKE) => sorted.smoke.push(rule.arn),
                _ if tagged(&rule, intent::TRAFFIC) && leads_astray(site, &rule) => {
                    astray = Some(rule);
                }
                (true, true) => both.push(rule),
                (false, false) => {}
                (true, false) | (false, true) => sorted.foreign.push(rule.arn),
            }
        }
        // The first counts first; the listener's own action comes last.
        both.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
        let ours = both
            .iter()
            .position(|rule| tagged(rule, intent::TRAFFIC))
            // One whose tags somebody has removed: the template's own is the last.
            .or((both.len() > 1 && astray.is_none()).then_some(0));
        if let Some(rule) = ours.map(|at| both.remove(at)).or(astray) {
            sorted.ours = Some(Rule {
                weights: weights(site, &rule),
                intent: Intent::read(&rule.tags),
                is_astray: leads_astray(site, &rule),
                arn: rule.arn,
            });
        }
        if let Some(last) = both.pop() {
            sorted.fallback = weights(site, &last);
            sorted.own = last.priority.map(|priority| (last.arn, priority));
        }
        // Others that name both would be asked in place of ours, or never.
        sorted.foreign.extend(both.into_iter().map(|rule| rule.arn));
        sorted
    }
}

/// Returns whether a rule leads to a target group that is neither colour's.
fn leads_astray(site: &Site, rule: &RuleFacts) -> bool {
    let Both { blue, green } = &site.target_groups;
    rule.forwards.keys().any(|arn| arn != blue && arn != green)
}

fn weights(site: &Site, rule: &RuleFacts) -> Weights {
    let of = |colour| rule.forwards.get(&site.target_groups[colour]);
    Weights::each(|colour| of(colour).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let names = [
            ("Listener", "l"),
            ("LoadBalancer", "lb"),
            ("TargetGroupBlue", "tb"),
            ("TargetGroupGreen", "tg"),
            ("GroupBlue", "gb"),
            ("GroupGreen", "gg"),
            ("MinSize", "2"),
            ("Alarms", "one,two"),
        ];
        let outputs = names.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        Site::read(&outputs).unwrap()
    }

    fn rule(arn: &str, priority: Option<u32>, forwards: &[(&str, u32)]) -> RuleFacts {
        let forwards = forwards.iter().map(|(k, v)| ((*k).to_owned(), *v));
        RuleFacts {
            arn: arn.to_owned(),
            priority,
            forwards: forwards.collect(),
            tags: BTreeMap::new(),
        }
    }

    fn tagged(mut rule: RuleFacts, role: &str) -> RuleFacts {
        let pairs = [(intent::STACK, "web"), (intent::ROLE, role)];
        rule.tags = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        rule
    }

    #[test]
    fn rules_are_known_by_their_tags_and_one_without_them_by_what_it_does() {
        let own = rule("own", Some(50_000), &[("tb", 100), ("tg", 0)]);
        let default = rule("default", None, &[]);
        let other = rule("other", Some(1), &[("else", 1)]);
        let ours = rule("ours", Some(49_999), &[("tb", 0), ("tg", 100)]);
        let smoke = tagged(rule("smoke", Some(2), &[("tg", 1)]), intent::SMOKE);
        let all = vec![
            default.clone(),
            own.clone(),
            other,
            tagged(ours.clone(), intent::TRAFFIC),
            smoke,
        ];
        let found = Rules::sort("web", &site(), all);
        assert_eq!(found.ours.unwrap().arn, "ours");
        assert_eq!(found.smoke, ["smoke"]);
        assert_eq!(found.own, Some(("own".to_owned(), 50_000)));
        assert_eq!(found.fallback.percent(Colour::Blue), 100);
        assert!(found.foreign.is_empty());
        assert_eq!(found.priorities, [1, 2, 49_999, 50_000].into());

        let found = Rules::sort("web", &site(), vec![default.clone(), ours, own.clone()]);
        let lost = found.ours.unwrap();
        assert_eq!((&*lost.arn, lost.intent), ("ours", None));

        let found = Rules::sort("web", &site(), vec![default, own]);
        assert!(found.ours.is_none() && found.own.is_some());
    }

    #[test]
    fn a_rule_of_ours_that_leads_to_groups_of_before_is_still_ours() {
        let own = rule("own", Some(50_000), &[("tb", 100), ("tg", 0)]);
        for forwards in [[("old-b", 0), ("old-g", 100)], [("tb", 0), ("old-g", 100)]] {
            let ours = rule("ours", Some(49_999), &forwards);
            let ours = tagged(ours, intent::TRAFFIC);
            let found = Rules::sort("web", &site(), vec![own.clone(), ours]);
            let rule = found.ours.unwrap();
            assert_eq!((&*rule.arn, rule.is_astray), ("ours", true));
            assert_eq!(found.own, Some(("own".to_owned(), 50_000)));
            assert!(found.foreign.is_empty());
        }
    }

    #[test]
    fn a_rule_of_others_that_leads_to_one_colour_is_told() {
        let own = rule("own", Some(50_000), &[("tb", 100), ("tg", 0)]);
        let api = rule("api", Some(7), &[("tb", 1)]);
        let found = Rules::sort("web", &site(), vec![own, api]);
        assert_eq!(found.foreign, ["api"]);
    }

    #[test]
    fn a_listener_s_own_action_can_be_the_last() {
        let default = rule("default", None, &[("tb", 0), ("tg", 1)]);
        let found = Rules::sort("web", &site(), vec![default]);
        assert!(found.ours.is_none() && found.own.is_none());
        assert_eq!(found.fallback.percent(Colour::Green), 100);
    }

    #[test]
    fn parameters_of_a_colour_are_those_that_both_have() {
        let pairs = [
            ("ImageIdBlue", "ami-1"),
            ("ImageIdGreen", "ami-2"),
            ("DeepBlue", "x"),
            ("MaxSize", "4"),
        ];
        let all = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let green = of_colour(Colour::Green, &all);
        assert_eq!(green, [("ImageId".to_owned(), "ami-2".to_owned())].into());
    }

    #[test]
    fn a_version_that_is_no_number_is_not_judged() {
        assert!(is_current(Some("2"), Some("2")) && !is_current(Some("1"), Some("2")));
        assert!(is_current(Some("1"), Some("$Latest")) && is_current(None, Some("1")));
    }

    #[test]
    fn an_alarm_is_of_a_colour_where_it_watches_that_alone() {
        let of = |watches: &[&str]| {
            let watches = watches.iter().map(|name| (*name).to_owned());
            let firing = Firing {
                name: "a".to_owned(),
                watches: watches.collect(),
            };
            alarm(&site(), &firing).of
        };
        assert_eq!(of(&["tg"]), Some(Colour::Green));
        assert_eq!(of(&["gb"]), Some(Colour::Blue));
        assert_eq!(of(&["gb", "tb"]), Some(Colour::Blue));
        for both_or_neither in [&["tb", "tg"][..], &[], &["another"]] {
            assert_eq!(of(both_or_neither), None);
        }
    }

    #[test]
    fn a_missing_output_is_named() {
        assert_eq!(Site::read(&BTreeMap::new()), Err("Listener".to_owned()));
    }
}
