//! `known_hosts`: a host's key in a file of known hosts, found by `ssh-keygen`, which reads hashed
//! names too.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value as Json, json};
use sha1::{Digest, Sha1};

use crate::args::Args;
use crate::attrs;
use crate::change::{self, Change, Content};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::text_file::TextFile;
use crate::run_command::{Command, Ran, required_bin};

pub(super) struct KnownHosts;

/// What there is of the host in the file.
#[derive(Default)]
struct Found {
    host: bool,
    /// Whether its key has to be replaced, or another added.
    replace: bool,
    /// The line of a key of that type, from 1.
    line: Option<usize>,
}

struct Task<'a> {
    host: String,
    key: Option<String>,
    present: bool,
    path: PathBuf,
    keygen: String,
    file: TextFile,
    args: &'a Args,
}

impl ActionModule for KnownHosts {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let task = Task::read(args, context)?;
        task.check_key(context)?;
        let found = task.find(context)?;
        let after = task.edited(&found);
        let changed = task.changes(&found);
        if changed && !context.check {
            task.apply(&found, &after, context)?;
        }
        // Of a run that would go on to write, check mode tells less.
        let mut fields = match context.check && !task.is_of_another_key(&found) {
            true => Map::new(),
            false => args.every("ansible.builtin.known_hosts"),
        };
        attrs::add_path_info(&mut fields);
        let mut outcome = Outcome::of(changed, Json::Object(fields));
        outcome.diff = task.diff(&after);
        Ok(outcome)
    }
}

impl<'a> Task<'a> {
    fn read(args: &'a Args, context: &Context<'_>) -> Result<Self, Failure> {
        let host = args.required("name")?.to_lowercase();
        let present = args.str("state") != Some("absent");
        let keygen = required_bin("ssh-keygen", context)?;
        let mut key = args
            .str("key")
            .filter(|key| !key.is_empty())
            .map(str::to_owned);
        if key.is_none() && present {
            return Err(Failure::new("No key specified when adding a host"));
        }
        if let Some(key) = &mut key {
            if args.bool("hash_host") {
                *key = hashed(&host, key)?;
            }
            if !key.ends_with('\n') {
                key.push('\n');
            }
        }
        let path = PathBuf::from(args.required("path")?);
        Ok(Self {
            file: TextFile::read(&path)?,
            host,
            key,
            present,
            path,
            keygen,
            args,
        })
    }

    fn look_up(&self, path: &Path, context: &mut Context<'_>) -> Result<Ran, Failure> {
        let path = path.to_string_lossy();
        let command = Command::new([&*self.keygen, "-F", &self.host, "-f", &path]);
        command.run(context).map_err(|e| e.failure(&command))
    }

    /// Refuses a key that is not the host's, by `ssh-keygen`'s own reading.
    fn check_key(&self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let listed = self
            .host
            .split_once(',')
            .map(|(before, _)| before.trim_end());
        if listed.is_some_and(|before| !before.is_empty()) {
            return Err(Failure::new(
                "Comma separated list of names is not supported. Please pass a single name to \
                 lookup in the known_hosts file.",
            ));
        }
        let unwritten = |e| Failure::new(format!("could not write the key to a file: {e}"));
        let mut file = tempfile::NamedTempFile::new().map_err(unwritten)?;
        file.write_all(key.as_bytes()).map_err(unwritten)?;
        if self.look_up(file.path(), context)?.stdout.is_empty() {
            return Err(Failure::new(
                "Host parameter does not match hashed host field in supplied key",
            ));
        }
        Ok(())
    }

    fn find(&self, context: &mut Context<'_>) -> Result<Found, Failure> {
        if !self.path.exists() {
            return Ok(Found::default());
        }
        let ran = self.look_up(&self.path, context)?;
        if ran.stdout.is_empty() && ran.stderr.is_empty() && matches!(ran.rc, 0 | 1) {
            return Ok(Found::default());
        }
        if ran.rc != 0 {
            return Err(Failure::new(format!(
                "ssh-keygen failed (rc={}, stdout='{}',stderr='{}')",
                ran.rc, ran.stdout, ran.stderr
            )));
        }
        let found = self.key.as_deref().and_then(|key| known(&ran.stdout, key));
        Ok(found.unwrap_or(Found {
            host: true,
            replace: self.key.is_some(),
            line: None,
        }))
    }

    fn changes(&self, found: &Found) -> bool {
        !self.is_of_another_key(found) && (found.replace || self.present != found.host)
    }

    /// Returns whether the key that is to go is not there.
    fn is_of_another_key(&self, found: &Found) -> bool {
        !self.present && self.key.is_some() && found.line.is_none()
    }

