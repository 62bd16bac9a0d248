//! Which inputs changed since an image was made: what its tag says, against what they are now.

use std::collections::BTreeMap;

use serde::Serialize;

use super::content::{Inputs, SHORT, folded};

/// An input that is another than it was, or was not there, or is there no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// As the tag names it.
    pub(crate) input: String,
    /// In words.
    pub(crate) what: String,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum How {
    Changed,
    Added,
    Removed,
}

impl How {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Added => "is new",
            Self::Removed => "is gone",
        }
    }
}

/// Returns what changed since an image was tagged so. A tag is anybody's to write: this explains, and
/// decides nothing.
pub(crate) fn changes(tag: &str, now: &Inputs) -> Vec<Change> {
    let fields = tag.split_whitespace();
    let mut before: BTreeMap<&str, &str> = fields.filter_map(|f| f.split_once('=')).collect();
    let mut found = Vec::new();
    let mut rest: Vec<_> = now.digests().collect();
    while let Some((input, digest)) = rest.first().copied() {
        let name = input.to_string();
        let (how, what) = if let Some(was) = before.remove(name.as_str()) {
            let same = was == &digest.as_str()[..SHORT];
            ((!same).then_some(How::Changed), now.words(input))
        } else if let Some(was) = before.remove(format!("{name}+").as_str()) {
            let same = folded(&rest).ends_with(was);
            rest.truncate(1);
            (
                (!same).then_some(How::Changed),
                format!("{}, or one after it", now.words(input)),
            )
        } else {
            (Some(How::Added), now.words(input))
        };
        found.extend(how.map(|how| Change {
            input: name,
            what,
            how,
        }));
        rest.remove(0);
    }
    found.extend(before.into_keys().map(|name| Change {
        input: name.to_owned(),
        what: gone(name),
        how: How::Removed,
    }));
    found
}

/// Returns in words what is no input now.
fn gone(name: &str) -> String {
    match name.trim_end_matches('+').parse::<usize>() {
        Ok(number) => format!("step {number} of provision"),
        Err(_) => format!("the input `{name}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Input;
    use amibake_protocol::bundle::Hash;

    fn inputs(steps: &[&str]) -> Inputs {
        let mut inputs = Inputs {
            steps: steps.iter().map(|what| format!("role {what}")).collect(),
            ..Inputs::default()
        };
        inputs.set(Input::Engine, Hash::of(b"engine"));
        for (number, what) in (1..).zip(steps) {
            inputs.set(Input::Step(number), Hash::of(what.as_bytes()));
        }
        inputs
    }

    fn told(tag: &str, now: &Inputs) -> Vec<String> {
        let changes = changes(tag, now).into_iter();
        changes
            .map(|c| format!("{} {}", c.what, c.how.word()))
            .collect()
    }

    #[test]
    fn the_input_that_changed_is_named() {
        let before = inputs(&["a", "b"]).tag();
        assert_eq!(told(&before, &inputs(&["a", "b"])), [""; 0]);
        assert_eq!(
            told(&before, &inputs(&["a", "c"])),
            ["step 2 of provision (role c) changed"]
        );
        assert_eq!(
            told(&before, &inputs(&["a", "b", "c"])),
            ["step 3 of provision (role c) is new"]
        );
        assert_eq!(
            told(&before, &inputs(&["a"])),
            ["step 2 of provision is gone"]
        );
    }

    #[test]
    fn of_many_steps_the_last_ones_change_together() {
        let names: Vec<String> = (0..60).map(|n| n.to_string()).collect();
        let mut steps: Vec<&str> = names.iter().map(String::as_str).collect();
        let before = inputs(&steps).tag();
        assert!(before.contains("+="), "{before}");
        assert_eq!(told(&before, &inputs(&steps)), [""; 0]);
        steps[59] = "other";
        let told = told(&before, &inputs(&steps));
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with("or one after it changed"), "{told:?}");
    }

    #[test]
    fn a_tag_that_says_nothing_makes_everything_new() {
        assert_eq!(changes("forged = nonsense", &inputs(&["a"])).len(), 3);
    }
}
