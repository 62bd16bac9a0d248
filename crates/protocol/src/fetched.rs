//! A file of the target on its way to the controller, by `fetch`: where it goes, and its arrival.
//!
//! Who may choose where it goes is not decided here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use md5::Md5;
use serde_json::{Map, Value as Json, json};
use sha1::{Digest, Sha1};

use amibake_playbook::files::normal;

/// What `fetch` wants.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Fetch {
    /// Path of the file on the target, as the result shows it.
    pub src: String,
    /// Where it goes on the controller, absolute; a `/` at its end counts.
    pub dest: String,
    /// Whether `dest` is the file itself rather than a folder for hosts.
    pub flat: bool,
    /// The SHA-1 of its content.
    pub checksum: String,
    /// Whether what arrives must have that checksum.
    pub validate: bool,
}

/// Why a file cannot be put where it is to go: `fetch`'s own words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoPlace(String);

impl Fetch {
    /// Returns the file that is written. Without `flat` it is below the folder of `host`.
    ///
    /// # Errors
    /// [`NoPlace`] if there is a folder already, or if the path of the target leads out of its folder.
    pub fn destination(&self, host: &str) -> Result<PathBuf, NoPlace> {
        let dest = match self.flat {
            true => self.flat_destination()?,
            false => {
                let folder = normal(&Path::new(&self.dest).join(host));
                let below: PathBuf = Path::new(&self.src)
                    .components()
                    .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
                    .collect();
                let file = normal(&folder.join(&below));
                let inside = file.starts_with(&folder) && file != folder;
                if !inside || below.components().any(|part| part == Component::ParentDir) {
                    let src = &self.src;
                    return Err(NoPlace(format!(
                        "Detected directory traversal, expected to be contained in '{}' but got '{src}'",
                        folder.display()
                    )));
                }
                file
            }
        };
        Ok(normal(&dest))
    }

    fn flat_destination(&self) -> Result<PathBuf, NoPlace> {
        let dest = Path::new(&self.dest);
        if !self.dest.ends_with('/') {
            if dest.is_dir() {
                return Err(NoPlace(
                    "dest is an existing directory, use a trailing slash if you want to fetch src into that directory".to_owned(),
                ));
            }
            return Ok(dest.to_path_buf());
        }
        let dest = dest.join(self.name());
        if dest.is_dir() {
            let dest = dest.display();
            return Err(NoPlace(format!(
                "calculated dest '{dest}' is an existing directory, use another path that does not point to an existing directory"
            )));
        }
        Ok(dest)
    }

    /// Returns the file's own name on the target; never one that leads elsewhere.
    fn name(&self) -> &str {
        let name = self.src.rsplit('/').next().unwrap_or_default();
        if matches!(name, "." | "..") { "" } else { name }
    }

    /// Returns the result if the file is there already.
    pub fn unchanged(&self, dest: &Path) -> io::Result<Option<Map<String, Json>>> {
        let Ok(mut file) = File::open(dest) else {
            return Ok(None);
        };
        let mut sums = Sums::default();
        io::copy(&mut file, &mut sums)?;
        let (checksum, md5sum) = sums.finish();
        Ok((checksum == self.checksum).then(|| {
            fields(json!({
                "changed": false, "md5sum": md5sum, "file": self.src, "dest": dest, "checksum": checksum,
            }))
        }))
    }
}

fn fields(value: Json) -> Map<String, Json> {
    match value {
        Json::Object(fields) => fields,
        _ => Map::new(),
    }
}

#[derive(Default)]
struct Sums(Sha1, Md5);

impl Sums {
    fn finish(self) -> (String, String) {
        (
            hex::encode(self.0.finalize()),
            hex::encode(self.1.finalize()),
        )
    }
}

impl Write for Sums {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        self.1.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file as it arrives: beside its place until it is whole.
pub struct Arriving {
    fetch: Fetch,
    dest: PathBuf,
    part: PathBuf,
    file: File,
    sums: Sums,
}

impl Arriving {
    /// Begins a file at `dest`, making the folders that it lies in.
    pub fn begin(fetch: Fetch, dest: PathBuf, mark: &str) -> io::Result<Self> {
        let folder = dest.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let name = dest
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let part = folder.join(format!(".{name}.{mark}"));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&part)?;
        if let Ok(there) = dest.metadata() {
            file.set_permissions(there.permissions())?;
        }
        Ok(Self {
            fetch,
            dest,
            part,
            file,
            sums: Sums::default(),
        })
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sums.write_all(bytes)?;
        self.file.write_all(bytes)
    }

