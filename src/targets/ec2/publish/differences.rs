//! What a manifest wants and what the account has, compared. Nothing is called here.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use time::{Duration, OffsetDateTime};

use super::seen::{ImageSeen, ParameterSeen, RegionSeen, Seen, SnapshotSeen, TemplateSeen};
use super::wish::Wish;
use crate::manifest::{Deprecation, Grant, Protection};
use crate::run::rfc3339;
use crate::targets::ec2::tags;

/// Something in one region that is not as the manifest wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) region: String,
    pub(crate) change: Change,
}

/// What mends a difference, in the order in which that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The region has no copy; all else is seen when it has.
    Copy,
    /// Things lack these tags, or have others.
    Tag {
        ids: Vec<String>,
        tags: BTreeMap<String, String>,
    },
    /// Others may launch the image than should.
    Share {
        image: String,
        add: Vec<Grant>,
        remove: Vec<Grant>,
    },
    /// Others may make volumes of a snapshot than should.
    ShareSnapshot {
        snapshot: String,
        add: Vec<Grant>,
        remove: Vec<Grant>,
    },
    SetParameter {
        name: String,
        image: String,
        before: Option<ParameterSeen>,
    },
    AddTemplateVersion {
        template: TemplateSeen,
        image: String,
        set_default: bool,
    },
    /// A version that has the image is not the default one.
    SetDefaultVersion {
        template: TemplateSeen,
        version: i64,
    },
    /// Things do not say that they are there to stay.
    Release {
        ids: Vec<String>,
    },
    /// The image is described as one that is not released.
    Describe {
        image: String,
        description: String,
    },
    Deprecate {
        image: String,
        at: OffsetDateTime,
    },
    Protect {
        image: String,
        protection: Protection,
    },
}

impl Change {
    /// Returns whether somebody outside may act on it: it is taken back where publishing fails.
    pub(crate) fn is_outward(&self) -> bool {
        match self {
            Self::Share { .. }
            | Self::ShareSnapshot { .. }
            | Self::SetParameter { .. }
            | Self::AddTemplateVersion { .. }
            | Self::SetDefaultVersion { .. } => true,
            Self::Copy
            | Self::Tag { .. }
            | Self::Release { .. }
            | Self::Describe { .. }
            | Self::Deprecate { .. }
            | Self::Protect { .. } => false,
        }
    }

    /// Returns whether something names another image so far, which somebody may have wanted.
    pub(crate) fn names_another(&self) -> bool {
        match self {
            Self::SetParameter { before, .. } => before.is_some(),
            Self::AddTemplateVersion { .. } | Self::SetDefaultVersion { .. } => true,
            Self::Copy
            | Self::Tag { .. }
            | Self::Share { .. }
            | Self::ShareSnapshot { .. }
            | Self::Release { .. }
            | Self::Describe { .. }
            | Self::Deprecate { .. }
            | Self::Protect { .. } => false,
        }
    }

    /// Returns whether it comes when the image is released, and cannot be taken back at once.
    pub(crate) fn comes_after(&self) -> bool {
        matches!(self, Self::Deprecate { .. } | Self::Protect { .. })
    }
}

/// Returns what is to be done in each region that could be looked at: regions in the manifest's
/// order, and the calls of each in theirs.
pub(crate) fn differences(wish: &Wish, seen: &Seen) -> Vec<Difference> {
    let mut found = Vec::new();
    for region in wish.regions() {
        let Some(Ok(there)) = seen.regions.get(region) else {
            continue;
        };
        let changes = changes(wish, region, there, seen);
        found.extend(changes.into_iter().map(|change| Difference {
            region: region.to_owned(),
            change,
        }));
    }
    found
}

/// Returns what is left as it is, since it names an image of a later build: each in words.
pub(crate) fn overtaken(wish: &Wish, seen: &Seen) -> Vec<String> {
    let mut told = Vec::new();
    for (region, there) in &seen.regions {
        let Ok(there) = there else { continue };
        let parameter = there.parameter.as_ref().and_then(|p| p.later.as_ref());
        let name = wish.parameter.as_deref().unwrap_or_default();
        told.extend(
            parameter.map(|image| left_to(&format!("the parameter {name}"), region, image)),
        );
        let template = there.template.as_ref();
        let later = template.and_then(|t| Some((&t.id, t.later.as_ref()?)));
        told.extend(
            later.map(|(id, image)| left_to(&format!("launch template {id}"), region, image)),
        );
    }
    told
}

