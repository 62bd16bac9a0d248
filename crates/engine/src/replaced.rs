//! Files that were replaced, held a little longer than they have a name.
//!
//! ext4 begins to write a new file when it takes an old one's name, and whoever lets the last hold of such a file go
//! waits until its content has been written: a millisecond or more. A loop that edits one file a thousand times would
//! wait a thousand times, for contents that nobody wants any more. So while many files are replaced, those that were
//! there are held, and let go when the disk has long been done with them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::fs::fstat;

/// How many are held at a time.
const HELD: usize = 64;
/// Larger ones are not: what has no name should not fill a disk.
const LARGEST: i64 = 256 << 10;

thread_local! {
    static REPLACED: RefCell<Replaced> = const { RefCell::new(Replaced { many: 0, held: VecDeque::new() }) };
}

struct Replaced {
    /// How many there are who replace many files.
    many: usize,
    held: VecDeque<OwnedFd>,
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
                0 => std::mem::take(&mut replaced.held),
                _ => VecDeque::new(),
            }
        });
    }
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
    fn large_files_are_let_go_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(&path, vec![0; 300 << 10]).unwrap();
        let _many = Many::begin();
        replace(&path, "small");
        assert_eq!(held(), 0);
    }
}
