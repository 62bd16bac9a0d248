//! Host patterns, as `hosts:` of a play and `--limit` take them: names, groups, `web*`, `~regex`,
//! `group[0]`, several joined by `,` or `:`, with `&` for "also in" and `!` for "not in".
//!
//! Which hosts there are is told by whoever asks.

use std::collections::BTreeMap;

use crate::fnmatch::Pattern;
use crate::pyre::{Flags, ReError, Regex};

/// The hosts of every group, those of its children included. `all` has each host there is, in
/// the inventory's order; `ungrouped` those in no other group.
pub type Groups = BTreeMap<String, Vec<String>>;

/// What patterns name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matched {
    /// Hosts of the inventory, in its order.
    pub hosts: Vec<String>,
    /// Whether `localhost`, in one of its spellings, is named without being in the inventory: the
    /// machine that runs the playbook, which Ansible adds by itself.
    pub controller: bool,
    /// Patterns that match nothing.
    pub in_vain: Vec<String>,
}

/// A pattern that makes no sense for these hosts.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PatternError {
    /// `~(`.
    #[error("the host pattern `{pattern}` does not work as a regular expression")]
    Regex {
        /// With its `~`.
        pattern: String,
        source: ReError,
    },
    /// `web[7]` of three.
    #[error("no host matches the subscript of `{pattern}`")]
    Subscript {
        /// With its subscript.
        pattern: String,
    },
}

/// What the controller is called where no inventory names it.
pub const LOCALHOST: &str = "localhost";

/// The names that stand for the controller itself.
pub const CONTROLLER: &[&str] = &[LOCALHOST, "127.0.0.1", "::1"];

/// Returns whether `name` is one of the names that stand for the controller itself.
#[must_use]
pub fn is_localhost(name: &str) -> bool {
    CONTROLLER.contains(&name)
}

/// Returns whether `patterns` name the controller itself, and whether they name anyone else.
#[must_use]
pub fn kinds<S: AsRef<str>>(patterns: &[S]) -> (bool, bool) {
    let parts = patterns.iter().flat_map(|p| split(p.as_ref()));
    let (here, elsewhere): (Vec<_>, Vec<_>) = parts
        .filter(|part| !part.starts_with(['!', '&']))
        .partition(|part| is_localhost(part));
    (!here.is_empty(), !elsewhere.is_empty())
}

/// Returns the parts of `patterns`, each with its `!` or `&`.
#[must_use]
pub fn parts<S: AsRef<str>>(patterns: &[S]) -> Vec<String> {
    patterns.iter().flat_map(|p| split(p.as_ref())).collect()
}

/// Returns what `patterns` name of `groups`: what is added first, then what is intersected with,
/// then what is excluded. Without anything added, all hosts are.
///
/// # Errors
/// A regular expression that is none, and a subscript beyond the last host.
pub fn matching<S: AsRef<str>>(groups: &Groups, patterns: &[S]) -> Result<Matched, PatternError> {
    let parts = parts(patterns);
    let of_kind = |kind: Option<char>| {
        parts.iter().filter(move |part| match kind {
            None => !part.starts_with(['!', '&']),
            Some(kind) => part.starts_with(kind),
        })
    };
    let mut chosen = Chosen {
        groups,
        names: Vec::new(),
        in_vain: Vec::new(),
    };
    if of_kind(None).next().is_none() {
        chosen.names = chosen.all().to_vec();
    }
    for part in of_kind(None) {
        let hosts = chosen.named_by(part)?;
        chosen.names.extend(hosts);
    }
    for part in of_kind(Some('&')) {
        let hosts = chosen.named_by(&part[1..])?;
        chosen.names.retain(|host| hosts.contains(host));
    }
    for part in of_kind(Some('!')) {
        let hosts = chosen.named_by(&part[1..])?;
        chosen.names.retain(|host| !hosts.contains(host));
    }
    Ok(chosen.matched())
}

/// Splits at `,`, or else at `:` and blanks outside of brackets. An address is one name.
fn split(pattern: &str) -> Vec<String> {
    let parts = if pattern.contains(',') {
        pattern.split(',').map(str::to_owned).collect()
    } else if is_address(pattern) {
        vec![pattern.to_owned()]
    } else {
        split_at_colons(pattern)
    };
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| !part.is_empty()).collect()
}

/// An IPv6 address, or a name with a port: their colons separate nothing.
fn is_address(pattern: &str) -> bool {
    let has_port = pattern.split_once(':').is_some_and(|(name, port)| {
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        !name.is_empty() && name.chars().all(is_name) && port.parse::<u16>().is_ok()
    });
    has_port || pattern.parse::<std::net::Ipv6Addr>().is_ok()
}

fn split_at_colons(pattern: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let closed = rest.find(']').filter(|_| c == '[');
        let length = closed.map_or(c.len_utf8(), |at| at + 1);
        let (taken, after) = rest.split_at(length);
        rest = after;
        // A bracket without its fellow separates, too.
        if closed.is_none() && (c.is_whitespace() || matches!(c, ':' | '[' | ']')) {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push_str(taken);
        }
    }
    parts.push(part);
    parts
}

/// The hosts named so far.
struct Chosen<'g> {
    groups: &'g Groups,
    names: Vec<String>,
    in_vain: Vec<String>,
}

