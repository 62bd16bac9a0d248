//! Filters on what the web is made of: URLs, HTML.

mod urlize;

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Value, repr_str};

pub(super) const FILTERS: &[Filter] = &[
    filter("urlencode", &[], urlencode),
    filter("urldecode", &["encoding", "errors"], urldecode),
    filter("escape", &[], |_, v, _| {
        Ok(Value::from(escape(&v.to_string())))
    }),
    filter("e", &[], |_, v, _| Ok(Value::from(escape(&v.to_string())))),
    filter("forceescape", &[], |_, v, _| {
        Ok(Value::from(escape(&v.to_string())))
    }),
    filter("striptags", &[], striptags),
    filter("xmlattr", &["autospace"], xmlattr),
    filter("urlsplit", &["query", "alias"], urlsplit),
    filter(
        "urlize",
        &[
            "trim_url_limit",
            "nofollow",
            "target",
            "rel",
            "extra_schemes",
        ],
        urlize::urlize,
    ),
];

fn percent_encode(text: &str, safe: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if byte.is_ascii_alphanumeric() || "_.-~".contains(c) || byte.is_ascii() && safe.contains(c)
        {
            out.push(c);
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

fn urlencode(machine: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let pairs = match &value {
        Value::Dict(dict) => dict
            .entries()
            .into_iter()
            .map(|(k, v)| (k.value().clone(), v))
            .collect(),
        Value::List(_) | Value::Tuple(_) => {
            let mut pairs = Vec::new();
            for pair in machine.items(&value)? {
                match machine.items(&pair)?.as_slice() {
                    [key, value] => pairs.push((key.clone(), value.clone())),
                    _ => return Err(Error::failed("not a sequence of pairs")),
                }
            }
            pairs
        }
        text => return Ok(Value::from(percent_encode(&text.to_string(), "/"))),
    };
    let encode = |v: &Value| percent_encode(&v.to_string(), "").replace("%20", "+");
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(k, v)| format!("{}={}", encode(k), encode(v)))
        .collect();
    Ok(Value::from(pairs.join("&")))
}

/// Decodes as `urllib.parse.unquote_plus` does: what is no code stays, what is no UTF-8 is marked.
fn urldecode(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let text = value.to_string().replace('+', " ");
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *byte == b'%');
        let code = code.and_then(|digits| hex::decode(digits).ok());
        match code.as_deref() {
            Some([code]) => {
                bytes.push(*code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()))
}

pub(super) fn escape(text: &str) -> String {
    let text = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    text.replace('\'', "&#39;").replace('"', "&#34;")
}

/// Takes out comments, then tags, then what entities stand for.
fn striptags(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let mut text = value.to_string();
    for (begin, end) in [("<!--", "-->"), ("<", ">")] {
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(begin) {
            let Some(length) = rest[at..].find(end) else {
                break;
            };
            out.push_str(&rest[..at]);
            rest = &rest[at + length + end.len()..];
        }
        out.push_str(rest);
        text = out;
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(Value::from(
        html_escape::decode_html_entities(&text).into_owned(),
    ))
}

fn xmlattr(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Value::Dict(dict) = &value else {
        return Err(Error::failed("xmlattr wants a mapping"));
    };
    let wanted = dict
        .entries()
        .into_iter()
        .filter(|(_, v)| !matches!(v, Value::None | Value::Undefined(_)));
    let mut pairs = Vec::new();
    for (key, value) in wanted {
        let key = key.value().to_string();
        if key.contains(|c: char| c.is_whitespace() || "/>=".contains(c)) {
            let key = repr_str(&key);
            return Err(Error::failed(format!(
                "Invalid character in attribute name: {key}"
            )));
        }
        pairs.push(format!(
            "{}=\"{}\"",
            escape(&key),
            escape(&value.to_string())
        ));
    }
    let text = pairs.join(" ");
    let space = given.flag(0, true)? && !text.is_empty();
    Ok(Value::from(if space { format!(" {text}") } else { text }))
}

fn urlsplit(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let url = value.to_string();
    let parts = super::paths::split_url(&url);
    if let Some(Value::Str(port)) = parts.get("port") {
        let port = repr_str(&port);
        return Err(Error::failed(format!(
            "Port could not be cast to integer value as {port}"
        )));
    }
    match given.optional_text(0)? {
        None => Ok(parts),
        Some(wanted) if wanted.is_empty() => Ok(parts),
        Some(wanted) => parts
            .get(&wanted)
            .ok_or_else(|| Error::failed(format!("urlsplit: unknown URL component: {wanted}"))),
    }
}
