//! `lists_union` and its kin, which keep the order, and `lists_mergeby`.

use super::super::dicts::{check_list_merge, merge_dicts};
use super::super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::{Evaluator, sorted};
use crate::value::{Dict, Key, Value};

pub(in super::super) const FILTERS: &[Filter] = &[
    filter("lists_union", &["*", "=flatten"], |m, v, g| {
        fold(m, v, g, |a, b| [a, b].concat())
    }),
    filter("lists_intersect", &["*", "=flatten"], |m, v, g| {
        let both = |a: &[Value], b: &[Value]| only(a, |item| b.contains(item));
        fold(m, v, g, both)
    }),
    filter("lists_difference", &["*", "=flatten"], |m, v, g| {
        let without = |a: &[Value], b: &[Value]| only(a, |item| !b.contains(item));
        fold(m, v, g, without)
    }),
    filter(
        "lists_symmetric_difference",
        &["*", "=flatten"],
        |m, v, g| fold(m, v, g, either),
    ),
    filter(
        "lists_mergeby",
        &["*", "=recursive", "=list_merge"],
        merge_by,
    ),
];

fn only(items: &[Value], keep: impl Fn(&Value) -> bool) -> Vec<Value> {
    items.iter().filter(|item| keep(item)).cloned().collect()
}

/// Returns what one of the two has and the other has not, each once.
fn either(a: &[Value], b: &[Value]) -> Vec<Value> {
    let both = |item: &Value| a.contains(item) && b.contains(item);
    let union = once(&[a, b].concat());
    only(&union, |item| !both(item))
}

fn once(items: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for item in items {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    out
}

fn is_list(value: &Value) -> bool {
    matches!(value, Value::List(_) | Value::Tuple(_))
}

/// Returns the lists, those that are lists of lists taken apart.
fn taken_apart(machine: &Evaluator<'_>, lists: &[Value]) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for list in lists {
        if !is_list(list) {
            let kind = list.type_name();
            return Err(Error::failed(format!(
                "All arguments must be lists. {list} is <class '{kind}'>"
            )));
        }
        let items = machine.items(list)?;
        match items.iter().all(is_list) {
            true => out.extend(items),
            false => out.push(list.clone()),
        }
    }
    Ok(out)
}

fn fold(
    machine: &Evaluator<'_>,
    value: Value,
    given: &Given,
    combine: impl Fn(&[Value], &[Value]) -> Vec<Value>,
) -> Result<Value, Error> {
    let mut lists = [vec![value], given.rest.clone()].concat();
    if given.named.get("flatten").is_some_and(Value::truthy) {
        lists = taken_apart(machine, &lists)?;
    }
    let (first, rest) = match lists.as_slice() {
        [] => return Ok(Value::list(Vec::new())),
        [one] => return Ok(one.clone()),
        [first, rest @ ..] => (first, rest),
    };
    let mut out = machine.items(first)?;
    for list in rest {
        let items = machine.items(list)?;
        machine.meter.steps(out.len().saturating_mul(items.len()))?;
        out = combine(&out, &items);
    }
    machine.meter.steps(out.len().saturating_mul(out.len()))?;
    Ok(Value::list(once(&out)))
}

fn merge_by(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut terms = [vec![value], given.rest.clone()].concat();
    let index = terms.pop().unwrap_or_default();
    if terms.is_empty() {
        return Err(Error::failed("At least one list and index are needed."));
    }
    let lists = taken_apart(machine, &terms)?;
    match lists.as_slice() {
        [] => return Ok(Value::list(Vec::new())),
        [one] => return Ok(one.clone()),
        _ => {}
    }
    let Value::Str(_) = &index else {
        let kind = index.type_name();
        return Err(Error::failed(format!(
            "First argument after the lists for community.general.lists_mergeby must be string. {index} is <class '{kind}'>"
        )));
    };
    let recursive = given.named.get("recursive").is_some_and(Value::truthy);
    let merge = given.named.get("list_merge");
    let merge = merge.map_or_else(|| "replace".to_owned(), ToString::to_string);
    check_list_merge(&merge)?;
    let index = Key::of(index)?;
    let found = Dict::new();
    for list in &lists {
        for item in machine.items(list)? {
            let Value::Dict(dict) = &item else {
                let kind = item.type_name();
                return Err(Error::failed(format!(
                    "Elements of list arguments for lists_mergeby must be dictionaries. {item} is <class '{kind}'>"
                )));
            };
            let Some(name) = dict.get_key(&index) else {
                continue;
            };
            let name = Key::of(name)?;
            let merged = match found.get_key(&name) {
                Some(Value::Dict(before)) => {
                    merge_dicts(machine, &before, dict, recursive, &merge, 0)?
                }
                _ => dict.copy(),
            };
            found.insert(name, Value::Dict(merged));
        }
    }
    let names = sorted(found.keys())?.into_iter();
    let in_order = names.filter_map(|name| found.get_key(&Key::of(name).ok()?));
    Ok(Value::list(in_order.collect()))
}
