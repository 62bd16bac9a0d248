//! Changes files by descriptor: what is changed is what was found, whatever its name leads to by
//! then. The paths below `/proc/self/fd` that are used here lead to a folder or file held open.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use rustix::fs::{AtFlags, FileType, Gid, OFlags, Uid, chownat, fstat};

use crate::place::{self, FileId, Place};

type Spot = (FileId, OsString);

/// What a plan has made so far. What later changes of it name is that, or nothing.
#[derive(Default)]
pub(crate) struct Made {
    ids: HashMap<Spot, FileId>,
    /// The last file, held: its number alone could be another's once it is removed.
    last: Option<(Spot, OwnedFd)>,
    /// The folders among them. One is root's until it is given away, also below a user's link.
    folders: HashSet<FileId>,
    changed: Recent,
    read: Recent,
}

/// The folder that was found last, so that what lies together is not walked to one by one.
#[derive(Default)]
struct Recent(Option<(PathBuf, Place)>);

impl Recent {
    /// Finds `path` itself, as [`Place::of_one_made`] does.
    fn place(&mut self, path: &Path, made: &HashSet<FileId>) -> io::Result<Place> {
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let (Some(folder), Some(name), false) = (path.parent(), path.file_name(), slash) else {
            return Place::of_one_made(path, made);
        };
        if let Some((_, held)) = self.0.as_ref().filter(|(at, _)| at == folder)
            && held.look(name).is_ok()
        {
            return Ok(held.sibling(name));
        }
        let place = Place::of_one_made(path, made)?;
        self.0 = Some((folder.to_owned(), place.clone()));
        Ok(place)
    }
}

impl Made {
    /// Finds what is to be changed.
    pub(crate) fn place(&mut self, path: &Path) -> io::Result<Place> {
        self.changed.place(path, &self.folders)
    }

    /// Finds what is to be read.
    pub(crate) fn source(&mut self, path: &Path) -> io::Result<Place> {
        self.read.place(path, &self.folders)
    }

    /// Walks anew from here on: a name may have been given to another folder.
    pub(crate) fn let_go(&mut self) {
        (self.changed, self.read) = (Recent::default(), Recent::default());
    }

    /// Finds what `path` leads to.
    fn behind(&mut self, path: &Path) -> io::Result<(Place, OwnedFd)> {
        let place = self.place(path)?;
        let held = place.hold()?;
        if !is_link(&held)? {
            return Ok((place, held));
        }
        let place = Place::behind(path)?;
        let held = place.hold()?;
        match is_link(&held)? {
            true => Err(place::too_many_links()),
            false => Ok((place, held)),
        }
    }

    /// Makes a directory; one that somebody else made meanwhile is as good.
    pub(crate) fn directory(&mut self, path: &Path) -> io::Result<()> {
        let place = self.place(path)?;
        match fs::create_dir(place.path()) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {
                self.note(&Place::behind(path)?)
            }
            answer => {
                answer?;
                let held = place.hold()?;
                self.folders.insert(place::id(held.as_fd())?);
                self.note(&place)
            }
        }
    }

    /// Remembers what was made at `place`.
    pub(crate) fn note(&mut self, place: &Place) -> io::Result<()> {
        let held = place.hold()?;
        self.ids.insert(place.spot()?, place::id(held.as_fd())?);
        Ok(())
    }

    /// Keeps the file that was written at `place`.
    pub(crate) fn keep(&mut self, place: &Place, file: File) -> io::Result<()> {
        let spot = place.spot()?;
        self.ids.insert(spot.clone(), place::id(file.as_fd())?);
        self.last = Some((spot, OwnedFd::from(file)));
        Ok(())
    }

    /// Changes owner or group of the file or link itself.
    pub(crate) fn give_owner(
        &mut self,
        path: &Path,
        of: Option<FileId>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> io::Result<()> {
        let place = self.place(path)?;
        let held = self.subject(&place, place.hold()?, of)?;
        own(&held, uid, gid)
    }

    /// Changes the permission bits of what `path` leads to.
    pub(crate) fn give_mode(
        &mut self,
        path: &Path,
        of: Option<FileId>,
        mode: u32,
    ) -> io::Result<()> {
        let (place, held) = self.behind(path)?;
        let held = self.subject(&place, held, of)?;
        // Of a descriptor by O_PATH, fchmod knows nothing.
        let path = place::by_descriptor(held.as_fd());
        fs::set_permissions(path, Permissions::from_mode(mode))
    }

    /// Returns what is held at `place`, if it is what was seen or made there.
    fn subject(&self, place: &Place, held: OwnedFd, of: Option<FileId>) -> io::Result<OwnedFd> {
        let spot = place.spot()?;
        if let Some((_, last)) = self.last.as_ref().filter(|(at, _)| *at == spot) {
            return last.try_clone();
        }
        let known = self.ids.get(&spot).copied().or(of);
        // A link can be given away and nothing else, so any link will do.
        if !is_link(&held)? && known != Some(place::id(held.as_fd())?) {
            let path = place.real();
            let msg = format!("{} was replaced while the task ran", path.display());
            return Err(io::Error::other(msg));
        }
        place.refuse_foreign_name(&fstat(&held)?)?;
        Ok(held)
    }
}

