//! The names of all modules of ansible-core and of the collections that Ansible 12 ships.
//!
//! `modules.txt` is written by `scripts/module_names.py`, which describes it. Only who checks a whole playbook
//! looks into it: the program on the target tells what it has from what it has not, and no more.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use crate::names::bare;

const TEXT: &str = include_str!("modules.txt");

/// Redirects lead to redirects at most this often.
const HOPS: usize = 4;

/// The table, read.
struct Catalogue {
    /// The collections.
    collections: HashSet<&'static str>,
    /// Modules by full name, and what else they are called: empty, or a full name.
    modules: HashMap<String, String>,
    /// Full names by the short ones that ansible-core knows.
    shorts: HashMap<&'static str, String>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(read);

fn read() -> Catalogue {
    let mut all = Catalogue {
        collections: HashSet::new(),
        modules: HashMap::new(),
        shorts: HashMap::new(),
    };
    let mut collection = "";
    for line in TEXT.lines() {
        if !line.starts_with(' ') {
            collection = line;
            all.collections.insert(collection);
            continue;
        }
        for word in line.split_whitespace() {
            let (name, other) = word.split_once('>').unwrap_or((word, ""));
            let is_short = name.starts_with('+') || collection == BUILTIN;
            let name = name.trim_start_matches('+');
            let full = format!("{collection}.{name}");
            if is_short {
                all.shorts.insert(name, full.clone());
            }
            let other = match other.ends_with('.') {
                true => format!("{other}{name}"),
                false => other.to_owned(),
            };
            all.modules.insert(full, other);
        }
    }
    all
}

const BUILTIN: &str = "ansible.builtin";

/// Returns the full name of a module by any of its names.
pub(super) fn full_name(name: &str) -> Option<&'static str> {
    let short = bare(name);
    let mut full = match short.contains('.') {
        true => CATALOGUE.modules.get_key_value(name)?.0,
        false => CATALOGUE.shorts.get(short)?,
    };
    for _ in 0..HOPS {
        match CATALOGUE.modules.get(full) {
            Some(other) if !other.is_empty() => full = other,
            _ => break,
        }
    }
    Some(full)
}

/// Returns the collection of a full name, if it is one whose modules are known.
pub(super) fn collection(name: &str) -> Option<&'static str> {
    let mut dots = name.match_indices('.').map(|(at, _)| at);
    let end = dots.nth(1)?;
    CATALOGUE.collections.get(&name[..end]).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_every_name_that_ansible_has_for_them() {
        for (name, full) in [
            ("dnf", "ansible.builtin.dnf"),
            ("yum", "ansible.builtin.dnf"),
            ("ansible.legacy.dnf", "ansible.builtin.dnf"),
            ("pacman", "community.general.pacman"),
            ("ansible.builtin.pacman", "community.general.pacman"),
            ("docker_container", "community.docker.docker_container"),
            (
                "community.general.docker_container",
                "community.docker.docker_container",
            ),
            ("amazon.aws.ec2_instance", "amazon.aws.ec2_instance"),
            (
                "gcp_bigquery_table_facts",
                "google.cloud.gcp_bigquery_table_info",
            ),
            ("gluster_volume", "gluster.gluster.gluster_volume"),
        ] {
            assert_eq!(full_name(name), Some(full), "{name}");
        }
        for name in ["pacmna", "ufw_", "community.general.copy", "a.b.c", ""] {
            assert_eq!(full_name(name), None, "{name}");
        }
    }

    #[test]
    fn a_collection_that_ansible_ships_is_told_from_others() {
        assert_eq!(
            collection("community.general.copy"),
            Some("community.general")
        );
        assert_eq!(collection("my.own.copy"), None);
        assert_eq!(collection("copy"), None);
    }

    /// The program on the target has no such table.
    #[test]
    fn every_other_name_of_a_module_that_is_here_is_known_without_the_table() {
        let names = CATALOGUE.modules.keys().map(String::as_str);
        let names = names.chain(CATALOGUE.shorts.keys().copied());
        let unknown: Vec<&str> = names
            .filter(|name| {
                let spec = full_name(name).and_then(crate::argspec::find);
                spec.is_some_and(|spec| {
                    crate::argspec::find(name).map(|s| s.name) != Some(spec.name)
                })
            })
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
