//! Rules between the options of one level of a spec, and their choices.

use super::types::iterated;
use crate::value::{Dict, Key, Value};

/// A rule as an option names it.
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) check: fn(Option<Value>, &Dict) -> Option<String>,
}

/// Those that defaults count for, in the order in which they are looked at.
pub(super) const ALL: [Rule; 4] = [
    Rule {
        name: "required_together",
        check: together,
    },
    Rule {
        name: "required_one_of",
        check: one_of,
    },
    Rule {
        name: "required_if",
        check: required_if,
    },
    Rule {
        name: "required_by",
        check: required_by,
    },
];

/// Returns the items of a rule; Python takes a text for its characters.
fn parts(value: &Value) -> Vec<Value> {
    iterated(value).unwrap_or_default()
}

fn terms(rule: Option<Value>) -> Vec<Value> {
    rule.as_ref().map(parts).unwrap_or_default()
}

/// Returns how many of the names that `term` is, or holds, were given.
fn count(term: &Value, arguments: &Dict) -> usize {
    let names = match term {
        Value::List(list) => list.items(),
        one => vec![one.clone()],
    };
    let mut given: Vec<&Value> = Vec::new();
    for name in &names {
        let key = Key::of(name.clone());
        if key.is_ok_and(|key| arguments.has_key(&key)) && !given.contains(&name) {
            given.push(name);
        }
    }
    given.len()
}

fn joined(items: &[Value], by: &str) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(by)
}

/// `mutually_exclusive`; defaults do not count.
pub(super) fn exclusive(rule: Option<Value>, arguments: &Dict) -> Option<String> {
    let clashing: Vec<String> = terms(rule)
        .iter()
        .filter(|set| count(set, arguments) > 1)
        .map(|set| joined(&parts(set), "|"))
        .collect();
    let all = clashing.join(", ");
    (!clashing.is_empty()).then(|| format!("parameters are mutually exclusive: {all}"))
}

fn together(rule: Option<Value>, arguments: &Dict) -> Option<String> {
    let broken = |set: &Value| {
        let fields = parts(set);
        let given = fields.iter().filter(|field| count(field, arguments) > 0);
        let given = given.count();
        (given > 0 && given < fields.len()).then(|| joined(&fields, ", "))
    };
    let names = terms(rule).iter().find_map(broken)?;
    Some(format!("parameters are required together: {names}"))
}

fn one_of(rule: Option<Value>, arguments: &Dict) -> Option<String> {
    let missing = |set: &Value| (count(set, arguments) == 0).then(|| joined(&parts(set), ", "));
    let names = terms(rule).iter().find_map(missing)?;
    Some(format!("one of the following is required: {names}"))
}

fn required_if(rule: Option<Value>, arguments: &Dict) -> Option<String> {
    terms(rule).iter().find_map(|rule| {
        let rule = parts(rule);
        let [name, is, needs, rest @ ..] = rule.as_slice() else {
            return None;
        };
        let any = rest.first().is_some_and(Value::truthy);
        let value = arguments.get(&name.to_string())?;
        let needs = parts(needs);
        let missing: Vec<Value> = needs
            .iter()
            .filter(|need| count(need, arguments) == 0)
            .cloned()
            .collect();
        let enough = missing.is_empty() || any && missing.len() < needs.len();
        if enough || value != *is {
            return None;
        }
        let which = if any { "any" } else { "all" };
        let missing = joined(&missing, ", ");
        Some(format!(
            "{name} is {is} but {which} of the following are missing: {missing}"
        ))
    })
}

fn required_by(rule: Option<Value>, arguments: &Dict) -> Option<String> {
    let given = |name: &Value| {
        let value = arguments.get(&name.to_string());
        value.is_some_and(|value| !matches!(value, Value::None))
    };
    let rules = rule.as_ref().and_then(Value::as_dict)?.entries();
    rules.into_iter().find_map(|(name, needs)| {
        let needs = match needs {
            one @ Value::Str(_) => vec![one],
            many => parts(&many),
        };
        let missing: Vec<Value> = needs.into_iter().filter(|need| !given(need)).collect();
        let name = name.value();
        if missing.is_empty() || !given(name) {
            return None;
        }
        let missing = joined(&missing, ", ");
        Some(format!(
            "missing parameter(s) required by '{name}': {missing}"
        ))
    })
}

/// Says whether a value is among the choices of the option `name`. YAML reads some texts as truths: where
/// only one choice can have been written so, it is returned.
pub(super) fn chosen(
    name: &str,
    value: &Value,
    choices: &[Value],
) -> Result<Option<Value>, String> {
    let all = joined(choices, ", ");
    if let Value::List(items) = value {
        let other = |item: &Value| !choices.contains(item);
        let others: Vec<Value> = items.items().into_iter().filter(other).collect();
        let shown = joined(&others, ", ");
        return match others.is_empty() {
            true => Ok(None),
            false => Err(format!(
                "value of {name} must be one or more of: {all}. Got no match for: {shown}"
            )),
        };
    }
    if choices.contains(value) {
        return Ok(None);
    }
    let written = match value.as_str() {
        Some("True") => only(choices, true),
        Some("False") => only(choices, false),
        _ => None,
    };
    match written {
        Some(written) => Ok(Some(written)),
        None => Err(format!(
            "value of {name} must be one of: {all}, got: {value}"
        )),
    }
}

/// Returns the only choice that reads as `truth`.
fn only(choices: &[Value], truth: bool) -> Option<Value> {
    let mut fitting: Vec<&Value> = Vec::new();
    for choice in choices {
        if super::types::truth(choice) == Some(truth) && !fitting.contains(&choice) {
            fitting.push(choice);
        }
    }
    match fitting.as_slice() {
        [one] => Some((*one).clone()),
        _ => None,
    }
}
