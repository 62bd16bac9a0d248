//! `json_query`: JMESPath over values, in whose mappings the order counts, unlike in the parser's
//! own library.

mod functions;

use jmespath::Variable;
use jmespath::ast::{Ast, Comparator};

use super::super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Dict, Value, compare};

pub(in super::super) const FILTERS: &[Filter] = &[filter("json_query", &["expr"], json_query)];

/// One query.
struct Query<'q> {
    machine: &'q Evaluator<'q>,
}

/// What an argument of a function is.
enum Argument<'a> {
    Value(Value),
    /// `&expression`.
    Expression(&'a Ast),
}

/// For each of these the parser goes deeper, and the drop of what it read; `visit` has a limit of its own.
const DEEPER: &str = "([{!&.|=<>";
const MOST_NESTED: usize = 1000;

fn json_query(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let text = given.text(0)?;
    let wrong = |reason: &dyn std::fmt::Display| {
        Error::failed(format!(
            "JMESPathError in json_query filter plugin:\n{reason}"
        ))
    };
    if text.chars().filter(|c| DEEPER.contains(*c)).count() > MOST_NESTED {
        return Err(wrong(&"the query is nested too deeply"));
    }
    let ast = jmespath::parse(&with_json_literals(&text)).map_err(|e| wrong(&e))?;
    Query { machine }
        .visit(&ast, &value)
        .map_err(|error| match error.kind {
            crate::template::ErrorKind::Failed => wrong(&error.message),
            _ => error,
        })
}

/// Quotes the literals that are no JSON, as in the first days of JMESPath: `` `text` ``.
fn with_json_literals(query: &str) -> String {
    let mut out = String::new();
    let mut rest = query;
    while let Some(at) = rest.find(['`', '\'', '"']) {
        let quote = &rest[at..=at];
        let inner = &rest[at + 1..];
        let mut escaped = false;
        let end = inner.find(|c: char| {
            let ends = !escaped && quote.starts_with(c);
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else { break };
        let text = &inner[..end];
        let json = serde_json::from_str::<serde_json::Value>(&text.replace("\\`", "`"));
        let plain = quote == "`" && json.is_err();
        let text = match plain {
            true => serde_json::Value::from(text.trim_start()).to_string(),
            false => text.to_owned(),
        };
        out.extend([&rest[..at], quote, &text, quote]);
        rest = &inner[end + 1..];
    }
    out + rest
}

fn is_false(value: &Value) -> bool {
    match value {
        Value::None | Value::Bool(false) => true,
        Value::Str(text) => text.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Tuple(items) => items.is_empty(),
        Value::Dict(dict) => dict.is_empty(),
        _ => false,
    }
}

fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Big(_) | Value::Float(_))
}

/// Returns whether two values are equal; to JMESPath a truth value is no number.
fn equal(a: &Value, b: &Value) -> bool {
    matches!(a, Value::Bool(_)) == matches!(b, Value::Bool(_)) && a == b
}

