//! What becomes part of a play before it is reached: the roles that imports name, with their variables and
//! handlers, and the handlers in files that handlers import.

use std::rc::Rc;

use amibake_playbook::names::bare;
use amibake_playbook::value::Dict;

use super::effects::Loaded;
use super::imports::Import;
use super::model::{Enclosing, Keywords, Node, Play, Task};
use super::role::Role;
use super::roles;
use super::run::{Run, Stop};

/// Handlers with what stands around them.
type Handlers = Vec<(Rc<Task>, Rc<Enclosing>)>;

impl Run<'_> {
    /// Gives a play its handlers, and what its imports bring.
    pub(super) fn join_play(
        &self,
        play: &Play,
        roles: &[Rc<Role>],
        enclosing: &Rc<Enclosing>,
    ) -> Result<(), Stop> {
        for role in roles {
            self.add_handlers(role, enclosing)?;
        }
        let own = self.handler_tasks(&play.handlers, enclosing)?;
        self.handlers.borrow_mut().add(own);
        for role in roles {
            self.join_imports_of(role, enclosing)?;
        }
        for section in [&play.pre_tasks, &play.tasks, &play.post_tasks] {
            self.join_imports(section, enclosing)?;
        }
        Ok(())
    }

    /// Makes a role part of the play, with what its own imports bring.
    pub(super) fn join_role(&self, role: &Rc<Role>, enclosing: &Rc<Enclosing>) -> Result<(), Stop> {
        self.join_imports_of(role, enclosing)?;
        if role.public {
            self.vars.play_roles.borrow_mut().push(Rc::clone(role));
        }
        self.add_handlers(role, enclosing)
    }

    /// Makes part of the play what a role's own imports bring, and those of what it depends on.
    pub(super) fn join_imports_of(
        &self,
        role: &Rc<Role>,
        enclosing: &Rc<Enclosing>,
    ) -> Result<(), Stop> {
        let inner = roles::surroundings(role, enclosing);
        for dependency in &role.dependencies {
            self.join_imports_of(dependency, &inner)?;
        }
        self.join_imports(&role.tasks, &inner)
    }

    /// Makes part of the play what the imports among these tasks bring. What is named by what is not known yet is looked
    /// for again when it is reached, and fails there.
    ///
    /// # Errors
    /// What is not there, or cannot be read.
    pub(super) fn join_imports(
        &self,
        nodes: &[Node],
        enclosing: &Rc<Enclosing>,
    ) -> Result<(), Stop> {
        for node in nodes {
            match node {
                Node::Task(task) => self.join_import(task, enclosing)?,
                Node::Block(block) => {
                    let inner = enclosing.inner(block.keywords.clone());
                    for part in [&block.tasks, &block.rescue, &block.always] {
                        self.join_imports(part, &inner)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn join_import(&self, task: &Rc<Task>, enclosing: &Rc<Enclosing>) -> Result<(), Stop> {
        let action = bare(&task.action);
        if !matches!(action, "import_tasks" | "import_role")
            || self.imports.borrow().get(task).is_some()
        {
            return Ok(());
        }
        let scope = self.scope(task, enclosing);
        let cx = self.context(task, enclosing, &scope);
        if action == "import_tasks" {
            let (nodes, inner) = match self.imported_tasks(&cx) {
                Ok(imported) => imported,
                Err(stop) if stop.is_settled() => return Err(self.hushed(stop, &cx)),
                Err(_) => return Ok(()),
            };
            let import = Import::Tasks(nodes.clone(), inner.folder.clone());
            self.imports.borrow_mut().add(task, import);
            return self.join_imports(&nodes, &inner);
        }
        let (role, inner) = match self.imported_role(&cx) {
            Ok(Loaded::Role(role, inner)) => (role, inner),
            Err(stop) if stop.is_settled() => return Err(self.hushed(stop, &cx)),
            Ok(Loaded::Tasks(..)) | Err(_) => return Ok(()),
        };
        let import = Import::Role(Rc::clone(&role));
        self.imports.borrow_mut().add(task, import);
        self.join_role(&role, &inner)
    }

    /// Adds the handlers of a role and of what it depends on.
    fn add_handlers(&self, role: &Rc<Role>, enclosing: &Rc<Enclosing>) -> Result<(), Stop> {
        let mut seen: Vec<String> = Vec::new();
        for role in role.with_dependencies() {
            if seen.contains(&role.identity) {
                continue;
            }
            seen.push(role.identity.clone());
            let inner = Rc::new(Enclosing {
                parent: Some(Rc::clone(enclosing)),
                keywords: Keywords {
                    tags: Vec::new(),
                    ..role.keywords.clone()
                },
                role: Some(Rc::clone(&role)),
                include_params: Dict::new(),
                dynamic: false,
                folder: role.handlers_folder.clone(),
            });
            let list = self.handler_tasks(&role.handlers, &inner)?;
            self.handlers.borrow_mut().add(list);
        }
        Ok(())
    }

    /// Returns the handlers of a list, those of files that it imports in their place.
    fn handler_tasks(&self, nodes: &[Node], enclosing: &Rc<Enclosing>) -> Result<Handlers, Stop> {
        let mut all = Vec::new();
        for node in nodes {
            match node {
                Node::Task(task) if bare(&task.action) == "import_tasks" => {
                    let scope = self.scope(task, enclosing);
                    let cx = self.context(task, enclosing, &scope);
                    let (nodes, inner) = self.imported_tasks(&cx)?;
                    all.extend(self.handler_tasks(&nodes, &inner)?);
                }
                Node::Task(task) => all.push((Rc::clone(task), Rc::clone(enclosing))),
                Node::Block(block) => {
                    let inner = enclosing.inner(block.keywords.clone());
                    all.extend(self.handler_tasks(&block.tasks, &inner)?);
                }
            }
        }
        Ok(all)
    }
}
