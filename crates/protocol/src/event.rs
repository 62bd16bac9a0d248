//! What happened on the target: data, never prose. The words are the reporter's.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

/// Where in the author's files something stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Path on the controller.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

/// How one task, or one item of its loop, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Nothing had to change.
    Ok,
    /// Something was changed (in check mode: would be).
    Changed,
    /// `when` was false, or the module skipped.
    Skipped,
    /// It failed, and nothing caught it.
    Failed,
    /// It failed under `ignore_errors`.
    Ignored,
    /// It failed inside a block whose `rescue` follows.
    Rescued,
}

/// A stream of a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Two states of one thing, as Ansible's `--diff` shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Title of the old side: `/etc/motd`.
    pub before_header: String,
    /// Title of the new side.
    pub after_header: String,
    /// Text before.
    pub before: String,
    /// Text after.
    pub after: String,
}

/// Tasks of a host by how they ended: the figures of the recap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recap {
    /// Tasks that ran and did not fail, changed ones included, as Ansible counts.
    pub ok: u32,
    /// Tasks that changed something.
    pub changed: u32,
    /// Always 0 or 1: the host could not be reached.
    pub unreachable: u32,
    /// Tasks that failed.
    pub failed: u32,
    /// Tasks skipped.
    pub skipped: u32,
    /// Blocks rescued.
    pub rescued: u32,
    /// Failures ignored.
    pub ignored: u32,
    /// Of those that failed, how many `meta: clear_host_errors` made good.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cleared: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Recap {
    /// Returns whether a failure was left at the end.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed > self.cleared
    }
}

/// Something that happened on the target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    PlayStarted {
        /// The play's `name`, or its hosts pattern.
        name: String,
    },
    /// A task or handler begins. `index` counts tasks begun in this run, from 1.
    TaskStarted {
        /// Number of this task in the run.
        index: u32,
        /// `role : name`, templated, as Ansible prints it.
        name: String,
        /// Module as written.
        module: String,
        /// Whether it runs as a handler.
        handler: bool,
        /// Where the task stands.
        place: Place,
    },
    /// One line of output of a running command, without its newline; long lines are cut.
    TaskOutput {
        /// Number of the task.
        index: u32,
        stream: Stream,
        /// The line, lossily UTF-8.
        line: String,
    },
    /// One item of a loop ended.
    ItemFinished {
        /// Number of the task.
        index: u32,
        /// `item` (or `loop_control.label`), as Ansible prints it; `(censored)` under `no_log`.
        label: String,
        status: Status,
        /// The result a `register` would hold, censored.
        result: Map<String, Json>,
        /// What changed, if diffs were asked for.
        diff: Vec<Diff>,
    },
    /// A try of an `until` loop failed and another follows.
    TaskRetrying {
        /// Number of the task.
        index: u32,
        /// Tries left.
        retries_left: u32,
    },
    /// An include has found what it includes; it runs when the task has ended.
    Included {
        /// Number of the task.
        index: u32,
        /// Path of the file on the controller, or name of the role.
        name: String,
        /// As of an item of a loop.
        label: Option<String>,
    },
    /// A task ended, all its items included.
    TaskFinished {
        /// Number of the task.
        index: u32,
        status: Status,
        /// The result a `register` would hold, censored; items are left out.
        result: Map<String, Json>,
        /// What changed, if diffs were asked for.
        diff: Vec<Diff>,
        /// Milliseconds since `TaskStarted`.
        elapsed_ms: u64,
    },
    /// Something the author should know; the run goes on.
    Warning {
        /// One sentence.
        message: String,
        /// Where it was noticed.
        place: Option<Place>,
    },
    /// The run ended by itself. Always the last event.
    Finished {
        recap: Recap,
        /// Why the run could not go on, when it was no task's failure (a syntax error, say).
        error: Option<String>,
        /// Whether that is what happened on another host, so that there is nothing wrong with the playbook.
        #[serde(default)]
        elsewhere: bool,
    },
}
