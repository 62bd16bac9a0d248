//! Filters of ansible.utils on addresses: `ipaddr` and its kin.

mod ipaddr;
mod networks;

pub(in crate::template) use ipaddr::is_global;

use super::{Filter, filter};
use crate::addresses::Hardware;
use crate::template::Error;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter("ipaddr", &["query", "version", "alias"], ipaddr::filter),
    filter("ipv4", &["query"], |m, v, g| {
        ipaddr::of_version(m, &v, g, 4, "ipv4")
    }),
    filter("ipv6", &["query"], |m, v, g| {
        ipaddr::of_version(m, &v, g, 6, "ipv6")
    }),
    filter("ipwrap", &["query"], ipaddr::wrap),
    filter("ipsubnet", &["query", "index"], networks::subnet),
    filter("nthhost", &["query"], networks::nth_host),
    filter("next_nth_usable", &["offset"], |m, v, g| {
        networks::nth_usable(m, &v, g, 1)
    }),
    filter("previous_nth_usable", &["offset"], |m, v, g| {
        networks::nth_usable(m, &v, g, -1)
    }),
    filter("network_in_network", &["test"], |m, v, g| {
        networks::holds(m, &v, g, false)
    }),
    filter("network_in_usable", &["test"], |m, v, g| {
        networks::holds(m, &v, g, true)
    }),
    filter("reduce_on_network", &["network"], networks::reduce),
    filter("cidr_merge", &["action"], networks::merge),
    filter("slaac", &["query"], networks::slaac),
    filter("ipmath", &["amount"], networks::math),
    filter("ipcut", &["amount"], networks::cut),
    filter("ip4_hex", &["delimiter"], networks::hexadecimal),
    filter("ipv6form", &["format"], networks::form),
    filter("hwaddr", &["query", "alias"], |_, v, g| {
        hardware(&v, &g.text_or(0, ""), &g.text_or(1, "hwaddr"))
    }),
    filter("macaddr", &["query"], |_, v, g| {
        hardware(&v, &g.text_or(0, ""), "macaddr")
    }),
];

fn hardware(value: &Value, query: &str, alias: &str) -> Result<Value, Error> {
    let text = value.to_string();
    let Some(address) = Hardware::parse(&text) else {
        return match query {
            "" | "bool" => Ok(Value::None),
            _ => Err(Error::failed(format!(
                "{alias}: not a hardware address: {text}"
            ))),
        };
    };
    Ok(Value::from(match query {
        "" => return Ok(Value::from(text)),
        "bool" => return Ok(Value::Bool(true)),
        "int" => return Ok(Value::Int(i64::try_from(address.0).unwrap_or(i64::MAX))),
        "bare" => address.written(48, "", true).to_uppercase(),
        "cisco" => address.written(16, ".", true),
        "eui48" | "win" => address.written(8, "-", true).to_uppercase(),
        "linux" => address.written(8, ":", true),
        "pgsql" | "postgresql" | "psql" => address.written(24, ":", true),
        "unix" => address.written(8, ":", false),
        other => {
            return Err(Error::failed(format!(
                "{alias}: unknown filter type: {other}"
            )));
        }
    }))
}
