//! Files that are JSON: Ansible tries `json.loads` before YAML, so `1e3` there is a number.

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::compose;
use super::scalar::Schema;
use super::{Document, Kind, Node};
use crate::diagnostic::{Diagnostic, Source, Span};

pub(super) fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Parses what is known to be JSON: as YAML with JSON's scalars, which keeps the places; where
/// the two languages part (escaped surrogates), without them.
pub(super) fn parse(source: &Arc<Source>, text: &str) -> Result<Document, Diagnostic> {
    if let Ok(document) = compose::compose(source, text, Schema::Json) {
        return Ok(document);
    }
    let span = Span {
        source: Arc::clone(source),
        line: 1,
        column: 1,
    };
    let json: Json =
        serde_json::from_str(text).map_err(|e| Diagnostic::new(&span, e.to_string()))?;
    Ok(Document {
        root: node(json, &span),
        warnings: Vec::new(),
    })
}

fn node(json: Json, span: &Span) -> Node {
    let kind = match json {
        Json::Null => Kind::Null,
        Json::Bool(truth) => Kind::Bool(truth),
        Json::Number(number) => match number.to_string().parse() {
            Ok(int) => Kind::Int(int),
            Err(_) => Kind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Kind::Str(text),
        Json::Array(items) => Kind::Seq(items.into_iter().map(|i| node(i, span)).collect()),
        Json::Object(map) => Kind::Map(
            map.into_iter()
                .map(|(key, value)| (node(Json::String(key), span), node(value, span)))
                .collect(),
        ),
    };
    Node {
        span: span.clone(),
        tag: None,
        kind,
    }
}
