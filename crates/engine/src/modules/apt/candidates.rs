//! Which packages and versions an `install` or `remove` is about. Asks `apt-cache` only about what
//! dpkg's own files cannot answer.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use amibake_playbook::fnmatch::fnmatch;

use crate::module::{Context, Failure};

use super::dpkg::Status;
use super::{apt_command, version};

/// A package as the author named it: `nginx`, `nginx=1.2*`, `nginx>=1.2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) wanted: Wanted,
}

/// Which version is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    /// This one, or one that matches the pattern.
    Equal(String),
    AtLeast(String),
}

/// What apt offers of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) candidate: Option<String>,
    /// All versions, newest first.
    pub(super) versions: Vec<String>,
}

impl Spec {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        if text.matches('=').count() > 1 {
            return Err(Failure::new(format!("invalid package spec: {text}")));
        }
        let (name, wanted) = match text.split_once('=') {
            None => (text, Wanted::Any),
            Some((name, version)) => match name.strip_suffix('>') {
                Some(name) => (name, Wanted::AtLeast(version.to_owned())),
                None => (name, Wanted::Equal(version.to_owned())),
            },
        };
        Ok(Self {
            name: name.to_owned(),
            wanted,
        })
    }

    fn is_pattern(&self) -> bool {
        self.name.contains(['*', '?', '[', ']', '!'])
    }

    /// Returns whether `version` is one that is wanted.
    pub(super) fn accepts(&self, version: &str) -> bool {
        match &self.wanted {
            Wanted::Any => true,
            Wanted::Equal(pattern) => fnmatch(pattern, version),
            Wanted::AtLeast(least) => version::compare(version, least) != Ordering::Less,
        }
    }

    /// Returns the best version on offer that is wanted.
    pub(super) fn best(&self, offer: &Offer) -> Option<String> {
        match &self.wanted {
            Wanted::Equal(_) => offer.versions.iter().find(|v| self.accepts(v)).cloned(),
            Wanted::Any | Wanted::AtLeast(_) => offer.candidate.clone().filter(|v| self.accepts(v)),
        }
    }

    /// Returns whether what is installed is as wanted, so that nobody needs to ask apt.
    pub(super) fn is_settled(&self, status: &Status, latest: bool) -> bool {
        let exact = match &self.wanted {
            Wanted::Equal(version) => !version.contains(['*', '?', '[']),
            Wanted::Any | Wanted::AtLeast(_) => true,
        };
        let installed = status
            .installed(&self.name)
            .is_some_and(|v| self.accepts(v));
        installed && !latest && exact
    }
}

/// Parses the names, and replaces patterns by the packages that match.
pub(super) fn expand(names: &[&str], context: &mut Context<'_>) -> Result<Vec<Spec>, Failure> {
    let specs: Result<Vec<_>, _> = names.iter().map(|name| Spec::parse(name)).collect();
    let specs = specs?;
    if !specs.iter().any(Spec::is_pattern) {
        return Ok(specs);
    }
    let known = apt_command(["apt-cache", "pkgnames"])
        .checked(context)?
        .stdout;
    let mut expanded = Vec::new();
    for spec in specs {
        if !spec.is_pattern() {
            expanded.push(spec);
            continue;
        }
        let mut found: Vec<&str> = known.lines().filter(|n| fnmatch(&spec.name, n)).collect();
        found.sort_unstable();
        if found.is_empty() {
            let msg = format!("No package(s) matching '{}' available", spec.name);
            return Err(Failure::new(msg));
        }
        expanded.extend(found.into_iter().map(|name| Spec {
            name: name.to_owned(),
            wanted: Wanted::Any,
        }));
    }
    Ok(expanded)
}

/// Asks apt what it offers of `names`; a name it does not know is missing from the answer.
pub(super) fn offers(
    names: &[&str],
    release: Option<&str>,
    context: &mut Context<'_>,
) -> Result<BTreeMap<String, Offer>, Failure> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut argv = vec!["apt-cache".to_owned(), "policy".to_owned()];
    if let Some(release) = release {
        argv.extend(["-o".to_owned(), format!("APT::Default-Release={release}")]);
    }
    argv.extend(names.iter().map(|name| (*name).to_owned()));
    Ok(parse_policy(&apt_command(argv).checked(context)?.stdout))
}

/// Returns the packages that provide `name`, which is no package itself.
pub(super) fn providers(name: &str, context: &mut Context<'_>) -> Result<Vec<String>, Failure> {
    let shown = apt_command(["apt-cache", "showpkg", name])
        .checked(context)?
        .stdout;
    let provides = shown.split("Reverse Provides:").nth(1).unwrap_or_default();
    let names = provides
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn parse_policy(text: &str) -> BTreeMap<String, Offer> {
    let mut offers = BTreeMap::new();
    let mut current: Option<(String, Offer)> = None;
    for line in text.lines() {
        if !line.starts_with(' ') {
            offers.extend(current.take());
            let name = line.trim_end_matches(':').to_owned();
            current = Some((name, Offer::default()));
        } else if let Some((_, offer)) = &mut current {
            read_policy_line(line, offer);
        }
    }
    offers.extend(current);
    offers
}

/// A version stands at column 5, after `***` if installed; its sources are indented deeper.
fn read_policy_line(line: &str, offer: &mut Offer) {
    if let Some(candidate) = line.strip_prefix("  Candidate: ") {
        offer.candidate = Some(candidate.to_owned()).filter(|c| c != "(none)");
    } else if let Some(rest) = line
        .strip_prefix(" *** ")
        .or_else(|| line.strip_prefix("     "))
        && let Some(version) = rest.split(' ').next().filter(|v| !v.is_empty())
    {
        offer.versions.push(version.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "curl:\n  Installed: 7.88\n  Candidate: 7.90\n  Version table:\n     \
        7.90 500\n        500 http://deb bookworm/main amd64 Packages\n *** 7.88 100\n        \
        100 /var/lib/dpkg/status\nmta:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";

    #[test]
    fn a_policy_is_read_with_all_its_versions() {
        let offers = parse_policy(POLICY);
        assert_eq!(offers["curl"].candidate.as_deref(), Some("7.90"));
        assert_eq!(offers["curl"].versions, ["7.90", "7.88"]);
        assert_eq!(offers["mta"], Offer::default());
    }

    #[test]
    fn the_best_version_obeys_the_spec() {
        let offers = parse_policy(POLICY);
        let best = |text| Spec::parse(text).unwrap().best(&offers["curl"]);
        assert_eq!(best("curl").as_deref(), Some("7.90"));
        assert_eq!(best("curl=7.8*").as_deref(), Some("7.88"));
        assert_eq!(best("curl>=7.89").as_deref(), Some("7.90"));
        assert_eq!(best("curl>=8"), None);
        assert_eq!(best("curl=1"), None);
    }

    #[test]
    fn a_spec_with_two_versions_is_refused() {
        let failure = Spec::parse("a=1=2").unwrap_err();
        assert_eq!(failure.msg, "invalid package spec: a=1=2");
    }
}
