//! The walk from `/` to a place, and what it refuses.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, readlinkat, statat};

use super::control::{self, Control};
use super::{FileId, Place, UntrustedLink, hold, is_missing, is_root, too_many_links};
use crate::users;

/// As many as Linux follows.
const MOST_LINKS: u32 = 40;
const SEARCHED_BY_ALL: u32 = 0o001;

/// Whose everything has to be after a link that this user could have put where it is.
#[derive(Debug)]
pub(super) struct Bound {
    uid: u32,
    /// The file system of the link: within it he could have moved files of root's himself.
    device: u64,
    link: PathBuf,
}

impl Bound {
    /// Whether root may act on what is found in a folder of his: on what is his, and on a file of
    /// root's that he could move there without a link.
    pub(super) fn admits(&self, found: &Stat) -> bool {
        let movable = !is_dir(found) && found.st_dev == self.device;
        self.owns(found) || (found.st_uid == 0 && movable)
    }

    fn owns(&self, found: &Stat) -> bool {
        found.st_uid == self.uid
    }

    /// Whether he could have gone this way himself.
    fn passes(&self, folder: &Stat) -> bool {
        let open = folder.st_uid == 0 && folder.st_mode & SEARCHED_BY_ALL != 0;
        self.owns(folder) || open
    }

    pub(super) fn refuse(&self, found: PathBuf) -> io::Error {
        let user = users::user_by_id(self.uid);
        let user = user.map_or_else(|| self.uid.to_string(), |user| user.name);
        let link = self.link.clone();
        UntrustedLink::BeyondOwn { link, user, found }.into()
    }
}

fn is_dir(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
}

struct Folder {
    held: OwnedFd,
    stat: Stat,
    name: OsString,
}

