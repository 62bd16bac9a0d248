//! What a task leaves to be done, by the flow that walks the list it stands in.

use std::rc::Rc;

use amibake_playbook::value::Value;
use serde::{Deserialize, Serialize};

use super::model::{Enclosing, Node};
use super::outcome::Found;
use super::role::Role;
use super::vars::NewVars;

/// How a list of tasks goes on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) enum Flow {
    /// With what follows.
    #[default]
    Next,
    /// A task failed, and nothing in the list caught it.
    Failed,
    /// `meta: end_play`, `end_host` and `end_batch`: nothing of this play follows.
    EndPlay,
    /// `meta: end_role`: nothing of the role with this identity follows.
    EndRole(String),
    Cancelled,
}

/// Effects of a task, in the order in which they are applied.
#[derive(Default)]
pub(super) struct Effects {
    /// What it set or found out about the machine, unless it failed. The task saw that already.
    pub(super) vars: Vec<NewVars>,
    /// Variables that the rest of the run sees: `register`, and what a rescue is told.
    pub(super) set: Vec<(String, Value)>,
    /// Handlers that it notifies, by name or topic.
    pub(super) notify: Vec<String>,
    /// Whether `no_log` hides what may be wrong with those.
    pub(super) hidden: bool,
    /// `meta: flush_handlers`.
    pub(super) flush: bool,
    /// What it includes, or what is imported in its place.
    pub(super) walk: Vec<Loaded>,
    /// What its includes found, by which they find it again.
    pub(super) found: Vec<Found>,
    /// How the list goes on, if what it includes does not end it.
    pub(super) flow: Flow,
}

impl Effects {
    /// Returns nothing but how the list goes on.
    pub(super) fn flow(flow: Flow) -> Self {
        Self {
            flow,
            ..Self::default()
        }
    }

    /// Returns what stands in a task's place.
    pub(super) fn walk(loaded: Loaded) -> Self {
        Self {
            walk: vec![loaded],
            ..Self::default()
        }
    }
}

/// What an include has read and where it stands.
pub(super) enum Loaded {
    Tasks(Vec<Node>, Rc<Enclosing>),
    Role(Rc<Role>, Rc<Enclosing>),
}
