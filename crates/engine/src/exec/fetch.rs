//! `fetch`: a file of this machine goes to the controller, which alone decides where it may lie.

use std::path::Path;

use amibake_playbook::argspec;
use amibake_playbook::value::Value;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::fetched::Fetch;
use serde_json::{Map, Value as Json, json};

use super::actions::plain;
use super::eval;
use super::outcome::Attempt;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use crate::modules::FETCHED_FOLDER as FOLDER;
use crate::source::Source;

impl Run<'_> {
    /// Fetches a file.
    pub(super) fn fetch(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let spec =
            argspec::find("fetch").ok_or_else(|| refused("The module fetch was not found"))?;
        let mut call = self.prepare(cx, spec)?;
        if call.check {
            let msg = "check mode not (yet) supported for this module";
            return Ok(plain(
                json!({"changed": false, "skipped": true, "msg": msg}),
            ));
        }
        let given = call.args.clone();
        let text = |name: &str| text_of(&given, name);
        let (Some(_), Some(dest)) = (text("src")?, text("dest")?) else {
            return Err(refused("src and dest are required"));
        };
        let flag = |name: &str, default| match given.get(name) {
            Some(value) => eval::truth(&Value::from_json(value)).unwrap_or(false),
            None => default,
        };
        let spool = tempfile::NamedTempFile::new_in(self.controller.borrow().spool_folder());
        let spool = spool.map_err(|e| refused(format!("could not keep the file: {e}")))?;
        let file = spool.reopen().and_then(Source::of_file);
        let file = file.map_err(|e| refused(format!("could not keep the file: {e}")))?;
        call.sources.insert("into".to_owned(), file);
        let read = self.run_call(cx, spec, call);
        if read.is("failed") {
            let becomes = self.becomes(cx)?;
            return Ok(missing(&read, flag("fail_on_missing", true), becomes));
        }
        let field = |name: &str| {
            read.fields
                .get(name)
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let fetch = Fetch {
            src: field("source"),
            dest: self.destination(&dest),
            flat: flag("flat", false),
            checksum: field("checksum"),
            validate: flag("validate_checksum", true),
        };
        Ok(self.hand_over(cx, fetch, spool.path()))
    }

    /// Returns where the author wants it: relative paths start at the playbook.
    fn destination(&self, dest: &str) -> String {
        if let (Some(below), Some(home)) = (dest.strip_prefix("~/"), &self.options.home) {
            return format!("{}/{below}", home.display());
        }
        match dest.starts_with('/') {
            true => dest.to_owned(),
            false => format!("{}/{dest}", self.playbook_dir.borrow().display()),
        }
    }

    fn hand_over(&self, cx: &TaskContext<'_>, fetch: Fetch, file: &Path) -> Attempt {
        let ask = Ask::Fetch {
            place: cx.task.place.clone(),
            fetch,
            file: file.to_path_buf(),
        };
        let answer = self.controller.borrow_mut().ask(ask);
        let fields = match answer {
            Answer::Value { value } => value,
            Answer::Refused { reason } => {
                json!({"failed": true, "msg": format!("fetch was refused: {reason}")})
            }
            Answer::File { .. } => {
                json!({"failed": true, "msg": "the controller sent a file for one"})
            }
        };
        if let Some(dest) = fields.get("dest").and_then(Json::as_str) {
            self.project.files.forget(Path::new(dest));
        }
        plain(fields)
    }
}

/// Returns a parameter that must be a text.
fn text_of(given: &Map<String, Json>, name: &str) -> Result<Option<String>, TaskError> {
    let option = if name == "src" { "source" } else { name };
    match given.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(refused(format!(
            "Invalid type supplied for {option} option, it must be a string"
        ))),
    }
}

/// Returns the result for a file that cannot be read. Without `become` Ansible looks at it first, and says
/// less of a folder.
fn missing(read: &Attempt, fails: bool, becomes: bool) -> Attempt {
    let field = |name: &str| read.fields.get(name).cloned().unwrap_or_default();
    let (source, msg) = (field("source"), field("msg"));
    let text = msg.as_str().unwrap_or_default();
    match (fails, becomes || text != FOLDER) {
        (true, _) => plain(json!({"failed": true, "changed": false, "msg": msg})),
        (false, true) => plain(json!({"file": source, "changed": false, "msg": msg})),
        (false, false) => {
            let msg = format!("{text}, not transferring, ignored");
            plain(json!({"changed": false, "msg": msg}))
        }
    }
}
