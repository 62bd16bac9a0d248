//! Writes the `body` of `uri` in the format asked for.

use std::collections::BTreeMap;
use std::io;

use amibake_playbook::value::Value;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value as Json;

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
/// machine's. All of it is as Python's `email` writes it: in the order of the names, lines ended by CRLF.
fn multipart(body: &Json, sources: &Sources) -> Result<(Vec<u8>, Option<String>), Failure> {
    let Json::Object(fields) = body else {
        let kind = Value::from_json(body).type_name();
        return Err(bad_form(&format!(
            "Mapping is required, cannot be type {kind}"
        )));
    };
    let seed = format!("{:?}{}", std::time::SystemTime::now(), std::process::id());
    let boundary = crate::digest::checksum(seed.as_bytes(), "sha1").unwrap_or_default();
    let sorted: BTreeMap<&String, &Json> = fields.iter().collect();
    let mut out = Vec::new();
    for (name, value) in sorted {
        let part = Part::of(value, sources.get(&format!("body.{name}")))?;
        part.write(name, &boundary, &mut out);
    }
    out.extend(format!("--{boundary}--\r\n").into_bytes());
    let kind = format!("multipart/form-data; boundary=\"{boundary}\"");
    Ok((out, Some(kind)))
}

fn bad_form(why: &str) -> Failure {
    Failure::new(format!("failed to parse body as form-multipart: {why}"))
}

/// One part of a form.
struct Part {
    /// As in `Content-Transfer-Encoding`; none for what the task itself says.
    encoding: Option<&'static str>,
    /// `text/plain`
    kind: String,
    filename: Option<String>,
    content: Vec<u8>,
}

impl Part {
    fn of(value: &Json, sent: Option<&Source>) -> Result<Self, Failure> {
        let options = match value {
            Json::String(text) => {
                return Ok(Self {
                    encoding: None,
                    kind: "text/plain".to_owned(),
                    filename: None,
                    content: text.clone().into_bytes(),
                });
            }
            Json::Object(options) => options,
            other => {
                let kind = Value::from_json(other).type_name();
                let why = format!("value must be a string, or mapping, cannot be type {kind}");
                return Err(bad_form(&why));
            }
        };
        let text = |key: &str| {
            let given = options.get(key).filter(|value| !value.is_null());
            given.map(raw).filter(|text| !text.is_empty())
        };
        let (content, filename) = (text("content"), text("filename"));
        let guessed = || guessed(filename.as_deref().unwrap_or_default()).to_owned();
        let kind = text("mime_type").unwrap_or_else(guessed);
        let (encoding, content) = match (content, &filename) {
            (Some(content), _) => (None, content.into_bytes()),
            (None, Some(path)) => {
                let encoding = text("multipart_encoding");
                let encoding = encoding.as_deref().unwrap_or("base64");
                if !["base64", "7or8bit"].contains(&encoding) {
                    return Err(bad_form(
                        "multipart_encoding must be one of dict_keys(['base64', '7or8bit']).",
                    ));
                }
                let content = file(path, sent).map_err(|e| bad_form(&format!("{path}: {e}")))?;
                match encoding {
                    "base64" => (Some("base64"), in_lines(&content)),
                    _ if content.is_ascii() => (Some("7bit"), content),
                    _ => (Some("8bit"), content),
                }
            }
            (None, None) => {
                return Err(bad_form(
                    "at least one of filename or content must be provided",
                ));
            }
        };
        Ok(Self {
            encoding,
            kind,
            filename: filename.map(|path| paths::basename(&path).to_owned()),
            content,
        })
    }

    fn write(&self, name: &str, boundary: &str, out: &mut Vec<u8>) {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut head = format!("--{boundary}\r\n");
        if let Some(encoding) = self.encoding {
            head += &format!("Content-Transfer-Encoding: {encoding}\r\n");
        }
        let (kind, name) = (&self.kind, quoted(name));
        head += &format!("Content-Type: {kind}\r\nContent-Disposition: form-data; name=\"{name}\"");
        if let Some(filename) = &self.filename {
            head += &format!("; filename=\"{}\"", quoted(filename));
        }
        out.extend(head.into_bytes());
        out.extend(b"\r\n\r\n");
        out.extend(with_crlf(&self.content));
        out.extend(b"\r\n");
    }
}

/// Returns base64 as Python's `encodebytes` writes it: a line for each 57 bytes.
fn in_lines(content: &[u8]) -> Vec<u8> {
    let lines = content.chunks(57);
    lines
        .flat_map(|line| (BASE64_STANDARD.encode(line) + "\n").into_bytes())
        .collect()
}

/// Ends all lines by CRLF, whatever they end by.
fn with_crlf(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len());
    let mut bytes = content.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend(b"\r\n");
            }
            b'\n' => out.extend(b"\r\n"),
            byte => out.push(byte),
        }
    }
    out
}

