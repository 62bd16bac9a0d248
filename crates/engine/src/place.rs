//! Finds what a path names without being led astray by those who can write in a folder on the way.
//!
//! Root that resolves a path and later acts on it by name acts on whatever lies there by then. So a
//! path is walked by descriptors, and the change is made in the folder that was found. A link is
//! passed only in a folder that root alone can write: whoever could swap it could choose what root
//! changes. Tasks of other users act with those users' own rights, and follow links as ever.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};

/// As many as Linux follows.
const MOST_LINKS: u32 = 40;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A name in a folder that is held open.
#[derive(Debug)]
pub(crate) struct Place {
    folder: OwnedFd,
    name: OsString,
    /// The folder's path without links.
    within: PathBuf,
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

/// A link that somebody else could have put where it is.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is a symbolic link in a folder that users other than root can write to, so it is not followed",
    .0.display()
)]
pub(crate) struct UntrustedLink(PathBuf);

impl Place {
    /// Finds `path` itself: a link there is not followed, unless a slash follows its name.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
        Walk::begin(path)?.finish(slash)
    }

    /// Finds what `path` leads to; nothing need be there.
    pub(crate) fn behind(path: &Path) -> io::Result<Self> {
        Walk::begin(path)?.finish(true)
    }

    /// Returns the folder that is held, whose path is `within`.
    pub(crate) fn inside(folder: OwnedFd, within: PathBuf) -> Self {
        Self {
            folder,
            name: OsString::from("."),
            within,
        }
    }

    /// Returns another name in the same folder.
    pub(crate) fn sibling(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self {
            folder: self.folder.try_clone()?,
            name: name.to_owned(),
            within: self.within.clone(),
        })
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
            true => self.within.clone(),
            false => self.within.join(&self.name),
        }
    }

    /// Returns the folder and the name in it: the same for every path that leads here.
    pub(crate) fn spot(&self) -> io::Result<(FileId, OsString)> {
        Ok((FileId::of(&fstat(&self.folder)?), self.name.clone()))
    }

    /// Opens what is there, if it is no link.
    pub(crate) fn open(&self, flags: OFlags, mode: u32) -> io::Result<File> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = openat(
            &self.folder,
            self.name.as_os_str(),
            flags,
            Mode::from_raw_mode(mode),
        )?;
        Ok(File::from(opened))
    }

    /// Opens what is there for reading, if it is no link. A pipe without a writer is empty.
    pub(crate) fn open_to_read(&self) -> io::Result<File> {
        self.open(OFlags::RDONLY | OFlags::NONBLOCK, 0)
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

    /// Whether somebody else can put another file here.
    fn is_shared(&self) -> io::Result<bool> {
        Ok(others_write(&fstat(&self.folder)?))
    }

    /// Refuses a file that somebody else may have linked here: a second name of one that is not his.
    ///
    /// Linux forbids to make such names where `fs.protected_hardlinks` is set, as systemd sets it.
    pub(crate) fn refuse_foreign_name(&self, held: &Stat) -> io::Result<()> {
        let regular = FileType::from_raw_mode(held.st_mode) == FileType::RegularFile;
        if !regular || held.st_nlink < 2 || !is_root() || hard_links_are_protected() {
            return Ok(());
        }
        match self.is_shared()? && held.st_uid != fstat(&self.folder)?.st_uid {
            true => Err(io::Error::other(format!(
                "{} has other names, and lies in a folder that users other than root can write to",
                self.real().display()
            ))),
            false => Ok(()),
        }
    }
}

