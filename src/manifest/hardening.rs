//! What a step of `provision:` says of the hardening that it does: its profile, and what is left out.

use std::path::Path;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::{Fields, Node};

use super::model::{Hardening, HardeningException, Provision};
use super::read;
use super::variables::Variables;

const PROFILES: [&str; 2] = ["baseline", "strict"];

/// Returns how a step hardens: by our roles, or by whatever takes their variables.
pub(super) fn of(
    fields: &Fields<'_>,
    provision: &Provision,
    variables: &Variables,
) -> Result<Option<Hardening>, Diagnostic> {
    let vars = fields.get("vars");
    let given = |name: &str| vars.and_then(|vars| vars.get(name));
    let (profile, exceptions) = (given("hardening_profile"), given("hardening_exceptions"));
    if profile.is_none() && exceptions.is_none() && !is_ours(provision) {
        return Ok(None);
    }
    let step = ["role", "playbook"].iter().find_map(|key| fields.get(key));
    Ok(Some(Hardening {
        step: step.map_or(Ok("tasks".to_owned()), |node| {
            read::fill(node, "a path", variables)
        })?,
        profile: profile.map_or(Ok("baseline".to_owned()), |node| chosen(node, variables))?,
        exceptions: exceptions.map_or(Ok(Vec::new()), |node| without(node, variables))?,
    }))
}

/// Whether it is `hardening/os` or `hardening/ssh`.
fn is_ours(provision: &Provision) -> bool {
    let ours = |path: &Path| path.ends_with("hardening/os") || path.ends_with("hardening/ssh");
    matches!(provision, Provision::Role { path, .. } if ours(path))
}

fn chosen(node: &Node, variables: &Variables) -> Result<String, Diagnostic> {
    let profile = read::fill(node, "`hardening_profile`", variables)?;
    if PROFILES.contains(&&*profile) {
        return Ok(profile);
    }
    let message = format!("`hardening_profile` must be baseline or strict, not `{profile}`");
    Err(Diagnostic::new(&node.span, message).nearest(&profile, PROFILES))
}

fn without(node: &Node, variables: &Variables) -> Result<Vec<HardeningException>, Diagnostic> {
    let mut exceptions: Vec<HardeningException> = Vec::new();
    for item in node.expect_seq("`hardening_exceptions`")? {
        let fields = item.fields("an exception", &["control", "reason"])?;
        let named = fields.require("control")?;
        let control = read::fill(named, "`control`", variables)?;
        let wrong = |message: String| Err(Diagnostic::new(&named.span, message));
        if control.trim().is_empty() {
            return wrong("`control` is empty".to_owned());
        }
        if exceptions.iter().any(|known| known.control == control) {
            return wrong(format!("`{control}` is excepted twice"));
        }
        let reason = read::reason(&fields, variables)?;
        exceptions.push(HardeningException { control, reason });
    }
    Ok(exceptions)
}
