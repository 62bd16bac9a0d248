//! Filters of the collections, and which of them Ansible finds by their short names too.

use super::{Filter, addresses, debops, general};

/// The tables, by collection.
pub(super) const TABLES: &[(&str, &[Filter])] = &[
    ("community.general", general::FILTERS),
    ("community.general", general::keys::FILTERS),
    ("community.general", general::lists::FILTERS),
    ("community.general", general::query::FILTERS),
    ("community.general", general::tables::FILTERS),
    ("community.general", general::time::FILTERS),
    ("community.crypto", general::PEM_FILTERS),
    ("ansible.utils", addresses::FILTERS),
    ("debops.debops", debops::FILTERS),
];

/// Filters that ansible.builtin had once.
const SHORT: &[(&str, &str)] = &[
    ("json_query", "community.general"),
    ("random_mac", "community.general"),
    ("cidr_merge", "ansible.utils"),
    ("hwaddr", "ansible.utils"),
    ("ip4_hex", "ansible.utils"),
    ("ipaddr", "ansible.utils"),
    ("ipmath", "ansible.utils"),
    ("ipsubnet", "ansible.utils"),
    ("ipv4", "ansible.utils"),
    ("ipv6", "ansible.utils"),
    ("ipwrap", "ansible.utils"),
    ("macaddr", "ansible.utils"),
    ("network_in_network", "ansible.utils"),
    ("network_in_usable", "ansible.utils"),
    ("next_nth_usable", "ansible.utils"),
    ("nthhost", "ansible.utils"),
    ("previous_nth_usable", "ansible.utils"),
    ("reduce_on_network", "ansible.utils"),
    ("slaac", "ansible.utils"),
    ("comp_type5", "ansible.netcommon"),
    ("hash_salt", "ansible.netcommon"),
    ("parse_cli", "ansible.netcommon"),
    ("parse_cli_textfsm", "ansible.netcommon"),
    ("parse_xml", "ansible.netcommon"),
    ("type5_pw", "ansible.netcommon"),
    ("vlan_parser", "ansible.netcommon"),
    ("k8s_config_resource_name", "kubernetes.core"),
];

/// Returns the collection of a filter that needs no name of one.
pub(in crate::template) fn short(name: &str) -> Option<&'static str> {
    let found = SHORT.iter().find(|(short, _)| *short == name);
    found.map(|(_, collection)| *collection)
}

/// Returns the collection that a filter is in now: those on addresses have left ansible.netcommon.
pub(super) fn moved<'n>(collection: &'n str, name: &str) -> &'n str {
    match (collection, short(name)) {
        ("ansible.netcommon", Some("ansible.utils")) => "ansible.utils",
        _ => collection,
    }
}
