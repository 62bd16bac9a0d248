//! The lookup `url`: what a web server says. It is asked from the machine on which the tasks run.

use std::io::Read as _;
use std::time::Duration;

use amibake_playbook::argspec;
use amibake_playbook::template::{Error, Kwargs, Scope};
use amibake_playbook::value::Value;
use serde_json::{Map, Value as Json};

use super::eval;
use super::vars::VarScope;
use crate::args::Args;
use crate::http::{Call, HttpError, Redirects, masked};

/// More than this is no value.
const LIMIT: u64 = 16 << 20;

/// Its options: the name, that of the parameter of `get_url` which means the same, the variable that may set it.
const OPTIONS: &[(&str, &str, &str)] = &[
    ("validate_certs", "validate_certs", ""),
    ("use_proxy", "use_proxy", ""),
    ("username", "url_username", ""),
    ("password", "url_password", ""),
    ("headers", "headers", ""),
    ("http_agent", "http_agent", "ansible_lookup_url_agent"),
    (
        "force_basic_auth",
        "force_basic_auth",
        "ansible_lookup_url_force_basic_auth",
    ),
    ("use_netrc", "use_netrc", "ansible_lookup_url_use_netrc"),
    (
        "unredirected_headers",
        "unredirected_headers",
        "ansible_lookup_url_unredir_headers",
    ),
];

/// Options that are looked at here: the name, and the variable that may set it.
const OWN: &[(&str, &str)] = &[
    ("split_lines", ""),
    ("force", "ansible_lookup_url_force"),
    ("timeout", "ansible_lookup_url_timeout"),
    ("follow_redirects", "ansible_lookup_url_follow_redirects"),
    ("ca_path", "ansible_lookup_url_ca_path"),
];

/// Those that are refused where they are given, and what they are if they are not.
const REFUSED: &[(&str, &str)] = &[
    ("use_gssapi", "ansible_lookup_url_use_gssapi"),
    ("unix_socket", "ansible_lookup_url_unix_socket"),
    ("ciphers", "ansible_lookup_url_ciphers"),
];

/// Answers the lookup: lines, or the whole text, of each address.
pub(super) fn url(
    terms: &[Value],
    options: &Kwargs,
    scope: &VarScope,
    render: &dyn Fn(&Value) -> Result<Value, Error>,
) -> Result<Vec<Value>, Error> {
    let option = |name: &str, variable: &str| match options.get(name) {
        Some(given) => Ok(Some(given.clone())),
        None => Scope::get(scope, variable)
            .map(|value| render(&value))
            .transpose(),
    };
    refuse(&option)?;
    let args = shared(&option)?;
    let mut own = Map::new();
    for (name, variable) in OWN {
        if let Some(value) = option(name, variable)? {
            own.insert((*name).to_owned(), value.to_json().unwrap_or_default());
        }
    }
    let splits = own.get("split_lines").and_then(truth).unwrap_or(true);
    let mut found = Vec::new();
    for term in terms {
        let text = fetched(&call(&term.to_string(), &args, &own)?)?;
        match splits {
            true => found.extend(lines(&text).map(Value::from)),
            false => found.push(Value::from(text)),
        }
    }
    Ok(found)
}

type Options<'o> = dyn Fn(&str, &str) -> Result<Option<Value>, Error> + 'o;

fn refuse(option: &Options<'_>) -> Result<(), Error> {
    for (name, variable) in REFUSED {
        if option(name, variable)?.is_some_and(|value| value.truthy()) {
            let wrong = format!("the option `{name}` of the lookup 'url' is not supported");
            return Err(Error::failed(wrong));
        }
    }
    Ok(())
}

/// Returns what the lookup has in common with `get_url`, coerced as that.
fn shared(option: &Options<'_>) -> Result<Args, Error> {
    let mut given = Map::new();
    for (name, parameter, variable) in OPTIONS {
        if let Some(value) = option(name, variable)? {
            let value = value.to_json().map_err(|e| Error::failed(e.to_string()))?;
            given.insert((*parameter).to_owned(), value);
        }
    }
    for needed in ["url", "dest"] {
        given.insert(needed.to_owned(), Json::from("-"));
    }
    let spec = argspec::find("get_url")
        .ok_or_else(|| Error::failed("The module get_url was not found"))?;
    Args::coerce(spec, given).map_err(|failure| Error::failed(failure.msg))
}

fn call(url: &str, args: &Args, own: &Map<String, Json>) -> Result<Call, Error> {
    let environment: Vec<(String, String)> = std::env::vars().collect();
    let mut call = Call::get(url, args, &environment);
    if own.get("force").and_then(truth) == Some(true) {
        call.default_header("cache-control", "no-cache");
    }
    let seconds = own.get("timeout").map(Value::from_json);
    if let Some(seconds) = seconds {
        let seconds = eval::float(&seconds)
            .filter(|s| *s >= 0.0)
            .ok_or_else(|| Error::failed(format!("the timeout {seconds} is no number")))?;
        call.timeout = Duration::from_secs_f64(seconds);
    }
    call.ca_path = own.get("ca_path").and_then(Json::as_str).map(Into::into);
    call.redirects = match own.get("follow_redirects").map(|v| (truth(v), v.as_str())) {
        Some((Some(true), _) | (_, Some("all"))) => Redirects::All,
        Some((Some(false), _) | (_, Some("none"))) => Redirects::None,
        _ => Redirects::Safe,
    };
    Ok(call)
}

/// Returns what the server sends.
fn fetched(call: &Call) -> Result<String, Error> {
    let url = masked(&call.url);
    let mut reply = call.send().map_err(|error| {
        let about = match error {
            HttpError::Failed { .. } | HttpError::UnknownScheme { .. } => "Failed lookup url for",
            _ => "Error connecting to",
        };
        Error::failed(format!("{about} {url}: {}", error.told()))
    })?;
    if !reply.success() {
        let wrong = format!("Received HTTP error for {url}: {}", reply.msg);
        return Err(Error::failed(wrong));
    }
    let mut bytes = Vec::new();
    let read = reply.reader().take(LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|e| Error::failed(format!("Error connecting to {url}: {e}")))?;
    if bytes.len() as u64 > LIMIT {
        let wrong = format!("{url} is larger than {} MiB", LIMIT >> 20);
        return Err(Error::failed(wrong));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Splits as Python's `bytes.splitlines` does.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, behind) = rest.split_at(end);
        let ending = match behind.starts_with("\r\n") {
            true => 2,
            false => behind.len().min(1),
        };
        rest = &behind[ending..];
        Some(line)
    })
}

fn truth(value: &Json) -> Option<bool> {
    eval::truth(&Value::from_json(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_bytes_lines_do() {
        let split = |text: &'static str| lines(text).collect::<Vec<_>>();
        assert_eq!(split("a\nb\r\nc\rd\u{b}e"), ["a", "b", "c", "d\u{b}e"]);
        assert_eq!(split("a\n\n"), ["a", ""]);
        assert_eq!(split(""), Vec::<&str>::new());
    }
}
