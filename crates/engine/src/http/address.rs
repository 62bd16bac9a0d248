//! Addresses as text: their parts, where a redirect leads, who logs in there, and by which way.

use ureq::http::Uri;

/// Returns the host of an address, in small letters.
pub(super) fn host_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    uri.host().map(str::to_lowercase)
}

/// Whether a `no_proxy` list names the host or a domain it is in.
pub(super) fn bypasses(list: &str, host: &str) -> bool {
    list.split(',')
        .map(|name| name.trim().to_lowercase())
        .any(|name| {
            let domain = name.trim_start_matches('.');
            name == "*"
                || (!domain.is_empty() && (host == domain || host.ends_with(&format!(".{domain}"))))
        })
}

/// Resolves a `Location` against the address it came from.
pub(crate) fn join(base: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    if let Some(rest) = location.strip_prefix("//") {
        return format!("{}//{rest}", &base[..after_scheme.saturating_sub(2)]);
    }
    let path_at = base[after_scheme..]
        .find('/')
        .map_or(base.len(), |at| after_scheme + at);
    if location.starts_with('/') {
        return format!("{}{location}", &base[..path_at]);
    }
    let path = base[path_at..].split(['?', '#']).next().unwrap_or_default();
    let folder = path.rfind('/').map_or("/", |at| &path[..=at]);
    format!("{}{folder}{location}", &base[..path_at])
}

/// Splits `https://user:password@host/` into the address without them, and both.
pub(super) fn credentials_in(url: &str) -> Option<(String, String, String)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (credentials, _) = authority.rsplit_once('@')?;
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let bare = format!("{scheme}://{}", &rest[credentials.len() + 1..]);
    Some((bare, decode(user), decode(password)))
}

/// Undoes `%41`.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Returns login and password for `host`, or of `default`.
pub(super) fn netrc_entry(text: &str, host: &str) -> Option<(String, String)> {
    let mut words = text.split_whitespace();
    let (mut mine, mut login, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" if mine && login.is_some() => break,
            "machine" => mine = words.next() == Some(host),
            "default" => mine = true,
            "login" if mine => login = words.next(),
            "password" if mine => password = words.next(),
            _ => {}
        }
    }
    Some((login?.to_owned(), password.unwrap_or_default().to_owned()))
}

/// Hides the password of an address in what is shown.
pub(crate) fn masked(url: &str) -> String {
    match credentials_in(url) {
        Some((bare, user, password)) if !password.is_empty() => {
            let (scheme, rest) = bare.split_once("://").unwrap_or(("http", &bare));
            format!("{scheme}://{user}:********@{rest}")
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_against_where_they_came_from() {
        let base = "http://h:1/a/b?c=/d";
        assert_eq!(join(base, "http://x/"), "http://x/");
        assert_eq!(join(base, "/y"), "http://h:1/y");
        assert_eq!(join(base, "y"), "http://h:1/a/y");
        assert_eq!(join(base, "//z/y"), "http://z/y");
        assert_eq!(join("http://h", "y"), "http://h/y");
    }

    #[test]
    fn credentials_are_taken_out_of_an_address_and_hidden() {
        let (bare, user, password) = credentials_in("https://a:b%40c@h/x@y").unwrap();
        assert_eq!(
            (bare.as_str(), user.as_str(), password.as_str()),
            ("https://h/x@y", "a", "b@c")
        );
        assert_eq!(masked("https://a:b@h/"), "https://a:********@h/");
        assert_eq!(masked("https://h/x@y"), "https://h/x@y");
        assert_eq!(masked("https://h?a:b@c"), "https://h?a:b@c");
    }

    #[test]
    fn a_netrc_is_read_by_machine() {
        let text = "machine a login x password y\ndefault login z";
        assert_eq!(
            netrc_entry(text, "a"),
            Some(("x".to_owned(), "y".to_owned()))
        );
        assert_eq!(
            netrc_entry(text, "b"),
            Some(("z".to_owned(), String::new()))
        );
    }

    #[test]
    fn no_proxy_names_hosts_and_domains() {
        assert!(bypasses("localhost, .example.org", "a.example.org"));
        assert!(bypasses("example.org", "example.org"));
        assert!(!bypasses("example.org", "badexample.org"));
    }
}
