//! What makes each state of `file` true. Pure.

use std::path::{Path, PathBuf};

use super::{Now, State, Want};
use crate::attrs::{Attributes, Meta, NewFile, Target};
use crate::change::{Change, Content};
use crate::module::Failure;

pub(super) fn absent(want: &Want, now: &Now) -> Vec<Change> {
    let path = want.path.clone();
    match now.before {
        "absent" => Vec::new(),
        "directory" => vec![Change::RemoveTree { path }],
        _ => vec![Change::Remove { path }],
    }
}

pub(super) fn file(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    let target = now.target.as_ref();
    let Some(target) = target.filter(|t| !t.meta.is_dir() && !t.meta.is_link()) else {
        let shown = target.map_or(&want.path, |t| &t.path);
        let before = match (target, now.before) {
            (Some(target), "link") => crate::attrs::state_of(&target.meta),
            (None, "link") => "absent",
            (_, before) => before,
        };
        let msg = format!("file ({}) is {before}, cannot continue", shown.display());
        return Err(about(msg, shown).with("state", before));
    };
    attributes(want, now, target)
}

pub(super) fn directory(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    let Some(target) = &now.target else {
        return make_directories(
            &now.missing,
            now.parent.as_ref(),
            &want.attributes,
            want.check,
        );
    };
    if !target.meta.is_dir() {
        let before = crate::attrs::state_of(&target.meta);
        let msg = format!("{} already exists as a {before}", target.path.display());
        return Err(about(msg, &target.path));
    }
    let mut changes = attributes(want, now, target)?;
    for (below, accessed, modified) in &now.below {
        changes.extend(want.attributes.plan(below, want.check)?);
        changes.extend(want.times.plan(&below.path, *accessed, *modified));
    }
    Ok(changes)
}

/// Plans directories one in the other, the first in `parent`, each with `attributes`.
pub(in crate::modules) fn make_directories(
    missing: &[PathBuf],
    parent: Option<&Meta>,
    attributes: &Attributes,
    check: bool,
) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    let mut parent = parent.cloned();
    for path in missing {
        let meta = Meta::foreseen(NewFile::Directory, parent.as_ref());
        changes.push(Change::Directory { path: path.clone() });
        if !check {
            changes.extend(attributes.plan(&foreseen(path, meta.clone()), check)?);
        }
        parent = Some(meta);
    }
    Ok(changes)
}

pub(super) fn touch(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    if let Some(nowhere) = &now.nowhere {
        let msg = format!(
            "Error while updating modification or access time: [Errno 2] No such file or directory: b'{}'",
            nowhere.display()
        );
        return Err(about(msg, nowhere));
    }
    if let Some(target) = &now.target {
        return attributes(want, now, target);
    }
    let path = want.path.clone();
    let meta = Meta::foreseen(NewFile::Regular, now.parent.as_ref());
    let mut changes = vec![Change::Write {
        path: path.clone(),
        content: Content::text(Vec::new()),
        how: crate::atomic::How::default(),
    }];
    if !want.check {
        changes.extend(want.attributes.plan(&foreseen(&path, meta), false)?);
        changes.extend(now.times(&path, &want.times));
    }
    Ok(changes)
}

pub(super) fn link(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    refuse_link(want, now)?;
    let path = want.path.clone();
    let old = now.link.as_deref();
    let src = want.src.as_deref().map(Path::new);
    let Some(target) = src.or(old).map(Path::to_owned) else {
        return Err(Failure::new("src is required for creating new symlinks"));
    };
    let mut changes = Vec::new();
    if old != Some(target.as_path()) {
        changes.push(Change::Link {
            path: path.clone(),
            target,
        });
        if want.check {
            return Ok(changes);
        }
    }
    let own = match (&now.target, want.follow) {
        (Some(target), false) if old.is_some() => Some(target.clone()),
        (_, false) => Some(foreseen(
            &path,
            Meta::foreseen(NewFile::Link, now.parent.as_ref()),
        )),
        (_, true) => now.source.as_ref().and_then(|(real, meta)| {
            let meta = meta.clone()?;
            Some(want.attributes.target(real, meta))
        }),
    };
    if let Some(target) = own {
        changes.extend(want.attributes.plan(&target, want.check)?);
        changes.extend(now.times(&target.path, &want.times));
    }
    Ok(changes)
}

fn refuse_link(want: &Want, now: &Now) -> Result<(), Failure> {
    let shown = want.path.display();
    if let (Some(src), false, Some((real, None))) = (&want.src, want.force, &now.source) {
        let msg = format!(
            "src file does not exist, use 'force=yes' if you really want to create the link: {}",
            absolute(want, src)
                .unwrap_or_else(|| real.clone())
                .display()
        );
        return Err(about(msg, &want.path).with("src", src.as_str()));
    }
    match (now.before, want.force) {
        ("directory" | "file" | "hard", false) => {
            let before = now.before;
            let msg = format!("refusing to convert from {before} to symlink for {shown}");
            Err(about(msg, &want.path))
        }
        ("directory", true) if now.occupied => {
            let msg = format!("the directory {shown} is not empty, refusing to convert it");
            Err(about(msg, &want.path))
        }
        _ => Ok(()),
    }
}

/// The path Ansible names: joined, not resolved.
fn absolute(want: &Want, src: &str) -> Option<PathBuf> {
    Some(want.path.parent()?.join(src))
}

pub(super) fn hard(want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
    let Some((src, meta)) = &now.source else {
        if now.before == "hard" {
            return now
                .target
                .as_ref()
                .map_or(Ok(Vec::new()), |t| attributes(want, now, t));
        }
        return Err(Failure::new("src is required for creating new hardlinks"));
    };
    let refuse = |msg: String| {
        Err(Failure::new(msg)
            .with("dest", want.path.to_string_lossy())
            .with("src", want.src.clone()))
    };
    let Some(meta) = meta else {
        return refuse("src does not exist".to_owned());
    };
    let same = now
        .target
        .as_ref()
        .is_some_and(|t| t.meta.inode == meta.inode);
    match now.before {
        "hard" if same => {
            return now
                .target
                .as_ref()
                .map_or(Ok(Vec::new()), |t| attributes(want, now, t));
        }
        "hard" | "directory" if !want.force => {
            let colon = if now.before == "hard" { "," } else { ":" };
            return refuse(format!(
                "Cannot link{colon} different hard link exists at destination"
            ));
        }
        "file" if !want.force => {
            return refuse("Cannot link, file exists at destination".to_owned());
        }
        _ => {}
    }
    let (path, target) = (want.path.clone(), src.clone());
    let mut changes = vec![Change::HardLink { path, target }];
    if !want.check {
        let target = want.attributes.target(&want.path, meta.clone());
        changes.extend(want.attributes.plan(&target, false)?);
        changes.extend(now.times(&want.path, &want.times));
    }
    debug_assert_eq!(want.state, State::Hard);
    Ok(changes)
}

fn attributes(want: &Want, now: &Now, target: &Target) -> Result<Vec<Change>, Failure> {
    let mut changes = want.attributes.plan(target, want.check)?;
    changes.extend(now.times(&target.path, &want.times));
    Ok(changes)
}

fn foreseen(path: &Path, meta: Meta) -> Target {
    Target {
        path: path.to_owned(),
        meta,
        flags: String::new(),
    }
}

fn about(msg: String, path: &Path) -> Failure {
    Failure::new(msg).with("path", path.to_string_lossy())
}
