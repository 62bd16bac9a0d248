//! Tar archives, unpacked into a folder that nothing in them leaves.
//!
//! Files, folders and links within are all that there is. What it unpacks to is limited, and so is how many files.
//! Links are made last, so that nothing is written through one.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tar::EntryType;

/// What an archive may be unpacked to. The largest collections there are have a fifth of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) bytes: u64,
    pub(super) entries: usize,
}

pub(super) const LIMITS: Limits = Limits {
    bytes: 1 << 30,
    entries: 200_000,
};

/// Why an archive is not unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("`{path}` in the archive {why}")]
    Refused { path: String, why: &'static str },
    #[error("the archive unpacks to more than {} MiB", .0 >> 20)]
    TooLarge(u64),
    #[error("the archive has more than {0} files")]
    TooMany(usize),
    #[error("{what} could not be read")]
    Unreadable { what: String, source: io::Error },
    #[error("could not write {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("the archive is compressed by {0}, which could not be run")]
    NoProgram(&'static str, #[source] io::Error),
}

/// Unpacks an archive that is a file, compressed or not.
pub(super) fn unpack_file(archive: &Path, into: &Path, limits: Limits) -> Result<(), ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable {
        what: archive.display().to_string(),
        source,
    };
    let mut file = File::open(archive).map_err(unreadable)?;
    let mut first = [0; 6];
    let count = read_up_to(&mut file, &mut first).map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    match &first[..count] {
        [0x1f, 0x8b, ..] => {
            let plain = flate2::read::MultiGzDecoder::new(BufReader::new(file));
            unpack(plain, into, limits)
        }
        [b'B', b'Z', b'h', ..] => unpack_by("bzip2", file, into, limits),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => unpack_by("xz", file, into, limits),
        _ => unpack(BufReader::new(file), into, limits),
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..])? {
            0 => break,
            more => count += more,
        }
    }
    Ok(count)
}

/// A program that ends when nobody reads it any more.
struct Filter(Child);

impl Drop for Filter {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

fn unpack_by(
    program: &'static str,
    archive: File,
    into: &Path,
    limits: Limits,
) -> Result<(), ArchiveError> {
    let child = Command::new(program)
        .arg("-dc")
        .stdin(archive)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let child = child.map_err(|e| ArchiveError::NoProgram(program, e))?;
    let mut filter = Filter(child);
    let plain = filter.0.stdout.take().expect("it is piped");
    unpack(BufReader::new(plain), into, limits)
}

/// Unpacks a stream into a folder that is there and empty.
pub(super) fn unpack(stream: impl Read, into: &Path, limits: Limits) -> Result<(), ArchiveError> {
    let unreadable = |source| ArchiveError::Unreadable {
        what: "the archive".to_owned(),
        source,
    };
    let mut archive = tar::Archive::new(stream.take(limits.bytes));
    let mut unpacking = Unpacking {
        into,
        folders: BTreeSet::new(),
        links: Vec::new(),
    };
    let (mut left, mut count) = (limits.bytes, 0);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(|error| match left {
            // A stream that was cut off ends in the middle of something.
            0..=BLOCK => ArchiveError::TooLarge(limits.bytes),
            _ => unreadable(error),
        })?;
        count += 1;
        if count > limits.entries {
            return Err(ArchiveError::TooMany(limits.entries));
        }
        let size = entry.size().saturating_add(BLOCK);
        if size > left {
            return Err(ArchiveError::TooLarge(limits.bytes));
        }
        left -= size;
        unpacking.entry(&mut entry)?;
    }
    unpacking.make_links()
}

/// What an entry takes beside its bytes.
const BLOCK: u64 = 512;

