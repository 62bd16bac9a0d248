//! Which settings of `ansible.cfg` change what a playbook does: those that are followed, and those that are not.
//! These are named; what concerns Ansible's own ways (forks, callbacks, SSH) is passed over.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use amibake_playbook::syntax::STRATEGIES;
use amibake_protocol::job::{Gathering, Settings as Followed};

use crate::ansible_config::{AnsibleConfig, SearchPaths, Setting, with_surroundings};
use crate::fact_cache::FactCache;

/// Settings that change results: section, key, the value that changes nothing, what to do instead.
const CHANGING: &[(&str, &str, &str, &str)] = &[
    (
        "defaults",
        "error_on_undefined_vars",
        "true",
        "use the filter `default`",
    ),
    ("defaults", "jinja2_extensions", "", ""),
    (
        "defaults",
        "gather_subset",
        "",
        "set `gather_subset` in the plays",
    ),
    ("defaults", "fact_path", "", "set `fact_path` in the plays"),
    ("defaults", "no_log", "false", "set `no_log` in the plays"),
    ("defaults", "any_errors_fatal", "false", ""),
    (
        "defaults",
        "task_timeout",
        "0",
        "set `timeout` in the plays",
    ),
    ("defaults", "executable", "/bin/sh", ""),
    ("defaults", "ansible_managed", "", ""),
    ("defaults", "remote_user", "", "give --user"),
    ("defaults", "remote_port", "", "give --host ADDRESS:PORT"),
    ("defaults", "private_key_file", "", "give --identity"),
    ("defaults", "inventory", "", "give --inventory"),
    (
        "defaults",
        "vault_password_file",
        "",
        "give --vault-password-file",
    ),
    (
        "defaults",
        "vault_identity_list",
        "",
        "give --vault-password-file",
    ),
    (
        "defaults",
        "force_handlers",
        "false",
        "give --force-handlers",
    ),
    ("defaults", "library", "", ""),
    ("defaults", "module_utils", "", ""),
    ("defaults", "action_plugins", "", ""),
    ("defaults", "filter_plugins", "", ""),
    ("defaults", "test_plugins", "", ""),
    ("defaults", "lookup_plugins", "", ""),
    ("defaults", "vars_plugins", "", ""),
    ("privilege_escalation", "become", "false", "give --become"),
    (
        "privilege_escalation",
        "become_user",
        "root",
        "give --become-user",
    ),
    (
        "privilege_escalation",
        "become_method",
        "sudo",
        "set `become_method` in the plays",
    ),
    (
        "privilege_escalation",
        "become_ask_pass",
        "false",
        "give --ask-become-pass",
    ),
    ("tags", "run", "", "give --tags"),
    ("tags", "skip", "", "give --skip-tags"),
    ("diff", "always", "false", "give --diff"),
];

/// For how many seconds facts are kept where nothing is said.
const CACHED_SECONDS: u64 = 86_400;

/// Variables of the environment for settings that are followed, which win over the file.
const VARIABLES: &[(&str, &str)] = &[
    ("ANSIBLE_HASH_BEHAVIOUR", "hash_behaviour"),
    ("ANSIBLE_STRATEGY", "strategy"),
    (
        "ANSIBLE_ERROR_ON_MISSING_HANDLER",
        "error_on_missing_handler",
    ),
    ("ANSIBLE_INJECT_FACT_VARS", "inject_facts_as_vars"),
    ("ANSIBLE_PRIVATE_ROLE_VARS", "private_role_vars"),
    ("ANSIBLE_CACHE_PLUGIN", "fact_caching"),
    ("ANSIBLE_CACHE_PLUGIN_CONNECTION", "fact_caching_connection"),
    ("ANSIBLE_CACHE_PLUGIN_PREFIX", "fact_caching_prefix"),
    ("ANSIBLE_CACHE_PLUGIN_TIMEOUT", "fact_caching_timeout"),
];

/// What an `ansible.cfg` says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where roles and collections lie, whatever says so.
    pub(super) paths: SearchPaths,
    pub(super) gathering: Gathering,
    /// Those that hold where the tasks run.
    pub(super) followed: Followed,
    /// How facts are kept for the runs to come, by the names of the settings.
    caching: BTreeMap<String, String>,
    /// What is not followed, each in a sentence.
    pub(super) unheeded: Vec<String>,
}

impl Settings {
    /// Reads the file that `ansible-playbook` would read here, if there is one.
    pub(super) fn here() -> Self {
        let config = AnsibleConfig::here();
        let mut settings = Self::of(&config);
        settings.paths = with_surroundings(|around| SearchPaths::of(&config, around));
        if let Ok(value) = std::env::var("ANSIBLE_GATHERING") {
            settings.gather("ANSIBLE_GATHERING", &value);
        }
        for (variable, key) in VARIABLES {
            if let Ok(value) = std::env::var(variable) {
                settings.follow(variable, key, &value);
            }
        }
        settings
    }