/// Returns a file's type by its name, of those that Python knows by itself.
fn guessed(filename: &str) -> &'static str {
    const PACKED: [&str; 5] = [".gz", ".bz2", ".xz", ".Z", ".br"];
    let bare = PACKED
        .iter()
        .find_map(|packed| filename.strip_suffix(packed));
    let name = bare.unwrap_or(filename);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match &*extension.to_lowercase() {
        "txt" | "bat" | "c" | "h" | "ksh" | "pl" => "text/plain",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "csv" => "text/csv",
        "tsv" => "text/tab-separated-values",
        "md" => "text/markdown",
        "xml" => "text/xml",
        "js" | "mjs" => "text/javascript",
        "py" => "text/x-python",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "zip" => "application/zip",
        "tar" | "tgz" | "txz" | "tbz2" | "taz" => "application/x-tar",
        "sh" => "application/x-sh",
        "doc" => "application/msword",
        "xls" => "application/vnd.ms-excel",
        "ps" | "eps" | "ai" => "application/postscript",
        "wasm" => "application/wasm",
        "png" => "image/png",
        "jpg" | "jpeg" | "jpe" => "image/jpeg",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "svg" | "svgz" => "image/svg+xml",
        "ico" => "image/vnd.microsoft.icon",
        "tif" | "tiff" => "image/tiff",
        "mp3" => "audio/mpeg",
        "wav" => "audio/x-wav",
        "mp4" => "video/mp4",
        "mpeg" | "mpg" => "video/mpeg",
        _ => "application/octet-stream",
    }
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

    /// What `prepare_multipart` of ansible-core 2.19 writes of the same, the boundary apart.
    #[test]
    fn forms_of_several_parts_are_written_as_by_ansible() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let text = write("formdata.txt", b"_multipart/form-data_\n");
        let packed = write("z.tgz", &[0; 100]);
        let form = json!({
            "b": {"filename": text},
            "a": "value\n1",
            "c": {"filename": text, "multipart_encoding": "7or8bit"},
            "d": {"content": "x", "filename": "fake.json"},
            "e": {"content": "y", "mime_type": "text/x"},
            "f\"": {"filename": packed},
        });
        let (bytes, kind) = multipart(&form, &Sources::new()).unwrap();
        let kind = kind.unwrap();
        let boundary = kind
            .strip_prefix("multipart/form-data; boundary=\"")
            .unwrap();
        let boundary = boundary.trim_end_matches('"');
        let written = String::from_utf8(bytes).unwrap().replace(boundary, "==");
        let zeros = |number: usize| "A".repeat(number);
        let expected = [
            "--==\r\nContent-Type: text/plain\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nvalue\r\n1\r\n",
            "--==\r\nContent-Transfer-Encoding: base64\r\nContent-Type: text/plain\r\n",
            "Content-Disposition: form-data; name=\"b\"; filename=\"formdata.txt\"\r\n\r\n",
            "X211bHRpcGFydC9mb3JtLWRhdGFfCg==\r\n\r\n",
            "--==\r\nContent-Transfer-Encoding: 7bit\r\nContent-Type: text/plain\r\n",
            "Content-Disposition: form-data; name=\"c\"; filename=\"formdata.txt\"\r\n\r\n_multipart/form-data_\r\n\r\n",
            "--==\r\nContent-Type: application/json\r\n",
            "Content-Disposition: form-data; name=\"d\"; filename=\"fake.json\"\r\n\r\nx\r\n",
            "--==\r\nContent-Type: text/x\r\nContent-Disposition: form-data; name=\"e\"\r\n\r\ny\r\n",
            "--==\r\nContent-Transfer-Encoding: base64\r\nContent-Type: application/x-tar\r\n",
            "Content-Disposition: form-data; name=\"f\\\"\"; filename=\"z.tgz\"\r\n\r\n",
            &format!("{}\r\n{}==\r\n\r\n--==--\r\n", zeros(76), zeros(58)),
        ];
        assert_eq!(written, expected.concat());
        for (value, why) in [
            (
                json!(1),
                "value must be a string, or mapping, cannot be type int",
            ),
            (
                json!(null),
                "value must be a string, or mapping, cannot be type NoneType",
            ),
            (
                json!({}),
                "at least one of filename or content must be provided",
            ),
            (
                json!({"filename": packed, "multipart_encoding": "x"}),
                "multipart_encoding must be one of dict_keys(['base64', '7or8bit']).",
            ),
        ] {
            let refused = multipart(&json!({"a": value}), &Sources::new()).unwrap_err();
            assert_eq!(
                refused.msg,
                format!("failed to parse body as form-multipart: {why}")
            );
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
