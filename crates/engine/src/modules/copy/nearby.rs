//! Finds where the files of a tree go: most lie beside the one before, whose folder is walked to once.

use std::io;
use std::path::{Path, PathBuf};

use crate::attrs::Meta;
use crate::modules::paths;
use crate::place::{self, Place};

/// Where a file goes.
#[derive(Clone)]
pub(super) struct Here {
    /// The name in its folder; `None` if there is no such folder.
    pub(super) place: Option<Place>,
    /// What is known of the folder, or of the one that the first missing is made in.
    pub(super) parent: Option<Meta>,
    pub(super) missing: Vec<PathBuf>,
}

/// The folder that was looked at last, and what was found for a file in it.
#[derive(Default)]
pub(super) struct Nearby(Option<(PathBuf, Here)>);

impl Nearby {
    /// Finds where `dest` is to be. Nothing may be changed between two calls.
    pub(super) fn find(&mut self, dest: &Path) -> io::Result<Here> {
        let folder = dest.parent().unwrap_or(Path::new("/"));
        if let (Some((known, here)), Some(name)) = (&self.0, dest.file_name())
            && known == folder
        {
            let place = here.place.as_ref().map(|place| place.sibling(name));
            return Ok(Here {
                place,
                ..here.clone()
            });
        }
        let (parent, missing) = paths::missing(folder)?;
        let place = match Place::of(dest) {
            Ok(place) => Some(place),
            Err(e) if place::is_missing(&e) => None,
            Err(e) => return Err(e),
        };
        let here = Here {
            place,
            parent,
            missing,
        };
        self.0 = Some((folder.to_path_buf(), here.clone()));
        Ok(here)
    }
}
