//! `tempfile`: a new empty file or directory with a name of its own.

use std::path::Path;

use serde_json::Value as Json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;

pub(super) struct TempFile;

impl ActionModule for TempFile {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        if context.check {
            return Ok(Outcome {
                skipped: true,
                ..Outcome::default()
            });
        }
        let prefix = component(args, "prefix")?;
        let suffix = component(args, "suffix")?;
        let folder = args
            .str("path")
            .map_or_else(std::env::temp_dir, |path| Path::new(path).to_owned());
        let mut builder = tempfile::Builder::new();
        builder.prefix(prefix).suffix(suffix).rand_bytes(8);
        let made = match args.str("state") {
            Some("directory") => builder.tempdir_in(folder).map(tempfile::TempDir::keep),
            _ => builder
                .tempfile_in(folder)
                .and_then(|file| file.keep().map(|(_, path)| path).map_err(|e| e.error)),
        };
        let path = made.map_err(|e| Failure::new(e.to_string()))?;
        let mut outcome = Outcome {
            changed: true,
            ..Outcome::default()
        };
        let path = Json::from(path.to_string_lossy());
        outcome.result.insert("path".to_owned(), path);
        crate::attrs::add_path_info(&mut outcome.result);
        Ok(outcome)
    }
}

fn component<'a>(args: &'a Args, name: &str) -> Result<&'a str, Failure> {
    let given = args.str(name).unwrap_or_default();
    if given == paths::basename(given) {
        return Ok(given);
    }
    Err(Failure::new(format!(
        "{name} must be a valid file name component, got '{given}'"
    )))
}
