//! Roles: where they are found, what their folders hold, what they depend on.

use std::path::{Path, PathBuf};

use super::keywords::Place;
use super::reach::Reachability;
use super::walk::{Follow, Walk, load, normal};
use super::{Args, Meta, Role, RoleUse};
use crate::diagnostic::{Diagnostic, Span};
use crate::yaml::{Kind, Node};

/// Which files of a role are used instead of `main`.
#[derive(Debug, Clone, Default)]
pub(super) struct From {
    tasks: Option<String>,
    handlers: Option<String>,
    vars: Option<String>,
    defaults: Option<String>,
    /// Whether a task names it, which may stand in the role itself.
    by_task: bool,
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
            by_task: true,
        }
    }
}

impl Walk<'_> {
    /// Reads the `roles` of a play or the dependencies of a role.
    pub(super) fn roles(&mut self, list: &Node) -> Vec<RoleUse> {
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

    fn role_use(&mut self, node: &Node) -> Option<RoleUse> {
        let name = self.role_name(node)?;
        let mut used = RoleUse {
            name: name.clone(),
            span: name.span.clone(),
            keywords: Vec::new(),
            params: Vec::new(),
            role: None,
        };
        for (key, value) in node.as_map().unwrap_or_default() {
            match key.as_str() {
                // Where `ansible-galaxy` gets a role from is not for the one that runs it.
                Some("role" | "name" | "src" | "version" | "scm") | None => {}
                Some(key) if Place::Role.knows(key) => {
                    used.keywords.push((key.to_owned(), value.clone()));
                }
                Some(key) => used.params.push((key.to_owned(), value.clone())),
            }
        }
        self.check_keywords(&used.keywords, Place::Role);
        if self.follow == Follow::Everything {
            used.role = self.inside(node, |walk| walk.role_named(name));
        }
        Some(used)
    }

    fn role_name<'n>(&mut self, node: &'n Node) -> Option<&'n Node> {
        let named = match &node.kind {
            Kind::Str(_) => Ok(node),
            Kind::Map(_) => ["role", "name", "src"]
                .iter()
                .find_map(|key| node.get(key))
                .ok_or_else(|| Diagnostic::new(&node.span, "this entry names no role")),
            _ => Err(node.unexpected("a role", "a name or a mapping")),
        };
        let text = |name: &'n Node| name.expect_text("a role's name").map(|_| name);
        named.and_then(text).map_err(|e| self.error(e)).ok()
    }

    fn role_named(&mut self, name: &Node) -> Option<Role> {
        if name.is_template() {
            return None;
        }
        let text = name.scalar_text()?;
        let Some(path) = self.find_role(&text) else {
            if self.position.reach != Reachability::No {
                self.error(self.role_missing(&text, &name.span));
            }
            return None;
        };
        self.role_at(&path, &text, &name.span, &From::default())
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
            candidates.extend(self.collection_roots().map(|path| path.join(&below)));
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
        let outer_ended = std::mem::take(&mut self.role_ended);
        let meta = self.role_meta(path, span, from);
        for (folder, stem) in [("defaults", &from.defaults), ("vars", &from.vars)] {
            for file in self.role_files(path, folder, stem.as_deref().unwrap_or("main")) {
                self.variables(&file);
            }
        }
        let mut tasks = self.role_steps(path, "tasks", from.tasks.as_deref(), span);
        let entry = from.tasks.as_deref().unwrap_or("main");
        if let Some(validation) = self.validation(path, entry, meta.as_ref()) {
            tasks.insert(0, validation);
        }
        let handlers = self.role_steps(path, "handlers", from.handlers.as_deref(), span);
        self.role.pop();
        self.role_ended = outer_ended;
        Some(Role {
            name: shown,
            path: path.to_path_buf(),
            dependencies: meta.map(|meta| meta.dependencies).unwrap_or_default(),
            tasks,
            handlers,
        })
    }

    /// Reads what `meta/main.yml` holds.
    pub(super) fn meta(&mut self, root: &Node) -> Meta {
        let list = root.get("dependencies");
        Meta {
            dependencies: list.map(|list| self.roles(list)).unwrap_or_default(),
            allow_duplicates: root.get("allow_duplicates").cloned(),
            collections: root.get("collections").cloned(),
            argument_specs: root.get("argument_specs").cloned(),
        }
    }

    fn role_meta(&mut self, path: &Path, span: &Span, from: &From) -> Option<Meta> {
        let file = self.role_files(path, "meta", "main").into_iter().next()?;
        let meta = load(self, &file)?;
        let circle = self.role[..self.role.len() - 1]
            .iter()
            .any(|(_, p)| p == path);
        if circle && !from.by_task && meta.get("dependencies").is_some() {
            self.error(Diagnostic::new(span, "this role depends on itself"));
            return None;
        }
        Some(self.meta(&meta))
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
            && self.position.reach != Reachability::No
        {
            let folder = path.join(folder);
            let inside = normal(&folder.join(stem)).starts_with(normal(&folder));
            let wrong = match inside {
                true => format!("there is no {stem} in {}", folder.display()),
                false => format!(
                    "{stem} cannot be read, as it is not inside the expected role path: {}",
                    folder.display()
                ),
            };
            self.error(Diagnostic::new(span, wrong));
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
    pub(super) fn role_files(&self, role: &Path, folder: &str, stem: &str) -> Vec<PathBuf> {
        let folder = role.join(folder);
        let base = folder.join(stem);
        if !normal(&base).starts_with(normal(&folder)) {
            return Vec::new(); // as Ansible: a role has no files elsewhere
        }
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

#[cfg(test)]
mod tests {
    use crate::files::Disk;
    use crate::syntax::{Options, parse};

    /// Returns what is wrong with a playbook of these files.
    fn wrong(files: &[(&str, &str)]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let path = folder.path().join("site.yml");
        let parsed = parse(&Disk::here(), &path, &Options::default());
        parsed.err().map(|all| all.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_role_with_dependencies_may_use_other_tasks_of_its_own() {
        let main = "- include_role: {name: a, tasks_from: part}\n- import_role: {name: a, tasks_from: part}\n";
        let files = [
            ("site.yml", "- {hosts: all, roles: [a]}\n"),
            ("roles/a/meta/main.yml", "dependencies: [b]\n"),
            ("roles/a/tasks/main.yml", main),
            ("roles/a/tasks/part.yml", "- {debug: {msg: part}}\n"),
            ("roles/b/tasks/main.yml", "- {debug: {msg: b}}\n"),
        ];
        assert_eq!(wrong(&files), "");
    }

    #[test]
    fn a_role_or_a_block_is_no_handler() {
        for (handler, named) in [
            ("{import_role: {name: a}}", "import_role"),
            ("{name: h, include_role: {name: a}}", "include_role"),
            ("{name: h, block: [{debug: {msg: x}}]}", "block"),
        ] {
            let site = format!("- hosts: all\n  handlers:\n    - {handler}\n");
            let files = [("site.yml", &*site), ("roles/a/tasks/main.yml", "[]\n")];
            let wrong = wrong(&files);
            assert!(
                wrong.contains(&format!("`{named}` cannot be a handler")),
                "{wrong}"
            );
        }
    }
}
