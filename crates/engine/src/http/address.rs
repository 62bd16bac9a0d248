//! Addresses as text: their parts, where a redirect leads, who logs in there, and by which way.

use iri_string::types::{UriAbsoluteString, UriReferenceString};
use ureq::http::Uri;

/// Returns the host of an address, in small letters.
pub(super) fn host_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    uri.host().map(str::to_lowercase)
}

/// Whether two addresses have one origin: scheme, host and port. The step from http to https on one
/// host, each on its usual port, is none to another.
pub(super) fn same_origin(from: &str, to: &str) -> bool {
    let (Some(from), Some(to)) = (origin(from), origin(to)) else {
        return false;
    };
    let secured = (from.0.as_str(), from.2, to.0.as_str(), to.2) == ("http", 80, "https", 443);
    from == to || (secured && from.1 == to.1)
}

fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    Some((scheme, uri.host()?.to_lowercase(), port))
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

/// Resolves a `Location` against the address it came from (RFC 3986, 5.2). What no address can
/// be made of is returned as it is.
pub(crate) fn join(base: &str, location: &str) -> String {
    let resolved = || {
        let base = UriAbsoluteString::try_from(escaped(base.split('#').next()?)).ok()?;
        let reference = UriReferenceString::try_from(escaped(location)).ok()?;
        Some(reference.resolve_against(&base).to_string())
    };
    resolved().unwrap_or_else(|| location.to_owned())
}

/// Escapes what servers write into a `Location` and no address may have: blanks, quotes, letters
/// beyond ASCII.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                out.push_str(&format!("%{byte:02X}"));
            }
            byte => out.push(char::from(byte)),
        }
    }
    out
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

    /// The examples of RFC 3986, 5.4.
    #[test]
    fn https_on_the_same_host_is_no_other_origin_and_all_else_is() {
        let here = "http://web.example.com/a";
        assert!(same_origin(here, "http://WEB.example.com:80/b"));
        assert!(same_origin(here, "https://web.example.com/b"));
        for other in [
            "http://web.example.com:8080/a",
            "https://web.example.com:8443/a",
            "http://example.com/a",
            "https://www.web.example.com/a",
            "ftp://web.example.com/a",
            "nonsense",
        ] {
            assert!(!same_origin(here, other), "{other}");
        }
        assert!(!same_origin(
            "https://web.example.com/",
            "http://web.example.com/"
        ));
    }

    #[test]
    fn locations_are_resolved_as_the_rfc_says() {
        let base = "http://a/b/c/d;p?q";
        let normal = "g:h=g:h g=http://a/b/c/g ./g=http://a/b/c/g g/=http://a/b/c/g/ /g=http://a/g //g=http://g \
                      ?y=http://a/b/c/d;p?y g?y=http://a/b/c/g?y #s=http://a/b/c/d;p?q#s g#s=http://a/b/c/g#s \
                      g?y#s=http://a/b/c/g?y#s ;x=http://a/b/c/;x g;x=http://a/b/c/g;x g;x?y#s=http://a/b/c/g;x?y#s \
                      .=http://a/b/c/ ./=http://a/b/c/ ..=http://a/b/ ../=http://a/b/ ../g=http://a/b/g \
                      ../..=http://a/ ../../=http://a/ ../../g=http://a/g";
        let abnormal = "../../../g=http://a/g ../../../../g=http://a/g /./g=http://a/g /../g=http://a/g \
                        g.=http://a/b/c/g. .g=http://a/b/c/.g g..=http://a/b/c/g.. ..g=http://a/b/c/..g \
                        ./../g=http://a/b/g ./g/.=http://a/b/c/g/ g/./h=http://a/b/c/g/h g/../h=http://a/b/c/h \
                        g?y/../x=http://a/b/c/g?y/../x g#s/../x=http://a/b/c/g#s/../x";
        for case in normal.split_whitespace().chain(abnormal.split_whitespace()) {
            let (location, expected) = case.split_once('=').unwrap();
            assert_eq!(join(base, location), expected, "{location}");
        }
        assert_eq!(join(base, ""), "http://a/b/c/d;p?q");
    }

    #[test]
    fn locations_that_are_no_addresses_are_made_some() {
        let base = "http://h:1/a/b?c=/d#e";
        assert_eq!(join(base, "?x"), "http://h:1/a/b?x");
        assert_eq!(join(base, "?to=http://x/"), "http://h:1/a/b?to=http://x/");
        assert_eq!(join(base, "a b|ü"), "http://h:1/a/a%20b%7C%C3%BC");
        assert_eq!(join("http://h", "y"), "http://h/y");
        assert_eq!(join(base, "http://["), "http://[");
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
