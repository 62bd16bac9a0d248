//! Whether a task can be reached, as far as facts known beforehand tell.

use std::collections::BTreeMap;

use crate::template::foresee;
use crate::yaml::{Kind, Node};

/// Whether something is reached; ordered so that `and` is the minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reachability {
    No,
    Undecided,
    Yes,
}

impl Reachability {
    fn of(truth: bool) -> Self {
        if truth { Self::Yes } else { Self::No }
    }
}

/// Facts of Debian and of Ubuntu.
const FAMILY: [(&str, &str); 3] = [
    ("os_family", "Debian"),
    ("pkg_mgr", "apt"),
    ("system", "Linux"),
];

/// Returns whether neither Debian nor Ubuntu meets a `when`.
pub(super) fn is_foreign(node: &Node) -> bool {
    ["Debian", "Ubuntu"].iter().all(|distribution| {
        let facts = FAMILY.into_iter().chain([("distribution", *distribution)]);
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        when(node, &facts.collect()) == Reachability::No
    })
}

/// Decides a `when`: a condition or a list of them.
pub(super) fn when(node: &Node, facts: &BTreeMap<String, String>) -> Reachability {
    match &node.kind {
        Kind::Bool(truth) => Reachability::of(*truth),
        Kind::Str(text) => foresee(text, facts).map_or(Reachability::Undecided, Reachability::of),
        Kind::Seq(items) => {
            let all = items.iter().map(|item| when(item, facts));
            all.min().unwrap_or(Reachability::Yes)
        }
        _ => Reachability::Undecided,
    }
}
