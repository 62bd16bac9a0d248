//! Filters of community.general that roles use, and one of community.crypto.

pub(super) mod keys;
pub(super) mod lists;
pub(super) mod query;
pub(super) mod tables;
pub(super) mod time;

use unicode_normalization::UnicodeNormalization as _;

use super::random::generator;
use super::{Filter, Given, filter};
use crate::pyre::{Flags, Regex};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::template::jinja_tests::loose_order;
use crate::value::{Dict, Key, Value};

pub(super) const FILTERS: &[Filter] = &[
    filter("accumulate", &[], accumulate),
    filter("counter", &[], counter),
    filter("crc32", &[], crc32),
    filter("dict", &[], dict),
    filter("dict_kv", &["key"], |_, v, g| {
        let dict = Dict::new();
        dict.insert(Key::of(g.value(0)?.clone())?, v);
        Ok(Value::Dict(dict))
    }),
    filter("groupby_as_dict", &["attribute"], groupby_as_dict),
    filter("random_mac", &["seed"], random_mac),
    filter("unicode_normalize", &["form"], normalize),
    filter("version_sort", &["reverse"], version_sort),
];

pub(super) const PEM_FILTERS: &[Filter] = &[filter("split_pem", &[], split_pem)];

/// Returns the items of a list or the letters of a text.
fn sequence(machine: &Evaluator<'_>, value: &Value, wrong: &str) -> Result<Vec<Value>, Error> {
    match value {
        Value::List(_) | Value::Tuple(_) | Value::Str(_) => machine.items(value),
        other => Err(Error::failed(format!(
            "{wrong} {other} is <class '{}'>",
            other.type_name()
        ))),
    }
}

fn accumulate(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let items = sequence(machine, &value, "Invalid value type for accumulate.")?;
    let mut out: Vec<Value> = Vec::new();
    for item in items {
        out.push(match out.last() {
            Some(sum) => crate::template::eval::add(machine, sum, &item)?,
            None => item,
        });
    }
    Ok(Value::list(out))
}

fn counter(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let wrong = "Argument for community.general.counter must be a sequence (string or list).";
    let counts = Dict::new();
    for item in sequence(machine, &value, wrong)? {
        let key = Key::of(item).map_err(|e| {
            Error::failed(format!(
                "community.general.counter needs a sequence with hashable elements (int, float or str) - {e}"
            ))
        })?;
        let before = counts.get_key(&key).and_then(|n| n.as_int()).unwrap_or(0);
        counts.insert(key, Value::Int(before + 1));
    }
    Ok(Value::Dict(counts))
}

fn crc32(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    match &value {
        Value::Str(text) => Ok(Value::from(format!(
            "{:x}",
            crc32fast::hash(text.as_bytes())
        ))),
        other => Err(Error::failed(format!(
            "Invalid value type (<class '{}'>) for crc32 ({})",
            other.type_name(),
            other.repr()
        ))),
    }
}

fn dict(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    if let Value::Dict(dict) = &value {
        return Ok(Value::Dict(dict.copy()));
    }
    let dict = Dict::new();
    for (at, pair) in machine.items(&value)?.iter().enumerate() {
        match machine.items(pair)?.as_slice() {
            [key, value] => dict.insert(Key::of(key.clone())?, value.clone()),
            other => {
                return Err(Error::failed(format!(
                    "dictionary update sequence element #{at} has length {}; 2 is required",
                    other.len()
                )));
            }
        }
    }
    Ok(Value::Dict(dict))
}

fn groupby_as_dict(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let items = match &value {
        Value::List(_) | Value::Tuple(_) | Value::Str(_) => machine.items(&value)?,
        _ => return Err(Error::failed("Input is not a sequence")),
    };
    let attribute = Key::of(given.value(0)?.clone())?;
    let out = Dict::new();
    for (at, item) in items.into_iter().enumerate() {
        let Value::Dict(dict) = &item else {
            return Err(Error::failed(format!(
                "Sequence element #{at} is not a mapping"
            )));
        };
        let Some(key) = dict.get_key(&attribute) else {
            return Err(Error::failed(format!(
                "Attribute not contained in element #{at} of sequence"
            )));
        };
        let key = Key::of(key)?;
        if out.has_key(&key) {
            return Err(Error::failed(format!(
                "Multiple sequence entries have attribute value {}",
                key.value().repr()
            )));
        }
        out.insert(key, item);
    }
    Ok(Value::Dict(out))
}

fn random_mac(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "Invalid value type (<class '{kind}'>) for random_mac ({value})"
        )));
    };
    let prefix = text.to_lowercase();
    let octets: Vec<&str> = prefix.split(':').collect();
    let invalid =
        |why: &str| Error::failed(format!("Invalid value ({prefix}) for random_mac: {why}"));
    if octets.len() > 5 {
        return Err(invalid("5 colon(:) separated items max"));
    }
    let is_octet = |octet: &&str| octet.get(..2).is_some_and(|o| hex::decode(o).is_ok());
    if let Some(wrong) = octets.iter().find(|octet| !is_octet(octet)) {
        return Err(match wrong.is_empty() {
            true => invalid("empty item"),
            false => invalid(&format!("{wrong} not hexa byte")),
        });
    }
    // `randint(0x1000000000, 0xffffffffff)`, of which as many octets as are missing are used.
    let number = 68_719_476_736 + generator(machine, given.optional(0)).below(1_030_792_151_040);
    let digits = format!("{number:x}");
    let mut mac = prefix.clone();
    for octet in 0..6 - octets.len() {
        mac.extend([":", digits.get(octet * 2..octet * 2 + 2).unwrap_or("00")]);
    }
    Ok(Value::from(mac))
}

fn normalize(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "<class '{kind}'> is not a valid input type"
        )));
    };
    Ok(Value::from(match given.text_or(0, "NFC").as_str() {
        "NFC" => text.nfc().collect::<String>(),
        "NFD" => text.nfd().collect::<String>(),
        "NFKC" => text.nfkc().collect::<String>(),
        "NFKD" => text.nfkd().collect::<String>(),
        form => return Err(Error::failed(format!("{form} is not a valid form"))),
    }))
}

fn version_sort(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut items = machine.items(&value)?;
    let reverse = given.flag(0, false)?;
    let mut failure = None;
    items.sort_by(|a, b| {
        let order = loose_order(&a.to_string(), &b.to_string()).unwrap_or_else(|error| {
            failure.get_or_insert(error);
            std::cmp::Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    match failure {
        Some(error) => Err(error),
        None => Ok(Value::list(items)),
    }
}

fn split_pem(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "The community.crypto.split_pem input must be a text type, not <class '{kind}'>"
        )));
    };
    let mut found = Vec::new();
    let mut current: Option<String> = None;
    for line in text
        .split_inclusive('\n')
        .filter(|line| !line.trim().is_empty())
    {
        if line.starts_with("-----BEGIN ") {
            current = Some(String::new());
        }
        let Some(object) = &mut current else { continue };
        object.push_str(line);
        if line.starts_with("-----END ") {
            found.extend(current.take().map(Value::from));
        }
    }
    Ok(Value::list(found))
}

/// Returns a pattern as `re.compile` makes it.
fn pattern(text: &str) -> Option<Regex> {
    Regex::new(text, Flags::default()).ok()
}
