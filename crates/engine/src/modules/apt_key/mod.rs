//! `apt_key`: keys in apt's keyrings. Neither `apt-key` nor `gpg` is run: newer releases have none.

mod keyring;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::download::{self, DownloadError};
use super::paths;
use crate::args::Args;
use crate::change::{self, Change};
use crate::http::masked;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::openpgp::{self, Certificate};
use crate::place;

use keyring::TRUSTED;
pub(super) use keyring::{Ring, files_in};

pub(super) struct AptKey;

impl ActionModule for AptKey {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let given = args.str("id").filter(|id| !id.is_empty());
        let mut data = args.str("data").map(|data| data.as_bytes().to_vec());
        let found = match given {
            Some(_) => None,
            None => first_id(args, &mut data, context)?,
        };
        let given = given.map(str::to_owned).or(found);
        let mut answer = Map::from_iter([("id".to_owned(), json!(given))]);
        let id = given.as_deref().and_then(KeyId::parse);
        let id = id.ok_or_else(|| fail("Invalid key_id", &answer))?;
        answer.insert("short_id".to_owned(), json!(id.short));
        answer.insert("fp".to_owned(), json!(id.long));
        answer.insert("key_id".to_owned(), json!(id.whole));
        let keyring = args.str("keyring").map(Path::new);
        let known = id.listed(keyring)?;
        let there = known.contains(&id.long);
        answer.insert("before".to_owned(), json!(known));
        let present = args.str("state") != Some("absent");
        let changed = there != present;
        if changed && !context.check {
            match present {
                true => add(args, data, &id, &answer, context)?,
                false => remove(&id, keyring, context)?,
            }
            let known = id.listed(keyring)?;
            answer.insert("after".to_owned(), json!(known));
            answer.insert("changed".to_owned(), json!(true));
            if known.contains(&id.long) != present {
                let what = match present {
                    true => "failed to add the key",
                    false => "the key was not removed",
                };
                let msg = format!("{what} (check that the id is correct and *not* a subkey)");
                return Err(fail(&msg, &answer));
            }
        }
        answer.remove("changed");
        Ok(Outcome::of(changed, Json::Object(answer)))
    }
}

fn fail(msg: &str, answer: &Map<String, Json>) -> Failure {
    Failure {
        msg: msg.to_owned(),
        result: answer.clone(),
    }
}

/// A key's name as it was given, and the parts of it that are compared.
struct KeyId {
    short: String,
    /// What is looked for among the ids of the keyrings.
    long: String,
    whole: String,
}

impl KeyId {
    /// Reads 8, 16 or more hexadecimal digits.
    fn parse(given: &str) -> Option<Self> {
        let whole = given.to_uppercase();
        let whole = whole.strip_prefix("0X").unwrap_or(&whole).to_owned();
        let length = whole.len();
        let fits = whole.bytes().all(|b| b.is_ascii_hexdigit()) && (length == 8 || length >= 16);
        let end = |count: usize| whole[length.saturating_sub(count)..].to_owned();
        fits.then(|| Self {
            short: end(8),
            long: end(16),
            whole: whole.clone(),
        })
    }

    /// Returns the ids of the keys in apt's keyrings, or in one; as short as this one.
    fn listed(&self, keyring: Option<&Path>) -> Result<Vec<String>, Failure> {
        let mut ids = Vec::new();
        for ring in Ring::all(keyring)? {
            for certificate in &ring.certificates {
                let keys = std::iter::once(&certificate.key).chain(&certificate.subkeys);
                let alive = keys.filter(|key| !key.is_expired());
                ids.extend(alive.map(|key| match self.whole.len() {
                    8 => key.id[key.id.len() - 8..].to_owned(),
                    _ => key.id.clone(),
                }));
            }
        }
        Ok(ids)
    }
}

/// Returns the id of the first key in what is given, fetching it if it is an address.
fn first_id(
    args: &Args,
    data: &mut Option<Vec<u8>>,
    context: &Context<'_>,
) -> Result<Option<String>, Failure> {
    if args.has("keyserver") {
        return Err(Failure::new("Missing key_id, required with keyserver."));
    }
    if let Some(url) = args.str("url") {
        *data = Some(fetch(url, args, context)?);
    }
    let (name, bytes) = match (args.str("file"), data.as_deref()) {
        (Some(file), _) => (file, read_file(file)?),
        (None, Some(data)) => ("inline data", data.to_vec()),
        (None, None) => return Ok(None),
    };
    let certificates = certificates(name, &bytes)?;
    Ok(certificates.first().map(|first| first.key.id.clone()))
}

