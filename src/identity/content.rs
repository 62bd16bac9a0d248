//! What stands for all that an image is made of: digests by name, and the one hash of them.

use std::collections::BTreeMap;
use std::fmt;

use amibake_protocol::bundle::{Hash, Hasher};
use amibake_protocol::mask::Mask;
use serde::{Serialize, Serializer};

use super::commits::Commits;
use super::key;
use crate::manifest::Arch;

/// One of the things that an image is made of. The order is that of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Input {
    /// This program and its agent.
    Engine,
    /// The image that it starts from, and the architecture.
    Source,
    /// The names of the manifest and of the image, and the image's description.
    Name,
    /// The login user and the SSH port.
    Login,
    /// `builder.user_data`.
    UserData,
    /// `builder.volumes`.
    Volumes,
    /// What an image cannot change any more, encryption among it.
    Image,
    Gate,
    Test,
    /// What literal `env` lookups read.
    Env,
    /// What sensitive variables hold.
    Secrets,
    /// The commits that branches and tags stand for, of what is checked out.
    Git,
    /// What the lock file of the manifest's `requirements` says.
    Requirements,
    /// Files that no role of a step has: playbooks, what they include, their roles.
    Files,
    /// A step of `provision`, counted from 1, with the files of its role.
    Step(usize),
}

impl fmt::Display for Input {
    /// As tags name it: short, since all of them share one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Engine => "engine",
            Self::Source => "source",
            Self::Name => "name",
            Self::Login => "login",
            Self::UserData => "userdata",
            Self::Volumes => "volumes",
            Self::Image => "image",
            Self::Gate => "gate",
            Self::Test => "test",
            Self::Env => "env",
            Self::Secrets => "secrets",
            Self::Git => "git",
            Self::Requirements => "reqs",
            Self::Files => "files",
            Self::Step(number) => return write!(f, "{number}"),
        };
        f.write_str(name)
    }
}

impl Serialize for Input {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What an image is made of, as far as it is known before anything is called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inputs {
    pub(super) digests: BTreeMap<Input, Hash>,
    /// What the steps run, for people: `role ../hardening/os`.
    pub(super) steps: Vec<String>,
    /// What enters by its name alone, since there is no key for its value.
    pub(super) unkeyed: Vec<String>,
}

/// What an image is made of, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) hash: ContentHash,
    pub(crate) inputs: Inputs,
}

/// Digits of a [`ContentHash`]: as many as git has.
const DIGITS: usize = 40;

/// Digits of one input in a tag: enough to see a change, and nobody is believed by them.
pub(super) const SHORT: usize = 6;

/// A tag's value has at most so many characters.
const TAG_CHARACTERS: usize = 256;

/// What stands for all inputs together, in names, tags and descriptions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub(crate) struct ContentHash(String);

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that stands for no content.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not the hash of an image's content: it has {DIGITS} hexadecimal digits")]
pub(crate) struct NotAContentHash(String);

impl std::str::FromStr for ContentHash {
    type Err = NotAContentHash;

    fn from_str(text: &str) -> Result<Self, NotAContentHash> {
        let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match text.len() == DIGITS && text.bytes().all(is_digit) {
            true => Ok(Self(text.to_owned())),
            false => Err(NotAContentHash(text.to_owned())),
        }
    }
}

impl ContentHash {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Inputs {
    /// Sets what an input is now.
    pub(super) fn set(&mut self, input: Input, digest: Hash) {
        self.digests.insert(input, digest);
    }

    /// Returns the content that these make of `source`.
    pub(crate) fn content(&self, arch: Arch, source: &str) -> Content {
        let mut inputs = self.clone();
        let source = Hash::of(format!("{arch}\n{source}").as_bytes());
        inputs.set(Input::Source, source);
        let mut hasher = Hasher::default();
        for (input, digest) in &inputs.digests {
            hasher.update(format!("{input}={digest}\n").as_bytes());
        }
        let hash = ContentHash(hasher.finish().as_str()[..DIGITS].to_owned());
        Content { hash, inputs }
    }

    /// Returns each input with its digest.
    pub(crate) fn digests(&self) -> impl Iterator<Item = (Input, &Hash)> {
        self.digests.iter().map(|(input, digest)| (*input, digest))
    }

    /// Returns them as of another program: an image of these is nobody else's.
    #[cfg(test)]
    pub(crate) fn salted(mut self, salt: &str) -> Self {
        self.set(Input::Engine, Hash::of(salt.as_bytes()));
        self
    }

    /// Returns the warning that is due where values have no part in it, for lack of a key.
    pub(crate) fn unkeyed(&self) -> Option<String> {
        if self.unkeyed.is_empty() {
            return None;
        }
        Some(format!(
            "another value of {} does not make another image: {} holds no key (at least 16 bytes, kept secret) to tell values apart by",
            self.unkeyed.join(", "),
            key::VARIABLE
        ))
    }

