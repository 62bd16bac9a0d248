//! Zip files, by `unzip` and its `zipinfo`.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use amibake_playbook::fnmatch::fnmatch;

use super::Extraction;
use crate::attrs;
use crate::module::{Context, Failure};
use crate::run_command::{Command, bin_path};

/// Returns the program and the files in the archive, or why it cannot be handled.
pub(super) fn list(
    extraction: &Extraction<'_>,
    context: &mut Context<'_>,
) -> Result<(String, Vec<String>), String> {
    if !is_zip(&extraction.src) {
        return Err(format!("'{}' is not a zip file", extraction.src.display()));
    }
    let find = |name: &str| {
        let path = bin_path(name, context).map(|path| path.to_string_lossy().into_owned());
        path.ok_or_else(|| format!("Unable to find required '{name}' binary in the path."))
    };
    let (program, info) = (find("unzip")?, find("zipinfo")?);
    let command = Command::new([info.as_str(), "-1", &extraction.src.to_string_lossy()]).parsable();
    let ran = command.run(context).map_err(|e| e.to_string())?;
    if ran.rc != 0 {
        return Err(format!(
            "Command \"{program}\" could not handle archive: {}",
            ran.stderr
        ));
    }
    let names = ran.stdout.lines().filter(|name| wanted(extraction, name));
    Ok((program, names.map(str::to_owned).collect()))
}

fn wanted(extraction: &Extraction<'_>, name: &str) -> bool {
    let (include, exclude) = (
        extraction.args.list("include"),
        extraction.args.list("exclude"),
    );
    let any = |patterns: &[&str]| {
        let mut patterns = patterns.iter();
        patterns.any(|pattern| fnmatch(pattern, name))
    };
    (include.is_empty() || any(&include)) && !any(&exclude)
}

/// Looks for the signature of a first or only record.
fn is_zip(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut start));
    read.is_ok() && (start == *b"PK\x03\x04" || start == *b"PK\x05\x06")
}

/// What an archive would change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Whether anything is missing or differs.
    pub(super) differs: bool,
    /// Files that `keep_newer` leaves alone.
    pub(super) newer: Vec<String>,
}

/// Compares what `zipinfo` tells of every member with what is there, as Ansible does: kind, time,
/// size, checksum, mode, owner and group; of links the last two.
pub(super) fn compare(
    extraction: &Extraction<'_>,
    program: &str,
    context: &mut Context<'_>,
) -> Result<Found, Failure> {
    let sums = checksums(extraction, program, context)?;
    let info = bin_path("zipinfo", context).unwrap_or_else(|| "zipinfo".into());
    let list = |name: &str| extraction.args.list(name).into_iter().map(str::to_owned);
    let mut argv = vec![info.to_string_lossy().into_owned()];
    argv.extend(["-T", "-s", &extraction.src.to_string_lossy()].map(str::to_owned));
    argv.extend(list("exclude").next().map(|_| "-x".to_owned()));
    argv.extend(list("exclude").chain(list("include")));
    let command = Command::new(argv).parsable();
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    let mut found = Found {
        differs: ran.rc != 0,
        newer: Vec::new(),
    };
    for member in ran.stdout.lines().filter_map(Member::read) {
        if extraction.args.list("exclude").contains(&member.name) {
            continue;
        }
        let sum = sums.get(member.name).copied();
        match member.state(extraction, sum) {
            State::Same => {}
            State::Differs => found.differs = true,
            State::Newer => found.newer.push(member.name.to_owned()),
        }
    }
    Ok(found)
}

/// Returns the checksums that `unzip -v` lists, by name.
fn checksums(
    extraction: &Extraction<'_>,
    program: &str,
    context: &mut Context<'_>,
) -> Result<HashMap<String, u32>, Failure> {
    let command = Command::new([program, "-v", &extraction.src.to_string_lossy()]).parsable();
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    let entries = ran.stdout.lines().filter_map(entry);
    Ok(entries.map(|(name, crc)| (name.to_owned(), crc)).collect())
}

/// Splits `count` words off a line; what follows them is the last.
fn words<const COUNT: usize>(line: &str) -> Option<([&str; COUNT], &str)> {
    let mut rest = line.trim_start();
    let mut fields = [""; COUNT];
    for field in &mut fields {
        let (word, more) = rest.split_once(char::is_whitespace)?;
        *field = word;
        rest = more.trim_start();
    }
    Some((fields, rest)).filter(|(_, rest)| !rest.is_empty())
}

