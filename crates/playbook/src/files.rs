//! Where the language reads its files from: the disk, or an unpacked bundle on the target.
//!
//! Paths are always the ones the author knows (absolute, on the controller), so that every
//! message names the file that can be edited, on whichever side it is raised.

use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// Read access to the files of playbooks and roles, by their path on the controller.
pub trait Files {
    /// Returns the content of the file at `path`.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Returns whether a regular file (links followed) is at `path`.
    fn is_file(&self, path: &Path) -> bool;
    /// Returns whether a directory (links followed) is at `path`.
    fn is_dir(&self, path: &Path) -> bool;
    /// Returns the names in the directory at `path`, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Returns what the link at `path` says, if it is one that cannot be followed: it leads nowhere,
    /// or to a folder that it is in.
    fn link(&self, path: &Path) -> Option<String>;
    /// Returns `path` without links, as Python's `realpath`: what is missing stays as it is written.
    fn real(&self, path: &Path) -> PathBuf {
        normal(path)
    }
    /// Returns the permission bits of the file at `path`.
    fn mode(&self, path: &Path) -> io::Result<u32>;
    /// Returns the length in bytes of the file at `path`.
    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(self.locate(path))?.len())
    }
    /// Returns whether the file at `path` is a vault as its author left it.
    fn is_vaulted(&self, path: &Path) -> io::Result<bool> {
        Ok(self.read(path)?.starts_with(b"$ANSIBLE_VAULT;"))
    }
    /// Looks once more for a path that is not here: perhaps it was left out, or came later.
    fn look(&self, _paths: &[PathBuf]) -> Look {
        Look::Absent
    }
    /// Makes `path` be read anew: it was changed on the controller.
    fn forget(&self, _path: &Path) {}
    /// Returns where the bytes of `path` lie on this machine, for programs that stream them.
    fn locate(&self, path: &Path) -> PathBuf;
}

/// What a second look for a file finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// None of the paths is there.
    Absent,
    /// This one is there, and can be read now.
    There(PathBuf),
    /// This one is there, and nothing in the playbook names it.
    Withheld(PathBuf),
    /// Whether this one is there is not for the playbook to know.
    Outside(PathBuf),
}

/// Files below a prefix: `""` is this machine's disk, anything else an unpacked bundle, whose links
/// are those that cannot be followed: what they lead to here is not the author's.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    prefix: PathBuf,
}

impl Disk {
    /// Returns the files of this machine under their own names.
    #[must_use]
    pub fn here() -> Self {
        Self::default()
    }

    /// Returns the files of a bundle unpacked below `prefix`.
    #[must_use]
    pub fn below(prefix: impl Into<PathBuf>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    fn follows(&self, at: &Path) -> bool {
        self.prefix.as_os_str().is_empty() || !at.is_symlink()
    }
}

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(self.locate(path))
    }

    fn is_file(&self, path: &Path) -> bool {
        let at = self.locate(path);
        self.follows(&at) && at.is_file()
    }

    fn is_dir(&self, path: &Path) -> bool {
        let at = self.locate(path);
        self.follows(&at) && at.is_dir()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.locate(path))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn link(&self, path: &Path) -> Option<String> {
        let at = self.locate(path);
        let target = std::fs::read_link(&at).ok()?;
        let target = target.to_string_lossy().into_owned();
        if !self.follows(&at) {
            return Some(target);
        }
        let Ok(real) = at.canonicalize() else {
            return Some(target);
        };
        // A folder that it is in, also by way of another link.
        let mut folders = at.ancestors().skip(1);
        let is_around = |folder: &Path| {
            folder
                .canonicalize()
                .is_ok_and(|folder| folder.starts_with(&real))
        };
        folders.any(is_around).then_some(target)
    }

    fn real(&self, path: &Path) -> PathBuf {
        match self.prefix.as_os_str().is_empty() {
            true => real(path),
            false => normal(path),
        }
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        use std::os::unix::fs::PermissionsExt;
        Ok(std::fs::metadata(self.locate(path))?.permissions().mode() & 0o7777)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        if self.prefix.as_os_str().is_empty() {
            return path.to_path_buf();
        }
        self.prefix.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// How many links one path may lead over.
const MOST_LINKS: usize = 40;

/// Follows the links of an absolute path, `..` after them; what is missing, or leads in a circle, stays.
fn real(path: &Path) -> PathBuf {
    let parts = |path: &Path| -> Vec<OsString> {
        let parts = path.components().rev();
        parts.map(|part| part.as_os_str().to_owned()).collect()
    };
    let (mut at, mut left, mut links) = (PathBuf::from("/"), parts(path), 0);
    while let Some(part) = left.pop() {
        if part == ".." {
            at.pop();
            continue;
        }
        // The root is a part of its own, and begins anew.
        let next = at.join(&part);
        match std::fs::read_link(&next) {
            Ok(target) if links < MOST_LINKS => {
                links += 1;
                left.extend(parts(&target));
            }
            _ => at = next,
        }
    }
    at
}

/// Removes `.` and `..` by name: what links make of them is the affair of who opens the file.
#[must_use]
pub fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}

