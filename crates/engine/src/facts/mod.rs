//! Facts about this machine, as ansible-core's `setup` names and shapes them on Linux.
//!
//! Everything comes from `/proc`, `/sys`, `/etc` and system calls. The few programs that must be
//! asked (a Python for its version, `systemctl` for systemd's) run beside the reading.

mod collector;
mod devices;
mod distribution;
mod hardware;
mod local;
mod mounts;
mod network;
mod platform;
mod read;
mod system;
mod virtualization;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use amibake_playbook::fnmatch::fnmatch;
use serde_json::{Map, Value as Json, json};

pub use collector::BadSubset;
use collector::Collector;
pub(crate) use mounts::space_at;
pub(crate) use platform::full_host_name;
pub(crate) use system::service_manager_name;

/// What `setup` is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `gather_subset`; empty is everything.
    pub subset: Vec<String>,
    /// `filter`: patterns of names; empty is everything.
    pub filter: Vec<String>,
    /// Where local facts lie.
    pub fact_path: PathBuf,
    /// How long is waited for what may never answer, such as the server of a file system.
    pub timeout: Duration,
    /// The environment shown as `env`.
    pub environment: BTreeMap<String, String>,
    /// The Python that is asked; else the one that Ansible would find.
    pub interpreter: Option<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            subset: Vec::new(),
            filter: Vec::new(),
            fact_path: PathBuf::from("/etc/ansible/facts.d"),
            timeout: Duration::from_secs(10),
            environment: std::env::vars().collect(),
            interpreter: None,
        }
    }
}

/// Facts by their name without `ansible_`, and sentences for the author.
#[derive(Debug, Default)]
pub struct Facts {
    pub facts: Map<String, Json>,
    /// What could not be read, where the author should know.
    pub warnings: Vec<String>,
}

/// Gathers what `request` asks for.
///
/// # Errors
/// [`BadSubset`] if a subset has an unknown name.
pub fn gather(request: &Request) -> Result<Facts, BadSubset> {
    let wanted = collector::wanted(&request.subset)?;
    let children = system::Children::start(&wanted, request.interpreter.as_deref());
    let mut found = Facts::default();
    for collector in Collector::ALL.iter().filter(|c| wanted.contains(c)) {
        collect(*collector, request, &mut found);
    }
    children.finish(&mut found.facts);
    found.facts.sort_keys();
    let about = [
        ("gather_subset", subset(request)),
        ("module_setup", json!(true)),
    ];
    let about = about.map(|(name, value)| (name.to_owned(), value));
    found.facts.extend(about);
    found.facts.retain(|name, _| keeps(&request.filter, name));
    Ok(found)
}

/// Returns `facts` as the module's result names them: with `ansible_` in front.
#[must_use]
pub fn prefixed(facts: &Map<String, Json>) -> Map<String, Json> {
    facts
        .iter()
        .map(|(name, value)| (full_name(name), value.clone()))
        .collect()
}

fn full_name(name: &str) -> String {
    match name {
        "gather_subset" | "module_setup" => name.to_owned(),
        _ => format!("ansible_{name}"),
    }
}

fn collect(collector: Collector, request: &Request, found: &mut Facts) {
    let facts = &mut found.facts;
    match collector {
        Collector::Platform => platform::collect(facts),
        Collector::Distribution => distribution::collect(facts),
        Collector::Lsb => distribution::collect_lsb(facts),
        Collector::Selinux => system::selinux(facts),
        Collector::Apparmor => system::apparmor(facts),
        Collector::Chroot => system::chroot(facts),
        Collector::Fips => system::fips(facts),
        Collector::Caps => system::capabilities(facts),
        Collector::PkgMgr => system::package_manager(facts),
        Collector::ServiceMgr => system::service_manager(facts),
        Collector::Cmdline => system::cmdline(facts),
        Collector::DateTime => system::date_time(facts),
        Collector::Env => {
            facts.insert("env".to_owned(), json!(request.environment));
        }
        Collector::Loadavg => system::loadavg(facts),
        Collector::SshPubKeys => system::ssh_host_keys(facts),
        Collector::User => system::user(facts),
        Collector::Virtual => virtualization::collect(facts),
        Collector::Hardware => {
            hardware::collect(facts);
            let uuids = devices::collect(facts);
            let mounts = mounts::mounts(&uuids, request.timeout);
            facts.insert("mounts".to_owned(), Json::Array(mounts));
        }
        Collector::Dns => network::dns(facts),
        Collector::Network => network::collect(facts),
        Collector::FibreChannel => {
            facts.insert("fibre_channel_wwn".to_owned(), network::fibre_channel());
        }
        Collector::Iscsi => {
            let name = network::initiator("/etc/iscsi/initiatorname.iscsi", "InitiatorName=");
            facts.insert("iscsi_iqn".to_owned(), json!(name));
        }
        Collector::Nvme => {
            let name = network::initiator("/etc/nvme/hostnqn", "");
            facts.insert("hostnqn".to_owned(), json!(name));
        }
        Collector::Local => {
            let local = local::collect(&request.fact_path, &mut found.warnings);
            found.facts.insert("local".to_owned(), Json::Object(local));
        }
        // The first two are asked of programs that were started before the rest was read; the
        // others are other tools', whose facts Ansible leaves out where they are not installed.
        Collector::Python | Collector::Systemd | Collector::Facter | Collector::Ohai => {}
    }
}

fn subset(request: &Request) -> Json {
    if request.subset.is_empty() {
        return json!(["all"]);
    }
    json!(request.subset)
}

/// Whether one of `patterns` names the fact, with or without `ansible_`. None keeps all.
fn keeps(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| {
            pattern.is_empty()
                || fnmatch(pattern, &full_name(name))
                || (!pattern.starts_with("ansible_")
                    && fnmatch(&format!("ansible_{pattern}"), &full_name(name)))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_facts_are_gathered_quickly() {
        let facts = gather(&Request::default()).unwrap().facts;
        assert_eq!(facts["system"], "Linux");
        assert!(facts["processor_vcpus"].as_u64().unwrap() >= 1);
        assert!(facts["memtotal_mb"].as_u64().unwrap() > 0);
        assert!(facts.contains_key("default_ipv4"));
    }

    #[test]
    fn a_filter_names_facts_with_or_without_the_prefix() {
        let request = Request {
            filter: vec!["kernel".to_owned(), "ansible_date_*".to_owned()],
            ..Request::default()
        };
        let facts = gather(&request).unwrap().facts;
        let names: Vec<&str> = facts.keys().map(String::as_str).collect();
        assert_eq!(names, ["date_time", "kernel"]);
    }

    #[test]
    fn the_minimum_has_the_distribution_and_no_hardware() {
        let request = Request {
            subset: vec!["!all".to_owned()],
            ..Request::default()
        };
        let facts = gather(&request).unwrap().facts;
        assert!(facts.contains_key("distribution"));
        assert!(!facts.contains_key("memtotal_mb"));
        assert!(!facts.contains_key("interfaces"));
    }
}
