//! The attributes that every file module takes: mode, owner, group, and `chattr` flags.
//!
//! Modes are octal or symbolic, exactly as Ansible reads them. Planning is pure: it compares with
//! a [`Meta`] read before (or foreseen, for what the plan is about to create).

use std::ffi::OsStr;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::change::Change;
use crate::context::Failure;
use crate::place::{self, FileId, Place};
use crate::users;

const FORMAT: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const LINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;

/// What `lstat` says of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Meta {
    /// Type and permission bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    #[serde(default = "single_link")]
    pub(crate) links: u64,
    #[serde(default)]
    pub(crate) inode: u64,
    #[serde(default)]
    pub(crate) device: u64,
}

fn single_link() -> u64 {
    1
}

/// A count of links is wider on some processors than on others.
fn wide(count: impl Into<u64>) -> u64 {
    count.into()
}

impl Meta {
    /// Reads the file at `path` itself, links not followed; `None` if nothing is there.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        Self::found(Place::of(path))
    }

    /// Reads what `path` leads to, links followed as far as they are trusted.
    pub(crate) fn follow(path: &Path) -> io::Result<Option<Self>> {
        Self::found(Place::behind(path))
    }

    fn found(place: io::Result<Place>) -> io::Result<Option<Self>> {
        match place {
            Ok(place) => Self::at(&place),
            Err(e) if place::is_missing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads what is at `place`, links not followed.
    pub(crate) fn at(place: &Place) -> io::Result<Option<Self>> {
        Self::beside(place, place.name())
    }

    /// Reads another name in the folder of `place`, links not followed.
    pub(crate) fn beside(place: &Place, name: &OsStr) -> io::Result<Option<Self>> {
        let found = place.look(name)?;
        Ok(found.map(|stat| Self {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            links: wide(stat.st_nlink),
            inode: stat.st_ino,
            device: stat.st_dev,
        }))
    }

    /// Returns which file it is; `None` for one that is foreseen.
    pub(crate) fn id(&self) -> Option<FileId> {
        (self.inode != 0).then_some(FileId {
            device: self.device,
            inode: self.inode,
        })
    }

    /// Foresees what is created in a directory like `parent` with `bits` before the umask.
    pub(crate) fn foreseen(kind: NewFile, parent: Option<&Self>) -> Self {
        let inherits = parent.filter(|p| p.mode & 0o2000 != 0);
        let (format, bits) = match kind {
            NewFile::Regular => (REGULAR, 0o666),
            NewFile::Directory => (DIRECTORY, 0o777),
            NewFile::Link => (LINK, 0o777),
        };
        let masked = match kind {
            NewFile::Link => bits,
            NewFile::Regular | NewFile::Directory => bits & !umask(),
        };
        let setgid = match (kind, inherits) {
            (NewFile::Directory, Some(_)) => 0o2000,
            _ => 0,
        };
        Self {
            mode: format | masked | setgid,
            uid: nix::unistd::geteuid().as_raw(),
            gid: inherits.map_or_else(|| nix::unistd::getegid().as_raw(), |p| p.gid),
            links: 1,
            inode: 0,
            device: 0,
        }
    }

    pub(crate) fn bits(&self) -> u32 {
        self.mode & 0o7777
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.mode & FORMAT == DIRECTORY
    }

    pub(crate) fn is_link(&self) -> bool {
        self.mode & FORMAT == LINK
    }

    pub(crate) fn is_file(&self) -> bool {
        self.mode & FORMAT == REGULAR
    }
}

/// What a plan creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewFile {
    Regular,
    Directory,
    Link,
}

/// A mode as the author wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Bits(u32),
    /// `u=rw,g+X`, already known to be well-formed.
    Symbolic(String),
}

impl Mode {
    /// Reads a `mode` parameter: a number as it is, a text as octal digits or symbols.
    pub(crate) fn read(value: &Json, path: &Path) -> Result<Self, Failure> {
        let text = match value {
            Json::Number(n) => {
                let bits = n.as_u64().and_then(|n| u32::try_from(n).ok());
                return bits
                    .map(Self::Bits)
                    .ok_or_else(|| bad_mode(path, &n.to_string()));
            }
            Json::String(text) => text.trim(),
            other => return Err(bad_mode(path, &other.to_string())),
        };
        let digits = text.strip_prefix("0o").unwrap_or(text);
        if let Ok(bits) = u32::from_str_radix(digits, 8) {
            if bits > 0o7777 {
                let msg = "Invalid mode supplied, only permission info is allowed";
                return Err(Failure::new(msg)
                    .with("path", path.to_string_lossy())
                    .with("details", bits));
            }
            return Ok(Self::Bits(bits));
        }
        match text.split(',').find(|part| !is_symbolic(part)) {
            Some(part) => Err(bad_mode(path, part)),
            None => Ok(Self::Symbolic(text.to_owned())),
        }
    }