    /// Adds what branches and tags stand for.
    pub(crate) fn with_commits(mut self, commits: &Commits, secrets: &Mask) -> Self {
        let mut text = format!(
            "{}\nnot known: {}",
            commits.found.join("\n"),
            commits.unknown.len()
        );
        secrets.text(&mut text);
        self.set(Input::Git, Hash::of(text.as_bytes()));
        self
    }

    /// Returns what the steps run, for people.
    pub(crate) fn steps(&self) -> &[String] {
        &self.steps
    }

    /// Returns an input in words: `step 2 of provision (role ../hardening/os)`.
    pub(crate) fn words(&self, input: Input) -> String {
        let words = match input {
            Input::Engine => "amibake itself",
            Input::Source => "the source image",
            Input::Name => "the name of the manifest, or the name or description of the image",
            Input::Login => "the login user or the SSH port",
            Input::UserData => "builder.user_data",
            Input::Volumes => "builder.volumes",
            Input::Image => "encryption or another attribute of the image",
            Input::Gate => "gate",
            Input::Test => "test",
            Input::Env => "an environment variable that a lookup reads",
            Input::Secrets => "the value of a sensitive variable",
            Input::Git => "a branch or tag that a task checks out",
            Input::Requirements => "the lock file of requirements",
            Input::Files => "a file of the playbooks",
            Input::Step(number) => {
                let what = self.steps.get(number - 1);
                let what = what.map(|what| format!(" ({what})")).unwrap_or_default();
                return format!("step {number} of provision{what}");
            }
        };
        words.to_owned()
    }

    /// Returns the tag's value: each input with the first digits of its digest. The last steps
    /// of many are one, `9+`.
    pub(crate) fn tag(&self) -> String {
        let mut fields: Vec<String> = Vec::new();
        let mut whole: usize = 0;
        let mut rest: Vec<(Input, &Hash)> = self.digests().collect();
        while let Some((input, digest)) = rest.first().copied() {
            let field = format!("{input}={}", &digest.as_str()[..SHORT]);
            let room = if rest.len() > 1 { ROOM_FOR_MORE } else { 0 };
            if whole + field.len() + 1 + room > TAG_CHARACTERS {
                fields.push(folded(&rest));
                break;
            }
            whole += field.len() + 1;
            fields.push(field);
            rest.remove(0);
        }
        fields.join(" ")
    }
}

/// What ` 999+=abcdef` takes.
const ROOM_FOR_MORE: usize = 12;

/// Returns several inputs as one field.
pub(super) fn folded(rest: &[(Input, &Hash)]) -> String {
    let mut hasher = Hasher::default();
    for (input, digest) in rest {
        hasher.update(format!("{input}={digest}\n").as_bytes());
    }
    let first = rest.first().map(|(input, _)| input.to_string());
    let digest = hasher.finish();
    let digits = &digest.as_str()[..SHORT];
    format!("{}+={digits}", first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(steps: usize) -> Inputs {
        let mut inputs = Inputs::default();
        let fixed = [
            Input::Engine,
            Input::Name,
            Input::Login,
            Input::UserData,
            Input::Volumes,
            Input::Image,
            Input::Gate,
            Input::Test,
            Input::Env,
            Input::Secrets,
            Input::Git,
            Input::Files,
        ];
        for input in fixed.into_iter().chain((1..=steps).map(Input::Step)) {
            inputs.set(input, Hash::of(input.to_string().as_bytes()));
        }
        inputs
    }

    #[test]
    fn a_content_is_its_inputs_and_its_source() {
        let one = inputs(2).content(Arch::Amd64, "ami-1");
        assert_eq!(one, inputs(2).content(Arch::Amd64, "ami-1"));
        assert_eq!(one.hash.as_str().len(), DIGITS);
        assert_eq!(
            one.hash.to_string().parse::<ContentHash>().unwrap(),
            one.hash
        );
        assert!("[amibake".parse::<ContentHash>().is_err());
        for other in [
            inputs(3).content(Arch::Amd64, "ami-1"),
            inputs(2).content(Arch::Arm64, "ami-1"),
            inputs(2).content(Arch::Amd64, "ami-2"),
        ] {
            assert_ne!(other.hash, one.hash);
        }
    }

    #[test]
    fn all_inputs_fit_into_one_tag_however_many_steps_there_are() {
        for steps in [0, 1, 5, 8, 9, 10, 20, 1000] {
            let tag = inputs(steps).content(Arch::Amd64, "ami-1").inputs.tag();
            assert!(tag.len() <= TAG_CHARACTERS, "{steps}: {}", tag.len());
            assert!(tag.starts_with("engine="), "{tag}");
            assert_eq!(tag.contains("+="), steps > 9, "{steps}: {tag}");
        }
        let last = |steps| {
            let tag = inputs(steps).tag();
            tag.rsplit(' ').next().unwrap().to_owned()
        };
        assert_ne!(last(20), last(21), "the folded ones count");
    }
}
