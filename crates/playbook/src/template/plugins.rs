//! The filters, tests and lookups that a template may name: those here, and all that Ansible and
//! the collections it ships have, so that only a typing error is unknown.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::{Error, ErrorKind, filters, jinja_tests};
use crate::names::bare;

/// What a name in a template stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Filter,
    Test,
    Lookup,
}

/// Whether a plugin can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    Here,
    /// Ansible or a collection that it ships has it.
    Missing,
    /// Of another collection: nobody here can tell whether it exists.
    Foreign,
    /// Nobody has it.
    Unknown,
}

/// The lookups here, on one side or the other.
pub const LOOKUPS: &[&str] = &[
    "ansible.builtin.config",
    "ansible.builtin.csvfile",
    "ansible.builtin.dict",
    "ansible.builtin.env",
    "ansible.builtin.file",
    "ansible.builtin.fileglob",
    "ansible.builtin.first_found",
    "ansible.builtin.indexed_items",
    "ansible.builtin.ini",
    "ansible.builtin.inventory_hostnames",
    "ansible.builtin.items",
    "ansible.builtin.lines",
    "ansible.builtin.list",
    "ansible.builtin.nested",
    "ansible.builtin.password",
    "ansible.builtin.pipe",
    "ansible.builtin.random_choice",
    "ansible.builtin.sequence",
    "ansible.builtin.subelements",
    "ansible.builtin.template",
    "ansible.builtin.together",
    "ansible.builtin.unvault",
    "ansible.builtin.url",
    "ansible.builtin.varnames",
    "ansible.builtin.vars",
    "community.general.cartesian",
    "community.general.filetree",
    "community.general.flattened",
    "debops.debops.file_src",
    "debops.debops.task_src",
    "debops.debops.template_src",
];

/// Lookups of DebOps' that return the path of one of the role's own files, and the folder in which it is.
pub const IN_THE_ROLE: &[(&str, &str)] = &[
    ("debops.debops.file_src", "files"),
    ("debops.debops.task_src", "tasks"),
    ("debops.debops.template_src", "templates"),
];

/// Lookups of collections that Ansible finds by their short names too.
const SHORT_LOOKUPS: &[(&str, &str)] = &[
    ("cartesian", "community.general"),
    ("chef_databag", "community.general"),
    ("consul_kv", "community.general"),
    ("credstash", "community.general"),
    ("cyberarkpassword", "community.general"),
    ("dig", "community.general"),
    ("dnstxt", "community.general"),
    ("etcd", "community.general"),
    ("filetree", "community.general"),
    ("flattened", "community.general"),
    ("hashi_vault", "community.hashi_vault"),
    ("hiera", "community.general"),
    ("k8s", "kubernetes.core"),
    ("keyring", "community.general"),
    ("lastpass", "community.general"),
    ("lmdb_kv", "community.general"),
    ("mongodb", "community.mongodb"),
    ("onepassword", "community.general"),
    ("onepassword_raw", "community.general"),
    ("passwordstore", "community.general"),
    ("rabbitmq", "community.rabbitmq"),
    ("redis", "community.general"),
    ("shelvefile", "community.general"),
];

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Test => "test",
            Self::Lookup => "lookup",
        }
    }

    /// Returns the full names of all that Ansible ships.
    fn shipped(self) -> &'static HashSet<&'static str> {
        static SHIPPED: [OnceLock<HashSet<&str>>; 3] =
            [OnceLock::new(), OnceLock::new(), OnceLock::new()];
        let (cell, text) = match self {
            Self::Filter => (&SHIPPED[0], include_str!("plugins/filters.txt")),
            Self::Test => (&SHIPPED[1], include_str!("plugins/tests.txt")),
            Self::Lookup => (&SHIPPED[2], include_str!("plugins/lookups.txt")),
        };
        cell.get_or_init(|| text.lines().collect())
    }

    /// Returns the full names of those here.
    #[must_use]
    pub fn here(self) -> Vec<String> {
        let full = |(collection, name)| format!("{collection}.{name}");
        let mut names: Vec<String> = match self {
            Self::Filter => filters::names().map(full).collect(),
            Self::Test => jinja_tests::names().map(full).collect(),
            Self::Lookup => LOOKUPS.iter().map(|name| (*name).to_owned()).collect(),
        };
        names.sort();
        names
    }
}

