//! `slurp`: a file's content, in base64.

use std::io::ErrorKind;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value as Json;

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(super) struct Slurp;

impl ActionModule for Slurp {
    fn run(&self, args: &Args, _: &mut Context<'_>) -> Result<Outcome, Failure> {
        let source = args.required("src")?;
        let data = std::fs::read(source).map_err(|e| {
            Failure::new(match e.kind() {
                ErrorKind::NotFound => format!("File not found: {source}"),
                ErrorKind::PermissionDenied => format!("File is not readable: {source}"),
                ErrorKind::IsADirectory => {
                    format!("Source is a directory and must be a file: {source}")
                }
                _ => format!("Unable to slurp file: {source}: {e}"),
            })
        })?;
        let mut outcome = Outcome::default();
        let mut put = |name: &str, value: &str| {
            outcome.result.insert(name.to_owned(), Json::from(value));
        };
        put("content", &BASE64_STANDARD.encode(data));
        put("source", source);
        put("encoding", "base64");
        Ok(outcome)
    }
}
