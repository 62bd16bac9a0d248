//! Tests of ansible.utils on addresses, which are Python's `ipaddress`.

use super::{Given, Test, test};
use crate::addresses::{Address, Network};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::filters::is_global;
use crate::value::Value;

pub(super) const TESTS: &[Test] = &[
    test("ip", &[], |_, v, _| Ok(network(v).is_some())),
    test("ip_address", &[], |_, v, _| Ok(address(v).is_some())),
    test("ipv4", &[], |_, v, _| {
        Ok(network(v).is_some_and(|network| !network.ip.v6))
    }),
    test("ipv6", &[], |_, v, _| {
        Ok(network(v).is_some_and(|network| network.ip.v6))
    }),
    test("ipv4_address", &[], |_, v, _| {
        Ok(address(v).is_some_and(|ip| !ip.v6))
    }),
    test("ipv6_address", &[], |_, v, _| {
        Ok(address(v).is_some_and(|ip| ip.v6))
    }),
    test("ipv4_netmask", &[], |_, v, _| {
        let text = v.to_string();
        let network = Network::parse(&format!("10.0.0.0/{text}"));
        Ok(network.is_some_and(|network| network.netmask().to_string() == text))
    }),
    test("ipv4_hostmask", &[], |_, v, _| {
        let text = v.to_string();
        let network = Network::parse(&format!("10.0.0.0/{text}"));
        Ok(network.is_some_and(|network| network.hostmask().to_string() == text))
    }),
    test("ipv6_ipv4_mapped", &[], |_, v, _| {
        Ok(is_in(v, &["::ffff:0:0/96"]))
    }),
    test("ipv6_sixtofour", &[], |_, v, _| {
        Ok(is_in(v, &["2002::/16"]))
    }),
    test("ipv6_teredo", &[], |_, v, _| Ok(is_in(v, &["2001::/32"]))),
    test("loopback", &[], |_, v, _| {
        Ok(is_in(v, &["127.0.0.0/8", "::1/128"]))
    }),
    test("multicast", &[], |_, v, _| {
        Ok(is_in(v, &["224.0.0.0/4", "ff00::/8"]))
    }),
    test("unspecified", &[], |_, v, _| {
        Ok(is_in(v, &["0.0.0.0/32", "::/128"]))
    }),
    test("reserved", &[], |_, v, _| Ok(is_in(v, RESERVED))),
    test("private", &[], |_, v, _| {
        Ok(address(v).is_some_and(|ip| !is_global(ip) && !ip.is_in("100.64.0.0/10")))
    }),
    test("public", &[], |_, v, _| {
        Ok(address(v).is_some_and(is_global))
    }),
    test("mac", &[], |_, v, _| Ok(is_hardware(&v.to_string()))),
    test("in_network", &["network"], |_, v, g| {
        Ok(within(v, g.value(0)?))
    }),
    test("in_any_network", &["networks"], |m, v, g| {
        Ok(count(m, v, g)? > 0)
    }),
    test("in_one_network", &["networks"], |m, v, g| {
        Ok(count(m, v, g)? == 1)
    }),
    test("subnet_of", &["network_b"], |_, v, g| {
        Ok(within(v, g.value(0)?))
    }),
    test("supernet_of", &["network_b"], |_, v, g| {
        Ok(within(g.value(0)?, v))
    }),
];

/// What IANA keeps for later.
const RESERVED: &[&str] = &[
    "240.0.0.0/4",
    "::/8",
    "100::/8",
    "200::/7",
    "400::/6",
    "800::/5",
    "1000::/4",
    "4000::/3",
    "6000::/3",
    "8000::/3",
    "a000::/3",
    "c000::/3",
    "e000::/4",
    "f000::/5",
    "f800::/6",
    "fe00::/9",
];

fn address(value: &Value) -> Option<Address> {
    Address::parse(value.as_str()?)
}

/// Reads a network, which may have no host beside its prefix.
fn network(value: &Value) -> Option<Network> {
    let network = Network::parse(value.as_str()?)?;
    (network == network.cidr()).then_some(network)
}

fn is_in(value: &Value, ranges: &[&str]) -> bool {
    address(value).is_some_and(|ip| ranges.iter().any(|range| ip.is_in(range)))
}

fn within(inner: &Value, outer: &Value) -> bool {
    let both = network(inner).zip(network(outer));
    both.is_some_and(|(inner, outer)| outer.holds(&inner))
}

fn count(machine: &Evaluator<'_>, value: &Value, given: &Given) -> Result<usize, Error> {
    let networks = machine.items(given.value(0)?)?;
    Ok(networks
        .iter()
        .filter(|network| within(value, network))
        .count())
}

fn is_hardware(text: &str) -> bool {
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let octets: Vec<&str> = text.split([':', '-']).collect();
    let words: Vec<&str> = text.split('.').collect();
    hex(text, 12)
        || octets.len() == 6 && octets.iter().all(|octet| hex(octet, 2))
        || words.len() == 3 && words.iter().all(|word| hex(word, 4))
}