/// Returns whether a file system begins at a path of this machine, as Python's `ismount` decides it.
#[must_use]
pub fn is_mount(path: &Path) -> bool {
    let Ok(own) = path.symlink_metadata() else {
        return false;
    };
    if own.is_symlink() {
        return false;
    }
    let above = path.join("..").canonicalize();
    let above = above.and_then(|folder| folder.metadata());
    above.is_ok_and(|above| own.dev() != above.dev() || own.ino() == above.ino())
}

/// Returns whether two paths of this machine are one file, links followed.
pub fn are_same(path: &Path, other: &Path) -> io::Result<bool> {
    let (one, two) = (path.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (two.dev(), two.ino()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes files, and returns the folder that they are in.
    pub(crate) fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn a_bundle_keeps_the_names_of_the_controller() {
        let files = Disk::below("/run/amibake/r1/files");
        assert_eq!(
            files.locate(Path::new("/home/ann/site.yml")),
            Path::new("/run/amibake/r1/files/home/ann/site.yml")
        );
    }

    #[test]
    fn a_link_that_cannot_be_followed_is_told_and_in_a_bundle_every_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        for (name, target) in [("good", "file"), ("gone", "nowhere"), ("round", ".")] {
            std::os::unix::fs::symlink(target, at(name)).unwrap();
        }
        let here = Disk::here();
        assert_eq!(here.link(&at("file")), None);
        assert_eq!(here.link(&at("good")), None);
        assert_eq!(here.link(&at("gone")).as_deref(), Some("nowhere"));
        assert_eq!(here.link(&at("round")).as_deref(), Some("."));
        for (folder, link, target) in [("a", "away", "../b"), ("b", "back", "../a")] {
            std::fs::create_dir(at(folder)).unwrap();
            std::os::unix::fs::symlink(target, at(folder).join(link)).unwrap();
        }
        assert_eq!(here.link(&at("a/away")), None);
        assert_eq!(here.link(&at("a/away/back")).as_deref(), Some("../a"));
        assert_eq!(here.link(&at("b/back")), None);
        let bundle = Disk::below(folder.path());
        assert_eq!(bundle.link(Path::new("/good")).as_deref(), Some("file"));
        assert!(!bundle.is_file(Path::new("/good")));
    }

    #[test]
    fn links_are_followed_and_what_is_missing_stays() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        let links = [
            ("link", "a/b"),
            ("gone", "nowhere/./x"),
            ("round", "round"),
            ("a/up", ".."),
        ];
        for (name, target) in links {
            std::os::unix::fs::symlink(target, base.join(name)).unwrap();
        }
        for (path, expected) in [
            ("link/x/y", "a/b/x/y"),
            ("link/../y", "a/y"),
            ("gone/y", "nowhere/x/y"),
            ("missing/../a/up/link", "a/b"),
            ("round/x", "round/x"),
        ] {
            let found = Disk::here().real(&base.join(path));
            assert_eq!(found, base.join(expected), "{path}");
        }
    }

    #[test]
    fn dots_are_removed_by_name() {
        assert_eq!(normal(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