/// Reads a line of `unzip -v`: length, method, size, ratio, date, time, CRC, name.
fn entry(line: &str) -> Option<(&str, u32)> {
    let (fields, name) = words::<7>(line)?;
    let crc = Some(fields[6]).filter(|crc| crc.len() == 8)?;
    Some((name, u32::from_str_radix(crc, 16).ok()?))
}

/// One line of `zipinfo -T -s`.
#[derive(Debug, PartialEq, Eq)]
struct Member<'a> {
    /// `d`, `l`, `-` or `?`.
    kind: char,
    /// As `ls` shows them, or as FAT has them: shorter then.
    permissions: &'a str,
    size: u64,
    /// Seconds of the epoch; the archive has the local time.
    modified: i64,
    name: &'a str,
}

/// What a member is to the file there.
enum State {
    Same,
    Differs,
    Newer,
}

impl<'a> Member<'a> {
    /// Reads a line; header and footer are none.
    fn read(line: &'a str) -> Option<Self> {
        let ([mode, _, _, size, _, _, time], name) = words(line)?;
        let kind = mode.chars().next().filter(|kind| "dl-?".contains(*kind))?;
        let permissions = &mode[1..];
        let known = permissions.chars().all(|c| "rwxstah-".contains(c));
        let sound = known && matches!(mode.len(), 7 | 8 | 10) && time.len() == 15;
        Some(Self {
            kind,
            permissions,
            size: size.parse().ok().filter(|_| sound)?,
            modified: seconds(time),
            name,
        })
    }

    fn state(&self, extraction: &Extraction<'_>, sum: Option<u32>) -> State {
        let path = extraction.dest.join(self.name);
        let Ok(meta) = std::fs::symlink_metadata(&path) else {
            return State::Differs;
        };
        let is_dir = self.name.ends_with('/');
        let fits = match self.kind {
            _ if is_dir => meta.is_dir(),
            'l' => meta.is_symlink(),
            'd' => true,
            _ => meta.is_file(),
        };
        if !fits {
            return State::Differs;
        }
        if meta.is_file() {
            let there = (meta.mtime(), meta.mtime_nsec());
            match (self.modified, 0).cmp(&there) {
                Ordering::Less if extraction.args.bool("keep_newer") => return State::Newer,
                Ordering::Equal => {}
                Ordering::Less | Ordering::Greater => return State::Differs,
            }
            if meta.len() != self.size || sum.is_none() || crc32(&path) != sum {
                return State::Differs;
            }
        }
        let now = meta.mode() & 0o7777;
        let same = self.kind == 'l' || self.mode(extraction, meta.mode(), is_dir) == Some(now);
        match same && owned(extraction, &meta) {
            true => State::Same,
            false => State::Differs,
        }
    }

    /// Returns the mode asked for, or the one that `unzip` gives; `None` if it cannot be told.
    fn mode(&self, extraction: &Extraction<'_>, now: u32, is_dir: bool) -> Option<u32> {
        if let Some(mode) = &extraction.attributes.mode {
            return Some(mode.apply(now, is_dir));
        }
        let fat = |executable: &str| match is_dir || self.permissions == executable {
            true => 0o777 & !attrs::umask(),
            false => 0o666 & !attrs::umask(),
        };
        match self.permissions.len() {
            6 => Some(fat("rwx---")),
            7 => Some(fat("rwxa---")),
            9 => Some(bits(self.permissions)),
            _ => None,
        }
    }
}

/// Reads `rwxr-x---`; `unzip` sets no further bits.
fn bits(permissions: &str) -> u32 {
    let bit = |set: bool| u32::from(set);
    permissions
        .chars()
        .fold(0, |bits, c| bits << 1 | bit("rwxst".contains(c)))
}

/// Whether a file has the owner and group asked for, or else ours.
fn owned(extraction: &Extraction<'_>, meta: &std::fs::Metadata) -> bool {
    let wanted = |given: &Option<attrs::Principal>| given.as_ref().and_then(|given| given.id);
    let uid =
        wanted(&extraction.attributes.owner).unwrap_or_else(|| nix::unistd::getuid().as_raw());
    let gid =
        wanted(&extraction.attributes.group).unwrap_or_else(|| nix::unistd::getgid().as_raw());
    meta.uid() == uid && meta.gid() == gid
}

