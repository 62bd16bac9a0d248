//! Which image a deploy is about: exactly one id, from the option or from a build's standard output.

use std::io::{IsTerminal, Read};
use std::str::FromStr;

use crate::exit::Failure;

/// As much is read of standard input: an id has 21 characters.
const LONGEST_BYTES: u64 = 64 * 1024;

/// What `--ami` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ImageArg {
    Id(String),
    /// One on standard input.
    Stdin,
    /// The one that is live.
    Current,
}

/// A text that names no image.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no AMI id: `ami-` and 8 or 17 hexadecimal digits, `-` for standard input, or `current`"
)]
pub(super) struct NotAnImage(String);

impl FromStr for ImageArg {
    type Err = NotAnImage;

    fn from_str(text: &str) -> Result<Self, NotAnImage> {
        match text {
            "-" => Ok(Self::Stdin),
            "current" => Ok(Self::Current),
            id if is_image_id(id) => Ok(Self::Id(id.to_owned())),
            other => Err(NotAnImage(other.to_owned())),
        }
    }
}

impl ImageArg {
    /// Returns the image's id; `None` keeps the one that is live.
    pub(super) fn id(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::Id(id) => Ok(Some(id.clone())),
            Self::Current => Ok(None),
            Self::Stdin => {
                let stdin = std::io::stdin();
                let is_terminal = stdin.is_terminal();
                from_input(stdin.lock(), is_terminal).map(Some)
            }
        }
    }
}

/// Returns the one id that a build has printed.
fn from_input(input: impl Read, is_terminal: bool) -> Result<String, Failure> {
    if is_terminal {
        return Err(Failure::usage("no AMI id is given")
            .with_hint("pipe one in (`amibake build manifest.yaml | amibake stack deploy STACK`), or give --ami; `--ami current` keeps the image"));
    }
    let mut text = String::new();
    input
        .take(LONGEST_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| {
            Failure::usage(error).with_hint("an AMI id was expected on standard input")
        })?;
    let ids: Vec<&str> = text.split_whitespace().collect();
    match ids[..] {
        [] => Err(Failure::usage("no AMI id came; did the build fail?")
            .with_hint("`set -o pipefail` lets a script see that")),
        [id] if is_image_id(id) => Ok(id.to_owned()),
        [other] => Err(Failure::usage(format!(
            "no AMI id came, but `{}`",
            shown(other)
        ))),
        _ => Err(Failure::usage(format!(
            "{} words came, and a stack runs one image: {}",
            ids.len(),
            shown(&ids.join(" "))
        ))
        .with_hint("build one image for it, or choose one by --ami")),
    }
}

/// Returns the beginning of what is not known to be fit to be shown.
fn shown(text: &str) -> String {
    let printable = text.chars().filter(|c| !c.is_control());
    printable.take(80).collect()
}

fn is_image_id(text: &str) -> bool {
    text.strip_prefix("ami-").is_some_and(|digits| {
        let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        matches!(digits.len(), 8 | 17) && digits.bytes().all(is_hex)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    fn refused(input: &str, is_terminal: bool) -> String {
        let failure = from_input(input.as_bytes(), is_terminal).unwrap_err();
        assert_eq!(failure.exit(), Exit::Usage);
        failure.error.to_string()
    }

    #[test]
    fn exactly_one_id_comes_from_a_build() {
        let id = "ami-0123456789abcdef0";
        assert_eq!(from_input(format!("{id}\n").as_bytes(), false).unwrap(), id);
        assert_eq!(refused("", false), "no AMI id came; did the build fail?");
        assert_eq!(
            refused(" \n\n", false),
            "no AMI id came; did the build fail?"
        );
        assert_eq!(refused("", true), "no AMI id is given");
        assert_eq!(
            refused("error: no\u{1b}\n", false),
            "2 words came, and a stack runs one image: error: no"
        );
        assert_eq!(refused("ami-012\n", false), "no AMI id came, but `ami-012`");
        let two = refused(&format!("{id}\n{id}\n"), false);
        assert!(two.starts_with("2 words came"), "{two}");
        let binary = from_input(&[0xff, 0xfe][..], false).unwrap_err();
        assert_eq!(binary.exit(), Exit::Usage);
    }

    #[test]
    fn the_option_names_an_id_or_where_one_is() {
        let parsed = |text: &str| text.parse::<ImageArg>().ok();
        assert_eq!(parsed("-"), Some(ImageArg::Stdin));
        assert_eq!(parsed("current"), Some(ImageArg::Current));
        assert_eq!(
            parsed("ami-0123abcd"),
            Some(ImageArg::Id("ami-0123abcd".into()))
        );
        for wrong in [
            "",
            "web",
            "ami-0123ABCD",
            "ami-0123456789abcdef01",
            "i-0123abcd",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
