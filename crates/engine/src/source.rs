//! What a task's controller side supplies to its module: files, texts, links, directories.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        Ok(Self::File {
            file: Arc::new(file),
            mode,
        })
    }

    /// Returns `text` as a source.
    #[must_use]
    pub fn of_text(text: &str) -> Self {
        Self::Bytes(Arc::from(text.as_bytes()))
    }

    /// Gathers what a recursive copy of the directory `src` brings, by path below the destination.
    ///
    /// `src/` is its content, `src` the directory itself. Links are followed if `follow`, unless
    /// they lead back up or nowhere.
    pub fn gather(src: &str, follow: bool) -> io::Result<BTreeMap<String, Self>> {
        let root = Path::new(src);
        let prefix = match src.ends_with('/') {
            true => String::new(),
            false => {
                root.file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned()
                    + "/"
            }
        };
        let mut found = BTreeMap::new();
        let mut above = vec![fs::canonicalize(root)?];
        gather_into(root, &prefix, follow, &mut above, &mut found)?;
        Ok(found)
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

fn gather_into(
    folder: &Path,
    prefix: &str,
    follow: bool,
    above: &mut Vec<PathBuf>,
    found: &mut BTreeMap<String, Source>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        let behind = fs::metadata(&path).ok();
        let is_dir = behind.as_ref().is_some_and(fs::Metadata::is_dir);
        let is_file = behind.as_ref().is_some_and(fs::Metadata::is_file);
        let real = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if kind.is_symlink() && (!follow || !(is_dir || is_file) || above.contains(&real)) {
            let target = fs::read_link(&path)?;
            found.insert(name, Source::Link(target.to_string_lossy().into_owned()));
        } else if is_dir {
            above.push(real);
            gather_into(&path, &format!("{name}/"), follow, above, found)?;
            above.pop();
            found.insert(name, Source::Directory);
        } else if is_file {
            found.insert(name, Source::of_file(File::open(&path)?)?);
        }
    }
    Ok(())
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
