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
        Evaluator::own_attribute(&v, &g.text(0)?)
    }),
];

fn mapping<'v>(value: &'v Value, filter: &str) -> Result<&'v Dict, Error> {
    value.as_dict().ok_or_else(|| {
        Error::failed(format!(
            "{filter} requires a dictionary, got <class '{}'> instead.",
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
    let name = |index: usize, usual: &str| match given.optional(index) {
        Some(name) => name.clone(),
        None => Value::str(usual),
    };
    let (key_name, value_name) = (name(0, "key"), name(1, "value"));
    if !matches!(value, Value::List(_) | Value::Tuple(_)) {
        return Err(Error::failed(format!(
            "items2dict requires a list, got <class '{}'> instead.",
            value.type_name()
        )));
    }
    let dict = Dict::new();
    for item in machine.items(&value)? {
        let (found, of) = (
            Evaluator::item(&item, &key_name)?,
            Evaluator::item(&item, &value_name)?,
        );
        let is_mapping = matches!(item, Value::Dict(_));
        if found.is_undefined() || of.is_undefined() {
            let list = value.repr();
            return Err(Error::failed(match is_mapping {
                true => format!(
                    "items2dict requires each dictionary in the list to contain the keys '{key_name}' and '{value_name}', got {list} instead."
                ),
                false => format!("items2dict requires a list of dictionaries, got {list} instead."),
            }));
        }
        dict.insert(Key::of(found)?, of);
    }
    Ok(Value::Dict(dict))
}

const LIST_MERGES: [&str; 6] = [
    "replace",
    "keep",
    "append",
    "prepend",
    "append_rp",
    "prepend_rp",
];

fn combine(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let recursive = given.named.get("recursive").is_some_and(Value::truthy);
    let merge = match given.named.get("list_merge") {
        Some(merge) => merge.to_string(),
        None => "replace".to_owned(),
    };
    let known = |key: &String| matches!(key.as_str(), "recursive" | "list_merge");
    if !given.named.keys().all(known) {
        let wrong = "'recursive' and 'list_merge' are the only valid keyword arguments";
        return Err(Error::failed(wrong));
    }
    let terms: Vec<&Value> = std::iter::once(&value).chain(&given.rest).collect();
    let terms = mappings(machine, &terms)?;
    if terms.len() < 2 {
        return Ok(terms
            .into_iter()
            .next()
            .unwrap_or_else(|| Value::Dict(Dict::new())));
    }
    check_list_merge(&merge)?;
    let mut merged = Dict::new();
    for term in terms {
        let Value::Dict(dict) = &term else {
            let kind = term.type_name();
            return Err(Error::failed(format!(
                "failed to combine variables, expected dicts but got a '{kind}'"
            )));
        };
        merged = merge_dicts(machine, &merged, dict, recursive, &merge, 0)?;
    }
    Ok(Value::Dict(merged))
}

/// Refuses a way to merge lists that is none.
pub(super) fn check_list_merge(merge: &str) -> Result<(), Error> {
    match LIST_MERGES.contains(&merge) {
        true => Ok(()),
        false => Err(Error::failed(
            "merge_hash: 'list_merge' argument can only be equal to 'replace', 'keep', 'append', 'prepend', 'append_rp' or 'prepend_rp'",
        )),
    }
}

/// Returns the terms, lists of them taken apart twice as `flatten(levels=1)` does; null is none.
fn mappings(machine: &Evaluator<'_>, terms: &[&Value]) -> Result<Vec<Value>, Error> {
    let null = |value: &Value| {
        matches!(value, Value::None) || matches!(value.as_str(), Some("None" | "null"))
    };
    let mut out = Vec::new();
    for term in terms.iter().filter(|term| !null(term)) {
        match term {
            Value::List(_) | Value::Tuple(_) => {
                let items = machine.items(term)?;
                out.extend(items.into_iter().filter(|item| !null(item)));
            }
            term => out.push((*term).clone()),
        }
    }
    Ok(out)
}

pub(super) fn merge_dicts(
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
        _ => {
            machine.meter.steps(a.len().saturating_mul(b.len()))?;
            let rest = without(&a, &b);
            [b, rest].concat()
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
        Value::List(list) => list.items(),
        _ => {
            let wrong = "obj must be a list of dicts or a nested dict";
            return Err(Error::failed(wrong));
        }
    };
    let path = match given.value(0)? {
        Value::List(list) => list.items(),
        Value::Str(text) => text.split('.').map(Value::str).collect(),
        _ => {
            let wrong = "subelements must be a list or a string";
            return Err(Error::failed(wrong));
        }
    };
    let skip = given.flag(1, false)?;
    let mut out = Vec::new();
    for item in items {
        let Some(found) = subelement(&item, &path, skip)? else {
            continue;
        };
        for sub in machine.items(&found)? {
            out.push(Value::tuple(vec![item.clone(), sub]));
        }
    }
    Ok(Value::list(out))
}

/// Returns the list at the end of `path`; none, if it may be missing and is.
fn subelement(item: &Value, path: &[Value], skip: bool) -> Result<Option<Value>, Error> {
    let mut found = item.clone();
    for key in path {
        let Value::Dict(dict) = &found else {
            return Err(Error::failed(format!(
                "the key {key} should point to a dictionary, got '{found}'"
            )));
        };
        found = match dict.get_key(&Key::of(key.clone())?) {
            Some(next) => next,
            None if skip => return Ok(None),
            None => {
                let (key, item) = (key.repr(), found.repr());
                return Err(Error::failed(format!(
                    "could not find {key} key in iterated item {item}"
                )));
            }
        };
    }
    match (&found, path.last()) {
        (Value::List(_), _) => Ok(Some(found)),
        (_, key) => Err(Error::failed(format!(
            "the key {} should point to a list, got {}",
            key.map_or_else(String::new, Value::repr),
            found.repr()
        ))),
    }
}

fn rekey(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (member, duplicates) = (given.value(0)?, given.text_or(1, "error"));
    if !matches!(duplicates.as_str(), "error" | "overwrite") {
        let duplicates = Value::str(duplicates).repr();
        return Err(Error::failed(format!(
            "duplicates parameter to rekey_on_member has unknown value {duplicates}"
        )));
    }
    let items = match &value {
        Value::Dict(dict) => dict.values(),
        Value::List(_) | Value::Tuple(_) => machine.items(&value)?,
        _ => return Err(Error::failed("Type is not a valid list, set, or dict")),
    };
    let out = Dict::new();
    for item in items {
        let Value::Dict(dict) = &item else {
            return Err(Error::failed("List item is not a valid dict"));
        };
        let Some(key) = dict.get_key(&Key::of(member.clone())?) else {
            let member = member.repr();
            return Err(Error::failed(format!("Key {member} was not found.")));
        };
        let key = Key::of(key)?;
        if out.has_key(&key) && duplicates == "error" {
            let key = key.value().repr();
            return Err(Error::failed(format!(
                "Key {key} is not unique, cannot convert to dict."
            )));
        }
        out.insert(key, item);
    }
    Ok(Value::Dict(out))
}
