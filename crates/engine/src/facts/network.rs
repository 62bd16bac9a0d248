//! Interfaces, addresses, default routes, DNS.
//!
//! From `/sys/class/net`, `/proc/net` and `getifaddrs`; which address leads out is learnt from a
//! UDP socket that is connected and sends nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::read;

/// Where Ansible asks the way to.
const OUTSIDE_V4: &str = "8.8.8.8:53";
const OUTSIDE_V6: &str = "[2404:6800:400a:800::1012]:53";

/// One IPv4 address of an interface, as `ip address` shows it.
struct V4 {
    /// The interface, or the label of an alias: `eth0:1`.
    label: String,
    address: Ipv4Addr,
    netmask: Ipv4Addr,
    broadcast: Option<Ipv4Addr>,
}

/// One IPv6 address of an interface.
struct V6 {
    interface: String,
    address: Ipv6Addr,
    prefix: u32,
    scope: &'static str,
}

/// Collects interfaces and addresses. Like Ansible, only where there is an `ip` program.
pub(super) fn collect(facts: &mut Map<String, Json>) {
    if read::program("ip").is_none() {
        return;
    }
    let (v4, v6) = (addresses_v4(), addresses_v6());
    let names = read::names("/sys/class/net");
    let names: Vec<_> = names
        .into_iter()
        .filter(|name| Path::new("/sys/class/net").join(name).is_dir())
        .collect();
    let mut interfaces = BTreeMap::new();
    let mut all_v4 = Vec::new();
    let mut all_v6 = Vec::new();
    for name in &names {
        let mut interface = link(name);
        let own = Ranked::of(v4.iter().filter(|a| a.on(name)).collect());
        let both = own.primary.iter().chain(&own.secondary);
        let outside = both.filter(|a| !a.address.is_loopback());
        all_v4.extend(outside.map(|a| a.address));
        own.add_to(name, &mut interface, &mut interfaces);
        let own: Vec<_> = v6.iter().filter(|a| a.interface == *name).collect();
        all_v6.extend(own.iter().map(|a| a.address).filter(|a| !a.is_loopback()));
        if !own.is_empty() {
            interface.insert("ipv6".to_owned(), own.iter().map(|a| a.shown()).collect());
        }
        interfaces.insert(name.clone(), interface);
    }
    facts.insert("default_ipv4".to_owned(), default_v4(&v4, &interfaces));
    facts.insert("default_ipv6".to_owned(), default_v6(&v6, &interfaces));
    facts.insert("all_ipv4_addresses".to_owned(), json!(all_v4));
    facts.insert("all_ipv6_addresses".to_owned(), json!(all_v6));
    let reachable = json!({"ipv4": local_v4(), "ipv6": local_v6()});
    facts.insert("locally_reachable_ips".to_owned(), reachable);
    let safe = |name: &str| name.replace(':', "_");
    let listed: Vec<_> = interfaces.keys().map(|name| safe(name)).collect();
    facts.insert("interfaces".to_owned(), json!(listed));
    // A fact's name has no dash where it follows `ansible_`.
    for (name, interface) in interfaces {
        facts.insert(safe(&name).replace('-', "_"), Json::Object(interface));
    }
}

