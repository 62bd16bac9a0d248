//! A text file of the system's that a module reads and writes whole: `/etc/timezone`, ….

use std::io;
use std::path::{Path, PathBuf};

use crate::atomic::How;
use crate::change::{self, Change, Content};
use crate::module::{Context, Failure};
use crate::modules::paths;
use crate::place;

/// Returns the file's text; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match place::read(path) {
        // What cannot be read could not be written back either.
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(io::Error::other),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Replaces the text of the file, or of the one that a link there leads to; makes it if it is not
/// there.
pub(super) fn write(path: &Path, text: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    change::apply(&[replacement(path, text)?], context)
}

/// Plans that.
pub(super) fn replacement(path: &Path, text: &str) -> Result<Change, Failure> {
    let real = place::real(path)
        .map_err(|e| Failure::new(format!("could not find {}: {e}", path.display())))?;
    Ok(written(real, text))
}

fn written(path: PathBuf, text: &str) -> Change {
    Change::Write {
        path,
        content: Content::text(text.as_bytes().to_vec()),
        how: How::default(),
    }
}

/// A text file that is edited, or the place where one is to be: what is no UTF-8 stays as it is.
pub(super) struct TextFile {
    /// As the task names it.
    pub(super) path: PathBuf,
    /// What a link at the path leads to.
    real: PathBuf,
    /// Its content; `None` if there is no file.
    pub(super) text: Option<String>,
}

impl TextFile {
    /// Reads the file that `path` leads to.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let unreadable = |e: io::Error| {
            let reason = paths::reason(&e);
            Failure::new(format!("could not read {}: {reason}", path.display()))
        };
        let text = match path.is_file() {
            true => Some(place::read(path).map_err(unreadable)?),
            false => None,
        };
        let text = text.map(String::from_utf8).transpose();
        // What cannot be read could not be written back either.
        let text =
            text.map_err(|e| unreadable(io::Error::other(format!("it is not UTF-8: {e}"))))?;
        Ok(Self {
            path: path.to_owned(),
            real: place::real(path).map_err(unreadable)?,
            text,
        })
    }

    /// Returns the content; of no file an empty one.
    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// Plans to write it anew.
    pub(super) fn write(&self, text: &str) -> Change {
        written(self.real.clone(), text)
    }

    /// Plans a dated copy beside it and returns its name; there is none of no file.
    pub(super) fn back_up(&self) -> Option<(Change, String)> {
        self.text.as_ref()?;
        let to = paths::backup_name(&self.path);
        let name = to.to_string_lossy().into_owned();
        let path = self.path.clone();
        Some((Change::Backup { path, to }, name))
    }
}