/// Returns the full name of what Ansible takes `name` for.
#[must_use]
pub fn full_name(kind: Kind, name: &str) -> String {
    let plain = bare(name);
    if plain.contains('.') {
        return plain.to_owned();
    }
    let redirected = match kind {
        Kind::Filter => filters::short(plain),
        Kind::Lookup => SHORT_LOOKUPS
            .iter()
            .find(|(short, _)| *short == plain)
            .map(|(_, collection)| *collection),
        Kind::Test => None,
    };
    format!("{}.{plain}", redirected.unwrap_or("ansible.builtin"))
}

/// Returns whether the plugin called `name` can be used.
#[must_use]
pub fn support(kind: Kind, name: &str) -> Support {
    let full = full_name(kind, name);
    let here = match kind {
        Kind::Filter => filters::find(name).is_some(),
        Kind::Test => jinja_tests::find(name).is_some(),
        Kind::Lookup => LOOKUPS.contains(&full.as_str()),
    };
    let collection = full
        .rsplit_once('.')
        .map_or("", |(collection, _)| collection);
    let of_known = |known: &&str| known.rsplit_once('.').is_some_and(|(c, _)| c == collection);
    match here {
        true => Support::Here,
        false if kind.shipped().contains(full.as_str()) => Support::Missing,
        false if kind.shipped().iter().any(of_known) => Support::Unknown,
        false if collection.contains('.') => Support::Foreign,
        false => Support::Unknown,
    }
}

/// Returns the error of a plugin that is not here.
pub(crate) fn unknown(kind: Kind, name: &str) -> Error {
    let word = kind.word();
    match support(kind, name) {
        Support::Missing | Support::Foreign => Error::new(
            ErrorKind::Missing,
            format!("the {word} '{}' is not supported", full_name(kind, name)),
        ),
        Support::Here | Support::Unknown => Error::new(
            ErrorKind::Syntax,
            format!("No {word} named '{name}'.{}", hint(kind, bare(name))),
        ),
    }
}

/// Says which name may have been meant: that of a collection's plugin of the same short name, or
/// the nearest one.
fn hint(kind: Kind, name: &str) -> String {
    let here = kind.here();
    let short = |full: &str| full.rsplit('.').next().unwrap_or(full).to_owned();
    if let Some(full) = here.iter().find(|full| short(full) == name) {
        return format!(" Ansible finds it as '{full}'.");
    }
    let written = |full: &String| match full.strip_prefix("ansible.builtin.") {
        Some(own) => own.to_owned(),
        None => full.clone(),
    };
    let distance = |full: &String| {
        let near = if name.contains('.') {
            full.clone()
        } else {
            short(full)
        };
        (strsim::damerau_levenshtein(name, &near), written(full))
    };
    let nearest = here.iter().map(distance).min();
    nearest
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .map_or_else(String::new, |(_, near)| format!(" Did you mean '{near}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_typing_error_is_unknown() {
        for (kind, name, support_of) in [
            (Kind::Filter, "upper", Support::Here),
            (Kind::Filter, "ansible.builtin.combine", Support::Here),
            (Kind::Filter, "json_query", Support::Here),
            (Kind::Filter, "community.general.json_query", Support::Here),
            (Kind::Filter, "community.general.jc", Support::Missing),
            (Kind::Filter, "dict_kv", Support::Unknown),
            (
                Kind::Filter,
                "community.general.json_quarry",
                Support::Unknown,
            ),
            (Kind::Filter, "mine.own.filter", Support::Foreign),
            (Kind::Filter, "uper", Support::Unknown),
            (Kind::Test, "defined", Support::Here),
            (Kind::Test, "defind", Support::Unknown),
            (Kind::Lookup, "file", Support::Here),
            (Kind::Lookup, "dig", Support::Missing),
            (Kind::Lookup, "flattened", Support::Here),
            (Kind::Lookup, "fiel", Support::Unknown),
        ] {
            assert_eq!(support(kind, name), support_of, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_right_one() {
        let told = |name| unknown(Kind::Filter, name).message;
        assert_eq!(
            told("uper"),
            "No filter named 'uper'. Did you mean 'upper'?"
        );
        let full = "No filter named 'dict_kv'. Ansible finds it as 'community.general.dict_kv'.";
        assert_eq!(told("dict_kv"), full);
        let missing = "the filter 'community.general.jc' is not supported";
        assert_eq!(told("community.general.jc"), missing);
    }

    #[test]
    fn all_that_is_here_is_shipped_by_ansible_or_debops() {
        for kind in [Kind::Filter, Kind::Test, Kind::Lookup] {
            let shipped = kind.shipped();
            let known = |name: &str| shipped.contains(name) || name.starts_with("debops.debops.");
            let strange = kind.here().into_iter().find(|name| !known(name));
            assert_eq!(strange, None);
        }
    }
}