/// A walk down from `/`.
pub(super) struct Walk<'a> {
    /// The folders passed, so that `..` leads where we came from even if they were moved.
    folders: Vec<Folder>,
    /// What is still to be walked, last piece first.
    todo: Vec<OsString>,
    links: u32,
    bound: Option<Arc<Bound>>,
    /// Folders that may be at the end, whosever they have to be.
    made: Option<&'a HashSet<FileId>>,
    guarded: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let held = rustix::fs::open("/", flags, Mode::empty())?;
        let root = Folder {
            stat: fstat(&held)?,
            held,
            name: OsString::new(),
        };
        Ok(Self {
            folders: vec![root],
            todo: pieces(&path),
            links: 0,
            bound: None,
            made: None,
            guarded: is_root(),
        })
    }

    pub(super) fn knowing(self, made: &'a HashSet<FileId>) -> Self {
        Self {
            made: Some(made),
            ..self
        }
    }

    pub(super) fn finish(mut self, follow: bool) -> io::Result<Place> {
        let name = self.walk(follow)?;
        self.judge_end(&name, follow)?;
        Ok(self.place(name))
    }

    /// Returns the path without links; what is missing stays as it is written.
    pub(super) fn resolve(mut self) -> io::Result<PathBuf> {
        match self.walk(true) {
            Ok(name) => {
                self.judge_end(&name, true)?;
                Ok(self.place(name).real())
            }
            Err(e) if is_missing(&e) => {
                self.judge_end(OsStr::new("."), false)?;
                Ok(self.rest())
            }
            Err(e) => Err(e),
        }
    }

    /// Walks to the folder of the last piece, and returns that.
    fn walk(&mut self, follow: bool) -> io::Result<OsString> {
        while let Some(name) = self.todo.pop() {
            if name == ".." {
                self.up()?;
                continue;
            }
            let last = self.todo.is_empty();
            if last && !follow {
                return Ok(name);
            }
            let found = match hold(self.folder(), &name) {
                Ok(found) => found,
                Err(e) if last && e.kind() == io::ErrorKind::NotFound => return Ok(name),
                Err(e) => {
                    self.todo.push(name);
                    return Err(e);
                }
            };
            let stat = fstat(&found)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => self.follow(&found, &name, &stat)?,
                _ if last => return Ok(name),
                FileType::Directory => self.down(found, name, stat)?,
                _ => {
                    self.todo.push(name);
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
        }
        Ok(OsString::from("."))
    }

    fn last(&self) -> &Folder {
        &self.folders[self.folders.len() - 1]
    }

    fn folder(&self) -> BorrowedFd<'_> {
        self.last().held.as_fd()
    }

    fn up(&mut self) -> io::Result<()> {
        if self.folders.len() > 1 {
            self.folders.pop();
        }
        self.judge_step()
    }

    fn down(&mut self, held: OwnedFd, name: OsString, stat: Stat) -> io::Result<()> {
        self.folders.push(Folder { held, stat, name });
        self.judge_step()
    }

    /// Refuses a folder where the user whose link led here could not have gone himself, or where
    /// yet another could have led us.
    fn judge_step(&self) -> io::Result<()> {
        let Some(bound) = &self.bound else {
            return Ok(());
        };
        let his = Control::of(bound.uid);
        match bound.passes(&self.last().stat) && self.control().and(his) == his {
            true => Ok(()),
            false => Err(bound.refuse(self.within())),
        }
    }

    /// Refuses an end that is not his own whose link led here.
    fn judge_end(&self, name: &OsStr, followed: bool) -> io::Result<()> {
        let Some(bound) = &self.bound else {
            return Ok(());
        };
        let found = statat(self.folder(), name, AtFlags::SYMLINK_NOFOLLOW).ok();
        if followed && found.is_some_and(|found| bound.owns(&found)) {
            return Ok(());
        }
        if !bound.owns(&self.last().stat) {
            return Err(bound.refuse(self.within()));
        }
        match found {
            Some(found) if !bound.admits(&found) && !self.has_made(&found) => {
                Err(bound.refuse(self.within().join(name)))
            }
            _ => Ok(()),
        }
    }

    fn has_made(&self, found: &Stat) -> bool {
        let made = self.made;
        made.is_some_and(|made| made.contains(&FileId::of(found)))
    }

    /// Returns who could have led us to the folder where we are.
    fn control(&self) -> Control {
        let steps = self.folders.windows(2);
        steps.fold(Control::Root, |control, step| match step {
            [folder, child] => control.and(control::over(&folder.held, &folder.stat, &child.stat)),
            _ => control,
        })
    }

    fn follow(&mut self, link: &OwnedFd, name: &OsStr, stat: &Stat) -> io::Result<()> {
        if self.guarded {
            self.bind(name, stat)?;
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(too_many_links());
        }
        let target = readlinkat(link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.folders.truncate(1);
        }
        self.todo.extend(pieces(&target));
        Ok(())
    }

    /// Holds who could have put a link here to what is his own.
    fn bind(&mut self, name: &OsStr, stat: &Stat) -> io::Result<()> {
        let at = self.last();
        let here = control::over(&at.held, &at.stat, stat).and(self.control());
        let control = match (here, &self.bound) {
            (Control::Root, None) => return Ok(()),
            (here, Some(bound)) => here.and(Control::of(bound.uid)),
            // In a folder of others, who made a link is one who could have chosen where it leads.
            (here, None) => here.and(Control::of(stat.st_uid)),
        };
        let link = self.within().join(name);
        match (control, &self.bound) {
            (Control::User(uid), None) => {
                let device = stat.st_dev;
                self.bound = Some(Arc::new(Bound { uid, device, link }));
                Ok(())
            }
            (Control::User(uid), Some(bound)) if bound.uid == uid => Ok(()),
            (_, Some(bound)) => Err(bound.refuse(link)),
            _ => Err(UntrustedLink::OfMany(link).into()),
        }
    }

    fn within(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(self.folders.iter().map(|folder| &folder.name));
        path
    }

    fn place(mut self, name: OsString) -> Place {
        let within = self.within();
        let folder = self.folders.swap_remove(self.folders.len() - 1);
        Place {
            folder: Arc::new(folder.held),
            name,
            within: Arc::from(within),
            bound: self.bound,
        }
    }

    /// Returns where we are, and what is still to be walked as it is written.
    fn rest(self) -> PathBuf {
        let mut path = self.within();
        for piece in self.todo.iter().rev() {
            match piece == ".." {
                true => {
                    path.pop();
                }
                false => path.push(piece),
            }
        }
        path
    }
}

/// The components of `path`, last first.
fn pieces(path: &Path) -> Vec<OsString> {
    let components = path.components().rev();
    components
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| c.as_os_str().to_owned())
        .collect()
}
