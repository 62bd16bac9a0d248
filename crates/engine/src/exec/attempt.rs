//! One execution of a task: its conditions, its retries, how long it may take, what
//! `changed_when` and `failed_when` make of its result.

use std::time::Duration;

use amibake_playbook::value::Value;
use amibake_protocol::event::Event;
use serde_json::{Value as Json, json};

use super::actions::is_never_checked;
use super::explain::written_at;
use super::model::Task;
use super::outcome::{Attempt, skipped, truth};
use super::run::{Delegation, Run, Stop};
use super::task_context::TaskContext;
use super::task_error::{ConditionError, TaskError, refused};
use super::vars::VarScope;
use crate::deadline;

/// What Ansible's results hold of a failure's origin unless tracebacks are asked for.
pub(super) const TRACEBACK: &str = "(traceback unavailable)";

/// What stands where older versions of Ansible told what was running when the time was over.
const NO_FRAME: &str = "Configure `DISPLAY_TRACEBACK` to see a traceback on timeout errors.";
/// The longest `timeout`, in seconds.
const LONGEST_TIMEOUT: i64 = 100_000_000;

/// How long an execution may take, and what is said if it takes longer.
pub(super) struct TimeLimit {
    pub(super) time: Duration,
    seconds: i64,
    asynchronous: bool,
}

impl TimeLimit {
    /// Returns the result of what took longer.
    fn exceeded(&self) -> Attempt {
        if self.asynchronous {
            return Attempt::failed("Timeout exceeded");
        }
        let msg = format!("Task failed: Timed out after {} second(s).", self.seconds);
        let mut attempt = Attempt::failed(msg);
        let timed_out = json!({ "frame": NO_FRAME, "period": self.seconds });
        attempt.fields.insert("timedout".to_owned(), timed_out);
        attempt.raised = true;
        attempt
    }
}

