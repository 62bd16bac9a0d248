//! `known_hosts` files as OpenSSH reads and writes them.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use russh::keys::{Algorithm, PublicKey};

/// The lines of several files, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownHosts {
    entries: Vec<Entry>,
}

/// One line.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) file: PathBuf,
    /// Its number, from 1.
    pub(super) line: usize,
    pub(super) key: PublicKey,
    marker: Marker,
    names: Names,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Plain,
    CertAuthority,
    Revoked,
}

#[derive(Debug, Clone)]
enum Names {
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
    Patterns(Vec<String>),
}

/// What the files say about a host's key.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// It is this host's.
    Known,
    /// It is marked `@revoked`.
    Revoked(&'a Entry),
    /// The host has another key, of this type or, as in OpenSSH, of any: who cannot show the key that
    /// is known may well show one of a type that is not.
    Changed(&'a Entry),
    Unknown,
}

impl KnownHosts {
    /// Reads `files`; one that is not there is empty.
    pub(crate) fn read(files: &[PathBuf]) -> io::Result<Self> {
        let mut entries = Vec::new();
        for file in files {
            match fs::read(file) {
                Ok(bytes) => entries.extend(parse(file, &String::from_utf8_lossy(&bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let told = format!("{}: {error}", file.display());
                    return Err(io::Error::new(error.kind(), told));
                }
            }
        }
        Ok(Self { entries })
    }

    /// Adds the keys that `RevokedHostKeys` names, one a line, to those that no host may have.
    ///
    /// # Errors
    /// When the file cannot be read, since then nobody knows what is revoked, and when it is a KRL,
    /// the form of `ssh-keygen -k`, which is not read here.
    pub(super) fn revoke(&mut self, file: &Path) -> io::Result<()> {
        let told =
            |kind, reason: &str| io::Error::new(kind, format!("{}: {reason}", file.display()));
        let bytes = fs::read(file).map_err(|e| told(e.kind(), &e.to_string()))?;
        if bytes.starts_with(b"SSHKRL") {
            let reason =
                "it is a KRL (ssh-keygen -k), which is not read here; list its keys as text";
            return Err(told(io::ErrorKind::Unsupported, reason));
        }
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().zip(1..);
        self.entries.extend(lines.filter_map(|(text, line)| {
            Some(Entry {
                file: file.to_owned(),
                line,
                key: PublicKey::from_openssh(text.trim()).ok()?,
                marker: Marker::Revoked,
                names: Names::Patterns(vec!["*".to_owned()]),
            })
        }));
        Ok(())
    }

    /// Judges the key of the host called `name`: `host`, or `[host]:port`.
    pub(super) fn verdict(&self, name: &str, key: &PublicKey) -> Verdict<'_> {
        if let Some(entry) = self.revoked(name, key) {
            return Verdict::Revoked(entry);
        }
        let mut changed = None;
        for entry in self.of(name, Marker::Plain) {
            if entry.key.key_data() == key.key_data() {
                return Verdict::Known;
            }
            let better = entry.key.algorithm() == key.algorithm();
            if changed
                .is_none_or(|known: &Entry| better && known.key.algorithm() != key.algorithm())
            {
                changed = Some(entry);
            }
        }
        changed.map_or(Verdict::Unknown, Verdict::Changed)
    }

    /// Returns the line that revokes `key` for `name`.
    pub(super) fn revoked(&self, name: &str, key: &PublicKey) -> Option<&Entry> {
        self.of(name, Marker::Revoked)
            .find(|entry| entry.key.key_data() == key.key_data())
    }

    /// Returns the authorities that may certify keys for `name`.
    pub(super) fn authorities(&self, name: &str) -> Vec<&PublicKey> {
        let entries = self.of(name, Marker::CertAuthority);
        entries.map(|entry| &entry.key).collect()
    }

    /// Returns the types of the keys known for `name`.
    pub(super) fn algorithms(&self, name: &str) -> Vec<Algorithm> {
        let entries = self.of(name, Marker::Plain);
        entries.map(|entry| entry.key.algorithm()).collect()
    }

    fn of(&self, name: &str, marker: Marker) -> impl Iterator<Item = &Entry> {
        let name = name.to_ascii_lowercase();
        self.entries
            .iter()
            .filter(move |entry| entry.marker == marker && entry.names.match_host(&name))
    }
}

impl Names {
    fn match_host(&self, name: &str) -> bool {
        match self {
            Self::Hashed { salt, hash } => hash_of(salt, name) == *hash,
            Self::Patterns(patterns) => match_list(patterns, name),
        }
    }
}

/// Returns whether one of `patterns` matches and none that is negated does.
pub(super) fn match_list<S: AsRef<str>>(patterns: &[S], name: &str) -> bool {
    let mut matched = false;
    for pattern in patterns {
        let pattern = pattern.as_ref();
        match pattern.strip_prefix('!') {
            Some(negated) if match_pattern(negated, name) => return false,
            Some(_) => {}
            None => matched |= match_pattern(pattern, name),
        }
    }
    matched
}

/// Matches `*` and `?`, without regard to case.
pub(super) fn match_pattern(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.to_ascii_lowercase().chars().collect();
    let name: Vec<char> = name.to_ascii_lowercase().chars().collect();
    let (mut p, mut n) = (0, 0);
    // Where to go back to: the last `*`, and the first character it has not taken yet.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Returns the name under which `known_hosts` holds a host.
pub(super) fn name_of(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    match port {
        22 => host,
        port => format!("[{host}]:{port}"),
    }
}

/// Appends a key, its host's name hashed if asked; makes the file, and its folder, if needed.
pub(super) fn append(file: &Path, name: &str, key: &PublicKey, hashed: bool) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let ends_open = fs::read(file).is_ok_and(|bytes| bytes.last().is_some_and(|b| *b != b'\n'));
    let line = format!(
        "{}{} {}\n",
        if ends_open { "\n" } else { "" },
        if hashed {
            hash_name(name)?
        } else {
            name.to_owned()
        },
        PublicKey::from(key.key_data().clone())
            .to_openssh()
            .map_err(io::Error::other)?
            .trim_end(),
    );
    let mut options = fs::OpenOptions::new();
    options.append(true).create(true).mode(0o600);
    options.open(file)?.write_all(line.as_bytes())
}

fn hash_name(name: &str) -> io::Result<String> {
    let mut salt = [0; 20];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| io::Error::other("no randomness"))?;
    let hash = hash_of(&salt, name);
    Ok(format!(
        "|1|{}|{}",
        BASE64.encode(salt),
        BASE64.encode(hash)
    ))
}

fn hash_of(salt: &[u8], name: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
    hmac::sign(&key, name.as_bytes()).as_ref().to_vec()
}

/// Parses a file. Lines that OpenSSH would skip, and keys of types that we do not speak, are
/// skipped.
fn parse(file: &Path, text: &str) -> Vec<Entry> {
    let lines = text.lines().zip(1..);
    lines
        .filter_map(|(text, line)| parse_line(file, line, text))
        .collect()
}

fn parse_line(file: &Path, line: usize, text: &str) -> Option<Entry> {
    let text = text.trim();
    if text.starts_with('#') {
        return None;
    }
    let (marker, text) = match text.split_once([' ', '\t']) {
        Some(("@cert-authority", rest)) => (Marker::CertAuthority, rest.trim_start()),
        Some(("@revoked", rest)) => (Marker::Revoked, rest.trim_start()),
        Some((unknown, _)) if unknown.starts_with('@') => return None,
        _ => (Marker::Plain, text),
    };
    let (names, key) = text.split_once([' ', '\t'])?;
    Some(Entry {
        file: file.to_owned(),
        line,
        key: PublicKey::from_openssh(key.trim()).ok()?,
        marker,
        names: parse_names(names)?,
    })
}

fn parse_names(names: &str) -> Option<Names> {
    let Some(hashed) = names.strip_prefix("|1|") else {
        let patterns = names.split(',').map(str::to_owned).collect();
        return Some(Names::Patterns(patterns));
    };
    let (salt, hash) = hashed.split_once('|')?;
    Some(Names::Hashed {
        salt: BASE64.decode(salt).ok()?,
        hash: BASE64.decode(hash).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::KeyPair;
    use std::process::Command;

    /// A public key without its comment.
    fn key() -> (PublicKey, String) {
        let line = KeyPair::generate("").unwrap().public();
        (line.key().clone(), line.to_string().trim_end().to_owned())
    }

    fn keygen(args: &[&str]) -> std::process::Output {
        Command::new("ssh-keygen").args(args).output().unwrap()
    }

    #[test]
    fn a_name_is_found_where_ssh_keygen_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let lists = [
            "web.example.com",
            "web.example.com,10.0.0.7",
            "*.example.com",
            "*.example.com,!web.example.com",
            "!web.example.com,*",
            "[web.example.com]:2222",
            "[*]:2222",
            "[10.0.?.7]:*",
            "WEB.Example.Com",
            "10.0.0.?",
            "we?.*.com",
            "::1,[::1]:2222",
        ];
        let names = [
            "web.example.com",
            "db.example.com",
            "10.0.0.7",
            "[web.example.com]:2222",
            "[10.0.0.7]:2222",
            "[10.0.0.7]:22",
            "::1",
            "[::1]:2222",
            "Web.Example.com",
        ];
        let (key, text) = key();
        for list in lists {
            let file = folder.path().join("known_hosts");
            fs::write(&file, format!("# a comment\n\n{list} {text}\n")).unwrap();
            let ours = KnownHosts::read(std::slice::from_ref(&file)).unwrap();
            for name in names {
                let theirs = keygen(&["-F", name, "-f", file.to_str().unwrap()]);
                let known = matches!(ours.verdict(name, &key), Verdict::Known);
                assert_eq!(known, theirs.status.success(), "{name} in {list}");
            }
        }
    }

    #[test]
    fn names_hashed_by_ssh_keygen_are_found_and_ours_by_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let path = file.to_str().unwrap();
        let (key, text) = key();
        fs::write(
            &file,
            format!("web.example.com,10.0.0.7 {text}\n[db]:2222 {text}"),
        )
        .unwrap();
        assert!(keygen(&["-H", "-f", path]).status.success());
        assert!(fs::read_to_string(&file).unwrap().starts_with("|1|"));
        append(&file, "[cache]:2200", &key, true).unwrap();
        let ours = KnownHosts::read(std::slice::from_ref(&file)).unwrap();
        for name in ["web.example.com", "10.0.0.7", "[db]:2222", "[cache]:2200"] {
            assert!(matches!(ours.verdict(name, &key), Verdict::Known), "{name}");
            assert!(keygen(&["-F", name, "-f", path]).status.success(), "{name}");
        }
        assert!(matches!(ours.verdict("db", &key), Verdict::Unknown));
    }

    #[test]
    fn another_key_of_the_same_type_is_a_change_and_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let ((new, _), (_, old)) = (key(), key());
        fs::write(&file, format!("\nweb {old}\n")).unwrap();
        let known = KnownHosts::read(&[file]).unwrap();
        assert!(matches!(known.verdict("web", &new), Verdict::Changed(entry) if entry.line == 2));
        assert!(matches!(known.verdict("db", &new), Verdict::Unknown));
    }

    #[test]
    fn a_key_of_another_type_is_a_change_too_and_one_of_the_same_is_named_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let path = folder.path().join("ecdsa");
        keygen(&["-q", "-t", "ecdsa", "-N", "", "-f", path.to_str().unwrap()]);
        let ecdsa = fs::read_to_string(path.with_extension("pub")).unwrap();
        let ((new, _), (_, old)) = (key(), key());
        fs::write(&file, format!("web {ecdsa}db {ecdsa}db {old}\n")).unwrap();
        let known = KnownHosts::read(&[file]).unwrap();
        for (name, line) in [("web", 1), ("db", 3)] {
            let verdict = known.verdict(name, &new);
            assert!(
                matches!(verdict, Verdict::Changed(entry) if entry.line == line),
                "{verdict:?}"
            );
        }
    }

    #[test]
    fn a_revoked_key_is_revoked_even_where_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let (key, text) = key();
        fs::write(&file, format!("web {text}\n@revoked * {text}\n")).unwrap();
        let known = KnownHosts::read(&[file]).unwrap();
        assert!(matches!(known.verdict("web", &key), Verdict::Revoked(_)));
    }
}
