//! Files that their owner alone reads, from their first moment on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Makes a file of mode 0600, to be written.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where something has that name, be it a link.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)
}
