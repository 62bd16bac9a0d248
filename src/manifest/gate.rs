//! `gate:`.

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;

use super::model::{Gate, GateLevel, Waiver};
use super::path_glob::PathGlob;
use super::read;
use super::variables::Variables;
use crate::check::Check;

pub(super) fn gate(node: Option<&Node>, variables: &Variables) -> Result<Gate, Diagnostic> {
    let Some(node) = node else {
        return Ok(Gate::default());
    };
    let fields = node.fields("`gate`", &["level", "waive"])?;
    let mut waive: Vec<Waiver> = Vec::new();
    for item in fields.seq("waive")? {
        let waiver = waiver(item, variables)?;
        // Beside one for everything, one for a path would never be asked.
        let covers = |known: &Waiver| {
            known.check == waiver.check
                && (known.path.is_none() || waiver.path.is_none() || known.path == waiver.path)
        };
        if waive.iter().any(covers) {
            let message = format!("`{}` is waived twice", waiver.check);
            return Err(Diagnostic::new(&waiver.span, message));
        }
        waive.push(waiver);
    }
    Ok(Gate {
        level: fields.get("level").map_or(Ok(GateLevel::Default), level)?,
        waive,
    })
}

fn level(node: &Node) -> Result<GateLevel, Diagnostic> {
    match &*node.expect_text("`level`")? {
        "default" => Ok(GateLevel::Default),
        "strict" => Ok(GateLevel::Strict),
        other => {
            let message = format!("`level` must be default or strict, not `{other}`");
            Err(Diagnostic::new(&node.span, message).nearest(other, ["default", "strict"]))
        }
    }
}

fn waiver(node: &Node, variables: &Variables) -> Result<Waiver, Diagnostic> {
    let fields = node.fields("a waiver", &["check", "path", "reason"])?;
    let named = fields.require("check")?;
    let name = read::fill(named, "`check`", variables)?;
    let check = Check::named(&name).ok_or_else(|| {
        let wrong = Diagnostic::new(&named.span, format!("there is no check `{name}`"));
        let wrong = wrong.nearest(&name, Check::ALL.map(Check::name));
        match wrong.hint {
            Some(_) => wrong,
            None => wrong.hint(format!(
                "checks: {}",
                Check::ALL.map(Check::name).join(", ")
            )),
        }
    })?;
    Ok(Waiver {
        check,
        path: fields
            .get("path")
            .map(|node| path(node, variables))
            .transpose()?,
        reason: read::reason(&fields, variables)?,
        span: node.span.clone(),
    })
}

fn path(node: &Node, variables: &Variables) -> Result<PathGlob, Diagnostic> {
    let pattern = read::fill(node, "`path`", variables)?;
    PathGlob::new(&pattern).map_err(|why| Diagnostic::new(&node.span, format!("`path` {why}")))
}
