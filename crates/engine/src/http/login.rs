//! Who logs in, and how: as with urllib the server says with 401 whether it wants `Basic` or `Digest` (RFC 7616), so
//! that a password goes in clear only where it is asked for so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::Body;
use ureq::http::{Response, Uri};

use super::HttpError;
use crate::digest::checksum;

/// What `Authorization` says to who asks for nothing else.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("{user}:{password}"))
    )
}

/// A name and a password for who asks.
#[derive(Clone)]
pub(crate) struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

/// Returns the challenges of a server that wants to know who asks.
pub(super) fn challenges(response: &Response<Body>) -> Vec<String> {
    if response.status().as_u16() != 401 {
        return Vec::new();
    }
    let all = response.headers().get_all("www-authenticate").iter();
    all.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect()
}

impl Login {
    /// Returns what `Authorization` says to a server with these challenges, if one is of a kind known here.
    pub(super) fn answer(
        &self,
        challenges: &[String],
        method: &str,
        url: &str,
    ) -> Result<Option<String>, HttpError> {
        let is = |challenge: &str, scheme: &str| {
            let first = challenge.split_whitespace().next().unwrap_or_default();
            first.eq_ignore_ascii_case(scheme)
        };
        if let Some(challenge) = challenges.iter().find(|challenge| is(challenge, "digest")) {
            let target: Option<Uri> = url.parse().ok();
            let target = target.as_ref().and_then(Uri::path_and_query);
            let target = target.map_or("/", |target| target.as_str());
            let fields = fields(&challenge.trim_start()["digest".len()..]);
            return self.digest(&fields, method, target, &nonce_of_ours()?);
        }
        let basic_is_asked = challenges.iter().any(|challenge| is(challenge, "basic"));
        Ok(basic_is_asked.then(|| basic(&self.user, &self.password)))
    }

    fn digest(
        &self,
        asked: &BTreeMap<String, String>,
        method: &str,
        target: &str,
        cnonce: &str,
    ) -> Result<Option<String>, HttpError> {
        let (Some(realm), Some(nonce)) = (asked.get("realm"), asked.get("nonce")) else {
            return Ok(None);
        };
        let algorithm = asked.get("algorithm").map_or("MD5", String::as_str);
        let hash = hash(algorithm)?;
        let secret = hash(&format!("{}:{realm}:{}", self.user, self.password));
        let what = hash(&format!("{method}:{target}"));
        let qop = asked.get("qop");
        let response = match qop {
            None => hash(&format!("{secret}:{nonce}:{what}")),
            Some(qop) if qop.split(',').any(|one| one.trim() == "auth") => {
                hash(&format!("{secret}:{nonce}:{COUNT}:{cnonce}:auth:{what}"))
            }
            Some(qop) => {
                let reason = format!("qop '{qop}' is not supported.");
                return Err(HttpError::Failed { reason });
            }
        };
        let mut said = format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", response=\"{response}\"",
            self.user
        );
        if let Some(opaque) = asked.get("opaque") {
            said.push_str(&format!(", opaque=\"{opaque}\""));
        }
        said.push_str(&format!(", algorithm={algorithm}"));
        if qop.is_some() {
            said.push_str(&format!(", qop=auth, nc={COUNT}, cnonce=\"{cnonce}\""));
        }
        Ok(Some(said))
    }
}

/// A server's word is used once.
const COUNT: &str = "00000001";

fn hash(algorithm: &str) -> Result<impl Fn(&str) -> String, HttpError> {
    let name = match algorithm.to_uppercase().as_str() {
        "MD5" => "md5",
        "SHA" => "sha1",
        "SHA-256" => "sha256",
        _ => {
            let algorithm = algorithm.to_owned();
            return Err(HttpError::UnknownDigest { algorithm });
        }
    };
    Ok(move |text: &str| checksum(text.as_bytes(), name).unwrap_or_default())
}

/// Returns what nobody can foresee.
fn nonce_of_ours() -> Result<String, HttpError> {
    nonce_from(Path::new("/dev/urandom"))
}

fn nonce_from(source: &Path) -> Result<String, HttpError> {
    let mut bytes = [0; 8];
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| HttpError::Failed {
        reason: format!("no random bytes from {}: {error}", source.display()),
    })?;
    Ok(hex::encode(bytes))
}

/// Reads `realm="a, b", nonce="…", qop=auth`.
fn fields(text: &str) -> BTreeMap<String, String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        match c {
            _ if escaped => {
                part.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => parts.push(std::mem::take(&mut part)),
            _ => part.push(c),
        }
    }
    parts.push(part);
    let pairs = parts.iter().filter_map(|part| part.trim().split_once('='));
    pairs
        .map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_random_or_none() {
        assert_ne!(nonce_of_ours().unwrap(), nonce_of_ours().unwrap());
        for source in ["/nowhere/urandom", "/dev/null"] {
            let error = nonce_from(Path::new(source)).unwrap_err();
            assert!(error.to_string().contains("no random bytes"), "{error}");
        }
    }

    #[test]
    fn digests_are_those_of_the_rfcs() {
        let login = Login {
            user: "Mufasa".to_owned(),
            password: "Circle Of Life".to_owned(),
        };
        let asked = fields(
            "realm=\"testrealm@host.com\", qop=\"auth,auth-int\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc\"",
        );
        let said = login.digest(&asked, "GET", "/dir/index.html", "0a4f113b");
        let said = said.unwrap().unwrap();
        assert!(
            said.contains("response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc\""),
            "{said}"
        );
        let other = fields("realm=a, nonce=b, algorithm=MD5-sess");
        let error = login.digest(&other, "GET", "/", "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Unsupported digest authentication algorithm 'MD5-sess'"
        );
    }

    #[test]
    fn a_password_goes_in_clear_only_where_nothing_better_is_asked_for() {
        let login = Login {
            user: "u".to_owned(),
            password: "p".to_owned(),
        };
        let answer = |challenges: &[&str]| {
            let challenges: Vec<String> = challenges.iter().map(ToString::to_string).collect();
            let said = login.answer(&challenges, "GET", "http://h/a?b=c").unwrap();
            said.unwrap_or_default()
        };
        assert_eq!(answer(&["Basic realm=\"r\""]), "Basic dTpw");
        assert_eq!(answer(&["Negotiate"]), "");
        let both = answer(&["Basic realm=\"r\"", "Digest realm=\"a, b\", nonce=\"n\""]);
        assert!(
            both.starts_with("Digest username=\"u\", realm=\"a, b\", nonce=\"n\", uri=\"/a?b=c\""),
            "{both}"
        );
    }
}
