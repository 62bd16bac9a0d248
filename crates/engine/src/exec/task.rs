//! One task: its items, its conditions, its retries, its result, its figures.

use std::rc::Rc;
use std::time::{Duration, Instant};

use amibake_playbook::value::Value;
use amibake_protocol::event::{Diff, Event, Status};
use serde_json::{Map, Value as Json, json};

use super::censor::{self, NO_LOG};
use super::loops::{Control, collect, empty_loop, item_status};
use super::model::{Around, Loop, Task};
use super::run::{Flow, Run, Stop};
use super::vars::Reach;

/// The fields of a result.
pub(super) type Fields = Map<String, Json>;

/// What one execution of a task (one item of its loop) came to.
#[derive(Default, Clone)]
pub(super) struct Attempt {
    pub(super) fields: Fields,
    pub(super) diff: Vec<Diff>,
    /// Whether nothing of it may be shown.
    pub(super) censored: bool,
    pub(super) ignored: bool,
    /// Handlers it notifies if the task changed something.
    pub(super) notify: Vec<String>,
    /// What an include found to include, in the order of the loop.
    pub(super) include: Option<super::include::Found>,
}

impl Attempt {
    /// Returns a failure that says `msg`.
    pub(super) fn failed(msg: impl Into<String>) -> Self {
        let mut fields = Fields::new();
        fields.insert("failed".to_owned(), json!(true));
        fields.insert("msg".to_owned(), json!(msg.into()));
        fields.insert("changed".to_owned(), json!(false));
        Self {
            fields,
            ..Self::default()
        }
    }

    pub(super) fn is(&self, flag: &str) -> bool {
        truth(&self.fields, flag)
    }
}

/// Returns whether a field is true.
pub(super) fn truth(fields: &Fields, flag: &str) -> bool {
    match fields.get(flag) {
        Some(Json::Bool(truth)) => *truth,
        Some(Json::String(text)) => {
            matches!(text.to_lowercase().as_str(), "true" | "yes" | "1" | "on")
        }
        Some(Json::Number(n)) => n.as_i64() != Some(0),
        _ => false,
    }
}

/// What is known of a whole task when it has run.
pub(super) struct Ended {
    pub(super) fields: Fields,
    pub(super) diff: Vec<Diff>,
    pub(super) censored: bool,
    pub(super) ignored: bool,
    pub(super) notify: Vec<String>,
    pub(super) includes: Vec<super::include::Found>,
}