    /// Returns the permission bits a file with `now` gets.
    pub(crate) fn apply(&self, now: u32, is_dir: bool) -> u32 {
        match self {
            Self::Bits(bits) => *bits,
            Self::Symbolic(text) => text.split(',').fold(now & 0o7777, |mode, part| {
                apply_part(part, mode, is_dir, umask())
            }),
        }
    }
}

fn bad_mode(path: &Path, part: &str) -> Failure {
    Failure::new("mode must be in octal or symbolic form")
        .with("path", path.to_string_lossy())
        .with(
            "details",
            format!("bad symbolic permission for mode: {part}"),
        )
}

fn is_symbolic(part: &str) -> bool {
    let mut pieces = part.split(['+', '-', '=']);
    let users = pieces.next().unwrap_or_default();
    let known = users.is_empty() || users == "a" || users.chars().all(|c| "ugo".contains(c));
    known && pieces.all(|perms| perms.chars().all(|c| "rwxXstugo".contains(c)))
}

/// Applies one `users(op perms)+` part, operations from left to right.
fn apply_part(part: &str, mut mode: u32, is_dir: bool, umask: u32) -> u32 {
    let at = part.find(['+', '-', '=']).unwrap_or(part.len());
    let (users, mut rest) = part.split_at(at);
    let masked = users.is_empty();
    let users = if masked || users == "a" { "ugo" } else { users };
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |i| i + 1);
        let perms = &rest[1..end];
        for user in users.chars() {
            // `X`, `u`, `g`, `o` look at what the operations before have made of it.
            let bits = permission_bits(user, perms, mode, is_dir, masked.then_some(umask));
            mode = match operator {
                '=' => (mode & !owned_bits(user)) | bits,
                '+' => mode | bits,
                _ => mode & !bits,
            };
        }
        rest = &rest[end..];
    }
    mode
}

fn owned_bits(user: char) -> u32 {
    match user {
        'u' => 0o4700,
        'g' => 0o2070,
        _ => 0o1007,
    }
}

fn permission_bits(user: char, perms: &str, mode: u32, is_dir: bool, umask: Option<u32>) -> u32 {
    let shift = match user {
        'u' => 6,
        'g' => 3,
        _ => 0,
    };
    let allowed = !umask.unwrap_or(0);
    let bits = perms.chars().map(|perm| match perm {
        'r' => (0o4 << shift) & allowed,
        'w' => (0o2 << shift) & allowed,
        'x' => (0o1 << shift) & allowed,
        'X' if is_dir || mode & 0o111 != 0 => 0o1 << shift,
        's' if user == 'u' => 0o4000,
        's' if user == 'g' => 0o2000,
        't' if user == 'o' => 0o1000,
        'u' => ((mode >> 6) & 7) << shift,
        'g' => ((mode >> 3) & 7) << shift,
        'o' => (mode & 7) << shift,
        _ => 0,
    });
    bits.fold(0, |all, bits| all | bits)
}

/// Returns the umask without setting it, which would race with other threads. It is what the process was started with
/// or was given before its first task.
pub(crate) fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("Umask:"));
        line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
            .unwrap_or(0o022)
    })
}

/// A user or group as given, with its number where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) given: String,
    pub(crate) id: Option<u32>,
}

impl Principal {
    pub(crate) fn user(given: &str) -> Self {
        let id = given
            .parse()
            .ok()
            .or_else(|| users::user(given).map(|u| u.uid));
        Self {
            given: given.to_owned(),
            id,
        }
    }

    pub(crate) fn group(given: &str) -> Self {
        let id = given
            .parse()
            .ok()
            .or_else(|| users::group(given).map(|g| g.gid));
        Self {
            given: given.to_owned(),
            id,
        }
    }
}

/// The attributes asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: Option<Mode>,
    pub(crate) owner: Option<Principal>,
    pub(crate) group: Option<Principal>,
    /// `chattr` flags: `+i`, `=a`, ….
    pub(crate) flags: Option<String>,
}

