//! `ipaddr`, `ipv4`, `ipv6`, `ipwrap`: a value that is an address, or what is asked about it.

use crate::addresses::{Address, Network};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::filters::Given;
use crate::value::{Value, from_big};

/// Whether a value was written with a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Address,
    Network,
}

/// What is asked, and of which values.
struct Asked<'q> {
    query: &'q str,
    version: Option<i64>,
    alias: &'q str,
}

/// A value, read.
struct Read {
    network: Network,
    written: Written,
    /// The value as it was given, or as its number reads.
    value: Value,
}

pub(super) fn filter(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    check_type(&value, "ipaddr")?;
    let version = match given.int(1, 0)? {
        0 => None,
        version => Some(version),
    };
    let (query, alias) = (given.text_or(0, ""), given.text_or(2, "ipaddr"));
    let asked = Asked {
        query: &query,
        version,
        alias: &alias,
    };
    ask(machine, &value, &asked)
}

pub(super) fn of_version(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    version: i64,
    alias: &str,
) -> Result<Value, Error> {
    check_type(value, alias)?;
    let query = given.text_or(0, "");
    let asked = Asked {
        query: &query,
        version: Some(version),
        alias,
    };
    ask(machine, value, &asked)
}

/// Puts addresses of version 6 in brackets; what is no address stays.
pub(super) fn wrap(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    if !matches!(value, Value::Str(_) | Value::List(_) | Value::Bool(_)) {
        return Err(wrong_type(&value, "ipwrap"));
    }
    let query = given.text_or(0, "");
    let asked = Asked {
        query: &query,
        version: None,
        alias: "ipwrap",
    };
    let wrapped = |value: &Value| -> Result<Value, Error> {
        match ask(machine, value, &asked) {
            Ok(found) if found.truthy() => short(machine, &found, "wrap"),
            Ok(_) => Ok(value.clone()),
            Err(error) => Err(error),
        }
    };
    let result = match &value {
        Value::List(list) => {
            let one = |item: &Value| match ask(machine, item, &asked)?.truthy() {
                true => short(machine, item, "wrap"),
                false => Ok(item.clone()),
            };
            list.items()
                .iter()
                .map(one)
                .collect::<Result<Vec<_>, _>>()
                .map(Value::list)
        }
        value => wrapped(value),
    };
    Ok(result.unwrap_or(value))
}

/// Asks about a value of any version.
pub(super) fn short(machine: &Evaluator<'_>, value: &Value, query: &str) -> Result<Value, Error> {
    let asked = Asked {
        query,
        version: None,
        alias: "ipaddr",
    };
    ask(machine, value, &asked)
}

/// Returns the network that a value stands for in the filters beside `ipaddr`.
pub(super) fn network(machine: &Evaluator<'_>, value: &Value) -> Result<Option<Network>, Error> {
    let query = match short(machine, value, "type")?.as_str() {
        Some("address") => "cidr",
        Some("network") => "subnet",
        _ => return Ok(None),
    };
    Ok(Network::parse(&short(machine, value, query)?.to_string()))
}

fn check_type(value: &Value, filter: &str) -> Result<(), Error> {
    match value {
        Value::Str(_) | Value::List(_) | Value::Int(_) | Value::Big(_) | Value::Bool(_) => Ok(()),
        other => Err(wrong_type(other, filter)),
    }
}

fn wrong_type(value: &Value, filter: &str) -> Error {
    let kind = value.type_name();
    Error::failed(format!(
        "Unrecognized type <<class '{kind}'>> for {filter} filter <value>"
    ))
}

fn ask(machine: &Evaluator<'_>, value: &Value, asked: &Asked<'_>) -> Result<Value, Error> {
    if let Value::List(_) | Value::Tuple(_) = value {
        let _deeper = machine.meter.deeper()?;
        let mut kept = Vec::new();
        for item in machine.items(value)? {
            let found = ask(machine, &item, asked)?;
            if found.truthy() {
                kept.push(found);
            }
        }
        return Ok(Value::list(kept));
    }
    machine.meter.steps(1)?;
    if !value.truthy() || matches!(value, Value::Bool(true)) {
        machine.warn(format!(
            "The value '{value}' is not a valid IP address or network, passing this value to ipaddr filter might result in breaking change in future."
        ));
        return Ok(Value::Bool(false));
    }
    let Some(read) = Read::of(value, asked.version) else {
        return Ok(Value::Bool(false));
    };
    let version = if read.network.ip.v6 { 6 } else { 4 };
    if asked.version.is_some_and(|wanted| wanted != version) {
        return Ok(Value::Bool(false));
    }
    read.answer(asked)
}

