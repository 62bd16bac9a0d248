//! `async_status`: what came of a job so far.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::shlex;
use crate::splitlines::splitlines;

pub(super) struct AsyncStatus;

/// The parameter by which the executor says where results lie.
pub(crate) const FOLDER: &str = "_async_dir";

impl ActionModule for AsyncStatus {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let id = args.required("jid")?;
        let folder = args.str(FOLDER).unwrap_or("~/.ansible_async");
        let folder = shlex::expand_user(folder, &context.environment);
        let file = Path::new(&folder).join(id);
        let mut fields = first_fields(id, &file, args.str("mode") == Some("cleanup"));
        if !file.exists() {
            fields.insert("finished".to_owned(), json!(true));
            fields.insert("started".to_owned(), json!(true));
            return Err(Failure {
                msg: "could not find job".to_owned(),
                result: fields,
            });
        }
        if args.str("mode") == Some("cleanup") {
            fs::remove_file(&file).map_err(|e| Failure::new(format!("{}: {e}", file.display())))?;
        } else {
            add_status(&mut fields, id, &file);
        }
        let mut outcome = Outcome {
            changed: fields.get("changed") == Some(&json!(true)),
            ..Outcome::default()
        };
        if fields.get("failed") == Some(&json!(true)) {
            let msg = fields
                .get("msg")
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned();
            return Err(Failure {
                msg,
                result: fields,
            });
        }
        outcome.result = fields;
        Ok(outcome)
    }
}

/// Returns what every answer has, whether the job is there or not.
fn first_fields(id: &str, file: &Path, cleanup: bool) -> Map<String, Json> {
    let mut fields = Map::new();
    for (name, value) in [
        ("started", json!(!cleanup)),
        ("finished", json!(false)),
        ("stdout", json!("")),
        ("stderr", json!("")),
        ("stdout_lines", json!([])),
        ("stderr_lines", json!([])),
        ("ansible_job_id", json!(id)),
        (if cleanup { "erased" } else { "results_file" }, json!(file)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields
}

/// Adds what the job has written: its result, or that it goes on.
fn add_status(fields: &mut Map<String, Json>, id: &str, file: &Path) {
    let read = fs::read(file).unwrap_or_default();
    let Ok(Json::Object(mut result)) = serde_json::from_slice::<Json>(&read) else {
        return; // it is being written
    };
    if !result.contains_key("started") {
        result.insert("finished".to_owned(), json!(true));
        result.insert("ansible_job_id".to_owned(), json!(id));
    }
    for name in ["stdout", "stderr"] {
        if let Some(text) = result.get(name).and_then(Json::as_str) {
            let lines = splitlines(text);
            result.insert(format!("{name}_lines"), json!(lines));
        }
    }
    fields.extend(result);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(file: &Path) -> Map<String, Json> {
        let mut fields = first_fields("j1.2", file, false);
        add_status(&mut fields, "j1.2", file);
        fields
    }

    #[test]
    fn a_job_goes_on_until_its_result_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("j1.2");
        fs::write(
            &file,
            r#"{"started": true, "finished": false, "ansible_job_id": "j1.2"}"#,
        )
        .unwrap();
        assert_eq!(status(&file)["finished"], false);
        fs::write(&file, r#"{"changed": true, "stdout": "a\nb", "rc": 0}"#).unwrap();
        let ended = status(&file);
        assert_eq!(
            (&ended["finished"], &ended["started"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(ended["stdout_lines"], json!(["a", "b"]));
        assert_eq!(ended["results_file"], json!(file));
    }
}
