//! `schema`: the JSON Schema of manifests, for editors.

use crate::exit::{Answer, Failure};
use crate::manifest;

/// Print the JSON Schema of manifests, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(super) fn run() -> Result<Answer, Failure> {
        let text = serde_json::to_string_pretty(&manifest::schema()).map_err(Failure::new)?;
        Ok(Answer::text(text + "\n"))
    }
}
