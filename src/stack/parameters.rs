//! What a deploy gives to a stack: what belongs to a colour, and what to both. Pure.

use std::collections::BTreeMap;

use super::Described;
use super::template::{COLOURS, IMAGE, Template, per_colour};
use crate::targets::TargetError;

/// The device that the image's root is on; it is the image's to say.
const ROOT_DEVICE: &str = "RootDeviceName";

/// How like another a name is that was meant to be that, by Jaro and Winkler.
const ALIKE: f64 = 0.8;

/// What is asked of a deploy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Its id and its root device; `None` keeps the image that is live.
    pub(super) image: Option<(&'a str, Option<&'a str>)>,
    /// As they are typed: those of a colour without its name.
    pub(super) parameters: &'a BTreeMap<String, String>,
}

/// Parameters, sorted by whose they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sorted {
    /// By their names without the colour: a rollout sets them on the idle one.
    pub(super) of_colour: BTreeMap<String, String>,
    /// Of these, a stack that is there already has other values.
    pub(super) shared: BTreeMap<String, String>,
    /// What could not be looked at for want of a permission, and is gone on without: a sentence each.
    pub(super) unseen: Vec<String>,
}

impl Asked<'_> {
    /// Sorts what is given by the parameters that there are.
    ///
    /// # Errors
    /// A parameter that is not there, or is named with its colour, or is not for `--param`.
    pub(super) fn sorted<'n>(
        &self,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<Sorted, TargetError> {
        let colours = per_colour(names.clone());
        let mut sorted = Sorted::default();
        for (name, value) in self.parameters {
            let (name, value) = (name.clone(), value.clone());
            if colours.contains(&&*name) && name != IMAGE {
                sorted.of_colour.insert(name, value);
                continue;
            }
            match misplaced(&name, &colours, names.clone()) {
                Some(error) => return Err(error),
                None => _ = sorted.shared.insert(name, value),
            }
        }
        if let Some((image, device)) = self.image {
            sorted.of_colour.insert(IMAGE.to_owned(), image.to_owned());
            if let Some(device) = device.filter(|_| colours.contains(&ROOT_DEVICE)) {
                let own = sorted.of_colour.entry(ROOT_DEVICE.to_owned());
                own.or_insert_with(|| device.to_owned());
            }
        }
        Ok(sorted)
    }
}

impl Sorted {
    /// Leaves out what a stack has already.
    pub(super) fn unlike(mut self, stack: &Described) -> Self {
        self.shared
            .retain(|name, value| stack.parameters.get(name) != Some(value));
        self
    }

    /// Returns all of it with the names of the colours, for a stack that is to be made: both have the same image at first.
    pub(super) fn for_both(&self) -> BTreeMap<String, String> {
        let of = |colour: &'static str| {
            let pairs = self.of_colour.iter();
            pairs.map(move |(name, value)| (format!("{name}{colour}"), value.clone()))
        };
        let mut all = self.shared.clone();
        all.extend(COLOURS.into_iter().flat_map(of));
        all
    }
}

/// Returns what a new stack needs and nobody has given.
pub(super) fn without_value(
    template: &Template,
    given: &BTreeMap<String, String>,
) -> Option<TargetError> {
    let declared = template.parameters();
    let lacks = |(name, default): &(&String, &Option<String>)| {
        default.is_none() && !given.contains_key(*name)
    };
    let missing: Vec<&str> = declared
        .iter()
        .filter(lacks)
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        return None;
    }
    let error = TargetError::manifest(format!(
        "a new stack needs a value for {}",
        missing.join(", ")
    ));
    Some(match missing.contains(&"CertificateArn") {
        true => error.with_hint(
            "`amibake cert` makes a certificate and prints its ARN: --param CertificateArn=…",
        ),
        false => error.with_hint("give it by --param NAME=VALUE"),
    })
}