/// A file whose attributes are to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) path: PathBuf,
    pub(crate) meta: Meta,
    /// Its flags as `lsattr` shows them; read only where they are asked for.
    pub(crate) flags: String,
}

impl Attributes {
    /// Reads `mode`, `owner`, `group` and `attributes`; `path` is named in complaints.
    pub(crate) fn read(args: &Args, path: &Path) -> Result<Self, Failure> {
        let mode = args.raw("mode").filter(|mode| !mode.is_null());
        Ok(Self {
            mode: mode.map(|mode| Mode::read(mode, path)).transpose()?,
            ..Self::read_but_mode(args)
        })
    }

    /// Reads all but `mode`, which `copy` may be told to preserve.
    pub(crate) fn read_but_mode(args: &Args) -> Self {
        Self {
            mode: None,
            owner: args.str("owner").map(Principal::user),
            group: args.str("group").map(Principal::group),
            flags: args.str("attributes").map(str::to_owned),
        }
    }

    /// Returns whether anything is asked for.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// Reads the file at `path` as far as comparing needs it.
    pub(crate) fn target(&self, path: &Path, meta: Meta) -> Target {
        let flags = match self.flags {
            Some(_) => flags_alone(path).unwrap_or_default(),
            None => String::new(),
        };
        Target {
            path: path.to_owned(),
            meta,
            flags,
        }
    }

    /// Plans what gives `target` these attributes.
    ///
    /// `check` only matters for links: Ansible foresees a change of mode there that then has no
    /// effect, since links have none on Linux.
    pub(crate) fn plan(&self, target: &Target, check: bool) -> Result<Vec<Change>, Failure> {
        let (path, meta) = (&target.path, &target.meta);
        let mut changes = Vec::new();
        let uid = changed_id(self.owner.as_ref(), meta.uid, path, "chown", "user")?;
        let gid = changed_id(self.group.as_ref(), meta.gid, path, "chgrp", "group")?;
        if uid.is_some() || gid.is_some() {
            let (path, of) = (path.clone(), meta.id());
            changes.push(Change::Owner { path, uid, gid, of });
        }
        let now = match changes.is_empty() {
            true => meta.bits(),
            false => bits_after_chown(meta),
        };
        let wanted = self
            .mode
            .as_ref()
            .map(|mode| mode.apply(now, meta.is_dir()));
        if let Some(mode) = wanted.filter(|mode| *mode != now && (check || !meta.is_link())) {
            let (path, of) = (path.clone(), meta.id());
            changes.push(Change::Mode { path, mode, of });
        }
        changes.extend(self.plan_flags(target));
        Ok(changes)
    }

    fn plan_flags(&self, target: &Target) -> Option<Change> {
        let given = self.flags.as_deref()?;
        let (operator, flags) = match given.chars().next() {
            Some(operator @ ('+' | '-')) => (operator, &given[1..]),
            _ => ('=', given),
        };
        let differs = !flags.is_empty() && (target.flags != flags || operator == '-');
        differs.then(|| Change::Flags {
            path: target.path.clone(),
            flags: format!("{operator}{flags}"),
        })
    }
}

fn changed_id(
    wanted: Option<&Principal>,
    now: u32,
    path: &Path,
    verb: &str,
    noun: &str,
) -> Result<Option<u32>, Failure> {
    let Some(wanted) = wanted else {
        return Ok(None);
    };
    let id = wanted.id.ok_or_else(|| {
        let given = &wanted.given;
        let msg = format!("{verb} failed: failed to look up {noun} {given}");
        Failure::new(msg).with("path", path.to_string_lossy())
    })?;
    Ok((id != now).then_some(id))
}

/// Foresees the kernel: a change of owner takes setuid and setgid from what can be executed.
fn bits_after_chown(meta: &Meta) -> u32 {
    let bits = meta.bits();
    match (meta.is_file(), bits & 0o010) {
        (false, _) => bits,
        (true, 0) => bits & !0o4000,
        (true, _) => bits & !0o6000,
    }
}

/// What `lsattr` says of a file.
pub(crate) struct Flags {
    pub(crate) version: String,
    /// Letters, dashes left out: `ie`.
    pub(crate) flags: String,
}

/// Asks `lsattr`; `None` where it is missing or the file system has no flags, or no versions of files.
pub(crate) fn flags_of(path: &Path) -> Option<Flags> {
    let told = lsattr("-vd", path)?;
    let mut words = told.split_whitespace();
    Some(Flags {
        version: words.next()?.to_owned(),
        flags: words.next()?.replace('-', ""),
    })
}

