//! Roles: where they are found, what their folders hold, what they depend on.

use std::path::{Path, PathBuf};

use super::keywords::Place;
use super::reach::Reach;
use super::walk::{Walk, normal};
use super::{Args, Role, load};
use crate::diagnostic::{Diagnostic, Span};
use crate::yaml::{Kind, Node};

/// Which files of a role are used instead of `main`.
#[derive(Debug, Clone, Default)]
pub(super) struct From {
    tasks: Option<String>,
    handlers: Option<String>,
    vars: Option<String>,
    defaults: Option<String>,
}

impl From {
    pub(super) fn of(args: &Args) -> Self {
        let text = |name: &str| {
            let node = args.get(name).filter(|node| !node.is_template())?;
            node.as_str().map(str::to_owned)
        };
        Self {
            tasks: text("tasks_from"),
            handlers: text("handlers_from"),
            vars: text("vars_from"),
            defaults: text("defaults_from"),
        }
    }
}

impl Walk<'_> {
    /// Reads the `roles` of a play or the dependencies of a role.
    pub(super) fn roles(&mut self, list: &Node) -> Vec<Role> {
        match &list.kind {
            Kind::Null => Vec::new(),
            Kind::Seq(items) => items
                .iter()
                .filter_map(|item| self.role_use(item))
                .collect(),
            _ => {
                self.error(list.unexpected("`roles`", "a list of roles"));
                Vec::new()
            }
        }
    }

    fn role_use(&mut self, node: &Node) -> Option<Role> {
        let name = match &node.kind {
            Kind::Str(_) => node,
            Kind::Map(_) => match node.get("role").or_else(|| node.get("name")) {
                Some(name) => name,
                None if node.get("src").is_some() => node.get("src")?,
                None => {
                    self.error(Diagnostic::new(&node.span, "this entry names no role"));
                    return None;
                }
            },
            _ => {
                self.error(node.unexpected("a role", "a name or a mapping"));
                return None;
            }
        };
        if name.is_template() {
            self.templated();
            return None;
        }
        let text = name
            .expect_text("a role's name")
            .map_err(|e| self.error(e))
            .ok()?;
        let before = self.reach;
        self.reach = self.narrowed(node);
        let role = match self.find_role(&text) {
            Some(path) => self.role_at(&path, &text, &name.span, &From::default()),
            None => {
                if self.reach != Reach::No {
                    self.error(self.role_missing(&text, &name.span));
                }
                None
            }
        };
        self.reach = before;
        let mut role = role?;
        // Other keys are the role's parameters.
        for (key, value) in node.as_map().unwrap_or_default() {
            if let Some(key) = key.as_str() {
                role.keywords.push((key.to_owned(), value.clone()));
            }
        }
        let known: Vec<_> = role
            .keywords
            .iter()
            .filter(|(k, _)| Place::Role.knows(k))
            .cloned()
            .collect();
        self.check_keywords(&known);
        Some(role)
    }

    pub(super) fn role_missing(&self, name: &str, span: &Span) -> Diagnostic {
        let places: Vec<String> = self
            .role_folders()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let names: Vec<String> = self
            .role_folders()
            .iter()
            .filter_map(|folder| self.files.list(folder).ok())
            .flatten()
            .collect();
        let wrong = Diagnostic::new(span, format!("the role `{name}` was not found"))
            .nearest(name, names.iter().map(String::as_str));
        match wrong.hint {
            Some(_) => wrong,
            None => wrong.hint(format!("looked in {}", places.join(", "))),
        }
    }

    fn role_folders(&self) -> Vec<PathBuf> {
        let base = self.base();
        let mut folders = vec![base.join("roles")];
        folders.extend(self.options.roles_path.iter().cloned());
        let beside = self.role.last().and_then(|(_, path)| path.parent());
        folders.extend(beside.map(Path::to_path_buf));
        folders.push(base);
        folders
    }

    /// Finds a role by name or path, also `namespace.collection.role`.
    pub(super) fn find_role(&self, name: &str) -> Option<PathBuf> {
        if name.is_empty() {
            return None;
        }
        let mut candidates: Vec<PathBuf> =
            self.role_folders().iter().map(|f| f.join(name)).collect();
        if let [namespace, collection, role] = name.split('.').collect::<Vec<_>>()[..] {
            let below = Path::new("ansible_collections")
                .join(namespace)
                .join(collection)
                .join("roles")
                .join(role);
            candidates.push(self.base().join("collections").join(&below));
            candidates.extend(
                self.options
                    .collections_path
                    .iter()
                    .map(|path| path.join(&below)),
            );
        }
        // Inside a collection its own roles are known by their short names: they lie beside.
        candidates
            .into_iter()
            .map(|path| normal(&path))
            .find(|path| self.files.is_dir(path))
    }

    /// Reads the role in `path`, those it depends on first.
    pub(super) fn role_at(
        &mut self,
        path: &Path,
        name: &str,
        span: &Span,
        from: &From,
    ) -> Option<Role> {
        if self.role.iter().filter(|(_, p)| p == path).count() > 1 {
            // Including a role from itself is a loop only the run can tell; it was read already.
            return None;
        }
        self.out.roles.insert(path.to_path_buf());
        let shown = name.rsplit('/').next().unwrap_or(name).to_owned();
        self.role.push((shown.clone(), path.to_path_buf()));
        let dependencies = self.dependencies(path, span);
        for (folder, stem) in [("defaults", &from.defaults), ("vars", &from.vars)] {
            for file in self.role_files(path, folder, stem.as_deref().unwrap_or("main")) {
                self.variables(&file);
            }
        }
        let tasks = self.role_steps(path, "tasks", from.tasks.as_deref(), span);
        let handlers = self.role_steps(path, "handlers", from.handlers.as_deref(), span);
        self.role.pop();
        Some(Role {
            name: shown,
            path: path.to_path_buf(),
            span: span.clone(),
            keywords: Vec::new(),
            dependencies,
            tasks,
            handlers,
        })
    }

    fn dependencies(&mut self, path: &Path, span: &Span) -> Vec<Role> {
        let Some(file) = self.role_files(path, "meta", "main").into_iter().next() else {
            return Vec::new();
        };
        let Some(meta) = load(self, &file) else {
            return Vec::new();
        };
        let Some(list) = meta.get("dependencies") else {
            return Vec::new();
        };
        let circle = self.role[..self.role.len() - 1]
            .iter()
            .any(|(_, p)| p == path);
        if circle {
            self.error(Diagnostic::new(span, "this role depends on itself"));
            return Vec::new();
        }
        self.roles(list)
    }

    fn role_steps(
        &mut self,
        path: &Path,
        folder: &str,
        stem: Option<&str>,
        span: &Span,
    ) -> Vec<super::Step> {
        let files = self.role_files(path, folder, stem.unwrap_or("main"));
        if files.is_empty()
            && let Some(stem) = stem
            && self.reach != Reach::No
        {
            let folder = path.join(folder);
            self.error(Diagnostic::new(
                span,
                format!("there is no {stem} in {}", folder.display()),
            ));
        }
        let Some(file) = files.first() else {
            return Vec::new();
        };
        if self.within.contains(file) {
            return Vec::new();
        }
        self.read_task_file(file, span, folder == "handlers")
    }

    /// Returns `folder/stem` with whatever ending, or all YAML files of such a folder.
    fn role_files(&self, role: &Path, folder: &str, stem: &str) -> Vec<PathBuf> {
        let base = role.join(folder).join(stem);
        for ending in ["yml", "yaml", "json", ""] {
            let path = match ending {
                "" => base.clone(),
                ending => PathBuf::from(format!("{}.{ending}", base.display())),
            };
            if self.files.is_file(&path) {
                return vec![path];
            }
        }
        let names = self.files.list(&base).unwrap_or_default();
        let yaml = |name: &String| [".yml", ".yaml", ".json"].iter().any(|e| name.ends_with(e));
        names
            .iter()
            .filter(|name| yaml(name))
            .map(|name| base.join(name))
            .collect()
    }
}
