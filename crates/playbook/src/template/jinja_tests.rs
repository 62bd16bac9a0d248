//! Tests: what may stand behind `is`.

mod addresses;
mod marks;
mod versions;

pub(super) use versions::loose as loose_order;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::Error;
use super::eval::Evaluator;
use super::given::Given;
use crate::names::bare;
use crate::value::{Dict, Value, compare};

type Run = fn(&Evaluator<'_>, &Value, &Given) -> Result<bool, Error>;

/// One test.
pub(super) struct Test {
    pub(super) name: &'static str,
    pub(super) params: &'static [&'static str],
    pub(super) takes_undefined: bool,
    pub(super) run: Run,
}

const fn test(name: &'static str, params: &'static [&'static str], run: Run) -> Test {
    Test {
        name,
        params,
        takes_undefined: false,
        run,
    }
}

const fn lenient(name: &'static str, run: Run) -> Test {
    Test {
        name,
        params: &[],
        takes_undefined: true,
        run,
    }
}

const VERSION: &[&str] = &["version", "operator", "strict", "version_type"];
const PATTERN: &[&str] = &["pattern", "ignorecase", "multiline"];

const TESTS: &[Test] = &[
    lenient("defined", |_, v, _| Ok(!v.is_undefined())),
    lenient("undefined", |_, v, _| Ok(v.is_undefined())),
    test("none", &[], |_, v, _| Ok(matches!(v, Value::None))),
    test("boolean", &[], |_, v, _| Ok(matches!(v, Value::Bool(_)))),
    test("true", &[], |_, v, _| Ok(matches!(v, Value::Bool(true)))),
    test("false", &[], |_, v, _| Ok(matches!(v, Value::Bool(false)))),
    test("integer", &[], |_, v, _| {
        Ok(matches!(v, Value::Int(_) | Value::Big(_)))
    }),
    test("float", &[], |_, v, _| Ok(matches!(v, Value::Float(_)))),
    test("number", &[], |_, v, _| Ok(v.as_float().is_some())),
    test("string", &[], |_, v, _| Ok(matches!(v, Value::Str(_)))),
    test("mapping", &[], |_, v, _| Ok(matches!(v, Value::Dict(_)))),
    test("iterable", &[], |_, v, _| Ok(iterable(v))),
    test("sequence", &[], |_, v, _| Ok(iterable(v))),
    test("callable", &[], |_, v, _| {
        Ok(matches!(v, Value::Object(o) if o.callable()))
    }),
    test("sameas", &["other"], |_, v, g| Ok(same(v, g.value(0)?))),
    test("escaped", &[], |_, _, _| Ok(false)),
    test("eq", &["other"], |_, v, g| Ok(v == g.value(0)?)),
    test("equalto", &["other"], |_, v, g| Ok(v == g.value(0)?)),
    test("==", &["other"], |_, v, g| Ok(v == g.value(0)?)),
    test("ne", &["other"], |_, v, g| Ok(v != g.value(0)?)),
    test("!=", &["other"], |_, v, g| Ok(v != g.value(0)?)),
    test("lt", &["other"], |_, v, g| order(v, g, "<")),
    test("lessthan", &["other"], |_, v, g| order(v, g, "<")),
    test("<", &["other"], |_, v, g| order(v, g, "<")),
    test("le", &["other"], |_, v, g| order(v, g, "<=")),
    test("<=", &["other"], |_, v, g| order(v, g, "<=")),
    test("gt", &["other"], |_, v, g| order(v, g, ">")),
    test("greaterthan", &["other"], |_, v, g| order(v, g, ">")),
    test(">", &["other"], |_, v, g| order(v, g, ">")),
    test("ge", &["other"], |_, v, g| order(v, g, ">=")),
    test(">=", &["other"], |_, v, g| order(v, g, ">=")),
    test("in", &["seq"], |m, v, g| m.contains(g.value(0)?, v)),
    test("contains", &["value"], |m, v, g| m.contains(v, g.value(0)?)),
    test("divisibleby", &["num"], |_, v, g| {
        remainder(v, g.int(0, 1)?).map(|r| r == 0)
    }),
    test("even", &[], |_, v, _| remainder(v, 2).map(|r| r == 0)),
    test("odd", &[], |_, v, _| remainder(v, 2).map(|r| r == 1)),
    test("lower", &[], |_, v, _| {
        Ok(cased(v, char::is_lowercase, char::is_uppercase))
    }),
    test("upper", &[], |_, v, _| {
        Ok(cased(v, char::is_uppercase, char::is_lowercase))
    }),
    test("filter", &[], |_, v, _| {
        Ok(super::filters::find(&v.to_string()).is_some())
    }),
    test("test", &[], |_, v, _| Ok(find(&v.to_string()).is_some())),
    test("match", PATTERN, |_, v, g| {
        matches(
            v,
            &format!(r"\A(?:{})", g.text(0)?),
            g.flag(1, false)?,
            g.flag(2, false)?,
        )
    }),
    test("search", PATTERN, |_, v, g| {
        matches(v, &g.text(0)?, g.flag(1, false)?, g.flag(2, false)?)
    }),
    test(
        "regex",
        &["pattern", "ignorecase", "multiline", "match_type"],
        regex,
    ),
    test("version", VERSION, versions::test),
    test("version_compare", VERSION, versions::test),
    test("changed", &[], |_, v, _| {
        Ok(flag(v, "changed", "changed")? || any_result(v, "changed"))
    }),
    test("change", &[], |_, v, _| {
        Ok(flag(v, "changed", "changed")? || any_result(v, "changed"))
    }),
    test("failed", &[], |_, v, _| flag(v, "failed", "failed")),
    test("failure", &[], |_, v, _| flag(v, "failed", "failed")),
    test("success", &[], |_, v, _| {
        flag(v, "failed", "success").map(|failed| !failed)
    }),
    test("succeeded", &[], |_, v, _| {
        flag(v, "failed", "succeeded").map(|failed| !failed)
    }),
    test("successful", &[], |_, v, _| {
        flag(v, "failed", "successful").map(|failed| !failed)
    }),
    test("skipped", &[], |_, v, _| flag(v, "skipped", "skipped")),
    test("skip", &[], |_, v, _| flag(v, "skipped", "skip")),
    test("reachable", &[], |_, v, _| {
        flag(v, "unreachable", "reachable").map(|un| !un)
    }),
    test("unreachable", &[], |_, v, _| {
        flag(v, "unreachable", "unreachable")
    }),
    test("timedout", &[], |_, v, _| {
        let timed_out = result(v, "timedout")?.get("timedout");
        let period = timed_out.and_then(|timed_out| timed_out.get("period"));
        Ok(period.is_some_and(|period| period.truthy()))
    }),
    test("started", &[], |m, v, _| asynchronous(m, v, "started")),
    test("finished", &[], |m, v, _| asynchronous(m, v, "finished")),
    test("all", &[], |m, v, _| {
        Ok(m.items(v)?.iter().all(Value::truthy))
    }),
    test("any", &[], |m, v, _| {
        Ok(m.items(v)?.iter().any(Value::truthy))
    }),
    test("subset", &["b"], |m, v, g| subset(m, v, g.value(0)?)),
    test("issubset", &["b"], |m, v, g| subset(m, v, g.value(0)?)),
    test("superset", &["b"], |m, v, g| subset(m, g.value(0)?, v)),
    test("issuperset", &["b"], |m, v, g| subset(m, g.value(0)?, v)),
    test("file", &[], |m, v, _| {
        m.outside.file_test("file", &v.to_string(), None)
    }),
    test("is_file", &[], |m, v, _| {
        m.outside.file_test("file", &v.to_string(), None)
    }),
    test("directory", &[], |m, v, _| {
        m.outside.file_test("directory", &v.to_string(), None)
    }),
    test("is_dir", &[], |m, v, _| {
        m.outside.file_test("directory", &v.to_string(), None)
    }),
    test("exists", &[], |m, v, _| {
        m.outside.file_test("exists", &v.to_string(), None)
    }),
    test("link", &[], |m, v, _| {
        m.outside.file_test("link", &v.to_string(), None)
    }),
    test("is_link", &[], |m, v, _| {
        m.outside.file_test("link", &v.to_string(), None)
    }),
    test("link_exists", &[], |m, v, _| {
        m.outside.file_test("link_exists", &v.to_string(), None)
    }),
    test("mount", &[], |m, v, _| {
        m.outside.file_test("mount", &v.to_string(), None)
    }),
    test("is_mount", &[], |m, v, _| {
        m.outside.file_test("mount", &v.to_string(), None)
    }),
    test("same_file", &["b"], |m, v, g| {
        m.outside
            .file_test("same_file", &v.to_string(), Some(&g.text(0)?))
    }),
    test("is_same_file", &["b"], |m, v, g| {
        m.outside
            .file_test("same_file", &v.to_string(), Some(&g.text(0)?))
    }),
    test("abs", &[], |_, v, _| Ok(v.to_string().starts_with('/'))),
    test("is_abs", &[], |_, v, _| Ok(v.to_string().starts_with('/'))),
    test("truthy", &["convert_bool"], truthy),
    test("falsy", &["convert_bool"], |m, v, g| {
        truthy(m, v, g).map(|t| !t)
    }),
    // What was encrypted has been opened before it came here.
    test("vault_encrypted", &[], |_, _, _| Ok(false)),
    test("vaulted_file", &[], |m, v, _| {
        m.outside.file_test("vaulted_file", &v.to_string(), None)
    }),
    test("nan", &[], |_, v, _| {
        Ok(v.as_float().is_some_and(f64::is_nan))
    }),
    test("isnan", &[], |_, v, _| {
        Ok(v.as_float().is_some_and(f64::is_nan))
    }),
    test("uri", &["schemes"], |m, v, g| uri(m, v, g, false)),
    test("url", &["schemes"], |m, v, g| uri(m, v, g, true)),
    test("urn", &[], |_, v, _| Ok(scheme_and_host(v).0 == "urn")),
];

/// A test and the collection it is of.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) collection: &'static str,
    pub(super) test: &'static Test,
}

