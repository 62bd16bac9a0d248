//! What follows a task: what it includes, its figures, its variable, whom it notifies.

use std::time::Instant;

use amibake_playbook::value::Value;
use amibake_protocol::event::{Event, Status};
use serde_json::{Value as Json, json};

use super::actions::TaskContext;
use super::include::Loaded;
use super::outcome::{Attempt, Fields, shown, shown_diff};
use super::run::{Flow, Run, Stop};

impl Run<'_> {
    /// Counts, registers, notifies, tells, and says how the list goes on.
    pub(super) fn conclude(
        &self,
        cx: &TaskContext<'_>,
        start: Instant,
        mut ended: Attempt,
    ) -> Result<Flow, Stop> {
        let loaded = self.load_all(cx, &mut ended);
        let (failed, skipped) = (ended.is("failed"), ended.is("skipped"));
        if let Some(name) = &cx.task.register {
            self.register(name, &ended.fields);
        }
        if let Some(role) = cx.around.role.as_ref().filter(|_| !skipped || failed) {
            role.ran.set(true);
        }
        let status = self.status(&ended);
        self.count_task(status, ended.is("changed"), loaded.len());
        if status == Status::Rescued {
            self.remember_failure(cx, &ended.fields);
        }
        let mut result = shown(&ended.fields, ended.censored);
        result.shift_remove("results");
        self.emit(Event::TaskFinished {
            index: cx.index,
            status,
            result,
            diff: shown_diff(&ended.diff, ended.censored),
            elapsed_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        match status {
            Status::Failed | Status::Rescued => return Ok(Flow::Failed),
            Status::Changed => self
                .notify(&ended.notify)
                .map_err(|stop| self.hushed(stop, cx))?,
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

    /// Reads everything a task includes; what cannot be read is its failure.
    fn load_all(&self, cx: &TaskContext<'_>, ended: &mut Attempt) -> Vec<Loaded> {
        let found = std::mem::take(&mut ended.includes);
        let loaded: Result<Vec<Loaded>, Stop> = found
            .into_iter()
            .map(|found| self.load(cx.task, cx.around, found))
            .collect();
        loaded.unwrap_or_else(|stop| {
            // Whatever `ignore_errors` says; a rescue helps.
            ended.ignored = false;
            ended.fields.insert("failed".to_owned(), json!(true));
            ended.fields.insert("reason".to_owned(), json!(stop.0));
            Vec::new()
        })
    }

    fn status(&self, ended: &Attempt) -> Status {
        let failed = ended.is("failed");
        match () {
            () if failed && ended.ignored => Status::Ignored,
            () if failed && self.rescuers.get() > 0 => Status::Rescued,
            () if failed => Status::Failed,
            () if ended.is("skipped") => Status::Skipped,
            () if ended.is("changed") => Status::Changed,
            () => Status::Ok,
        }
    }

    fn count_task(&self, status: Status, changed: bool, includes: usize) {
        let includes = u32::try_from(includes).unwrap_or(u32::MAX);
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
    }

    fn register(&self, name: &str, fields: &Fields) {
        let mut fields = fields.clone();
        fields.shift_remove("invocation");
        self.vars
            .set
            .set(name, Value::from_json(&Json::Object(fields)));
    }

    fn remember_failure(&self, cx: &TaskContext<'_>, fields: &Fields) {
        let task = cx.task;
        let name = task
            .keywords
            .name
            .as_ref()
            .map(|name| self.text_or_raw(name, cx.reach, cx.around));
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

    /// Returns why the run stops, without what a task under `no_log` must not tell.
    pub(super) fn hushed(&self, stop: Stop, cx: &TaskContext<'_>) -> Stop {
        if !self.is_censored(cx) {
            return stop;
        }
        let place = &cx.task.place;
        Stop(format!(
            "{}:{}: this task failed, and `no_log` hides why",
            place.file, place.line
        ))
    }
}
