//! The methods of Python's texts, lists, mappings and numbers that templates may call.

use super::objects::{Cycler, Loop, Span};
use super::{Evaluator, civil_format};
use crate::template::given::Given;
use crate::template::{Error, Kwargs, format};
use crate::value::{Dict, Key, List, Moment, Value, compare};

const TEXT: &str = " capitalize casefold center count encode endswith expandtabs find format \
    format_map index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric \
    isprintable isspace istitle isupper join ljust lower lstrip partition removeprefix \
    removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith \
    strip swapcase title translate upper zfill ";
const LIST: &str = " append clear copy count extend index insert pop remove reverse sort ";
const DICT: &str = " clear copy fromkeys get items keys pop popitem setdefault update values ";

/// Returns whether `on` has a method called `name`.
pub(super) fn exists(on: &Value, name: &str) -> bool {
    let names = match on {
        Value::Str(_) => TEXT,
        Value::List(_) => LIST,
        Value::Dict(_) => DICT,
        Value::Tuple(_) => " count index ",
        Value::Bytes(_) => " decode hex ",
        Value::Int(_) | Value::Big(_) | Value::Bool(_) => " bit_length ",
        Value::Float(_) => " is_integer ",
        Value::Object(object) => {
            let any = object.as_any();
            if let Some(moment) = any.downcast_ref::<Moment>() {
                match moment.is_date() {
                    true => " strftime isoformat weekday isoweekday ",
                    false => " strftime isoformat timestamp date weekday isoweekday ",
                }
            } else if any.is::<Span>() {
                " total_seconds "
            } else if any.is::<Loop>() {
                " cycle changed "
            } else if any.is::<Cycler>() {
                " next reset "
            } else {
                ""
            }
        }
        _ => "",
    };
    !name.contains(' ') && names.contains(&format!(" {name} "))
}

/// Returns whether the method called `name` changes what it is called on.
pub(super) fn changes(name: &str) -> bool {
    matches!(
        name,
        "append"
            | "clear"
            | "extend"
            | "insert"
            | "pop"
            | "popitem"
            | "remove"
            | "reverse"
            | "setdefault"
            | "sort"
            | "update"
    )
}

/// Calls a method.
pub(super) fn call(
    machine: &Evaluator<'_>,
    on: &Value,
    name: &str,
    args: &[Value],
    named: &Kwargs,
) -> Result<Value, Error> {
    match on {
        Value::Str(text) => text_method(machine, text, name, args, named),
        Value::List(list) => list_method(machine, list, name, args, named),
        Value::Dict(dict) => dict_method(machine, dict, name, args, named),
        Value::Tuple(items) => {
            let given = given(name, &["value"], args, named)?;
            let wanted = given.value(0)?;
            match name {
                "count" => int(items.iter().filter(|item| *item == wanted).count()),
                _ => position(items, wanted, "tuple.index(x): x not in tuple"),
            }
        }
        Value::Bytes(bytes) => match name {
            "hex" => Ok(Value::from(hex::encode(bytes))),
            _ => std::str::from_utf8(bytes)
                .map(Value::str)
                .map_err(|e| Error::failed(format!("'utf-8' codec can't decode bytes: {e}"))),
        },
        Value::Float(f) => Ok(Value::Bool(f.fract() == 0.0)),
        Value::Object(object) => object_method(object.as_any(), name, args, named),
        other => match other.as_big() {
            Some(n) => int(usize::try_from(n.bits()).unwrap_or(usize::MAX)),
            None => Err(Error::failed(format!("no method {name}"))),
        },
    }
}

fn given(name: &str, params: &[&str], args: &[Value], named: &Kwargs) -> Result<Given, Error> {
    Given::bind(name, params, args.to_vec(), named.clone())
}

fn int(n: usize) -> Result<Value, Error> {
    Ok(Value::Int(i64::try_from(n).unwrap_or(i64::MAX)))
}

fn position(items: &[Value], wanted: &Value, missing: &str) -> Result<Value, Error> {
    match items.iter().position(|item| item == wanted) {
        Some(at) => int(at),
        None => Err(Error::failed(missing)),
    }
}