impl Read {
    fn of(value: &Value, version: Option<i64>) -> Option<Self> {
        let text = value.to_string();
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let bits: u128 = text.parse().ok()?;
            let v6 = version == Some(6) || bits > u128::from(u32::MAX);
            let network = Network::of(Address { v6, bits });
            return Some(Self::numbered(network, Written::Address));
        }
        if let Some(network) = Network::parse(&text) {
            let written = match text.matches('/').count() {
                1 => Written::Network,
                _ => Written::Address,
            };
            let value = value.clone();
            return Some(Self {
                network,
                written,
                value,
            });
        }
        let (bits, prefix) = text.split_once('/')?;
        let ip = Address::of_number(bits.trim().parse().ok()?);
        let prefix: u32 = prefix.trim().parse().ok()?;
        // A prefix that is too long for version 4 makes it version 6.
        let ip = match prefix <= ip.width() {
            true => ip,
            false => Address { v6: true, ..ip },
        };
        let network = Some(Network { ip, prefix }).filter(|n| n.prefix <= n.ip.width())?;
        Some(Self::numbered(network, Written::Network))
    }

    fn numbered(network: Network, written: Written) -> Self {
        Self {
            network,
            written,
            value: Value::from(network.to_string()),
        }
    }

    fn answer(&self, asked: &Asked<'_>) -> Result<Value, Error> {
        if let Some(answer) = self.about_network(asked.query) {
            return Ok(answer);
        }
        if let Some(answer) = self.about_hosts(asked.query) {
            return answer;
        }
        if let Some(answer) = self.about_kind(asked.query) {
            return Ok(answer);
        }
        self.other(asked)
    }

    /// The value itself, where a question's answer is yes.
    fn value_if(&self, holds: bool) -> Value {
        if holds {
            self.value.clone()
        } else {
            Value::None
        }
    }

    /// What is said of a network and its parts.
    fn about_network(&self, query: &str) -> Option<Value> {
        let network = &self.network;
        let ip = network.ip;
        let host = ip != network.first();
        let size = network.host_bits();
        let text = |text: String| Value::from(text);
        let given = |holds: bool, text: String| match holds {
            true => Value::from(text),
            false => Value::None,
        };
        Some(match query {
            "" => match self.written {
                Written::Address => text(ip.to_string()),
                Written::Network => text(network.to_string()),
            },
            "bool" => Value::Bool(true),
            "ip" | "address" => {
                let alone = host || size == 0 || network.broadcast().is_none() || ip.v6;
                given(alone, ip.to_string())
            }
            "address/prefix" | "gateway" | "gw" | "host/prefix" | "hostnet" | "router" => {
                match size > 1 && (!host || ip == network.last()) {
                    true => Value::Bool(false),
                    false => text(network.to_string()),
                }
            }
            "broadcast" => given(size > 1, network.last().to_string()),
            "cidr" => text(network.to_string()),
            "host" => given(
                size == 0 || host || network.broadcast().is_none(),
                network.to_string(),
            ),
            "hostmask" | "wildcard" => text(network.hostmask().to_string()),
            "ip/prefix" => given(size == 1 || size > 0 && host, network.to_string()),
            "ip_netmask" => given(
                size == 1 || size > 0 && host,
                format!("{ip} {}", network.netmask()),
            ),
            "net" => given(size > 0 && !host, network.cidr().to_string()),
            "netmask" => text(network.netmask().to_string()),
            "network" | "network_id" => text(network.first().to_string()),
            "network/prefix" | "subnet" => text(network.cidr().to_string()),
            "network_netmask" => text(format!("{} {}", network.first(), network.netmask())),
            "network_wildcard" => text(format!("{} {}", network.first(), network.hostmask())),
            "prefix" => Value::Int(i64::from(network.prefix)),
            "revdns" => text(ip.reverse_name()),
            "size" => from_big(network.size()),
            "size_usable" => match size {
                0 => Value::Int(0),
                1 => Value::Int(2),
                _ => from_big(network.size() - 2),
            },
            "type" => Value::str(match size > 0 && !host {
                true => "network",
                false => "address",
            }),
            "version" => Value::Int(if ip.v6 { 6 } else { 4 }),
            _ => return None,
        })
    }

    /// What is said of the hosts of a network, which must be written as one.
    fn about_hosts(&self, query: &str) -> Option<Result<Value, Error>> {
        let network = &self.network;
        let known = matches!(
            query,
            "first_usable"
                | "last_usable"
                | "next_usable"
                | "previous_usable"
                | "range_usable"
                | "peer"
        );
        if !known {
            return None;
        }
        if self.written == Written::Address {
            return Some(Err(Error::failed("Not a network address")));
        }
        if query == "peer" {
            return Some(peer(network));
        }
        if network.host_bits() == 0 {
            return Some(Ok(Value::None));
        }
        let (first, last) = network.usable();
        let address = |bits: u128| Value::from(Address::of_number(bits).to_string());
        let beside = |distance| match network.ip.plus(distance) {
            Some(ip) if (first..=last).contains(&ip.bits) => address(ip.bits),
            _ => Value::None,
        };
        Some(Ok(match query {
            "first_usable" => address(first),
            "last_usable" => address(last),
            "next_usable" => beside(1),
            "previous_usable" => beside(-1),
            _ => Value::from(format!(
                "{}-{}",
                Address::of_number(first),
                Address::of_number(last)
            )),
        }))
    }

    /// What kind of address it is.
    fn about_kind(&self, query: &str) -> Option<Value> {
        let network = &self.network;
        let ip = network.ip;
        let within = |range: &str| Network::parse(range).is_some_and(|range| range.holds(network));
        let multicast = within("224.0.0.0/4") || within("ff00::/8");
        Some(match query {
            "6to4" => self.sixtofour(),
            "int" => match self.written {
                Written::Address => from_big(ip.bits.into()),
                Written::Network => Value::from(format!("{}/{}", ip.bits, network.prefix)),
            },
            "ipv4" | "v4" => match (ip.v6, ip.to_v4(), network.prefix.checked_sub(96)) {
                (false, ..) => self.value.clone(),
                (true, Some(ip), Some(prefix)) => Value::from(Network { ip, prefix }.to_string()),
                _ => Value::Bool(false),
            },
            "ipv6" | "v6" => match ip.v6 {
                true => self.value.clone(),
                false => {
                    let (ip, prefix) = (ip.to_v6(), network.prefix + 96);
                    Value::from(Network { ip, prefix }.to_string())
                }
            },
            "link-local" => self.value_if(ip.is_in("169.254.0.0/16") || ip.is_in("fe80::/10")),
            "lo" | "loopback" => self.value_if(ip.is_in("127.0.0.0/8") || ip.is_in("::1/128")),
            "multicast" => self.value_if(multicast),
            "unicast" => self.value_if(!multicast),
            "private" => self.value_if(!is_global(ip)),
            "public" => self.value_if(is_public(ip)),
            "wrap" => match (ip.v6, self.written) {
                (false, _) => self.value.clone(),
                (true, Written::Address) => Value::from(format!("[{ip}]")),
                (true, Written::Network) => Value::from(format!("[{ip}]/{}", network.prefix)),
            },
            _ => return None,
        })
    }

    fn sixtofour(&self) -> Value {
        let network = &self.network;
        let ip = network.ip;
        let host = ip != network.first();
        if !ip.v6 {
            let mixed = !is_public(ip) && is_global(ip);
            if network.host_bits() > 0 && !host || mixed {
                return Value::Bool(false);
            }
            let (high, low) = (ip.bits >> 16, ip.bits & 0xffff);
            return Value::from(format!("2002:{high:04x}:{low:04x}::1/48"));
        }
        let asked = self.written == Written::Address || host;
        match asked && ip.is_in("2002::/16") {
            true => self.value.clone(),
            false => Value::Bool(false),
        }
    }

    /// A network to be in, or the number of an address.
    fn other(&self, asked: &Asked<'_>) -> Result<Value, Error> {
        let query = asked.query;
        let digits = query.bytes().all(|byte| byte.is_ascii_digit());
        if let (false, Some(range)) = (digits, Read::of(&Value::str(query), None)) {
            return Ok(self.value_if(range.network.holds(&self.network)));
        }
        if query.trim().parse::<f64>().is_err() {
            return Err(Error::failed(format!(
                "{}: unknown filter type: {query}",
                asked.alias
            )));
        }
        let network = &self.network;
        if network.host_bits() == 0 {
            return Ok(Value::from(match self.written {
                Written::Address => network.ip.to_string(),
                Written::Network => network.to_string(),
            }));
        }
        let found = query
            .trim()
            .parse()
            .ok()
            .and_then(|index| network.nth(index));
        Ok(match found {
            Some(ip) => Value::from(format!("{ip}/{}", network.prefix)),
            None => Value::Bool(false),
        })
    }
}

