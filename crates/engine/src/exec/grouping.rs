//! `group_by`: groups that this host joins while the run goes on.
//!
//! Every host runs by itself, so that `groups` shows this one alone in them. What plays see of it is exact: whether they
//! are for this host, its `group_names`, and the playbook's `group_vars` of the group.

use amibake_playbook::fnmatch::Pattern;
use amibake_playbook::hosts::{self, Groups};
use serde::{Deserialize, Serialize};

/// The groups that the run has made.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Grouping {
    /// Those that the host is in, in the order of joining, with the parents of each.
    joined: Vec<(String, Vec<String>)>,
    /// What names such a group, as far as it is written: `os_*` of `os_{{ ansible_distribution }}`.
    names: Vec<String>,
}

impl Grouping {
    /// Adds the host to its groups among those of the inventory.
    pub(super) fn fill(&self, groups: &mut Groups, host: &str) {
        for (group, parents) in &self.joined {
            for name in parents.iter().chain([group]) {
                let hosts = groups.entry(name.clone()).or_default();
                if !hosts.iter().any(|known| known == host) {
                    hosts.push(host.to_owned());
                }
            }
        }
        if let (false, Some(alone)) = (self.joined.is_empty(), groups.get_mut("ungrouped")) {
            alone.retain(|known| known != host);
        }
    }

    /// Returns the groups that the host has joined, parents before their children, without those in `known`.
    pub(super) fn names(&self, known: &[String]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (group, parents) in &self.joined {
            for name in parents.iter().chain([group]) {
                if name != "all" && !known.contains(name) && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    /// Returns whether patterns of hosts leave this host out, by groups that some `group_by` makes. Without an
    /// inventory every other name means this host.
    pub(super) fn leaves_out(&self, patterns: &[String]) -> bool {
        let parts = hosts::parts(patterns);
        let joined = self.names(&[]);
        let is_joined = |part: &str| joined.iter().any(|name| Pattern::new(part).matches(name));
        let is_made = |part: &str| {
            let mut names = self.names.iter();
            names.any(|name| Pattern::new(name).matches(part))
        };
        let is_in = |part: &str| is_joined(part) || !is_made(part);
        let mut added = parts
            .iter()
            .filter(|part| !part.starts_with(['!', '&']))
            .peekable();
        let is_added = added.peek().is_none() || added.any(|part| is_in(part));
        let of = |sign: char| parts.iter().filter_map(move |part| part.strip_prefix(sign));
        !is_added || of('&').any(|part| !is_in(part)) || of('!').any(is_joined)
    }

    /// Notes what names a group that is made.
    pub(super) fn note_name(&mut self, pattern: Option<String>) {
        let new = pattern.filter(|pattern| !self.names.contains(pattern));
        self.names.extend(new);
    }

    /// Joins a group. Returns whether there was something new in that.
    pub(super) fn join(&mut self, group: &str, parents: Vec<String>) -> bool {
        match self.joined.iter_mut().find(|(known, _)| known == group) {
            Some((_, known)) => {
                let before = known.len();
                for parent in parents {
                    if !known.contains(&parent) {
                        known.push(parent);
                    }
                }
                known.len() > before
            }
            None => {
                self.joined.push((group.to_owned(), parents));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_others_join_leaves_this_host_out() {
        let mut grouping = Grouping::default();
        grouping.names.push("os_*".to_owned());
        assert!(grouping.join("os_Debian", vec!["linux".to_owned()]));
        assert!(!grouping.join("os_Debian", vec!["linux".to_owned()]));
        for (patterns, leaves_out) in [
            (&["os_RedHat"][..], true),
            (&["os_Debian"], false),
            (&["web"], false),
            (&["os_Debian", "os_RedHat"], false),
            (&["os_Debian:os_RedHat"], false),
            (&["os_*"], false),
            (&["all", "!os_Debian"], true),
            (&["all:&os_RedHat"], true),
        ] {
            let patterns: Vec<String> = patterns.iter().map(|&part| part.to_owned()).collect();
            assert_eq!(grouping.leaves_out(&patterns), leaves_out, "{patterns:?}");
        }
        let mut groups = Groups::from([("ungrouped".to_owned(), vec!["h".to_owned()])]);
        grouping.fill(&mut groups, "h");
        assert_eq!(groups["os_Debian"], ["h"]);
        assert_eq!(groups["linux"], ["h"]);
        assert!(groups["ungrouped"].is_empty());
    }
}
