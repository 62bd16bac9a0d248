//! The name of a stack.

use std::fmt;
use std::str::FromStr;

/// The longest name that CloudFormation takes.
const LONGEST: usize = 128;

/// What a stack is called, as CloudFormation takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StackName(String);

/// A text that CloudFormation takes for no name.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not the name of a stack: letters, digits and hyphens, a letter first, {LONGEST} at most"
)]
pub(crate) struct NotAName(String);

impl StackName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for StackName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic());
        let goes_on = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        match begins && goes_on && text.len() <= LONGEST {
            true => Ok(Self(text.to_owned())),
            false => Err(NotAName(text.to_owned())),
        }
    }
}

impl fmt::Display for StackName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_as_cloudformation_takes_it() {
        for name in ["web", "Web-2", &"w".repeat(128)] {
            assert_eq!(name.parse::<StackName>().unwrap().as_str(), name);
        }
        for text in ["", "2web", "web_1", "-web", "wéb", "web.", &"w".repeat(129)] {
            assert!(text.parse::<StackName>().is_err(), "{text}");
        }
    }
}