impl Query<'_> {
    fn visit(&self, ast: &Ast, on: &Value) -> Result<Value, Error> {
        let _deeper = self.machine.meter.deeper()?;
        self.machine.meter.steps(1)?;
        Ok(match ast {
            Ast::Identity { .. } => on.clone(),
            Ast::Field { name, .. } => on.get(name).unwrap_or_default(),
            Ast::Index { idx, .. } => Self::index(on, i64::from(*idx))?,
            Ast::Literal { value, .. } => literal(value),
            Ast::Subexpr { lhs, rhs, .. } => {
                let left = self.visit(lhs, on)?;
                self.visit(rhs, &left)?
            }
            Ast::Or { lhs, rhs, .. } => match self.visit(lhs, on)? {
                left if is_false(&left) => self.visit(rhs, on)?,
                left => left,
            },
            Ast::And { lhs, rhs, .. } => match self.visit(lhs, on)? {
                left if is_false(&left) => left,
                _ => self.visit(rhs, on)?,
            },
            Ast::Not { node, .. } => {
                let value = self.visit(node, on)?;
                Value::Bool(!is_number(&value) && !value.truthy())
            }
            Ast::Condition {
                predicate, then, ..
            } => match is_false(&self.visit(predicate, on)?) {
                true => Value::None,
                false => self.visit(then, on)?,
            },
            Ast::Comparison {
                comparator,
                lhs,
                rhs,
                ..
            } => {
                let (left, right) = (self.visit(lhs, on)?, self.visit(rhs, on)?);
                compared(comparator, &left, &right)?
            }
            Ast::ObjectValues { node, .. } => match self.visit(node, on)? {
                Value::Dict(dict) => Value::list(dict.values()),
                _ => Value::None,
            },
            Ast::Projection { lhs, rhs, .. } => self.projection(lhs, rhs, on)?,
            Ast::Flatten { node, .. } => self.flatten(node, on)?,
            Ast::MultiList { elements, .. } => self.select_list(elements, on)?,
            Ast::MultiHash { elements, .. } => {
                if matches!(on, Value::None) {
                    return Ok(Value::None);
                }
                let dict = Dict::new();
                for pair in elements {
                    dict.set(&pair.key, self.visit(&pair.value, on)?);
                }
                Value::Dict(dict)
            }
            Ast::Function { name, args, .. } => self.call(name, args, on)?,
            Ast::Expref { .. } => {
                return Err(Error::failed("an expression stands only as an argument"));
            }
            Ast::Slice {
                start, stop, step, ..
            } => self.slice(on, [*start, *stop, Some(*step)])?,
        })
    }

    fn list(&self, value: &Value) -> Result<Option<Vec<Value>>, Error> {
        match value {
            Value::List(_) | Value::Tuple(_) => self.machine.items(value).map(Some),
            _ => Ok(None),
        }
    }

    fn index(on: &Value, index: i64) -> Result<Value, Error> {
        match on {
            Value::List(_) | Value::Tuple(_) => {
                let found = Evaluator::item(on, &Value::Int(index))?;
                Ok(if found.is_undefined() {
                    Value::None
                } else {
                    found
                })
            }
            _ => Ok(Value::None),
        }
    }

    fn slice(&self, on: &Value, bounds: [Option<i32>; 3]) -> Result<Value, Error> {
        let Some(items) = self.list(on)? else {
            return Ok(Value::None);
        };
        let bounds = bounds.map(|bound| bound.map(i64::from));
        let indices = crate::template::eval::slice_indices(items.len(), bounds)?;
        let picked = indices.into_iter().filter_map(|at| items.get(at).cloned());
        Ok(Value::list(picked.collect()))
    }

    fn projection(&self, over: &Ast, of: &Ast, on: &Value) -> Result<Value, Error> {
        let base = self.visit(over, on)?;
        let Some(items) = self.list(&base)? else {
            return Ok(Value::None);
        };
        let mut out = Vec::new();
        for item in &items {
            match self.visit(of, item)? {
                Value::None => {}
                found => out.push(found),
            }
        }
        Ok(Value::list(out))
    }

    fn flatten(&self, node: &Ast, on: &Value) -> Result<Value, Error> {
        let base = self.visit(node, on)?;
        let Some(items) = self.list(&base)? else {
            return Ok(Value::None);
        };
        let mut out = Vec::new();
        for item in items {
            match self.list(&item)? {
                Some(inner) => out.extend(inner),
                None => out.push(item),
            }
        }
        Ok(Value::list(out))
    }

    fn select_list(&self, elements: &[Ast], on: &Value) -> Result<Value, Error> {
        if matches!(on, Value::None) {
            return Ok(Value::None);
        }
        let all = elements.iter().map(|element| self.visit(element, on));
        all.collect::<Result<Vec<_>, _>>().map(Value::list)
    }

    fn call(&self, name: &str, args: &[Ast], on: &Value) -> Result<Value, Error> {
        let mut given = Vec::new();
        for arg in args {
            given.push(match arg {
                Ast::Expref { ast, .. } => Argument::Expression(ast),
                other => Argument::Value(self.visit(other, on)?),
            });
        }
        functions::call(self, name, &given)
    }
}

fn compared(comparator: &Comparator, a: &Value, b: &Value) -> Result<Value, Error> {
    let holds = match comparator {
        Comparator::Equal => equal(a, b),
        Comparator::NotEqual => !equal(a, b),
        ordering => {
            let both = |fits: fn(&Value) -> bool| fits(a) && fits(b);
            if !both(is_number) && !both(|value| value.as_str().is_some()) {
                return Ok(Value::None);
            }
            let order = compare(a, b, "<")?;
            match ordering {
                Comparator::LessThan => order.is_lt(),
                Comparator::LessThanEqual => order.is_le(),
                Comparator::GreaterThan => order.is_gt(),
                _ => order.is_ge(),
            }
        }
    };
    Ok(Value::Bool(holds))
}

/// Returns a constant of the query.
fn literal(value: &Variable) -> Value {
    match value {
        Variable::Null | Variable::Expref(_) => Value::None,
        Variable::String(text) => Value::str(text),
        Variable::Bool(truth) => Value::Bool(*truth),
        Variable::Number(number) => Value::from_json(&serde_json::Value::Number(number.clone())),
        Variable::Array(items) => Value::list(items.iter().map(|item| literal(item)).collect()),
        Variable::Object(map) => Value::dict(map.iter().map(|(key, item)| (key, literal(item)))),
    }
}
