//! YAML as `PyYAML`'s safe loader and Ansible read it, into a tree that knows its places and tags.
//!
//! The events come from `granit-parser`; what they mean (scalars, merge keys, anchors, duplicate
//! keys) is decided here. Vault and templates are left to others: `!vault` and `!unsafe` stay tags.

mod compose;
mod explain;
mod json;
mod read;
mod scalar;

use std::path::Path;
use std::sync::Arc;

pub use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use crate::files::Files;
pub use num_bigint::BigInt;
pub use read::Fields;
pub(crate) use read::truth;
pub use scalar::Timestamp;

/// A value, where it stands, and its tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub span: Span,
    /// Its explicit tag as usually written: `!vault`, `!unsafe`, `!!str`.
    pub tag: Option<String>,
    /// The value.
    pub kind: Kind,
}

/// The values there are.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `~`, `null`, or nothing at all.
    Null,
    /// `yes`, `no`, `on`, `off`, `true`, `false`.
    Bool(bool),
    /// A whole number of any size.
    Int(BigInt),
    /// A number.
    Float(f64),
    /// Text; for `!vault` the ciphertext.
    Str(String),
    /// A date, perhaps with a time.
    Timestamp(Timestamp),
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in its order, merge keys applied, no key twice.
    Map(Vec<(Node, Node)>),
}

/// A file's one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The value; [`Kind::Null`] for an empty file.
    pub root: Node,
    /// What is not wrong but probably not meant: a key given twice.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and parses the file at `path`.
pub fn load(files: &dyn Files, path: &Path) -> Result<Document, Diagnostic> {
    let bytes = files
        .read(path)
        .map_err(|e| Diagnostic::new(&Span::whole(path), format!("could not be read: {e}")))?;
    parse(path, &bytes)
}

/// Parses the content of the file at `path`.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Document, Diagnostic> {
    let text = decode(path, bytes)?;
    parse_source(&Source::new(path, text), text)
}

/// Parses text that was decrypted from the file at `path`: no message will show its lines.
pub fn parse_hidden(path: &Path, text: &str) -> Result<Document, Diagnostic> {
    parse_source(&Source::hidden(path), text)
}

fn parse_source(source: &Arc<Source>, text: &str) -> Result<Document, Diagnostic> {
    if json::is_json(text) {
        return json::parse(source, text);
    }
    compose::compose(source, text, scalar::Schema::PyYaml)
}

fn decode<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, Diagnostic> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        let good = &bytes[..e.valid_up_to()];
        let line = good.split(|b| *b == b'\n').count();
        Diagnostic::new(
            &Span::whole(path),
            format!("is not UTF-8: an invalid byte in line {line}"),
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Returns whether `text` without quotes reads back as that text.
pub(crate) fn is_plain_text(text: &str) -> bool {
    matches!(
        scalar::resolve(text, scalar::Schema::PyYaml),
        Ok(Kind::Str(_))
    )
}

impl Node {
    /// Returns what kind of value it is, for messages.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Str(_) => "text",
            Kind::Timestamp(_) => "a date",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

#[cfg(test)]
mod tests;