impl Run<'_> {
    /// Runs a task once: conditions first, then the action with its retries.
    pub(super) fn attempt(&self, cx: &TaskContext<'_>, loop_error: Option<TaskError>) -> Attempt {
        let censored = self.is_censored(cx);
        let mut attempt = self.attempt_shown(cx, loop_error);
        self.delegation.replace(Delegation::Open);
        attempt.censored = censored || truth(&attempt.fields, "_ansible_no_log");
        attempt.fields.shift_remove("_ansible_no_log");
        if attempt.has_failed() && attempt.includes.is_empty() {
            let unavailable = || json!(TRACEBACK);
            attempt
                .fields
                .entry("exception")
                .or_insert_with(unavailable);
        }
        attempt.ignored = match attempt.is("unreachable") {
            true => self
                .keyword_truth("ignore_unreachable", cx, |k| k.ignore_unreachable.clone())
                .is_ok_and(|ignored| ignored.unwrap_or(false)),
            false => self.ignores_errors(cx),
        };
        attempt
    }

    fn attempt_shown(&self, cx: &TaskContext<'_>, loop_error: Option<TaskError>) -> Attempt {
        let task = cx.task;
        // Where a task goes to is looked at before its conditions.
        let delegated = self.delegated(cx);
        self.delegation.replace(match &delegated {
            Ok(Some(host)) => Delegation::To(host.clone()),
            Ok(None) => Delegation::Nobody,
            Err(_) => Delegation::Open,
        });
        match delegated {
            Ok(Some(host)) => {
                let own = self.delegated_vars(&host);
                if !cx.scope.is_said("ansible_host") {
                    let address = own.get("ansible_host").unwrap_or_default();
                    cx.scope.local.set("ansible_host", address);
                }
                let vars = Value::dict([(host.as_str(), own)]);
                cx.scope.local.set("ansible_delegated_vars", vars);
            }
            Ok(None) => {}
            Err(error) => return self.raised(loop_error.unwrap_or(error), cx),
        }
        let conditions = match self.is_going_back() {
            true => Vec::new(), // they held before the reboot
            false => cx.enclosing.gathered(&task.keywords, |k| &k.when),
        };
        for condition in conditions {
            match self.holds(&condition, cx) {
                Ok(true) => {}
                Ok(false) => return skipped(&condition),
                Err(e) => {
                    return self.raised(loop_error.unwrap_or(TaskError::Condition(e)), cx);
                }
            }
        }
        if let Some(error) = loop_error {
            return self.raised(error, cx);
        }
        if let Some(refused) = &task.refused {
            if self.options.unknown_modules.contains(&task.action) {
                // Ansible does not even read a file with such a task: nothing rescues it.
                self.broken.replace(Some(Stop::new(refused.clone())));
            }
            return Attempt::failed(refused.clone());
        }
        let retried = self.retried(cx);
        let mut attempt = retried.unwrap_or_else(|error| self.raised(error, cx));
        if attempt.has_failed() && attempt.includes.is_empty() {
            let unknown = || json!("Task failed: Action failed: Unknown error.");
            attempt.fields.entry("msg").or_insert_with(unknown);
        }
        match self.facts_go_to(cx) {
            Ok(Some(host)) => {
                let set = attempt.sets.iter_mut();
                set.for_each(|new| new.host = Some(host.clone()));
            }
            Ok(None) => {}
            Err(error) => return self.raised(error, cx),
        }
        for name in cx.enclosing.gathered(&task.keywords, |k| &k.notify) {
            match self.render(&name, cx.scope, cx.enclosing) {
                Ok(names) => attempt.notify.extend(super::eval::texts(&names)),
                Err(e) => return self.raised(TaskError::Template(e), cx),
            }
        }
        attempt
    }

    /// Returns the other host that the facts of a task are set for, if they are.
    fn facts_go_to(&self, cx: &TaskContext<'_>) -> Result<Option<String>, TaskError> {
        let delegates = self.keyword_truth("delegate_facts", cx, |k| k.delegate_facts.clone())?;
        if !delegates.unwrap_or(false) {
            return Ok(None);
        }
        let host = self.delegated(cx)?;
        let host = host.filter(|host| self.is_another(host));
        match host {
            Some(host) if self.is_of_run(&host) && !self.is_on_controller() => {
                Err(refused(format!(
                    "`delegate_facts` for {host} is done where the play runs on this machine (`hosts: localhost`)"
                )))
            }
            host => Ok(host),
        }
    }

    /// Runs the action until `until` holds or the tries are used up.
    fn retried(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let (task, scope) = (cx.task, cx.scope);
        self.keyword_truth("become", cx, |k| k.become_.clone())?;
        self.keyword_truth("check_mode", cx, |k| k.check_mode.clone())?;
        self.keyword_truth("diff", cx, |k| k.diff.clone())?;
        let retries = match self.keyword_number("retries", task.retries.as_ref(), cx)? {
            Some(n) => 1 + u32::try_from(n.max(0)).unwrap_or(u32::MAX - 1),
            None if task.until.is_empty() => 1,
            None => 4,
        };
        let delay = self.keyword_seconds("delay", task.delay.as_ref(), cx)?;
        let delay = delay.unwrap_or(Duration::from_secs(5));
        let mut last = Attempt::default();
        let first = match self.is_going_back() {
            true => self.progress.borrow().attempt.max(1),
            false => 1,
        };
        for n in first..=retries {
            self.note_progress(task, |progress| progress.attempt = n);
            last = self.once(cx, (retries > 1).then_some(n));
            if last.raised {
                return Ok(last);
            }
            if last.is("skipped") && is_never_checked(&task.action) {
                last.fields.shift_remove("attempts");
                return Ok(last);
            }
            if retries == 1 {
                return Ok(last);
            }
            Self::publish(task, scope, &last);
            let done = if task.until.is_empty() {
                !last.is("failed")
            } else {
                self.all_hold(&task.until, cx)?
            };
            if done {
                return Ok(last);
            }
            if n < retries {
                last.fields.insert("retries".to_owned(), json!(retries));
                self.emit(Event::TaskRetrying {
                    index: cx.index,
                    retries_left: retries - n,
                });
                deadline::sleep(delay);
            }
        }
        last.fields
            .insert("attempts".to_owned(), json!(retries - 1));
        last.fields.insert("failed".to_owned(), json!(true));
        last.fields.entry("msg").or_insert_with(|| json!(""));
        Ok(last)
    }

    /// Makes a result visible to the task's own conditions.
    pub(super) fn publish(task: &Task, scope: &VarScope, attempt: &Attempt) {
        if let Some(name) = &task.register {
            scope.local.set(name, attempt.value());
        }
    }

    /// Runs the action once and applies `changed_when` and `failed_when`.
    fn once(&self, cx: &TaskContext<'_>, number: Option<u32>) -> Attempt {
        let (task, scope) = (cx.task, cx.scope);
        let limit = match self.time_limit(cx) {
            Ok(limit) => limit,
            Err(error) => return self.raised(error, cx),
        };
        let before = self.time_before_reboot();
        let time = limit
            .as_ref()
            .map(|limit| limit.time.saturating_sub(before));
        let (mut attempt, over) = deadline::within(time, || self.act(cx));
        if let Some(limit) = limit {
            if over {
                attempt = limit.exceeded();
            }
            if limit.asynchronous {
                let job = format!("j{}", cx.index);
                attempt
                    .fields
                    .insert("ansible_job_id".to_owned(), json!(job));
                attempt.fields.insert("started".to_owned(), json!(true));
                attempt.fields.insert("finished".to_owned(), json!(true));
            }
        }
        if !attempt.includes.is_empty() || attempt.raised {
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
        attempt.sets.iter().for_each(|new| scope.see(new));
        Self::publish(task, scope, &attempt);
        if !attempt.fields.contains_key("skipped") {
            self.apply_conditions(cx, &mut attempt);
        }
        attempt
    }

    fn apply_conditions(&self, cx: &TaskContext<'_>, attempt: &mut Attempt) {
        let task = cx.task;
        let set = |attempt: &mut Attempt, name: &str, value: Json| {
            attempt.fields.insert(name.to_owned(), value);
        };
        if !task.changed_when.is_empty() {
            match self.all_hold(&task.changed_when, cx) {
                Ok(changed) => {
                    set(attempt, "changed", json!(changed));
                }
                Err(error) => {
                    self.explain_condition(&error, cx);
                    set(attempt, "failed", json!(true));
                    set(attempt, "changed_when_result", json!(error.message));
                    return;
                }
            }
            Self::publish(task, cx.scope, attempt);
        }
        if task.failed_when.is_empty() {
            return;
        }
        let judged = self.all_hold(&task.failed_when, cx);
        if matches!(judged, Ok(false))
            && let Some(exception) = attempt.fields.shift_remove("exception")
        {
            set(attempt, "failed_when_suppressed_exception", exception);
        }
        set(attempt, "failed", json!(*judged.as_ref().unwrap_or(&true)));
        if let Err(error) = &judged {
            self.explain_condition(error, cx);
        }
        let result = judged.map_or_else(|error| Json::from(error.message), Json::from);
        set(attempt, "failed_when_result", result);
    }

    /// Returns whether `no_log` hides what this task shows.
    pub(super) fn is_censored(&self, cx: &TaskContext<'_>) -> bool {
        // What cannot be evaluated is kept secret.
        self.keyword_truth("no_log", cx, |k| k.no_log.clone())
            .map_or(true, |hidden| hidden.unwrap_or(false))
    }

    pub(super) fn ignores_errors(&self, cx: &TaskContext<'_>) -> bool {
        self.keyword_truth("ignore_errors", cx, |k| k.ignore_errors.clone())
            .is_ok_and(|ignored| ignored.unwrap_or(false))
    }

    /// Decides a condition of a task. What is said about it is hidden with the task.
    pub(super) fn holds(
        &self,
        condition: &Value,
        cx: &TaskContext<'_>,
    ) -> Result<bool, ConditionError> {
        let held = self.condition_quietly(condition, cx.scope, cx.enclosing);
        if !self.is_censored(cx) {
            let place = written_at(condition);
            for warning in held.1 {
                self.warn(warning, Some(place.as_ref().unwrap_or(&cx.task.place)));
            }
        }
        held.0
    }

    fn all_hold(&self, conditions: &[Value], cx: &TaskContext<'_>) -> Result<bool, ConditionError> {
        for condition in conditions {
            if !self.holds(condition, cx)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns how long the action may take: `timeout`, or the time that `async` gives it.
    pub(super) fn time_limit(&self, cx: &TaskContext<'_>) -> Result<Option<TimeLimit>, TaskError> {
        let timeout = self.keyword(cx, |k| k.timeout.clone())?;
        let timeout = self.keyword_number("timeout", timeout.as_ref(), cx)?;
        let timeout = timeout.unwrap_or(0);
        if !(0..=LONGEST_TIMEOUT).contains(&timeout) {
            return Err(TaskError::Timeout {
                seconds: timeout,
                longest: LONGEST_TIMEOUT,
            });
        }
        // What is not waited for has its time elsewhere.
        let asynchronous = match self.job_limit(cx)? {
            Some(_) => 0,
            None => self.asynchronous(cx)?,
        };
        let shorter = asynchronous > 0 && (timeout <= 0 || asynchronous < timeout);
        let seconds = if shorter { asynchronous } else { timeout };
        Ok(u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds > 0)
            .map(|time| TimeLimit {
                time: Duration::from_secs(time),
                seconds,
                asynchronous: shorter,
            }))
    }
}
