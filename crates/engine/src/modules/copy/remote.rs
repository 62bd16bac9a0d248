//! `copy` with `remote_src`: what is copied lies on the machine already.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Item, Now, Want, checksum, head, item};
use crate::attrs::{Attributes, Meta, Mode, NewFile, Target};
use crate::change::Change;
use crate::module::Failure;
use crate::modules::paths;
use crate::place::{self, Place};
use crate::source::Source;

pub(super) fn inspect(want: &Want, src: &str, diff: bool) -> Result<Now, Failure> {
    let from = Path::new(src);
    if !from.exists() {
        return Err(Failure::new(format!("Source {src} not found")));
    }
    let failed = |e: io::Error| Failure::new(format!("could not copy {src}: {e}"));
    if from.is_dir() {
        return tree(want, src).map_err(failed);
    }
    if !from.is_file() {
        return Err(Failure::new(format!(
            "Cannot copy invalid source '{src}': not a file"
        )));
    }
    let found = Place::behind(from).map_err(failed)?;
    let opened = found.open_to_read();
    let opened = opened.map_err(|_| Failure::new(format!("Source {src} not readable")))?;
    let source = Source::of_file(opened).map_err(failed)?;
    let mut path = PathBuf::from(&want.dest);
    if want.dest.ends_with('/') || path.is_dir() {
        path.push(paths::basename(src));
    }
    if want.follow && path.is_symlink() && path.exists() {
        path = place::real(&path).map_err(failed)?;
    }
    let mut item: Item = item(want, path, source, false).map_err(failed)?;
    item.like = Some(from.to_owned());
    if diff && item.old_checksum.is_some() {
        item.old_text = head(&item.dest).ok();
    }
    let kept = !want.force && item.old.is_some();
    Ok(Now {
        dest: item.dest.to_string_lossy().into_owned(),
        items: vec![item],
        folders: Vec::new(),
        tree: false,
        owned: Vec::new(),
        top: None,
        remote: Vec::new(),
        kept,
    })
}

/// Copies what differs or is missing; `src/` is its content, `src` the directory itself.
fn tree(want: &Want, src: &str) -> io::Result<Now> {
    let mut dest = PathBuf::from(&want.dest);
    if !src.ends_with('/') {
        dest.push(paths::basename(src));
    }
    let (mut remote, mut owned) = (Vec::new(), Vec::new());
    let (_, missing) = paths::missing(dest.parent().unwrap_or(Path::new("/")))?;
    remote.extend(missing.into_iter().map(|path| Change::Directory { path }));
    let from = place::real(Path::new(src))?;
    compare(&from, &dest, &mut remote)?;
    let given = want.attributes.owner.is_some() || want.attributes.group.is_some();
    if given {
        everything(want, &from, &dest, &mut owned)?;
    }
    let shown = match Path::new(&want.dest).is_dir() {
        true => format!(
            "{}/{}",
            want.dest.trim_end_matches('/'),
            paths::basename(src)
        ),
        false => want.dest.clone(),
    };
    let top = top(want, src, &dest, Path::new(&shown))?;
    Ok(Now {
        items: Vec::new(),
        folders: Vec::new(),
        dest: shown,
        tree: true,
        owned,
        top,
        remote,
        kept: false,
    })
}

/// Foresees what the answer names as `dest`, which alone of a tree gets the mode asked for.
fn top(
    want: &Want,
    src: &str,
    dest: &Path,
    shown: &Path,
) -> io::Result<Option<(Target, Attributes)>> {
    let source = fs::metadata(src)?.permissions().mode() & 0o7777;
    let own = Meta::read(shown)?;
    if own.is_none() && want.check {
        return Ok(None);
    }
    let copied = shown == dest;
    let meta = own.unwrap_or_else(|| {
        let made = Meta::foreseen(NewFile::Directory, None);
        match copied {
            true => Meta {
                mode: 0o040_000 | source,
                ..made
            },
            false => made,
        }
    });
    let mut attributes = want.attributes.clone();
    if want.preserve {
        attributes.mode = Some(Mode::Bits(source));
    }
    if copied {
        // Its owner is compared along with everything below.
        (attributes.owner, attributes.group) = (None, None);
    }
    Ok(Some((attributes.target(shown, meta), attributes)))
}

fn compare(from: &Path, to: &Path, changes: &mut Vec<Change>) -> io::Result<()> {
    let Some(meta) = Meta::read(from)? else {
        return Ok(());
    };
    let fresh = Meta::follow(to)?.is_none();
    if fresh {
        changes.push(Change::Directory {
            path: to.to_owned(),
        });
    }
    let mut names = Place::of(from)?.names()?;
    names.sort();
    for name in names {
        let (from, to) = (from.join(&name), to.join(&name));
        let Some(kind) = Meta::read(&from)? else {
            continue;
        };
        if kind.is_dir() {
            compare(&from, &to, changes)?;
        } else if kind.is_link() {
            // Ansible copies links only along with the whole directory.
            if fresh {
                changes.push(Change::Link {
                    path: to,
                    target: fs::read_link(&from)?,
                });
            }
        } else if kind.is_file() {
            copy_file(&from, &kind, to, changes)?;
        }
    }
    if fresh {
        changes.push(mode_of(&meta, to.to_owned()));
    }
    Ok(())
}

fn copy_file(from: &Path, meta: &Meta, to: PathBuf, changes: &mut Vec<Change>) -> io::Result<()> {
    let same = || Ok::<_, io::Error>(checksum(&place::real(&to)?)? == checksum(from)?);
    if to.is_file() && same()? {
        return Ok(());
    }
    let mode = mode_of(meta, to.clone());
    changes.push(Change::Copy {
        path: to,
        from: from.to_owned(),
    });
    changes.push(mode);
    Ok(())
}

fn mode_of(meta: &Meta, path: PathBuf) -> Change {
    Change::Mode {
        path,
        mode: meta.bits(),
        of: None,
    }
}

/// Lists what will be below `dest`, with the owners it has or is going to have.
fn everything(want: &Want, from: &Path, to: &Path, found: &mut Vec<Target>) -> io::Result<()> {
    let now = Meta::read(to)?;
    let meta = match (now, Meta::read(from)?) {
        (Some(now), _) => now,
        (None, Some(source)) => Meta {
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            inode: 0,
            ..source
        },
        (None, None) => return Ok(()),
    };
    let is_dir = meta.is_dir();
    found.push(want.attributes.target(to, meta));
    if !is_dir {
        return Ok(());
    }
    let mut names = std::collections::BTreeSet::new();
    for folder in [from, to] {
        let found = Place::of(folder).and_then(|folder| folder.names());
        names.extend(found.into_iter().flatten());
    }
    for name in names {
        everything(want, &from.join(&name), &to.join(&name), found)?;
    }
    Ok(())
}
