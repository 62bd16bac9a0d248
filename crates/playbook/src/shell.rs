//! Words for a shell, and out of a line for one.

/// Quotes a word as Python's `shlex.quote` does: one that needs no quotes gets none.
#[must_use]
pub fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

/// What `#` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// Nothing: it is a character like others.
    Words,
    /// A comment, in the middle of a word too.
    Skipped,
}

/// Splits a text into its words, as Python's `shlex.split`.
///
/// # Errors
/// Python's words for what is not closed.
pub fn split(text: &str, comments: Comments) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\'' => single_quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '\\' => {
                let escaped = chars.next().ok_or("No escaped character")?;
                word.get_or_insert_default().push(escaped);
            }
            '#' if comments == Comments::Skipped => {
                words.extend(word.take());
                chars.by_ref().find(|c| *c == '\n');
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

fn single_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match chars.next().ok_or("No closing quotation")? {
            '\'' => return Ok(()),
            c => word.push(c),
        }
    }
}

fn double_quoted(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), &'static str> {
    loop {
        match chars.next().ok_or("No closing quotation")? {
            '"' => return Ok(()),
            '\\' => match chars.next().ok_or("No escaped character")? {
                c @ ('"' | '\\') => word.push(c),
                c => word.extend(['\\', c]),
            },
            c => word.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_under_python() {
        assert_eq!(quote("a/b-c_d.e:f,g+h=i@j%k"), "a/b-c_d.e:f,g+h=i@j%k");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("$(x)~"), "'$(x)~'");
        assert_eq!(quote("it's"), "'it'\"'\"'s'");
        assert_eq!(quote("ü\n"), "'ü\n'");
    }

    #[test]
    fn a_comment_ends_a_word_that_is_not_quoted() {
        let words = |text| split(text, Comments::Skipped);
        assert_eq!(words("h a=b#c d").unwrap(), ["h", "a=b"]);
        assert_eq!(
            words("h a='b#c' \"\"#d\ne").unwrap(),
            ["h", "a=b#c", "", "e"]
        );
        assert_eq!(words(r"a\#b c=\ d").unwrap(), ["a#b", "c= d"]);
        assert_eq!(words("#"), Ok(Vec::new()));
        assert_eq!(split("a#b", Comments::Words).unwrap(), ["a#b"]);
        assert_eq!(words("a='b"), Err("No closing quotation"));
    }
}
