//! What a certificate is called.

use serde::Serialize;

/// Tags a certificate in ACM with its name: it is ours.
pub(super) const NAME_TAG: &str = "amibake:certificate";

/// What a certificate is called: part of tags, paths and names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct CertName(String);

impl CertName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for CertName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for CertName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_name = (1..=63).contains(&text.len()) && text.bytes().all(is_plain);
        match is_name && !text.starts_with('-') {
            true => Ok(Self(text.to_owned())),
            false => Err("it is of a-z, 0-9 and `-`, 63 characters at most".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_tags_paths_and_names_can_carry() {
        for name in ["web", "a-1", "0"] {
            assert!(name.parse::<CertName>().is_ok(), "{name}");
        }
        for name in ["", "-a", "Web", "a/b", "a b", "ä", &"a".repeat(64)] {
            assert!(name.parse::<CertName>().is_err(), "{name}");
        }
    }
}
