//! Where packages come from, by apt's own lists: to ask `apt-cache` for it takes a process more, as long as both others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Where apt keeps what it has fetched.
pub(super) const LISTS: &str = "/var/lib/apt/lists";
/// What apt writes otherwise in the name of a file.
const QUOTED: &str = "\\|{}[]<>\"^~_=!@#$%&*";

/// Returns the origins of files, as `apt-cache policy` writes both; `None` where it is to be asked.
pub(super) fn read<'f>(
    files: impl Iterator<Item = &'f String>,
    lists: &Path,
) -> Option<BTreeMap<String, String>> {
    let mut origins = BTreeMap::new();
    // What is on this machine only has none.
    for file in files.filter(|file| !file.starts_with('/')) {
        if !origins.contains_key(file) {
            origins.insert(file.clone(), origin(file, lists)?);
        }
    }
    Some(origins)
}

/// Reads `URI SUITE/COMPONENT ARCHITECTURE Packages`, and the release that it belongs to.
fn origin(file: &str, lists: &Path) -> Option<String> {
    let mut words = file.split(' ');
    let (uri, part) = (words.next()?, words.next()?);
    let (suite, _) = part.rsplit_once('/')?;
    if suite == "." || words.next_back() != Some("Packages") {
        return None;
    }
    let name = list_name(&format!("{}/dists/{suite}/", uri.trim_end_matches('/')))?;
    let releases = ["InRelease", "Release"].map(|kind| lists.join(format!("{name}{kind}")));
    let release = releases
        .iter()
        .find_map(|path| fs::read_to_string(path).ok())?;
    let mut lines = release.lines();
    // Before the first list of checksums, as all that is said of a release.
    let mut lines = lines.by_ref().take_while(|line| !line.starts_with(' '));
    let origin = lines.find_map(|line| line.strip_prefix("Origin:"));
    Some(origin.unwrap_or_default().trim().to_owned())
}

/// Returns how apt calls the file that it fetched from there.
fn list_name(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://").or_else(|| uri.split_once(':'))?;
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit('@').next()?;
    let mut name = String::new();
    for byte in format!("{host}/{path}").bytes() {
        match byte {
            b'/' => name.push('_'),
            b'!'..=b'~' if !QUOTED.contains(char::from(byte)) => name.push(char::from(byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_by_apts_name_and_says_its_origin() {
        let lists = tempfile::tempdir().unwrap();
        let signed = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nSuite: s\nMD5Sum:\n a 1 b\n";
        for (name, text) in [
            (
                "deb.debian.org_debian_dists_bookworm-updates_InRelease",
                signed,
            ),
            (
                "a.org_x%5fy_dists_s_Release",
                "Suite: s\nSHA256:\n a 1 b\nOrigin: no\n",
            ),
        ] {
            fs::write(lists.path().join(name), text).unwrap();
        }
        let read = |files: &[&str]| {
            let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
            read(files.iter(), lists.path())
        };
        let debian = "http://deb.debian.org/debian bookworm-updates/main amd64 Packages";
        let other = "https://me:pw@a.org/x_y s/main amd64 Packages";
        let found = read(&["/var/lib/dpkg/status", debian, other]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[debian], &*found[other]), ("Debian", ""));
        for unknown in [
            "http://z ./ Packages",
            "http://z/y s/main amd64 Packages",
            "what is this",
        ] {
            assert_eq!(read(&[debian, unknown]), None, "{unknown}");
        }
    }
}