const BUILTIN: &str = "ansible.builtin";

fn table() -> &'static HashMap<(&'static str, &'static str), Found> {
    static TABLE: OnceLock<HashMap<(&'static str, &'static str), Found>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = [
            (BUILTIN, TESTS),
            ("ansible.utils", addresses::TESTS),
            ("ansible._protomatter", marks::TESTS),
        ];
        let all = all.into_iter().flat_map(|(collection, tests)| {
            tests.iter().map(move |test| Found { collection, test })
        });
        all.map(|found| ((found.collection, found.test.name), found))
            .collect()
    })
}

/// Returns the test called `name`.
pub(super) fn find(name: &str) -> Option<Found> {
    let key = bare(name).rsplit_once('.').unwrap_or((BUILTIN, bare(name)));
    table().get(&key).copied()
}

/// Returns the names of all tests here, with the collections they are of.
pub(super) fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    table().keys().copied()
}

fn iterable(value: &Value) -> bool {
    match value {
        Value::Str(_) | Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Bytes(_) => true,
        Value::Object(object) => object.sequence().is_some(),
        _ => false,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::List(a), Value::List(b)) => a.is(b),
        (Value::Dict(a), Value::Dict(b)) => a.is(b),
        (a, b) => a.type_name() == b.type_name() && a == b,
    }
}

