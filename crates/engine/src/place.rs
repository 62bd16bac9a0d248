//! Finds what a path names without being led astray by those who can write in a folder on the way.
//!
//! Root that resolves a path and later acts on it by name acts on whatever lies there by then. So a
//! path is walked by descriptors, and the change is made in the folder that was found. Whoever could
//! swap a link could choose what root changes, so a link that another user could have put where it
//! is leads root to that user's own files alone (`walk`, and who that is in `control`). Tasks of other
//! users act with those users' own rights, and follow links as ever.

mod control;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, statat};

use self::walk::{Bound, Walk};

/// A name in a folder that is held open.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    folder: Arc<OwnedFd>,
    name: OsString,
    /// The folder's path without links.
    within: Arc<Path>,
    /// Whose all that is found here has to be.
    bound: Option<Arc<Bound>>,
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl FileId {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// A link that somebody else could have put where it is, and where it must not lead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UntrustedLink {
    /// Nobody can say whose it is.
    #[error(
        "{} is a symbolic link in a folder that several users can write to, so it is not followed",
        .0.display()
    )]
    OfMany(PathBuf),
    /// One user's, and what it leads to is not.
    #[error(
        "{} is a symbolic link that user {user} could have put there, and {} is not that user's own",
        .link.display(),
        .found.display()
    )]
    BeyondOwn {
        link: PathBuf,
        user: String,
        found: PathBuf,
    },
}

impl From<UntrustedLink> for io::Error {
    fn from(link: UntrustedLink) -> Self {
        Self::other(link)
    }
}

impl Place {
    /// Finds `path` itself: a link there is not followed, unless a slash follows its name.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        Walk::begin(path)?.finish(slash)
    }

    /// Finds `path` itself; below a user's link it may be one of the folders that a plan has made.
    pub(crate) fn of_one_made(path: &Path, made: &HashSet<FileId>) -> io::Result<Self> {
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        Walk::begin(path)?.knowing(made).finish(slash)
    }

    /// Finds what `path` leads to; nothing need be there.
    pub(crate) fn behind(path: &Path) -> io::Result<Self> {
        Walk::begin(path)?.finish(true)
    }

    /// Goes into the folder that is here, if it is no link.
    pub(crate) fn enter(&self) -> io::Result<Self> {
        let held = self.hold()?;
        let stat = fstat(&held)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        self.admit(&self.name, &stat)?;
        Ok(Self {
            within: Arc::from(self.real()),
            folder: Arc::new(held),
            name: OsString::from("."),
            bound: self.bound.clone(),
        })
    }

    /// Returns another name in the same folder.
    pub(crate) fn sibling(&self, name: &OsStr) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }

    /// Looks at another name in the same folder, link or not; `None` if nothing is there.
    pub(crate) fn look(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match statat(&*self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.admit(name, &stat).map(|()| Some(stat)),
            Err(e) if is_missing(&e.into()) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Refuses what is not that user's own whose link led here.
    fn admit(&self, name: &OsStr, found: &Stat) -> io::Result<()> {
        match &self.bound {
            Some(bound) if !bound.admits(found) => Err(bound.refuse(self.within.join(name))),
            _ => Ok(()),
        }
    }

    /// Returns a path that leads to the name in this very folder, as long as `self` lives.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join(&self.name)
    }

    /// Returns a path of the folder itself, likewise.
    pub(crate) fn folder(&self) -> PathBuf {
        by_descriptor(self.folder.as_fd())
    }

    pub(crate) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the path that was found, without links.
    pub(crate) fn real(&self) -> PathBuf {
        match self.name == "." {
            true => self.within.to_path_buf(),
            false => self.within.join(&self.name),
        }
    }

    /// Returns the folder and the name in it: the same for every path that leads here.
    pub(crate) fn spot(&self) -> io::Result<(FileId, OsString)> {
        Ok((FileId::of(&fstat(&*self.folder)?), self.name.clone()))
    }

    /// Opens what is there, if it is no link.
    pub(crate) fn open(&self, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(
            &*self.folder,
            self.name.as_os_str(),
            flags,
            Mode::from_raw_mode(mode),
        )?;
        Ok(File::from(opened))
    }

    /// Opens what is there for reading, if it is no link. A pipe without a writer is empty.
    pub(crate) fn open_to_read(&self) -> io::Result<File> {
        let opened = self.open(OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
        self.refuse_foreign_name(&fstat(&opened)?)?;
        Ok(opened)
    }

    /// Holds what is there, link or not, without opening it.
    pub(crate) fn hold(&self) -> io::Result<OwnedFd> {
        hold(self.folder.as_fd(), &self.name)
    }

    /// Returns what `lstat` says.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        File::from(self.hold()?).metadata()
    }

    /// Returns the names in the folder that is there.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let folder = self.open(OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        let entries = std::fs::read_dir(by_descriptor(folder.as_fd()))?;
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Refuses a file that somebody else may have linked here: a second name of one that is not his.
    ///
    /// Linux forbids to make such names where `fs.protected_hardlinks` is set, as systemd sets it.
    pub(crate) fn refuse_foreign_name(&self, held: &Stat) -> io::Result<()> {
        let regular = FileType::from_raw_mode(held.st_mode) == FileType::RegularFile;
        if !regular || held.st_nlink < 2 || !is_root() || control::hard_links_are_protected() {
            return Ok(());
        }
        self.refuse_second_name(held)
    }

    fn refuse_second_name(&self, held: &Stat) -> io::Result<()> {
        let folder = fstat(&*self.folder)?;
        match control::others_write(&folder) && held.st_uid != folder.st_uid {
            true => Err(io::Error::other(format!(
                "{} has other names, and lies in a folder that users other than root can write to",
                self.real().display()
            ))),
            false => Ok(()),
        }
    }
}

/// Returns a path that leads to what `held` holds, as long as it is held.
pub(crate) fn by_descriptor(held: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Returns which file `held` holds.
pub(crate) fn id(held: BorrowedFd<'_>) -> io::Result<FileId> {
    Ok(FileId::of(&fstat(held)?))
}

/// Resolves links as `os.path.realpath` does: what is missing stays as it is written.
pub(crate) fn real(path: &Path) -> io::Result<PathBuf> {
    Walk::begin(path)?.resolve()
}

/// Reads the file that `path` leads to.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    Place::behind(path)?
        .open_to_read()?
        .read_to_end(&mut content)?;
    Ok(content)
}

/// Whether an error says that a link was not followed, since it could be anybody's.
pub(crate) fn is_untrusted(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<UntrustedLink>())
        .is_some()
}

/// Whether an error says that nothing is there.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// What the kernel says of a link where there must be none.
pub(crate) fn too_many_links() -> io::Error {
    rustix::io::Errno::LOOP.into()
}

fn hold(folder: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
