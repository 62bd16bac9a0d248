//! Host patterns name the hosts that ansible-core names.
//!
//! The answers are a fixture; `hosts/ask_ansible.py` asks for them anew.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;

use amibake_playbook::hosts::{Groups, matching};
use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Deserialize)]
struct Asked {
    groups: Groups,
    answers: Vec<(Json, Option<Answer>)>,
}

/// What a pattern names; none if it is refused.
#[derive(Debug, PartialEq, Deserialize)]
struct Answer {
    hosts: Vec<String>,
    controller: bool,
    in_vain: Vec<String>,
}

fn ours(groups: &Groups, pattern: &Json) -> Option<Answer> {
    let patterns: Vec<String> = match pattern {
        Json::Array(items) => items
            .iter()
            .map(|p| p.as_str().unwrap().to_owned())
            .collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    };
    let mut matched = matching(groups, &patterns).ok()?;
    let in_order = groups["all"]
        .iter()
        .filter(|host| matched.hosts.contains(host));
    assert!(in_order.eq(&matched.hosts), "{pattern} gives {matched:?}");
    matched.hosts.sort();
    Some(Answer {
        hosts: matched.hosts,
        controller: matched.controller,
        in_vain: matched.in_vain,
    })
}

#[test]
fn patterns_name_hosts_as_ansible_names_them() {
    let text = include_str!("hosts/answers.json");
    let known: BTreeMap<String, Asked> = serde_json::from_str(text).unwrap();
    let mut differ = Vec::new();
    for (inventory, asked) in known {
        for (pattern, theirs) in asked.answers {
            let ours = ours(&asked.groups, &pattern);
            if ours != theirs {
                differ.push(format!(
                    "{pattern} in {inventory}: {ours:?}, not {theirs:?}"
                ));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
