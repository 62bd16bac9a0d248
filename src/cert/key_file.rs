//! A private key on the disk, for those who ask for it: for its owner alone, and in its place only once its
//! certificate is in AWS.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::private_file;
use crate::secret::Secret;
use crate::targets::TargetError;

/// A key beside the place that it is for. It goes with this, unless it is put there.
#[derive(Debug)]
pub(super) struct KeyFile {
    written: PathBuf,
    place: PathBuf,
    stays: bool,
}

impl KeyFile {
    /// Writes a key beside `place`.
    pub(super) fn write(place: &Path, key: &Secret<String>) -> Result<Self, TargetError> {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let written = place.with_file_name(format!(".{name}.{}.new", std::process::id()));
        private(&written, key.expose().as_bytes()).map_err(|e| unwritable(place, e))?;
        Ok(Self {
            written,
            place: place.to_owned(),
            stays: false,
        })
    }

    /// Puts it in its place, over what is there.
    pub(super) fn put(mut self) -> Result<(), TargetError> {
        // Its certificate is in AWS by now, and it is nowhere else.
        self.stays = true;
        std::fs::rename(&self.written, &self.place).map_err(|error| {
            let (written, place) = (self.written.display(), self.place.display());
            TargetError::new(format!(
                "the key is in {written}, and not in its place, {place}"
            ))
            .because(error)
        })
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        if !self.stays {
            let _was_put = std::fs::remove_file(&self.written);
        }
    }
}

fn private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = private_file::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn unwritable(place: &Path, error: io::Error) -> TargetError {
    TargetError::new(format!(
        "the key could not be written to {}",
        place.display()
    ))
    .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_its_owner_s_alone_and_there_only_when_it_is_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("key.pem");
        std::fs::write(&place, "old").unwrap();
        let key = Secret::new("new".to_owned());
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        drop(KeyFile::write(&place, &key).unwrap());
        assert_eq!(
            (std::fs::read_to_string(&place).unwrap().as_str(), files()),
            ("old", 1)
        );
        KeyFile::write(&place, &key).unwrap().put().unwrap();
        assert_eq!(
            (std::fs::read_to_string(&place).unwrap().as_str(), files()),
            ("new", 1)
        );
        let mode = std::fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_place_that_is_not_there_is_told_by_its_name() {
        let key = Secret::new("new".to_owned());
        let error = KeyFile::write(Path::new("/no/such/key.pem"), &key).unwrap_err();
        assert!(
            error
                .on_one_line()
                .starts_with("the key could not be written to /no/such/key.pem: ")
        );
    }
}
