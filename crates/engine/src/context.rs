//! What a module is called with besides its arguments, and what it answers.

use std::collections::BTreeMap;

use amibake_protocol::event::Stream;
use serde_json::{Map, Value as Json};

use crate::source::Source;

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
    /// What is registered as `diff`, in the shape of Ansible's module; null is nothing.
    pub diff: Json,
    /// Sentences for the author.
    pub warnings: Vec<String>,
}

impl Outcome {
    /// Returns an outcome with the fields of a JSON mapping.
    pub(crate) fn of(changed: bool, fields: Json) -> Self {
        Self {
            changed,
            result: match fields {
                Json::Object(fields) => fields,
                _ => Map::new(),
            },
            ..Self::default()
        }
    }
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