fn certificates(name: &str, bytes: &[u8]) -> Result<Vec<Certificate>, Failure> {
    openpgp::read(bytes)
        .map_err(|e| Failure::new(format!("Unable to extract key from '{name}': {e}")))
}

fn read_file(file: &str) -> Result<Vec<u8>, Failure> {
    place::read(Path::new(file)).map_err(|e| {
        let reason = paths::reason(&e);
        Failure::new(format!("Unable to extract key from '{file}': {reason}"))
    })
}

fn fetch(url: &str, args: &Args, context: &Context<'_>) -> Result<Vec<u8>, Failure> {
    download::get(url, args, context).map_err(|e| {
        let url = masked(url);
        Failure::new(format!("Failed to download key at {url}: {e}"))
    })
}

fn add(
    args: &Args,
    data: Option<Vec<u8>>,
    id: &KeyId,
    answer: &Map<String, Json>,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let new = if let Some(file) = args.str("file") {
        certificates(file, &read_file(file)?)?
    } else if let Some(server) = args.str("keyserver") {
        from_server(server, id, args, context)?
    } else if let Some(data) = data {
        certificates("inline data", &data)?
    } else if let Some(url) = args.str("url") {
        certificates(&masked(url), &fetch(url, args, context)?)?
    } else {
        let msg = "there is no key to add: give one of data, file, keyserver, url";
        return Err(fail(msg, answer));
    };
    let keyring = args.str("keyring").map(Path::new);
    let mut ring = Ring::read(keyring.unwrap_or(Path::new(TRUSTED)))?;
    // What one of apt's keyrings has is not put into another.
    let known = Ring::all(keyring)?;
    let is_new = |new: &Certificate| !known.iter().any(|ring| ring.certificates.contains(new));
    let new: Vec<Certificate> = new.into_iter().filter(is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    for certificate in new {
        ring.certificates
            .retain(|old| old.fingerprint != certificate.fingerprint);
        ring.certificates.push(certificate);
    }
    ring.write(context)
}

/// Asks a server for the key, and makes sure that it is the one that was asked for.
pub(super) fn from_server_by_id(
    server: &str,
    fingerprint: &str,
    args: &Args,
    context: &Context<'_>,
) -> Result<Vec<Certificate>, Failure> {
    let id = KeyId::parse(fingerprint)
        .ok_or_else(|| Failure::new(format!("{fingerprint} is no fingerprint of a key")))?;
    from_server(server, &id, args, context)
}

fn from_server(
    server: &str,
    id: &KeyId,
    args: &Args,
    context: &Context<'_>,
) -> Result<Vec<Certificate>, Failure> {
    let mut reason = String::new();
    for address in addresses(server) {
        let url = format!(
            "{address}/pks/lookup?op=get&options=mr&search=0x{}",
            id.whole
        );
        match download::get(&url, args, context) {
            Ok(data) => {
                // A page that is none, too, sends us to the next address.
                let mut found = match certificates(server, &data) {
                    Ok(found) => found,
                    Err(failure) => {
                        reason = failure.msg;
                        continue;
                    }
                };
                found.retain(|certificate| id.names(certificate));
                if !found.is_empty() {
                    return Ok(found);
                }
                "it answered with another key".clone_into(&mut reason);
            }
            Err(DownloadError::Refused { status: 404, .. }) => {
                let id = &id.whole;
                return Err(Failure::new(format!(
                    "Key {id} not found on keyserver {server}"
                )));
            }
            Err(e) => reason = e.to_string(),
        }
    }
    Err(Failure::new(format!(
        "Error fetching key {} from keyserver: {server}: {reason}",
        id.whole
    )))
}

impl KeyId {
    /// Whether a certificate is the one that was asked for, be it by a subkey.
    fn names(&self, certificate: &Certificate) -> bool {
        let mut keys = std::iter::once(&certificate.key).chain(&certificate.subkeys);
        certificate.fingerprint.ends_with(&self.whole)
            || (self.whole.len() <= 16 && keys.any(|key| key.id.ends_with(&self.whole)))
    }
}

/// Returns where a key server is asked: as gpg does, but by TLS first where the port is not given.
fn addresses(server: &str) -> Vec<String> {
    let server = server.trim_end_matches('/');
    match server.split_once("://") {
        Some(("hkps", host)) => vec![format!("https://{host}")],
        Some(("http" | "https", _)) => vec![server.to_owned()],
        Some((_, host)) if host.contains(':') => vec![format!("http://{host}")],
        Some((_, host)) => vec![format!("https://{host}"), format!("http://{host}:11371")],
        None if server.contains(':') => vec![format!("http://{server}")],
        None => vec![
            format!("https://{server}"),
            format!("http://{server}:11371"),
        ],
    }
}

/// Takes a key out of every keyring; one that held no other is kept beside it, out of use.
fn remove(id: &KeyId, keyring: Option<&Path>, context: &mut Context<'_>) -> Result<(), Failure> {
    for mut ring in Ring::all(keyring)? {
        let count = ring.certificates.len();
        ring.certificates
            .retain(|old| !old.fingerprint.ends_with(&id.short));
        if ring.certificates.len() == count {
            continue;
        }
        if !ring.certificates.is_empty() {
            ring.write(context)?;
            continue;
        }
        let mut beside = ring.path.clone().into_os_string();
        beside.push("~");
        let to = PathBuf::from(beside);
        let mut changes = Vec::new();
        if to.exists() {
            changes.push(Change::Remove { path: to.clone() });
        }
        let path = ring.path;
        changes.push(Change::Backup {
            path: path.clone(),
            to,
        });
        changes.push(Change::Remove { path });
        change::apply(&changes, context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::tests::{check, run};
    use crate::openpgp::tests::ARMORED;

    const ID: &str = "B3221DA5053C0CC1";

    #[test]
    fn ids_are_eight_sixteen_or_more_digits() {
        let parts = |given: &str| KeyId::parse(given).map(|id| (id.short, id.long, id.whole));
        let whole = "BF647B1ED64F3959C94497C3B3221DA5053C0CC1";
        let (short, long) = ("053C0CC1".to_owned(), ID.to_owned());
        assert_eq!(parts(whole), Some((short.clone(), long, whole.to_owned())));
        let same = (short.clone(), short.clone(), short);
        assert_eq!(parts("0x053c0cc1"), Some(same));
        for wrong in ["", "0C", "053C0CC1F", "BF64 7B1E D64F 3959", "nothing!"] {
            assert!(parts(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_key_comes_and_goes_without_gpg() {
        let folder = tempfile::tempdir().unwrap();
        let ring = folder.path().join("ring.gpg");
        let args = json!({"data": ARMORED, "keyring": ring});
        assert!(check("apt_key", args.clone()).unwrap().changed && !ring.exists());
        let added = run("apt_key", args.clone()).unwrap();
        assert!(added.changed);
        assert_eq!(added.result["before"], json!([]));
        // The subkey has expired.
        assert_eq!(added.result["after"], json!([ID]));
        assert!(!openpgp::is_armored(&std::fs::read(&ring).unwrap()));
        assert!(!run("apt_key", args).unwrap().changed);
        let args = json!({"id": "053C0CC1", "keyring": ring, "state": "absent"});
        let removed = run("apt_key", args.clone()).unwrap();
        assert_eq!(removed.result["before"], json!(["053C0CC1"]));
        assert!(!ring.exists() && folder.path().join("ring.gpg~").exists());
        assert!(!run("apt_key", args).unwrap().changed);
    }

    #[test]
    fn what_is_no_key_is_told() {
        let failure = run("apt_key", json!({"data": "<html>"})).unwrap_err();
        assert!(
            failure
                .msg
                .starts_with("Unable to extract key from 'inline data'")
        );
        let failure = run("apt_key", json!({"id": "xyz", "data": ARMORED})).unwrap_err();
        assert_eq!(failure.msg, "Invalid key_id");
        let failure = run("apt_key", json!({"keyserver": "keys.example.org"})).unwrap_err();
        assert_eq!(failure.msg, "Missing key_id, required with keyserver.");
    }

    #[test]
    fn a_key_that_was_not_asked_for_is_not_taken() {
        let certificate = openpgp::read(ARMORED.as_bytes()).unwrap().remove(0);
        let names = |given: &str| KeyId::parse(given).unwrap().names(&certificate);
        assert!(names("053C0CC1") && names(ID) && names("9016D61F89C6B244"));
        assert!(names("BF647B1ED64F3959C94497C3B3221DA5053C0CC1"));
        assert!(!names("AF647B1ED64F3959C94497C3B3221DA5053C0CC1"));
    }

    #[test]
    fn a_server_without_a_port_is_asked_by_tls_first() {
        let first = |server: &str| addresses(server)[0].clone();
        assert_eq!(
            first("keyserver.ubuntu.com"),
            "https://keyserver.ubuntu.com"
        );
        assert_eq!(first("hkp://k.org:80"), "http://k.org:80");
        assert_eq!(first("hkps://k.org"), "https://k.org");
    }
}
