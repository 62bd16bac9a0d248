//! The state of a run, and its outermost loop: entries, plays, sections, blocks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::tags::Selection;
use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::{Event, Place, Recap};

use super::convert;
use super::handlers::Handlers;
use super::model::{Block, Enclosing, Keywords, Node, Play};
use super::options::{Controller, Entry, Options, Project};
use super::role::Role;
use super::vars::Vars;
use crate::worker::Workers;

/// Why a list of tasks was left, or that it was not.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Flow {
    /// All of it ran.
    Next,
    /// A task failed, and nothing in the list caught it.
    Failed,
    /// `meta: end_play`, `end_host` and `end_batch`: nothing of this play follows.
    EndPlay,
    /// `meta: end_role`: nothing of the role with this identity follows.
    EndRole(String),
    /// The run was cancelled.
    Cancelled,
}

/// What stops a run that is no task's failure: a file that cannot be read or parsed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Stop(pub(super) String);

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
    /// The play or task at hand.
    pub(super) at: RefCell<Place>,
    /// The folder of the playbook that is run.
    pub(super) playbook_dir: RefCell<PathBuf>,
    /// Blocks with a rescue section that we are inside of.
    pub(super) rescuers: Cell<u32>,
    pub(super) handlers: RefCell<Handlers>,
    /// Roles that have completed in this play, by identity.
    pub(super) completed: RefCell<BTreeSet<String>>,
    /// `--start-at-task`, until it is found.
    pub(super) start_at: RefCell<Option<String>>,
    /// Whether each task is confirmed first.
    pub(super) stepping: Cell<bool>,
    /// The processes that tasks of other users run in.
    pub(super) workers: RefCell<Workers>,
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
            vars: Vars::default(),
            tags: Selection::new(&options.tags, &options.skip_tags),
            recap: Cell::new(Recap::default()),
            index: Cell::new(0),
            at: RefCell::new(Place {
                file: String::new(),
                line: 0,
                column: 0,
            }),
            playbook_dir: RefCell::new(PathBuf::from("/")),
            rescuers: Cell::new(0),
            handlers: RefCell::new(Handlers::default()),
            completed: RefCell::new(BTreeSet::new()),
            start_at: RefCell::new(options.start_at_task.clone()),
            stepping: Cell::new(options.step),
            workers: RefCell::new(Workers::new(&options.login_user)),
            module_facts: RefCell::default(),
        }
    }

    /// Runs every entry until one fails, and tells the recap.
    pub(super) fn run(&self) -> Recap {
        super::magic::set(self);
        let error = self.entries().err().map(|stop| stop.0);
        let recap = self.recap.get();
        self.emit(Event::Finished { recap, error });
        recap
    }

    fn entries(&self) -> Result<(), Stop> {
        for entry in &self.project.entries {
            let (dir, vars) = match entry {
                Entry::Playbook { path, vars } | Entry::Tasks { path, vars, .. } => {
                    (path.parent(), vars)
                }
                Entry::Role { path, vars } => (path.parent().and_then(Path::parent), vars),
            };
            super::magic::enter(self, dir.unwrap_or(Path::new("/")), vars);
            for play in convert::plays(self, entry)? {
                if let Entry::Playbook { .. } = entry {
                    super::magic::stand_in(self, Path::new(&play.place.file));
                }
                match self.play(&play)? {
                    Flow::Next | Flow::EndPlay | Flow::EndRole(_) => {}
                    Flow::Failed | Flow::Cancelled => return Ok(()),
                }
            }
        }
        Ok(())
    }

    fn play(&self, play: &Play) -> Result<Flow, Stop> {
        self.at.replace(play.place.clone());
        let outside = Self::surroundings(play);
        let name = self.play_name(play, &outside);
        super::magic::begin_play(self, play, &name);
        let play_vars: Dict = play.keywords.vars.clone();
        self.vars.play.clear();
        for (key, value) in play_vars.entries() {
            self.vars.play.insert(key, value);
        }
        self.vars.play_files.clear();
        self.vars.play_roles.borrow_mut().clear();
        self.completed.borrow_mut().clear();
        if !super::magic::is_ours(self, play, &outside)? {
            return Ok(Flow::Next);
        }
        self.emit(Event::PlayStarted { name });
        super::files::load_vars_files(self, play, &outside)?;
        let roles = super::roles::load_all(self, play, &outside)?;
        self.vars.play_roles.borrow_mut().clone_from(&roles);
        super::magic::role_names(self, &roles);
        self.handlers
            .replace(Handlers::of_play(play, &roles, &outside));
        self.sections(play, &roles, &outside)
    }

    /// Gathers facts, then runs the sections, each with its flush of handlers.
    fn sections(
        &self,
        play: &Play,
        roles: &[Rc<Role>],
        around: &Rc<Enclosing>,
    ) -> Result<Flow, Stop> {
        let flow = self.gather(play, around)?;
        if flow != Flow::Next {
            return Ok(flow);
        }
        let forced =
            self.options.force_handlers || self.is_true(play.force_handlers.as_ref(), around)?;
        let first = || self.nodes(&play.pre_tasks, around);
        let second = || {
            for role in roles {
                match self.role(role, around)? {
                    Flow::Next => {}
                    other => return Ok(other),
                }
            }
            self.nodes(&play.tasks, around)
        };
        let third = || self.nodes(&play.post_tasks, around);
        let sections: [&dyn Fn() -> Result<Flow, Stop>; 3] = [&first, &second, &third];
        for section in sections {
            let flow = section()?;
            let wanted = flow == Flow::Next || (forced && flow == Flow::Failed);
            let flushed = if wanted { self.flush()? } else { Flow::Next };
            match (flow, flushed) {
                (Flow::Next, Flow::Next) => {}
                (Flow::Next, other) | (other, _) => return Ok(other),
            }
        }
        Ok(Flow::Next)
    }

    fn surroundings(play: &Play) -> Rc<Enclosing> {
        Rc::new(Enclosing {
            parent: None,
            keywords: Keywords {
                name: None,
                ..play.keywords.clone()
            },
            role: None,
            include_params: Dict::new(),
            dynamic: false,
            folder: Path::new(&play.place.file)
                .parent()
                .map_or_else(|| PathBuf::from("/"), Path::to_path_buf),
        })
    }

    fn play_name(&self, play: &Play, around: &Rc<Enclosing>) -> String {
        let reach = self.vars.reach(around, None);
        let hidden = play.keywords.no_log.as_ref();
        if hidden.is_some_and(|value| self.boolean(value, &reach, around).unwrap_or(true))
            && let Some(name) = &play.keywords.name
        {
            return name.to_string();
        }
        let shown = play.keywords.name.as_ref().unwrap_or(&play.hosts);
        match shown {
            Value::List(hosts) => {
                let hosts = hosts.items();
                hosts
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(",")
            }
            one => self.text_or_raw(one, &reach, around),
        }
    }

    /// Runs a role: what it depends on first, then its tasks.
    pub(super) fn role(&self, role: &Rc<Role>, around: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let inner = super::roles::surroundings(role, around);
        for dependency in &role.dependencies {
            match self.role(dependency, &inner)? {
                Flow::Next => {}
                other => return Ok(other),
            }
        }
        if !role.allow_duplicates && self.completed.borrow().contains(&role.identity) {
            return Ok(Flow::Next);
        }
        let flow = self.nodes(&role.tasks, &inner)?;
        if role.ran.get() {
            self.completed.borrow_mut().insert(role.identity.clone());
        }
        Ok(match flow {
            Flow::EndRole(which) if which == role.identity => Flow::Next,
            other => other,
        })
    }

    /// Runs tasks and blocks in order.
    pub(super) fn nodes(&self, nodes: &[Node], around: &Rc<Enclosing>) -> Result<Flow, Stop> {
        for node in nodes {
            let flow = match node {
                Node::Task(task) => self.task(task, around, false)?,
                Node::Block(block) => self.block(block, around)?,
            };
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn block(&self, block: &Block, around: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let inner = around.inner(block.keywords.clone());
        // Without a task that the tags select, Ansible takes the block for one without `rescue`.
        let rescues = u32::from(self.selects_any(&block.rescue, &inner)?);
        self.rescuers.set(self.rescuers.get() + rescues);
        let flow = self.nodes(&block.tasks, &inner);
        self.rescuers.set(self.rescuers.get() - rescues);
        let mut flow = flow?;
        if flow == Flow::Failed && rescues > 0 {
            flow = self.nodes(&block.rescue, &inner)?;
        }
        if !matches!(flow, Flow::Next | Flow::Failed) {
            return Ok(flow);
        }
        match self.nodes(&block.always, &inner)? {
            Flow::Next => Ok(flow),
            other => Ok(other),
        }
    }

    /// Tells the controller, without the secrets of its author.
    pub(super) fn emit(&self, mut event: Event) {
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