    /// Gives it its name and returns the result of the task.
    pub fn finish(mut self) -> io::Result<Map<String, Json>> {
        let sums = std::mem::take(&mut self.sums);
        let (checksum, md5sum) = sums.finish();
        let Fetch {
            src,
            checksum: wanted,
            ..
        } = &self.fetch;
        if self.fetch.validate && checksum != *wanted {
            return Ok(fields(json!({
                "failed": true, "changed": false, "md5sum": md5sum, "msg": "checksum mismatch", "file": src,
                "dest": self.dest, "remote_md5sum": null, "checksum": checksum, "remote_checksum": wanted,
            })));
        }
        fs::rename(&self.part, &self.dest)?;
        Ok(fields(json!({
            "changed": true, "md5sum": md5sum, "dest": self.dest, "remote_md5sum": null, "checksum": checksum,
            "remote_checksum": wanted,
        })))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.part); // gone already if it was finished
    }
}

/// Puts a file that lies on this machine where `fetch` wants it.
pub fn copy(fetch: &Fetch, host: &str, from: &Path) -> io::Result<Map<String, Json>> {
    let dest = match fetch.destination(host) {
        Ok(dest) => dest,
        Err(wrong) => return Ok(fields(json!({"failed": true, "msg": wrong.to_string()}))),
    };
    if let Some(unchanged) = fetch.unchanged(&dest)? {
        return Ok(unchanged);
    }
    let mut from = File::open(from)?;
    let mut arriving = Arriving::begin(fetch.clone(), dest, "part")?;
    let mut part = vec![0; 64 << 10];
    loop {
        match from.read(&mut part)? {
            0 => return arriving.finish(),
            n => arriving.add(&part[..n])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(src: &str, dest: &str, flat: bool) -> Fetch {
        Fetch {
            src: src.to_owned(),
            dest: dest.to_owned(),
            flat,
            checksum: hex::encode(Sha1::digest("hi")),
            validate: true,
        }
    }

    #[test]
    fn a_host_writes_into_its_own_folder_and_nowhere_else() {
        let to = |src, dest, flat| fetch(src, dest, flat).destination("web1").ok();
        let path = |path: &str| Some(PathBuf::from(path));
        assert_eq!(to("/etc/motd", "/f", false), path("/f/web1/etc/motd"));
        assert_eq!(to("motd", "/f/", false), path("/f/web1/motd"));
        assert_eq!(to("/etc/motd", "/f/", true), path("/f/motd"));
        assert_eq!(to("/etc/motd", "/f/x", true), path("/f/x"));
        for src in ["/../x", "../../x", "/etc/../../../x", "/", "..", ""] {
            assert_eq!(to(src, "/f", false), None, "{src}");
        }
        assert_eq!(
            to("/etc/..", "/f/", true),
            path("/f"),
            "which is a folder, or else a name of the author's"
        );
    }

    #[test]
    fn what_arrives_takes_its_place_when_it_is_whole_and_right() {
        let folder = tempfile::tempdir().unwrap();
        let dest = folder.path().join("new/motd");
        let wanted = fetch("/etc/motd", "/unused", true);
        let mut arriving = Arriving::begin(wanted.clone(), dest.clone(), "1").unwrap();
        arriving.add(b"h").unwrap();
        assert!(!dest.exists());
        arriving.add(b"i").unwrap();
        assert_eq!(arriving.finish().unwrap()["changed"], true);
        assert_eq!(fs::read_to_string(&dest).unwrap(), "hi");
        let again = wanted.unchanged(&dest).unwrap().unwrap();
        assert_eq!(again["md5sum"], "49f68a5c8493ec2c0bf489821c21fc3b");
        let mut wrong = Arriving::begin(wanted, dest.clone(), "2").unwrap();
        wrong.add(b"other").unwrap();
        assert_eq!(wrong.finish().unwrap()["msg"], "checksum mismatch");
        assert_eq!(fs::read_to_string(&dest).unwrap(), "hi");
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1);
    }
}