/// Reads `20200131.123456`, of the local time; what no archive can have is its first second.
fn seconds(time: &str) -> i64 {
    let first = jiff::civil::date(1980, 1, 1).at(0, 0, 0, 0);
    let last = jiff::civil::date(2107, 12, 31).at(23, 59, 59, 0);
    let read = jiff::civil::DateTime::strptime("%Y%m%d.%H%M%S", time);
    let read = read.ok().filter(|read| *read >= first).unwrap_or(first);
    let zoned = read.min(last).to_zoned(jiff::tz::TimeZone::system());
    zoned.map_or(0, |zoned| zoned.timestamp().as_second())
}

fn crc32(path: &Path) -> Option<u32> {
    let mut file = std::fs::File::open(path).ok()?;
    let mut crc = flate2::Crc::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).ok()? {
            0 => return Some(crc.sum()),
            read => crc.update(&buffer[..read]),
        }
    }
}

/// Returns the command that unpacks.
pub(super) fn extract_argv(
    extraction: &Extraction<'_>,
    program: &str,
    newer: &[String],
) -> Vec<String> {
    let list = |name: &str| extraction.args.list(name).into_iter().map(str::to_owned);
    let mut argv = vec![program.to_owned(), "-o".to_owned()];
    argv.extend(list("extra_opts"));
    argv.push(extraction.src.to_string_lossy().into_owned());
    let excluded: Vec<String> = list("exclude").chain(newer.iter().cloned()).collect();
    argv.extend(excluded.first().map(|_| "-x".to_owned()));
    argv.extend(excluded);
    argv.extend(list("include"));
    argv.push("-d".to_owned());
    argv.push(extraction.dest.to_string_lossy().into_owned());
    argv
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;

    use super::*;
    use crate::modules::tests::run;

    #[test]
    fn a_line_of_unzips_listing_is_read() {
        let line = "       3  Stored        3   0% 2020-01-01 00:00 352441c2  a b.txt";
        assert_eq!(entry(line), Some(("a b.txt", 0x3524_41c2)));
        assert_eq!(
            entry("--------          -------  ---                            -------"),
            None
        );
    }

    #[test]
    fn a_line_of_zipinfos_listing_is_read() {
        let line = "-rwsr-x---  3.0 unx       12 tx stor 20200131.123456 a b.txt";
        let member = Member::read(line).unwrap();
        assert_eq!(
            (member.kind, member.size, member.name),
            ('-', 12, "a b.txt")
        );
        assert_eq!(bits(member.permissions), 0o750);
        assert_eq!(Member::read("Archive:  a.zip"), None);
        let footer = "3 files, 20 bytes uncompressed, 18 bytes compressed:  10.0%";
        assert_eq!(Member::read(footer), None);
    }

    #[test]
    fn a_zip_with_links_and_modes_is_unpacked_once_and_drift_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "umask 022; mkdir in out; echo one > in/one; chmod 750 in/one; ln -s one in/link
            touch -d '2024-01-02 03:04:06' in/one; cd in; python3 - <<'E'
import os, stat, time, zipfile
with zipfile.ZipFile('../a.zip', 'w') as z:
    z.write('one')
    link = zipfile.ZipInfo('link', time.localtime()[:6])
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    z.writestr(link, 'one')
E";
        let mut shell = std::process::Command::new("sh");
        let made = shell.args(["-ec", script]).current_dir(&folder).status();
        assert!(made.unwrap().success());
        let at = |name: &str| folder.path().join(name);
        let changed = |more: serde_json::Value| {
            let mut args =
                serde_json::json!({"src": at("a.zip"), "dest": at("out"), "remote_src": true});
            args.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            run("unarchive", args).unwrap().changed
        };
        assert!(changed(json!({})));
        assert!(!changed(json!({})));
        std::fs::set_permissions(at("out/one"), PermissionsExt::from_mode(0o600)).unwrap();
        assert!(changed(json!({})));
        std::fs::write(at("out/one"), "newer").unwrap();
        assert!(!changed(json!({"keep_newer": true})));
        assert_eq!(std::fs::read_to_string(at("out/one")).unwrap(), "newer");
        std::fs::remove_file(at("out/link")).unwrap();
        assert!(changed(json!({"keep_newer": true})));
        assert_eq!(std::fs::read_to_string(at("out/one")).unwrap(), "newer");
        assert!(changed(json!({})));
        assert_eq!(std::fs::read_to_string(at("out/one")).unwrap(), "one\n");
    }
}