/// What `/sys/class/net` says of an interface.
fn link(name: &str) -> Map<String, Json> {
    let folder = format!("/sys/class/net/{name}");
    let get = |file: &str| read::text(format!("{folder}/{file}"));
    let mut link = Map::new();
    let mut set = |key: &str, value: Json| link.insert(key.to_owned(), value);
    set("device", json!(name));
    if let Some(mac) = get("address").filter(|mac| mac != "00:00:00:00:00:00") {
        set("macaddress", json!(mac));
    }
    if let Some(mtu) = get("mtu").and_then(|mtu| mtu.parse::<u64>().ok()) {
        set("mtu", json!(mtu));
    }
    if let Some(state) = get("operstate") {
        set("active", json!(state != "down"));
    }
    if let Some(module) = read::link_name(format!("{folder}/device/driver/module")) {
        set("module", json!(module));
    }
    if let Some(kind) = get("type") {
        set("type", json!(kind_of(&kind)));
    }
    if read::exists(format!("{folder}/bridge")) {
        set("type", json!("bridge"));
        set("interfaces", json!(read::names(format!("{folder}/brif"))));
        set("id", json!(get("bridge/bridge_id").unwrap_or_default()));
        set(
            "stp",
            json!(get("bridge/stp_state").as_deref() == Some("1")),
        );
    }
    if read::exists(format!("{folder}/bonding")) {
        let first =
            |file: &str| get(file).and_then(|t| t.split_whitespace().next().map(str::to_owned));
        let slaves = get("bonding/slaves").unwrap_or_default();
        set("type", json!("bonding"));
        set(
            "slaves",
            json!(slaves.split_whitespace().collect::<Vec<_>>()),
        );
        set("mode", json!(first("bonding/mode")));
        set("miimon", json!(first("bonding/miimon")));
        set("lacp_rate", json!(first("bonding/lacp_rate")));
        if let Some(primary) = get("bonding/primary") {
            set("primary", json!(primary));
        }
    }
    if let Some(id) = read::link_name(format!("{folder}/device")) {
        set("pciid", json!(id));
    }
    if let Some(speed) = get("speed").and_then(|speed| speed.parse::<i64>().ok()) {
        set("speed", json!(speed));
    }
    let flags = get("flags").and_then(|f| u32::from_str_radix(f.trim_start_matches("0x"), 16).ok());
    if let Some(flags) = flags {
        set("promisc", json!(flags & 0x100 != 0));
    }
    link
}

fn kind_of(number: &str) -> &'static str {
    match number {
        "1" => "ether",
        "32" => "infiniband",
        "512" => "ppp",
        "772" => "loopback",
        "65534" => "tunnel",
        _ => "unknown",
    }
}

fn addresses_v4() -> Vec<V4> {
    let Ok(addresses) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    addresses
        .filter_map(|entry| {
            let address = entry.address?.as_sockaddr_in()?.ip();
            let netmask = entry
                .netmask
                .as_ref()
                .and_then(|m| Some(m.as_sockaddr_in()?.ip()));
            let broadcast = entry
                .broadcast
                .as_ref()
                .and_then(|b| Some(b.as_sockaddr_in()?.ip()));
            let broadcasts = entry
                .flags
                .contains(nix::net::if_::InterfaceFlags::IFF_BROADCAST);
            Some(V4 {
                label: entry.interface_name,
                address,
                netmask: netmask.unwrap_or(Ipv4Addr::BROADCAST),
                broadcast: broadcast.filter(|b| broadcasts && !b.is_unspecified() && *b != address),
            })
        })
        .collect()
}

impl V4 {
    fn on(&self, interface: &str) -> bool {
        self.label.split(':').next() == Some(interface)
    }

    fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits() & self.netmask.to_bits())
    }

    fn shown(&self) -> Map<String, Json> {
        let mut shown = Map::new();
        let broadcast = self.broadcast.map_or_else(String::new, |b| b.to_string());
        shown.insert("address".to_owned(), json!(self.address));
        shown.insert("broadcast".to_owned(), json!(broadcast));
        shown.insert("netmask".to_owned(), json!(self.netmask));
        shown.insert("network".to_owned(), json!(self.network()));
        let prefix = self.netmask.to_bits().count_ones();
        shown.insert("prefix".to_owned(), json!(prefix.to_string()));
        shown
    }
}

/// Addresses of one interface as the kernel ranks them: each after the first of its network is a
/// secondary one.
struct Ranked<'a> {
    primary: Vec<&'a V4>,
    secondary: Vec<&'a V4>,
}

