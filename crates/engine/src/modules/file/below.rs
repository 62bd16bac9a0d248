//! What lies below a directory, for `recurse`.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::Want;
use super::read::times_of;
use crate::attrs::{Meta, Target};
use crate::place::{self, FileId, Place};

/// Everything below a directory, which is held while it is read; with `follow`, also what links
/// lead to, as far as they are trusted.
pub(super) struct Below<'a> {
    want: &'a Want,
    found: Vec<Entry>,
    seen: HashSet<FileId>,
}

pub(super) type Entry = (Target, SystemTime, SystemTime);

impl Below<'_> {
    pub(super) fn of(path: &Path, want: &Want) -> io::Result<Vec<Entry>> {
        let mut below = Below {
            want,
            found: Vec::new(),
            seen: HashSet::new(),
        };
        below.walk(&Place::behind(&want.path)?.enter()?, path)?;
        Ok(below.found)
    }

    fn walk(&mut self, inside: &Place, path: &Path) -> io::Result<()> {
        let mut folders = Vec::new();
        for name in inside.names()? {
            let Some(meta) = Meta::beside(inside, &name)? else {
                continue;
            };
            let path = path.join(&name);
            if meta.is_link() && self.want.follow {
                self.follow(&path)?;
            }
            if meta.is_dir() {
                folders.push(name);
            }
            self.found.push(entry_of(self.want, &path, meta));
        }
        for name in folders {
            match inside.sibling(&name).enter() {
                Ok(folder) => self.walk(&folder, &path.join(&name))?,
                Err(e) if place::is_missing(&e) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Adds what a link leads to, if something is there and nobody else has chosen it.
    fn follow(&mut self, link: &Path) -> io::Result<()> {
        let found = self.found.len();
        match self.behind(link) {
            Err(e) if place::is_untrusted(&e) => {
                self.found.truncate(found);
                Ok(())
            }
            done => done,
        }
    }

    fn behind(&mut self, link: &Path) -> io::Result<()> {
        let place = Place::behind(link)?;
        let Some(meta) = Meta::at(&place)? else {
            return Ok(());
        };
        let true = meta.id().is_some_and(|id| self.seen.insert(id)) else {
            return Ok(());
        };
        let (real, is_dir) = (place.real(), meta.is_dir());
        self.found.push(entry_of(self.want, &real, meta));
        match is_dir {
            true => self.walk(&place.enter()?, &real),
            false => Ok(()),
        }
    }
}

fn entry_of(want: &Want, path: &Path, meta: Meta) -> Entry {
    let (accessed, modified) = match want.times.any() {
        true => times_of(path),
        false => (SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH),
    };
    (want.attributes.target(path, meta), accessed, modified)
}
