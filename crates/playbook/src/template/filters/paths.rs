//! Filters on paths and URLs.

mod windows;

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter("basename", &[], |_, v, _| {
        Ok(Value::str(split(path(&v)?).1))
    }),
    filter("dirname", &[], |_, v, _| Ok(Value::str(split(path(&v)?).0))),
    filter("splitext", &[], splitext),
    filter("expanduser", &[], expanduser),
    filter("expandvars", &[], expandvars),
    filter("realpath", &[], |m, v, _| {
        m.realpath(path(&v)?).map(Value::from)
    }),
    filter("relpath", &["start"], relpath),
    filter("normpath", &[], |_, v, _| {
        Ok(Value::from(normalize(path(&v)?)))
    }),
    filter("path_join", &[], path_join),
    filter("commonpath", &[], commonpath),
    filter("win_basename", &[], |_, v, _| {
        Ok(Value::str(windows::split(path(&v)?).2))
    }),
    filter("win_dirname", &[], |_, v, _| {
        let (drive, head, _) = windows::split(path(&v)?);
        Ok(Value::from(format!("{drive}{head}")))
    }),
    filter("win_splitdrive", &[], |_, v, _| {
        let (drive, rest) = windows::split_drive(path(&v)?);
        Ok(Value::tuple(vec![Value::str(drive), Value::str(rest)]))
    }),
    filter("fileglob", &[], |m, v, _| {
        Ok(Value::list(
            m.outside
                .glob(&v.to_string())?
                .into_iter()
                .map(Value::from)
                .collect(),
        ))
    }),
];

/// Returns the text of a path, which nothing else is.
fn path(value: &Value) -> Result<&str, Error> {
    value.as_str().ok_or_else(|| {
        Error::failed(format!(
            "expected str, bytes or os.PathLike object, not {}",
            value.type_name()
        ))
    })
}

/// Splits as `os.path.split` does.
fn split(path: &str) -> (&str, &str) {
    let at = path.rfind('/').map_or(0, |at| at + 1);
    let (head, tail) = path.split_at(at);
    let stripped = head.trim_end_matches('/');
    (if stripped.is_empty() { head } else { stripped }, tail)
}

fn splitext(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let path = path(&value)?;
    let name_at = path.rfind('/').map_or(0, |at| at + 1);
    let name = &path[name_at..];
    let leading = name.len() - name.trim_start_matches('.').len();
    let dot = name[leading..]
        .rfind('.')
        .map_or(path.len(), |at| name_at + leading + at);
    Ok(Value::tuple(vec![
        Value::str(&path[..dot]),
        Value::str(&path[dot..]),
    ]))
}

fn expanduser(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let path = path(&value)?.to_owned();
    let home = machine.environment("HOME")?;
    match (path.strip_prefix('~'), home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            Ok(Value::from(format!("{}{rest}", home.trim_end_matches('/'))))
        }
        (Some(rest), _) if !rest.is_empty() && !rest.starts_with('/') => {
            let name = rest.split('/').next().unwrap_or_default();
            Err(Error::failed(format!(
                "the home of the controller's user '{name}' is not known here; write it out"
            )))
        }
        _ => Ok(value),
    }
}