fn hard_links_are_protected() -> bool {
    let set = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    set.is_ok_and(|set| set.trim() == "1")
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
    let mut walk = Walk::begin(path)?;
    let name = match walk.walk(true) {
        Ok(name) => name,
        Err(e) if is_missing(&e) => return Ok(walk.rest()),
        Err(e) => return Err(e),
    };
    Ok(walk.place(name).real())
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

/// Whether others than root can make, rename or remove names in a folder. An ACL that lets them
/// shows in the bits of the group.
fn others_write(folder: &Stat) -> bool {
    folder.st_uid != 0 || folder.st_mode & WRITABLE_BY_OTHERS != 0
}

/// Whether others than root can put another folder in the place of `child`.
fn can_be_swapped(folder: &Stat, child: &Stat) -> bool {
    let root_keeps_its_own =
        folder.st_uid == 0 && folder.st_mode & STICKY != 0 && child.st_uid == 0;
    others_write(folder) && !root_keeps_its_own
}

/// A walk down from `/`.
struct Walk {
    /// The folders passed, so that `..` leads where we came from even if they were moved.
    folders: Vec<OwnedFd>,
    names: Vec<OsString>,
    /// What is still to be walked, last piece first.
    todo: Vec<OsString>,
    links: u32,
    /// A folder that others can swap has been passed: nothing below it is known to be root's.
    shared: bool,
    guarded: bool,
}

impl Walk {
    fn begin(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/", flags, Mode::empty())?;
        Ok(Self {
            folders: vec![root],
            names: Vec::new(),
            todo: pieces(&path),
            links: 0,
            shared: false,
            guarded: is_root(),
        })
    }

    fn finish(mut self, follow: bool) -> io::Result<Place> {
        let name = self.walk(follow)?;
        Ok(self.place(name))
    }

    /// Walks to the folder of the last piece, and returns that.
    fn walk(&mut self, follow: bool) -> io::Result<OsString> {
        while let Some(name) = self.todo.pop() {
            if name == ".." {
                self.up();
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
                FileType::Symlink => self.follow(&found, &name)?,
                _ if last => return Ok(name),
                FileType::Directory => self.down(found, name, &stat)?,
                _ => {
                    self.todo.push(name);
                    return Err(io::ErrorKind::NotADirectory.into());
                }
            }
        }
        Ok(OsString::from("."))
    }

    fn folder(&self) -> BorrowedFd<'_> {
        self.folders[self.folders.len() - 1].as_fd()
    }

    fn up(&mut self) {
        if self.names.pop().is_some() {
            self.folders.pop();
        }
    }

    fn down(&mut self, child: OwnedFd, name: OsString, stat: &Stat) -> io::Result<()> {
        self.shared |= can_be_swapped(&fstat(self.folder())?, stat);
        self.folders.push(child);
        self.names.push(name);
        Ok(())
    }

    fn follow(&mut self, link: &OwnedFd, name: &OsStr) -> io::Result<()> {
        if self.guarded && (self.shared || others_write(&fstat(self.folder())?)) {
            let path = self.within().join(name);
            return Err(io::Error::other(UntrustedLink(path)));
        }
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(too_many_links());
        }
        let target = readlinkat(link, "", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.is_absolute() {
            self.folders.truncate(1);
            self.names.clear();
        }
        self.todo.extend(pieces(&target));
        Ok(())
    }

    fn within(&self) -> PathBuf {
        let mut path = PathBuf::from("/");
        path.extend(&self.names);
        path
    }

    fn place(mut self, name: OsString) -> Place {
        let within = self.within();
        let folder = self.folders.swap_remove(self.folders.len() - 1);
        Place {
            folder,
            name,
            within,
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    const NOBODY: u32 = 65534;

    fn folder_of(mode: u32, owner: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/f"), "x").unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        symlink("../d", folder.path().join("in/to-d")).unwrap();
        symlink("../d/f", folder.path().join("in/to-f")).unwrap();
        let inner = folder.path().join("in");
        fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
        if owner != 0 {
            chown(&inner, Some(owner), None).unwrap();
        }
        folder
    }

    /// Only root can give files away, and only root is guarded.
    fn as_root() -> bool {
        if !is_root() {
            eprintln!("skipped: giving files to others needs root");
        }
        is_root()
    }

    #[test]
    fn a_link_in_a_folder_of_roots_own_is_followed() {
        let folder = folder_of(0o755, 0);
        let at = |name: &str| folder.path().join(name);
        assert_eq!(Place::of(&at("in/to-d/f")).unwrap().real(), at("d/f"));
        assert_eq!(Place::behind(&at("in/to-f")).unwrap().real(), at("d/f"));
        assert_eq!(Place::of(&at("in/to-f")).unwrap().real(), at("in/to-f"));
        assert_eq!(Place::of(&at("in/to-d/")).unwrap().real(), at("d"));
        assert_eq!(Place::of(&at("in/to-d/../d/f")).unwrap().real(), at("d/f"));
    }

    #[test]
    fn a_link_that_another_could_have_put_there_is_not() {
        if !as_root() {
            return;
        }
        for (mode, owner) in [(0o755, NOBODY), (0o775, 0), (0o777, 0), (0o1777, 0)] {
            let folder = folder_of(mode, owner);
            let at = |name: &str| folder.path().join(name);
            for path in ["in/to-d/f", "in/to-d/"] {
                let refused = Place::of(&at(path)).unwrap_err().to_string();
                assert!(refused.contains("in/to-d is a symbolic link"), "{refused}");
            }
            assert!(Place::behind(&at("in/to-f")).is_err());
            assert!(real(&at("in/to-f")).is_err());
            assert!(Place::of(&at("in/to-f")).unwrap().open_to_read().is_err());
        }
    }

    #[test]
    fn below_a_folder_that_others_can_swap_no_link_is_trusted() {
        if !as_root() {
            return;
        }
        let folder = folder_of(0o755, NOBODY);
        let inner = folder.path().join("in/roots");
        fs::create_dir(&inner).unwrap();
        symlink("/etc", inner.join("etc")).unwrap();
        assert!(Place::of(&inner.join("etc/passwd")).is_err());
        // In a sticky folder nobody moves what is root's.
        let sticky = folder_of(0o1777, 0);
        let inner = sticky.path().join("in/roots");
        fs::create_dir(&inner).unwrap();
        symlink("/etc", inner.join("etc")).unwrap();
        let found = Place::of(&inner.join("etc/passwd")).unwrap();
        assert_eq!(found.real(), Path::new("/etc/passwd"));
    }

    #[test]
    fn a_link_is_resolved_even_where_it_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("gone/there", &link).unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        assert_eq!(real(&link).unwrap(), root.join("gone/there"));
    }
}