impl Chosen<'_> {
    fn all(&self) -> &[String] {
        self.groups.get("all").map_or(&[], Vec::as_slice)
    }

    fn matched(self) -> Matched {
        let within = |host: &&String| self.names.contains(host);
        let hosts: Vec<String> = self.all().iter().filter(within).cloned().collect();
        let controller = self.names.iter().any(|name| !self.all().contains(name));
        Matched {
            hosts,
            controller,
            in_vain: self.in_vain,
        }
    }

    /// Returns the hosts that a single pattern names, perhaps more than once.
    fn named_by(&mut self, part: &str) -> Result<Vec<String>, PatternError> {
        if self.all().iter().any(|host| host == part) {
            return Ok(vec![part.to_owned()]);
        }
        let (name, subscript) = Subscript::split(part);
        let hosts = match self.fitting(name)? {
            Some(hosts) => hosts,
            None if is_localhost(name) => vec![self.localhost()],
            None => {
                if name != "all" {
                    self.in_vain.push(part.to_owned());
                }
                Vec::new()
            }
        };
        match subscript {
            Some(subscript) if !hosts.is_empty() => {
                let wrong = || PatternError::Subscript {
                    pattern: part.to_owned(),
                };
                subscript.apply(&hosts).ok_or_else(wrong)
            }
            _ => Ok(hosts),
        }
    }

    /// Returns the one host that all spellings mean: the inventory's, or else the implicit one.
    fn localhost(&self) -> String {
        let own = self.all().iter().find(|host| is_localhost(host));
        own.cloned().unwrap_or_else(|| "localhost".to_owned())
    }

    /// Returns the members of the groups whose names fit, then the hosts whose names do; nothing
    /// if there is neither. A plain name that is a group's is no host's.
    fn fitting(&self, name: &str) -> Result<Option<Vec<String>>, PatternError> {
        let fits = Fits::new(name)?;
        let (mut hosts, mut found) = (Vec::new(), false);
        for (group, members) in self.groups {
            if fits.matches(group)? {
                hosts.extend_from_slice(members);
                found = true;
            }
        }
        if !found || name.starts_with('~') || name.contains(['.', '?', '*', '[']) {
            for host in self.all() {
                if fits.matches(host)? {
                    hosts.push(host.clone());
                    found = true;
                }
            }
        }
        Ok(found.then_some(hosts))
    }
}

/// How a name is compared.
enum Fits<'p> {
    Shell(Pattern),
    /// As Python's `re.match`: from the start of a name, not necessarily to its end.
    Regex(Regex, &'p str),
}

impl<'p> Fits<'p> {
    fn new(name: &'p str) -> Result<Self, PatternError> {
        let Some(regex) = name.strip_prefix('~') else {
            return Ok(Self::Shell(Pattern::new(name)));
        };
        match Regex::new(&format!(r"\A(?:{regex})"), Flags::default()) {
            Ok(compiled) => Ok(Self::Regex(compiled, name)),
            Err(source) => Err(wrong_regex(name, source)),
        }
    }

    fn matches(&self, candidate: &str) -> Result<bool, PatternError> {
        match self {
            Self::Shell(pattern) => Ok(pattern.matches(candidate)),
            Self::Regex(regex, name) => regex
                .is_match(candidate.as_bytes())
                .map_err(|source| wrong_regex(name, source)),
        }
    }
}

fn wrong_regex(pattern: &str, source: ReError) -> PatternError {
    PatternError::Regex {
        pattern: pattern.to_owned(),
        source,
    }
}

/// `[0]`, `[-1]`, `[1:3]` (both ends included), `[1:]`. Other brackets belong to the name.
#[derive(Debug, Clone, Copy)]
enum Subscript {
    At(i64),
    Range(usize, Option<usize>),
}

impl Subscript {
    fn split(part: &str) -> (&str, Option<Self>) {
        let split = part
            .strip_suffix(']')
            .filter(|_| !part.starts_with('~'))
            .and_then(|rest| rest.rsplit_once('['));
        match split.and_then(|(name, inner)| Some((name, Self::read(inner)?))) {
            Some((name, subscript)) if !name.is_empty() => (name, Some(subscript)),
            _ => (part, None),
        }
    }

    fn read(inner: &str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits(inner.strip_prefix('-').unwrap_or(inner)) {
            return inner.parse().ok().map(Self::At);
        }
        let (first, last) = inner.split_once([':', '-'])?;
        let first = Some(first).filter(|first| digits(first))?.parse().ok()?;
        match last {
            "" => Some(Self::Range(first, None)),
            last if digits(last) => Some(Self::Range(first, Some(last.parse().ok()?))),
            _ => None,
        }
    }

    fn apply(self, hosts: &[String]) -> Option<Vec<String>> {
        let (first, count) = match self {
            Self::At(at) => {
                let length = i64::try_from(hosts.len()).ok()?;
                let at = if at < 0 { at + length } else { at };
                let at = usize::try_from(at).ok().filter(|at| *at < hosts.len())?;
                (at, 1)
            }
            // Ansible takes an end of zero for none.
            Self::Range(first, Some(0)) => (Some(first).filter(|at| *at < hosts.len())?, 1),
            Self::Range(first, Some(last)) => (first, (last + 1).saturating_sub(first)),
            Self::Range(first, None) => (first, hosts.len()),
        };
        Some(hosts.iter().skip(first).take(count).cloned().collect())
    }
}
