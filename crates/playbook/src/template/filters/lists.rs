//! Filters on sequences, one in and one out.

use super::{Filter, Given, filter};
use crate::template::eval::{Evaluator, Group, add, sorted};
use crate::template::{Error, ErrorKind};
use crate::value::{Key, Value, compare};

pub(super) const FILTERS: &[Filter] = &[
    filter("list", &[], |m, v, _| m.items(&v).map(Value::list)),
    filter("join", &["d", "attribute"], join),
    filter("length", &[], length),
    filter("count", &[], length),
    filter("first", &[], |m, v, _| {
        Ok(m.items(&v)?
            .into_iter()
            .next()
            .unwrap_or_else(|| none_of("first")))
    }),
    filter("last", &[], |m, v, _| {
        Ok(m.items(&v)?.pop().unwrap_or_else(|| none_of("last")))
    }),
    filter("sort", &["reverse", "case_sensitive", "attribute"], sort),
    filter("reverse", &[], reverse),
    filter("batch", &["linecount", "fill_with"], batch),
    filter("slice", &["slices", "fill_with"], slice),
    filter("sum", &["attribute", "start"], sum),
    filter("min", &["case_sensitive", "attribute"], |m, v, g| {
        extreme(m, &v, g, std::cmp::Ordering::Less)
    }),
    filter("max", &["case_sensitive", "attribute"], |m, v, g| {
        extreme(m, &v, g, std::cmp::Ordering::Greater)
    }),
    filter("flatten", &["levels", "skip_nulls"], flatten),
    filter(
        "groupby",
        &["attribute", "default", "case_sensitive"],
        groupby,
    ),
    filter("zip", &["*", "=strict"], |m, v, g| zip(m, &v, g, false)),
    filter("zip_longest", &["*", "=fillvalue"], |m, v, g| {
        zip(m, &v, g, true)
    }),
    filter("product", &["*", "=repeat"], product),
    filter("permutations", &["r"], |m, v, g| choose(m, &v, g, true)),
    filter("combinations", &["r"], |m, v, g| choose(m, &v, g, false)),
];

fn none_of(which: &str) -> Value {
    Value::missing(format!("No {which} item, sequence was empty."))
}

/// Follows `a.b.0` from `value`.
pub(in crate::template) fn attribute_path(value: &Value, path: &Value) -> Result<Value, Error> {
    let Value::Str(path) = path else {
        return Evaluator::item(value, path);
    };
    let mut value = value.clone();
    for part in path.split('.') {
        let key = part
            .parse::<i64>()
            .map_or_else(|_| Value::str(part), Value::Int);
        value = Evaluator::item(&value, &key)?;
    }
    Ok(value)
}

fn join(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let separator = given.text_or(0, "");
    let mut out = String::new();
    for (index, item) in machine.items(&value)?.into_iter().enumerate() {
        let item = match given.optional(1) {
            Some(path) if !matches!(path, Value::None) => attribute_path(&item, path)?,
            _ => item,
        };
        let text = crate::template::eval::defined(item)?.to_string();
        machine.meter.bytes(text.len() + separator.len())?;
        if index > 0 {
            out.push_str(&separator);
        }
        out.push_str(&text);
    }
    Ok(Value::from(out))
}

fn length(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let length = match &value {
        Value::Str(text) => text.chars().count(),
        Value::Dict(dict) => dict.len(),
        Value::List(list) => list.len(),
        Value::Object(object) if object.sequence().is_some() => object.sequence().unwrap_or(0),
        Value::None | Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
            return Err(Error::failed(format!(
                "object of type '{}' has no len()",
                value.type_name()
            )));
        }
        other => machine.items(other)?.len(),
    };
    Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
}

/// Returns what to sort by: texts without their case, unless it matters.
fn sort_key(item: &Value, path: Option<&Value>, cased: bool) -> Result<Value, Error> {
    let mut keys = Vec::new();
    match path {
        Some(Value::Str(paths)) => {
            for path in paths.split(',') {
                keys.push(attribute_path(item, &Value::str(path))?);
            }
        }
        Some(path) if !matches!(path, Value::None) => {
            keys.push(attribute_path(item, path)?);
        }
        _ => keys.push(item.clone()),
    }
    let mut folded = Vec::new();
    for key in keys {
        folded.push(match crate::template::eval::defined(key)? {
            Value::Str(text) if !cased => Value::from(text.to_lowercase()),
            key => key,
        });
    }
    Ok(match folded.len() {
        1 => folded.pop().unwrap_or_default(),
        _ => Value::list(folded),
    })
}

