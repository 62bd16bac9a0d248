//! Filters that reckon with networks.

use super::ipaddr::{network, short};
use crate::addresses::{self, Address, Hardware, Network};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::filters::Given;
use crate::value::Value;

fn text(value: impl ToString) -> Value {
    Value::from(value.to_string())
}

const NO: Value = Value::Bool(false);

fn invalid(value: &dyn std::fmt::Display) -> Error {
    Error::failed(format!(
        "You must pass a valid IP address; {value} is invalid"
    ))
}

pub(super) fn subnet(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Some(network) = network(machine, &value)?.map(|network| network.cidr()) else {
        return Ok(NO);
    };
    let query = given.text_or(0, "");
    if query.is_empty() {
        return Ok(text(network));
    }
    if !query.bytes().all(|byte| byte.is_ascii_digit()) {
        return position(machine, &network, &query);
    }
    let width = network.ip.width();
    let Some(prefix) = query.parse().ok().filter(|prefix| *prefix <= width) else {
        return Ok(NO);
    };
    let index = match given.optional(1) {
        None | Some(Value::None) => None,
        Some(index) => Some(whole(index)?),
    };
    match (network.host_bits(), index) {
        (0, index) => supernet(&network, prefix, index),
        (_, None) => match prefix.checked_sub(network.prefix) {
            Some(bits) => Ok(text(num_bigint::BigInt::from(1) << bits)),
            None => Err(Error::failed(format!(
                "Requested subnet size of {prefix} is invalid"
            ))),
        },
        (_, Some(index)) => Ok(nth_subnet(&network, prefix, index).map_or(NO, text)),
    }
}

/// Returns the networks around an address, the widest first.
fn supernet(network: &Network, prefix: u32, index: Option<i128>) -> Result<Value, Error> {
    let width = i128::from(network.ip.width());
    let at = index.unwrap_or(0);
    if index.is_some() && (at > (width + 1).saturating_sub(at) || at < i128::from(prefix) - width) {
        return Ok(NO);
    }
    let from_end = if at < 0 { width } else { i128::from(prefix) };
    let wanted = u32::try_from(from_end + at).ok();
    let wanted = wanted.filter(|wanted| (prefix..network.ip.width()).contains(wanted));
    match wanted {
        Some(prefix) => Ok(text(Network { prefix, ..*network }.cidr())),
        None => Err(Error::failed("list index out of range")),
    }
}

fn nth_subnet(network: &Network, prefix: u32, index: i128) -> Option<Network> {
    let bits = prefix.checked_sub(network.prefix)?;
    let count = 1_i128.checked_shl(bits).filter(|count| *count > 0)?;
    let index = if index < 0 { index + count } else { index };
    let index = u128::try_from(index).ok().filter(|_| index < count)?;
    let offset = index.checked_shl(network.ip.width() - prefix).unwrap_or(0);
    let ip = Address {
        bits: network.first().bits + offset,
        ..network.ip
    };
    Some(Network { ip, prefix })
}

/// Returns which subnet of `query` the network is, from 1.
fn position(machine: &Evaluator<'_>, inner: &Network, query: &str) -> Result<Value, Error> {
    let Some(outer) = network(machine, &Value::str(query))? else {
        return Err(Error::failed(format!(
            "You must pass a valid subnet or IP address; {query} is invalid"
        )));
    };
    let outer = outer.cidr();
    if !outer.holds(inner) {
        return Err(Error::failed(format!(
            "{inner} is not in the subnet {outer}"
        )));
    }
    let offset = inner.ip.bits - outer.ip.bits;
    let index = offset.checked_shr(inner.host_bits()).unwrap_or(0);
    Ok(text(index + 1))
}

fn whole(value: &Value) -> Result<i128, Error> {
    let number = match value {
        Value::Str(text) => text.trim().parse().ok(),
        other => other.as_int().map(i128::from),
    };
    number.ok_or_else(|| {
        Error::failed(format!(
            "You must pass an integer for arithmetic; {value} is not a valid integer"
        ))
    })
}

pub(super) fn nth_host(
    machine: &Evaluator<'_>,
    value: Value,
    given: &Given,
) -> Result<Value, Error> {
    let query = given.text_or(0, "");
    let Some(network) = network(machine, &value)?.filter(|_| !query.is_empty()) else {
        return Ok(NO);
    };
    match query.trim().parse::<i128>() {
        Ok(index) if network.size() > index.into() => match network.nth(index) {
            Some(ip) => Ok(text(ip)),
            None => Err(Error::failed("index out range for address range size!")),
        },
        _ => Ok(NO),
    }
}

pub(super) fn nth_usable(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    direction: i128,
) -> Result<Value, Error> {
    let offset = match given.optional(0) {
        None | Some(Value::None) => None,
        Some(offset) => Some(whole(offset)?),
    };
    let Some(network) = network(machine, value)? else {
        return Ok(NO);
    };
    let Some(offset) = offset else {
        return Err(Error::failed("Must pass in an integer"));
    };
    let (first, last) = network.usable();
    Ok(match network.ip.plus(direction.saturating_mul(offset)) {
        Some(ip) if network.host_bits() > 0 && (first..=last).contains(&ip.bits) => {
            text(Address::of_number(ip.bits))
        }
        _ => Value::None,
    })
}