fn is_link(held: &OwnedFd) -> io::Result<bool> {
    let stat = fstat(held)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Changes owner or group of what is held, also of a link.
pub(crate) fn own(held: &OwnedFd, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    Ok(chownat(held, "", uid, gid, AtFlags::EMPTY_PATH)?)
}

/// Gives a file, or a folder and all that is in it, away; no link is followed.
pub(crate) fn own_tree(place: &Place, uid: u32, gid: u32) -> io::Result<()> {
    let held = place.hold()?;
    let stat = fstat(&held)?;
    place.refuse_foreign_name(&stat)?;
    own(&held, Some(uid), Some(gid))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let inside = place.enter()?;
    for name in inside.names()? {
        own_tree(&inside.sibling(&name), uid, gid)?;
    }
    Ok(())
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    fs::remove_file(Place::of(path)?.path())
}

pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    // The standard library goes down by descriptors, and follows no link.
    fs::remove_dir_all(Place::of(path)?.path())
}

/// Makes a link under another name and renames it, so that `place` is never empty. An error says
/// in which of the two.
pub(crate) fn link(
    place: &Place,
    make: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), (&'static str, io::Error)> {
    let path = place.path();
    match make(&path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        answer => return answer.map_err(|e| ("linking", e)),
    }
    let replacing = |e| ("replacing", e);
    if fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir()) {
        fs::remove_dir(&path).map_err(replacing)?;
    }
    let made = tempfile::Builder::new()
        .prefix(".amibake_")
        .make_in(place.folder(), make);
    let new = made.map_err(replacing)?;
    new.persist(&path).map_err(|e| replacing(e.error))?;
    Ok(())
}

/// Copies content, mode, times, extended attributes and, where allowed, the owner, to a new file.
pub(crate) fn back_up(path: &Path, to: &Path) -> io::Result<()> {
    let mut from = Place::behind(path)?.open_to_read()?;
    let meta = from.metadata()?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let mut copy = Place::of(to)?.open(flags, 0o600)?;
    io::copy(&mut from, &mut copy)?;
    let _ = fchown(&copy, Some(meta.uid()), Some(meta.gid()));
    copy_xattrs(&from, &copy);
    copy.set_permissions(meta.permissions())?;
    let times = FileTimes::new()
        .set_accessed(meta.accessed()?)
        .set_modified(meta.modified()?);
    copy.set_times(times)
}

/// Copies what can be copied: a file system without them, or without the right, is no failure.
pub(crate) fn copy_xattrs(from: &impl AsFd, to: &File) {
    use xattr::FileExt;
    let from = place::by_descriptor(from.as_fd());
    for name in xattr::list_deref(&from).into_iter().flatten() {
        if let Ok(Some(value)) = xattr::get_deref(&from, &name) {
            let _ = to.set_xattr(&name, &value);
        }
    }
}

/// Sets the times of what `path` leads to; `None` is the present.
pub(crate) fn set_times(
    path: &Path,
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
) -> io::Result<()> {
    let spec = |time: Option<SystemTime>| match time.map(|t| t.duration_since(UNIX_EPOCH)) {
        None => TimeSpec::UTIME_NOW,
        Some(Ok(after)) => TimeSpec::from(after),
        Some(Err(_)) => TimeSpec::new(0, 0),
    };
    let held = Place::behind(path)?.hold()?;
    if is_link(&held)? {
        return Err(place::too_many_links());
    }
    let path = place::by_descriptor(held.as_fd());
    let follow = UtimensatFlags::FollowSymlink;
    utimensat(AT_FDCWD, &path, &spec(accessed), &spec(modified), follow)?;
    Ok(())
}
