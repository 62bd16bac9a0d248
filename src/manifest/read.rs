//! Reading scalars of the manifest: filled in, in bounds, of one of several words.

use std::collections::BTreeMap;
use std::time::Duration;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::value::{Mark, tagged};
use amibake_playbook::yaml::{Fields, Kind, Node};
use serde_json::{Map, Value as Json};

use super::variables::Variables;

/// Returns a scalar's text, its variables filled in.
pub(super) fn fill(node: &Node, what: &str, variables: &Variables) -> Result<String, Diagnostic> {
    variables.fill(node, &node.expect_text(what)?)
}

/// Returns the filled text of `key`, if it is there.
pub(super) fn text(
    fields: &Fields<'_>,
    key: &str,
    variables: &Variables,
) -> Result<Option<String>, Diagnostic> {
    let filled = |node: &Node| fill(node, &format!("`{key}`"), variables);
    fields.get(key).map(filled).transpose()
}

/// Returns the `reason` that something is left out for: whoever reads the result wants to know it.
pub(super) fn reason(fields: &Fields<'_>, variables: &Variables) -> Result<String, Diagnostic> {
    let node = fields.require("reason")?;
    let reason = fill(node, "`reason`", variables)?;
    match reason.trim() {
        "" => Err(Diagnostic::new(&node.span, "`reason` is empty")),
        text => Ok(text.to_owned()),
    }
}

/// Returns whether a text is an id of EC2's, of 8 or 17 hexadecimal digits: `subnet-0abc1234`.
pub(super) fn is_id(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    matches!(digits.len(), 8 | 17) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns a list of texts; one text is a list of one.
pub(super) fn texts(
    fields: &Fields<'_>,
    key: &str,
    variables: &Variables,
) -> Result<Vec<String>, Diagnostic> {
    fields
        .get(key)
        .map_or(Ok(Vec::new()), |node| list(node, key, variables))
}

pub(super) fn list(
    node: &Node,
    key: &str,
    variables: &Variables,
) -> Result<Vec<String>, Diagnostic> {
    let what = format!("`{key}`");
    match &node.kind {
        Kind::Seq(items) => items
            .iter()
            .map(|item| fill(item, &what, variables))
            .collect(),
        _ => Ok(vec![fill(node, &what, variables)?]),
    }
}

/// Returns a mapping of texts.
pub(super) fn table(
    fields: &Fields<'_>,
    key: &str,
    variables: &Variables,
) -> Result<BTreeMap<String, String>, Diagnostic> {
    let Some(node) = fields.get(key) else {
        return Ok(BTreeMap::new());
    };
    let pairs = node.expect_map(&format!("`{key}`"))?.iter();
    pairs
        .map(|(k, v)| Ok((k.expect_text("a key")?, fill(v, "a value", variables)?)))
        .collect()
}

/// Returns a whole number between two bounds.
pub(super) fn number<N: TryFrom<i64> + PartialOrd + std::fmt::Display>(
    fields: &Fields<'_>,
    key: &str,
    least: N,
    most: N,
) -> Result<Option<N>, Diagnostic> {
    let Some(node) = fields.get(key) else {
        return Ok(None);
    };
    let found = node.expect_int(&format!("`{key}`"))?;
    match N::try_from(found) {
        Ok(n) if n >= least && n <= most => Ok(Some(n)),
        _ => Err(Diagnostic::new(
            &node.span,
            format!("`{key}` must be between {least} and {most}, not {found}"),
        )),
    }
}

/// The longest that a part of a bake may take.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Returns a time such as `90s`, `5m`, `2h`, `7d`, or seconds.
pub(super) fn duration(fields: &Fields<'_>, key: &str) -> Result<Option<Duration>, Diagnostic> {
    duration_up_to(fields, key, LONGEST)
}

/// The same, with another bound.
pub(super) fn duration_up_to(
    fields: &Fields<'_>,
    key: &str,
    longest: Duration,
) -> Result<Option<Duration>, Diagnostic> {
    let Some(node) = fields.get(key) else {
        return Ok(None);
    };
    let text = node.expect_text(&format!("`{key}`"))?;
    match span_of(&text, longest) {
        Some(time) => Ok(Some(time)),
        None => Err(Diagnostic::new(
            &node.span,
            format!("`{key}` must be a time such as 90s, 5m or 2h, not `{text}`"),
        )),
    }
}

/// Returns the time that a text on the command line stands for: `90d`, `12h`.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let longest = Duration::from_secs(3_650 * 86_400);
    let wrong = || format!("`{text}` is not a time such as 12h or 90d");
    span_of(text, longest).ok_or_else(wrong)
}

/// Returns what a text such as `5m` stands for, if that is not too long.
pub(super) fn span_of(text: &str, longest: Duration) -> Option<Duration> {
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let factor = match unit.trim() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    let fits = (1..=longest.as_secs()).contains(&seconds);
    fits.then(|| Duration::from_secs(seconds))
}

/// Returns the manifest's name: it becomes part of names everywhere.
pub(super) fn name(node: &Node, variables: &Variables) -> Result<String, Diagnostic> {
    let name = fill(node, "`name`", variables)?;
    let fit = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.len() <= 64 && name.chars().all(fit) {
        return Ok(name);
    }
    Err(Diagnostic::new(
        &node.span,
        "`name` must be 1 to 64 letters, digits, `-`, `_` or `.`",
    ))
}

/// Returns a complaint about something that is promised and not built.
pub(super) fn not_yet(fields: &Fields<'_>, keys: &[&str], of: &str) -> Result<(), Diagnostic> {
    match keys.iter().find_map(|key| Some((key, fields.get(key)?))) {
        None => Ok(()),
        Some((key, node)) => Err(Diagnostic::new(
            &node.span,
            format!("`{of}.{key}` is not supported yet"),
        )),
    }
}

/// Returns the variables of a step.
pub(super) fn vars(
    fields: &Fields<'_>,
    variables: &Variables,
) -> Result<Map<String, Json>, Diagnostic> {
    let Some(node) = fields.get("vars") else {
        return Ok(Map::new());
    };
    let pairs = node.expect_map("`vars`")?.iter();
    pairs
        .map(|(k, v)| Ok((k.expect_text("a variable's name")?, json(v, variables)?)))
        .collect()
}

/// Returns a node as JSON, the manifest's variables filled in where a text is no data.
pub(super) fn json(node: &Node, variables: &Variables) -> Result<Json, Diagnostic> {
    let text = |node: &Node, text: &str, mark| match (node.tag.as_deref(), mark) {
        (Some("!vault"), _) => Err(Diagnostic::new(
            &node.span,
            "vaulted text in a manifest is not supported yet",
        )),
        (_, Mark::Author) => variables.fill(node, text),
        (_, Mark::Data | Mark::Literal) => Ok(text.to_owned()),
    };
    tagged::encoded(node, &text)
}