fn peer(network: &Network) -> Result<Value, Error> {
    let bits = network.ip.bits;
    match (network.host_bits(), bits % 4) {
        (1, _) => Ok(Value::from(Address::of_number(bits ^ 1).to_string())),
        (2, 0) => Err(Error::failed("Network address of /30 has no peer")),
        (2, 3) => Err(Error::failed("Broadcast address of /30 has no peer")),
        (2, _) => Ok(Value::from(Address::of_number(bits ^ 3).to_string())),
        _ => Err(Error::failed("Not a point-to-point network")),
    }
}

/// What is not reached from everywhere, by IANA's registries.
const NOT_GLOBAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "255.255.255.255/32",
    "::1/128",
    "::/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
];
/// What in those is reached all the same.
const GLOBAL_IN_THEM: &[&str] = &[
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
];

pub(in crate::template) fn is_global(ip: Address) -> bool {
    let among = |ranges: &[&str]| ranges.iter().any(|range| ip.is_in(range));
    !among(NOT_GLOBAL) || among(GLOBAL_IN_THEM)
}

fn is_public(ip: Address) -> bool {
    let multicast = ip.is_in("224.0.0.0/4") || ip.is_in("ff00::/8");
    let loopback = ip.is_in("127.0.0.0/8") || ip.is_in("::1/128");
    let highest = ip.highest();
    let netmask = (ip.bits ^ highest) & (ip.bits ^ highest).wrapping_add(1) == 0;
    let hostmask = ip.bits & ip.bits.wrapping_add(1) == 0;
    !multicast && is_global(ip) && !loopback && !netmask && !hostmask
}
