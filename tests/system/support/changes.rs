//! What a play changed on a machine, short enough to be kept in a recording.

use std::collections::BTreeMap;

use super::inventory::{Aspects, IgnoreList, Inventory, sha256};

/// A folder in which more than this changed is told by a digest: a package has hundreds of files.
const TOLD_ONE_BY_ONE: usize = 30;

/// Lists what is new on a machine, different or gone, as an inventory of its own; less what the lists cover.
pub(crate) fn changes(
    before: &Inventory,
    after: &Inventory,
    ignored: [&IgnoreList; 2],
) -> Inventory {
    let covers = |subject: &str, aspect: &str| ignored.iter().any(|l| l.covers(subject, aspect));
    let mut found = BTreeMap::new();
    for (subject, aspects) in after.subjects() {
        let known = before.subjects().get(subject);
        if known.is_none() && covers(subject, "existence") {
            continue;
        }
        let mut changed = of_aspects(known.unwrap_or(&Aspects::new()), aspects);
        changed.retain(|aspect, _| !covers(subject, aspect));
        if !changed.is_empty() {
            found.insert(subject.clone(), changed);
        }
    }
    let gone = before.subjects().keys();
    for subject in gone.filter(|subject| !after.subjects().contains_key(*subject)) {
        if !covers(subject, "existence") {
            found.insert(subject.clone(), one("existence", "gone"));
        }
    }
    folded(found)
}

fn of_aspects(before: &Aspects, after: &Aspects) -> Aspects {
    let mut changed = after.clone();
    changed.retain(|aspect, value| before.get(aspect) != Some(value));
    let went = before.keys().filter(|aspect| !after.contains_key(*aspect));
    changed.extend(went.map(|aspect| (aspect.clone(), "nothing".to_owned())));
    changed
}

fn one(aspect: &str, value: impl Into<String>) -> Aspects {
    Aspects::from([(aspect.to_owned(), value.into())])
}

/// Puts a digest in place of the files of a folder, two levels deep, where they are many.
fn folded(changes: BTreeMap<String, Aspects>) -> Inventory {
    let mut by_place: BTreeMap<String, BTreeMap<String, Aspects>> = BTreeMap::new();
    for (subject, aspects) in changes {
        by_place
            .entry(place(&subject))
            .or_default()
            .insert(subject, aspects);
    }
    let short = |(place, changes): (String, BTreeMap<String, Aspects>)| {
        if !place.starts_with("file ") || changes.len() <= TOLD_ONE_BY_ONE {
            return changes;
        }
        let told = format!(
            "{} changes, {}",
            changes.len(),
            sha256(format!("{changes:?}").as_bytes())
        );
        BTreeMap::from([(
            format!("files below {}", &place["file ".len()..]),
            one("digest", told),
        )])
    };
    Inventory::from_subjects(by_place.into_iter().flat_map(short).collect())
}

/// `file /usr/share` for `file /usr/share/doc/git/README`; other kinds of subjects have one place each.
fn place(subject: &str) -> String {
    let parts: Vec<&str> = subject.split('/').collect();
    parts[..parts.len().min(3)].join("/")
}
