//! What a certificate is for: host names, a wildcard of one level, addresses.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// One of them, as a client compares it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Domain {
    /// In lower case: `hello.example.com`, `*.example.com`.
    Name(String),
    Address(IpAddr),
}

/// A text that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is neither a host name nor an address: {why}")]
pub(crate) struct NotADomain {
    text: String,
    why: &'static str,
}

impl FromStr for Domain {
    type Err = NotADomain;

    fn from_str(text: &str) -> Result<Self, NotADomain> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match fault(text) {
            None => Ok(Self::Name(text.to_ascii_lowercase())),
            Some(why) => Err(NotADomain {
                text: text.to_owned(),
                why,
            }),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// Returns what keeps a text from being a name that ACM takes.
fn fault(text: &str) -> Option<&'static str> {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let labels: Vec<&str> = rest.split('.').collect();
    let is_plain = |label: &&str| {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        label.bytes().all(is_inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = labels.last().copied().unwrap_or_default();
    if text.contains("://") || text.contains('/') || text.contains(':') {
        Some("it is to be given without scheme, port and path")
    } else if text.len() > 253 {
        Some("it is longer than 253 characters")
    } else if labels.iter().any(|label| label.is_empty()) {
        Some("a part between its dots is empty")
    } else if labels.iter().any(|label| label.len() > 63) {
        Some("a part between its dots is longer than 63 characters")
    } else if rest.contains('*') {
        Some("`*` stands for its whole first part alone")
    } else if !labels.iter().all(is_plain) {
        Some("its parts are of a-z, 0-9 and `-`; others are written as xn--…")
    } else if labels.len() < 2 {
        Some("it has no dot")
    } else if last.bytes().all(|b| b.is_ascii_digit()) {
        Some("its last part is a number")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_wildcards_and_addresses_are_read_as_clients_compare_them() {
        let read = |text: &str| text.parse::<Domain>().unwrap();
        assert_eq!(read("Hello.Example.com"), read("hello.example.com"));
        assert_eq!(read("*.example.com").to_string(), "*.example.com");
        assert_eq!(read("10.0.0.7"), Domain::Address([10, 0, 0, 7].into()));
        assert_eq!(read("FD00::1").to_string(), "fd00::1");
    }

    #[test]
    fn what_is_no_domain_is_told_with_the_reason() {
        for (text, why) in [
            ("", "is empty"),
            ("localhost", "no dot"),
            ("https://example.com", "without scheme"),
            ("example.com:443", "without scheme"),
            ("example..com", "is empty"),
            ("example.com.", "is empty"),
            ("a.*.example.com", "first part"),
            ("*example.com", "first part"),
            ("-a.example.com", "its parts are"),
            ("käse.example.com", "xn--"),
            ("10.0.0.999", "a number"),
        ] {
            let error = text.parse::<Domain>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
        let long = format!("{}.example.com", "a".repeat(64));
        assert!(long.parse::<Domain>().is_err());
        let longer = format!("{}com", "a.".repeat(130));
        assert!(longer.parse::<Domain>().is_err());
    }
}
