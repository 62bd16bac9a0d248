//! What dpkg and apt know, from their files: installed packages, automatic marks, list times.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};

pub(in crate::modules) const STATUS: &str = "/var/lib/dpkg/status";
const EXTENDED_STATES: &str = "/var/lib/apt/extended_states";

/// The packages dpkg knows.
#[derive(Debug, Default)]
pub(in crate::modules) struct Status {
    /// By name and architecture; `all` counts as the native one.
    packages: BTreeMap<String, Vec<Package>>,
    native: String,
}

#[derive(Debug, Clone)]
pub(in crate::modules) struct Package {
    /// Whether it is installed and configured.
    installed: bool,
    /// Whether any version of it is there, be it only unpacked.
    is_there: bool,
    pub(in crate::modules) version: String,
    pub(in crate::modules) architecture: String,
    pub(in crate::modules) section: String,
}

/// Reads dpkg's database; kept parsed while the file stays as it is.
pub(in crate::modules) fn status() -> Arc<Status> {
    static KNOWN: Mutex<Option<((u64, i64, i64), Arc<Status>)>> = Mutex::new(None);
    let Ok(meta) = fs::metadata(STATUS) else {
        return Arc::default();
    };
    let stamp = (meta.ino(), meta.mtime(), meta.mtime_nsec());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, status)) = &*known
        && *of == stamp
    {
        return Arc::clone(status);
    }
    let text = fs::read(STATUS).unwrap_or_default();
    let status = Arc::new(Status::parse(&String::from_utf8_lossy(&text)));
    *known = Some((stamp, Arc::clone(&status)));
    status
}

/// Returns those of `names` that apt would remove once nothing needs them.
pub(super) fn automatic<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let text = fs::read_to_string(EXTENDED_STATES).unwrap_or_default();
    let marked: BTreeSet<&str> = text
        .split("\n\n")
        .filter(|stanza| {
            stanza
                .lines()
                .any(|line| line.trim() == "Auto-Installed: 1")
        })
        .filter_map(|stanza| field(stanza, "Package"))
        .collect();
    let bare = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    let is_marked = |name: &&&str| marked.contains(bare(name).as_str());
    names.iter().filter(is_marked).copied().collect()
}

/// Returns when the lists were last updated, in seconds since 1970; 0 if never.
pub(super) fn lists_updated() -> i64 {
    [
        "/var/lib/apt/periodic/update-success-stamp",
        "/var/lib/apt/lists",
    ]
    .iter()
    .find_map(|path| fs::metadata(path).ok())
    .map_or(0, |meta| meta.mtime())
}

impl Status {
    fn parse(text: &str) -> Self {
        let mut packages: BTreeMap<String, Vec<Package>> = BTreeMap::new();
        for stanza in text.split("\n\n") {
            if let Some((name, package)) = Package::parse(stanza) {
                packages.entry(name).or_default().push(package);
            }
        }
        let native = packages.get("dpkg").and_then(|all| all.first());
        let native = native.map(|p| p.architecture.clone()).unwrap_or_default();
        Self { packages, native }
    }

    /// Returns the installed version of `name`, which may end in `:architecture`.
    pub(super) fn installed(&self, name: &str) -> Option<&str> {
        let (name, wanted) = name.split_once(':').unwrap_or((name, &self.native));
        let fits = |p: &&Package| {
            p.installed && (p.architecture == wanted || p.architecture == "all" || wanted == "any")
        };
        let found = self.packages.get(name)?.iter().find(fits)?;
        Some(&found.version)
    }

    /// Returns what is there, by apt's names: those of foreign architectures end in theirs.
    pub(in crate::modules) fn present(&self) -> BTreeMap<String, &Package> {
        let mut present = BTreeMap::new();
        for (name, packages) in &self.packages {
            for package in packages.iter().filter(|package| package.is_there) {
                let architecture = &package.architecture;
                let name = match *architecture == self.native || architecture == "all" {
                    true => name.clone(),
                    false => format!("{name}:{architecture}"),
                };
                present.insert(name, package);
            }
        }
        present
    }

    /// Returns whether dpkg keeps files for `name`, be it only configuration.
    pub(super) fn has_files(&self, name: &str) -> bool {
        let bare = name.split(':').next().unwrap_or(name);
        let lists = [
            bare.to_owned(),
            format!("{bare}:{}", self.native),
            name.to_owned(),
        ];
        lists.iter().any(|name| {
            let list = fs::metadata(format!("/var/lib/dpkg/info/{name}.list"));
            list.is_ok_and(|meta| meta.len() > 0)
        })
    }
}

impl Package {
    fn parse(stanza: &str) -> Option<(String, Self)> {
        let name = field(stanza, "Package")?;
        let state = field(stanza, "Status").and_then(|s| s.split_whitespace().nth(2));
        let text = |name| field(stanza, name).unwrap_or_default().to_owned();
        let package = Self {
            installed: state == Some("installed"),
            is_there: !matches!(state, None | Some("not-installed" | "config-files")),
            version: text("Version"),
            architecture: text("Architecture"),
            section: text("Section"),
        };
        Some((name.to_owned(), package))
    }
}

fn field<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    stanza
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\n\
        Version: 1.21\n\nPackage: postfix\nStatus: hold ok installed\nArchitecture: amd64\n\
        Version: 3.7\nProvides: mail-transport-agent, default-mta (= 1)\n\n\
        Package: nano\nStatus: deinstall ok config-files\nArchitecture: amd64\nVersion: 7\n\n\
        Package: libc6\nStatus: install ok installed\nArchitecture: i386\nVersion: 2.36\n";

    #[test]
    fn only_installed_packages_have_a_version() {
        let status = Status::parse(TEXT);
        assert_eq!(status.installed("postfix"), Some("3.7"));
        assert_eq!(status.installed("nano"), None);
        assert_eq!(status.installed("libc6"), None);
        assert_eq!(status.installed("libc6:i386"), Some("2.36"));
        let present: Vec<String> = status.present().into_keys().collect();
        assert_eq!(present, ["dpkg", "libc6:i386", "postfix"]);
    }
}