fn object_method(
    any: &dyn std::any::Any,
    name: &str,
    args: &[Value],
    named: &Kwargs,
) -> Result<Value, Error> {
    if let Some(span) = any.downcast_ref::<Span>() {
        return Ok(Value::Float(span.total_seconds()));
    }
    if let Some(moment) = any.downcast_ref::<Moment>() {
        let given = given(name, &["format"], args, named)?;
        return Ok(match name {
            "strftime" => Value::from(civil_format(*moment, &given.text(0)?)),
            "isoformat" => Value::from(moment.iso('T')),
            "timestamp" => Value::Float(Span::new(moment.micros).total_seconds()),
            "date" => moment.day().value(),
            "isoweekday" => Value::Int(civil_format(*moment, "%u").parse().unwrap_or(0)),
            _ => Value::Int(civil_format(*moment, "%u").parse::<i64>().unwrap_or(1) - 1),
        });
    }
    if let Some(cycler) = any.downcast_ref::<Cycler>() {
        let at = cycler.at.get();
        return Ok(match name {
            "reset" => {
                cycler.at.set(0);
                Value::None
            }
            _ => {
                cycler.at.set((at + 1) % cycler.items.len().max(1));
                cycler.items.get(at).cloned().unwrap_or_default()
            }
        });
    }
    let Some(state) = any.downcast_ref::<Loop>() else {
        return Err(Error::failed(format!("no method {name}")));
    };
    if name == "cycle" {
        let at = state.at.get() % args.len().max(1);
        return args
            .get(at)
            .cloned()
            .ok_or_else(|| Error::failed("no items for cycling given"));
    }
    let now = Some(args.to_vec());
    let changed = *state.changed.borrow() != now;
    state.changed.replace(now);
    Ok(Value::Bool(changed))
}

fn list_method(
    machine: &Evaluator<'_>,
    list: &List,
    name: &str,
    args: &[Value],
    named: &Kwargs,
) -> Result<Value, Error> {
    let params: &[&str] = match name {
        "sort" => &["key", "reverse"],
        "insert" => &["index", "object"],
        "pop" => &["index"],
        _ => &["value"],
    };
    let given = given(name, params, args, named)?;
    let mut items = list.items();
    match name {
        "append" => {
            machine.meter.bytes(24)?;
            list.push(given.value(0)?.clone());
            return Ok(Value::None);
        }
        "copy" => return Ok(Value::list(items)),
        "count" => {
            let wanted = given.value(0)?;
            return int(items.iter().filter(|item| *item == wanted).count());
        }
        "index" => {
            let wanted = given.value(0)?;
            return position(&items, wanted, &format!("{} is not in list", wanted.repr()));
        }
        "extend" => {
            items.extend(machine.items(given.value(0)?)?);
            machine.meter.items(items.len())?;
        }
        "clear" => items.clear(),
        "reverse" => items.reverse(),
        "insert" => {
            let at = offset(given.int(0, 0)?, items.len());
            items.insert(at, given.value(1)?.clone());
        }
        "remove" => {
            let wanted = given.value(0)?;
            let at = items.iter().position(|item| item == wanted);
            items.remove(at.ok_or_else(|| Error::failed("list.remove(x): x not in list"))?);
        }
        "pop" => {
            let at = given.int(0, -1)?;
            let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let at = if at < 0 { at + length } else { at };
            if !(0..length).contains(&at) {
                let message = if length == 0 {
                    "pop from empty list"
                } else {
                    "pop index out of range"
                };
                return Err(Error::failed(message));
            }
            let popped = items.remove(usize::try_from(at).unwrap_or(0));
            list.replace(items);
            return Ok(popped);
        }
        _ => {
            items = sorted(items)?;
            if given.flag(1, false)? {
                items.reverse();
            }
        }
    }
    list.replace(items);
    Ok(Value::None)
}

