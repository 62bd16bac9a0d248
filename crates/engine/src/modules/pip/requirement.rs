//! Requirements as authors write them, and what is installed to satisfy them.

use std::collections::BTreeSet;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

/// A requirement that can be judged without pip: a name and versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plain {
    name: String,
    versions: VersionSpecifiers,
}

impl Plain {
    /// Reads `name`, `name==1.0`, `name >= 1, < 2`; `None` for extras, URLs, markers, options.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let (name, versions) = text.split_at(end.unwrap_or(text.len()));
        if name.is_empty() || name.starts_with('-') {
            return None;
        }
        Some(Self {
            name: canonical(name),
            versions: VersionSpecifiers::from_str(versions.trim()).ok()?,
        })
    }

    /// Returns whether it says which versions will do.
    pub(super) fn has_versions(&self) -> bool {
        !self.versions.is_empty()
    }

    /// Returns the name as PEP 503 spells it.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether this version will do.
    pub(super) fn takes(&self, version: &str) -> bool {
        Version::from_str(version).is_ok_and(|version| self.versions.contains(&version))
    }

    /// Returns whether one of `installed` will do.
    pub(super) fn is_met(&self, installed: &Installed) -> bool {
        let mut named = installed.0.iter().filter(|(name, _)| *name == self.name);
        named.any(|(_, version)| self.takes(version))
    }
}

/// Distributions with their versions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Installed(BTreeSet<(String, String)>);

impl Installed {
    /// Collects names, as PEP 503 spells them, with versions.
    pub(super) fn of(pairs: impl Iterator<Item = (String, String)>) -> Self {
        Self(pairs.collect())
    }

    /// Reads `pip list --format=freeze`.
    pub(super) fn listed(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.split_once("=="));
        Self(
            pairs
                .map(|(name, version)| (canonical(name), version.trim().to_owned()))
                .collect(),
        )
    }
}

/// Returns a name as PEP 503 spells it.
pub(super) fn canonical(name: &str) -> String {
    let mut out = String::new();
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !out.is_empty() {
            out.push('-');
        }
        out.push_str(&part.to_lowercase());
    }
    out
}

/// Puts names together again that YAML or the author split at commas: `django>1,<2`.
pub(super) fn recover(names: &[&str]) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    let mut in_brackets = false;
    for name in names.iter().flat_map(|name| name.split(',')) {
        let is_version = name.trim_start().starts_with(['<', '>', '=', '!', '~']);
        match packages.last_mut() {
            Some(last) if is_version || in_brackets => {
                last.push(',');
                last.push_str(name);
            }
            _ => packages.push(name.to_owned()),
        }
        in_brackets = (in_brackets || name.contains('[')) && !name.contains(']');
    }
    packages
}

/// Returns the requirements of a file, if each of them is plain.
pub(super) fn of_file(text: &str) -> Option<Vec<Plain>> {
    let uncommented = text.lines().map(|line| {
        let comment = if line.starts_with('#') {
            Some(0)
        } else {
            line.find(" #")
        };
        comment.map_or(line, |at| &line[..at])
    });
    let lines = uncommented.filter(|line| !line.trim().is_empty());
    lines.map(Plain::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_split_at_commas_are_recovered() {
        assert_eq!(
            recover(&["django>1.11.1", "<1.11.3", "ipaddress", "a[b", "c]>1,<2"]),
            ["django>1.11.1,<1.11.3", "ipaddress", "a[b,c]>1,<2"]
        );
        assert_eq!(recover(&["a,b>1,<2"]), ["a", "b>1,<2"]);
    }

    #[test]
    fn versions_decide_and_names_are_spelled_freely() {
        let installed = Installed::listed("Flask_Login==0.6.3\npip==24.0\n");
        let met = |text: &str| Plain::parse(text).unwrap().is_met(&installed);
        assert!(met("flask.login"));
        assert!(met("Flask-Login >= 0.6, < 1"));
        assert!(met("flask-login~=0.6.0"));
        assert!(!met("flask-login==0.6"));
        assert!(!met("flask"));
    }

    #[test]
    fn what_is_not_plain_is_left_to_pip() {
        for text in [
            "a[b]",
            "git+https://x/y",
            "./a",
            "-r x",
            "a; python_version < '3'",
            "a @ file:///x",
        ] {
            assert_eq!(Plain::parse(text), None, "{text}");
        }
        assert!(of_file("# all\nflask==3.0 # web\n\n").is_some());
        assert!(of_file("--index-url x\nflask\n").is_none());
    }
}
