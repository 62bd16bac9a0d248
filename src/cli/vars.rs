//! `--var`, `--var-file`, and `AMIBAKE_VAR_name`: the values a manifest is given from outside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::exit::Failure;
use crate::inventory;
use crate::manifest::Given;
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
    pub(crate) fn given(&self) -> Result<Given, Failure> {
        let mut from_files = BTreeMap::new();
        for file in &self.files {
            from_files.extend(read(file)?);
        }
        let from_line = self.vars.iter().cloned().collect();
        Ok(Given::new(vec![from_line, from_files, environment()]))
    }
}

fn read(file: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let vars = inventory::vars_file(file, &Opened::default()).map_err(Failure::usage)?;
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
        .ok_or("a variable is given as NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