impl<'a> Ranked<'a> {
    fn of(addresses: Vec<&'a V4>) -> Self {
        let mut seen = Vec::new();
        let (primary, secondary) = addresses.into_iter().partition(|address| {
            let network = (address.network(), address.netmask);
            let first = !seen.contains(&network);
            seen.push(network);
            first
        });
        Self { primary, secondary }
    }

    /// Adds them to the interface. One with a label of its own makes an interface of that name;
    /// a secondary one is in both.
    fn add_to(
        &self,
        name: &str,
        interface: &mut Map<String, Json>,
        interfaces: &mut BTreeMap<String, Map<String, Json>>,
    ) {
        for address in &self.primary {
            if address.label == name {
                address.add_to(interface);
            } else {
                let mut alias = Map::new();
                address.add_to(&mut alias);
                interfaces.insert(address.label.clone(), alias);
            }
        }
        for address in &self.secondary {
            address.add_second_to(interface);
            if address.label != name {
                let mut alias = Map::new();
                address.add_second_to(&mut alias);
                interfaces.insert(address.label.clone(), alias);
            }
        }
    }
}

impl V4 {
    fn add_to(&self, interface: &mut Map<String, Json>) {
        if interface.contains_key("ipv4") {
            self.add_second_to(interface);
        } else {
            interface.insert("ipv4".to_owned(), Json::Object(self.shown()));
        }
    }

    fn add_second_to(&self, interface: &mut Map<String, Json>) {
        let others = interface.entry("ipv4_secondaries");
        let others = others.or_insert_with(|| json!([]));
        if let Some(others) = others.as_array_mut() {
            others.push(Json::Object(self.shown()));
        }
    }
}

/// Reads `/proc/net/if_inet6`: address, index, prefix, scope, flags, name.
fn addresses_v6() -> Vec<V6> {
    let mut found: Vec<V6> = read::lines("/proc/net/if_inet6")
        .iter()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let address = u128::from_str_radix(fields.next()?, 16).ok()?;
            let prefix = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
            let scope = u32::from_str_radix(fields.next()?, 16).ok()?;
            Some(V6 {
                interface: fields.nth(1)?.to_owned(),
                address: Ipv6Addr::from_bits(address),
                prefix,
                scope: scope_name(scope),
            })
        })
        .collect();
    // `ip` lists wide scopes before narrow ones.
    found.sort_by_key(|address| match address.scope {
        "global" => 0,
        "site" => 1,
        "link" => 2,
        _ => 3,
    });
    found
}

fn scope_name(scope: u32) -> &'static str {
    match scope {
        0x10 => "host",
        0x20 => "link",
        0x40 => "site",
        _ => "global",
    }
}

impl V6 {
    fn shown(&self) -> Json {
        json!({"address": self.address, "prefix": self.prefix.to_string(), "scope": self.scope})
    }
}

