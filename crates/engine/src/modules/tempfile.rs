//! `tempfile`: a new empty file or directory with a name of its own.

use std::fs::Permissions;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value as Json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::place::{Place, by_descriptor};

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
        let failed = |e: std::io::Error| Failure::new(e.to_string());
        let held = Place::behind(&folder).and_then(|place| place.hold());
        let held = held.map_err(failed)?;
        let inside = by_descriptor(held.as_fd());
        let made = match args.str("state") {
            Some("directory") => builder
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(inside)
                .map(tempfile::TempDir::keep),
            _ => builder
                .tempfile_in(inside)
                .and_then(|file| file.keep().map(|(_, path)| path).map_err(|e| e.error)),
        };
        let made = made.map_err(failed)?;
        let path = folder.join(made.file_name().unwrap_or_default());
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::tests::run;

    #[test]
    fn what_is_made_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        for (state, mode) in [("directory", "0700"), ("file", "0600")] {
            let made = run("tempfile", json!({"path": folder.path(), "state": state})).unwrap();
            assert_eq!(made.result["mode"], mode);
        }
    }
}
