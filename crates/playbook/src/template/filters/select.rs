//! Filters that apply another filter or a test to every item.

use super::{Filter, Given, attribute_path, filter};
use crate::template::eval::{Evaluator, truth};
use crate::template::{Error, Kwargs};
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter("map", &["*", "**"], map),
    filter("select", &["*", "**"], |m, v, g| {
        pick(m, &v, g, false, true)
    }),
    filter("reject", &["*", "**"], |m, v, g| {
        pick(m, &v, g, false, false)
    }),
    filter("selectattr", &["*", "**"], |m, v, g| {
        pick(m, &v, g, true, true)
    }),
    filter("rejectattr", &["*", "**"], |m, v, g| {
        pick(m, &v, g, true, false)
    }),
];

fn map(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut out = Vec::new();
    let items = machine.items(&value)?;
    if let (true, Some(path)) = (given.rest.is_empty(), given.named.get("attribute")) {
        let default = given.named.get("default");
        let mut others = given.named.keys();
        if let Some(other) = others.find(|name| !matches!(name.as_str(), "attribute" | "default")) {
            return Err(Error::failed(format!(
                "Unexpected keyword argument '{other}'"
            )));
        }
        for item in items {
            let found = attribute_path(&item, path)?;
            out.push(match (found.is_undefined(), default) {
                (true, Some(default)) => default.clone(),
                _ => found,
            });
        }
        return Ok(Value::list(out));
    }
    let Some((name, rest)) = given.rest.split_first() else {
        return Err(Error::failed("map requires a filter argument"));
    };
    let name = name.to_string();
    for item in items {
        machine.meter.steps(1)?;
        out.push(machine.apply_filter(&name, item, rest.to_vec(), given.named.clone())?);
    }
    Ok(Value::list(out))
}

fn pick(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    by_attribute: bool,
    wanted: bool,
) -> Result<Value, Error> {
    let mut args = given.rest.as_slice();
    let path = match (by_attribute, args.split_first()) {
        (true, Some((path, rest))) => {
            args = rest;
            Some(path)
        }
        (true, None) => return Err(Error::failed("Missing parameter for attribute name")),
        (false, _) => None,
    };
    let mut out = Vec::new();
    for item in machine.items(value)? {
        machine.meter.steps(1)?;
        let subject = match path {
            Some(path) => attribute_path(&item, path)?,
            None => item.clone(),
        };
        let holds = match args.split_first() {
            None => truth(&subject)?,
            Some((test, rest)) => decide(machine, &test.to_string(), subject, rest, &given.named)?,
        };
        if holds == wanted {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn decide(
    machine: &Evaluator<'_>,
    test: &str,
    subject: Value,
    rest: &[Value],
    named: &Kwargs,
) -> Result<bool, Error> {
    match machine.apply_test(test, subject, rest.to_vec(), named.clone())? {
        Ok(holds) => Ok(holds),
        Err(undefined) => truth(&undefined),
    }
}
