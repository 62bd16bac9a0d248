//! What puts a file, a link, a tree in its place. Pure.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Item, Now, Want, What};
use crate::atomic::{How, Validate};
use crate::attrs::{Meta, NewFile, Target};
use crate::change::{Change, Content};
use crate::module::Failure;
use crate::modules::file;
use crate::source::Source;

pub(super) fn all(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    if now.kept {
        return Ok(Vec::new());
    }
    let mut changes = Vec::new();
    let mut made: HashSet<PathBuf> = HashSet::new();
    for item in &now.items {
        match &item.source {
            Source::Link(target) => link(want, item, target, &mut made, &mut changes)?,
            _ => put(want, item, &mut made, &mut changes)?,
        }
    }
    for folder in &now.folders {
        match &folder.old {
            Some(old) => changes.extend(want.folders.plan(old, want.check)?),
            None => folders(
                want,
                &folder.missing,
                folder.parent.as_ref(),
                &mut made,
                &mut changes,
            )?,
        }
    }
    changes.extend(now.remote.iter().cloned());
    for target in &now.owned {
        changes.extend(owner_only(want).plan(target, want.check)?);
    }
    if let Some((top, attributes)) = &now.top {
        changes.extend(attributes.plan(top, want.check)?);
    }
    Ok(changes)
}

fn owner_only(want: &Want) -> crate::attrs::Attributes {
    crate::attrs::Attributes {
        mode: None,
        flags: None,
        ..want.attributes.clone()
    }
}

/// Returns whether the content there is another one. A link that is not followed always is.
pub(super) fn differs(item: &Item) -> bool {
    item.old_checksum.as_ref() != Some(&item.checksum)
}

fn put(
    want: &Want,
    item: &Item,
    made: &mut HashSet<PathBuf>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    if !differs(item) {
        let target = item.old.as_ref();
        let planned = target.map(|target| item.attributes.plan(target, want.check));
        changes.extend(planned.transpose()?.unwrap_or_default());
        return Ok(());
    }
    refuse(want, item)?;
    folders(want, &item.missing, item.parent.as_ref(), made, changes)?;
    let old = item.old.as_ref().filter(|old| !old.meta.is_link());
    if let Some(to) = item.backup_to.clone() {
        let path = item.dest.clone();
        changes.push(Change::Backup { path, to });
    }
    if item.old.as_ref().is_some_and(|old| old.meta.is_link()) {
        changes.push(Change::Remove {
            path: item.dest.clone(),
        });
    }
    changes.push(write(want, item));
    if want.check {
        return Ok(());
    }
    let foreseen = Target {
        path: item.dest.clone(),
        meta: old.map_or_else(
            || Meta::foreseen(NewFile::Regular, item.parent.as_ref()),
            |old| likened(&old.meta, item),
        ),
        flags: String::new(),
    };
    changes.extend(item.attributes.plan(&foreseen, false)?);
    Ok(())
}

/// A file copied on the machine takes its source's mode, and is the copier's.
fn likened(old: &Meta, item: &Item) -> Meta {
    match (&item.like, &item.source) {
        (Some(_), Source::File { mode, .. }) => Meta {
            mode: 0o100_000 | mode,
            ..Meta::foreseen(NewFile::Regular, item.parent.as_ref())
        },
        _ => old.clone(),
    }
}

fn write(want: &Want, item: &Item) -> Change {
    let validate = want.validate.as_ref().map(|command| Validate {
        command: command.clone(),
        as_copy: true,
        checksum: item.like.is_none().then(|| item.checksum.clone()),
        attributes: item.attributes.clone(),
    });
    Change::Write {
        path: item.dest.clone(),
        content: Content {
            source: item.source.clone(),
            shown: item.checksum.clone(),
        },
        how: How {
            unsafe_writes: want.unsafe_writes,
            validate,
            like: item.like.clone().filter(|_| item.old.is_some()),
            mode: None,
        },
    }
}

fn refuse(want: &Want, item: &Item) -> Result<(), Failure> {
    if want.check && item.like.is_none() {
        return Ok(());
    }
    if let Some(expected) = want.checksum.as_ref().filter(|sum| **sum != item.checksum) {
        return Err(Failure::new(
            "Copied file does not match the expected checksum. Transfer failed.",
        )
        .with("checksum", item.checksum.as_str())
        .with("expected_checksum", expected.as_str()));
    }
    let makes_folders = want.dest.ends_with('/') || matches!(want.what, What::Tree(_));
    if !item.missing.is_empty() && !makes_folders {
        let folder = item.dest.parent().unwrap_or(&item.dest);
        let msg = format!("Destination directory {} does not exist", folder.display());
        let mut failure = Failure::new(msg);
        if item.like.is_none() {
            failure = failure.with("checksum", item.checksum.as_str());
        }
        return Err(failure);
    }
    Ok(())
}

/// Plans directories that no earlier item of the same task has planned.
fn folders(
    want: &Want,
    missing: &[PathBuf],
    parent: Option<&Meta>,
    made: &mut HashSet<PathBuf>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    let fresh: Vec<PathBuf> = missing
        .iter()
        .filter(|path| !made.contains(*path))
        .cloned()
        .collect();
    changes.extend(file::make_directories(
        &fresh,
        parent,
        &want.folders,
        want.check,
    )?);
    made.extend(fresh);
    Ok(())
}

fn link(
    want: &Want,
    item: &Item,
    target: &str,
    made: &mut HashSet<PathBuf>,
    changes: &mut Vec<Change>,
) -> Result<(), Failure> {
    folders(want, &item.missing, item.parent.as_ref(), made, changes)?;
    let there = std::path::Path::new(target);
    let mut own = item.old.clone();
    if item.like.as_deref() != Some(there) {
        changes.push(Change::Link {
            path: item.dest.clone(),
            target: there.to_owned(),
        });
        own = None;
    }
    let target = own.unwrap_or_else(|| Target {
        path: item.dest.clone(),
        meta: Meta::foreseen(NewFile::Link, item.parent.as_ref()),
        flags: String::new(),
    });
    changes.extend(owner_only(want).plan(&target, want.check)?);
    Ok(())
}
