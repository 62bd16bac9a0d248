//! `include_*`, decided while the run goes on, and `import_*`, which stand for what they name: what
//! they name is found and read here. The flow walks it.

use std::path::PathBuf;
use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};
use serde_json::json;

use super::actions::full;
use super::convert;
use super::effects::Loaded;
use super::eval;
use super::imports::Import;
use super::model::{Enclosing, Keywords, Node, RoleUse, Task};
use super::outcome::{self, Attempt, Fields, Found, What};
use super::roles::{self, Use};
use super::run::{Run, Stop};
use super::search::{self, folder_of};
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};

/// The keys of `include_role` and what folder they name a file in.
const FROM: &[(&str, &str)] = &[
    ("tasks_from", "tasks"),
    ("vars_from", "vars"),
    ("defaults_from", "defaults"),
    ("handlers_from", "handlers"),
];

impl Run<'_> {
    /// `include_tasks`: which file.
    pub(super) fn find_tasks(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let file = args.get("_raw_params").or_else(|| args.get("file"));
        let Some(file) = file else {
            // Ansible refuses the file that says so.
            let wrong = format!("No file specified for {}", full(&cx.task.action));
            let place = &cx.task.place;
            let stop = Stop::malformed(format!("{}:{}: {wrong}", place.file, place.line));
            self.broken.replace(Some(stop));
            return Err(refused(wrong));
        };
        let mut fields = Fields::new();
        fields.insert("include".to_owned(), json!(file.to_string()));
        fields.insert("include_args".to_owned(), json!({}));
        fields.insert("changed".to_owned(), json!(false));
        let what = What::Tasks(file.to_string());
        Ok(found(cx, fields, what, &args))
    }

    /// `include_role`: which role, and which of its files.
    pub(super) fn find_role(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        role_of(cx.task, &args, cx.enclosing)?;
        let mut fields = Fields::new();
        fields.insert("changed".to_owned(), json!(false));
        let shown = outcome::raw_json(&Value::Dict(args.clone()));
        fields.insert("include_args".to_owned(), shown);
        let what = What::Role(args.copy());
        Ok(found(cx, fields, what, &args))
    }

    /// Reads what an include found and what that imports, and says what it is. As with Ansible, what is there and
    /// cannot be read ends the run.
    pub(super) fn load(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
        found: Found,
    ) -> Result<(Loaded, String), Stop> {
        let loaded = self.read_found(task, enclosing, found);
        if let Err(stop) = &loaded
            && stop.is_final()
        {
            self.broken.replace(Some(stop.clone()));
        }
        loaded
    }

    fn read_found(
        &self,
        task: &Rc<Task>,
        enclosing: &Rc<Enclosing>,
        found: Found,
    ) -> Result<(Loaded, String), Stop> {
        let include = Rc::new(Enclosing {
            parent: Some(Rc::clone(enclosing)),
            keywords: Keywords {
                vars: task.keywords.vars.clone(),
                ..Keywords::default()
            },
            role: enclosing.role.clone(),
            include_params: found.params,
            dynamic: true,
            folder: enclosing.folder.clone(),
        });
        let inner = include.inner(applied(&found.apply));
        match found.what {
            What::Tasks(file) => {
                let path = self.task_file(&inner, &file)?;
                let nodes = convert::tasks(self, &path)?;
                let has_block = nodes.iter().any(|node| matches!(node, Node::Block(_)));
                if has_block && self.handlers.borrow().is_flushing() {
                    return Err(Stop::malformed(format!(
                        "{}: Using a block as a handler is not supported.",
                        path.display()
                    )));
                }
                let name = path.to_string_lossy().into_owned();
                let inner = beside(&inner, &path);
                self.join_imports(&nodes, &inner)?;
                Ok((Loaded::Tasks(nodes, inner), name))
            }
            What::Role(args) => {
                let (used, mut how) = role_of(task, &args, enclosing)?;
                if args.get("public").is_none() {
                    how.public = self.options.settings.private_role_vars == Some(false);
                }
                let role = roles::load(self, &used, &how, &inner)?;
                let name = role.name.clone();
                self.join_imports_of(&role, &inner)?;
                Ok((Loaded::Role(role, inner), name))
            }
        }
    }

    /// `import_tasks`: the tasks of the file stand here, under all keywords of the import.
    pub(super) fn imported_tasks(
        &self,
        cx: &TaskContext<'_>,
    ) -> Result<(Vec<Node>, Rc<Enclosing>), Stop> {
        let (task, enclosing) = (cx.task, cx.enclosing);
        let inner = imported(task, enclosing);
        if let Some(Import::Tasks(nodes, folder)) = self.imports.borrow().get(task) {
            return Ok((nodes, standing_in(&inner, folder)));
        }
        let args = self.args(cx)?;
        let file = args
            .get("_raw_params")
            .or_else(|| args.get("file"))
            .unwrap_or_default();
        let path = self.task_file(&inner, &file.to_string())?;
        let nodes = convert::tasks(self, &path)?;
        Ok((nodes, beside(&inner, &path)))
    }

    /// `import_role`: the role's tasks stand here, under all keywords of the import.
    pub(super) fn imported_role(&self, cx: &TaskContext<'_>) -> Result<Loaded, Stop> {
        let (task, enclosing) = (cx.task, cx.enclosing);
        if let Some(Import::Role(role)) = self.imports.borrow().get(task) {
            return Ok(Loaded::Role(role, imported(task, enclosing)));
        }
        let args = self.args(cx)?;
        let (used, mut how) = role_of(task, &args, enclosing)?;
        how.public = args
            .get("public")
            .and_then(|p| eval::truth(&p))
            .unwrap_or(self.options.settings.private_role_vars != Some(true));
        let inner = imported(task, enclosing);
        Ok(Loaded::Role(roles::load(self, &used, &how, &inner)?, inner))
    }

    /// Finds a task file: beside the including file first, then as Ansible goes on.
    fn task_file(&self, enclosing: &Rc<Enclosing>, name: &str) -> Result<PathBuf, Stop> {
        let mut candidates = vec![enclosing.folder.join(name)];
        if let Some(role) = &enclosing.role {
            candidates.push(role.path.join("tasks").join(name));
        }
        for folder in search::folders(self, enclosing) {
            candidates.push(folder.join("tasks").join(name));
            candidates.push(folder.join(name));
        }
        let found: Vec<PathBuf> = candidates.iter().map(|path| search::normal(path)).collect();
        let files = self.project.files;
        if let Some(path) = found.iter().find(|path| files.is_file(path)) {
            return Ok(path.clone());
        }
        if let Some(path) = search::look(files, name, &found).map_err(TaskError::from)? {
            return Ok(path);
        }
        let path = found.into_iter().next().unwrap_or_default();
        Err(Stop::missing(format!(
            "Could not find or access '{}' on the Ansible Controller.",
            path.display()
        )))
    }
}

