//! What an author most likely did wrong when YAML itself is broken, as Ansible guesses it.

use crate::diagnostic::{Diagnostic, Span};

/// Returns the parser's complaint at `span` with a hint drawn from the line.
pub(super) fn explain(span: &Span, message: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(span, message);
    let line = span.source.line(span.line).unwrap_or("");
    let above = span.source.line(span.line.saturating_sub(1)).unwrap_or("");
    // What is wrong is said already.
    if message.contains("anchor") || message.contains("alias") {
        return diagnostic;
    }
    match guess(line).or_else(|| guess(above)) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

fn guess(line: &str) -> Option<&'static str> {
    let value = value_of(line);
    if line.contains('\t') {
        return Some("there is a tab in this line; YAML is indented by spaces");
    }
    if value.starts_with("{{") {
        return Some("a value that begins with `{{` must be quoted: \"{{ … }}\"");
    }
    if value.starts_with(['{', '[']) {
        let template = value.contains("{{");
        return template.then_some(
            "between `{ }` and `[ ]` a text with `{{` must be quoted: {key: \"… {{ … }}\"}",
        );
    }
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    match quote {
        Some(quote) if !value.ends_with(quote) || value.matches(quote).count() > 2 => Some(
            "a value that begins with a quote must end with the same quote; quote it as a whole",
        ),
        None if value.contains(": ") => {
            Some("a colon and a space inside an unquoted value begin a mapping; quote the value")
        }
        _ => None,
    }
}

/// Returns what follows `- ` and `key: ` in a line.
fn value_of(line: &str) -> &str {
    let mut rest = line.trim();
    while let Some(after) = rest.strip_prefix("- ") {
        rest = after.trim_start();
    }
    match rest.split_once(": ") {
        Some((key, value)) if !key.contains(['"', '\'', '{']) => value.trim(),
        _ => rest,
    }
}
