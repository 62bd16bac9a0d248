//! `openssh_keypair`: a private key and its public half, by `ssh-keygen`.
//!
//! Keys are made in a folder of their own and put in their places whole.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

use crate::account::public_key;
use crate::args::Args;
use crate::atomic::How;
use crate::attrs::{Attributes, Meta};
use crate::by_descriptor;
use crate::change::{self, Change, Content};
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::place;
use crate::run_command::{Command, Ran, bin_path};

pub(super) struct OpensshKeypair;

/// What `ssh-keygen -l` says of a private key.
#[derive(Clone)]
struct Private {
    size: i64,
    kind: String,
    fingerprint: String,
}

#[derive(Clone)]
struct Public {
    kind: String,
    /// In base 64.
    data: String,
    comment: String,
}

/// Both halves, as far as they are there and can be read.
#[derive(Clone, Default)]
struct Pair {
    private: Option<Private>,
    public: Option<Public>,
}

struct Task<'a, 'c> {
    args: &'a Args,
    context: &'a mut Context<'c>,
    keygen: String,
    kind: &'a str,
    size: i64,
    private: PathBuf,
    public: PathBuf,
    /// What `ssh-keygen` made of the private half, until that changes.
    derived: Option<Ran>,
}

impl ActionModule for OpensshKeypair {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut task = Task::read(args, context)?;
        let before = task.pair()?;
        let (changed, after) = match args.str("state") {
            Some("absent") => (task.remove()?, Pair::default()),
            _ => task.present(&before)?,
        };
        let told = Pair {
            private: after.private.clone().or(before.private.clone()),
            public: after.public.clone().or(before.public.clone()),
        };
        let mut outcome = Outcome::of(changed, task.fields(&told));
        if task.context.diff {
            outcome.diff = json!({"before": before.shown(), "after": after.shown()});
        }
        Ok(outcome)
    }
}

/// Returns how many bits a key of this type is to have.
fn size(kind: &str, given: Option<i64>) -> Result<i64, Failure> {
    let (size, why) = match kind {
        "ed25519" => return Ok(256),
        "dsa" => (
            given
                .filter(|size| *size != 1024)
                .map_or(Some(1024), |_| None),
            "DSA keys must be exactly 1024 bits as specified by FIPS 186-2.",
        ),
        "ecdsa" => (
            Some(given.unwrap_or(256)).filter(|size| matches!(size, 256 | 384 | 521)),
            "For ECDSA keys, size determines the key length by selecting from one of three elliptic \
             curve sizes: 256, 384 or 521 bits. Attempting to use bit lengths other than these three \
             values for ECDSA keys will cause this module to fail.",
        ),
        _ => (
            Some(given.unwrap_or(4096)).filter(|size| *size >= 1024),
            "For RSA keys, the minimum size is 1024 bits and the default is 4096 bits. Attempting to \
             use bit lengths under 1024 will cause the module to fail.",
        ),
    };
    size.ok_or_else(|| Failure::new(why))
}

impl<'a, 'c> Task<'a, 'c> {
    fn read(args: &'a Args, context: &'a mut Context<'c>) -> Result<Self, Failure> {
        let keygen = bin_path("ssh-keygen", context)
            .ok_or_else(|| Failure::new("Cannot find the OpenSSH binary in the PATH"))?;
        let kind = args.required("type")?;
        let size = size(kind, args.int("size"))?;
        let private = PathBuf::from(args.required("path")?);
        refuse_place(&private)?;
        if args.str("private_key_format") != Some("auto") {
            return Err(Failure::new(
                "'auto' is the only valid option for 'private_key_format' when 'backend' is not \
                 'cryptography'",
            ));
        }
        let public = public_key(&private);
        Ok(Self {
            args,
            context,
            keygen: keygen.to_string_lossy().into_owned(),
            kind,
            size,
            private,
            public,
            derived: None,
        })
    }

    fn fields(&self, pair: &Pair) -> Json {
        let (private, public) = (pair.private.as_ref(), pair.public.as_ref());
        json!({
            "size": self.size, "type": self.kind, "filename": self.private.to_string_lossy(),
            "fingerprint": private.map_or("", |key| &key.fingerprint),
            "public_key": public.map(Public::line).unwrap_or_default(),
            "comment": public.map_or("", |key| &key.comment),
        })
    }

    fn keygen<const N: usize>(&mut self, words: [&str; N], key: &Path) -> Result<Ran, Failure> {
        let key = key.to_string_lossy();
        let argv = [&*self.keygen].into_iter().chain(words).chain(["-f", &key]);
        let command = Command::new(argv);
        command.run(self.context).map_err(|e| e.failure(&command))
    }

    fn checked<const N: usize>(&mut self, words: [&str; N], key: &Path) -> Result<Ran, Failure> {
        let ran = self.keygen(words, key)?;
        match ran.rc {
            0 => Ok(ran),
            _ => {
                let mut failure = Failure::new(ran.stderr.trim_end());
                failure.result = ran.fields();
                Err(failure)
            }
        }
    }