fn order(value: &Value, given: &Given, operator: &str) -> Result<bool, Error> {
    let order = compare(value, given.value(0)?, operator)?;
    Ok(match operator {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    })
}

fn remainder(value: &Value, by: i64) -> Result<i64, Error> {
    let n = value.as_int().ok_or_else(|| {
        Error::failed(format!(
            "unsupported operand type(s) for %: '{}' and 'int'",
            value.type_name()
        ))
    })?;
    n.checked_rem_euclid(by)
        .ok_or_else(|| Error::failed("integer modulo by zero"))
}

fn cased(value: &Value, is: fn(char) -> bool, not: fn(char) -> bool) -> bool {
    let text = value.to_string();
    text.chars().any(is) && !text.chars().any(not)
}

fn matches(
    value: &Value,
    pattern: &str,
    ignore_case: bool,
    multiline: bool,
) -> Result<bool, Error> {
    let flags = crate::pyre::Flags {
        ignore_case,
        multiline,
        ..crate::pyre::Flags::default()
    };
    let regex = crate::pyre::Regex::new(pattern, flags)
        .map_err(|e| Error::failed(format!("invalid regular expression: {e}")))?;
    regex
        .is_match(value.to_string().as_bytes())
        .map_err(|e| Error::failed(e.to_string()))
}

