//! The context of a run: its state (variables, handlers, figures) and the services it borrows.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use amibake_playbook::tags::Selection;
use amibake_playbook::value::Dict;
use amibake_protocol::event::{Event, Place, Recap};

use super::added_hosts::AddedHosts;
use super::checkpoint::{Begun, Interrupted, Progress};
use super::effects::Loaded;
use super::executor::Executor;
use super::grouping::Grouping;
use super::handlers::Handlers;
use super::imports::Imports;
use super::options::{Controller, Options, Project};
use super::task_error::TaskError;
use super::trail::Trail;
use super::vars::Vars;
use crate::worker::Workers;

/// What stops a run that is no task's failure: a file that cannot be read or parsed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{said}")]
pub(super) struct Stop {
    pub(super) said: String,
    cause: Cause,
}

/// What there is to be read, and why it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It is not what it is to be. Ansible ends the run for that, whatever includes it.
    Malformed,
    /// It is not there.
    Missing,
    Other,
}

/// What is said where a failure on one host is everybody's.
pub(super) const FAILED_ELSEWHERE: &str =
    "a task failed on another host, and any error is fatal for all";

impl Stop {
    pub(super) fn new(said: impl Into<String>) -> Self {
        Self {
            said: said.into(),
            cause: Cause::Other,
        }
    }

    /// Returns what is said of something that is there and cannot be read as what it is to be.
    pub(super) fn malformed(said: impl Into<String>) -> Self {
        Self {
            cause: Cause::Malformed,
            ..Self::new(said)
        }
    }

    /// Returns what is said of a file or role that is not there.
    pub(super) fn missing(said: impl Into<String>) -> Self {
        Self {
            cause: Cause::Missing,
            ..Self::new(said)
        }
    }

    /// Returns what is said of a task whose words `no_log` hides.
    pub(super) fn hidden(place: &Place) -> Self {
        Self::new(format!(
            "{}:{}: this task failed, and `no_log` hides why",
            place.file, place.line
        ))
    }

    /// Whether nothing rescues it.
    pub(super) fn is_final(&self) -> bool {
        self.cause == Cause::Malformed
    }

    /// Whether it will be no other later, when more is known.
    pub(super) fn is_settled(&self) -> bool {
        self.cause != Cause::Other
    }
}

impl From<TaskError> for Stop {
    fn from(error: TaskError) -> Self {
        Self::new(error.to_string())
    }
}

/// Whom a task is delegated to.
#[derive(Default)]
pub(super) enum Delegation {
    /// Not looked at yet.
    #[default]
    Open,
    Nobody,
    To(String),
}

/// A run and everything it knows.
pub(super) struct Run<'a> {
    pub(super) project: &'a Project<'a>,
    pub(super) options: &'a Options,
    pub(super) controller: RefCell<&'a mut dyn Controller>,
    pub(super) vars: Vars,
    pub(super) tags: Selection,
    pub(super) recap: Cell<Recap>,
    /// Tasks begun so far.
    pub(super) index: Cell<u32>,
    /// Plays come to so far.
    pub(super) plays: Cell<u32>,
    /// Where in its play the run is: the number of each part that it is in.
    pub(super) position: RefCell<Vec<u32>>,
    /// The play that this host ended for all, until that is told.
    pub(super) ended: Cell<Option<u32>>,
    /// Whether others run the play at the same time.
    pub(super) accompanied: Cell<bool>,
    /// Those who run the play at the same time, or would if they had not failed, in its order.
    pub(super) batch: RefCell<Vec<String>>,
    /// Whether they go from task to task together where a task asks for that: by `strategy: linear`.
    pub(super) in_step: Cell<bool>,
    /// The play or task at hand.
    pub(super) at: RefCell<Place>,
    /// The folder of the playbook that is run.
    pub(super) playbook_dir: RefCell<PathBuf>,
    /// Whether the failures of the block at hand were made good (`meta: clear_host_errors`).
    pub(super) cleared: Cell<bool>,
    /// Blocks with a rescue section that we are inside of.
    pub(super) rescuers: Cell<u32>,
    pub(super) handlers: RefCell<Handlers>,
    /// What the imports of this play stand for.
    pub(super) imports: RefCell<Imports>,
    /// Roles that have completed in this play, by identity.
    pub(super) completed: RefCell<BTreeSet<String>>,
    /// `--start-at-task`, until it is found.
    pub(super) start_at: RefCell<Option<String>>,
    /// Whether each task is confirmed first.
    pub(super) stepping: Cell<bool>,
    /// What makes the calls of tasks.
    pub(super) executor: RefCell<Box<dyn Executor>>,
    /// Where links of the controller's paths lead, as it has said.
    pub(super) resolved: RefCell<BTreeMap<PathBuf, String>>,
    /// What was said of templates that failed: a loop need not say it for each item.
    pub(super) explained: RefCell<BTreeSet<String>>,
    /// Number of the entry, and of the play in it.
    pub(super) play_number: Cell<(usize, usize)>,
    /// The way through this play so far.
    pub(super) trail: RefCell<Trail>,
    /// How far the task at hand is, if it may reboot the machine.
    pub(super) progress: RefCell<Progress>,
    /// What a reboot interrupted, until the walk is there again.
    pub(super) interrupted: RefCell<Option<Interrupted>>,
    /// What `group_by` has made.
    pub(super) grouping: RefCell<Grouping>,
    /// What a loop of includes could read that could not read all: the rescue begins with that.
    pub(super) stranded: RefCell<Vec<Loaded>>,
    /// Whom the task at hand is delegated to, once that is rendered: a template may give another host each time.
    pub(super) delegation: RefCell<Delegation>,
    /// What ends the run when the task at hand has ended, whatever may rescue that.
    pub(super) broken: RefCell<Option<Stop>>,
    /// What `add_host` has made.
    pub(super) added: RefCell<AddedHosts>,
    /// The folder of the entry at hand, whose `group_vars` and `host_vars` hold.
    pub(super) entry_dir: RefCell<PathBuf>,
    /// Whether `gather_facts` has run, and nothing was forgotten since.
    pub(super) gathered: Cell<bool>,
    pub(super) begun: RefCell<Begun>,
    /// Facts as modules see them, without their prefix.
    pub(super) module_facts: RefCell<serde_json::Map<String, serde_json::Value>>,
}

