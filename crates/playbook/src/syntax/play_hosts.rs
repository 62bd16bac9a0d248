//! Whom the plays of a playbook are for, as far as that is known before the run.

use serde_json::{Map, Value as Json};

use super::walk::known_vars;
use super::{Play, Playbook};
use crate::diagnostic::Diagnostic;
use crate::hosts::{self, Groups, Matched, PatternError};
use crate::template::{Nowhere, Templar};
use crate::value::Value;
use crate::yaml::{Kind, Node};

/// What there is for plays to be for.
#[derive(Debug)]
pub enum Among<'a> {
    /// The hosts of an inventory.
    Inventory(&'a Groups),
    /// Hosts that were named without one: every play is for all of them, but that plays for `localhost` beside
    /// others are the controller's.
    Named(&'a [String]),
    /// This machine alone.
    Local(&'a str),
}

/// Returns whom each play is for; nothing where that shows only when it runs. Of the variables that its `hosts`
/// may name, `extra` are known, and those of the play.
#[must_use]
pub fn play_hosts(
    plays: &[Play],
    among: &Among<'_>,
    extra: &Map<String, Json>,
) -> Vec<Option<Matched>> {
    let patterns: Vec<Option<Vec<String>>> =
        plays.iter().map(|play| patterns(play, extra)).collect();
    let is_mixed = patterns.iter().flatten().any(|one| hosts::kinds(one).1);
    let named = |hosts: &[String], controller| {
        Some(Matched {
            hosts: hosts.to_vec(),
            controller,
            in_vain: Vec::new(),
        })
    };
    let of_play = |patterns: &Option<Vec<String>>| match (among, patterns) {
        (Among::Local(host), _) => named(&[(*host).to_owned()], false),
        (Among::Inventory(groups), Some(patterns)) => hosts::matching(groups, patterns).ok(),
        (Among::Named(hosts), Some(patterns)) => match hosts::kinds(patterns) {
            (here, false) if is_mixed => named(&[], here),
            (here, _) => named(hosts, here && is_mixed),
        },
        (_, None) => None,
    };
    patterns.iter().map(of_play).collect()
}

/// Returns the patterns of a play's `hosts`, if they can be known yet.
fn patterns(play: &Play, extra: &Map<String, Json>) -> Option<Vec<String>> {
    if let Some((_, patterns)) = literal_hosts(play) {
        return Some(patterns);
    }
    let known = known_vars(&play.keywords, extra);
    let (_, hosts) = play.keywords.iter().find(|(key, _)| key == "hosts")?;
    let written = Value::from_node(hosts);
    match Templar::new(&known, &Nowhere).render(&written).ok()? {
        Value::List(items) => Some(items.items().iter().map(ToString::to_string).collect()),
        one => Some(vec![one.to_string()]),
    }
}

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

    /// Judges every play's `hosts` against an inventory. Returns the patterns that are none, and those that match
    /// no host.
    #[must_use]
    pub fn check_hosts(&self, groups: &Groups) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let (mut wrong, mut in_vain) = (Vec::new(), Vec::new());
        for (node, patterns) in self.plays.iter().filter_map(literal_hosts) {
            match hosts::matching(groups, &patterns) {
                Ok(matched) => in_vain.extend(matched.in_vain.iter().map(|pattern| {
                    let text = format!("no host matches the pattern `{pattern}`");
                    Diagnostic::new(&node.span, text)
                })),
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
        "a play for `localhost` beside other hosts is not supported in a build",
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
