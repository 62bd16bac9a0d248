//! One task: whether it is for this run, what it is called, and its way from its start to its end.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use amibake_playbook::argspec;
use amibake_playbook::fnmatch::fnmatch;
use amibake_playbook::names::bare;
use amibake_playbook::value::{Value, looks_like_template};
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

use super::actions::does;
use super::effects::{Effects, Flow, Loaded};
use super::model::{Enclosing, Node, Task};
use super::role::Role;
use super::run::{Run, Stop};
use super::task_context::TaskContext;
use super::task_error::TaskError;
use super::vars::VarScope;

impl Run<'_> {
    /// Runs one task or handler, unless tags or `--start-at-task` leave it out. What it includes,
    /// imports, notifies or ends is left to the flow.
    pub(super) fn task(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
        handler: bool,
    ) -> Result<Effects, Stop> {
        if self.controller.borrow().cancelled() {
            return Ok(Effects::flow(Flow::Cancelled));
        }
        self.at.replace(task.place.clone());
        let scope = self.scope(task, enclosing);
        let acting = self.acting(task, &scope, enclosing);
        let task = acting.as_ref().unwrap_or(task);
        let mut cx = self.context(task, enclosing, &scope);
        // What is imported is chosen by its own tags, to which the import's were added.
        let imported = match bare(&task.action) {
            "import_tasks" => Some(
                self.imported_tasks(&cx)
                    .map(|(nodes, inner)| Loaded::Tasks(nodes, inner)),
            ),
            "import_role" => Some(self.imported_role(&cx)),
            _ => None,
        };
        if let Some(loaded) = imported {
            let effects = loaded.map(Effects::walk);
            return effects.map_err(|stop| self.hushed(stop, &cx));
        }
        if !handler && !self.is_selected(&cx)? {
            return Ok(Effects::default());
        }
        if bare(&task.action) == "meta" {
            let effects = self.meta(&mut cx, handler);
            return effects.map_err(|stop| self.hushed(stop, &cx));
        }
        if !handler && self.is_before_start(&cx) {
            return Ok(Effects::default());
        }
        if !handler && !self.is_confirmed(&cx) {
            return Ok(Effects::default());
        }
        self.in_turn(cx, handler)
    }

    /// Returns the task with the module that a template names, if one does. What cannot be rendered fails it.
    fn acting(
        &self,
        task: &Rc<Task>,
        scope: &VarScope,
        enclosing: &Rc<Enclosing>,
    ) -> Option<Rc<Task>> {
        if !looks_like_template(&task.action) {
            return None;
        }
        let mut acting = (**task).clone();
        match self.text(&Value::authored(&task.action, None), scope, enclosing) {
            Ok(action) if does(&action) || argspec::find(&action).is_some() => {
                acting.action = action;
                // What has no name of its own goes by what is written.
                let written = || Value::str(&task.action);
                acting.keywords.name.get_or_insert_with(written);
            }
            Ok(action) => {
                let wrong =
                    format!("Task failed: Cannot resolve '{action}' to an action or module.");
                acting.refused = Some(wrong);
            }
            Err(e) => acting.refused = Some(TaskError::Template(e).to_string()),
        }
        Some(Rc::new(acting))
    }

    /// Asks the user under `--step`, as Ansible does: no by default, and `continue` for the rest.
    fn is_confirmed(&self, cx: &TaskContext<'_>) -> bool {
        if !self.stepping.get() || self.is_going_back() {
            return true;
        }
        let name = self.task_name(cx);
        let answer = self.controller.borrow_mut().ask(Ask::Confirm { name });
        let Answer::Value { value } = answer else {
            return false;
        };
        match value.as_str().unwrap_or_default() {
            "c" | "continue" => {
                self.stepping.set(false);
                true
            }
            "y" | "yes" => true,
            _ => false,
        }
    }

    /// Numbers a task and tells that it begins.
    pub(super) fn begin(&self, cx: &mut TaskContext<'_>, handler: bool) {
        cx.index += 1;
        self.index.set(cx.index);
        self.emit(Event::TaskStarted {
            index: cx.index,
            name: self.task_name(cx),
            module: cx.task.action.clone(),
            handler,
            place: cx.task.place.clone(),
        });
    }

    pub(super) fn ordinary(&self, mut cx: TaskContext<'_>, handler: bool) -> Effects {
        self.begin(&mut cx, handler);
        let start = Instant::now();
        let ended = self.perform(&cx);
        self.finish(&cx, start, ended)
    }

    pub(super) fn scope(&self, task: &Task, enclosing: &Rc<Enclosing>) -> VarScope {
        let scope = self.vars.scope(enclosing, Some(task));
        let path = super::search::folders(self, enclosing);
        let path = path
            .iter()
            .map(|p| Value::str(p.to_string_lossy()))
            .collect();
        scope.local.set("ansible_search_path", Value::list(path));
        scope
    }

    /// Returns what is known of a task where the run is now.
    pub(super) fn context<'c>(
        &self,
        task: &'c Rc<Task>,
        enclosing: &'c Rc<Enclosing>,
        scope: &'c VarScope,
    ) -> TaskContext<'c> {
        TaskContext {
            task,
            enclosing,
            scope,
            index: self.index.get(),
        }
    }

    /// Returns whether the tags select any of these tasks; an imported role is judged by its import.
    pub(super) fn selects_any(
        &self,
        nodes: &[Node],
        enclosing: &Rc<Enclosing>,
    ) -> Result<bool, Stop> {
        for node in nodes {
            let selects = match node {
                Node::Task(task) => {
                    let scope = self.scope(task, enclosing);
                    let cx = self.context(task, enclosing, &scope);
                    match bare(&task.action) {
                        "import_tasks" => {
                            let (nodes, inner) = self.imported_tasks(&cx)?;
                            self.selects_any(&nodes, &inner)?
                        }
                        _ => self.is_selected(&cx)?,
                    }
                }
                Node::Block(block) => {
                    let inner = enclosing.inner(block.keywords.clone());
                    self.selects_any(&block.tasks, &inner)?
                        || self.selects_any(&block.rescue, &inner)?
                        || self.selects_any(&block.always, &inner)?
                }
            };
            if selects {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns whether one of these tasks is the one that `--start-at-task` names. As with Ansible, what includes bring
    /// is not looked at.
    pub(super) fn names_start(
        &self,
        nodes: &[Node],
        enclosing: &Rc<Enclosing>,
        wanted: &str,
    ) -> Result<bool, Stop> {
        for node in nodes {
            let found = match node {
                Node::Task(task) => {
                    let scope = self.scope(task, enclosing);
                    let cx = self.context(task, enclosing, &scope);
                    match bare(&task.action) {
                        "import_tasks" => {
                            let (nodes, inner) = self.imported_tasks(&cx)?;
                            self.names_start(&nodes, &inner, wanted)?
                        }
                        "import_role" => match self.imported_role(&cx)? {
                            Loaded::Role(role, inner) => {
                                self.role_names_start(&role, &inner, wanted)?
                            }
                            Loaded::Tasks(nodes, inner) => {
                                self.names_start(&nodes, &inner, wanted)?
                            }
                        },
                        _ => self.is_called(&cx, wanted),
                    }
                }
                Node::Block(block) => {
                    let inner = enclosing.inner(block.keywords.clone());
                    self.names_start(&block.tasks, &inner, wanted)?
                        || self.names_start(&block.always, &inner, wanted)?
                }
            };
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn role_names_start(
        &self,
        role: &Rc<Role>,
        enclosing: &Rc<Enclosing>,
        wanted: &str,
    ) -> Result<bool, Stop> {
        let inner = super::roles::surroundings(role, enclosing);
        for dependency in &role.dependencies {
            if self.role_names_start(dependency, &inner, wanted)? {
                return Ok(true);
            }
        }
        self.names_start(&role.tasks, &inner, wanted)
    }

    fn is_called(&self, cx: &TaskContext<'_>, wanted: &str) -> bool {
        let full = self.task_name(cx);
        let short = full.rsplit(" : ").next().unwrap_or(&full);
        fnmatch(wanted, &full) || fnmatch(wanted, short)
    }

    fn is_selected(&self, cx: &TaskContext<'_>) -> Result<bool, Stop> {
        let mut tags = BTreeSet::new();
        for tag in cx.enclosing.gathered(&cx.task.keywords, |k| &k.tags) {
            let rendered = self
                .render(&tag, cx.scope, cx.enclosing)
                .map_err(|e| self.hushed(Stop::new(e.to_string()), cx))?;
            for text in super::eval::texts(&rendered) {
                tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
            }
        }
        Ok(self.tags.selects(&tags))
    }

    fn is_before_start(&self, cx: &TaskContext<'_>) -> bool {
        let Some(wanted) = self.start_at.borrow().clone() else {
            return false;
        };
        let found = self.is_called(cx, &wanted);
        if found {
            self.start_at.replace(None);
        }
        !found
    }

    /// The name as Ansible prints it: `role : name`.
    fn task_name(&self, cx: &TaskContext<'_>) -> String {
        let task = cx.task;
        if bare(&task.action) == "include_role" {
            if let Some(name) = &task.keywords.name {
                return self.title(name, cx);
            }
            let role = task.args.get("name").or_else(|| task.args.get("role"));
            let role = role.map(|role| self.title(&role, cx));
            return format!("{} : {}", task.action, role.unwrap_or_default());
        }
        let name = match &task.keywords.name {
            Some(name) => self.title(name, cx),
            None => task.action.clone(),
        };
        match &cx.enclosing.role {
            Some(role) => format!("{} : {name}", role.name),
            None => name,
        }
    }

    /// Renders what a task is called; under `no_log` it is shown as written.
    fn title(&self, name: &Value, cx: &TaskContext<'_>) -> String {
        if self.is_censored(cx) {
            return name.to_string();
        }
        self.text_or_raw(name, cx.scope, cx.enclosing)
    }
}