/// Returns the address this host would send to `outside` from.
fn source(local: &str, outside: &str) -> Option<IpAddr> {
    let socket = UdpSocket::bind(local).ok()?;
    socket.connect(outside).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

fn default_v4(addresses: &[V4], interfaces: &BTreeMap<String, Map<String, Json>>) -> Json {
    let Some(IpAddr::V4(source)) = source("0.0.0.0:0", OUTSIDE_V4) else {
        return json!({});
    };
    let Some(own) = addresses.iter().find(|a| a.address == source) else {
        return json!({"address": source});
    };
    let name = own.label.split(':').next().unwrap_or_default();
    let mut default = Map::from_iter([("address".to_owned(), json!(source))]);
    default.insert("interface".to_owned(), json!(name));
    if let Some(gateway) = gateway_v4(name) {
        default.insert("gateway".to_owned(), json!(gateway));
    }
    // A container may see another's `/sys`.
    if let Some(interface) = interfaces.get(name) {
        default.extend(own.shown());
        default.insert("alias".to_owned(), json!(own.label));
        add_link(&mut default, interface);
    }
    Json::Object(default)
}

fn default_v6(addresses: &[V6], interfaces: &BTreeMap<String, Map<String, Json>>) -> Json {
    let Some(IpAddr::V6(source)) = source("[::]:0", OUTSIDE_V6) else {
        return json!({});
    };
    let Some(own) = addresses.iter().find(|a| a.address == source) else {
        return json!({"address": source});
    };
    let mut default = Map::from_iter([("address".to_owned(), json!(source))]);
    default.insert("interface".to_owned(), json!(own.interface));
    if let Some(gateway) = gateway_v6(&own.interface) {
        default.insert("gateway".to_owned(), json!(gateway));
    }
    if let Some(interface) = interfaces.get(&own.interface) {
        default.extend(own.shown().as_object().cloned().unwrap_or_default());
        add_link(&mut default, interface);
    }
    Json::Object(default)
}

fn add_link(default: &mut Map<String, Json>, interface: &Map<String, Json>) {
    let get = |key: &str| interface.get(key).cloned();
    let mac = get("macaddress").unwrap_or_else(|| json!("00:00:00:00:00:00"));
    default.insert("macaddress".to_owned(), mac);
    default.insert("mtu".to_owned(), get("mtu").unwrap_or_default());
    let kind = get("type").unwrap_or_else(|| json!("unknown"));
    default.insert("type".to_owned(), kind);
}

/// Reads the gateway of the default route from `/proc/net/route`, whose addresses are in the
/// machine's byte order.
fn gateway_v4(interface: &str) -> Option<Ipv4Addr> {
    read::lines("/proc/net/route")
        .iter()
        .skip(1)
        .find_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let (name, target, gateway) = (fields.first()?, fields.get(1)?, fields.get(2)?);
            let mask = fields.get(7)?;
            let gateway = u32::from_str_radix(gateway, 16).ok().filter(|g| *g != 0)?;
            (*name == interface && *target == "00000000" && *mask == "00000000")
                .then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
        })
}

/// Reads the gateway of the default route from `/proc/net/ipv6_route`.
fn gateway_v6(interface: &str) -> Option<Ipv6Addr> {
    read::lines("/proc/net/ipv6_route").iter().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let gateway = u128::from_str_radix(fields.get(4)?, 16)
            .ok()
            .filter(|g| *g != 0)?;
        (*fields.last()? == interface && *fields.get(1)? == "00")
            .then(|| Ipv6Addr::from_bits(gateway))
    })
}

/// Local IPv4 routes: entries marked `LOCAL` in the trie of routes.
fn local_v4() -> Vec<String> {
    let mut found = Vec::new();
    let mut address = String::new();
    for line in read::lines("/proc/net/fib_trie") {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["|--", leaf] => (*leaf).clone_into(&mut address),
            [prefix, .., "LOCAL"] => {
                let shown = match *prefix {
                    "/32" => address.clone(),
                    prefix => format!("{address}{prefix}"),
                };
                if !found.contains(&shown) {
                    found.push(shown);
                }
            }
            _ => {}
        }
    }
    found
}

/// Local IPv6 routes: those with the kernel's `RTF_LOCAL`.
fn local_v6() -> Vec<String> {
    let local = |line: &String| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
        let address = u128::from_str_radix(fields.first()?, 16).ok()?;
        let prefix = u32::from_str_radix(fields.get(1)?, 16).ok()?;
        let shown = Ipv6Addr::from_bits(address).to_string();
        (flags & 0x8000_0000 != 0).then(|| match prefix {
            128 => shown,
            prefix => format!("{shown}/{prefix}"),
        })
    };
    let mut found: Vec<String> = read::lines("/proc/net/ipv6_route")
        .iter()
        .filter_map(local)
        .collect();
    found.dedup();
    found
}

/// Collects `dns` from `/etc/resolv.conf`.
pub(super) fn dns(facts: &mut Map<String, Json>) {
    let text = read::text("/etc/resolv.conf").unwrap_or_default();
    facts.insert("dns".to_owned(), Json::Object(resolver(&text)));
}