fn offset(at: i64, length: usize) -> usize {
    match usize::try_from(at) {
        Ok(at) => at.min(length),
        Err(_) => length.saturating_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

/// Sorts values that have an order among them.
pub(in crate::template) fn sorted(mut items: Vec<Value>) -> Result<Vec<Value>, Error> {
    let mut failure = None;
    items.sort_by(|a, b| {
        compare(a, b, "<").unwrap_or_else(|error| {
            failure.get_or_insert(error);
            std::cmp::Ordering::Equal
        })
    });
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(items),
    }
}

/// Reads a sequence of pairs as a mapping.
pub(super) fn pairs(machine: &Evaluator<'_>, value: &Value) -> Result<Dict, Error> {
    let dict = Dict::new();
    for (index, pair) in machine.items(value)?.iter().enumerate() {
        let pair = machine.items(pair)?;
        let [key, value] = pair.as_slice() else {
            return Err(Error::failed(format!(
                "dictionary update sequence element #{index} has length {}; 2 is required",
                pair.len()
            )));
        };
        dict.insert(Key::of(key.clone())?, value.clone());
    }
    Ok(dict)
}

fn dict_method(
    machine: &Evaluator<'_>,
    dict: &Dict,
    name: &str,
    args: &[Value],
    named: &Kwargs,
) -> Result<Value, Error> {
    if name == "update" {
        if let Some(more) = args.first() {
            let more = match more {
                Value::Dict(more) => more.copy(),
                other => pairs(machine, other)?,
            };
            for (key, value) in more.entries() {
                dict.insert(key, value);
            }
        }
        for (key, value) in named {
            dict.set(key, value.clone());
        }
        return Ok(Value::None);
    }
    let given = given(name, &["key", "default"], args, named)?;
    let key = || given.value(0).cloned().and_then(|key| Ok(Key::of(key)?));
    let settled = |value: Value| machine.settle(value).or_else(super::keep);
    Ok(match name {
        "keys" => Value::list(dict.keys()),
        "values" => settled(Value::list(dict.values()))?,
        "items" => {
            machine.meter.items(dict.len() * 2)?;
            let entries = dict.entries().into_iter();
            let pairs = entries.map(|(key, value)| Value::tuple(vec![key.value().clone(), value]));
            settled(Value::list(pairs.collect()))?
        }
        "get" => match dict.get_key(&key()?) {
            Some(value) => settled(value)?,
            None => given.optional(1).cloned().unwrap_or_default(),
        },
        "copy" => Value::Dict(dict.copy()),
        "clear" => {
            dict.clear();
            Value::None
        }
        "pop" => match (dict.remove(&key()?), given.optional(1)) {
            (Some(value), _) => value,
            (None, Some(default)) => default.clone(),
            (None, None) => return Err(Error::failed(given.value(0)?.repr())),
        },
        "popitem" => match dict.entries().pop() {
            Some((key, value)) => {
                dict.remove(&key);
                Value::tuple(vec![key.value().clone(), value])
            }
            None => return Err(Error::failed("popitem(): dictionary is empty")),
        },
        "setdefault" => {
            let key = key()?;
            dict.get_key(&key).unwrap_or_else(|| {
                let value = given.optional(1).cloned().unwrap_or_default();
                dict.insert(key, value.clone());
                value
            })
        }
        _ => {
            let value = given.optional(1).cloned().unwrap_or_default();
            let keys = machine.items(given.value(0)?)?;
            let made = Dict::new();
            for key in keys {
                made.insert(Key::of(key)?, value.clone());
            }
            Value::Dict(made)
        }
    })
}

fn text_method(
    machine: &Evaluator<'_>,
    text: &str,
    name: &str,
    args: &[Value],
    named: &Kwargs,
) -> Result<Value, Error> {
    machine.meter.bytes(text.len())?;
    match name {
        "format" => {
            let out = format::format(text, args, named)?;
            machine.meter.bytes(out.len())?;
            return Ok(Value::from(out));
        }
        "format_map" => {
            let mut fields = Kwargs::new();
            if let Some(Value::Dict(dict)) = args.first() {
                fields = dict
                    .entries()
                    .into_iter()
                    .map(|(k, v)| (k.value().to_string(), v))
                    .collect();
            }
            return Ok(Value::from(format::format(text, &[], &fields)?));
        }
        _ => {}
    }
    let params: &[&str] = match name {
        "split" | "rsplit" => &["sep", "maxsplit"],
        "splitlines" => &["keepends"],
        "encode" => &["encoding", "errors"],
        "expandtabs" => &["tabsize"],
        _ => &["a", "b", "c"],
    };
    let given = given(name, params, args, named)?;
    super::super::text::method(machine, text, name, &given)
}