/// Returns the network that a text stands for, as the filters that compare networks read it.
fn normalized(machine: &Evaluator<'_>, value: &Value) -> Result<Network, Error> {
    let subnet = short(machine, value, "subnet").ok();
    let found = subnet.and_then(|subnet| Network::parse(&subnet.to_string()));
    found.ok_or_else(|| Error::failed("'<=' not supported between instances of 'bool' and 'bool'"))
}

pub(super) fn holds(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    usable: bool,
) -> Result<Value, Error> {
    let outer = normalized(machine, value)?;
    let inner = normalized(machine, given.value(0)?)?;
    let (first, last) = match usable {
        true => outer.usable(),
        false => (outer.first().bits, outer.last().bits),
    };
    let within = (first..=last).contains(&inner.first().bits);
    Ok(Value::Bool(within && inner.last().bits <= last))
}

pub(super) fn reduce(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let outer = normalized(machine, given.value(0)?)?;
    let (first, last) = (outer.first().bits, outer.last().bits);
    let mut kept = Vec::new();
    for item in machine.items(&value)? {
        let inner = normalized(machine, &item)?;
        if first <= inner.first().bits && inner.last().bits <= last {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

pub(super) fn merge(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let items = machine.items(&value)?;
    let read = |item: &Value| {
        let text = item.to_string();
        Network::parse(&text).ok_or_else(|| {
            Error::failed(format!(
                "cidr_merge: error in netaddr:\ninvalid IPNetwork {text}"
            ))
        })
    };
    let networks = items.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match (given.text_or(0, "merge").as_str(), networks.as_slice()) {
        ("merge", networks) => {
            let merged = addresses::merged(networks);
            Ok(Value::list(merged.iter().map(text).collect()))
        }
        ("span", []) => Ok(Value::None),
        ("span", [one]) => Ok(text(one)),
        ("span", networks) => match addresses::spanning(networks) {
            Some(network) => Ok(text(network)),
            None => Err(Error::failed(
                "cidr_merge: error in netaddr:\nIP sequence cannot contain both IPv4 and IPv6!",
            )),
        },
        (other, _) => Err(Error::failed(format!(
            "cidr_merge: invalid action '{other}'"
        ))),
    }
}

pub(super) fn slaac(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let found = network(machine, &value)?.filter(|network| network.ip.v6);
    Ok(match (found, Hardware::parse(&given.text_or(0, ""))) {
        (Some(network), Some(hardware)) => text(hardware.in_network(&network)),
        _ => NO,
    })
}

pub(super) fn math(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let ip = Network::parse(&value.to_string())
        .ok_or_else(|| invalid(&value))?
        .ip;
    let amount = whole(&given.optional(0).cloned().unwrap_or_default())?;
    match ip.plus(amount) {
        Some(ip) => Ok(text(ip)),
        None => Err(Error::failed("result outside valid IP address boundary!")),
    }
}

pub(super) fn cut(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let ip = Address::parse(&value.to_string()).ok_or_else(|| invalid(&value))?;
    let amount = whole(&given.optional(0).cloned().unwrap_or_default())?;
    let width = usize::try_from(ip.width()).unwrap_or(0);
    let digits = format!("{:0width$b}", ip.bits);
    let count = usize::try_from(amount.unsigned_abs())
        .unwrap_or(width)
        .min(width);
    let part = match amount < 0 {
        true => &digits[width - count..],
        false => &digits[..count],
    };
    let (size, separator) = if ip.v6 { (16, ":") } else { (8, ".") };
    let words = part.as_bytes().chunks(size).map(|word| {
        let word = u32::from_str_radix(&String::from_utf8_lossy(word), 2).unwrap_or(0);
        if ip.v6 {
            format!("{word:x}")
        } else {
            word.to_string()
        }
    });
    Ok(Value::from(words.collect::<Vec<_>>().join(separator)))
}

pub(super) fn hexadecimal(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let ip = Address::parse(&value.to_string()).ok_or_else(|| invalid(&value))?;
    let Some(bits) = u32::try_from(ip.bits).ok().filter(|_| !ip.v6) else {
        return Err(Error::failed("invalid literal for int() with base 10"));
    };
    let octets = bits.to_be_bytes().map(|octet| format!("{octet:02x}"));
    Ok(Value::from(octets.join(&given.text_or(0, ""))))
}

pub(super) fn form(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let ip = Address::parse(&value.to_string()).ok_or_else(|| invalid(&value))?;
    let words = |padded: bool| {
        let words = (0..8).rev().map(|at| {
            let word = ip.bits >> (16 * at) & 0xffff;
            if padded {
                format!("{word:04x}")
            } else {
                format!("{word:x}")
            }
        });
        Value::from(words.collect::<Vec<_>>().join(":"))
    };
    Ok(match given.text_or(0, "").as_str() {
        "expand" if ip.v6 => words(true),
        "x509" if ip.v6 => words(false),
        "expand" | "compress" => text(ip),
        "x509" => return Err(invalid(&value)),
        _ => Value::None,
    })
}