    /// Takes in a setting that is followed where the tasks run. Returns whether it is one.
    fn follow(&mut self, place: &str, key: &str, value: &str) -> bool {
        let followed = &mut self.followed;
        let known = match (key, truth(value)) {
            ("hash_behaviour", _) => match value {
                "merge" | "replace" => {
                    followed.merges_mappings = value == "merge";
                    true
                }
                _ => false,
            },
            ("strategy", _) => {
                let bare = value.rsplit('.').next().unwrap_or_default();
                followed.strategy = Some(value.to_owned());
                STRATEGIES.contains(&bare)
            }
            ("error_on_missing_handler", Some(errors)) => {
                followed.passes_missing_handlers = !errors;
                true
            }
            ("inject_facts_as_vars", Some(injects)) => {
                followed.facts_apart = !injects;
                true
            }
            ("private_role_vars", private @ Some(_)) => {
                followed.private_role_vars = private;
                true
            }
            ("error_on_missing_handler" | "inject_facts_as_vars" | "private_role_vars", None) => {
                false
            }
            (key, _) if key.starts_with("fact_caching") => {
                self.caching.insert(key.to_owned(), value.to_owned());
                matches!(value, "memory" | "jsonfile" | "ansible.builtin.jsonfile")
                    || key != "fact_caching"
            }
            _ => return false,
        };
        if !known {
            followed.strategy = followed.strategy.take().filter(|_| key != "strategy");
            self.unheeded
                .push(format!("{place}: `{key} = {value}` is not followed"));
        }
        true
    }

    /// Returns where facts are kept, if they are.
    pub(super) fn fact_cache(&self) -> Option<FactCache> {
        let said = |name: &str| self.caching.get(name).map(String::as_str);
        let plugin = said("fact_caching").unwrap_or_default();
        let folder = said("fact_caching_connection").filter(|folder| !folder.is_empty())?;
        if plugin.rsplit('.').next() != Some("jsonfile") {
            return None;
        }
        let timeout = said("fact_caching_timeout").and_then(|seconds| seconds.parse().ok());
        let timeout = Duration::from_secs(timeout.unwrap_or(CACHED_SECONDS));
        let home = std::env::home_dir();
        let folder = match (folder.strip_prefix("~/"), home) {
            (Some(below), Some(home)) => home.join(below),
            _ => PathBuf::from(folder),
        };
        Some(FactCache {
            folder,
            prefix: said("fact_caching_prefix").unwrap_or_default().to_owned(),
            timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        })
    }

    /// Takes what a setting says of gathering facts.
    fn gather(&mut self, place: &str, value: &str) {
        match gathering(value) {
            Some(gathering) => self.gathering = gathering,
            None => self.unheeded.push(format!(
                "{place}: `{value}` is no way of gathering facts: implicit, explicit, smart"
            )),
        }
    }

    fn of(config: &AnsibleConfig) -> Self {
        let mut settings = Self::default();
        settings.unheeded.extend(config.told_passed_over());
        let Some(path) = &config.path else {
            return settings;
        };
        for Setting {
            section,
            key,
            value,
            line,
        } in &config.settings
        {
            let place = format!("{}:{line}", path.display());
            match (section.as_str(), key.as_str()) {
                ("defaults", "gathering") => settings.gather(&place, value),
                ("defaults", key) if settings.follow(&place, key, value) => {}
                (section, key) => {
                    let unheeded = unheeded(section, key, value);
                    let unheeded = unheeded.map(|what| format!("{place}: {what}"));
                    settings.unheeded.extend(unheeded);
                }
            }
        }
        settings
    }
}

fn gathering(value: &str) -> Option<Gathering> {
    Some(match value {
        "implicit" => Gathering::Implicit,
        "explicit" => Gathering::Explicit,
        "smart" => Gathering::Smart,
        _ => return None,
    })
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Says that a setting which changes results is not followed.
fn unheeded(section: &str, key: &str, value: &str) -> Option<String> {
    let (.., usual, instead) = CHANGING
        .iter()
        .find(|(s, k, ..)| (*s, *k) == (section, key))?;
    let word = |text: &str| match truth(text) {
        Some(truth) => truth.to_string(),
        None => text.to_lowercase(),
    };
    if value.is_empty() || word(value) == word(usual) {
        return None;
    }
    let instead = match instead {
        &"" => String::new(),
        instead => format!("; {instead}"),
    };
    Some(format!("`{key} = {value}` is not followed{instead}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_changes_results_is_named() {
        let text = "[defaults]\nforks = 50\nroles_path = roles:~/more ; ours\ncollections_paths=/c\nhash_behaviour = merge\n\
                    gathering = smart\n# no_log = True\n[privilege_escalation]\nbecome: yes\n[ssh_connection]\npipelining = True\n";
        let settings = Settings::of(&AnsibleConfig::read(Path::new("/p/ansible.cfg"), text));
        let expected = Settings {
            paths: SearchPaths::default(),
            gathering: Gathering::Smart,
            followed: Followed {
                merges_mappings: true,
                ..Followed::default()
            },
            caching: BTreeMap::new(),
            unheeded: vec![
                "/p/ansible.cfg:9: `become = yes` is not followed; give --become".into(),
            ],
        };
        assert_eq!(settings, expected);
    }
}
