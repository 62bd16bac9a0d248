//! Filters that treat sequences as sets, in the order of first appearance.

use indexmap::IndexSet;

use super::lists::keys;
use super::{Filter, Given, attribute_path, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Key, Value};

pub(super) const FILTERS: &[Filter] = &[
    filter("unique", &["case_sensitive", "attribute"], unique),
    filter("union", &["b"], |m, v, g| both(m, &v, g, |_, _| true)),
    filter("intersect", &["b"], |m, v, g| left(m, &v, g, true)),
    filter("difference", &["b"], |m, v, g| left(m, &v, g, false)),
    filter("symmetric_difference", &["b"], |m, v, g| {
        both(m, &v, g, |a, b| a != b)
    }),
];

fn unique(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let cased = given.flag(0, false)?;
    let by = given.optional(1).filter(|by| !matches!(by, Value::None));
    // Ansible's own way, for what has no hash, knows neither parameter.
    let jinjas_alone = by.is_some() || matches!(given.optional(0), Some(Value::Bool(false)));
    let mut out: Vec<Value> = Vec::new();
    let mut seen: IndexSet<Key> = IndexSet::new();
    let mut odd: Vec<Value> = Vec::new();
    for item in machine.items(&value)? {
        let key = match by {
            Some(path) => attribute_path(&item, path)?,
            None => item.clone(),
        };
        let key = match &key {
            Value::Str(text) if !cased => Value::from(text.to_lowercase()),
            key => key.clone(),
        };
        let fresh = match Key::of(key.clone()) {
            Ok(key) => seen.insert(key),
            Err(_) if jinjas_alone => return Err(no_way_back(&key)),
            Err(_) => {
                machine.meter.steps(odd.len())?;
                let fresh = !odd.contains(&key);
                odd.push(key);
                fresh
            }
        };
        if fresh {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn no_way_back(key: &Value) -> Error {
    Error::failed(format!(
        "Jinja2's unique filter failed and we cannot fall back to Ansible's version as it does not support the parameters \
         supplied: unhashable type: '{}'",
        key.type_name()
    ))
}

fn holds(
    machine: &Evaluator<'_>,
    items: &[Value],
    known: Option<&IndexSet<Key>>,
    item: &Value,
) -> Result<bool, Error> {
    if let (Some(known), Ok(key)) = (known, Key::of(item.clone())) {
        return Ok(known.contains(&key));
    }
    machine.meter.steps(items.len())?;
    Ok(items.contains(item))
}

fn dedup(machine: &Evaluator<'_>, items: Vec<Value>) -> Result<Value, Error> {
    if let Some(keys) = keys(&items) {
        let set: IndexSet<Key> = keys.into_iter().collect();
        return Ok(Value::list(
            set.into_iter().map(|key| key.value().clone()).collect(),
        ));
    }
    let mut out: Vec<Value> = Vec::new();
    for item in items {
        machine.meter.steps(out.len())?;
        if !out.contains(&item) {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn left(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    inside: bool,
) -> Result<Value, Error> {
    let (a, b) = (machine.items(value)?, machine.items(given.value(0)?)?);
    let known: Option<IndexSet<Key>> = keys(&b).map(|keys| keys.into_iter().collect());
    let mut kept = Vec::new();
    for item in a {
        if holds(machine, &b, known.as_ref(), &item)? == inside {
            kept.push(item);
        }
    }
    dedup(machine, kept)
}

fn both(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    keep: fn(bool, bool) -> bool,
) -> Result<Value, Error> {
    let (a, b) = (machine.items(value)?, machine.items(given.value(0)?)?);
    let known =
        |items: &[Value]| keys(items).map(|keys| keys.into_iter().collect::<IndexSet<Key>>());
    let (in_a, in_b) = (known(&a), known(&b));
    let mut kept = Vec::new();
    for item in a.iter().chain(&b) {
        let (a, b) = (
            holds(machine, &a, in_a.as_ref(), item)?,
            holds(machine, &b, in_b.as_ref(), item)?,
        );
        if keep(a, b) {
            kept.push(item.clone());
        }
    }
    dedup(machine, kept)
}
