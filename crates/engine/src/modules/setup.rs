//! `setup`: the facts of the machine, as whoever runs the task finds them.

use std::time::Duration;

use serde_json::Value as Json;

use crate::args::Args;
use crate::facts::{self, Request};
use crate::module::{ActionModule, Context, Failure, Outcome};

pub(super) struct Setup;

impl ActionModule for Setup {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let texts = |name: &str| args.list(name).into_iter().map(str::to_owned).collect();
        let mut request = Request {
            subset: texts("gather_subset"),
            filter: texts("filter"),
            timeout: patience(args.int("gather_timeout")),
            fact_path: args.required("fact_path")?.into(),
            interpreter: args.str("_interpreter").map(str::to_owned),
            ..Request::default()
        };
        request.environment.extend(context.environment.clone());
        let found = facts::gather(&request).map_err(|e| Failure::new(e.to_string()))?;
        let mut prefixed = facts::prefixed(&found.facts);
        let python = found.facts.get("python").and_then(|p| p.get("executable"));
        if let Some(python) = python.filter(|_| request.interpreter.is_none()) {
            prefixed.insert("discovered_interpreter_python".to_owned(), python.clone());
        }
        let mut outcome = Outcome {
            warnings: found.warnings,
            ..Outcome::default()
        };
        let facts = Json::Object(prefixed);
        outcome.result.insert("ansible_facts".to_owned(), facts);
        Ok(outcome)
    }
}

/// As in Ansible none is the default.
fn patience(seconds: Option<i64>) -> Duration {
    let seconds = seconds.filter(|seconds| *seconds > 0).unwrap_or(10);
    Duration::from_secs(seconds.unsigned_abs())
}
