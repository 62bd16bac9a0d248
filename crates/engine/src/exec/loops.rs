//! The loop of a task: what `loop_control` says, and how the items' results make one.
//!
//! Which items there are, and running them, is `task`'s.

use std::rc::Rc;
use std::time::Duration;

use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::Status;
use serde_json::{Value as Json, json};

use super::model::Around;
use super::run::Run;
use super::task::{Attempt, Ended, Fields, single};
use super::vars::Reach;

/// `loop_control`, read.
pub(super) struct Control {
    pub(super) variable: String,
    index: Option<String>,
    pub(super) label: Value,
    pub(super) pause: Duration,
    extended: bool,
    all_items: bool,
    pub(super) break_when: Vec<Value>,
}

impl Control {
    pub(super) fn read(
        run: &Run<'_>,
        control: &Dict,
        reach: &Reach,
        around: &Rc<Around>,
    ) -> Result<Self, String> {
        let text = |key: &str| match control.get(key) {
            None => Ok(None),
            Some(value) => run
                .text(&value, reach, around)
                .map(Some)
                .map_err(|e| e.message),
        };
        let truth = |key: &str, default: bool| match control.get(key) {
            None => Ok(default),
            Some(value) => run.boolean(&value, reach, around),
        };
        let variable = text("loop_var")?.unwrap_or_else(|| "item".to_owned());
        let label = control
            .get("label")
            .unwrap_or_else(|| Value::authored(&format!("{{{{ {variable} }}}}"), None));
        let pause = text("pause")?
            .and_then(|p| p.parse::<f64>().ok())
            .unwrap_or(0.0);
        let break_when = control.get("break_when");
        Ok(Self {
            index: text("index_var")?,
            extended: truth("extended", false)?,
            all_items: truth("extended_allitems", true)?,
            pause: Duration::try_from_secs_f64(pause).unwrap_or_default(),
            break_when: break_when.map_or_else(Vec::new, |c| {
                super::eval::items(&c).unwrap_or_else(|| vec![c])
            }),
            variable,
            label,
        })
    }

    /// Sets the loop's variables for the item at `at`.
    pub(super) fn set(&self, local: &Dict, items: &[Value], at: usize) {
        local.set("ansible_loop_var", Value::str(&self.variable));
        local.set(&self.variable, items[at].clone());
        if let Some(index) = &self.index {
            local.set("ansible_index_var", Value::str(index));
            local.set(index, count(at));
        }
        if self.extended {
            local.set("ansible_loop", self.extension(items, at));
        }
    }

    fn extension(&self, items: &[Value], at: usize) -> Value {
        let length = items.len();
        let extension = Dict::new();
        extension.set("index", count(at + 1));
        extension.set("index0", count(at));
        extension.set("first", Value::Bool(at == 0));
        extension.set("last", Value::Bool(at + 1 == length));
        extension.set("length", count(length));
        extension.set("revindex", count(length - at));
        extension.set("revindex0", count(length - at - 1));
        if self.all_items {
            extension.set("allitems", Value::list(items.to_vec()));
        }
        if let Some(next) = items.get(at + 1) {
            extension.set("nextitem", next.clone());
        }
        if at > 0 {
            extension.set("previtem", items[at - 1].clone());
        }
        Value::Dict(extension)
    }

    /// Adds to a result which item it is of.
    pub(super) fn mark(&self, fields: &mut Fields, local: &Dict, item: &Value) {
        let json = |value: &Value| super::eval::raw_json(value);
        fields.insert(self.variable.clone(), json(item));
        fields.insert("ansible_loop_var".to_owned(), json!(self.variable));
        if let Some(index) = &self.index {
            fields.insert(
                index.clone(),
                local.get(index).map_or(Json::Null, |i| json(&i)),
            );
            fields.insert("ansible_index_var".to_owned(), json!(index));
        }
        if let Some(extension) = local.get("ansible_loop") {
            fields.insert("ansible_loop".to_owned(), json(&extension));
        }
    }
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

pub(super) fn empty_loop() -> Ended {
    let mut attempt = Attempt::default();
    attempt.fields.insert("changed".to_owned(), json!(false));
    attempt.fields.insert("skipped".to_owned(), json!(true));
    attempt
        .fields
        .insert("skipped_reason".to_owned(), json!("No items in the list"));
    attempt.fields.insert("results".to_owned(), json!([]));
    single(attempt)
}

/// Folds the items' results into the task's, as Ansible's loop does.
pub(super) fn collect(attempts: Vec<Attempt>) -> Ended {
    let any = |flag: &str| attempts.iter().any(|a| a.is(flag));
    let all_skipped = attempts.iter().all(|a| a.is("skipped"));
    let failed = any("failed");
    let mut fields = Fields::new();
    let results: Vec<Json> = attempts
        .iter()
        .map(|attempt| {
            let mut fields = attempt.fields.clone();
            fields.shift_remove("warnings");
            Json::Object(fields)
        })
        .collect();
    fields.insert("results".to_owned(), Json::Array(results));
    fields.insert("skipped".to_owned(), json!(all_skipped));
    fields.insert("changed".to_owned(), json!(any("changed")));
    if failed {
        fields.insert("failed".to_owned(), json!(true));
    }
    let msg = match (all_skipped, failed) {
        (true, _) => "All items skipped",
        (false, true) => "One or more items failed",
        (false, false) => "All items completed",
    };
    fields.insert("msg".to_owned(), json!(msg));
    let warnings: Vec<Json> = attempts
        .iter()
        .filter_map(|a| a.fields.get("warnings")?.as_array())
        .flatten()
        .cloned()
        .collect();
    if !warnings.is_empty() {
        fields.insert("warnings".to_owned(), Json::Array(warnings));
    }
    let mut notify = Vec::new();
    for attempt in attempts.iter().filter(|a| !a.is("skipped")) {
        for name in &attempt.notify {
            if !notify.contains(name) {
                notify.push(name.clone());
            }
        }
    }
    Ended {
        fields,
        diff: Vec::new(),
        censored: attempts.iter().any(|a| a.censored),
        ignored: attempts
            .iter()
            .filter(|a| a.is("failed"))
            .all(|a| a.ignored)
            && failed,
        notify,
        includes: attempts.into_iter().filter_map(|a| a.include).collect(),
    }
}

pub(super) fn item_status(attempt: &Attempt) -> Status {
    match () {
        () if attempt.is("failed") && attempt.ignored => Status::Ignored,
        () if attempt.is("failed") => Status::Failed,
        () if attempt.is("skipped") => Status::Skipped,
        () if attempt.is("changed") => Status::Changed,
        () => Status::Ok,
    }
}
