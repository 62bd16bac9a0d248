//! `--var`, `--var-file`, and `AMIBAKE_VAR_name`: the values a manifest is given from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use amibake_playbook::diagnostic::{Diagnostics, nearest};
use serde_json::Value as Json;
use time::OffsetDateTime;

use super::CommandContext;
use crate::exit::Failure;
use crate::inventory::{self, InventoryError};
use crate::manifest::{self, Given, Manifest, Secrets, TargetKind};
use crate::vault::Opened;

/// Values of the manifest's variables.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct VarArgs {
    /// Set a variable of the manifest; repeatable
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    vars: Vec<(String, String)>,
    /// Set variables from a YAML or JSON file; repeatable, the last one wins
    #[arg(long = "var-file", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl VarArgs {
    /// Returns all values, `--var` over `--var-file` over the environment.
    fn given(&self) -> Result<Given, Failure> {
        let mut from_files = BTreeMap::new();
        for file in &self.files {
            from_files.extend(read(file)?);
        }
        let from_line = self.vars.iter().cloned().collect();
        Ok(Given::new(vec![from_line, from_files, environment()]))
    }

    /// Reads manifests with these values, to be built at `now`. What is wrong with any of them is told.
    pub(super) fn manifests(
        &self,
        paths: &[PathBuf],
        target: TargetKind,
        secrets: Secrets,
        now: OffsetDateTime,
        cx: &CommandContext,
    ) -> Result<Vec<Manifest>, Failure> {
        let given = self.given()?.with_secrets(secrets);
        let (mut manifests, mut wrong) = (Vec::new(), Vec::new());
        for path in paths {
            match manifest::load(path, target, &given, now) {
                Ok(manifest) => manifests.push(manifest),
                Err(Diagnostics(more)) => wrong.extend(more),
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::usage(Diagnostics(wrong)));
        }
        self.refuse_unknown(&manifests, cx)?;
        for warning in manifests.iter().flat_map(|manifest| &manifest.warnings) {
            cx.events.warn(warning.headline());
        }
        Ok(manifests)
    }

    /// Reads one manifest so.
    pub(super) fn manifest(
        &self,
        path: &Path,
        target: TargetKind,
        secrets: Secrets,
        now: OffsetDateTime,
        cx: &CommandContext,
    ) -> Result<Manifest, Failure> {
        let mut one = self.manifests(&[path.to_owned()], target, secrets, now, cx)?;
        Ok(one.swap_remove(0))
    }

    /// Refuses a `--var` that none of the manifests has; a file may be for other manifests, too, and that is told.
    fn refuse_unknown(&self, manifests: &[Manifest], cx: &CommandContext) -> Result<(), Failure> {
        let known = manifests.iter().flat_map(|manifest| &manifest.variables);
        let known: BTreeSet<&str> = known.map(String::as_str).collect();
        let unknown = |name: &&String| !known.contains(name.as_str());
        if let Some(name) = self.vars.iter().map(|(name, _)| name).find(unknown) {
            let failure = Failure::usage(format!(
                "`--var {name}=…`: the manifest has no variable `{name}`"
            ));
            return Err(
                failure.with_hint(match nearest(name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => "it has none; `variables` declares them".to_owned(),
                    None => format!(
                        "it has {}",
                        known.into_iter().collect::<Vec<_>>().join(", ")
                    ),
                }),
            );
        }
        for file in &self.files {
            let vars = read(file)?;
            for name in vars.keys().filter(unknown) {
                cx.events.warn(format!(
                    "{}: the manifest has no variable `{name}`",
                    file.display()
                ));
            }
        }
        Ok(())
    }
}

/// A line of the file may be a secret, and is not shown.
fn read(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let vars = inventory::vars_file(file, &Opened::default()).map_err(|error| match error {
        InventoryError::Yaml(wrong) => Failure::usage(wrong.headline()),
        other => Failure::usage(other),
    })?;
    vars.into_iter()
        .map(|(name, value)| match value {
            Json::String(text) => Ok((name, text)),
            Json::Number(_) | Json::Bool(_) => Ok((name, value.to_string())),
            Json::Null | Json::Array(_) | Json::Object(_) => Err(Failure::usage(format!(
                "{}: `{name}` is not a text, number or boolean",
                file.display()
            ))),
        })
        .collect()
}

/// Returns the variables that the environment gives.
fn environment() -> BTreeMap<String, String> {
    let named = |(name, value): (String, String)| {
        let name = name.strip_prefix("AMIBAKE_VAR_")?;
        Some((name.to_owned(), value))
    };
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter_map(named)
        .collect()
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("a variable is given as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::chain;

    #[test]
    fn a_file_that_cannot_be_parsed_is_told_without_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("vars.yaml");
        std::fs::write(&file, "name: web\ntoken: [hunter22\n").unwrap();
        let told = read(&file).unwrap_err();
        let told = format!("{} {:?}", chain(&*told.error), told.hint);
        assert!(told.contains("vars.yaml:"), "{told}");
        assert!(!told.contains("hunter22"), "{told}");
    }

    #[test]
    fn a_variable_has_a_name() {
        assert_eq!(pair("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(pair("=x").is_err());
        assert!(pair("x").is_err());
    }
}