impl<'a> Run<'a> {
    /// Prepares a run.
    pub(super) fn new(
        project: &'a Project<'a>,
        options: &'a Options,
        controller: &'a mut dyn Controller,
    ) -> Self {
        Self {
            project,
            options,
            controller: RefCell::new(controller),
            vars: Vars {
                merges: options.settings.merges_mappings,
                facts_apart: options.settings.facts_apart,
                cached: options.cached_facts.is_some().then(Dict::new),
                ..Vars::default()
            },
            tags: Selection::new(&options.tags, &options.skip_tags),
            recap: Cell::new(Recap::default()),
            index: Cell::new(0),
            plays: Cell::new(0),
            position: RefCell::default(),
            ended: Cell::new(None),
            accompanied: Cell::new(false),
            batch: RefCell::default(),
            in_step: Cell::new(true),
            at: RefCell::new(Place {
                file: String::new(),
                line: 0,
                column: 0,
            }),
            playbook_dir: RefCell::new(PathBuf::from("/")),
            cleared: Cell::new(false),
            rescuers: Cell::new(0),
            handlers: RefCell::new(Handlers::default()),
            imports: RefCell::default(),
            completed: RefCell::new(BTreeSet::new()),
            start_at: RefCell::new(options.start_at_task.clone()),
            stepping: Cell::new(options.step),
            executor: RefCell::new(Box::new(Workers::new(&options.login_user))),
            resolved: RefCell::default(),
            explained: RefCell::default(),
            play_number: Cell::default(),
            trail: RefCell::default(),
            progress: RefCell::default(),
            interrupted: RefCell::default(),
            grouping: RefCell::default(),
            stranded: RefCell::default(),
            delegation: RefCell::default(),
            broken: RefCell::default(),
            added: RefCell::default(),
            entry_dir: RefCell::default(),
            gathered: Cell::new(false),
            begun: RefCell::default(),
            module_facts: RefCell::default(),
        }
    }

    /// Tells the controller, without the secrets of its author. What was told before a reboot is not told again.
    pub(super) fn emit(&self, mut event: Event) {
        if self.is_going_back() && !matches!(event, Event::Finished { .. }) {
            return;
        }
        self.options.secrets.event(&mut event);
        self.controller.borrow_mut().event(event);
    }

    /// Tells the author something.
    pub(super) fn warn(&self, message: impl Into<String>, place: Option<&Place>) {
        self.emit(Event::Warning {
            message: message.into(),
            place: place.cloned(),
        });
    }

    /// Changes the figures of the recap.
    pub(super) fn count(&self, change: impl FnOnce(&mut Recap)) {
        let mut recap = self.recap.get();
        change(&mut recap);
        self.recap.set(recap);
    }
}
