//! `archive`: a version as a tar or zip beside the checkout.

use std::io;
use std::path::{Path, PathBuf};

use super::Run;
use crate::module::Failure;

impl Run<'_, '_> {
    /// Packs the version as `archive` wants it; one that is the same already stays.
    pub(super) fn archive(&mut self) -> Result<(), Failure> {
        let Some(path) = self.args.str("archive").map(PathBuf::from) else {
            return Ok(());
        };
        if self.context.check {
            self.changed = true;
            return Ok(());
        }
        let Some(format) = archive_format(&path) else {
            let shown = path.display();
            let msg = format!("Unable to get file extension from archive file name : {shown}");
            let details = "Please specify archive as filename with extension. File extension can \
                           be one of ['tar', 'tar.gz', 'zip', 'tgz']";
            return Err(Failure::new(msg).with("details", details));
        };
        if !path.exists() {
            self.changed = true;
            return self.pack(format, &path);
        }
        let failed = |e: io::Error| Failure::new(format!("Failed to replace the archive: {e}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        let new = folder.path().join("archive").with_extension(format);
        self.pack(format, &new)?;
        let same = std::fs::read(&new).map_err(failed)? == std::fs::read(&path).map_err(failed)?;
        if !same && std::fs::rename(&new, &path).is_err() {
            std::fs::copy(&new, &path).map_err(failed)?;
        }
        self.changed = !same;
        Ok(())
    }

    fn pack(&mut self, format: &str, to: &Path) -> Result<(), Failure> {
        let (version, to) = (self.version.clone(), to.to_string_lossy().into_owned());
        let mut argv = vec!["archive", "--format", format, "--output", &to];
        if let Some(prefix) = self.args.str("archive_prefix") {
            argv.extend(["--prefix", prefix]);
        }
        argv.push(&version);
        let ran = self.git(&argv)?;
        if ran.rc == 0 {
            return Ok(());
        }
        let dest = self.dest.clone().unwrap_or_default();
        let (dest, stderr) = (dest.display(), ran.stderr);
        let details = format!(
            "Git archive command failed to create archive {to} using {dest} directory.Error: {stderr}"
        );
        Err(Failure::new("Failed to perform archive operation").with("details", details))
    }
}

/// How git packs by the ending of the archive's name.
fn archive_format(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?;
    let formats = [
        ("zip", "zip"),
        ("gz", "tar.gz"),
        ("tar", "tar"),
        ("tgz", "tgz"),
    ];
    let known = formats.iter().find(|(known, _)| *known == ending);
    known.map(|(_, format)| *format)
}