/// Returns that something stays with the image that it has.
pub(super) fn left_to(what: &str, region: &str, image: &str) -> String {
    format!(
        "{what} in {region} stays with {image}: the build that put it there began later than this image's; `amibake publish` changes it"
    )
}

fn changes(wish: &Wish, region: &str, there: &RegionSeen, seen: &Seen) -> Vec<Change> {
    let Some(image) = &there.image else {
        return vec![Change::Copy];
    };
    let mut changes = Vec::new();
    let tags = wanted_tags(wish, image);
    changes.extend(untagged(&tags, image).map(|ids| Change::Tag { ids, tags }));
    changes.extend(unshared(wish, image));
    changes.extend(parameter(wish, there, image));
    changes.extend(template(wish, region, there, image));
    changes.extend(untagged(&tags::of_released(), image).map(|ids| Change::Release { ids }));
    changes.extend(description(image));
    changes.extend(deprecation(wish, image, seen));
    changes.extend(protection(wish, image));
    changes
}

/// What `wish` says of an image that others act on, by the manifest's keys, as the image's tag remembers it: what is
/// named is part of the word. `None` is silence; taken back is the same as never said.
fn outward(wish: &Wish) -> [(&'static str, Option<Vec<String>>); 4] {
    let template = wish.template.as_ref();
    let template = template.map(|wanted| vec![format!("launch_template={}", wanted.template)]);
    let regions = wish.elsewhere.iter();
    let regions = regions.map(|region| format!("regions={region}"));
    let share = wish
        .share
        .as_ref()
        .map(|share| match share.with.is_empty() {
            true => Vec::new(),
            false => vec!["share".to_owned()],
        });
    let parameter = wish.parameter.as_ref();
    let parameter = parameter.map(|name| vec![format!("ssm_parameter={name}")]);
    [
        ("launch_template", template),
        ("regions", Some(regions.collect())),
        ("share", share),
        ("ssm_parameter", parameter),
    ]
}

/// Returns a key of the manifest, and what it named.
fn parts(word: &str) -> (&str, Option<&str>) {
    match word.split_once('=') {
        Some((key, name)) => (key, Some(name)),
        None => (word, None),
    }
}

/// Returns what was done for an image that the manifest says no more, as its tag has it.
fn left<'i>(wish: &Wish, image: &'i ImageSeen) -> Vec<&'i str> {
    let before = image.tags.get(tags::PUBLISHES);
    let outward = outward(wish);
    let is_left = |word: &&str| {
        let (key, name) = parts(word);
        let said = outward.iter().find(|(known, _)| *known == key);
        said.is_some_and(|(_, now)| match now {
            None => true,
            // A word without a name was written before names were, and shares are taken back.
            Some(now) => name.is_some() && !now.iter().any(|now| now == word),
        })
    };
    let words = before.map_or("", String::as_str).split(' ');
    words.filter(is_left).collect()
}

/// Returns the tags that an image is to have: those that it is picked by, and what was done for it that others
/// act on. The manifest may be silent of that later, or name something else.
fn wanted_tags(wish: &Wish, image: &ImageSeen) -> BTreeMap<String, String> {
    let mut tags = wish.tags.clone();
    let now = outward(wish).into_iter().filter_map(|(_, now)| now);
    let mut words: BTreeSet<String> = now.flatten().collect();
    words.extend(left(wish, image).into_iter().map(str::to_owned));
    if image.tags.contains_key(tags::PUBLISHES) || !words.is_empty() {
        tags.insert(tags::PUBLISHES.to_owned(), remembered(&words));
    }
    tags
}

/// Returns words as a tag's value: without what they name, where that is too long for one.
fn remembered(words: &BTreeSet<String>) -> String {
    let all = words.iter().map(String::as_str).collect::<Vec<_>>();
    match all.join(" ") {
        none if none.is_empty() => "nothing".to_owned(),
        all if all.chars().count() <= tags::LONGEST_TAG => all,
        _ => {
            let keys: BTreeSet<&str> = all.iter().map(|word| parts(word).0).collect();
            keys.into_iter().collect::<Vec<_>>().join(" ")
        }
    }
}