/// Likewise on file systems that have flags but no versions.
fn flags_alone(path: &Path) -> Option<String> {
    let told = lsattr("-d", path)?;
    Some(told.split_whitespace().next()?.replace('-', ""))
}

fn lsattr(how: &str, path: &Path) -> Option<String> {
    let output = Command::new("lsattr")
        .args([OsStr::new(how), path.as_os_str()])
        .output();
    let output = output.ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Adds what Ansible adds to every result that has a `path` or a `dest`: owner, mode, size, ….
pub(crate) fn add_path_info(result: &mut Map<String, Json>) {
    let path = result.get("path").or_else(|| result.get("dest"));
    let Some(path) = path.and_then(Json::as_str).map(PathBuf::from) else {
        return;
    };
    let (Ok(meta), true) = (std::fs::symlink_metadata(&path), path.exists()) else {
        return;
    };
    let owner = users::user_by_id(meta.uid()).map_or_else(|| meta.uid().to_string(), |u| u.name);
    let group = users::group_by_id(meta.gid()).map_or_else(|| meta.gid().to_string(), |g| g.name);
    let state = match meta.file_type() {
        kind if kind.is_symlink() => "link",
        kind if kind.is_dir() => "directory",
        _ if meta.nlink() > 1 => "hard",
        _ => "file",
    };
    let fields = [
        ("uid", Json::from(meta.uid())),
        ("gid", Json::from(meta.gid())),
        ("owner", Json::from(owner)),
        ("group", Json::from(group)),
        ("mode", Json::from(octal(meta.mode() & 0o7777))),
        ("state", Json::from(state)),
        ("size", Json::from(meta.size())),
    ];
    result.extend(fields.map(|(name, value)| (name.to_owned(), value)));
}

/// Returns `file`'s word for what is there.
pub(crate) fn state_of(meta: &Meta) -> &'static str {
    match meta {
        _ if meta.is_link() => "link",
        _ if meta.is_dir() => "directory",
        _ if meta.links > 1 => "hard",
        _ => "file",
    }
}

/// Writes permission bits as Ansible does: `0644`.
pub(crate) fn octal(bits: u32) -> String {
    format!("0{bits:03o}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(mode: &str, now: u32, is_dir: bool) -> u32 {
        mode.split(',')
            .fold(now, |now, part| apply_part(part, now, is_dir, 0o022))
    }

    #[test]
    fn symbolic_modes_are_read_from_left_to_right() {
        assert_eq!(apply("u=rw,g=r,o=", 0o777, false), 0o640);
        assert_eq!(apply("u=rwX,g=u-w,o=g", 0o644, true), 0o755);
        assert_eq!(apply("a+X", 0o644, false), 0o644);
        assert_eq!(apply("a+X", 0o744, false), 0o755);
        assert_eq!(
            apply("+w", 0o444, false),
            0o644,
            "the umask is taken off without users"
        );
        assert_eq!(apply("u+s,g+s,o+t", 0o755, false), 0o7755);
    }

    #[test]
    fn numbers_are_modes_and_texts_are_octal() {
        let read = |json: Json| Mode::read(&json, Path::new("/x"));
        assert_eq!(read(Json::from(420)).unwrap(), Mode::Bits(0o644));
        assert_eq!(read(Json::from("0644")).unwrap(), Mode::Bits(0o644));
        assert_eq!(read(Json::from("1777")).unwrap(), Mode::Bits(0o1777));
        let failure = read(Json::from("u=z")).unwrap_err();
        assert_eq!(failure.msg, "mode must be in octal or symbolic form");
        assert!(read(Json::from("100644")).is_err());
    }

    #[test]
    fn a_change_of_owner_gives_a_setuid_bit_back() {
        let attributes = Attributes {
            mode: Some(Mode::Bits(0o4755)),
            owner: Some(Principal {
                given: "9".to_owned(),
                id: Some(9),
            }),
            ..Attributes::default()
        };
        let meta = Meta {
            mode: 0o104_755,
            uid: 0,
            gid: 0,
            links: 1,
            inode: 1,
            device: 1,
        };
        let target = attributes.target(Path::new("/x"), meta);
        assert_eq!(attributes.plan(&target, false).unwrap().len(), 2);
    }
}
