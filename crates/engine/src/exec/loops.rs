//! The loop of a task: its items, what `loop_control` says, and how the items' results make one.

use std::time::Duration;

use amibake_playbook::names::bare;
use amibake_playbook::template::{Error, ErrorKind};
use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::Event;
use serde_json::{Value as Json, json};

use super::attempt::TRACEBACK;
use super::explain::template_place;
use super::model::Loop;
use super::outcome::{Attempt, Fields, Own, item_status, shown, shown_diff};
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{ConditionError, TaskError, refused};
use crate::replaced::Many;

/// `loop_control`, read.
struct Control {
    variable: String,
    index: Option<String>,
    /// `label`; without one the item stands for itself.
    label: Option<Value>,
    pause: Duration,
    extended: bool,
    all_items: bool,
    break_when: Vec<Value>,
}

impl Control {
    fn read(run: &Run<'_>, control: &Dict, cx: &TaskContext<'_>) -> Result<Self, TaskError> {
        let (scope, enclosing) = (cx.scope, cx.enclosing);
        let text = |key: &str| match control.get(key) {
            None => Ok(None),
            Some(value) => run
                .text(&value, scope, enclosing)
                .map(Some)
                .map_err(|e| refused(e.message)),
        };
        let truth = |key: &str, default: bool| match control.get(key) {
            None => Ok(default),
            Some(value) => run.boolean("loop_control", &value, scope, enclosing),
        };
        let variable = text("loop_var")?.unwrap_or_else(|| "item".to_owned());
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
            label: control.get("label"),
            variable,
        })
    }

    /// Sets the loop's variables for the item at `at`.
    fn set(&self, local: &Dict, items: &[Value], at: usize) {
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
    fn mark(&self, attempt: &mut Attempt, local: &Dict, item: &Value) {
        attempt.put(&self.variable, item);
        attempt.put("ansible_loop_var", &Value::str(&self.variable));
        if let Some(index) = &self.index {
            attempt.put(index, &local.get(index).unwrap_or_default());
            attempt.put("ansible_index_var", &Value::str(index));
        }
        if let Some(extension) = local.get("ansible_loop") {
            attempt.put("ansible_loop", &extension);
        }
    }
}