fn expandvars(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let mut out = String::new();
    let mut rest = path(&value)?;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{').and_then(|b| b.split_once('}')) {
            Some((name, _)) => (name, name.len() + 2),
            None => {
                let end = after
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let found = match name {
            "" => None,
            name => machine.environment(name)?,
        };
        match found {
            Some(found) => out.push_str(&found),
            None => out.push_str(&rest[at..=at + length]),
        }
        rest = &after[length..];
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

/// Normalises as `os.path.normpath` does.
fn normalize(path: &str) -> String {
    let root = match path {
        p if p.starts_with("//") && !p.starts_with("///") => "//",
        p if p.starts_with('/') => "/",
        _ => "",
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if !root.is_empty() => {}
            part => parts.push(part),
        }
    }
    let joined = format!("{root}{}", parts.join("/"));
    if joined.is_empty() {
        ".".to_owned()
    } else {
        joined
    }
}

fn relpath(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let (mut path, mut start) = (path(&value)?.to_owned(), given.text_or(0, "."));
    if path.is_empty() {
        return Err(Error::failed("no path specified"));
    }
    let leaves = normalize(&start).starts_with("..");
    if path.starts_with('/') != start.starts_with('/') || leaves {
        let from = machine.outside.working_folder()?;
        for side in [&mut path, &mut start] {
            if !side.starts_with('/') {
                *side = format!("{from}/{side}");
            }
        }
    }
    let (path, start) = (normalize(&path), normalize(&start));
    let parts = |path: &str| {
        path.split('/')
            .filter(|p| !p.is_empty() && *p != ".")
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (path, start) = (parts(&path), parts(&start));
    let common = path.iter().zip(&start).take_while(|(a, b)| a == b).count();
    let mut out = vec!["..".to_owned(); start.len() - common];
    out.extend_from_slice(&path[common..]);
    Ok(Value::from(if out.is_empty() {
        ".".to_owned()
    } else {
        out.join("/")
    }))
}

fn path_join(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let parts = match &value {
        Value::Str(_) => vec![value.clone()],
        Value::List(_) | Value::Tuple(_) => machine.items(&value)?,
        other => {
            return Err(Error::failed(format!(
                "|path_join expects string or sequence, got <class '{}'> instead.",
                other.type_name()
            )));
        }
    };
    if parts.is_empty() {
        let wrong = "join() missing 1 required positional argument: 'a'";
        return Err(Error::failed(wrong));
    }
    let mut path = String::new();
    for part in parts {
        let Value::Str(part) = &part else {
            let kind = part.type_name();
            return Err(Error::failed(format!(
                "expected str, bytes or os.PathLike object, not {kind}"
            )));
        };
        let part = part.to_string();
        if part.starts_with('/') {
            path = part;
        } else if path.is_empty() || path.ends_with('/') {
            path += &part;
        } else {
            path = format!("{path}/{part}");
        }
    }
    Ok(Value::from(path))
}

fn commonpath(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    if !matches!(value, Value::List(_) | Value::Tuple(_)) {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "|commonpath expects sequence, got <class '{kind}'> instead."
        )));
    }
    let paths: Vec<String> = machine
        .items(&value)?
        .iter()
        .map(ToString::to_string)
        .collect();
    let split: Vec<Vec<&str>> = paths
        .iter()
        .map(|p| {
            p.split('/')
                .filter(|s| !s.is_empty() && *s != ".")
                .collect()
        })
        .collect();
    let Some(first) = split.first() else {
        return Err(Error::failed("commonpath() arg is an empty sequence"));
    };
    let rooted = |path: &String| path.starts_with('/');
    if paths.iter().any(rooted) && !paths.iter().all(rooted) {
        return Err(Error::failed("Can't mix absolute and relative paths"));
    }
    let common = (0..first.len())
        .take_while(|at| split.iter().all(|p| p.get(*at) == first.get(*at)))
        .count();
    let root = if paths[0].starts_with('/') { "/" } else { "" };
    Ok(Value::from(format!("{root}{}", first[..common].join("/"))))
}

/// Takes a URL apart as `urllib.parse.urlsplit` does.
pub(in crate::template) fn split_url(url: &str) -> Value {
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let scheme = rest.split_once(':').filter(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let (scheme, rest) = scheme.unwrap_or(("", rest));
    let (netloc, path) = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or((rest, ""), |at| rest.split_at(at)),
        None => ("", rest),
    };
    let (login, host) = netloc
        .rsplit_once('@')
        .map_or((None, netloc), |(l, h)| (Some(l), h));
    let (username, password) = match login {
        Some(login) => login
            .split_once(':')
            .map_or((Some(login), None), |(u, p)| (Some(u), Some(p))),
        None => (None, None),
    };
    let (hostname, port) = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((address, rest)) => (address, rest.strip_prefix(':')),
        None => host
            .split_once(':')
            .map_or((host, None), |(h, p)| (h, Some(p))),
    };
    let optional = |text: Option<&str>| {
        text.filter(|t| !t.is_empty())
            .map_or(Value::None, Value::str)
    };
    Value::dict([
        ("fragment", Value::str(fragment)),
        ("hostname", optional(Some(&hostname.to_lowercase()))),
        ("netloc", Value::str(netloc)),
        ("password", optional(password)),
        ("path", Value::str(path)),
        (
            "port",
            port.filter(|port| !port.is_empty())
                .map_or(Value::None, |port| {
                    port.parse().map_or_else(|_| Value::str(port), Value::Int)
                }),
        ),
        ("query", Value::str(query)),
        ("scheme", Value::from(scheme.to_lowercase())),
        ("username", optional(username)),
    ])
}