/// Returns what was done for an image by a manifest that does not say it now: each in words.
pub(crate) fn forgotten(wish: &Wish, seen: &Seen) -> Vec<String> {
    let mut told = Vec::new();
    for (region, there) in &seen.regions {
        let image = there.as_ref().ok().and_then(|there| there.image.as_ref());
        let Some(image) = image else { continue };
        let is_told = |word: &&str| match parts(word) {
            ("regions", _) => *region == wish.home,
            // By an id it was in the image's own region.
            ("launch_template", Some(name)) => *region == wish.home || !name.starts_with("lt-"),
            _ => true,
        };
        told.extend(left(wish, image).into_iter().filter(is_told).map(|word| {
            let what = word.replacen('=', ": ", 1);
            let back = match word {
                "share" => "`share: {}` takes it back",
                _ => "nothing takes that back by itself",
            };
            format!(
                "the manifest no longer has `image.{what}`, and what it said before stays for {} in {region}: {back}",
                image.id
            )
        }));
    }
    told
}

/// Returns what cannot be done any more, since its time is over: each in words.
pub(crate) fn too_late(wish: &Wish, seen: &Seen) -> Vec<String> {
    let mut told = Vec::new();
    for (region, there) in &seen.regions {
        let image = there.as_ref().ok().and_then(|there| there.image.as_ref());
        let Some(image) = image else { continue };
        let when = deprecated_at(wish, image, seen);
        told.extend(when.filter(|at| !is_to_come(*at, seen)).map(|at| {
            format!(
                "image.deprecate_after is over for {} in {region} ({}), and EC2 takes no such date: it is left as it is",
                image.id,
                rfc3339(at)
            )
        }));
    }
    told
}

/// Returns which of an image and its snapshots lack one of the tags.
fn untagged(wanted: &BTreeMap<String, String>, image: &ImageSeen) -> Option<Vec<String>> {
    let lacks = |has: &BTreeMap<String, String>| wanted.iter().any(|(k, v)| has.get(k) != Some(v));
    let whole = std::iter::once((&image.id, &image.tags));
    let parts = image.snapshots.iter().map(|s| (&s.id, &s.tags));
    let lacking = whole.chain(parts).filter(|(_, has)| lacks(has));
    let ids: Vec<String> = lacking.map(|(id, _)| id.clone()).collect();
    (!ids.is_empty()).then_some(ids)
}

/// Returns who is to be let in and who is not any more.
fn unshared(wish: &Wish, image: &ImageSeen) -> Vec<Change> {
    let Some(share) = &wish.share else {
        return Vec::new();
    };
    let wanted: BTreeSet<Grant> = share.with.iter().cloned().collect();
    let mut changes = Vec::new();
    if let Some((add, remove)) = apart(&wanted, &image.grants) {
        let image = image.id.clone();
        changes.push(Change::Share { image, add, remove });
    }
    let of_snapshots =
        |grant: &Grant| share.snapshots && matches!(grant, Grant::Account(_) | Grant::Everybody);
    let wanted: BTreeSet<Grant> = wanted.into_iter().filter(of_snapshots).collect();
    for SnapshotSeen { id, grants, .. } in &image.snapshots {
        if let Some((add, remove)) = apart(&wanted, grants) {
            let snapshot = id.clone();
            changes.push(Change::ShareSnapshot {
                snapshot,
                add,
                remove,
            });
        }
    }
    changes
}

fn apart(wanted: &BTreeSet<Grant>, has: &BTreeSet<Grant>) -> Option<(Vec<Grant>, Vec<Grant>)> {
    let add = wanted.difference(has).cloned().collect();
    let remove = has.difference(wanted).cloned().collect();
    (wanted != has).then_some((add, remove))
}

fn parameter(wish: &Wish, there: &RegionSeen, image: &ImageSeen) -> Option<Change> {
    let name = wish.parameter.clone()?;
    let before = there.parameter.clone();
    let is_left = |p: &ParameterSeen| p.value == image.id || p.later.is_some();
    let is_set = before.as_ref().is_some_and(is_left);
    (!is_set).then(|| Change::SetParameter {
        name,
        image: image.id.clone(),
        before,
    })
}

fn template(wish: &Wish, region: &str, there: &RegionSeen, image: &ImageSeen) -> Option<Change> {
    let set_default = wish.template_in(region)?.set_default;
    let template = there.template.clone().filter(|t| t.later.is_none())?;
    let (has_latest, has_default) = (
        template.latest.image == image.id,
        template.default.image == image.id,
    );
    match (set_default, has_latest, has_default) {
        (true, _, true) | (false, true, _) => None,
        (true, true, false) => Some(Change::SetDefaultVersion {
            version: template.latest.number,
            template,
        }),
        (_, false, _) => Some(Change::AddTemplateVersion {
            template,
            image: image.id.clone(),
            set_default,
        }),
    }
}

