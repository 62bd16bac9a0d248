//! Patterns that are a text after `^`, with or without `$`: what most roles give `lineinfile`, once for each line of the
//! file. To compile one takes longer than to look at a thousand lines.

use super::Flags;

/// What a text begins with, or is but for a last newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beginning {
    text: String,
    whole: bool,
}

impl Beginning {
    /// Reads a pattern, if it is such a one.
    pub(super) fn read(pattern: &str, flags: Flags) -> Option<Self> {
        if flags.ignore_case || flags.multiline || flags.verbose {
            return None;
        }
        let mut text = String::new();
        let mut chars = pattern.strip_prefix('^')?.chars();
        while let Some(c) = chars.next() {
            match c {
                '$' => {
                    let whole = chars.next().is_none();
                    return whole.then_some(Self { text, whole });
                }
                '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
                '.' | '^' | '*' | '+' | '?' | '{' | '}' | '[' | ']' | '|' | '(' | ')' => {
                    return None;
                }
                c => text.push(c),
            }
        }
        let whole = false;
        Some(Self { text, whole })
    }

    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let rest = text.strip_prefix(self.text.as_bytes());
        rest.is_some_and(|rest| !self.whole || matches!(rest, b"" | b"\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Regex;
    use super::*;

    #[test]
    fn it_matches_what_its_program_does() {
        let patterns = [
            "^", "^$", "^a", "^a$", "^a=", r"^a\.b$", r"^a\.b", "^#a b", "^ä", "^ä$", r"^\$a",
            r"^\\",
        ];
        let texts = [
            "", "\n", "a", "a\n", "a\n\n", "ba", "a=1\n", "a.b", "a.b\n", "axb", "a.bc", "#a b",
            "ä\n", "äb", "$a", r"\",
        ];
        for bytes in [false, true] {
            let flags = Flags {
                bytes,
                ..Flags::default()
            };
            for pattern in patterns {
                let regex = Regex::new(pattern, flags).unwrap();
                assert!(regex.beginning.is_some(), "{pattern}");
                for text in texts.map(str::as_bytes).iter().chain(&[&b"a\xff"[..]]) {
                    let found = regex.search(text, 0).unwrap();
                    assert_eq!(
                        regex.is_match(text).unwrap(),
                        found.is_some(),
                        "{pattern} {text:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_says_more_is_compiled() {
        let of = |pattern: &str| Beginning::read(pattern, Flags::default());
        for pattern in [
            "a", "^a*", "^a|b", "^(a)", "^[a]", "^.", r"^\s", r"^\d", r"^a\Z", "^a$b", "^a{2}",
            "^\\",
        ] {
            assert_eq!(of(pattern), None, "{pattern}");
        }
        let flags = Flags {
            ignore_case: true,
            ..Flags::default()
        };
        assert_eq!(Beginning::read("^a", flags), None);
    }
}
