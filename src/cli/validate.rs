//! `validate`: reads a manifest and says what is wrong with it. No network.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Context, Form, Reporting};
use crate::exit::{Answer, Failure};
use crate::manifest::{self, Given, TargetKind};

/// Check a manifest without calling anything
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The manifest
    manifest: PathBuf,
    /// Where the machine will come from
    #[arg(long, value_enum, default_value = "ec2")]
    target: TargetKind,
    /// Set a variable of the manifest; repeatable
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    vars: Vec<(String, String)>,
}

impl Args {
    pub(super) fn reporting() -> Reporting {
        Reporting {
            form: Form::Human,
            verbosity: 0,
        }
    }

    pub(super) fn run(self, cx: &Context) -> Result<Answer, Failure> {
        let given = Given::new(vec![self.vars.into_iter().collect(), environment()]);
        let manifest =
            manifest::load(&self.manifest, self.target, &given).map_err(Failure::usage)?;
        for warning in &manifest.warnings {
            cx.events.warn(warning.headline());
        }
        cx.events
            .warn("the playbooks themselves are not checked by `validate` yet");
        Ok(Answer::default())
    }
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