/// An image of ours says in its description that it is not released, until it is.
fn description(image: &ImageSeen) -> Option<Change> {
    let run = tags::run_in(&image.description)?;
    let description = tags::without_run(&image.description, &run)?;
    Some(Change::Describe {
        image: image.id.clone(),
        description,
    })
}

/// EC2 takes no date that is over: an image that old is as it is.
fn deprecation(wish: &Wish, image: &ImageSeen, seen: &Seen) -> Option<Change> {
    let at = deprecated_at(wish, image, seen)?;
    is_to_come(at, seen).then(|| Change::Deprecate {
        image: image.id.clone(),
        at,
    })
}

/// Returns when an image is to be deprecated, unless it is so already. EC2 goes by whole minutes.
fn deprecated_at(wish: &Wish, image: &ImageSeen, seen: &Seen) -> Option<OffsetDateTime> {
    let at = match wish.deprecation? {
        Deprecation::At(at) => at,
        Deprecation::After(time) => seen.made + time,
    };
    let minute = |moment: OffsetDateTime| moment.unix_timestamp().div_euclid(60);
    let is_set = image.deprecated.is_some_and(|is| minute(is) == minute(at));
    (!is_set).then_some(at)
}

fn is_to_come(at: OffsetDateTime, seen: &Seen) -> bool {
    at > seen.at + Duration::minutes(2)
}

/// What is protected for longer than it is wanted stays so: taking that away takes a day.
fn protection(wish: &Wish, image: &ImageSeen) -> Option<Change> {
    let wanted = wish.protection?;
    let has = image.protection.unwrap_or(Protection::Off);
    let is_so = match (wanted, has) {
        (Protection::On, Protection::On | Protection::WithCooldown)
        | (Protection::WithCooldown, Protection::WithCooldown)
        | (Protection::Off, Protection::Off) => true,
        (Protection::On | Protection::WithCooldown | Protection::Off, _) => false,
    };
    (!is_so).then(|| Change::Protect {
        image: image.id.clone(),
        protection: wanted,
    })
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.region, self.change)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy => f.write_str("copy the image"),
            Self::Tag { ids, tags } => {
                let keys: Vec<&str> = tags.keys().map(String::as_str).collect();
                write!(f, "tag {} ({})", ids.join(", "), keys.join(", "))
            }
            Self::Share { image, add, remove } => write!(f, "{}", shared(image, add, remove)),
            Self::ShareSnapshot {
                snapshot,
                add,
                remove,
            } => write!(f, "{}", shared(snapshot, add, remove)),
            Self::SetParameter {
                name,
                image,
                before,
            } => match before {
                Some(before) => write!(f, "set {name} from {} to {image}", before.value),
                None => write!(f, "make the parameter {name} with {image}"),
            },
            Self::AddTemplateVersion {
                template,
                image,
                set_default,
            } => {
                let default = if *set_default {
                    ", the default one"
                } else {
                    ""
                };
                write!(f, "add a version to {} with {image}{default}", template.id)
            }
            Self::SetDefaultVersion { template, version } => {
                write!(f, "make version {version} the default of {}", template.id)
            }
            Self::Release { ids } => write!(f, "release {}", ids.join(", ")),
            Self::Describe { image, description } => {
                write!(f, "describe {image} as {description:?}")
            }
            Self::Deprecate { image, at } => write!(f, "deprecate {image} at {}", rfc3339(*at)),
            Self::Protect { image, protection } => match protection {
                Protection::On => write!(f, "protect {image} from being deregistered"),
                Protection::WithCooldown => {
                    write!(
                        f,
                        "protect {image} from being deregistered, with a cooldown"
                    )
                }
                Protection::Off => write!(f, "let {image} be deregistered"),
            },
        }
    }
}

fn shared(thing: &str, add: &[Grant], remove: &[Grant]) -> String {
    let list = |grants: &[Grant]| {
        let grants: Vec<String> = grants.iter().map(ToString::to_string).collect();
        grants.join(", ")
    };
    let added = (!add.is_empty()).then(|| format!("share {thing} with {}", list(add)));
    let removed =
        (!remove.is_empty()).then(|| format!("no longer share {thing} with {}", list(remove)));
    let both: Vec<String> = added.into_iter().chain(removed).collect();
    both.join("; ")
}

#[cfg(test)]
mod tests;
