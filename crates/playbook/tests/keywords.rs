//! The table of keywords is that of ansible-core (`keywords/ask_ansible.py` asks it).

use std::collections::{BTreeMap, BTreeSet};

use amibake_playbook::syntax::KEYWORDS;

/// Names that the classes have and playbooks do not.
const INTERNAL: &[&str] = &["async_val"];
/// Names that playbooks have and the classes take otherwise: `user` becomes `remote_user`,
/// `local_action` becomes `action`.
const OTHERWISE: &[&str] = &["user", "local_action"];
/// Documented, and refused by ansible-core itself for years.
const GONE: &[&str] = &["accelerate", "accelerate_ipv6", "accelerate_port"];

/// What came after the ansible-core that was asked: 2.20.
const NEWER: &[&str] = &["validate_argspec"];

#[test]
fn every_keyword_of_ansible_is_known_where_ansible_knows_it_and_no_other() {
    let asked = include_str!("keywords/keywords.json");
    let asked: BTreeMap<String, BTreeSet<String>> = serde_json::from_str(asked).unwrap();
    for (place, theirs) in asked.iter().filter(|(place, _)| *place != "documented") {
        let ours: BTreeSet<&str> = KEYWORDS
            .iter()
            .filter(|k| k.places.iter().any(|p| format!("{p:?}") == *place))
            .map(|k| k.name)
            .filter(|name| !OTHERWISE.contains(name) && !NEWER.contains(name))
            .collect();
        let theirs: BTreeSet<&str> = theirs
            .iter()
            .map(String::as_str)
            .filter(|name| !INTERNAL.contains(name))
            .collect();
        assert_eq!(ours, theirs, "{place}");
    }
    let all: BTreeSet<&str> = KEYWORDS.iter().map(|k| k.name).collect();
    for name in &asked["documented"] {
        assert!(
            all.contains(name.as_str()) || GONE.contains(&name.as_str()),
            "{name} is documented"
        );
    }
}
