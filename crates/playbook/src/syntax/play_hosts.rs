//! Whom the plays of a playbook are for, as far as their `hosts` are no templates.
//!
//! A play for the controller itself runs nowhere yet. It is refused by name: run on a target it
//! would change the wrong machine, and passed over it would be missed.

use super::{Play, Playbook};
use crate::diagnostic::Diagnostic;
use crate::hosts::{self, Groups, PatternError};
use crate::yaml::{Kind, Node};

impl Playbook {
    /// Refuses the plays for `localhost` that stand beside plays for others, on a run where every
    /// play is for the one target there is. A playbook for `localhost` alone means the target.
    #[must_use]
    pub fn localhost_beside_others(&self) -> Vec<Diagnostic> {
        let literal = || self.plays.iter().filter_map(literal_hosts);
        let is_mixed = literal().any(|(_, patterns)| hosts::kinds(&patterns).1);
        literal()
            .filter(|(_, patterns)| is_mixed && hosts::kinds(patterns).0)
            .map(|(node, _)| refused(node))
            .collect()
    }

    /// Judges every play's `hosts` against an inventory. Returns what is refused (a pattern that
    /// is none, `localhost` without being in the inventory unless a limit leaves it out anyway),
    /// and what matches no host.
    #[must_use]
    pub fn check_hosts(
        &self,
        groups: &Groups,
        is_limited: bool,
    ) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let (mut wrong, mut in_vain) = (Vec::new(), Vec::new());
        for (node, patterns) in self.plays.iter().filter_map(literal_hosts) {
            match hosts::matching(groups, &patterns) {
                Ok(matched) => {
                    let is_refused = matched.controller && !is_limited;
                    wrong.extend(is_refused.then(|| refused(node)));
                    in_vain.extend(matched.in_vain.iter().map(|pattern| {
                        let text = format!("no host matches the pattern `{pattern}`");
                        Diagnostic::new(&node.span, text)
                    }));
                }
                Err(error) => wrong.push(unusable(node, &error)),
            }
        }
        (wrong, in_vain)
    }
}

/// Returns a play's `hosts`, unless a template decides on them.
fn literal_hosts(play: &Play) -> Option<(&Node, Vec<String>)> {
    let (_, node) = play.keywords.iter().find(|(name, _)| name == "hosts")?;
    let items = match &node.kind {
        Kind::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    if items.iter().any(Node::is_template) {
        return None;
    }
    let patterns = items.iter().filter_map(Node::scalar_text).collect();
    Some((node, patterns))
}

fn refused(node: &Node) -> Diagnostic {
    Diagnostic::new(
        &node.span,
        "a play for `localhost` beside other hosts is not supported yet",
    )
    .hint("it would run on this machine: give it a playbook of its own and run that with `amibake apply --local`")
}

fn unusable(node: &Node, error: &PatternError) -> Diagnostic {
    match error {
        PatternError::Regex { source, .. } => {
            Diagnostic::new(&node.span, format!("{error}: {source}"))
        }
        PatternError::Subscript { .. } => Diagnostic::new(&node.span, error.to_string()),
    }
}
