//! What a stack's parameters come to before its rollout, and what is launched by them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::Described;
use super::parameters::Sorted;
use super::rollout::{Act, Colour, Foreseen, Roll};
use super::template::{COLOURS, IMAGE};

/// Instance types of which one launches the image: which, is not known where a template of the user's own has its own way.
#[derive(Debug, Default)]
pub(super) struct Types(BTreeSet<String>);

impl Types {
    pub(super) fn of(name: Option<String>) -> Self {
        Self(name.into_iter().collect())
    }

    /// Returns those of both colours.
    pub(super) fn of_colours(values: &BTreeMap<String, String>) -> Self {
        let names = COLOURS.map(|colour| format!("InstanceType{colour}"));
        let known = names.iter().filter_map(|name| values.get(name).cloned());
        Self(known.collect())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// What is launched for a deploy.
#[derive(Debug)]
pub(super) struct Launched {
    pub(super) types: Types,
    pub(super) image: Option<String>,
}

impl Launched {
    /// Returns what the colour has that a rollout brings up: what is given, and else what the colour has that serves.
    pub(super) fn of(
        foreseen: &Foreseen,
        has_other_template: bool,
        values: &BTreeMap<String, String>,
        sorted: &Sorted,
    ) -> Option<Self> {
        let base = match &foreseen.act {
            Act::Roll(roll) => Some(roll.from.unwrap_or(roll.to)),
            Act::Unknown => None,
            // Another template launches all anew, or may.
            Act::Nothing | Act::Finish(_) if has_other_template => {
                foreseen.live.as_ref().map(|(live, _)| *live)
            }
            Act::Nothing | Act::Finish(_) => return None,
        };
        let Some(base) = base else {
            let mut values = values.clone();
            values.extend(sorted.for_both());
            return Some(Self {
                types: Types::of_colours(&values),
                image: None,
            });
        };
        let has = |name: &str| {
            let given = sorted.of_colour.get(name);
            given
                .or_else(|| values.get(&format!("{name}{}", base.suffix())))
                .cloned()
        };
        Some(Self {
            types: Types::of(has("InstanceType")),
            image: has(IMAGE),
        })
    }
}

pub(super) fn defaults(declared: BTreeMap<String, Option<String>>) -> BTreeMap<String, String> {
    let all = declared.into_iter();
    all.filter_map(|(name, default)| Some((name, default?)))
        .collect()
}

/// Returns the parameters of a stack as they will be before its rollout.
pub(super) fn values_ahead(
    stack: &Described,
    declared: Option<BTreeMap<String, Option<String>>>,
    sorted: &Sorted,
) -> BTreeMap<String, String> {
    let kept = stack.parameters.clone().into_iter();
    let mut values: BTreeMap<String, String> = match declared {
        None => kept.collect(),
        Some(declared) => {
            let kept: Vec<_> = kept
                .filter(|(name, _)| declared.contains_key(name))
                .collect();
            let mut values = defaults(declared);
            values.extend(kept);
            values
        }
    };
    values.extend(sorted.shared.clone());
    values
}

/// Returns the rollout of a stack that is not there yet.
pub(super) fn first_roll(values: &BTreeMap<String, String>) -> Roll {
    let size = |name: &str| number(values.get(name));
    let min = size("MinSize").unwrap_or(1).max(1);
    Roll {
        to: Colour::Blue,
        from: None,
        size: min,
        max: size("MaxSize").unwrap_or(min),
        suspends: true,
        parameters: BTreeMap::new(),
    }
}

pub(super) fn number(text: Option<&String>) -> Option<u32> {
    text?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        all.iter().map(pair).collect()
    }

    fn rolls(to: Colour, from: Option<Colour>) -> Foreseen {
        Foreseen::of(Act::Roll(Roll {
            to,
            from,
            ..first_roll(&BTreeMap::new())
        }))
    }

    #[test]
    fn what_is_launched_is_what_is_given_or_else_what_serves_has() {
        let values = pairs(&[
            ("InstanceTypeBlue", "t3.small"),
            ("InstanceTypeGreen", "m6g.large"),
            ("ImageIdBlue", "ami-1"),
            ("ImageIdGreen", "ami-2"),
        ]);
        let of = |foreseen: &Foreseen, given: &[(&str, &str)]| {
            let sorted = Sorted {
                of_colour: pairs(given),
                ..Sorted::default()
            };
            let launched = Launched::of(foreseen, false, &values, &sorted);
            launched.map(|one| (one.types.names(), one.image))
        };
        let some = |names: &[&str], image: Option<&str>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            Some((names, image.map(str::to_owned)))
        };
        let over = rolls(Colour::Green, Some(Colour::Blue));
        assert_eq!(of(&over, &[]), some(&["t3.small"], Some("ami-1")));
        let given = [("InstanceType", "t3.large"), ("ImageId", "ami-3")];
        assert_eq!(of(&over, &given), some(&["t3.large"], Some("ami-3")));
        let first = rolls(Colour::Green, None);
        assert_eq!(of(&first, &[]), some(&["m6g.large"], Some("ami-2")));
        assert_eq!(of(&Foreseen::of(Act::Nothing), &[]), None);
        let unknown = Foreseen::of(Act::Unknown);
        assert_eq!(of(&unknown, &[]), some(&["m6g.large", "t3.small"], None));
    }
}
