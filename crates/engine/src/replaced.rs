//! Files that were replaced, and what replaces one of them again and again.
//!
//! ext4 begins to write a new file when it takes an old one's name, so that a machine that loses its power then has one
//! of the two, and whoever lets the last hold of such a file go waits until its content has been written: a
//! millisecond or more. A loop that edits one file a thousand times would write and wait a thousand times, for contents
//! that nobody wants any more. So while many files are replaced, what takes the place of a file that has just been
//! replaced changes names with it, which writes nothing, and the disk is told to begin with the last of them. Those that
//! were there are held, and let go when the disk has long been done with them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;

use rustix::fs::{Advice, fadvise, fstat};

use crate::place::{FileId, Place};

/// How many are held at a time.
const HELD: usize = 64;
/// Larger ones are not: what has no name should not fill a disk.
const LARGEST: i64 = 256 << 10;

thread_local! {
    static REPLACED: RefCell<Replaced> = const {
        RefCell::new(Replaced { many: 0, held: VecDeque::new(), latest: None })
    };
}

struct Replaced {
    /// How many there are who replace many files.
    many: usize,
    held: VecDeque<OwnedFd>,
    /// What was put in place last.
    latest: Option<Latest>,
}

/// A file in its place, which the disk need not have begun to write.
struct Latest {
    spot: (FileId, OsString),
    file: File,
}

impl Drop for Latest {
    fn drop(&mut self) {
        // Linux begins to write what it need not keep in memory.
        let _unknown_to_the_file_system = fadvise(&self.file, 0, None, Advice::DontNeed);
    }
}

/// While it lives, this thread replaces many files. Afterwards none is held: a file system may be unmounted.
pub(crate) struct Many(());

impl Many {
    pub(crate) fn begin() -> Self {
        REPLACED.with_borrow_mut(|replaced| replaced.many += 1);
        Self(())
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        let _let_go = REPLACED.with_borrow_mut(|replaced| {
            replaced.many -= 1;
            match replaced.many {
                0 => (std::mem::take(&mut replaced.held), replaced.latest.take()),
                _ => (VecDeque::new(), None),
            }
        });
    }
}

/// Whether what is here is what was put in place last, by one of many.
pub(crate) fn is_latest(place: &Place) -> bool {
    REPLACED.with_borrow(|replaced| {
        let latest = replaced.latest.as_ref();
        latest.is_some_and(|latest| place.spot().is_ok_and(|spot| spot == latest.spot))
    })
}

/// Notes what has been put in place, if it is one of many.
pub(crate) fn put(place: &Place, file: &File) {
    let _before = REPLACED.with_borrow_mut(|replaced| {
        if replaced.many == 0 {
            return None;
        }
        let spot = place.spot().ok();
        if spot.is_some() && spot.as_ref() == replaced.latest.as_ref().map(|latest| &latest.spot) {
            // The one before has no name any more: nobody wants it written.
            let latest = replaced.latest.as_mut()?;
            latest.file = file.try_clone().ok()?;
            return None;
        }
        let latest = spot.and_then(|spot| {
            let file = file.try_clone().ok()?;
            Some(Latest { spot, file })
        });
        std::mem::replace(&mut replaced.latest, latest)
    });
}

/// Lets go of a file that has no name any more: later, if this is one of many.
pub(crate) fn let_go(old: OwnedFd) {
    let is_small = fstat(&old).is_ok_and(|old| old.st_size <= LARGEST);
    let _oldest = REPLACED.with_borrow_mut(|replaced| {
        if replaced.many == 0 || !is_small {
            return Some(old);
        }
        replaced.held.push_back(old);
        match replaced.held.len() {
            0..=HELD => None,
            _ => replaced.held.pop_front(),
        }
    });
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use super::*;
    use crate::atomic::{self, How};
    use crate::place::{Place, by_descriptor};
    use crate::source::Source;

    fn replace(path: &Path, text: &str) {
        let content = Source::of_text(text);
        atomic::replace(&Place::of(path).unwrap(), path, &content, &How::default()).unwrap();
    }

    fn held() -> usize {
        REPLACED.with_borrow(|replaced| replaced.held.len())
    }

    #[test]
    fn what_one_of_many_replaces_is_held_until_they_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("settings");
        std::fs::write(&path, "old").unwrap();
        replace(&path, "alone");
        assert_eq!(held(), 0);
        let outer = Many::begin();
        let inner = Many::begin();
        let there = Place::of(&path).unwrap().hold().unwrap();
        replace(&path, "one of many");
        assert_eq!(held(), 1);
        drop(inner);
        assert_eq!(held(), 1);
        // It is the old file that is held, which no name leads to.
        let named = std::fs::metadata(by_descriptor(there.as_fd())).unwrap();
        assert_eq!(named.nlink(), 0);
        for n in 0..2 * HELD {
            replace(&path, &n.to_string());
        }
        assert_eq!(held(), HELD);
        drop(outer);
        assert_eq!(held(), 0);
    }

    #[test]
    fn what_is_replaced_again_leaves_no_other_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("settings"), folder.path().join("other"));
        let is_latest = |path: &Path| super::is_latest(&Place::of(path).unwrap());
        let many = Many::begin();
        for text in ["first", "second", "third"] {
            replace(&path, text);
            assert!(is_latest(&path));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        replace(&other, "other");
        assert!(is_latest(&other) && !is_latest(&path));
        drop(many);
        assert!(!is_latest(&other));
        replace(&other, "alone");
        assert!(!is_latest(&other));
    }

    #[test]
    fn large_files_are_let_go_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(&path, vec![0; 300 << 10]).unwrap();
        let _many = Many::begin();
        replace(&path, "small");
        assert_eq!(held(), 0);
    }
}
