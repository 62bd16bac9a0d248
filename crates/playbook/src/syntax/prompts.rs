//! `vars_prompt`: what a play asks for before it runs.

use super::{Play, walk::Walk};
use crate::diagnostic::Diagnostic;
use crate::yaml::{Kind, Node};

/// What an entry may say.
const KEYS: &[&str] = &[
    "confirm",
    "default",
    "encrypt",
    "name",
    "private",
    "prompt",
    "salt",
    "salt_size",
    "unsafe",
];

impl Play {
    /// Returns the entries of its `vars_prompt`.
    #[must_use]
    pub fn prompts(&self) -> Vec<&Node> {
        let found = self.keywords.iter().find(|(name, _)| name == "vars_prompt");
        found.map(|(_, node)| entries(node)).unwrap_or_default()
    }

    /// Returns where it stands, as the answers to what it asks for are kept.
    #[must_use]
    pub fn position(&self) -> String {
        format!("{}:{}", self.span.file().display(), self.span.line)
    }
}

/// Returns the entries of a list, or the only one.
fn entries(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Seq(items) => items.iter().collect(),
        Kind::Null => Vec::new(),
        _ => vec![node],
    }
}

impl Walk<'_> {
    /// Complains of entries of `vars_prompt` that nothing can be asked by.
    pub(super) fn check_prompts(&mut self, play: &Node) {
        for entry in play.get("vars_prompt").map(entries).unwrap_or_default() {
            match entry.fields("an entry of vars_prompt", KEYS) {
                Err(wrong) => self.error(wrong),
                Ok(fields) if fields.get("name").is_none() => {
                    let wrong = "an entry of vars_prompt needs the `name` of a variable";
                    self.error(Diagnostic::new(&entry.span, wrong));
                }
                Ok(_) => {}
            }
        }
    }
}
