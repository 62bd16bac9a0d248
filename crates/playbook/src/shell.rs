//! Words for a shell.

/// Quotes a word as Python's `shlex.quote` does: one that needs no quotes gets none.
#[must_use]
pub fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn words_are_quoted_as_under_python() {
        assert_eq!(quote("a/b-c_d.e:f,g+h=i@j%k"), "a/b-c_d.e:f,g+h=i@j%k");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("$(x)~"), "'$(x)~'");
        assert_eq!(quote("it's"), "'it'\"'\"'s'");
        assert_eq!(quote("ü\n"), "'ü\n'");
    }
}
