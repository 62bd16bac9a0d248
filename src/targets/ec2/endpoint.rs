//! Where AWS is, if the environment says so: the SDK takes `AWS_ENDPOINT_URL` as it is, and panics if that is empty.

use std::ffi::OsString;

use crate::targets::TargetError;

/// `AWS_ENDPOINT_URL`, and `AWS_ENDPOINT_URL_EC2` and its like.
const VARIABLE: &str = "AWS_ENDPOINT_URL";

/// Refuses what is no address.
///
/// # Errors
/// An empty one, as a variable of CI gives that is not set, and one without `http://` or `https://`.
pub(super) fn check(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), TargetError> {
    for (name, value) in environment {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let is_ours = name.strip_prefix(VARIABLE);
        if !is_ours.is_some_and(|rest| rest.is_empty() || rest.starts_with('_')) {
            continue;
        }
        if value.is_empty() {
            let error = TargetError::manifest(format!("{name} is set, and empty"));
            return Err(error.with_hint(format!("`unset {name}`: without it AWS itself is asked")));
        }
        let mut schemes = ["http://", "https://"].into_iter();
        let host = schemes.find_map(|scheme| value.strip_prefix(scheme));
        let is_none = |host: &str| {
            host.is_empty() || host.starts_with('/') || host.contains(char::is_whitespace)
        };
        if host.is_none_or(is_none) {
            let error = TargetError::manifest(format!("{name} is no address: {value}"));
            return Err(error.with_hint("an address is like https://ec2.eu-west-1.amazonaws.com"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, value: &str) -> Option<String> {
        let wrong = check([(name.into(), value.into())]).err()?;
        assert!(wrong.hint().is_some());
        Some(wrong.to_string())
    }

    #[test]
    fn an_address_is_an_address_or_not_set() {
        assert_eq!(told(VARIABLE, "http://127.0.0.1:4566"), None);
        assert_eq!(told("AWS_ENDPOINT_URL_EC2", "https://ec2.example"), None);
        assert_eq!(told("AWS_ENDPOINT_URLS", ""), None);
        let empty = told("AWS_ENDPOINT_URL_STS", "").unwrap();
        assert_eq!(empty, "AWS_ENDPOINT_URL_STS is set, and empty");
        for wrong in [
            "nonsense",
            "127.0.0.1:4566",
            "https://",
            "http:///x",
            "http://a b",
        ] {
            let told = told(VARIABLE, wrong).unwrap();
            assert_eq!(told, format!("AWS_ENDPOINT_URL is no address: {wrong}"));
        }
    }
}
