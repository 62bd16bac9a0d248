//! `async` with `poll: 0`: tasks that go on by themselves, and `async_status`, which asks for them.

use std::time::Duration;

use amibake_playbook::argspec;
use amibake_playbook::names::bare;
use amibake_playbook::template::Scope as _;
use serde_json::{Value as Json, json};

use super::actions::{failed, plain};
use super::executor::Call;
use super::outcome::Attempt;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use crate::modules::ASYNC_FOLDER;

/// Actions of the controller that Ansible does not run as jobs.
const NEVER: &[&str] = &[
    "add_host",
    "assemble",
    "assert",
    "async_status",
    "copy",
    "debug",
    "fail",
    "fetch",
    "gather_facts",
    "group_by",
    "include_vars",
    "pause",
    "raw",
    "reboot",
    "script",
    "set_fact",
    "set_stats",
    "template",
    "unarchive",
    "validate_argument_spec",
    "wait_for_connection",
];

impl Run<'_> {
    /// Refuses `async` where Ansible does.
    pub(super) fn allow_async(&self, cx: &TaskContext<'_>) -> Result<(), TaskError> {
        let never = NEVER.contains(&bare(&cx.task.action));
        if never && self.asynchronous(cx)? > 0 {
            let action = &cx.task.action;
            return Err(refused(format!(
                "This action ({action}) does not support async."
            )));
        }
        Ok(())
    }

    /// Returns how many seconds `async` gives a task.
    pub(super) fn asynchronous(&self, cx: &TaskContext<'_>) -> Result<i64, TaskError> {
        let given = self.keyword_number("async_val", cx.task.asynchronous.as_ref(), cx)?;
        Ok(given.unwrap_or(0))
    }

    /// Returns how long a task may go on that is not waited for.
    pub(super) fn job_limit(&self, cx: &TaskContext<'_>) -> Result<Option<Duration>, TaskError> {
        let poll = self.keyword_number("poll", cx.task.poll.as_ref(), cx)?;
        let waits = poll.is_none_or(|poll| poll > 0);
        let time = u64::try_from(self.asynchronous(cx)?).ok();
        let time = time.filter(|time| *time > 0 && !waits);
        Ok(time.map(Duration::from_secs))
    }

    /// Starts a job, and does not wait for it.
    pub(super) fn start_job(&self, cx: &TaskContext<'_>, call: Call, limit: Duration) -> Attempt {
        let folder = self.job_folder(cx);
        let facts = self.module_facts.borrow().clone();
        let begun = self
            .executor
            .borrow_mut()
            .start_job(call, limit, &folder, &facts);
        match begun {
            Ok(begun) => plain(json!({
                "changed": true, "failed": false, "started": true, "finished": false, "ansible_job_id": begun.id,
                "results_file": begun.file,
            })),
            Err(failure) => failed(failure),
        }
    }

    /// `async_status`: asks as the user whose job it is.
    pub(super) fn async_status(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let spec = argspec::find("async_status");
        let spec = spec.ok_or_else(|| refused("The module async_status was not found"))?;
        let mut call = self.prepare(cx, spec)?;
        let folder = self.job_folder(cx);
        call.args
            .insert(ASYNC_FOLDER.to_owned(), Json::from(folder));
        Ok(self.run_call(cx, spec, call))
    }

    fn job_folder(&self, cx: &TaskContext<'_>) -> String {
        let given = cx.scope.get("ansible_async_dir");
        let given = given.and_then(|folder| self.text(&folder, cx.scope, cx.enclosing).ok());
        given.unwrap_or_else(|| "~/.ansible_async".to_owned())
    }
}
