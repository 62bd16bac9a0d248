//! Writes the `body` of `uri` in the format asked for.

use std::collections::BTreeMap;
use std::io;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value as Json};

use crate::module::Failure;
use crate::modules::paths;
use crate::source::Source;

/// Files that the controller sent with the task.
type Sources = BTreeMap<String, Source>;

/// What is sent, if anything is, and its content type where the format has one.
type Encoded = (Option<Vec<u8>>, Option<String>);

/// Returns the bytes and, where the format has one, the content type.
pub(super) fn encode(body: &Json, format: &str, sources: &Sources) -> Result<Encoded, Failure> {
    let kind = |kind: &str| Some(kind.to_owned());
    let given = |text: String| (!body.is_null()).then(|| text.into_bytes());
    match format {
        "json" => {
            let text = body
                .as_str()
                .map_or_else(|| paths::python_json(body), str::to_owned);
            Ok((Some(text.into_bytes()), kind("application/json")))
        }
        "form-urlencoded" => Ok((
            given(urlencoded(body)?),
            kind("application/x-www-form-urlencoded"),
        )),
        "form-multipart" => multipart(body, sources).map(|(bytes, kind)| (Some(bytes), kind)),
        _ => Ok((given(raw(body)), None)),
    }
}

fn raw(body: &Json) -> String {
    match body {
        Json::String(text) => text.clone(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        other => paths::python_json(other),
    }
}

fn urlencoded(body: &Json) -> Result<String, Failure> {
    let pairs: Vec<(String, Json)> = match body {
        Json::Null => return Ok(String::new()),
        Json::String(text) => return Ok(text.clone()),
        Json::Object(map) => map.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        Json::Array(items) => items.iter().map(pair).collect::<Result<_, _>>()?,
        _ => return Err(bad("cannot form-urlencode body, expect list or dict")),
    };
    let mut out = Vec::new();
    for (key, value) in &pairs {
        let values = match value {
            Json::Array(values) => values.clone(),
            other => vec![other.clone()],
        };
        for value in values.iter().filter(|value| !value.is_null()) {
            out.push(format!("{}={}", quote(key), quote(&raw(value))));
        }
    }
    Ok(out.join("&"))
}

fn bad(reason: &str) -> Failure {
    Failure::new(format!("failed to parse body as form_urlencoded: {reason}")).with("elapsed", 0)
}

/// Unpacks a key and its value as Python does: out of a list, a mapping's keys, a text's characters.
fn pair(item: &Json) -> Result<(String, Json), Failure> {
    let parts: Vec<Json> = match item {
        Json::Array(items) => items.clone(),
        Json::Object(map) => map.keys().map(|key| key.as_str().into()).collect(),
        Json::String(text) => text.chars().map(|c| c.to_string().into()).collect(),
        _ => return Err(bad("cannot unpack what is no list")),
    };
    match parts.as_slice() {
        [key, value] => Ok((raw(key), value.clone())),
        [] | [_] => {
            let got = parts.len();
            Err(bad(&format!(
                "not enough values to unpack (expected 2, got {got})"
            )))
        }
        _ => Err(bad("too many values to unpack (expected 2)")),
    }
}

/// Quotes as `urllib.parse.quote_plus` does.
fn quote(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Writes a form of several parts: texts, and files by `filename`: those sent with the task, or the
/// machine's.
fn multipart(body: &Json, sources: &Sources) -> Result<(Vec<u8>, Option<String>), Failure> {
    let Json::Object(fields) = body else {
        return Err(Failure::new(
            "failed to parse body as form-multipart: Mapping is required",
        ));
    };
    let seed = format!("{:?}{}", std::time::SystemTime::now(), std::process::id());
    let boundary = crate::digest::checksum(seed.as_bytes(), "sha1").unwrap_or_default();
    let mut out = Vec::new();
    for (name, value) in fields {
        part(
            &mut out,
            &boundary,
            name,
            value,
            sources.get(&format!("body.{name}")),
        )?;
    }
    out.extend(format!("--{boundary}--\r\n").into_bytes());
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    Ok((out, Some(kind)))
}

fn part(
    out: &mut Vec<u8>,
    boundary: &str,
    name: &str,
    value: &Json,
    sent: Option<&Source>,
) -> Result<(), Failure> {
    let empty = Map::new();
    let options = value.as_object().unwrap_or(&empty);
    let text = |key: &str| options.get(key).and_then(Json::as_str);
    let content = match (value, text("content"), text("filename")) {
        (Json::Object(_), Some(content), _) => content.as_bytes().to_vec(),
        (Json::Object(_), None, Some(path)) => file(path, sent).map_err(|e| {
            Failure::new(format!(
                "failed to parse body as form-multipart: {path}: {e}"
            ))
        })?,
        (Json::Object(_), None, None) => {
            let msg = "failed to parse body as form-multipart: at least one of filename or content must be provided";
            return Err(Failure::new(msg));
        }
        (other, ..) => raw(other).into_bytes(),
    };
    let mut head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"");
    if let Some(path) = text("filename") {
        head.push_str(&format!("; filename=\"{}\"", paths::basename(path)));
        let kind = text("mime_type").unwrap_or("application/octet-stream");
        head.push_str(&format!("\r\nContent-Type: {kind}"));
    } else if let Some(kind) = text("mime_type") {
        head.push_str(&format!("\r\nContent-Type: {kind}"));
    }
    let base64 = text("multipart_encoding") == Some("base64");
    if base64 {
        head.push_str("\r\nContent-Transfer-Encoding: base64");
    }
    out.extend(head.into_bytes());
    out.extend(b"\r\n\r\n");
    match base64 {
        true => out.extend(BASE64_STANDARD.encode(content).into_bytes()),
        false => out.extend(content),
    }
    out.extend(b"\r\n");
    Ok(())
}

fn file(path: &str, sent: Option<&Source>) -> io::Result<Vec<u8>> {
    let Some(sent) = sent else {
        return std::fs::read(path);
    };
    let mut bytes = Vec::new();
    sent.write_to(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pairs_of_a_form_are_unpacked_as_in_python() {
        let form = |body: Json| urlencoded(&body).map_err(|failure| failure.msg);
        assert_eq!(
            form(json!([["a", "b c"], ["d", [1, 2]]])).unwrap(),
            "a=b+c&d=1&d=2"
        );
        assert_eq!(form(json!(["ab"])).unwrap(), "a=b");
        for (item, why) in [
            (json!("foo"), "too many values to unpack (expected 2)"),
            (
                json!({"bar": "baz"}),
                "not enough values to unpack (expected 2, got 1)",
            ),
            (json!([]), "not enough values to unpack (expected 2, got 0)"),
        ] {
            let expected = format!("failed to parse body as form_urlencoded: {why}");
            assert_eq!(form(json!([item])).unwrap_err(), expected);
        }
    }

    #[test]
    fn forms_are_written_as_python_writes_them() {
        let body = json!({"a": "b c", "d": ["1", 2], "e": null, "ü": "&"});
        assert_eq!(urlencoded(&body).unwrap(), "a=b+c&d=1&d=2&%C3%BC=%26");
        let (json, kind) = encode(&json!({"a": [1, true]}), "json", &Sources::new()).unwrap();
        assert_eq!(
            String::from_utf8(json.unwrap()).unwrap(),
            r#"{"a": [1, true]}"#
        );
        assert_eq!(kind.as_deref(), Some("application/json"));
    }
}
