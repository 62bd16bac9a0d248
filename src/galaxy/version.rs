//! Versions as `ansible-galaxy` compares them: semantic ones of collections and their ranges, loose ones of roles.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A text that is no version, or no range of them.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no version such as 1.2.3, and no range such as >=1.0.0,<2.0.0")]
pub(crate) struct NoVersion(String);

/// A semantic version; builds of one version are equal.
#[derive(Debug, Clone)]
pub(crate) struct Version(semver::Version);

impl Version {
    pub(crate) fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// Reads a version of which parts may be left out: `1` is `1.0.0`.
    fn loose(text: &str) -> Result<Self, NoVersion> {
        let wrong = || NoVersion(text.to_owned());
        let end = text.find(['-', '+']).unwrap_or(text.len());
        let (core, extra) = text.split_at(end);
        let mut parts: Vec<&str> = core.split('.').collect();
        parts.truncate(3);
        parts.resize(3, "0");
        let number = |part: &&str| part.parse::<u64>().map(|n| n.to_string()).ok();
        let parts: Option<Vec<String>> = parts.iter().map(number).collect();
        format!("{}{extra}", parts.ok_or_else(wrong)?.join("."))
            .parse()
            .map_err(|_| wrong())
    }
}

impl FromStr for Version {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let parsed = semver::Version::parse(text);
        parsed.map(Self).map_err(|_| NoVersion(text.to_owned()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

/// Which versions will do: `*`, `1.2.3`, `>=1.0.0,<2.0.0,!=1.4.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Range {
    text: String,
    parts: Vec<(Comparison, Version)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// The longer ones first, since others begin with a part of them.
const COMPARISONS: [(&str, Comparison); 7] = [
    ("!=", Comparison::Unequal),
    ("==", Comparison::Equal),
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("=", Comparison::Equal),
    (">", Comparison::More),
    ("<", Comparison::Less),
];

impl Range {
    pub(crate) fn any() -> Self {
        Self {
            text: "*".to_owned(),
            parts: Vec::new(),
        }
    }

    pub(crate) fn contains(&self, version: &Version) -> bool {
        self.parts.iter().all(|(comparison, bound)| {
            let ordering = version.cmp(bound);
            match comparison {
                Comparison::Equal => ordering.is_eq(),
                Comparison::Unequal => ordering.is_ne(),
                Comparison::Less => ordering.is_lt(),
                Comparison::AtMost => ordering.is_le(),
                Comparison::More => ordering.is_gt(),
                Comparison::AtLeast => ordering.is_ge(),
            }
        })
    }

    /// Returns whether it names this very version: a prerelease is taken only so.
    pub(crate) fn names(&self, version: &Version) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|(comparison, bound)| *comparison == Comparison::Equal && bound == version)
    }
}

impl FromStr for Range {
    type Err = NoVersion;

    fn from_str(text: &str) -> Result<Self, NoVersion> {
        let mut parts = Vec::new();
        for part in text.split(',').map(str::trim) {
            let found = COMPARISONS
                .iter()
                .find_map(|(sign, comparison)| Some((part.strip_prefix(sign)?, *comparison)));
            let (bound, comparison) = found.unwrap_or((part, Comparison::Equal));
            let bound = bound.trim();
            if bound != "*" {
                let bound = Version::loose(bound).map_err(|_| NoVersion(text.to_owned()))?;
                parts.push((comparison, bound));
            }
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A part of a loose version: Python compares neither with the other.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Number(u128),
    Word(String),
}

/// Returns the newest of a role's versions, by its index; `None` where two cannot be compared.
pub(crate) fn newest<T: AsRef<str>>(versions: &[T]) -> Option<usize> {
    let mut newest: Option<(usize, Vec<Piece>)> = None;
    for (index, version) in versions.iter().enumerate() {
        let pieces = pieces(version.as_ref());
        let is_newer = match &newest {
            None => true,
            Some((_, best)) => compare(&pieces, best)?.is_gt(),
        };
        if is_newer {
            newest = Some((index, pieces));
        }
    }
    newest.map(|(index, _)| index)
}

/// Splits as Python's LooseVersion does: into numbers and words, without the points.
fn pieces(version: &str) -> Vec<Piece> {
    let mut pieces: Vec<(char, String)> = Vec::new();
    for letter in version.chars() {
        let kind = match letter {
            '.' => '.',
            '0'..='9' => '0',
            'a'..='z' => 'a',
            _ => '-',
        };
        match pieces.last_mut() {
            Some((last, text)) if *last == kind => text.push(letter),
            _ => pieces.push((kind, letter.to_string())),
        }
    }
    let words = pieces.into_iter().filter(|(kind, _)| *kind != '.');
    words
        .map(|(_, text)| match text.parse() {
            Ok(number) => Piece::Number(number),
            Err(_) => Piece::Word(text),
        })
        .collect()
}

fn compare(one: &[Piece], other: &[Piece]) -> Option<Ordering> {
    for pair in one.iter().zip(other) {
        let ordering = match pair {
            (Piece::Number(a), Piece::Number(b)) => a.cmp(b),
            (Piece::Word(a), Piece::Word(b)) => a.cmp(b),
            (Piece::Number(_), Piece::Word(_)) | (Piece::Word(_), Piece::Number(_)) => return None,
        };
        if ordering.is_ne() {
            return Some(ordering);
        }
    }
    Some(one.len().cmp(&other.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_all_of_its_parts_and_fills_in_what_is_left_out() {
        for (range, inside, outside) in [
            ("*", "0.0.1", ""),
            ("1.2.3", "1.2.3", "1.2.4"),
            ("=1.2", "1.2.0", "1.2.1"),
            ("==1.2.3", "1.2.3+build.7", "1.2.3-rc.1"),
            (">=1,<2", "1.9.9", "2.0.0"),
            (">= 1.0.0 , < 2.0.0", "1.0.0", "0.9.0"),
            (">1.0.0,!=1.5.0", "1.4.0", "1.5.0"),
            ("<=2.0.0", "2.0.0-beta.1", "2.0.1"),
            (">=1.0.0-alpha", "1.0.0-beta", "0.9.9"),
        ] {
            let parsed: Range = range.parse().unwrap();
            assert!(parsed.contains(&version(inside)), "{range} {inside}");
            if !outside.is_empty() {
                assert!(!parsed.contains(&version(outside)), "{range} {outside}");
            }
            assert_eq!(parsed.to_string(), range);
        }
        for wrong in ["latest", ">=one", "~=1.0", "", "1.2.3.x-", "--option"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_prerelease_is_older_and_is_named_only_by_an_equal_sign() {
        assert!(version("1.0.0-rc.1") < version("1.0.0"));
        assert!(version("1.0.0-rc.10") > version("1.0.0-rc.9"));
        let named = |range: &str| {
            range
                .parse::<Range>()
                .unwrap()
                .names(&version("1.0.0-rc.1"))
        };
        assert!(named("1.0.0-rc.1") && named("=1.0.0-rc.1"));
        assert!(!named(">=1.0.0-rc.1") && !named("*"));
    }

    #[test]
    fn the_newest_loose_version_is_found_unless_words_stand_against_numbers() {
        assert_eq!(newest(&["1.9", "1.10", "1.2.3"]), Some(1));
        assert_eq!(newest(&["v1.2", "v1.10.0", "v1.10"]), Some(1));
        assert_eq!(newest(&["1.0", "v2.0"]), None);
        assert_eq!(newest::<&str>(&[]), None);
    }
}
