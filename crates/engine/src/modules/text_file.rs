//! A text file of the system's that a module reads and writes whole: `/etc/timezone`, ….

use std::io;
use std::path::Path;

use crate::atomic::How;
use crate::change::{self, Change, Content};
use crate::module::{Context, Failure};
use crate::place;

/// Returns the file's text; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<String>> {
    match place::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
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
    Ok(Change::Write {
        path: real,
        content: Content::text(text.as_bytes().to_vec()),
        how: How::default(),
    })
}
