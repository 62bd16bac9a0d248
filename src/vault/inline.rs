//! `name: !vault |` in a YAML file: the block becomes the text that it holds.

use super::{MARK, VaultError};

/// Returns `text` with every vaulted block opened; the number of lines stays.
pub(super) fn opened(
    text: &str,
    open: &dyn Fn(&str) -> Result<Vec<u8>, VaultError>,
) -> Result<String, VaultError> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < lines.len() {
        let block = lines[at + 1..].iter().take_while(|line| is_inside(line));
        let block: Vec<&str> = block.map(|line| line.trim()).collect();
        match before_block(lines[at]) {
            Some(before) if block.first().is_some_and(|line| line.starts_with(MARK)) => {
                let value = value(&block.join("\n"), open).map_err(|source| VaultError::Value {
                    line: at + 1,
                    source: Box::new(source),
                })?;
                out.push_str(&format!("{before}!unsafe {}\n", quoted(&value)));
                out.push_str(&"\n".repeat(block.len()));
                at += 1 + block.len();
            }
            _ => {
                out.push_str(lines[at]);
                out.push('\n');
                at += 1;
            }
        }
    }
    Ok(out)
}

fn value(
    envelope: &str,
    open: &dyn Fn(&str) -> Result<Vec<u8>, VaultError>,
) -> Result<String, VaultError> {
    String::from_utf8(open(envelope)?).map_err(|_| VaultError::NotText)
}

/// Returns what stands before `!vault |` (or `>`, with indicators and a comment).
fn before_block(line: &str) -> Option<&str> {
    let (before, after) = line.rsplit_once("!vault")?;
    let after = after.strip_prefix("-encrypted").unwrap_or(after);
    let indicator = after.split(" #").next().unwrap_or_default().trim();
    let is_block = indicator.starts_with(['|', '>'])
        && indicator[1..]
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '+' | '-'));
    (is_block && !before.trim_start().starts_with('#')).then_some(before)
}

/// Returns whether a line can belong to an encrypted block.
fn is_inside(line: &str) -> bool {
    let text = line.trim();
    line.starts_with([' ', '\t'])
        && (text.starts_with(MARK)
            || !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Quotes a text as YAML reads it back.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                quoted.push_str(&format!("\\u{:04X}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
