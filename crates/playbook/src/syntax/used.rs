//! What a playbook uses, and how each is supported: the list of `--report`.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Span;
use crate::template::plugins;

/// What a playbook uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsedKind {
    Module,
    Filter,
    Test,
    Lookup,
}

impl UsedKind {
    /// Returns what several of them are called.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Module => "modules",
            Self::Filter => "filters",
            Self::Test => "tests",
            Self::Lookup => "lookups",
        }
    }
}

impl From<plugins::Kind> for UsedKind {
    fn from(kind: plugins::Kind) -> Self {
        match kind {
            plugins::Kind::Filter => Self::Filter,
            plugins::Kind::Test => Self::Test,
            plugins::Kind::Lookup => Self::Lookup,
        }
    }
}

/// How something is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supported {
    Works,
    /// Ansible has it, or a collection that it ships.
    Missing,
    /// The author's own, in Python.
    Python,
    /// Of a collection that Ansible does not ship.
    Foreign,
    Unknown,
}

impl Supported {
    /// Returns how the report says it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Missing => "not in amibake yet",
            Self::Python => "your own, in Python: not run",
            Self::Foreign => "not in amibake",
            Self::Unknown => "known to nobody",
        }
    }
}

impl From<plugins::Support> for Supported {
    fn from(support: plugins::Support) -> Self {
        match support {
            plugins::Support::Here => Self::Works,
            plugins::Support::Missing => Self::Missing,
            plugins::Support::Foreign => Self::Foreign,
            plugins::Support::Unknown => Self::Unknown,
        }
    }
}

/// All that a playbook uses where it may be reached: by kind and full name, how it is supported and where it stands.
#[derive(Debug, Clone, Default)]
pub struct AllUsed(BTreeMap<(UsedKind, String), (Supported, Vec<Span>)>);

impl AllUsed {
    pub(super) fn add(&mut self, kind: UsedKind, name: String, supported: Supported, span: &Span) {
        let entry = self.0.entry((kind, name));
        let (_, spans) = entry.or_insert_with(|| (supported, Vec::new()));
        if !spans.contains(span) {
            spans.push(span.clone());
        }
    }

    /// Adds what another playbook uses.
    pub fn extend(&mut self, other: &Self) {
        for ((kind, name), (supported, spans)) in &other.0 {
            for span in spans {
                self.add(*kind, name.clone(), *supported, span);
            }
        }
    }

    /// Returns the modules that nobody knows, or of collections that Ansible does not ship.
    #[must_use]
    pub fn unknown_modules(&self) -> BTreeSet<String> {
        let unknown = |supported| matches!(supported, Supported::Unknown | Supported::Foreign);
        let modules = self
            .iter()
            .filter(|(kind, _, supported, _)| *kind == UsedKind::Module && unknown(*supported));
        modules.map(|(_, name, ..)| name.to_owned()).collect()
    }

    /// Returns each with its places, sorted by kind and name.
    pub fn iter(&self) -> impl Iterator<Item = (UsedKind, &str, Supported, &[Span])> {
        let all = self.0.iter();
        all.map(|((kind, name), (supported, spans))| {
            (*kind, name.as_str(), *supported, spans.as_slice())
        })
    }
}
