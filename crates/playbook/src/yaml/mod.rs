//! YAML as `PyYAML`'s safe loader and Ansible read it, into a tree that knows its places and tags.
//!
//! The events come from `granit-parser`; what they mean (scalars, merge keys, anchors, duplicate
//! keys) is decided here. Vault and templates are left to others: `!vault` and `!unsafe` stay tags.

mod compose;
mod explain;
mod json;
mod node;
mod read;
mod scalar;

use std::path::Path;
use std::sync::Arc;

pub use crate::diagnostic::{Diagnostic, Diagnostics, Source, Span};
use crate::files::Files;
pub use node::{Document, Kind, Node};
pub use num_bigint::BigInt;
pub use read::Fields;
pub(crate) use read::truth;
pub use scalar::{Time, Timestamp, binary, timestamp};

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

/// Parses a part of a file, with nothing but blanks in place of what comes before it: messages show the file's
/// own lines.
pub fn parse_part(file: &Arc<Source>, text: &str) -> Result<Document, Diagnostic> {
    parse_source(file, text)
}

/// Parses the content of a file whose tags only another program knows: `!GetAtt`, `!Ref`. They stay in the
/// tree, and a scalar with one is text.
pub fn parse_tagged(path: &Path, bytes: &[u8]) -> Result<Document, Diagnostic> {
    let text = decode(path, bytes)?;
    let source = Source::new(path, text);
    if json::is_json(text) {
        return json::parse(&source, text);
    }
    compose::compose(&source, text, scalar::Schema::Tagged)
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

#[cfg(test)]
mod tests;
