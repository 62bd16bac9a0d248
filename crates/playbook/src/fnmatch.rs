//! Shell patterns as Python's `fnmatch` reads them: `*`, `?`, `[a-z]` and `[!a-z]`.
//!
//! They match whole texts, `/` and a leading `.` like any character. Files are listed by the
//! `glob` crate and others; here only names are judged.

/// A shell pattern, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    AnyText,
    AnyChar,
    Char(char),
    Set(Set),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    negated: bool,
    ranges: Vec<(char, char)>,
}

/// Returns whether `pattern` matches the whole of `text`.
#[must_use]
pub fn fnmatch(pattern: &str, text: &str) -> bool {
    Pattern::new(pattern).matches(text)
}

impl Pattern {
    /// Reads a pattern. Every text is one: a bracket that is not closed stands for itself.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        let chars: Vec<char> = pattern.chars().collect();
        let (mut pieces, mut at) = (Vec::new(), 0);
        while let Some(c) = chars.get(at) {
            at += 1;
            pieces.push(match c {
                '*' => Piece::AnyText,
                '?' => Piece::AnyChar,
                '[' => match Set::read(&chars[at..]) {
                    Some((set, length)) => {
                        at += length;
                        Piece::Set(set)
                    }
                    None => Piece::Char('['),
                },
                c => Piece::Char(*c),
            });
        }
        Self(pieces)
    }

    /// Returns whether the pattern matches the whole of `text`.
    ///
    /// After a mismatch only the last `*` is asked for one character more: what an earlier one
    /// could take, the last could as well. So the time is bounded by the product of the lengths.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut piece) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(piece) {
                Some(Piece::AnyText) => {
                    piece += 1;
                    retry = Some((at, piece));
                }
                Some(other) if other.takes(text[at]) => {
                    at += 1;
                    piece += 1;
                }
                _ => {
                    let Some((taken, after)) = retry else {
                        return false;
                    };
                    retry = Some((taken + 1, after));
                    (at, piece) = (taken + 1, after);
                }
            }
        }
        self.0[piece..].iter().all(|p| *p == Piece::AnyText)
    }
}

impl Piece {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::AnyText | Self::AnyChar => true,
            Self::Char(own) => *own == c,
            Self::Set(set) => set.takes(c),
        }
    }
}

impl Set {
    /// Reads what follows a `[`, with its length: `]` included. A `]` that comes first is a member.
    fn read(chars: &[char]) -> Option<(Self, usize)> {
        let negated = chars.first() == Some(&'!');
        let first = usize::from(negated);
        let after = first + 1;
        let end = chars.iter().skip(after).position(|c| *c == ']')? + after;
        let members = &chars[first..end];
        let (mut ranges, mut at) = (Vec::new(), 0);
        while at < members.len() {
            let is_range = members.get(at + 1) == Some(&'-') && at + 2 < members.len();
            let last = at + if is_range { 2 } else { 0 };
            ranges.push((members[at], members[last]));
            at = last + 1;
        }
        Some((Self { negated, ranges }, end + 1))
    }

    fn takes(&self, c: char) -> bool {
        let within = |(first, last): &(char, char)| (*first..=*last).contains(&c);
        self.ranges.iter().any(within) != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    const TEXTS: &[&str] = &[
        "",
        "a",
        "ab",
        "abc",
        "ayc",
        "a+b",
        "[x",
        "[!",
        "[]",
        "[!]",
        "]",
        "-",
        "^",
        "\\",
        "d",
        "z",
        "a\nc",
        "a/c",
        ".a",
        "x.txt",
        "web01.example.com",
        "éa",
        "d]",
    ];

    /// Which of the texts a pattern matches under Python 3.11, by their numbers.
    const MATCHES: &[(&str, &[usize])] = &[
        ("", &[0]),
        (
            "*",
            &[
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
            ],
        ),
        ("?", &[1, 10, 11, 12, 13, 14, 15]),
        ("a", &[1]),
        ("a*c", &[3, 4, 16, 17]),
        ("*a*b*", &[2, 3, 5]),
        ("a[!x-z]c", &[3, 16, 17]),
        ("a[x-z]c", &[4]),
        ("[]]", &[10]),
        ("[!]]", &[1, 11, 12, 13, 14, 15]),
        ("[]-a]", &[1, 10, 12]),
        ("[x", &[6]),
        ("[!", &[7]),
        ("[]", &[8]),
        ("[!]", &[9]),
        ("[z-a]", &[]),
        ("[!z-a]", &[1, 10, 11, 12, 13, 14, 15]),
        ("[a-]", &[1, 11]),
        ("[-a]", &[1, 11]),
        ("[--a]", &[1, 10, 11, 12, 13]),
        ("[a-c-e]", &[1, 11]),
        ("[^a]", &[1, 12]),
        ("[a\\]", &[1, 13]),
        ("a+b", &[5]),
        (
            "**",
            &[
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,
            ],
        ),
        ("a.c", &[]),
        ("*.txt", &[19]),
        ("web[0-9][0-9].*", &[20]),
        ("[[:digit:]]", &[8, 22]),
        ("é*", &[21]),
    ];

    #[test]
    fn patterns_match_as_under_python() {
        for (pattern, expected) in MATCHES {
            let pattern = Pattern::new(pattern);
            let found: Vec<usize> = (0..TEXTS.len())
                .filter(|at| pattern.matches(TEXTS[*at]))
                .collect();
            assert_eq!(found, *expected, "{pattern:?}");
        }
    }

    #[test]
    fn many_stars_take_no_more_than_a_moment() {
        let start = Instant::now();
        assert!(!fnmatch(
            &"*a".repeat(40),
            &("a".repeat(39) + &"b".repeat(2000))
        ));
        assert!(!fnmatch(
            &format!("{}b", "a*".repeat(40)),
            &"a".repeat(2000)
        ));
        assert!(start.elapsed() < Duration::from_secs(2));
    }
}
