//! JMESPath's functions, as Python's library has them.

use jmespath::ast::Ast;

use super::{Argument, Query};
use crate::template::Error;
use crate::template::eval::{add, sorted};
use crate::value::{Dict, Value, compare};

/// What kinds of values a parameter takes.
#[derive(Clone, Copy, PartialEq)]
enum Type {
    Any,
    Number,
    Text,
    List,
    Mapping,
    Expression,
}

use Type::{Any, Expression, List, Mapping, Number, Text};

/// A function's parameters, each of one of some kinds; the last may be given any number of times.
struct Signature {
    params: &'static [&'static [Type]],
    variadic: bool,
}

fn signature(name: &str) -> Option<Signature> {
    let params: &'static [&'static [Type]] = match name {
        "abs" | "ceil" | "floor" => &[&[Number]],
        "avg" | "sum" | "max" | "min" | "sort" => &[&[List]],
        "not_null" | "to_array" | "to_string" | "to_number" | "type" => &[&[Any]],
        "contains" => &[&[List, Text], &[Any]],
        "length" => &[&[Text, List, Mapping]],
        "ends_with" | "starts_with" => &[&[Text], &[Text]],
        "reverse" => &[&[List, Text]],
        "join" => &[&[Text], &[List]],
        "map" => &[&[Expression], &[List]],
        "merge" | "keys" | "values" => &[&[Mapping]],
        "sort_by" | "min_by" | "max_by" => &[&[List], &[Expression]],
        _ => return None,
    };
    let variadic = matches!(name, "not_null" | "merge");
    Some(Signature { params, variadic })
}

fn kind(value: &Value) -> (Type, &'static str) {
    match value {
        Value::None => (Any, "null"),
        Value::Bool(_) => (Any, "boolean"),
        Value::Int(_) | Value::Big(_) | Value::Float(_) => (Number, "number"),
        Value::Str(_) => (Text, "string"),
        Value::List(_) | Value::Tuple(_) => (List, "array"),
        Value::Dict(_) => (Mapping, "object"),
        _ => (Any, "unknown"),
    }
}

fn check(name: &str, args: &[Argument<'_>]) -> Result<(), Error> {
    let Some(signature) = signature(name) else {
        return Err(Error::failed(format!("Unknown function: {name}()")));
    };
    let (wanted, got) = (signature.params.len(), args.len());
    if got < wanted || got > wanted && !signature.variadic {
        return Err(Error::failed(format!(
            "Expected {wanted} arguments for function {name}(), received {got}"
        )));
    }
    for (at, arg) in args.iter().enumerate() {
        let wanted = signature.params[at.min(wanted - 1)];
        let (given, shown) = match arg {
            Argument::Expression(_) => (Expression, "expref"),
            Argument::Value(value) => kind(value),
        };
        let any = wanted == [Any] && given != Expression;
        if !any && !wanted.contains(&given) {
            return Err(Error::failed(format!(
                "In function {name}(), invalid type for value, received: \"{shown}\""
            )));
        }
    }
    Ok(())
}

pub(super) fn call(query: &Query<'_>, name: &str, args: &[Argument<'_>]) -> Result<Value, Error> {
    check(name, args)?;
    let value = |at: usize| match args.get(at) {
        Some(Argument::Value(value)) => value.clone(),
        _ => Value::None,
    };
    let list = |at: usize| query.list(&value(at)).map(Option::unwrap_or_default);
    let expression = || {
        let found = args.iter().find_map(|arg| match arg {
            Argument::Expression(ast) => Some(*ast),
            Argument::Value(_) => None,
        });
        found.ok_or_else(|| Error::failed("an expression is missing"))
    };
    match name {
        "map" => {
            let ast = expression()?;
            let items = list(1)?;
            let mapped = items.iter().map(|item| query.visit(ast, item));
            mapped.collect::<Result<Vec<_>, _>>().map(Value::list)
        }
        "sort_by" => sort_by(query, list(0)?, expression()?),
        "min_by" => extreme_by(query, list(0)?, expression()?, std::cmp::Ordering::Less),
        "max_by" => extreme_by(query, list(0)?, expression()?, std::cmp::Ordering::Greater),
        "not_null" => {
            let given = (0..args.len()).map(value);
            let found = given
                .into_iter()
                .find(|value| !matches!(value, Value::None));
            Ok(found.unwrap_or_default())
        }
        "merge" => {
            let merged = Dict::new();
            for at in 0..args.len() {
                for (key, item) in value(at).as_dict().map(Dict::entries).unwrap_or_default() {
                    merged.insert(key, item);
                }
            }
            Ok(Value::Dict(merged))
        }
        "avg" | "sum" | "max" | "min" | "sort" | "join" => {
            of_list(query, name, &value(0), &list)?.map_or_else(|| Ok(Value::None), Ok)
        }
        _ => plain(query, name, &value(0), &value(1)),
    }
}

