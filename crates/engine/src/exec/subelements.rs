//! The lookup `subelements`: the items of a list in each of some mappings, with the mapping.

use amibake_playbook::template::Error;
use amibake_playbook::value::Value;

use super::eval;

/// Returns pairs of a mapping and an item of its list.
pub(super) fn subelements(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let wrong = |what: &str| {
        let lead = "subelements lookup expects a list of two or three items, ";
        Error::failed(format!("{lead}{what}").trim_end())
    };
    let (list, path, flags) = match terms {
        [list, path] => (list, path, None),
        [list, path, flags] => (list, path, Some(flags)),
        _ => return Err(wrong("")),
    };
    let Value::Str(path) = path else {
        return Err(wrong(
            "first a dict or a list, second a string pointing to the subkey",
        ));
    };
    let elements = match list {
        Value::Dict(_) if was_skipped(list) => return Ok(Vec::new()),
        Value::Dict(dict) => dict.values(),
        Value::List(list) => list.items(),
        _ => {
            return Err(wrong(
                "first a dict or a list, second a string pointing to the subkey",
            ));
        }
    };
    let skip = match flags {
        None => false,
        Some(flags @ Value::Dict(_)) => {
            let skip = flags.get("skip_missing");
            skip.as_ref().and_then(eval::truth).unwrap_or(false)
        }
        Some(_) => {
            return Err(wrong(
                "the optional third item must be a dict with flags skip_missing",
            ));
        }
    };
    let mut found = Vec::new();
    for element in elements {
        let Value::Dict(_) = element else {
            return Err(Error::failed(format!(
                "subelements lookup expects a dictionary, got '{element}'"
            )));
        };
        if was_skipped(&element) {
            continue;
        }
        let items = subelement(&element, path, skip)?;
        let rest = without(&element, path);
        let pair = |item| Value::tuple(vec![rest.clone(), item]);
        found.extend(items.into_iter().map(pair));
    }
    Ok(found)
}

/// Returns whether this is the result of a task that was skipped.
fn was_skipped(value: &Value) -> bool {
    let skipped = value.get("skipped");
    skipped.is_some_and(|skipped| skipped != Value::Bool(false))
}

/// Returns the items of the list at the end of a dotted path; none of one that may be missing.
fn subelement(element: &Value, path: &str, skip: bool) -> Result<Vec<Value>, Error> {
    let keys: Vec<&str> = path.split('.').collect();
    let mut value = element.clone();
    for (at, key) in keys.iter().enumerate() {
        let wanted = if at + 1 == keys.len() {
            "list"
        } else {
            "dictionary"
        };
        let found = match value.get(key) {
            Some(found) => found,
            None if skip => return Ok(Vec::new()),
            None => {
                return Err(Error::failed(format!(
                    "could not find '{key}' key in iterated item '{value}'"
                )));
            }
        };
        let fits = match (wanted, &found) {
            ("list", Value::List(_)) => true,
            ("list", _) => false,
            (_, found) => found.as_dict().is_some(),
        };
        if !fits && wanted == "dictionary" && skip {
            return Ok(Vec::new());
        }
        if !fits {
            return Err(Error::failed(format!(
                "the key {key} should point to a {wanted}, got '{found}'"
            )));
        }
        value = found;
    }
    Ok(eval::items(&value).unwrap_or_default())
}

/// Returns a mapping without the key at the end of a dotted path, which the loop's items hold.
fn without(element: &Value, path: &str) -> Value {
    let copy = element.deep_copy();
    let (inner, last) = path.rsplit_once('.').unwrap_or(("", path));
    let keys = inner.split('.').filter(|key| !key.is_empty());
    let mut keys = keys;
    let holder = keys.try_fold(copy.clone(), |value, key| value.get(key));
    if let Some(dict) = holder.as_ref().and_then(Value::as_dict) {
        dict.remove(&last.into());
    }
    copy
}