fn misplaced<'n>(
    name: &str,
    colours: &[&'n str],
    names: impl Iterator<Item = &'n str> + Clone,
) -> Option<TargetError> {
    let stem = COLOURS.iter().find_map(|colour| name.strip_suffix(colour));
    if name == IMAGE || stem == Some(IMAGE) {
        let error = TargetError::manifest(format!("the image is not given by --param {name}"));
        return Some(error.with_hint("--ami names it"));
    }
    if let Some(stem) = stem.filter(|stem| colours.contains(stem)) {
        let error = TargetError::manifest(format!(
            "{name} is one colour's, and which one is idle is not the caller's to know"
        ));
        return Some(error.with_hint(format!(
            "--param {stem}=… sets it on the colour that the deploy brings up"
        )));
    }
    if names.clone().any(|known| known == name) {
        return None;
    }
    let error = TargetError::manifest(format!("the template has no parameter {name}"));
    let is_one_colours = |name: &str| {
        let mut stems = COLOURS
            .iter()
            .filter_map(|colour| name.strip_suffix(colour));
        stems.any(|stem| colours.contains(&stem))
    };
    let of_both = names.filter(|name| !is_one_colours(name));
    let stems = colours.iter().copied().filter(|stem| *stem != IMAGE);
    let known: Vec<&str> = of_both.chain(stems).collect();
    let near = |known: &str| strsim::jaro_winkler(known, name);
    let alike = known.iter().filter(|known| near(known) > ALIKE);
    Some(match alike.max_by(|a, b| near(a).total_cmp(&near(b))) {
        Some(nearest) => error.with_hint(format!("did you mean {nearest}?")),
        None => error.with_hint(format!("it has {}", known.join(", "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        all.iter().map(pair).collect()
    }

    fn sorted(given: &[(&str, &str)], image: Option<&str>) -> Result<Sorted, TargetError> {
        let web = Template::web().parameters();
        let asked = Asked {
            image: image.map(|image| (image, Some("/dev/xvda"))),
            parameters: &pairs(given),
        };
        asked.sorted(web.keys().map(String::as_str))
    }

    #[test]
    fn what_belongs_to_a_colour_is_named_without_it_and_the_image_says_its_root_device() {
        let given = [("InstanceType", "t3.large"), ("MaxSize", "6")];
        let all = sorted(&given, Some("ami-2")).unwrap();
        assert_eq!(all.shared, pairs(&[("MaxSize", "6")]));
        let of_colour = [
            ("ImageId", "ami-2"),
            ("InstanceType", "t3.large"),
            ("RootDeviceName", "/dev/xvda"),
        ];
        assert_eq!(all.of_colour, pairs(&of_colour));
        assert_eq!(all.for_both()["RootDeviceNameGreen"], "/dev/xvda");
        assert_eq!(all.for_both().len(), 7);
        let own = sorted(&[("RootDeviceName", "/dev/sda1")], Some("ami-2")).unwrap();
        assert_eq!(own.of_colour["RootDeviceName"], "/dev/sda1");
        assert_eq!(sorted(&[], None).unwrap(), Sorted::default());
    }

    #[test]
    fn what_is_not_the_caller_s_to_give_is_refused_with_what_is() {
        let refused = |name| sorted(&[(name, "x")], None).unwrap_err().on_one_line();
        assert!(refused("ImageId").contains("hint: --ami names it"));
        assert!(refused("ImageIdGreen").contains("hint: --ami names it"));
        assert!(refused("InstanceTypeGreen").contains("--param InstanceType=…"));
        assert!(refused("MaxSze").contains("no parameter MaxSze (hint: did you mean MaxSize?)"));
        assert!(refused("Nope").contains("no parameter Nope (hint: it has "));
    }

    #[test]
    fn a_new_stack_needs_what_has_no_default_and_one_that_is_there_only_what_differs() {
        let web = Template::web();
        let all = sorted(&[], Some("ami-2")).unwrap();
        let error = without_value(&web, &all.for_both()).unwrap().on_one_line();
        assert!(
            error.contains("needs a value for CertificateArn (hint: `amibake cert`"),
            "{error}"
        );
        let all = sorted(
            &[("CertificateArn", "arn"), ("MaxSize", "4")],
            Some("ami-2"),
        )
        .unwrap();
        assert!(without_value(&web, &all.for_both()).is_none());
        let stack = Described {
            parameters: pairs(&[("CertificateArn", "arn"), ("MaxSize", "3")]),
            ..Described::default()
        };
        assert_eq!(all.unlike(&stack).shared, pairs(&[("MaxSize", "4")]));
    }
}