/// Returns the result of an include that names `what`.
fn found(cx: &TaskContext<'_>, fields: Fields, what: What, args: &Dict) -> Attempt {
    let params = cx.task.keywords.vars.copy();
    for (key, value) in cx.scope.local.entries() {
        if !matches!(
            key.as_str(),
            Some("ansible_search_path" | "ansible_delegated_vars")
        ) {
            params.insert(key, value);
        }
    }
    let apply = args.get("apply");
    let apply = apply.and_then(|apply| apply.as_dict().cloned());
    Attempt {
        fields,
        includes: vec![Found {
            what,
            label: None,
            params,
            apply: apply.unwrap_or_default(),
        }],
        ..Attempt::default()
    }
}

/// Reads the parameters of `include_role` and `import_role`.
fn role_of(
    task: &Task,
    args: &Dict,
    enclosing: &Rc<Enclosing>,
) -> Result<(RoleUse, Use), TaskError> {
    let name = args.get("name").or_else(|| args.get("role"));
    let name = name.ok_or_else(|| refused("'name' is a required field for include_role."))?;
    let truth = |key: &str| args.get(key).and_then(|v| eval::truth(&v));
    let from = FROM
        .iter()
        .filter_map(|(key, kind)| Some((*kind, args.get(key)?.to_string())))
        .collect();
    let mut chain = Vec::new();
    if let Some(parent) = &enclosing.role {
        chain.clone_from(&parent.chain);
        chain.push(Rc::clone(parent));
    }
    // A role may include itself under a condition; only its variables are handed on then.
    chain.dedup_by(|a, b| Rc::ptr_eq(a, b));
    let how = Use {
        from,
        allow_duplicates: Some(truth("allow_duplicates").unwrap_or(true)),
        public: truth("public").unwrap_or(false),
        unchecked: truth("rolespec_validate") == Some(false),
        chain,
        ..Use::default()
    };
    let role = RoleUse {
        name: Value::str(name.to_string()),
        keywords: Keywords {
            vars: task.keywords.vars.clone(),
            ..Keywords::default()
        },
        params: Dict::new(),
        place: task.place.clone(),
    };
    Ok((role, how))
}

/// The surroundings of what an import names: all its keywords count.
fn imported(task: &Task, enclosing: &Rc<Enclosing>) -> Rc<Enclosing> {
    let keywords = Keywords {
        name: None,
        ..task.keywords.clone()
    };
    let inner = enclosing.inner(keywords);
    Rc::new(Enclosing {
        parent: inner.parent.clone(),
        keywords: inner.keywords.clone(),
        role: inner.role.clone(),
        include_params: Dict::new(),
        dynamic: false,
        folder: inner.folder.clone(),
    })
}

/// The same surroundings for tasks that stand in another file.
fn beside(enclosing: &Rc<Enclosing>, file: &std::path::Path) -> Rc<Enclosing> {
    standing_in(enclosing, folder_of(file))
}

fn standing_in(enclosing: &Rc<Enclosing>, folder: PathBuf) -> Rc<Enclosing> {
    Rc::new(Enclosing {
        parent: Some(Rc::clone(enclosing)),
        keywords: Keywords::default(),
        role: enclosing.role.clone(),
        include_params: Dict::new(),
        dynamic: false,
        folder,
    })
}

/// Reads `apply:`: keywords for everything included.
fn applied(apply: &Dict) -> Keywords {
    let mut keywords = Keywords::default();
    for (name, value) in apply.entries() {
        keywords.set(name.as_str().unwrap_or_default(), value);
    }
    keywords
}
