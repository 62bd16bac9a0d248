//! Filters on mappings.

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Dict, Key, Value, compare};

pub(super) const FILTERS: &[Filter] = &[
    filter("items", &[], items),
    filter("dictsort", &["case_sensitive", "by", "reverse"], dictsort),
    filter("dict2items", &["key_name", "value_name"], dict2items),
    filter("items2dict", &["key_name", "value_name"], items2dict),
    filter("combine", &["*", "**"], combine),
    filter("extract", &["container", "morekeys"], extract),
    filter("subelements", &["subelements", "skip_missing"], subelements),
    filter("rekey_on_member", &["key", "duplicates"], rekey),
    filter("attr", &["name"], |_, v, g| {
        Evaluator::attribute(&v, &g.text(0)?)
    }),
];

fn mapping<'v>(value: &'v Value, filter: &str) -> Result<&'v Dict, Error> {
    value.as_dict().ok_or_else(|| {
        Error::failed(format!(
            "{filter} requires a dictionary, got {} instead.",
            value.type_name()
        ))
    })
}

fn items(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let entries = mapping(&value, "items")?.entries().into_iter();
    Ok(Value::list(
        entries
            .map(|(k, v)| Value::tuple(vec![k.value().clone(), v]))
            .collect(),
    ))
}

fn dictsort(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let cased = given.flag(0, false)?;
    let by_value = given.text_or(1, "key") == "value";
    let mut entries = mapping(&value, "dictsort")?.entries();
    let fold = |v: &Value| match v {
        Value::Str(text) if !cased => Value::from(text.to_lowercase()),
        v => v.clone(),
    };
    let mut failure = None;
    let reverse = given.flag(2, false)?;
    entries.sort_by(|a, b| {
        let (x, y) = if by_value {
            (&a.1, &b.1)
        } else {
            (a.0.value(), b.0.value())
        };
        let order = compare(&fold(x), &fold(y), "<").unwrap_or_else(|e| {
            failure.get_or_insert(e);
            std::cmp::Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    if let Some(error) = failure {
        return Err(error.into());
    }
    let pairs = entries
        .into_iter()
        .map(|(k, v)| Value::tuple(vec![k.value().clone(), v]));
    Ok(Value::list(pairs.collect()))
}

fn dict2items(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (key_name, value_name) = (given.text_or(0, "key"), given.text_or(1, "value"));
    let dict = mapping(&value, "dict2items")?;
    machine.meter.items(dict.len() * 4)?;
    let pairs = dict
        .entries()
        .into_iter()
        .map(|(key, value)| Value::dict([(&key_name, key.value().clone()), (&value_name, value)]));
    Ok(Value::list(pairs.collect()))
}

fn items2dict(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (key_name, value_name) = (given.text_or(0, "key"), given.text_or(1, "value"));
    let Value::List(_) = value else {
        return Err(Error::failed(format!(
            "items2dict requires a list, got {} instead.",
            value.type_name()
        )));
    };
    let dict = Dict::new();
    for item in machine.items(&value)? {
        let (Some(key), Some(value)) = (item.get(&key_name), item.get(&value_name)) else {
            return Err(Error::failed(format!(
                "items2dict requires each dictionary in the list to contain the keys '{key_name}' and '{value_name}', got {} instead.",
                item.repr()
            )));
        };
        dict.insert(Key::of(key)?, value);
    }
    Ok(Value::Dict(dict))
}

fn combine(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let recursive = given.named.get("recursive").is_some_and(Value::truthy);
    let merge = given
        .named
        .get("list_merge")
        .map_or_else(|| "replace".to_owned(), ToString::to_string);
    if let Some(unknown) = given
        .named
        .keys()
        .find(|k| !matches!(k.as_str(), "recursive" | "list_merge"))
    {
        return Err(Error::failed(format!(
            "'{unknown}' is an unexpected argument: only 'recursive' and 'list_merge' are allowed"
        )));
    }
    let mut all = Vec::new();
    flat(machine, &value, &mut all, 0)?;
    for more in &given.rest {
        flat(machine, more, &mut all, 0)?;
    }
    let mut merged = Dict::new();
    for dict in all {
        merged = merge_dicts(machine, &merged, &dict, recursive, &merge, 0)?;
    }
    Ok(Value::Dict(merged))
}

fn flat(
    machine: &Evaluator<'_>,
    value: &Value,
    out: &mut Vec<Dict>,
    depth: usize,
) -> Result<(), Error> {
    match value {
        Value::Dict(dict) => out.push(dict.clone()),
        Value::List(_) | Value::Tuple(_) if depth < 50 => {
            for item in machine.items(value)? {
                flat(machine, &item, out, depth + 1)?;
            }
        }
        other => {
            return Err(Error::failed(format!(
                "failed to combine variables, expected dicts but got a '{}'",
                other.type_name()
            )));
        }
    }
    Ok(())
}

fn merge_dicts(
    machine: &Evaluator<'_>,
    x: &Dict,
    y: &Dict,
    recursive: bool,
    lists: &str,
    depth: usize,
) -> Result<Dict, Error> {
    if depth > 100 {
        return Err(Error::failed("the mappings are nested too deeply"));
    }
    machine.meter.items((x.len() + y.len()) * 2)?;
    let merged = x.copy();
    for (key, theirs) in y.entries() {
        let value = match (merged.get_key(&key), theirs) {
            (Some(Value::Dict(mine)), Value::Dict(theirs)) if recursive => Value::Dict(
                merge_dicts(machine, &mine, &theirs, true, lists, depth + 1)?,
            ),
            (Some(mine @ Value::List(_)), theirs @ Value::List(_)) => {
                merge_lists(machine, &mine, &theirs, lists)?
            }
            (_, theirs) => theirs,
        };
        merged.insert(key, value);
    }
    Ok(merged)
}

fn merge_lists(machine: &Evaluator<'_>, x: &Value, y: &Value, mode: &str) -> Result<Value, Error> {
    let (a, b) = (machine.items(x)?, machine.items(y)?);
    machine.meter.items(a.len() + b.len())?;
    let without = |a: &[Value], b: &[Value]| {
        a.iter()
            .filter(|item| !b.contains(item))
            .cloned()
            .collect::<Vec<_>>()
    };
    Ok(Value::list(match mode {
        "replace" => b,
        "keep" => a,
        "append" => [a, b].concat(),
        "prepend" => [b, a].concat(),
        "append_rp" => {
            machine.meter.steps(a.len().saturating_mul(b.len()))?;
            [without(&a, &b), b].concat()
        }
        "prepend_rp" => {
            machine.meter.steps(a.len().saturating_mul(b.len()))?;
            let rest = without(&a, &b);
            [b, rest].concat()
        }
        other => {
            return Err(Error::failed(format!(
                "merge_hash: 'list_merge' argument can only be equal to 'replace', 'keep', 'append', 'prepend', 'append_rp' or 'prepend_rp', not '{other}'"
            )));
        }
    }))
}

fn extract(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut found = Evaluator::item(given.value(0)?, &value)?;
    let keys = match given.optional(1) {
        None | Some(Value::None) => Vec::new(),
        Some(list @ Value::List(_)) => machine.items(list)?,
        Some(key) => vec![key.clone()],
    };
    for key in keys {
        found = Evaluator::item(&found, &key)?;
    }
    machine.settle(found)
}

fn subelements(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let items = match &value {
        Value::Dict(dict) => dict.values(),
        other => machine.items(other)?,
    };
    let path: Vec<String> = match given.value(0)? {
        list @ Value::List(_) => machine
            .items(list)?
            .iter()
            .map(ToString::to_string)
            .collect(),
        text => text.to_string().split('.').map(str::to_owned).collect(),
    };
    let skip = given.flag(1, false)?;
    let mut out = Vec::new();
    'items: for item in items {
        let mut found = item.clone();
        for key in &path {
            found = match found.get(key) {
                Some(next) => next,
                None if skip => continue 'items,
                None => {
                    return Err(Error::failed(format!(
                        "could not find '{key}' key in iterated item '{}'",
                        item.repr()
                    )));
                }
            };
        }
        let Value::List(_) = found else {
            return Err(Error::failed(format!(
                "the key {} should point to a list, got '{}'",
                path.join("."),
                found.repr()
            )));
        };
        for sub in machine.items(&found)? {
            out.push(Value::tuple(vec![item.clone(), sub]));
        }
    }
    Ok(Value::list(out))
}

fn rekey(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let member = given.text(0)?;
    let overwrite = given.text_or(1, "error") == "overwrite";
    let items = match &value {
        Value::Dict(dict) => dict.values(),
        other => machine.items(other)?,
    };
    let out = Dict::new();
    for item in items {
        let Some(key) = item.get(&member) else {
            return Err(Error::failed(format!("Key {member} was not found")));
        };
        let key = Key::of(key)?;
        if out.has_key(&key) && !overwrite {
            return Err(Error::failed(format!(
                "Key {} is not unique, cannot correctly turn into dict",
                key.value()
            )));
        }
        out.insert(key, item);
    }
    Ok(Value::Dict(out))
}
