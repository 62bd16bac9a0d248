//! The `version` test: loose, strict and semantic versions.

use std::cmp::Ordering;

use super::Given;
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

/// A part of a version: numbers are before words when they meet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

pub(super) fn test(_: &Evaluator<'_>, value: &Value, given: &Given) -> Result<bool, Error> {
    let (mine, theirs) = (value.to_string(), given.text(0)?);
    if mine.is_empty() {
        return Err(Error::failed("Input version value cannot be empty"));
    }
    if theirs.is_empty() {
        return Err(Error::failed(
            "Version parameter to compare against cannot be empty",
        ));
    }
    let operator = given.text_or(1, "eq");
    let given_strict = given
        .optional(2)
        .filter(|strict| !matches!(strict, Value::None));
    let kind = match (given.optional_text(3)?, given.flag(2, false)?) {
        (Some(_), _) if given_strict.is_some() => {
            let both = "Cannot specify both 'strict' and 'version_type'";
            return Err(Error::failed(both));
        }
        (Some(kind), _) => kind,
        (None, true) => "strict".to_owned(),
        (None, false) => "loose".to_owned(),
    };
    let order = match kind.as_str() {
        "loose" => loose(&mine, &theirs)?,
        "strict" => strict(&mine, &theirs)?,
        "semver" | "semantic" => semantic(&mine, &theirs)?,
        "pep440" => pep440(&mine).cmp(&pep440(&theirs)),
        other => {
            return Err(Error::failed(format!(
                "Invalid version type ({other}). Must be one of loose, strict, semver, semantic, pep440"
            )));
        }
    };
    Ok(match operator.as_str() {
        "==" | "=" | "eq" => order == Ordering::Equal,
        "<" | "lt" => order == Ordering::Less,
        "<=" | "le" => order != Ordering::Greater,
        ">" | "gt" => order == Ordering::Greater,
        ">=" | "ge" => order != Ordering::Less,
        "!=" | "<>" | "ne" => order != Ordering::Equal,
        other => {
            return Err(Error::failed(format!(
                "Invalid operator type ({other}). Must be one of ==, =, eq, <, lt, <=, le, >, gt, >=, ge, !=, <>, ne"
            )));
        }
    })
}

fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '.' {
            rest = &rest[1..];
            continue;
        }
        let same = |c: char| {
            if first.is_ascii_digit() {
                c.is_ascii_digit()
            } else if first.is_ascii_lowercase() {
                c.is_ascii_lowercase()
            } else {
                c != '.' && !c.is_ascii_digit() && !c.is_ascii_lowercase()
            }
        };
        let end = rest.find(|c| !same(c)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        parts.push(match part.parse() {
            Ok(number) => Part::Number(number),
            Err(_) => Part::Word(part.to_owned()),
        });
        rest = after;
    }
    parts
}

/// Orders two versions as `LooseVersion` does.
pub(in crate::template) fn loose(a: &str, b: &str) -> Result<Ordering, Error> {
    let (x, y) = (parts(a), parts(b));
    for (x, y) in x.iter().zip(&y) {
        match (x, y) {
            (Part::Number(_), Part::Word(_)) => return Err(mixed("int", "str")),
            (Part::Word(_), Part::Number(_)) => return Err(mixed("str", "int")),
            _ if x != y => return Ok(x.cmp(y)),
            _ => {}
        }
    }
    Ok(x.len().cmp(&y.len()))
}

fn mixed(a: &str, b: &str) -> Error {
    Error::failed(format!(
        "Version comparison failed: '<' not supported between instances of '{a}' and '{b}'"
    ))
}

type Strict = (u64, u64, u64, Option<(char, u64)>);

fn strict(a: &str, b: &str) -> Result<Ordering, Error> {
    let (a, b) = (strict_one(a)?, strict_one(b)?);
    let numbers = (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2));
    Ok(numbers.then_with(|| match (a.3, b.3) {
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (a, b) => a.cmp(&b),
    }))
}

fn strict_one(text: &str) -> Result<Strict, Error> {
    let fail = || {
        Error::failed(format!(
            "Version comparison failed: invalid version number '{text}'"
        ))
    };
    let (numbers, pre) = match text.find(['a', 'b']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let numbers: Vec<u64> = numbers
        .split('.')
        .map(|n| n.parse().map_err(|_| fail()))
        .collect::<Result<_, _>>()?;
    let pre = match pre {
        Some(pre) => Some((
            pre.chars().next().unwrap_or('a'),
            pre[1..].parse().map_err(|_| fail())?,
        )),
        None => None,
    };
    match numbers.as_slice() {
        [a, b] => Ok((*a, *b, 0, pre)),
        [a, b, c] => Ok((*a, *b, *c, pre)),
        _ => Err(fail()),
    }
}

fn semantic(a: &str, b: &str) -> Result<Ordering, Error> {
    let (a, b) = (semantic_one(a)?, semantic_one(b)?);
    Ok(a.0
        .cmp(&b.0)
        .then_with(|| match (a.1.is_empty(), b.1.is_empty()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            _ => a.1.cmp(&b.1),
        }))
}

fn semantic_one(text: &str) -> Result<(Vec<u64>, Vec<Part>), Error> {
    let fail = || {
        Error::failed(format!(
            "Version comparison failed: invalid semantic version '{text}'"
        ))
    };
    let core = text.split('+').next().unwrap_or(text);
    let (numbers, pre) = core.split_once('-').unwrap_or((core, ""));
    let numbers: Vec<u64> = numbers
        .split('.')
        .map(|n| n.parse().map_err(|_| fail()))
        .collect::<Result<_, _>>()?;
    if numbers.len() != 3 {
        return Err(fail());
    }
    let pre = pre
        .split('.')
        .filter(|part| !part.is_empty())
        .map(|part| match part.parse() {
            Ok(number) => Part::Number(number),
            Err(_) => Part::Word(part.to_owned()),
        });
    Ok((numbers, pre.collect()))
}

/// Epoch, release without trailing noughts, then dev < a < b < rc < final < post.
fn pep440(text: &str) -> (u64, Vec<u64>, i8, u64) {
    let text = text.trim().trim_start_matches('v').to_lowercase();
    let text = text.split('+').next().unwrap_or("").to_owned();
    let (epoch, rest) = text
        .split_once('!')
        .map_or((0, text.as_str()), |(e, r)| (e.parse().unwrap_or(0), r));
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let mut release: Vec<u64> = rest[..end]
        .split('.')
        .filter_map(|n| n.parse().ok())
        .collect();
    while release.last() == Some(&0) {
        release.pop();
    }
    let suffix = rest[end..].trim_start_matches(['.', '-', '_']);
    let number = suffix
        .trim_start_matches(|c: char| !c.is_ascii_digit())
        .parse()
        .unwrap_or(0);
    let phase = match suffix.chars().next() {
        None => 0,
        Some('d') => -4,
        Some('a') => -3,
        Some('b') => -2,
        Some('r' | 'c') if !suffix.starts_with("rev") => -1,
        Some(_) => 1,
    };
    (epoch, release, phase, number)
}
