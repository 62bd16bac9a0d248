//! Launchpad's personal package archives: `ppa:OWNER/NAME`.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::args::Args;
use crate::module::{Context, Failure};
use crate::modules::apt_key::{self, Ring, files_in};
use crate::modules::download;

const LAUNCHPAD: &str = "https://api.launchpad.net/1.0";
const ARCHIVES: &str = "https://ppa.launchpadcontent.net";
const KEY_SERVER: &str = "keyserver.ubuntu.com";
/// apt takes keys from here for every source.
const TRUSTED_PARTS: &str = "/etc/apt/trusted.gpg.d";

/// An archive, for one release of Ubuntu.
pub(super) struct Archive {
    owner: String,
    name: String,
    pub(super) codename: String,
}

impl Archive {
    /// Reads `ppa:OWNER/NAME`; anything else is none.
    pub(super) fn parse(repo: &str, args: &Args) -> Result<Option<Self>, Failure> {
        let Some(path) = repo.strip_prefix("ppa:") else {
            return Ok(None);
        };
        let path = path.split(':').next().unwrap_or_default();
        let mut parts = path.split('/');
        let owner = parts.next().unwrap_or_default().to_owned();
        let name = parts.next().unwrap_or("ppa").to_owned();
        let codename = args.str("codename").filter(|name| !name.is_empty());
        let codename = codename.map(str::to_owned).or_else(own_codename);
        let codename = codename.ok_or_else(|| {
            Failure::new("the release of this machine has no codename: give `codename`")
        })?;
        Ok(Some(Self {
            owner,
            name,
            codename,
        }))
    }

    pub(super) fn source(&self) -> String {
        let (owner, name, codename) = (&self.owner, &self.name, &self.codename);
        format!("deb {ARCHIVES}/{owner}/{name}/ubuntu {codename} main")
    }

    /// Lets apt trust the archive's key, which Launchpad names and a key server has.
    pub(super) fn trust(&self, args: &Args, context: &mut Context<'_>) -> Result<(), Failure> {
        let fingerprint = self.fingerprint(args, context)?;
        if context.check || is_trusted(&fingerprint) {
            return Ok(());
        }
        let found = apt_key::from_server_by_id(KEY_SERVER, &fingerprint, args, context)?;
        let file = format!(
            "{TRUSTED_PARTS}/{}-{}.gpg",
            plain(&self.owner),
            plain(&self.name)
        );
        let mut ring = Ring::read(Path::new(&file))?;
        ring.certificates = found;
        ring.write(context)
    }

    fn fingerprint(&self, args: &Args, context: &Context<'_>) -> Result<String, Failure> {
        let url = format!("{LAUNCHPAD}/~{}/+archive/{}", self.owner, self.name);
        let failed =
            |e: String| Failure::new(format!("failed to fetch PPA information, error was: {e}"));
        let answer = download::get(&url, args, context).map_err(|e| failed(e.to_string()))?;
        let answer: Json = serde_json::from_slice(&answer).map_err(|e| failed(e.to_string()))?;
        let fingerprint = answer["signing_key_fingerprint"].as_str();
        fingerprint
            .map(str::to_owned)
            .ok_or_else(|| failed("it names no key".to_owned()))
    }
}

/// Returns a name as part of a file's.
fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "-")
}

fn own_codename() -> Option<String> {
    let release = std::fs::read_to_string("/etc/os-release").ok()?;
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// Whether apt has the key for every source already.
fn is_trusted(fingerprint: &str) -> bool {
    let mut files = files_in(Path::new(TRUSTED_PARTS), &["gpg", "asc"]);
    files.push(PathBuf::from("/etc/apt/trusted.gpg"));
    let rings = files.iter().filter_map(|path| Ring::read(path).ok());
    let mut certificates = rings.flat_map(|ring| ring.certificates);
    certificates.any(|certificate| certificate.fingerprint.eq_ignore_ascii_case(fingerprint))
}

#[cfg(test)]
mod tests {
    use amibake_playbook::argspec;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_archive_without_a_name_is_its_owners_first() {
        let given = json!({"repo": "x", "codename": "noble"});
        let spec = argspec::find("apt_repository").unwrap();
        let args = Args::coerce(spec, given.as_object().cloned().unwrap()).unwrap();
        let source = |repo: &str| Archive::parse(repo, &args).unwrap().map(|a| a.source());
        let of =
            |path: &str| format!("deb https://ppa.launchpadcontent.net/{path}/ubuntu noble main");
        assert_eq!(source("ppa:a/b"), Some(of("a/b")));
        assert_eq!(source("ppa:a"), Some(of("a/ppa")));
        assert_eq!(source("deb http://a b c"), None);
    }
}