fn sort(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (reverse, cased) = (given.flag(0, false)?, given.flag(1, false)?);
    let mut keyed = Vec::new();
    for item in machine.items(&value)? {
        keyed.push((sort_key(&item, given.optional(2), cased)?, item));
    }
    let mut failure = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let order = compare(a, b, "<").unwrap_or_else(|error| {
            failure.get_or_insert(error);
            std::cmp::Ordering::Equal
        });
        if reverse { order.reverse() } else { order }
    });
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(Value::list(
            keyed.into_iter().map(|(_, item)| item).collect(),
        )),
    }
}

fn reverse(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    if let Value::Str(text) = &value {
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut items = machine.items(&value)?;
    items.reverse();
    Ok(Value::list(items))
}

fn batch(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let size = given.size(0, 1)?.max(1);
    let mut rows: Vec<Vec<Value>> = machine
        .items(&value)?
        .chunks(size)
        .map(<[_]>::to_vec)
        .collect();
    if let (Some(fill), Some(last)) = (
        given.optional(1).filter(|f| !matches!(f, Value::None)),
        rows.last_mut(),
    ) {
        machine.meter.items(size)?;
        last.resize(size, fill.clone());
    }
    Ok(Value::list(rows.into_iter().map(Value::list).collect()))
}

fn slice(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let items = machine.items(&value)?;
    let slices = given.size(0, 1)?.max(1);
    machine.meter.items(slices)?;
    let (each, extra) = (items.len() / slices, items.len() % slices);
    let mut out = Vec::new();
    let mut from = 0;
    for number in 0..slices {
        let size = each + usize::from(number < extra);
        let mut part = items[from..from + size].to_vec();
        from += size;
        if let (Some(fill), true) = (
            given.optional(1).filter(|f| !matches!(f, Value::None)),
            number >= extra,
        ) {
            part.push(fill.clone());
        }
        out.push(Value::list(part));
    }
    Ok(Value::list(out))
}

fn sum(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut total = given.optional(1).cloned().unwrap_or(Value::Int(0));
    for item in machine.items(&value)? {
        let item = match given.optional(0) {
            Some(path) if !matches!(path, Value::None) => attribute_path(&item, path)?,
            _ => item,
        };
        total = add(machine, &total, &crate::template::eval::defined(item)?)?;
    }
    Ok(total)
}

fn extreme(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    wanted: std::cmp::Ordering,
) -> Result<Value, Error> {
    let cased = given.flag(0, false)?;
    let mut best: Option<(Value, Value)> = None;
    for item in machine.items(value)? {
        let key = sort_key(&item, given.optional(1), cased)?;
        let better = match &best {
            None => true,
            Some((_, best)) => compare(&key, best, "<")? == wanted,
        };
        if better {
            best = Some((item, key));
        }
    }
    Ok(best.map_or_else(
        || Value::missing("No aggregated item, sequence was empty.".to_owned()),
        |(item, _)| item,
    ))
}

fn flatten(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let levels = match given.optional(0) {
        None | Some(Value::None) => i64::MAX,
        Some(_) => given.int(0, 0)?,
    };
    let mut out = Vec::new();
    flatten_into(machine, &value, levels, given.flag(1, true)?, 0, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into(
    machine: &Evaluator<'_>,
    value: &Value,
    levels: i64,
    skip: bool,
    depth: usize,
    out: &mut Vec<Value>,
) -> Result<(), Error> {
    if depth > 200 {
        return Err(Error::failed("the list is nested too deeply"));
    }
    for item in machine.items(value)? {
        let null = matches!(&item, Value::None) || matches!(item.as_str(), Some("None" | "null"));
        if null && skip {
            continue;
        }
        match &item {
            Value::List(_) | Value::Tuple(_) if levels >= 1 => {
                flatten_into(
                    machine,
                    &item,
                    levels.saturating_sub(1),
                    skip,
                    depth + 1,
                    out,
                )?;
            }
            _ => out.push(item),
        }
    }
    Ok(())
}

fn groupby(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let path = given.value(0)?;
    let cased = given.flag(2, false)?;
    let mut keyed = Vec::new();
    for item in machine.items(&value)? {
        // The default is for what an attribute is, never for one that is missing.
        let key = crate::template::eval::defined(attribute_path(&item, path)?)?;
        let folded = match &key {
            Value::Str(text) if !cased => Value::from(text.to_lowercase()),
            key => key.clone(),
        };
        keyed.push(Value::tuple(vec![
            folded,
            Value::Int(i64::try_from(keyed.len()).unwrap_or(0)),
            key,
            item,
        ]));
    }
    let order = keyed.iter().map(|row| {
        machine
            .items(row)
            .map(|row| Value::tuple(row[..2].to_vec()))
    });
    let order = sorted(order.collect::<Result<Vec<_>, _>>()?)?;
    let mut groups: Vec<(Value, Value, Vec<Value>)> = Vec::new();
    for row in order {
        let row = machine.items(&row)?;
        let at = row[1]
            .as_int()
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(0);
        let full = machine.items(&keyed[at])?;
        match groups.last_mut() {
            Some((folded, _, items)) if *folded == row[0] => items.push(full[3].clone()),
            _ => groups.push((row[0].clone(), full[2].clone(), vec![full[3].clone()])),
        }
    }
    let groups = groups
        .into_iter()
        .map(|(_, grouper, items)| Group::value(grouper, items));
    Ok(Value::list(groups.collect()))
}

fn columns(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
) -> Result<Vec<Vec<Value>>, Error> {
    std::iter::once(value)
        .chain(&given.rest)
        .map(|list| machine.items(list))
        .collect()
}

fn zip(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    longest: bool,
) -> Result<Value, Error> {
    let columns = columns(machine, value, given)?;
    let lengths = columns.iter().map(Vec::len);
    let length = if longest {
        lengths.max()
    } else {
        lengths.min()
    }
    .unwrap_or(0);
    let strict = given.named.get("strict").is_some_and(Value::truthy);
    if strict && columns.iter().any(|column| column.len() != length) {
        return Err(Error::failed("zip() arguments have not the same length"));
    }
    let fill = given.named.get("fillvalue").cloned().unwrap_or_default();
    machine.meter.items(length.saturating_mul(columns.len()))?;
    let row = |at: usize| {
        Value::tuple(
            columns
                .iter()
                .map(|c| c.get(at).unwrap_or(&fill).clone())
                .collect(),
        )
    };
    Ok(Value::list((0..length).map(row).collect()))
}

fn product(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let once = columns(machine, &value, given)?;
    let repeat = given
        .named
        .get("repeat")
        .and_then(Value::as_int)
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(1);
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for column in once.iter().cycle().take(once.len().saturating_mul(repeat)) {
        machine.meter.items(
            rows.len()
                .saturating_mul(column.len())
                .saturating_mul(rows[..].first().map_or(1, |r| r.len() + 1)),
        )?;
        let grow = |row: &Vec<Value>| {
            column
                .iter()
                .map(|item| [row.as_slice(), std::slice::from_ref(item)].concat())
                .collect::<Vec<_>>()
        };
        rows = rows.iter().flat_map(grow).collect();
    }
    Ok(Value::list(rows.into_iter().map(Value::tuple).collect()))
}

fn choose(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    ordered: bool,
) -> Result<Value, Error> {
    let items = machine.items(value)?;
    let size = match given.optional(0) {
        None | Some(Value::None) => items.len(),
        Some(_) => given.size(0, 0)?,
    };
    let mut out = Vec::new();
    let mut picked = Vec::new();
    if size <= items.len() {
        if size > 100 {
            return Err(Error::new(ErrorKind::Limit, "too many combinations"));
        }
        choose_into(machine, &items, size, ordered, &mut picked, &mut out)?;
    }
    Ok(Value::list(out))
}

fn choose_into(
    machine: &Evaluator<'_>,
    items: &[Value],
    size: usize,
    ordered: bool,
    picked: &mut Vec<usize>,
    out: &mut Vec<Value>,
) -> Result<(), Error> {
    if picked.len() == size {
        machine.meter.items(size + 1)?;
        out.push(Value::tuple(
            picked.iter().map(|at| items[*at].clone()).collect(),
        ));
        return Ok(());
    }
    let from = if ordered {
        0
    } else {
        picked.last().map_or(0, |last| last + 1)
    };
    for at in from..items.len() {
        if ordered && picked.contains(&at) {
            continue;
        }
        machine.meter.steps(1)?;
        picked.push(at);
        choose_into(machine, items, size, ordered, picked, out)?;
        picked.pop();
    }
    Ok(())
}

/// Returns `items` as keys, if all of them have a hash.
pub(super) fn keys(items: &[Value]) -> Option<Vec<Key>> {
    items
        .iter()
        .map(|item| Key::of(item.clone()).ok())
        .collect()
}