struct Unpacking<'a> {
    into: &'a Path,
    /// Those that are there, and are folders.
    folders: BTreeSet<PathBuf>,
    /// Where each is, and what it names.
    links: Vec<(PathBuf, PathBuf)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<(), ArchiveError> {
        let raw = entry.path_bytes().into_owned();
        let kind = entry.header().entry_type();
        let refused = |why| Err(refusal(&raw, why));
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = inside(&raw)?;
        match kind {
            EntryType::Directory if path.as_os_str().is_empty() => Ok(()),
            EntryType::Directory => self.folder(&path),
            EntryType::Regular | EntryType::Continuous => {
                let mode = entry.header().mode().unwrap_or(0o644);
                self.file(&path, mode, entry)
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let target = PathBuf::from(OsStr::from_bytes(&target));
                if stays_inside(&path, &target) {
                    self.links.push((path, target));
                    Ok(())
                } else {
                    refused("is a link that leads out of it")
                }
            }
            EntryType::Link => refused("is a hard link, which none needs"),
            EntryType::Block | EntryType::Char => refused("is a device"),
            EntryType::Fifo => refused("is a pipe"),
            EntryType::GNUSparse => refused("has holes"),
            _ => refused("is of a kind that is not known"),
        }
    }

    fn folder(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let mut whole = PathBuf::new();
        for part in path {
            whole.push(part);
            if self.folders.contains(&whole) {
                continue;
            }
            let place = self.into.join(&whole);
            let made = fs::create_dir(&place);
            let made = made.and_then(|()| fs::set_permissions(&place, with_mode(0o755)));
            made.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    refusal(whole.as_os_str().as_bytes(), "is a file, and a folder too")
                }
                _ => unwritable(&place, error),
            })?;
            self.folders.insert(whole.clone());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, mode: u32, from: &mut impl Read) -> Result<(), ArchiveError> {
        self.folder(path.parent().unwrap_or(Path::new("")))?;
        if self.folders.contains(path) || path.as_os_str().is_empty() {
            let path = path.as_os_str().as_bytes();
            return Err(refusal(path, "is a file, and a folder too"));
        }
        let place = self.into.join(path);
        // Of two with one name the last counts, as in tar.
        let made = fs::remove_file(&place).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
        let made = made.and_then(|()| File::create_new(&place));
        let mut file = made.map_err(|e| unwritable(&place, e))?;
        io::copy(from, &mut file).map_err(|source| ArchiveError::Unreadable {
            what: format!("{} in the archive", path.display()),
            source,
        })?;
        let mode = with_mode(kept_mode(mode));
        fs::set_permissions(&place, mode).map_err(|e| unwritable(&place, e))
    }

    fn make_links(mut self) -> Result<(), ArchiveError> {
        for (path, target) in std::mem::take(&mut self.links) {
            self.folder(path.parent().unwrap_or(Path::new("")))?;
            let place = self.into.join(&path);
            symlink(&target, &place).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => refusal(
                    path.as_os_str().as_bytes(),
                    "is there twice, once as a link",
                ),
                _ => unwritable(&place, error),
            })?;
        }
        Ok(())
    }
}

/// Returns the mode that a file keeps: nobody but its owner writes it, and it is a program if it is one for its owner.
pub(super) fn kept_mode(mode: u32) -> u32 {
    let kept = (mode & 0o755) | 0o600;
    match kept & 0o100 {
        0 => kept & !0o111,
        _ => kept,
    }
}

pub(super) fn with_mode(mode: u32) -> fs::Permissions {
    fs::Permissions::from_mode(mode)
}

/// Returns where an entry lies below the folder.
fn inside(raw: &[u8]) -> Result<PathBuf, ArchiveError> {
    let mut path = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(raw)).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refusal(raw, "would lie outside the folder"));
            }
        }
    }
    if raw.contains(&0) {
        return Err(refusal(raw, "has a name that no file can have"));
    }
    Ok(path)
}

/// Returns whether a link leads to something below the top of its folder.
///
/// `..` counts at its beginning alone: there it goes up real folders, since nothing lies below a link. After a name it
/// could go up from wherever another link led.
pub(super) fn stays_inside(path: &Path, target: &Path) -> bool {
    let depth = path.components().count().saturating_sub(1);
    let (mut ups, mut went_down) = (0, false);
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if !went_down => ups += 1,
            Component::Normal(_) => went_down = true,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    ups <= depth && !target.as_os_str().is_empty()
}

/// Makes sure that no link below `root` leaves it, whatever it was a part of before.
pub(super) fn check_links(root: &Path) -> Result<(), ArchiveError> {
    each_below(root, &mut |path, kind| {
        if !kind.is_symlink() {
            return Ok(());
        }
        let place = root.join(path);
        let target = fs::read_link(&place).map_err(|e| unreadable(&place, e))?;
        match stays_inside(path, &target) {
            true => Ok(()),
            false => Err(refusal(
                path.as_os_str().as_bytes(),
                "is a link that leads out of it",
            )),
        }
    })
}

/// Shows all that lies below a folder by its path from there, in one order, folders before what is in them.
pub(super) fn each_below(
    root: &Path,
    look: &mut dyn FnMut(&Path, fs::FileType) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    walk(root, Path::new(""), look)
}

fn walk(
    root: &Path,
    below: &Path,
    look: &mut dyn FnMut(&Path, fs::FileType) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).map_err(|e| unreadable(&folder, e))?;
    let entries: io::Result<Vec<fs::DirEntry>> = entries.collect();
    let mut entries = entries.map_err(|e| unreadable(&folder, e))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = below.join(entry.file_name());
        let kind = entry.file_type().map_err(|e| unreadable(&folder, e))?;
        look(&path, kind)?;
        if kind.is_dir() {
            walk(root, &path, look)?;
        }
    }
    Ok(())
}

