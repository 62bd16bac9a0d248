//! Names of regions, as a manifest gives them.

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::{Fields, Node};

use super::read;
use super::variables::Variables;

/// Returns the one region that `region` names.
pub(super) fn region(
    fields: &Fields<'_>,
    variables: &Variables,
) -> Result<Option<String>, Diagnostic> {
    let region = read::text(fields, "region", variables)?;
    if let (Some(node), Some(region)) = (fields.get("region"), &region) {
        check(node, region)?;
    }
    Ok(region)
}

/// Returns the region of a zone (`eu-west-1a`, `us-west-2-lax-1a`), which is easily taken for its name.
pub(crate) fn of_zone(zone: &str) -> Option<&str> {
    let rest = zone.strip_suffix(|c: char| c.is_ascii_lowercase())?;
    let digit = rest.find(|c: char| c.is_ascii_digit())?;
    let is_numbered = rest.ends_with(|c: char| c.is_ascii_digit());
    is_numbered.then(|| rest.split_at(digit + 1).0)
}

/// Refuses a zone, and what cannot be a region's name: `us-east-1`, `us-gov-west-1`.
pub(super) fn check(node: &Node, region: &str) -> Result<(), Diagnostic> {
    if let Some(its) = of_zone(region) {
        let message = format!("`{region}` is a zone, not a region");
        return Err(Diagnostic::new(&node.span, message).hint(format!("its region is {its}")));
    }
    let fit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_numbered = region.ends_with(|c: char| c.is_ascii_digit());
    if is_numbered && region.matches('-').count() >= 2 && region.chars().all(fit) {
        return Ok(());
    }
    let message = format!("`{region}` is not the name of a region such as us-east-1");
    Err(Diagnostic::new(&node.span, message))
}
