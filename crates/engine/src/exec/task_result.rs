//! What a task comes to: its figures, what is told of it, and its effects: the variable it registers,
//! whom it notifies, what it includes.

use std::time::Instant;

use amibake_playbook::value::Value;
use amibake_protocol::event::{Event, Status};
use serde_json::json;

use super::effects::{Effects, Flow, Loaded};
use super::outcome::{Attempt, shown_but, shown_diff};
use super::run::{Run, Stop};
use super::task_context::TaskContext;

impl Run<'_> {
    /// Counts and tells what a task came to, and returns what is left to be done.
    pub(super) fn finish(
        &self,
        cx: &TaskContext<'_>,
        start: Instant,
        mut ended: Attempt,
    ) -> Effects {
        let found = ended.includes.clone();
        let loaded = self.load_all(cx, &mut ended);
        let (failed, skipped) = (ended.has_failed(), ended.is("skipped"));
        let ran = failed || !(skipped || ended.is("unreachable"));
        let mut effects = Effects::default();
        if let Some(name) = &cx.task.register {
            effects.set.push((name.clone(), registered(&ended)));
        }
        if let Some(role) = cx.enclosing.role.as_ref().filter(|_| ran) {
            role.ran.set(true);
        }
        let status = self.status(&ended);
        match ended.unread {
            0 if status == Status::Failed && !failed => {
                self.count(|recap| recap.unreachable = 1);
            }
            0 => self.count_task(status, ended.is("changed"), loaded.len()),
            unread => self.count_unread(unread, found.len()),
        }
        if status == Status::Rescued {
            effects.set.extend(self.told_to_rescue(cx, &ended));
        }
        self.emit(Event::TaskFinished {
            index: cx.index,
            status,
            result: shown_but(&ended, "results"),
            diff: shown_diff(&ended.diff, ended.censored),
            elapsed_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        match status {
            // As Ansible: who cannot be reached takes part no more, and nothing rescues that.
            Status::Failed if !failed => effects.flow = Flow::Cancelled,
            Status::Failed | Status::Rescued => effects.flow = Flow::Failed,
            Status::Changed => {
                effects.vars = ended.sets;
                effects.hidden = !ended.notify.is_empty() && self.is_censored(cx);
                effects.notify = ended.notify;
                effects.walk = loaded;
            }
            Status::Ok => {
                effects.vars = ended.sets;
                effects.walk = loaded;
            }
            Status::Skipped | Status::Ignored => effects.walk = loaded,
        }
        if !effects.walk.is_empty() {
            effects.found = found;
        }
        effects
    }

    /// Reads everything a task includes; what cannot be read is its failure.
    fn load_all(&self, cx: &TaskContext<'_>, ended: &mut Attempt) -> Vec<Loaded> {
        let found = std::mem::take(&mut ended.includes);
        let mut all = Vec::new();
        for found in found {
            let label = found.label.clone();
            match self.load(cx.task, cx.enclosing, found) {
                Ok((loaded, name)) => {
                    let index = cx.index;
                    self.emit(Event::Included { index, name, label });
                    all.push(loaded);
                }
                Err(stop) => {
                    // Whatever `ignore_errors` says; a rescue helps.
                    ended.ignored = false;
                    ended.unread += 1;
                    ended.fields.insert("failed".to_owned(), json!(true));
                    let reason = ended.fields.entry("reason".to_owned());
                    reason.or_insert_with(|| json!(stop.said));
                }
            }
        }
        if ended.unread > 0 {
            self.stranded.replace(std::mem::take(&mut all));
        }
        all
    }

    fn status(&self, ended: &Attempt) -> Status {
        let failed = ended.has_failed();
        match () {
            () if ended.is("unreachable") && !failed => match ended.ignored {
                true => Status::Ignored,
                false => Status::Failed,
            },
            () if failed && ended.ignored => Status::Ignored,
            () if failed && self.rescuers.get() > 0 => Status::Rescued,
            () if failed => Status::Failed,
            () if ended.is("skipped") => Status::Skipped,
            () if ended.is("changed") => Status::Changed,
            () => Status::Ok,
        }
    }

    /// Counts what an include could not read, of as many as it found: as Ansible, each as a failure, whether or not a
    /// rescue helps. What it could read counts all the same.
    fn count_unread(&self, unread: u32, of: usize) {
        let helps = self.rescuers.get() > 0;
        let of = u32::try_from(of).unwrap_or(u32::MAX);
        self.count(|recap| {
            recap.ok += of.saturating_sub(unread);
            recap.failed += unread;
            recap.cleared += if helps { unread } else { 0 };
        });
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

    /// Returns the variables that say to a rescue what failed.
    fn told_to_rescue(&self, cx: &TaskContext<'_>, ended: &Attempt) -> [(String, Value); 2] {
        let task = cx.task;
        let name = task
            .keywords
            .name
            .as_ref()
            .map(|name| self.text_or_raw(name, cx.scope, cx.enclosing));
        let register = task.register.as_ref();
        let described = Value::dict([
            ("name", Value::from(name.unwrap_or_default())),
            ("action", Value::str(&task.action)),
            ("args", Value::Dict(task.args.clone()).deep_copy()),
            ("register", register.map_or(Value::None, Value::str)),
        ]);
        [
            ("ansible_failed_task".to_owned(), described),
            ("ansible_failed_result".to_owned(), ended.value()),
        ]
    }

    /// Returns why the run stops, without what a task under `no_log` must not tell.
    pub(super) fn hushed(&self, stop: Stop, cx: &TaskContext<'_>) -> Stop {
        match self.is_censored(cx) {
            true => Stop::hidden(&cx.task.place),
            false => stop,
        }
    }
}

/// Returns what `register` sees of a result.
fn registered(ended: &Attempt) -> Value {
    let value = ended.value();
    if let Some(fields) = value.as_dict() {
        fields.remove(&"invocation".into());
    }
    value
}