fn regex(_: &Evaluator<'_>, value: &Value, given: &Given) -> Result<bool, Error> {
    let pattern = given.text(0)?;
    let pattern = match given.text_or(3, "search").as_str() {
        "match" => format!(r"\A(?:{pattern})"),
        "fullmatch" => format!(r"\A(?:{pattern})\Z"),
        "search" => pattern,
        _ => return Err(Error::failed("'str' object is not callable")),
    };
    matches(
        value,
        &pattern,
        given.flag(1, false)?,
        given.flag(2, false)?,
    )
}

/// Returns a registered result.
fn result<'v>(value: &'v Value, test: &str) -> Result<&'v Dict, Error> {
    value
        .as_dict()
        .ok_or_else(|| Error::failed(format!("The '{test}' test expects a dictionary")))
}

/// Returns a field of a registered result.
fn flag(value: &Value, field: &str, test: &str) -> Result<bool, Error> {
    let flag = result(value, test)?.get(field);
    Ok(flag.is_some_and(|flag| flag.truthy()))
}

/// Returns a field that results of `async` have; others have started and finished.
fn asynchronous(machine: &Evaluator<'_>, value: &Value, test: &str) -> Result<bool, Error> {
    if let Some(flag) = result(value, test)?.get(test) {
        return Ok(flag.truthy());
    }
    machine.warn(format!(
        "The '{test}' test expects an async task, but a non-async task was tested"
    ));
    Ok(true)
}

fn any_result(value: &Value, field: &str) -> bool {
    let results = value.get("results");
    if value.get(field).is_some() {
        return false;
    }
    let items = results
        .as_ref()
        .and_then(Value::as_list)
        .map(crate::value::List::items);
    items.is_some_and(|items| {
        items
            .iter()
            .any(|item| item.get(field).is_some_and(|f| f.truthy()))
    })
}

fn subset(machine: &Evaluator<'_>, a: &Value, b: &Value) -> Result<bool, Error> {
    let (a, b) = (machine.items(a)?, machine.items(b)?);
    machine.meter.steps(a.len().saturating_mul(b.len()))?;
    Ok(a.iter().all(|item| b.contains(item)))
}

fn truthy(machine: &Evaluator<'_>, value: &Value, given: &Given) -> Result<bool, Error> {
    if !given.flag(0, false)? {
        return Ok(value.truthy());
    }
    let word = value.to_string().to_lowercase();
    Ok(match word.as_str() {
        "y" | "yes" | "on" | "1" | "true" | "t" => true,
        "n" | "no" | "off" | "0" | "false" | "f" => false,
        _ => {
            machine.meter.steps(1)?;
            value.truthy()
        }
    })
}

fn uri(
    machine: &Evaluator<'_>,
    value: &Value,
    given: &Given,
    location: bool,
) -> Result<bool, Error> {
    let schemes = match given.optional(0) {
        None | Some(Value::None) => Vec::new(),
        Some(list) => machine.items(list)?,
    };
    let (scheme, host) = scheme_and_host(value);
    let listed = |known: &Value| known.as_str() == Some(scheme.as_str());
    let known = schemes.is_empty() || schemes.iter().any(listed);
    Ok(known && (!location || host || scheme == "file"))
}

/// Returns the scheme of a URL, and whether it names a host.
fn scheme_and_host(value: &Value) -> (String, bool) {
    let parts = super::filters::split_url(&value.to_string());
    let text = |name: &str| parts.get(name).map_or_else(String::new, |v| v.to_string());
    (text("scheme"), !text("netloc").is_empty())
}
