//! What the run adds to the inventory: hosts and groups (`add_host`).
//!
//! The controller owns the inventory, and tells every host of them when a play begins. Who adds one sees it at once.

use amibake_playbook::hosts::Groups;
use amibake_protocol::ask::AddedHost;
use serde::{Deserialize, Serialize};

/// The hosts that the run has added, and what of news this host has heard.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct AddedHosts {
    hosts: Vec<AddedHost>,
    /// How many of the run's news were heard.
    pub(super) heard: usize,
}

impl AddedHosts {
    /// Adds them to the groups of the inventory.
    pub(super) fn fill(&self, groups: &mut Groups) {
        let all = groups.entry("all".to_owned()).or_default();
        let is_new = |added: &&AddedHost| !all.contains(&added.name);
        let new: Vec<String> = self
            .hosts
            .iter()
            .filter(is_new)
            .map(|a| a.name.clone())
            .collect();
        // As Ansible: what `all` has itself comes before what its children have.
        all.splice(0..0, new);
        for added in &self.hosts {
            for group in &added.groups {
                let hosts = groups.entry(group.clone()).or_default();
                if !hosts.contains(&added.name) {
                    hosts.push(added.name.clone());
                }
            }
        }
        for added in &self.hosts {
            let is_in = |(name, hosts): (&String, &Vec<String>)| {
                !matches!(name.as_str(), "all" | "ungrouped") && hosts.contains(&added.name)
            };
            let is_grouped = groups.iter().any(is_in);
            let alone = groups.entry("ungrouped".to_owned()).or_default();
            match is_grouped {
                true => alone.retain(|host| *host != added.name),
                false if alone.contains(&added.name) => {}
                false => alone.push(added.name.clone()),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Returns a host that was added, or an inventory's to which something was.
    pub(super) fn get(&self, name: &str) -> Option<&AddedHost> {
        self.hosts.iter().find(|added| added.name == name)
    }

    /// Adds a host, or to one. Returns whether anything in that is new, where `groups` are those that there are.
    pub(super) fn add(&mut self, new: &AddedHost, groups: &Groups) -> bool {
        let is_in = |group: &str| {
            let hosts = groups.get(group);
            hosts.is_some_and(|hosts| hosts.contains(&new.name))
        };
        let mut changed = !is_in("all") || !new.groups.iter().all(|group| is_in(group));
        if self.get(&new.name).is_none() {
            self.hosts.push(AddedHost {
                name: new.name.clone(),
                ..AddedHost::default()
            });
        }
        for known in self.hosts.iter_mut().filter(|known| known.name == new.name) {
            for group in &new.groups {
                if !known.groups.contains(group) {
                    known.groups.push(group.clone());
                }
            }
            for (name, value) in &new.vars {
                let before = known.vars.insert(name.clone(), value.clone());
                changed |= before.as_ref() != Some(value);
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_is_added_once_and_changes_by_what_is_new_of_it() {
        let mut added = AddedHosts::default();
        let inventory = Groups::from([
            ("all".to_owned(), vec!["h".to_owned()]),
            ("ungrouped".to_owned(), vec!["h".to_owned()]),
        ]);
        let mut add = |name: &str, groups: &[&str], vars: serde_json::Value| {
            let mut known = inventory.clone();
            added.fill(&mut known);
            let new = AddedHost {
                name: name.to_owned(),
                groups: groups.iter().map(|&group| group.to_owned()).collect(),
                vars: vars.as_object().cloned().unwrap_or_default(),
            };
            added.add(&new, &known)
        };
        assert!(add("n", &[], json!({})));
        assert!(!add("n", &[], json!({})));
        assert!(add("n", &[], json!({"a": 1})));
        assert!(!add("n", &[], json!({"a": 1})));
        assert!(add("n", &["g"], json!({})));
        assert!(!add("n", &["g"], json!({"a": 1})));
        assert!(!add("h", &[], json!({})));
        assert!(add("h", &["g"], json!({})));
        let mut groups = inventory.clone();
        added.fill(&mut groups);
        assert_eq!(groups["g"], ["n", "h"]);
        assert_eq!(groups["all"], ["n", "h"]);
        assert!(groups["ungrouped"].is_empty());
    }
}