    /// Returns the lines without the one that goes, with the one that comes.
    fn edited(&self, found: &Found) -> String {
        let mut lines: Vec<&str> = self.file.text().split_inclusive('\n').collect();
        let line = found.line.filter(|line| (1..=lines.len()).contains(line));
        if let Some(line) = line.filter(|_| found.replace || !self.present) {
            lines.remove(line - 1);
        }
        if self.present && (found.replace || found.line.is_none()) {
            lines.extend(self.key.as_deref());
        }
        lines.concat()
    }

    fn apply(&self, found: &Found, after: &str, context: &mut Context<'_>) -> Result<(), Failure> {
        if found.host && self.key.is_none() && !self.present {
            let path = self.path.to_string_lossy();
            let command = Command::new([&*self.keygen, "-R", &self.host, "-f", &path]);
            return command.checked(context).map(drop);
        }
        // A link is replaced, as by Ansible's module.
        let write = Change::Write {
            path: self.path.clone(),
            content: Content::text(after.as_bytes().to_vec()),
            how: crate::atomic::How::default(),
        };
        change::apply(&[write], context)
    }

    fn diff(&self, after: &str) -> Json {
        let path = self.args.str("path");
        let before = match self.file.text {
            Some(_) => path,
            None => Some("/dev/null"),
        };
        json!({"before_header": before, "before": self.file.text(),
            "after_header": path, "after": after})
    }
}

/// Reads what `ssh-keygen -F` found, line by line, for a key of the type of `key`.
fn known(said: &str, key: &str) -> Option<Found> {
    let wanted = Entry::read(key)?;
    let mut line = None;
    for text in said.lines().filter(|text| !text.is_empty()) {
        if text.starts_with('#') {
            let number = text.split_once("found: line ")?.1;
            line = number
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok();
            continue;
        }
        let there = Entry::read(text)?;
        let found = |replace| Found {
            host: true,
            replace,
            line,
        };
        let hashed = wanted.host.starts_with("|1|") && there.host.starts_with("|1|");
        if there.marker.is_none() && hashed {
            // A hash that is there stays.
            if (wanted.marker, wanted.kind, wanted.key) == (None, there.kind, there.key) {
                return Some(found(false));
            }
        } else if wanted == there {
            return Some(found(false));
        }
        if there.marker.is_none() && wanted.kind == there.kind {
            return Some(found(true));
        }
    }
    None
}

/// A line of a file of known hosts, without its comment.
#[derive(PartialEq)]
struct Entry<'a> {
    marker: Option<&'a str>,
    host: &'a str,
    kind: &'a str,
    key: &'a str,
}

impl<'a> Entry<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let first = words.next()?;
        let marker = first.starts_with('@').then_some(first);
        Some(Self {
            marker,
            host: match marker {
                Some(_) => words.next()?,
                None => first,
            },
            kind: words.next()?,
            key: words.next()?,
        })
    }
}

/// Replaces the name of the host in a key by its hash, as OpenSSH does.
fn hashed(host: &str, key: &str) -> Result<String, Failure> {
    let mut salt = [0; 20];
    let filled = File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut salt));
    filled.map_err(|e| Failure::new(format!("could not make a salt: {e}")))?;
    let hash = hmac_sha1(&salt, host.as_bytes());
    let name = format!(
        "|1|{}|{}",
        BASE64_STANDARD.encode(salt),
        BASE64_STANDARD.encode(hash)
    );
    let mut words: Vec<&str> = key.split_whitespace().collect();
    let at = usize::from(key.starts_with('@'));
    match words.get_mut(at) {
        Some(word) => *word = &name,
        None => return Err(Failure::new("the key has no name of a host")),
    }
    Ok(words.join(" "))
}

/// Returns the HMAC of a text by SHA-1; `key` is no longer than a block.
fn hmac_sha1(key: &[u8; 20], text: &[u8]) -> [u8; 20] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        block.iter_mut().zip(key).for_each(|(b, k)| *b ^= k);
        block
    };
    let inner = Sha1::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    let outer = Sha1::new().chain_update(pad(0x5c)).chain_update(inner);
    outer.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_that_of_rfc_2202() {
        let hash = hmac_sha1(&[0x0b; 20], b"Hi There");
        assert_eq!(
            hex::encode(hash),
            "b617318655057264e28bc0b6fb378c8ef146be00"
        );
    }

    #[test]
    fn a_key_of_the_same_type_is_replaced_and_the_same_key_stays() {
        let said =
            "# Host h found: line 3\nh ssh-rsa AAAA\n# Host h found: line 5\nh ssh-ed25519 BBBB\n";
        let found = known(said, "h ssh-ed25519 BBBB me\n").unwrap();
        assert_eq!((found.replace, found.line), (false, Some(5)));
        let found = known(said, "h ssh-rsa CCCC\n").unwrap();
        assert_eq!((found.replace, found.line), (true, Some(3)));
        assert!(known(said, "h ecdsa-sha2-nistp256 CCCC\n").is_none());
    }
}
