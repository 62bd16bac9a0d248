//! A command as it was typed, for whoever is told to go on with it: as a shell takes it, and without what is secret.

use std::collections::BTreeSet;

use crate::shell::quoted;

/// What stands in the place of what is not shown.
const HIDDEN: &str = "***";

/// A command as it was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CommandLine(Vec<Word>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Plain(String),
    /// `NAME=VALUE` of a stack's parameter, which may be a secret.
    Parameter(String, String),
}

impl CommandLine {
    #[must_use]
    pub(crate) fn word(mut self, word: impl Into<String>) -> Self {
        self.0.push(Word::Plain(word.into()));
        self
    }

    /// Adds an option with its value, if it was given.
    #[must_use]
    pub(crate) fn option(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.word(name).word(value),
            None => self,
        }
    }

    /// Adds an option without a value, if it was given.
    #[must_use]
    pub(crate) fn flag(self, name: &str, is_given: bool) -> Self {
        match is_given {
            true => self.word(name),
            false => self,
        }
    }

    #[must_use]
    pub(crate) fn parameter(self, name: &str, value: &str) -> Self {
        let mut line = self.word("--param");
        line.0
            .push(Word::Parameter(name.to_owned(), value.to_owned()));
        line
    }

    /// Returns it for a shell, the values of these parameters left out.
    pub(crate) fn without(&self, secret: &BTreeSet<String>) -> String {
        let words = self.0.iter().map(|word| match word {
            Word::Plain(word) => quoted(word),
            Word::Parameter(name, _) if secret.contains(name) => {
                quoted(&format!("{name}={HIDDEN}"))
            }
            Word::Parameter(name, value) => quoted(&format!("{name}={value}")),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quoted_and_what_is_secret_is_left_out() {
        let line = CommandLine::default()
            .word("amibake")
            .option("--template", Some("my web.yaml"))
            .option("--smoke", None::<String>)
            .flag("--keep-failed", true)
            .flag("--recreate", false)
            .parameter("Greeting", "it's me")
            .parameter("Password", "s3cret");
        assert_eq!(
            line.without(&BTreeSet::from(["Password".to_owned()])),
            "amibake --template 'my web.yaml' --keep-failed --param 'Greeting=it'\\''s me' --param 'Password=***'"
        );
    }
}
