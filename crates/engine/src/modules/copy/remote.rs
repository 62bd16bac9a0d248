//! `copy` with `remote_src`: what is copied lies on the machine already.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Item, Nearby, Now, Want, head, item};
use crate::attrs::{Attributes, Meta, Mode, NewFile, Target};
use crate::change::Change;
use crate::module::Failure;
use crate::modules::paths;
use crate::place::{self, Place};
use crate::source::Source;

/// Two files are compared by so many bytes at a time.
const CHUNK: u64 = 65_536;

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
    let mut item: Item = item(want, path, source, false, &mut Nearby::default()).map_err(failed)?;
    item.like = Some(from.to_owned());
    if diff && item.old_checksum.is_some() {
        item.old_text = Place::of(&item.dest).and_then(|place| head(&place)).ok();
    }
    let kept = !want.force && item.old.is_some();
    Ok(Now {
        dest: item.dest.to_string_lossy().into_owned(),
        items: vec![item],
        folders: Vec::new(),
        last: None,
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
    let from = Place::behind(Path::new(src))?.enter()?;
    let pair = Pair {
        from_path: from.real(),
        from,
        to: entered(&dest)?,
        to_path: dest.clone(),
    };
    compare(&pair, &mut remote)?;
    let given = want.attributes.owner.is_some() || want.attributes.group.is_some();
    if given {
        let now = Meta::read(&dest)?;
        let link = now.as_ref().is_some_and(Meta::is_link);
        let meta = now.or(Meta::at(&pair.from)?.map(copied));
        owned.extend(meta.map(|meta| want.attributes.target(&dest, meta)));
        if !link {
            everything(
                want,
                (Some(&pair.from), pair.to.as_ref()),
                &dest,
                &mut owned,
            )?;
        }
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
        last: None,
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

/// A folder of the source and the one it is copied to, both held; the second may be missing.
struct Pair {
    from: Place,
    /// Their paths, as plans name them.
    from_path: PathBuf,
    to: Option<Place>,
    to_path: PathBuf,
}

impl Pair {
    fn below(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self {
            from: self.from.sibling(name).enter()?,
            from_path: self.from_path.join(name),
            to: self.there(name)?,
            to_path: self.to_path.join(name),
        })
    }

    /// Finds the folder below the second, which may be behind a link.
    fn there(&self, name: &OsStr) -> io::Result<Option<Place>> {
        let Some(to) = &self.to else {
            return Ok(None);
        };
        match Meta::beside(to, name)? {
            Some(meta) if meta.is_link() => entered(&self.to_path.join(name)),
            Some(meta) if meta.is_dir() => to.sibling(name).enter().map(Some),
            _ => Ok(None),
        }
    }
}

/// Goes into the folder that `path` leads to, if one is there.
fn entered(path: &Path) -> io::Result<Option<Place>> {
    match Place::behind(path).and_then(|place| place.enter()) {
        Ok(folder) => Ok(Some(folder)),
        Err(e) if place::is_missing(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

fn compare(pair: &Pair, changes: &mut Vec<Change>) -> io::Result<()> {
    let Some(meta) = Meta::at(&pair.from)? else {
        return Ok(());
    };
    let fresh = pair.to.is_none();
    if fresh {
        changes.push(Change::Directory {
            path: pair.to_path.clone(),
        });
    }
    let mut names = pair.from.names()?;
    names.sort();
    for name in names {
        let Some(kind) = Meta::beside(&pair.from, &name)? else {
            continue;
        };
        if kind.is_dir() {
            compare(&pair.below(&name)?, changes)?;
        } else if kind.is_link() {
            // Ansible copies links only along with the whole directory.
            if fresh {
                changes.push(Change::Link {
                    path: pair.to_path.join(&name),
                    target: fs::read_link(pair.from.sibling(&name).path())?,
                });
            }
        } else if kind.is_file() && !same(pair, &name)? {
            let path = pair.to_path.join(&name);
            let from = pair.from_path.join(&name);
            let mode = mode_of(&kind, path.clone());
            changes.extend([Change::Copy { path, from }, mode]);
        }
    }
    if fresh {
        changes.push(mode_of(&meta, pair.to_path.clone()));
    }
    Ok(())
}

/// Whether both folders have a file of this name with the same content.
fn same(pair: &Pair, name: &OsStr) -> io::Result<bool> {
    let Some(to) = &pair.to else {
        return Ok(false);
    };
    let there = match Meta::beside(to, name)? {
        Some(meta) if meta.is_file() => to.sibling(name),
        Some(meta) if meta.is_link() => match Place::behind(&pair.to_path.join(name)) {
            Ok(place) if Meta::at(&place)?.is_some_and(|meta| meta.is_file()) => place,
            Ok(_) => return Ok(false),
            Err(e) if place::is_missing(&e) => return Ok(false),
            Err(e) => return Err(e),
        },
        _ => return Ok(false),
    };
    let here = pair.from.sibling(name).open_to_read()?;
    equal(here, there.open_to_read()?)
}

fn equal(mut one: File, mut other: File) -> io::Result<bool> {
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&mut one).take(CHUNK).read_to_end(&mut left)?;
        (&mut other).take(CHUNK).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}

fn mode_of(meta: &Meta, path: PathBuf) -> Change {
    Change::Mode {
        path,
        mode: meta.bits(),
        of: None,
    }
}

/// Lists what will be below `path`, with the owners it has or is going to have.
fn everything(
    want: &Want,
    (from, to): (Option<&Place>, Option<&Place>),
    path: &Path,
    found: &mut Vec<Target>,
) -> io::Result<()> {
    let mut names = BTreeSet::new();
    for folder in [from, to].into_iter().flatten() {
        names.extend(folder.names()?);
    }
    let look = |folder: Option<&Place>, name: &OsStr| match folder {
        Some(folder) => Meta::beside(folder, name),
        None => Ok(None),
    };
    for name in names {
        let source = look(from, &name)?;
        let Some(meta) = look(to, &name)?.or_else(|| source.map(copied)) else {
            continue;
        };
        let (path, is_dir) = (path.join(&name), meta.is_dir());
        found.push(want.attributes.target(&path, meta));
        if is_dir {
            let folders = (folder(from, &name)?, folder(to, &name)?);
            let folders = (folders.0.as_ref(), folders.1.as_ref());
            everything(want, folders, &path, found)?;
        }
    }
    Ok(())
}

/// Foresees the copy of a file, which is the copier's.
fn copied(source: Meta) -> Meta {
    Meta {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        inode: 0,
        ..source
    }
}

fn folder(inside: Option<&Place>, name: &OsStr) -> io::Result<Option<Place>> {
    match inside
        .map(|inside| inside.sibling(name).enter())
        .transpose()
    {
        Err(e) if place::is_missing(&e) => Ok(None),
        found => found,
    }
}
