//! What a task's controller side supplies to its module: files, texts, links, directories.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use amibake_playbook::surrogates;

/// One thing to be put on the machine.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file, opened for reading by whoever may read it.
    File {
        /// The open file. Read by position, so that clones do not disturb each other.
        file: Arc<File>,
        /// Its permission bits on the controller, for `mode: preserve`.
        mode: u32,
    },
    /// A text made up on the way: `content`, a rendered template.
    Bytes(Arc<[u8]>),
    /// A directory, in a recursive copy.
    Directory,
    /// A symbolic link to this target, in a recursive copy.
    Link(String),
}

impl Source {
    /// Returns `file` as a source, with its own permission bits.
    pub fn of_file(file: File) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        Ok(Self::of_file_with(file, mode))
    }

    /// Returns `file` as a source, with these permission bits.
    #[must_use]
    pub fn of_file_with(file: File, mode: u32) -> Self {
        Self::File {
            file: Arc::new(file),
            mode,
        }
    }

    /// Returns `text` as a source, with the bytes in it that are no UTF-8.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::Bytes(Arc::from(&*surrogates::bytes(text)))
    }

    /// Returns a reader from its first byte; directories and links are empty.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            source: self,
            at: 0,
        }
    }

    /// Writes all of it to `out`, without holding all of it in memory.
    pub fn write_to(&self, out: &mut dyn Write) -> io::Result<u64> {
        io::copy(&mut self.reader(), out)
    }
}

/// Reads a [`Source`].
pub struct Reader<'a> {
    source: &'a Source,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.source {
            Source::File { file, .. } => file.read_at(buffer, self.at)?,
            Source::Bytes(bytes) => {
                let from = usize::try_from(self.at).unwrap_or(usize::MAX);
                bytes.get(from..).unwrap_or_default().read(buffer)?
            }
            Source::Directory | Source::Link(_) => 0,
        };
        self.at += read as u64;
        Ok(read)
    }
}
