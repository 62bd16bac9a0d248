//! One task: whether it is for this run, what it is called, and its way from its start to its end.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Instant;

use amibake_playbook::value::Value;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

use super::actions::Doing;
use super::model::{Around, Node, Task};
use super::run::{Flow, Run, Stop};
use super::vars::Reach;

impl Run<'_> {
    /// Runs one task or handler, unless tags or `--start-at-task` leave it out.
    pub(super) fn task(
        &self,
        task: &Rc<Task>,
        around: &Rc<Around>,
        handler: bool,
    ) -> Result<Flow, Stop> {
        if self.controller.borrow().cancelled() {
            return Ok(Flow::Cancelled);
        }
        self.at.replace(task.place.clone());
        let reach = self.reach(task, around);
        let doing = Doing {
            task,
            around,
            reach: &reach,
            index: self.index.get(),
        };
        // What is imported is chosen by its own tags, to which the import's were added.
        let imported = match super::actions::bare(&task.action) {
            "import_tasks" => Some(self.import_tasks(&doing)),
            "import_role" => Some(self.import_role(&doing)),
            _ => None,
        };
        if let Some(flow) = imported {
            return flow.map_err(|stop| self.hushed(stop, &doing));
        }
        if !handler && !self.is_selected(&doing)? {
            return Ok(Flow::Next);
        }
        if super::actions::bare(&task.action) == "meta" {
            let flow = self.meta(&doing);
            return flow.map_err(|stop| self.hushed(stop, &doing));
        }
        if !handler && self.is_before_start(&doing) {
            return Ok(Flow::Next);
        }
        if !handler && !self.is_confirmed(&doing) {
            return Ok(Flow::Next);
        }
        self.ordinary(doing, handler)
    }

    /// Asks the user under `--step`, as Ansible does: no by default, and `continue` for the rest.
    fn is_confirmed(&self, doing: &Doing<'_>) -> bool {
        if !self.stepping.get() {
            return true;
        }
        let name = self.task_name(doing);
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

    fn ordinary(&self, mut doing: Doing<'_>, handler: bool) -> Result<Flow, Stop> {
        doing.index += 1;
        self.index.set(doing.index);
        self.emit(Event::TaskStarted {
            index: doing.index,
            name: self.task_name(&doing),
            module: doing.task.action.clone(),
            handler,
            place: doing.task.place.clone(),
        });
        let start = Instant::now();
        let ended = self.perform(&doing);
        self.conclude(&doing, start, ended)
    }

    fn reach(&self, task: &Task, around: &Rc<Around>) -> Reach {
        let reach = self.vars.reach(around, Some(task));
        let path = super::search::folders(self, around);
        let path = path
            .iter()
            .map(|p| Value::str(p.to_string_lossy()))
            .collect();
        reach.local.set("ansible_search_path", Value::list(path));
        reach
    }

    /// Returns whether the tags select any of these tasks; an imported role is judged by its import.
    pub(super) fn selects_any(&self, nodes: &[Node], around: &Rc<Around>) -> Result<bool, Stop> {
        for node in nodes {
            let selects = match node {
                Node::Task(task) => {
                    let doing = Doing {
                        task,
                        around,
                        reach: &self.reach(task, around),
                        index: self.index.get(),
                    };
                    match super::actions::bare(&task.action) {
                        "import_tasks" => {
                            let (nodes, inner) = self.imported_tasks(&doing)?;
                            self.selects_any(&nodes, &inner)?
                        }
                        _ => self.is_selected(&doing)?,
                    }
                }
                Node::Block(block) => {
                    let inner = around.inner(block.keywords.clone());
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

    fn is_selected(&self, doing: &Doing<'_>) -> Result<bool, Stop> {
        let mut tags = BTreeSet::new();
        for tag in doing.around.gathered(&doing.task.keywords, |k| &k.tags) {
            let rendered = self
                .render(&tag, doing.reach, doing.around)
                .map_err(|e| self.hushed(Stop(e.to_string()), doing))?;
            for text in super::eval::texts(&rendered) {
                tags.extend(text.split(',').map(|tag| tag.trim().to_owned()));
            }
        }
        Ok(self.tags.selects(&tags))
    }

    fn is_before_start(&self, doing: &Doing<'_>) -> bool {
        let Some(wanted) = self.start_at.borrow().clone() else {
            return false;
        };
        let full = self.task_name(doing);
        let short = full.rsplit(" : ").next().unwrap_or(&full).to_owned();
        let found = [full, short]
            .iter()
            .any(|name| crate::facts::matches(&wanted, name));
        if found {
            self.start_at.replace(None);
        }
        !found
    }

    /// The name as Ansible prints it: `role : name`.
    fn task_name(&self, doing: &Doing<'_>) -> String {
        let task = doing.task;
        if task.keywords.name.is_none() && super::actions::bare(&task.action) == "include_role" {
            let role = task.args.get("name").or_else(|| task.args.get("role"));
            let role = role.map(|role| self.title(&role, doing));
            return format!("{} : {}", task.action, role.unwrap_or_default());
        }
        let name = match &task.keywords.name {
            Some(name) => self.title(name, doing),
            None => task.action.clone(),
        };
        match &doing.around.role {
            Some(role) => format!("{} : {name}", role.name),
            None => name,
        }
    }

    /// Renders what a task is called; under `no_log` it is shown as written.
    fn title(&self, name: &Value, doing: &Doing<'_>) -> String {
        if self.is_censored(doing) {
            return name.to_string();
        }
        self.text_or_raw(name, doing.reach, doing.around)
    }
}
