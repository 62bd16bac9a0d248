//! How an archive is compressed: gzip here, bzip2 and xz by the target's programs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};

use crate::module::{Context, Failure};
use crate::run_command::{Command, required_bin};

/// `format` of the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Gz,
    Bz2,
    Xz,
    Tar,
    Zip,
}

impl Format {
    /// Reads a choice of the parameter; its default is gzip.
    pub(super) fn read(format: &str) -> Self {
        match format {
            "bz2" => Self::Bz2,
            "xz" => Self::Xz,
            "tar" => Self::Tar,
            "zip" => Self::Zip,
            _ => Self::Gz,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gz => "gz",
            Self::Bz2 => "bz2",
            Self::Xz => "xz",
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }

    /// Returns what Ansible calls an archive of it.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Gz => "tar.gz",
            Self::Bz2 => "tar.bz2",
            Self::Xz => "tar.xz",
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }

    /// The program that compresses, and the ending of what it makes.
    fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Bz2 => Some(("bzip2", "bz2")),
            Self::Xz => Some(("xz", "xz")),
            Self::Gz | Self::Tar | Self::Zip => None,
        }
    }

    /// Compresses `plain`, which is to be found at `dest`, and returns where the result is.
    pub(super) fn compress(
        self,
        plain: &Path,
        dest: &Path,
        context: &mut Context<'_>,
    ) -> Result<PathBuf, Failure> {
        if let Self::Tar | Self::Zip = self {
            return Ok(plain.to_owned());
        }
        let Some((program, ending)) = self.program() else {
            let made = plain.with_extension("gz");
            return match gzip(plain, &made, dest) {
                Ok(()) => Ok(made),
                Err(e) => Err(Failure::new(format!(
                    "Unable to write to compressed file: {e}"
                ))),
            };
        };
        let program = required_bin(program, context)?;
        let command = Command::new([&program, "-z", "-f", &*plain.to_string_lossy()]).parsable();
        command.checked(context)?;
        Ok(plain.with_extension(ending))
    }

    /// Writes what `there` has, not compressed, to `plain`. Returns whether it could be read.
    pub(super) fn expand(
        self,
        mut there: File,
        plain: &Path,
        context: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        let unread = |e: io::Error| Failure::new(format!("could not copy the archive: {e}"));
        let Some((program, ending)) = self.program() else {
            let mut expanded = flate2::read::MultiGzDecoder::new(io::BufReader::new(there));
            let mut file = File::create(plain).map_err(unread)?;
            return Ok(io::copy(&mut expanded, &mut file).is_ok());
        };
        let copy = plain.with_extension(ending);
        io::copy(&mut there, &mut File::create(&copy).map_err(unread)?).map_err(unread)?;
        let program = required_bin(program, context)?;
        let command = Command::new([&program, "-d", "-f", &*copy.to_string_lossy()]).parsable();
        let ran = command.run(context).map_err(|e| e.failure(&command))?;
        Ok(ran.rc == 0)
    }
}

/// Compresses with the name and the time in the header that Python writes there.
fn gzip(plain: &Path, made: &Path, dest: &Path) -> io::Result<()> {
    let name = dest.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let header = GzBuilder::new()
        .filename(name.as_bytes())
        .mtime(u32::try_from(now.as_secs()).unwrap_or(0));
    let mut out = header.write(File::create(made)?, Compression::best());
    io::copy(&mut File::open(plain)?, &mut out)?;
    out.finish()?.sync_data()
}