pub(super) fn refusal(path: &[u8], why: &'static str) -> ArchiveError {
    ArchiveError::Refused {
        path: String::from_utf8_lossy(path).into_owned(),
        why,
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Unreadable {
        what: path.display().to_string(),
        source,
    }
}

pub(super) fn unwritable(path: &Path, source: io::Error) -> ArchiveError {
    ArchiveError::Unwritable {
        path: path.to_path_buf(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tar::{Builder, Header};

    enum Made<'a> {
        File(&'a str, u32, &'a str),
        Link(&'a str, &'a str),
        Folder(&'a str),
        Other(&'a str, EntryType),
    }

    fn archive(entries: &[Made<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for entry in entries {
            let mut header = Header::new_gnu();
            let (name, text): (&str, &str) = match entry {
                Made::File(name, mode, text) => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    (name, text)
                }
                Made::Link(name, target) => {
                    header.set_entry_type(EntryType::Symlink);
                    header.as_gnu_mut().unwrap().linkname[..target.len()]
                        .copy_from_slice(target.as_bytes());
                    (name, "")
                }
                Made::Folder(name) => {
                    header.set_entry_type(EntryType::Directory);
                    (name, "")
                }
                Made::Other(name, kind) => {
                    header.set_entry_type(*kind);
                    header.as_gnu_mut().unwrap().linkname[..4].copy_from_slice(b"file");
                    (name, "")
                }
            };
            // As it is written, `..` and all: the builder would not have it.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(text.len() as u64);
            header.set_cksum();
            builder.append(&header, text.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(entries: &[Made<'_>]) -> (tempfile::TempDir, Result<(), ArchiveError>) {
        let folder = tempfile::tempdir().unwrap();
        let into = folder.path().join("into");
        fs::create_dir(&into).unwrap();
        let result = unpack(&archive(entries)[..], &into, LIMITS);
        (folder, result)
    }

    #[test]
    fn files_folders_and_links_within_are_unpacked_with_harmless_modes() {
        let (folder, result) = unpacked(&[
            Made::File("./a/b/one", 0o664, "1"),
            Made::File("a/run", 0o6775, "#!"),
            Made::Folder("empty/"),
            Made::Link("a/b/up", "../run"),
            Made::Link("top", "a/b"),
            Made::File("a/b/one", 0o600, "2"),
        ]);
        result.unwrap();
        let into = folder.path().join("into");
        let mode = |name: &str| into.join(name).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!(fs::read_to_string(into.join("top/one")).unwrap(), "2");
        assert_eq!(fs::read_to_string(into.join("a/b/up")).unwrap(), "#!");
        assert_eq!(
            (mode("a/b/one"), mode("a/run"), mode("empty")),
            (0o600, 0o755, 0o755)
        );
    }

    #[test]
    fn what_would_leave_the_folder_is_refused_and_nothing_lies_outside() {
        let cases: [&[Made<'_>]; 14] = [
            &[Made::File("../out", 0o644, "x")],
            &[Made::File("a/../../out", 0o644, "x")],
            &[Made::File("/out", 0o644, "x")],
            &[Made::Link("l", "../out"), Made::File("l", 0o644, "x")],
            &[Made::Link("l", "..")],
            &[Made::Link("l", "/etc")],
            &[Made::Link("a/l", "../../out")],
            // One link up from where another led.
            &[Made::Link("l", "."), Made::Link("m", "l/..")],
            &[Made::Link("l", "a"), Made::File("l/out", 0o644, "x")],
            &[Made::Other("hard", EntryType::Link)],
            &[Made::Other("dev", EntryType::Block)],
            &[Made::Other("dev", EntryType::Char)],
            &[Made::Other("pipe", EntryType::Fifo)],
            &[Made::Other("holes", EntryType::GNUSparse)],
        ];
        for (number, entries) in cases.iter().enumerate() {
            let (folder, result) = unpacked(entries);
            let refused = result.unwrap_err();
            let is_it = matches!(&refused, ArchiveError::Refused { .. })
                || matches!(&refused, ArchiveError::Unreadable { .. } if number == 13);
            assert!(is_it, "{number}: {refused:?}");
            let names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
            assert_eq!(names.len(), 1, "{number}: {names:?}");
        }
    }

    #[test]
    fn a_bomb_is_told_before_the_disk_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let (bomb, into) = (
            folder.path().join("bomb.tar.gz"),
            folder.path().join("into"),
        );
        let mut plain = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(8 << 20);
        header.set_mode(0o644);
        plain
            .append_data(&mut header, "zeros", io::repeat(0).take(8 << 20))
            .unwrap();
        let fast = flate2::Compression::fast();
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), fast);
        packed.write_all(&plain.into_inner().unwrap()).unwrap();
        fs::write(&bomb, packed.finish().unwrap()).unwrap();
        let mut limits = Limits {
            bytes: 1 << 20,
            entries: 10,
        };
        fs::create_dir(&into).unwrap();
        let refused = unpack_file(&bomb, &into, limits).unwrap_err();
        assert!(matches!(refused, ArchiveError::TooLarge(_)), "{refused:?}");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
        limits.entries = 2;
        let names = ["a", "b", "c"].map(|name| Made::File(name, 0o644, ""));
        let refused = unpack(&archive(&names)[..], &into, limits).unwrap_err();
        assert!(matches!(refused, ArchiveError::TooMany(2)), "{refused:?}");
    }

    #[test]
    fn a_link_may_lead_out_of_a_part_of_the_archive_and_is_then_found() {
        let (folder, result) =
            unpacked(&[Made::File("x", 0o644, ""), Made::Link("part/l", "../x")]);
        result.unwrap();
        check_links(&folder.path().join("into")).unwrap();
        let refused = check_links(&folder.path().join("into/part")).unwrap_err();
        assert!(
            matches!(refused, ArchiveError::Refused { .. }),
            "{refused:?}"
        );
    }
}
