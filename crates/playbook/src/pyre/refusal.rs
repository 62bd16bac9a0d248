//! What Python says of a pattern that it refuses, where it is one of the usual slips.

/// What stands before a place of a pattern, for whoever would repeat it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that can be repeated: the begin, `(`, `|`, `^`.
    Nothing,
    Item,
    Repeated,
}

/// Returns Python's words for what is wrong with `pattern`, which does not compile.
pub(super) fn python_says(pattern: &str) -> Option<String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut open = Vec::new();
    let mut before = Before::Nothing;
    let mut at = 0;
    while let Some(&letter) = letters.get(at) {
        let (next, now) = match letter {
            '\\' if at + 1 == letters.len() => {
                return Some(told("bad escape (end of pattern)", &letters, at));
            }
            '\\' => (at + 2, Before::Item),
            '[' => match class_end(&letters, at) {
                Some(end) => (end, Before::Item),
                None => return Some(told("unterminated character set", &letters, at)),
            },
            '(' => {
                open.push(at);
                (group_begin(&letters, at), Before::Nothing)
            }
            ')' if open.pop().is_none() => {
                return Some(told("unbalanced parenthesis", &letters, at));
            }
            ')' => (at + 1, Before::Item),
            '|' | '^' => (at + 1, Before::Nothing),
            _ => match repeat_end(&letters, at) {
                None => (at + 1, Before::Item),
                Some(_) if before == Before::Nothing => {
                    return Some(told("nothing to repeat", &letters, at));
                }
                Some(_) if before == Before::Repeated => {
                    return Some(told("multiple repeat", &letters, at));
                }
                Some(end) => (lazy_end(&letters, end), Before::Repeated),
            },
        };
        (at, before) = (next, now);
    }
    let unclosed = open.pop()?;
    Some(told(
        "missing ), unterminated subpattern",
        &letters,
        unclosed,
    ))
}

/// Returns where a class that begins at `at` has ended. A `]` that comes first is one of its letters.
fn class_end(letters: &[char], at: usize) -> Option<usize> {
    let mut inner = at + 1;
    if letters.get(inner) == Some(&'^') {
        inner += 1;
    }
    if letters.get(inner) == Some(&']') {
        inner += 1;
    }
    loop {
        match letters.get(inner)? {
            ']' => return Some(inner + 1),
            '\\' => inner += 2,
            _ => inner += 1,
        }
    }
}

/// Returns where the content of a group begins: behind `(`, or what makes it a group of its kind.
fn group_begin(letters: &[char], at: usize) -> usize {
    if letters.get(at + 1) != Some(&'?') {
        return at + 1;
    }
    let ends = |letter: &char| matches!(letter, ':' | '=' | '!' | '>' | ')');
    let end = letters[at + 2..].iter().position(ends);
    match end.map(|end| at + 2 + end) {
        // `(?i)` and `(?P=name)` have no content; what closes them is met next.
        Some(end) if letters[end] == ')' => end,
        Some(end) => end + 1,
        None => at + 2,
    }
}

/// Returns where a repetition that begins at `at` has ended, if one does.
fn repeat_end(letters: &[char], at: usize) -> Option<usize> {
    match letters[at] {
        '*' | '+' | '?' => Some(at + 1),
        '{' => {
            let length = letters[at..].iter().position(|letter| *letter == '}')?;
            let counts: String = letters[at + 1..at + length].iter().collect();
            let counted = |part: &str| part.chars().all(|c| c.is_ascii_digit());
            let fits = match counts.split_once(',') {
                Some((least, most)) => counted(least) && counted(most),
                None => !counts.is_empty() && counted(&counts),
            };
            fits.then_some(at + length + 1)
        }
        _ => None,
    }
}

/// Passes over the sign that makes a repetition lazy or possessive.
fn lazy_end(letters: &[char], end: usize) -> usize {
    end + usize::from(matches!(letters.get(end), Some('?' | '+')))
}

fn told(what: &str, letters: &[char], at: usize) -> String {
    let mut text = format!("{what} at position {at}");
    if letters.contains(&'\n') {
        let line = letters[..at].iter().filter(|c| **c == '\n').count() + 1;
        let begun = letters[..at].iter().rposition(|c| *c == '\n');
        let column = begun.map_or(at + 1, |newline| at - newline);
        text += &format!(" (line {line}, column {column})");
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::pyre::{Flags, Regex};

    #[test]
    fn a_pattern_is_refused_in_the_words_of_python() {
        for (pattern, said) in [
            ("*", "nothing to repeat at position 0"),
            ("a**", "multiple repeat at position 2"),
            ("(", "missing ), unterminated subpattern at position 0"),
            ("((a)", "missing ), unterminated subpattern at position 0"),
            ("a)", "unbalanced parenthesis at position 1"),
            ("[a", "unterminated character set at position 0"),
            ("[^]a", "unterminated character set at position 0"),
            ("a|*b", "nothing to repeat at position 2"),
            ("(?:*)", "nothing to repeat at position 3"),
            ("(?P<n>+)", "nothing to repeat at position 6"),
            ("\\", "bad escape (end of pattern) at position 0"),
            (
                "(?i)a\n(b",
                "missing ), unterminated subpattern at position 6 (line 2, column 1)",
            ),
            (
                "x\n\ny[",
                "unterminated character set at position 4 (line 3, column 2)",
            ),
            ("(?=", "missing ), unterminated subpattern at position 0"),
            ("[]", "unterminated character set at position 0"),
        ] {
            let refused = Regex::new(pattern, Flags::default()).unwrap_err();
            assert_eq!(refused.to_string(), said, "{pattern}");
        }
    }
}