fn resolver(text: &str) -> Map<String, Json> {
    let mut dns = Map::new();
    for line in text.lines().filter(|l| !l.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => {
                let servers = dns.entry("nameservers").or_insert_with(|| json!([]));
                if let Some(servers) = servers.as_array_mut() {
                    servers.extend(words.map(Json::from));
                }
            }
            Some("domain") => {
                if let Some(domain) = words.next() {
                    dns.insert("domain".to_owned(), json!(domain));
                }
            }
            Some(key @ ("search" | "sortlist")) => {
                dns.insert(key.to_owned(), json!(words.collect::<Vec<_>>()));
            }
            Some("options") => {
                let option = |word: &str| match word.split_once(':') {
                    Some((name, value)) if !value.is_empty() => (name.to_owned(), json!(value)),
                    Some((name, _)) => (name.to_owned(), json!(true)),
                    None => (word.to_owned(), json!(true)),
                };
                dns.insert(
                    "options".to_owned(),
                    Json::Object(words.map(option).collect()),
                );
            }
            _ => {}
        }
    }
    dns
}

/// Returns the world-wide names of fibre channel ports.
pub(super) fn fibre_channel() -> Json {
    read::names("/sys/class/fc_host")
        .iter()
        .flat_map(|host| read::lines(format!("/sys/class/fc_host/{host}/port_name")))
        .map(|name| Json::from(name.get(2..).unwrap_or_default()))
        .collect()
}

/// Returns the first name in an initiator's file after `prefix`; empty if there is none.
pub(super) fn initiator(path: &str, prefix: &str) -> String {
    read::lines(path)
        .iter()
        .filter(|line| !line.starts_with(['#', ';']))
        .find_map(|line| line.strip_prefix(prefix))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resolver_file_is_read_as_ansible_reads_it() {
        let dns = resolver(
            "# x\nnameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a b\noptions edns0 ndots:2\n",
        );
        assert_eq!(dns["nameservers"], json!(["1.1.1.1", "9.9.9.9"]));
        assert_eq!(dns["search"], json!(["a", "b"]));
        assert_eq!(dns["options"], json!({"edns0": true, "ndots": "2"}));
    }

    fn address(label: &str, text: &str) -> V4 {
        V4 {
            label: label.to_owned(),
            address: text.parse().unwrap(),
            netmask: "255.255.255.0".parse().unwrap(),
            broadcast: None,
        }
    }

    #[test]
    fn the_second_address_of_a_network_comes_last() {
        let all = ["10.0.0.1", "10.0.0.2", "10.0.1.1"].map(|text| address("eth0", text));
        let (mut eth0, mut interfaces) = (Map::new(), BTreeMap::new());
        Ranked::of(all.iter().collect()).add_to("eth0", &mut eth0, &mut interfaces);
        assert_eq!(eth0["ipv4"]["address"], "10.0.0.1");
        let others = eth0["ipv4_secondaries"].as_array().unwrap().iter();
        let others: Vec<_> = others.map(|other| &other["address"]).collect();
        assert_eq!(others, ["10.0.1.1", "10.0.0.2"]);
        assert!(interfaces.is_empty());
    }

    #[test]
    fn an_address_with_a_label_is_an_interface_too() {
        let all = [
            address("eth0", "10.0.0.1"),
            address("eth0:1", "10.0.0.2"),
            address("eth0:2", "10.0.1.1"),
        ];
        let (mut eth0, mut interfaces) = (Map::new(), BTreeMap::new());
        Ranked::of(all.iter().collect()).add_to("eth0", &mut eth0, &mut interfaces);
        let others = eth0["ipv4_secondaries"].as_array().unwrap();
        assert_eq!(
            others.len(),
            1,
            "the first of another network is not eth0's"
        );
        let alias = &interfaces["eth0:1"];
        assert_eq!(alias["ipv4_secondaries"][0]["address"], "10.0.0.2");
        assert_eq!(interfaces["eth0:2"]["ipv4"]["address"], "10.0.1.1");
    }
}