impl Run<'_> {
    /// Runs one task or handler, unless tags or `--start-at-task` leave it out.
    pub(super) fn task(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        handler: bool,
    ) -> Result<Flow, Stop> {
        if self.controller.borrow().cancelled() {
            return Ok(Flow::Cancelled);
        }
        self.at.replace(task.place.clone());
        let reach = self.reach(task, around);
        if !handler && !self.is_selected(task, around, &reach)? {
            return Ok(Flow::Next);
        }
        match super::actions::bare(&task.action) {
            "meta" => return self.meta(task, around, &reach),
            "import_tasks" => return self.import_tasks(task, around, &reach),
            "import_role" => return self.import_role(task, around, &reach),
            _ => {}
        }
        if !handler && self.is_before_start(task, around, &reach) {
            return Ok(Flow::Next);
        }
        self.ordinary(task, around, &reach, handler)
    }

    fn ordinary(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        reach: &Reach,
        handler: bool,
    ) -> Result<Flow, Stop> {
        let index = self.index.get() + 1;
        self.index.set(index);
        self.emit(Event::TaskStarted {
            index,
            name: self.task_name(task, around, reach),
            module: task.action.clone(),
            handler,
            place: task.place.clone(),
        });
        let start = Instant::now();
        let ended = self.perform(task, around, reach, index);
        self.conclude(task, around, index, start, ended)
    }

    fn reach(&self, task: &Task, around: &Rc<Around>) -> Reach {
        let reach = self.vars.reach(around, Some(task));
        let path = super::search::folders(self, around);
        let path = path
            .iter()
            .map(|p| Value::str(p.to_string_lossy()))
            .collect();
        reach.local.set("ansible_search_path", Value::list(path));
        reach
    }

    fn is_selected(&self, task: &Task, around: &Rc<Around>, reach: &Reach) -> Result<bool, Stop> {
        let mut tags = Vec::new();
        for tag in around.gathered(&task.keywords, |k| &k.tags) {
            let rendered = self
                .render(&tag, reach, around)
                .map_err(|e| Stop(e.to_string()))?;
            for text in super::eval::texts(&rendered) {
                tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
            }
        }
        Ok(self.tags.selects(&tags))
    }

    fn is_before_start(&self, task: &Task, around: &Rc<Around>, reach: &Reach) -> bool {
        let Some(wanted) = self.start_at.borrow().clone() else {
            return false;
        };
        let full = self.task_name(task, around, reach);
        let short = full.rsplit(" : ").next().unwrap_or(&full).to_owned();
        let found = [full, short]
            .iter()
            .any(|name| crate::facts::matches(&wanted, name));
        if found {
            self.start_at.replace(None);
        }
        !found
    }

    /// The name as Ansible prints it: `role : name`.
    pub(super) fn task_name(&self, task: &Task, around: &Rc<Around>, reach: &Reach) -> String {
        if task.keywords.name.is_none() && super::actions::bare(&task.action) == "include_role" {
            let role = task.args.get("name").or_else(|| task.args.get("role"));
            let role = role.map(|role| self.text_or_raw(&role, reach, around));
            return format!("{} : {}", task.action, role.unwrap_or_default());
        }
        let name = match &task.keywords.name {
            Some(name) => self.text_or_raw(name, reach, around),
            None => task.action.clone(),
        };
        match &around.role {
            Some(role) => format!("{} : {name}", role.name),
            None => name,
        }
    }

    /// Runs a task through its loop, if it has one.
    fn perform(&self, task: &Rc<Task>, around: &Rc<Around>, reach: &Reach, index: u32) -> Ended {
        let items = match &task.looping {
            None => return single(self.attempt(task, around, reach, index, None)),
            Some(looping) => self.items(looping, around, reach),
        };
        match (items, &task.looping) {
            (Ok(items), Some(looping)) if !items.is_empty() => {
                let items: Vec<Value> = items.iter().map(super::eval::without_tuples).collect();
                self.each(task, looping, &items, around, reach, index)
            }
            (Ok(_), _) => empty_loop(),
            (Err(attempt), _) => single(self.attempt(task, around, reach, index, Some(*attempt))),
        }
    }

    /// Returns the items of a loop, or the failure to find them.
    fn items(
        &self,
        looping: &Loop,
        around: &Rc<Around>,
        reach: &Reach,
    ) -> Result<Vec<Value>, Box<Attempt>> {
        let fail =
            |e: &dyn std::fmt::Display| Box::new(Attempt::failed(format!("Task failed: {e}")));
        let Some(lookup) = &looping.lookup else {
            let over = self
                .render(&looping.over, reach, around)
                .map_err(|e| fail(&e.message))?;
            return super::eval::items(&over).ok_or_else(|| {
                let mut attempt = Attempt::failed(format!(
                    "The `loop` value must resolve to a 'list', not '{}'.",
                    over.type_name()
                ));
                attempt.fields.shift_remove("changed");
                Box::new(attempt)
            });
        };
        let terms = self
            .render(&looping.over, reach, around)
            .map_err(|e| fail(&e.message))?;
        let terms = super::eval::items(&terms).unwrap_or_else(|| vec![terms]);
        self.with_lookup(lookup, &terms, reach, around)
            .map_err(|e| fail(&e.message))
    }

    fn each(
        &self,
        task: &Rc<Task>,
        looping: &Loop,
        items: &[Value],
        around: &Rc<Around>,
        reach: &Reach,
        index: u32,
    ) -> Ended {
        let control = match Control::read(self, &looping.control, reach, around) {
            Ok(control) => control,
            Err(message) => return single(Attempt::failed(message)),
        };
        if reach.has(&control.variable) {
            self.warn(
                format!(
                    "The loop variable '{}' is already in use.",
                    control.variable
                ),
                Some(&task.place),
            );
        }
        let mut attempts = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if at > 0 && control.pause > Duration::ZERO {
                pause(control.pause);
            }
            let own = reach.clone();
            control.set(&own.local, items, at);
            let mut attempt = self.attempt(task, around, &own, index, None);
            if let Some(name) = &task.register {
                own.local.set(
                    name,
                    Value::from_json(&Json::Object(attempt.fields.clone())),
                );
                reach.local.set(
                    name,
                    Value::from_json(&Json::Object(attempt.fields.clone())),
                );
            }
            control.mark(&mut attempt.fields, &own.local, item);
            self.item_finished(index, task, around, &own, &control, &mut attempt);
            let stop = self.breaks(&control, &own, around);
            attempts.push(attempt);
            own.local.remove(&control.variable.as_str().into());
            if stop || self.controller.borrow().cancelled() {
                break;
            }
        }
        collect(attempts)
    }

    fn breaks(&self, control: &Control, reach: &Reach, around: &Rc<Around>) -> bool {
        !control.break_when.is_empty()
            && control
                .break_when
                .iter()
                .all(|c| self.condition(c, reach, around).unwrap_or(false))
    }

    fn item_finished(
        &self,
        index: u32,
        task: &Task,
        around: &Rc<Around>,
        reach: &Reach,
        control: &Control,
        attempt: &mut Attempt,
    ) {
        let label = match self.render(&control.label, reach, around) {
            Ok(label) => label.to_string(),
            Err(e) => {
                attempt.fields.insert("failed".to_owned(), json!(true));
                let msg = format!("Failed to template loop_control.label: {}", e.message);
                attempt.fields.insert("msg".to_owned(), json!(msg));
                String::new()
            }
        };
        if super::actions::bare(&task.action) == "include_tasks"
            && !attempt.is("failed")
            && !attempt.is("skipped")
        {
            return;
        }
        let status = item_status(attempt);
        let label = if attempt.censored {
            "(censored)".to_owned()
        } else {
            label
        };
        self.emit(Event::ItemFinished {
            index,
            label,
            status,
            result: shown(&attempt.fields, attempt.censored),
            diff: shown_diff(&attempt.diff, attempt.censored),
        });
    }

    /// Counts, registers, notifies, tells, and says how the list goes on.
    fn conclude(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        index: u32,
        start: Instant,
        ended: Ended,
    ) -> Result<Flow, Stop> {
        let mut ended = ended;
        let mut loaded = Vec::new();
        for found in std::mem::take(&mut ended.includes) {
            match self.load(task, around, found) {
                Ok(include) => loaded.push(include),
                // Whatever `ignore_errors` says; a rescue helps.
                Err(stop) => {
                    loaded.clear();
                    ended.ignored = false;
                    ended.fields.insert("failed".to_owned(), json!(true));
                    ended.fields.insert("reason".to_owned(), json!(stop.0));
                    break;
                }
            }
        }
        let failed = truth(&ended.fields, "failed");
        let skipped = truth(&ended.fields, "skipped");
        let changed = truth(&ended.fields, "changed");
        if let Some(name) = &task.register {
            self.register(name, &ended.fields);
        }
        if let Some(role) = around.role.as_ref().filter(|_| !skipped || failed) {
            role.ran.set(true);
        }
        let status = match () {
            () if failed && ended.ignored => Status::Ignored,
            () if failed && self.rescuers.get() > 0 => Status::Rescued,
            () if failed => Status::Failed,
            () if skipped => Status::Skipped,
            () if changed => Status::Changed,
            () => Status::Ok,
        };
        let includes = u32::try_from(loaded.len()).unwrap_or(u32::MAX);
        self.count(|recap| match status {
            Status::Ignored => {
                recap.ok += 1;
                recap.ignored += 1;
                recap.changed += u32::from(changed);
            }
            Status::Rescued => recap.rescued += 1,
            Status::Failed => recap.failed += 1,
            Status::Skipped => recap.skipped += 1,
            Status::Ok | Status::Changed => {
                // A loop of includes counts each file that is included.
                recap.ok += includes.max(1);
                recap.changed += u32::from(changed);
            }
        });
        if status == Status::Rescued {
            self.remember_failure(task, around, &ended.fields);
        }
        let mut result = shown(&ended.fields, ended.censored);
        result.shift_remove("results");
        self.emit(Event::TaskFinished {
            index,
            status,
            result,
            diff: shown_diff(&ended.diff, ended.censored),
            elapsed_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        match status {
            Status::Failed | Status::Rescued => return Ok(Flow::Failed),
            Status::Changed => self.notify(&ended.notify)?,
            Status::Ok | Status::Skipped | Status::Ignored => {}
        }
        for include in &loaded {
            let flow = self.include(include)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn register(&self, name: &str, fields: &Fields) {
        let mut fields = fields.clone();
        fields.shift_remove("invocation");
        self.vars
            .set
            .set(name, Value::from_json(&Json::Object(fields)));
    }

    fn remember_failure(&self, task: &Task, around: &Rc<Around>, fields: &Fields) {
        let reach = self.vars.reach(around, Some(task));
        let name = task
            .keywords
            .name
            .as_ref()
            .map(|n| self.text_or_raw(n, &reach, around));
        let described = json!({
            "name": name.unwrap_or_default(),
            "action": task.action,
            "args": super::eval::raw_json(&Value::Dict(task.args.clone())),
            "register": task.register,
        });
        self.vars
            .set
            .set("ansible_failed_task", Value::from_json(&described));
        let result = Value::from_json(&Json::Object(fields.clone()));
        self.vars.set.set("ansible_failed_result", result);
    }

    /// Runs a task once: conditions first, then the action with its retries.
    fn attempt(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        reach: &Reach,
        index: u32,
        loop_error: Option<Attempt>,
    ) -> Attempt {
        let censored = self.is_censored(task, around, reach);
        let mut attempt = self.attempt_shown(task, around, reach, index, loop_error);
        attempt.censored = censored || truth(&attempt.fields, "_ansible_no_log");
        attempt.fields.shift_remove("_ansible_no_log");
        attempt.ignored = self.ignores_errors(task, around, reach);
        attempt
    }

    fn attempt_shown(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        reach: &Reach,
        index: u32,
        loop_error: Option<Attempt>,
    ) -> Attempt {
        for condition in around.gathered(&task.keywords, |k| &k.when) {
            match self.condition(&condition, reach, around) {
                Ok(true) => {}
                Ok(false) => return skipped(&condition),
                Err(e) => {
                    return loop_error
                        .unwrap_or_else(|| Attempt::failed(format!("Task failed: {e}")));
                }
            }
        }
        if let Some(error) = loop_error {
            return error;
        }
        let mut attempt = match self.retried(task, around, reach, index) {
            Ok(attempt) => attempt,
            Err(message) => Attempt::failed(message),
        };
        for name in &task.keywords.notify {
            match self.render(name, reach, around) {
                Ok(names) => attempt.notify.extend(super::eval::texts(&names)),
                Err(e) => return Attempt::failed(format!("Task failed: {}", e.message)),
            }
        }
        attempt
    }

    /// Runs the action until `until` holds or the tries are used up.
    fn retried(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        reach: &Reach,
        index: u32,
    ) -> Result<Attempt, String> {
        let number = |value: &Option<Value>| match value {
            None => Ok(None),
            Some(value) => self.number(value, reach, around).map(Some),
        };
        let retries = match number(&task.retries)? {
            Some(n) => 1 + u32::try_from(n.max(0)).unwrap_or(u32::MAX - 1),
            None if task.until.is_empty() => 1,
            None => 4,
        };
        let delay = number(&task.delay)?.map_or(5, |n| u64::try_from(n).unwrap_or(1));
        let mut last = Attempt::default();
        for n in 1..=retries {
            last = self.once(task, around, reach, index, (retries > 1).then_some(n));
            if retries == 1 {
                return Ok(last);
            }
            let own = reach.clone();
            Self::publish(task, &own, &last.fields);
            let done = if task.until.is_empty() {
                !last.is("failed")
            } else {
                let mut done = true;
                for condition in &task.until {
                    done = done
                        && self
                            .condition(condition, &own, around)
                            .map_err(|e| format!("Task failed: {e}"))?;
                }
                done
            };
            if done {
                return Ok(last);
            }
            if n < retries {
                last.fields.insert("retries".to_owned(), json!(retries));
                self.emit(Event::TaskRetrying {
                    index,
                    retries_left: retries - n,
                });
                pause(Duration::from_secs(delay));
            }
        }
        last.fields
            .insert("attempts".to_owned(), json!(retries - 1));
        last.fields.insert("failed".to_owned(), json!(true));
        last.fields.entry("msg").or_insert_with(|| json!(""));
        Ok(last)
    }

    /// Makes a result visible to the task's own conditions.
    fn publish(task: &Task, reach: &Reach, fields: &Fields) {
        if let Some(name) = &task.register {
            reach
                .local
                .set(name, Value::from_json(&Json::Object(fields.clone())));
        }
    }

    /// Runs the action once and applies `changed_when` and `failed_when`.
    fn once(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        reach: &Reach,
        index: u32,
        number: Option<u32>,
    ) -> Attempt {
        let mut attempt = self.act(task, around, reach, index);
        if attempt.include.is_some() {
            return attempt;
        }
        if !attempt.fields.contains_key("failed") {
            let bad = matches!(attempt.fields.get("rc"), Some(rc) if *rc != json!(0) && *rc != json!("0"));
            attempt.fields.insert("failed".to_owned(), json!(bad));
        }
        if let Some(n) = number {
            attempt.fields.insert("attempts".to_owned(), json!(n));
        }
        attempt
            .fields
            .entry("changed")
            .or_insert_with(|| json!(false));
        Self::publish(task, reach, &attempt.fields);
        if !attempt.fields.contains_key("skipped") {
            self.judge(task, around, reach, &mut attempt.fields);
        }
        attempt
    }

    fn judge(&self, task: &Task, around: &Rc<Around>, reach: &Reach, fields: &mut Fields) {
        let all = |conditions: &[Value]| -> Result<bool, String> {
            for condition in conditions {
                if !self.condition(condition, reach, around)? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        if !task.changed_when.is_empty() {
            match all(&task.changed_when) {
                Ok(changed) => {
                    fields.insert("changed".to_owned(), json!(changed));
                }
                Err(message) => {
                    fields.insert("failed".to_owned(), json!(true));
                    fields.insert("changed_when_result".to_owned(), json!(message));
                    return;
                }
            }
            Self::publish(task, reach, fields);
        }
        if task.failed_when.is_empty() {
            return;
        }
        let judged = all(&task.failed_when);
        fields.insert(
            "failed".to_owned(),
            json!(*judged.as_ref().unwrap_or(&true)),
        );
        let result = judged.map_or_else(Json::from, Json::from);
        fields.insert("failed_when_result".to_owned(), result);
    }

    /// Returns whether `no_log` hides what this task shows.
    pub(super) fn is_censored(&self, task: &Task, around: &Rc<Around>, reach: &Reach) -> bool {
        let value = around.nearest(&task.keywords, |k| k.no_log.clone());
        // What cannot be evaluated is kept secret.
        value.is_some_and(|value| self.boolean(&value, reach, around).unwrap_or(true))
    }

    fn ignores_errors(&self, task: &Task, around: &Rc<Around>, reach: &Reach) -> bool {
        let value = around.nearest(&task.keywords, |k| k.ignore_errors.clone());
        value.is_some_and(|value| self.boolean(&value, reach, around).unwrap_or(false))
    }
}

/// Waits. The run has nothing else to do meanwhile.
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn skipped(condition: &Value) -> Attempt {
    let mut fields = Fields::new();
    fields.insert("changed".to_owned(), json!(false));
    fields.insert("skipped".to_owned(), json!(true));
    fields.insert(
        "skip_reason".to_owned(),
        json!("Conditional result was False"),
    );
    fields.insert(
        "false_condition".to_owned(),
        super::eval::raw_json(condition),
    );
    Attempt {
        fields,
        ..Attempt::default()
    }
}

pub(super) fn single(attempt: Attempt) -> Ended {
    Ended {
        fields: attempt.fields,
        diff: attempt.diff,
        censored: attempt.censored,
        ignored: attempt.ignored,
        notify: attempt.notify,
        includes: attempt.include.into_iter().collect(),
    }
}

/// What of a result may leave.
fn shown(fields: &Fields, censored: bool) -> Fields {
    if censored {
        let mut hidden = Fields::new();
        hidden.insert("censored".to_owned(), json!(NO_LOG));
        for kept in ["changed", "attempts", "retries"] {
            if let Some(value) = fields.get(kept) {
                hidden.insert(kept.to_owned(), value.clone());
            }
        }
        return hidden;
    }
    let mut shown = fields.clone();
    // Those are the event's status.
    shown.retain(|name, _| name != "failed" && name != "skipped");
    shown
        .iter_mut()
        .for_each(|(_, value)| censor::hide_url_passwords(value));
    shown
}

fn shown_diff(diff: &[Diff], censored: bool) -> Vec<Diff> {
    if censored { Vec::new() } else { diff.to_vec() }
}