    fn pair(&mut self) -> Result<Pair, Failure> {
        let private = self.private.clone();
        let private = match private.exists() {
            true => Private::read(&self.keygen(["-l"], &private)?),
            false => None,
        };
        let public = place::read(&self.public).ok();
        let public = public.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Pair {
            private,
            public: public.and_then(|text| Public::read(text.trim_matches([' ', '\n']))),
        })
    }

    fn present(&mut self, before: &Pair) -> Result<(bool, Pair), Failure> {
        let regenerate = match self.args.bool("force") {
            true => "always",
            false => self.args.required("regenerate")?,
        };
        self.refuse_unreadable(before, regenerate)?;
        let mut changed = self.generates(before, regenerate)?;
        if changed {
            if !self.context.check {
                self.generate()?;
            }
        } else if !self.has_its_public_half(before)? {
            changed = true;
            if !self.context.check {
                self.restore_public_half()?;
            }
        }
        let after = match changed && !self.context.check {
            true => self.pair()?,
            false => before.clone(), // to ask twice takes two processes more
        };
        changed |= self.give_attributes()?;
        Ok((changed, after))
    }

    fn refuse_unreadable(&mut self, before: &Pair, regenerate: &str) -> Result<(), Failure> {
        let careful = matches!(regenerate, "never" | "fail" | "partial_idempotence");
        let private = self.private.clone();
        if !careful || !private.exists() {
            return Ok(());
        }
        let readable = before.private.is_some() && {
            let ran = self.keygen(["-P", "", "-y"], &private)?;
            let refused = [
                "is not a public key file",
                "incorrect passphrase",
                "load failed",
            ];
            let readable = ran.rc != 255 && !refused.iter().any(|words| ran.stderr.contains(words));
            self.derived = Some(ran);
            readable
        };
        match readable {
            true => Ok(()),
            false => Err(Failure::new(
                "Unable to read the key. The key is protected with a passphrase or broken. Will not \
                 proceed. To force regeneration, call the module with `generate` set to \
                 `full_idempotence` or `always`, or with `force=true`.",
            )),
        }
    }

    fn generates(&self, before: &Pair, regenerate: &str) -> Result<bool, Failure> {
        let Some(private) = &before.private else {
            return Ok(true);
        };
        let fits = private.size == self.size && private.kind == self.kind;
        match regenerate {
            "never" => Ok(false),
            "fail" if fits => Ok(false),
            "fail" => Err(Failure::new(
                "Key has wrong type and/or size. Will not proceed. To force regeneration, call the \
                 module with `generate` set to `partial_idempotence`, `full_idempotence` or \
                 `always`, or with `force=true`.",
            )),
            "always" => Ok(true),
            _ => Ok(!fits),
        }
    }

    fn generate(&mut self) -> Result<(), Failure> {
        let (_folder, key) = scratch()?;
        let (size, kind) = (self.size.to_string(), self.kind);
        let comment = self.args.str("comment").unwrap_or_default();
        let words = ["-q", "-N", "", "-b", &size, "-t", kind, "-C", comment];
        self.checked(words, &key)?;
        self.put(&key)
    }

    /// Puts a pair in place; keys that are there leave their modes.
    fn put(&mut self, key: &Path) -> Result<(), Failure> {
        let public = public_key(key);
        let pairs = [(key, &self.private, 0o600), (&public, &self.public, 0o644)];
        let changes = pairs.map(|(from, to, mode)| {
            let read = std::fs::read(from)
                .map_err(|e| Failure::new(format!("could not read the new key: {e}")));
            read.map(|content| Change::Write {
                path: to.clone(),
                content: secret(content),
                how: How {
                    mode: Some(mode),
                    ..How::default()
                },
            })
        });
        let changes = changes.into_iter().collect::<Result<Vec<_>, _>>()?;
        change::apply(&changes, self.context)
    }

    fn own_public_half(&mut self) -> Result<Option<Public>, Failure> {
        let private = self.private.clone();
        let ran = match self.derived.take() {
            Some(ran) if ran.rc == 0 => ran,
            _ => self.checked(["-P", "", "-y"], &private)?,
        };
        Ok(Public::read(ran.stdout.trim_matches('\n')))
    }

    fn has_its_public_half(&mut self, before: &Pair) -> Result<bool, Failure> {
        let Some(there) = &before.public else {
            return Ok(false);
        };
        let wanted = self.args.str("comment");
        Ok(self.own_public_half()?.is_some_and(|own| {
            let commented = wanted.is_none_or(|wanted| there.comment == wanted);
            own.kind == there.kind && own.data == there.data && commented
        }))
    }

    fn restore_public_half(&mut self) -> Result<(), Failure> {
        let failed = || {
            Failure::new(
                "The public key is missing or does not match the private key. Unable to regenerate \
                 the public key.",
            )
        };
        let own = self.own_public_half()?.ok_or_else(failed)?;
        let comment = self
            .args
            .str("comment")
            .filter(|comment| !comment.is_empty());
        let Some(comment) = comment else {
            let write = Change::Write {
                path: self.public.clone(),
                content: Content::text(format!("{}\n", own.line()).into_bytes()),
                how: How {
                    mode: Some(0o644),
                    ..How::default()
                },
            };
            return change::apply(&[write], self.context);
        };
        // The comment is within the private key too, which is changed on a copy.
        let (_folder, key) = scratch()?;
        by_descriptor::back_up(&self.private, &key)
            .map_err(|e| Failure::new(format!("could not copy the private key: {e}")))?;
        self.checked(["-q", "-c", "-C", comment], &key)?;
        self.put(&key)
    }

    fn remove(&mut self) -> Result<bool, Failure> {
        let there = [&self.private, &self.public]
            .into_iter()
            .filter(|path| path.exists());
        let changes: Vec<Change> = there
            .map(|path| Change::Remove { path: path.clone() })
            .collect();
        if !self.context.check {
            change::apply(&changes, self.context)?;
        }
        Ok(!changes.is_empty())
    }

    /// Gives both files the attributes asked for; in check mode, a file that is not there would get
    /// them.
    fn give_attributes(&mut self) -> Result<bool, Failure> {
        let mut changed = false;
        for path in [self.private.clone(), self.public.clone()] {
            let wanted = Attributes::read(self.args, &path)?;
            let looked = |e| Failure::new(format!("could not look at {}: {e}", path.display()));
            let real = place::real(&path).map_err(looked)?;
            let Some(meta) = Meta::read(&real).map_err(looked)? else {
                changed = true;
                continue;
            };
            let changes = wanted.plan(&wanted.target(&real, meta), self.context.check)?;
            changed |= !changes.is_empty();
            if !self.context.check {
                change::apply(&changes, self.context)?;
            }
        }
        Ok(changed)
    }
}

