//! `comment`: text as a comment of some language.

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[filter("comment", &["style", "**"], comment)];

/// What a style begins with, puts before each line, and ends with.
fn style(name: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match name {
        "plain" => ("", "# ", ""),
        "erlang" => ("", "% ", ""),
        "c" => ("", "// ", ""),
        "cblock" => ("/*", " * ", " */"),
        "xml" => ("<!--", " - ", "-->"),
        _ => return None,
    })
}

/// More copies of a prefix than anybody wants.
const MOST_COPIES: usize = 10_000;

fn comment(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "'{kind}' object has no attribute 'replace'"
        )));
    };
    let name = given.text_or(0, "plain");
    let (beginning, decoration, end) = style(&name)
        .ok_or_else(|| Error::failed(format!("Invalid style {}.", Value::str(&name).repr())))?;
    let option = |name: &str, default: &str| match given.named.get(name) {
        Some(given) => given.to_string(),
        None => default.to_owned(),
    };
    let count = |name: &str| match given.named.get(name).and_then(Value::as_int) {
        Some(count) => usize::try_from(count).unwrap_or(0).min(MOST_COPIES),
        None => 1,
    };
    let newline = option("newline", "\n");
    let decoration = option("decoration", decoration);
    let bare = decoration.trim_end();
    let (prefix, postfix) = (option("prefix", bare), option("postfix", bare));
    let mut out = match option("beginning", beginning) {
        beginning if beginning.is_empty() => String::new(),
        beginning => beginning + &newline,
    };
    let line = match &prefix {
        prefix if *prefix == newline => newline.clone(),
        prefix if prefix.is_empty() => String::new(),
        prefix => format!("{prefix}{newline}"),
    };
    out += &line.repeat(count("prefix_count"));
    let lines = text.replace(&newline, &format!("{newline}{decoration}"));
    let blank = format!("{decoration}{newline}");
    out += &format!("{decoration}{lines}").replace(&blank, &format!("{bare}{newline}"));
    out += &format!("{newline}{postfix}").repeat(count("postfix_count"));
    match option("end", end) {
        end if end.is_empty() => {}
        end => out.extend([newline.as_str(), &end]),
    }
    Ok(Value::from(out))
}