/// Functions of one value, or of two.
fn plain(query: &Query<'_>, name: &str, value: &Value, other: &Value) -> Result<Value, Error> {
    Ok(match name {
        "abs" => match value {
            Value::Float(f) => Value::Float(f.abs()),
            Value::Int(n) if *n >= 0 => value.clone(),
            _ if value.to_string().starts_with('-') => negated(value),
            _ => value.clone(),
        },
        "ceil" => rounded(value, f64::ceil),
        "floor" => rounded(value, f64::floor),
        "to_array" => match value {
            Value::List(_) => value.clone(),
            other => Value::list(vec![other.clone()]),
        },
        "to_string" => match value {
            Value::Str(_) => value.clone(),
            other => Value::from(super::super::super::json::compact(query.machine, other)?),
        },
        "to_number" => to_number(value),
        "type" => Value::str(kind(value).1),
        "contains" => Value::Bool(query.machine.contains(value, other)?),
        "length" => Value::Int(length(value)),
        "ends_with" => Value::Bool(value.to_string().ends_with(&other.to_string())),
        "starts_with" => Value::Bool(value.to_string().starts_with(&other.to_string())),
        "reverse" => match value {
            Value::Str(text) => Value::from(text.chars().rev().collect::<String>()),
            list => Value::list(query.machine.items(list)?.into_iter().rev().collect()),
        },
        "keys" => Value::list(value.as_dict().map(Dict::keys).unwrap_or_default()),
        "values" => Value::list(value.as_dict().map(Dict::values).unwrap_or_default()),
        other => return Err(Error::failed(format!("Unknown function: {other}()"))),
    })
}

fn negated(value: &Value) -> Value {
    match value.as_big() {
        Some(n) => crate::value::from_big(-n),
        None => value.clone(),
    }
}

fn rounded(value: &Value, round: fn(f64) -> f64) -> Value {
    match value {
        Value::Float(f) => Value::whole(round(*f)).unwrap_or_else(|| value.clone()),
        whole => whole.clone(),
    }
}

fn length(value: &Value) -> i64 {
    let length = match value {
        Value::Str(text) => text.chars().count(),
        Value::List(list) => list.len(),
        Value::Tuple(items) => items.len(),
        Value::Dict(dict) => dict.len(),
        _ => 0,
    };
    i64::try_from(length).unwrap_or(i64::MAX)
}

fn to_number(value: &Value) -> Value {
    match value {
        Value::Int(_) | Value::Big(_) | Value::Float(_) => value.clone(),
        Value::Str(text) => match (text.trim().parse(), text.trim().parse()) {
            (Ok(whole), _) => Value::Int(whole),
            (_, Ok(float)) => Value::Float(float),
            _ => Value::None,
        },
        _ => Value::None,
    }
}

/// Functions of a list of numbers or of texts; none for what an empty list has not.
fn of_list(
    query: &Query<'_>,
    name: &str,
    first: &Value,
    list: &dyn Fn(usize) -> Result<Vec<Value>, Error>,
) -> Result<Option<Value>, Error> {
    let items = list(usize::from(name == "join"))?;
    let wanted: &[Type] = match name {
        "avg" | "sum" => &[Number],
        "join" => &[Text],
        _ => match items.first().map(kind) {
            Some((Number, _)) => &[Number],
            _ => &[Text],
        },
    };
    if let Some((_, shown)) = items
        .iter()
        .map(kind)
        .find(|(kind, _)| !wanted.contains(kind))
    {
        return Err(Error::failed(format!(
            "In function {name}(), invalid type for value, received: \"{shown}\""
        )));
    }
    Ok(match name {
        "join" => {
            let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
            Some(Value::from(texts.join(&first.to_string())))
        }
        "sort" => Some(Value::list(sorted(items)?)),
        "max" => sorted(items)?.pop(),
        "min" => sorted(items)?.into_iter().next(),
        _ => {
            let mut sum = Value::Int(0);
            for item in &items {
                sum = add(query.machine, &sum, item)?;
            }
            match (name, sum.as_float(), u32::try_from(items.len())) {
                ("sum", ..) => Some(sum),
                (_, Some(sum), Ok(count)) if count > 0 => {
                    Some(Value::Float(sum / f64::from(count)))
                }
                _ => None,
            }
        }
    })
}

/// Returns what each item is ordered by: texts or numbers, all of one kind.
fn keyed(query: &Query<'_>, items: Vec<Value>, ast: &Ast) -> Result<Vec<(Value, Value)>, Error> {
    let mut out: Vec<(Value, Value)> = Vec::new();
    for item in items {
        let key = query.visit(ast, &item)?;
        let (of_key, shown) = kind(&key);
        let first = out.first().map_or(of_key, |(first, _)| kind(first).0);
        if !matches!(of_key, Number | Text) || of_key != first {
            return Err(Error::failed(format!(
                "invalid type for value, expected one of: ['string', 'number'], received: \"{shown}\""
            )));
        }
        out.push((key, item));
    }
    Ok(out)
}

fn sort_by(query: &Query<'_>, items: Vec<Value>, ast: &Ast) -> Result<Value, Error> {
    let mut keyed = keyed(query, items, ast)?;
    keyed.sort_by(|(a, _), (b, _)| compare(a, b, "<").unwrap_or(std::cmp::Ordering::Equal));
    Ok(Value::list(
        keyed.into_iter().map(|(_, item)| item).collect(),
    ))
}

fn extreme_by(
    query: &Query<'_>,
    items: Vec<Value>,
    ast: &Ast,
    wanted: std::cmp::Ordering,
) -> Result<Value, Error> {
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in keyed(query, items, ast)? {
        let better = match &best {
            None => true,
            Some((of_best, _)) => compare(&key, of_best, "<")? == wanted,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map_or(Value::None, |(_, item)| item))
}