fn refuse_place(path: &Path) -> Result<(), Failure> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let folder = folder.display();
        let msg = format!("The directory {folder} does not exist or the file is not a directory");
        return Err(Failure::new(msg).with("name", folder.to_string()));
    }
    match path.is_dir() {
        true => Err(Failure::new(format!(
            "{} is a directory. Please specify a path to a file.",
            path.display()
        ))),
        false => Ok(()),
    }
}

/// Returns a place for a key where nobody else can look.
fn scratch() -> Result<(TempDir, PathBuf), Failure> {
    let folder = tempfile::tempdir()
        .map_err(|e| Failure::new(format!("could not make a folder for the new key: {e}")))?;
    let key = folder.path().join("key");
    Ok((folder, key))
}

/// Returns a content that is never shown.
fn secret(content: Vec<u8>) -> Content {
    Content {
        shown: "(a key)".to_owned(),
        ..Content::text(content)
    }
}

impl Pair {
    fn shown(&self) -> Json {
        let mut shown = Map::new();
        let mut put = |name: &str, value: Json| shown.insert(name.to_owned(), value);
        if let Some(key) = &self.private {
            put("size", Json::from(key.size));
            put("type", Json::from(&*key.kind));
            put("fingerprint", Json::from(&*key.fingerprint));
            put("format", Json::from(""));
        }
        if let Some(key) = &self.public {
            put("comment", Json::from(key.comment.clone()));
            put("public_key", Json::from(&*key.data));
        }
        Json::Object(shown)
    }
}

impl Private {
    /// Reads `4096 SHA256:… comment (RSA)`.
    fn read(ran: &Ran) -> Option<Self> {
        let words: Vec<&str> = ran.stdout.split_whitespace().collect();
        let kind = words.last().filter(|_| ran.rc == 0)?;
        Some(Self {
            size: words.first()?.parse().ok()?,
            kind: kind.trim_matches(['(', ')']).to_lowercase(),
            fingerprint: (*words.get(1)?).to_owned(),
        })
    }
}

impl Public {
    /// Reads `ssh-rsa AAAA… comment`.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.splitn(3, ' ').map(str::to_owned);
        Some(Self {
            kind: words.next()?,
            data: words.next()?,
            comment: words.next().unwrap_or_default(),
        })
    }

    fn line(&self) -> String {
        format!("{} {}", self.kind, self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_types() {
        assert_eq!(size("rsa", None).unwrap(), 4096);
        assert_eq!(size("dsa", None).unwrap(), 1024);
        assert_eq!(size("ecdsa", Some(521)).unwrap(), 521);
        assert_eq!(size("ed25519", Some(9)).unwrap(), 256);
        for (kind, wrong) in [("rsa", 512), ("dsa", 2048), ("ecdsa", 255)] {
            assert!(size(kind, Some(wrong)).is_err());
        }
    }
}