fn count(n: usize) -> Value {
    Value::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

impl Run<'_> {
    /// Runs a task through its loop, if it has one.
    pub(super) fn perform(&self, cx: &TaskContext<'_>) -> Attempt {
        self.begin_progress();
        let Some(looping) = &cx.task.looping else {
            return self.attempt(cx, None);
        };
        match self.items(looping, cx) {
            Ok(items) if items.is_empty() => empty_loop(),
            Ok(items) => self.each(looping, &items, cx),
            // Conditions are looked at before anybody hears of what is undefined.
            Err(error) if error.kind == ErrorKind::Undefined => {
                self.attempt(cx, Some(TaskError::Template(*error)))
            }
            Err(error) => self.unlisted(&error, cx),
        }
    }

    /// Returns the items of a loop.
    fn items(&self, looping: &Loop, cx: &TaskContext<'_>) -> Result<Vec<Value>, Box<Error>> {
        if let Some(items) = self.progress.borrow().items.as_list() {
            return Ok(items.items());
        }
        let over = self.terms(looping.lookup.as_deref(), &looping.over, cx)?;
        let items = super::eval::items(&over);
        let items = match (&looping.lookup, items) {
            (Some(lookup), terms) => {
                let terms = terms.unwrap_or_else(|| vec![over]);
                self.with_lookup(lookup, &terms, cx)?
            }
            (None, Some(items)) => items,
            (None, None) => {
                return Err(Box::new(Error::failed(format!(
                    "The `loop` value must resolve to a 'list', not '{}'.",
                    over.type_name()
                ))));
            }
        };
        Ok(items.iter().map(super::eval::without_tuples).collect())
    }

    fn each(&self, looping: &Loop, items: &[Value], cx: &TaskContext<'_>) -> Attempt {
        let control = match Control::read(self, &looping.control, cx) {
            Ok(control) => control,
            Err(error) => return self.broken(&error, cx),
        };
        let task = cx.task;
        if cx.scope.has(&control.variable) {
            let used = &control.variable;
            self.warn(
                format!("The loop variable '{used}' is already in use."),
                Some(&task.place),
            );
        }
        self.note_progress(task, |progress| {
            progress.items = Value::list(items.to_vec());
        });
        // What came of items before a reboot is known.
        let mut attempts = self.progress.borrow().done.clone();
        let _many = Many::begin();
        if let Some(last) = attempts.last() {
            Self::publish(task, cx.scope, last);
        }
        for (at, item) in items.iter().enumerate().skip(attempts.len()) {
            if at > 0 && control.pause > Duration::ZERO && !self.is_going_back() {
                crate::deadline::sleep(control.pause);
            }
            let own = cx.scope.clone();
            control.set(&own.local, items, at);
            let cx = TaskContext { scope: &own, ..*cx };
            let mut attempt = self.attempt(&cx, None);
            Self::publish(task, &own, &attempt);
            control.mark(&mut attempt, &own.local, item);
            self.item_finished(&cx, &control, &mut attempt);
            let stop = match self.breaks(&control, &cx) {
                Ok(stop) => stop,
                Err(error) => return self.broken(&error, &cx),
            };
            self.note_progress(task, |progress| progress.done.push(attempt.clone()));
            attempts.push(attempt);
            own.local.remove(&control.variable.as_str().into());
            if stop || self.controller.borrow().cancelled() {
                break;
            }
        }
        collect(attempts)
    }

    /// Returns the failure of the loop itself, rather than of an item.
    fn broken(&self, error: &dyn std::error::Error, cx: &TaskContext<'_>) -> Attempt {
        Attempt {
            ignored: self.ignores_errors(cx),
            censored: self.is_censored(cx),
            ..Attempt::failed(error.to_string())
        }
    }

    /// Returns the failure to find the items of a loop, which changed nothing and does not say so.
    fn unlisted(&self, error: &Error, cx: &TaskContext<'_>) -> Attempt {
        let mut explained = error.clone();
        if let (None, Some(looping)) = (&error.place, &cx.task.looping) {
            explained.place = template_place(&looping.over).cloned();
        }
        self.explain(&TaskError::Template(explained), cx);
        let mut attempt = self.broken(&TaskError::Unlisted(error.message.clone()), cx);
        attempt.fields.shift_remove("changed");
        attempt
            .fields
            .insert("exception".to_owned(), json!(TRACEBACK));
        attempt
    }

    fn breaks(&self, control: &Control, cx: &TaskContext<'_>) -> Result<bool, ConditionError> {
        for condition in &control.break_when {
            if !self.condition(condition, cx.scope, cx.enclosing)? {
                return Ok(false);
            }
        }
        Ok(!control.break_when.is_empty())
    }

    fn item_finished(&self, cx: &TaskContext<'_>, control: &Control, attempt: &mut Attempt) {
        let item = || cx.scope.local.get(&control.variable).unwrap_or_default();
        let label = control.label.clone().unwrap_or_else(item);
        let label = match self.render(&label, cx.scope, cx.enclosing) {
            Ok(label) => label.to_string(),
            Err(e) => {
                attempt.fields.insert("failed".to_owned(), json!(true));
                let msg = format!("Failed to template loop_control.label: {}", e.message);
                attempt.put("msg", &Value::from(msg));
                String::new()
            }
        };
        let label = match attempt.censored {
            true => "(censored)".to_owned(),
            false => label,
        };
        for found in &mut attempt.includes {
            found.label = Some(label.clone());
        }
        if bare(&cx.task.action) == "include_tasks"
            && !attempt.is("failed")
            && !attempt.is("skipped")
        {
            return;
        }
        self.emit(Event::ItemFinished {
            index: cx.index,
            label,
            status: item_status(attempt),
            result: shown(attempt),
            diff: shown_diff(&attempt.diff, attempt.censored),
        });
    }
}

fn empty_loop() -> Attempt {
    let mut attempt = Attempt::default();
    attempt.fields.insert("changed".to_owned(), json!(false));
    attempt.fields.insert("skipped".to_owned(), json!(true));
    attempt
        .fields
        .insert("skipped_reason".to_owned(), json!("No items in the list"));
    attempt.fields.insert("results".to_owned(), json!([]));
    attempt
}

/// Folds the items' results into the task's, as Ansible's loop does.
fn collect(attempts: Vec<Attempt>) -> Attempt {
    let any = |flag: &str| attempts.iter().any(|a| a.is(flag));
    let all_skipped = attempts.iter().all(|a| a.is("skipped"));
    let failed = any("failed");
    let unreachable = any("unreachable");
    let mut fields = Fields::new();
    fields.insert("results".to_owned(), Json::Null); // filled in at the end
    fields.insert("skipped".to_owned(), json!(all_skipped));
    fields.insert("changed".to_owned(), json!(any("changed")));
    if failed {
        fields.insert("failed".to_owned(), json!(true));
    }
    if unreachable {
        fields.insert("unreachable".to_owned(), json!(true));
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
    let (mut own, mut sets, mut includes) = (Own::default(), Vec::new(), Vec::new());
    let (censored, ignored) = (
        attempts.iter().any(|a| a.censored),
        attempts
            .iter()
            .filter(|a| a.is("failed") || a.is("unreachable"))
            .all(|a| a.ignored)
            && (failed || unreachable),
    );
    let mut results = Vec::new();
    for mut attempt in attempts {
        attempt.fields.shift_remove("warnings");
        results.push(Json::Object(attempt.fields));
        own.items.push(attempt.own);
        sets.extend(attempt.sets);
        includes.extend(attempt.includes);
    }
    fields.insert("results".to_owned(), Json::Array(results));
    Attempt {
        unread: 0,
        fields,
        diff: Vec::new(),
        censored,
        ignored,
        raised: false,
        notify,
        includes,
        sets,
        own,
    }
}
