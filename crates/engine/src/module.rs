//! What a module is: the two kinds, their arguments, their answers.
//!
//! A *state* module inspects the machine, plans changes (pure), and leaves the doing to
//! [`crate::change`]; an *action* module just runs, and declares its answer in check mode.

use std::collections::BTreeMap;

use crate::source::Source;

use amibake_protocol::event::{Diff, Stream};
use serde_json::{Map, Value as Json};

/// What a task runs with, besides its arguments.
pub struct Context<'a> {
    /// Whether nothing may be changed (`--check`).
    pub check: bool,
    /// Whether diffs are wanted (`--diff`).
    pub diff: bool,
    /// The task's `environment`, templated, on top of the identity's own.
    pub environment: Vec<(String, String)>,
    /// What the controller side of the task supplies, opened by the executor. For `copy`,
    /// `template`, `unarchive`, … of one file it is that file (or the rendered text) under `""`;
    /// for a recursive `copy` everything found, by its path below the destination.
    pub sources: BTreeMap<String, Source>,
    /// Facts gathered so far (`ansible_*` without the prefix), for modules that choose by them.
    pub facts: &'a Map<String, Json>,
    /// Takes a line of a running command's output.
    pub output: &'a mut dyn FnMut(Stream, &str),
}

/// What a module answers when it did not fail.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Whether something was (in check mode: would be) changed.
    pub changed: bool,
    /// Whether the module skipped, as `command` does for `creates` in check mode.
    pub skipped: bool,
    /// The fields a `register` sees besides `changed`: `rc`, `stdout`, `stat`, ….
    pub result: Map<String, Json>,
    /// What changed, filled only when [`Context::diff`].
    pub diff: Vec<Diff>,
    /// Sentences for the author.
    pub warnings: Vec<String>,
}

/// Why a module failed: Ansible's `msg`, and the fields a `register` sees.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{msg}")]
pub struct Failure {
    /// What was being done, to what, and why it failed.
    pub msg: String,
    /// Further fields of the result: `rc`, `stderr`, ….
    pub result: Map<String, Json>,
}

impl Failure {
    /// Returns a failure that says `msg` and nothing more.
    pub fn new(msg: impl Into<String>) -> Self {
        Self {
            msg: msg.into(),
            result: Map::new(),
        }
    }

    /// Adds a field to the result.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Self {
        self.result.insert(name.to_owned(), value.into());
        self
    }
}

/// A module that runs something: `command`, `apt`, `git`.
pub trait ActionModule: Sync {
    /// Runs with `args`, already checked and coerced against the module's spec.
    fn run(&self, args: &crate::args::Args, context: &mut Context<'_>) -> Result<Outcome, Failure>;
}

/// A module that makes a state true: `file`, `user`, `sysctl`.
pub trait StateModule: Sync {
    /// The state asked for.
    type Want;
    /// The state found.
    type Now;
    /// Reads the arguments.
    fn want(
        &self,
        args: &crate::args::Args,
        context: &mut Context<'_>,
    ) -> Result<Self::Want, Failure>;
    /// Reads the machine. Changes nothing.
    fn inspect(&self, want: &Self::Want, context: &mut Context<'_>) -> Result<Self::Now, Failure>;
    /// Plans what makes `want` true: pure. An empty plan is "ok".
    fn plan(
        &self,
        want: &Self::Want,
        now: &Self::Now,
    ) -> Result<Vec<crate::change::Change>, Failure>;
    /// Returns the fields of the result once the plan is applied (or would be).
    fn result(
        &self,
        want: &Self::Want,
        now: &Self::Now,
        context: &Context<'_>,
    ) -> Map<String, Json>;
    /// Returns what `--diff` shows of the plan.
    fn diff(
        &self,
        _want: &Self::Want,
        _now: &Self::Now,
        plan: &[crate::change::Change],
    ) -> Vec<Diff> {
        plan.iter()
            .filter_map(crate::change::Change::diff)
            .collect()
    }
    /// Adds to a failure of applying the plan what Ansible's module answers with it.
    fn failed(&self, _want: &Self::Want, failure: Failure) -> Failure {
        failure
    }
    /// Returns sentences for the author.
    fn warnings(&self, _want: &Self::Want, _now: &Self::Now) -> Vec<String> {
        Vec::new()
    }
}
