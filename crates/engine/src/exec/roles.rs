//! Finds and reads roles, with what they depend on.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};
use serde_json::json;

use super::convert;
use super::eval;
use super::model::{Enclosing, Keywords, Node, Play, RoleUse};
use super::outcome;
use super::role::{Role, of_collection};
use super::run::{Run, Stop};
use super::search;

/// How a role is used beyond what [`RoleUse`] says.
#[derive(Clone, Default)]
pub(super) struct Use {
    /// Other files than `main`: by folder, `tasks` → `install`.
    pub(super) from: Vec<(&'static str, String)>,
    pub(super) allow_duplicates: Option<bool>,
    /// Whether the rest of the play sees its variables.
    pub(super) public: bool,
    /// Whether its argument spec is passed over: `rolespec_validate: false`.
    pub(super) unchecked: bool,
    /// The roles it is used from.
    pub(super) chain: Vec<Rc<Role>>,
    /// The folders of the roles that depend on it, and on one another.
    pub(super) needed_by: Vec<PathBuf>,
}

/// Roles that use one another deeper than this are a circle.
const DEPTH_LIMIT: usize = 100;

/// Reads the roles of a play.
pub(super) fn load_all(
    run: &Run<'_>,
    play: &Play,
    enclosing: &Rc<Enclosing>,
) -> Result<Vec<Rc<Role>>, Stop> {
    let how = Use {
        public: run.options.settings.private_role_vars != Some(true),
        ..Use::default()
    };
    play.roles
        .iter()
        .map(|role| load(run, role, &how, enclosing))
        .collect()
}

/// Reads a role and what it depends on.
pub(super) fn load(
    run: &Run<'_>,
    used: &RoleUse,
    how: &Use,
    enclosing: &Rc<Enclosing>,
) -> Result<Rc<Role>, Stop> {
    let scope = run.vars.scope(enclosing, None);
    let name = run
        .text(&used.name, &scope, enclosing)
        .map_err(|e| Stop::new(e.to_string()))?;
    let path = find(run, &name, enclosing)?;
    if how.needed_by.contains(&path) || how.chain.len() >= DEPTH_LIMIT {
        let message = format!("{}: the role {name} depends on itself", used.place.file);
        return Err(Stop::new(message));
    }
    let from = |kind: &'static str| {
        let given = how.from.iter().find(|(k, _)| *k == kind);
        given.map_or_else(|| "main".to_owned(), |(_, stem)| stem.clone())
    };
    stay_inside(used, &name, &path, how)?;
    let mut role = Role {
        name: shown_name(&path, &name),
        defaults: variables(run, &path.join("defaults"), &from("defaults"))?,
        vars: variables(run, &path.join("vars"), &from("vars"))?,
        inline: used.keywords.vars.clone(),
        params: used.params.clone(),
        keywords: Keywords {
            name: None,
            vars: Dict::new(),
            ..used.keywords.clone()
        },
        chain: how.chain.clone(),
        dependencies: Vec::new(),
        tasks: Vec::new(),
        handlers: Vec::new(),
        tasks_folder: path.join("tasks"),
        handlers_folder: path.join("handlers"),
        allow_duplicates: false,
        public: how.public,
        identity: identity(&path, used, how),
        ran: Cell::new(false),
        path,
    };
    let tasks = from("tasks");
    match stem_file(run, &role.path.join("tasks"), &tasks) {
        Some(file) => {
            role.tasks_folder = super::search::folder_of(&file);
            role.tasks = convert::tasks(run, &file)?;
        }
        None if tasks != "main" => {
            return Err(Stop::malformed(format!(
                "Could not find specified file in role: tasks/{tasks}"
            )));
        }
        None => {}
    }
    if let Some(file) = stem_file(run, &role.path.join("handlers"), &from("handlers")) {
        role.handlers = convert::tasks(run, &file)?;
    }
    let meta = match stem_file(run, &role.path.join("meta"), "main") {
        Some(file) => convert::meta(run, &file)?,
        None => convert::Meta::default(),
    };
    if !how.unchecked {
        let entry = tasks.rsplit('/').next().unwrap_or(&tasks);
        let spec = convert::role_spec(run, &role.path, entry, &meta)?;
        if let Some(spec) = spec {
            let task = super::argument_spec::of_role(&role, entry, spec);
            role.tasks.insert(0, Node::Task(Rc::new(task)));
        }
    }
    let allowed = meta.allow_duplicates.as_ref().and_then(eval::truth);
    role.allow_duplicates = how.allow_duplicates.or(allowed).unwrap_or(false);
    role.keywords.collections = meta.collections;
    let parent = Rc::new(Role {
        tasks: Vec::new(),
        handlers: Vec::new(),
        ..shallow(&role)
    });
    for dependency in &meta.dependencies {
        let mut chain = how.chain.clone();
        chain.push(Rc::clone(&parent));
        let mut needed_by = how.needed_by.clone();
        needed_by.push(role.path.clone());
        let inner = Use {
            chain,
            needed_by,
            public: how.public,
            ..Use::default()
        };
        role.dependencies
            .push(load(run, dependency, &inner, enclosing)?);
    }
    Ok(Rc::new(role))
}

/// Refuses files of a role that lie elsewhere.
fn stay_inside(used: &RoleUse, name: &str, path: &Path, how: &Use) -> Result<(), Stop> {
    for (kind, stem) in &how.from {
        let folder = path.join(kind);
        let file = folder.join(stem);
        if search::normal(&file).starts_with(search::normal(&folder)) {
            continue;
        }
        return Err(Stop::malformed(format!(
            "{}:{}: Failed loading '{}' for role ({name}) as it is not inside the expected role path: '{}'",
            used.place.file,
            used.place.line,
            file.display(),
            folder.display()
        )));
    }
    Ok(())
}

/// What a dependency needs to know of the role that asks for it.
fn shallow(role: &Role) -> Role {
    Role {
        name: role.name.clone(),
        path: role.path.clone(),
        defaults: role.defaults.clone(),
        vars: role.vars.clone(),
        inline: role.inline.clone(),
        params: role.params.clone(),
        keywords: role.keywords.clone(),
        chain: role.chain.clone(),
        dependencies: Vec::new(),
        tasks: Vec::new(),
        handlers: Vec::new(),
        tasks_folder: role.tasks_folder.clone(),
        handlers_folder: role.handlers_folder.clone(),
        allow_duplicates: role.allow_duplicates,
        public: role.public,
        identity: role.identity.clone(),
        ran: Cell::new(false),
    }
}

/// Returns the surroundings of a role's tasks.
pub(super) fn surroundings(role: &Rc<Role>, enclosing: &Rc<Enclosing>) -> Rc<Enclosing> {
    Rc::new(Enclosing {
        parent: Some(Rc::clone(enclosing)),
        keywords: role.keywords.clone(),
        role: Some(Rc::clone(role)),
        include_params: Dict::new(),
        dynamic: false,
        folder: role.tasks_folder.clone(),
    })
}

/// Reads a role's variables: one file, or every file of a folder of that name.
fn variables(run: &Run<'_>, folder: &Path, stem: &str) -> Result<Dict, Stop> {
    let inner = folder.join(stem);
    if run.project.files.is_dir(&inner) {
        let all = Dict::new();
        let names = run.project.files.list(&inner);
        for name in
            names.map_err(|e| Stop::new(format!("could not list {}: {e}", inner.display())))?
        {
            if name.starts_with('.') || name.ends_with('~') {
                continue;
            }
            for (key, value) in convert::variables(run, &inner.join(name))?.entries() {
                all.insert(key, value);
            }
        }
        return Ok(all);
    }
    match stem_file(run, folder, stem) {
        Some(file) => convert::variables(run, &file),
        None if stem != "main" => Err(Stop::malformed(format!(
            "Could not find specified file in role: {}/{stem}",
            folder.file_name().unwrap_or_default().to_string_lossy()
        ))),
        None => Ok(Dict::new()),
    }
}

fn stem_file(run: &Run<'_>, folder: &Path, stem: &str) -> Option<PathBuf> {
    let direct = folder.join(stem);
    if direct.extension().is_some() && run.project.files.is_file(&direct) {
        return Some(direct);
    }
    convert::main_file(run, folder, stem)
}

/// Finds a role's folder: by collection, beside the playbook, beside other roles, on the paths.
fn find(run: &Run<'_>, name: &str, enclosing: &Rc<Enclosing>) -> Result<PathBuf, Stop> {
    let mut tried = Vec::new();
    for candidate in candidates(run, name, enclosing) {
        let candidate = super::search::normal(&candidate);
        if run.project.files.is_dir(&candidate) {
            return Ok(candidate);
        }
        tried.push(
            candidate
                .parent()
                .unwrap_or(&candidate)
                .display()
                .to_string(),
        );
    }
    if let Some(found) = look(run, name, enclosing)? {
        return Ok(found);
    }
    tried.dedup();
    Err(Stop::missing(format!(
        "the role '{name}' was not found in {}",
        tried.join(":")
    )))
}

fn look(run: &Run<'_>, name: &str, enclosing: &Rc<Enclosing>) -> Result<Option<PathBuf>, Stop> {
    let candidates = candidates(run, name, enclosing);
    let candidates: Vec<PathBuf> = candidates.iter().map(|path| search::normal(path)).collect();
    search::look(run.project.files, name, &candidates).map_err(|error| Stop::new(error.to_string()))
}

fn candidates(run: &Run<'_>, name: &str, enclosing: &Rc<Enclosing>) -> Vec<PathBuf> {
    if name.starts_with('/') {
        return vec![PathBuf::from(name)];
    }
    let dir = run.playbook_dir.borrow().clone();
    let mut all = Vec::new();
    let parts: Vec<&str> = name.splitn(3, '.').collect();
    if let ([space, collection, role], false) = (parts.as_slice(), name.contains('/')) {
        let below = |root: &Path| {
            let root = root
                .join("ansible_collections")
                .join(space)
                .join(collection);
            root.join("roles").join(role)
        };
        all.push(below(&dir.join("collections")));
        all.extend(run.options.collections_path.iter().map(|root| below(root)));
    }
    for collection in searched(enclosing) {
        if let (Some((space, collection)), false) =
            (collection.split_once('.'), name.contains(['.', '/']))
        {
            let below = Path::new("ansible_collections")
                .join(space)
                .join(collection);
            let below = below.join("roles").join(name);
            all.push(dir.join("collections").join(&below));
            let roots = run.options.collections_path.iter();
            all.extend(roots.map(|root| root.join(&below)));
        }
    }
    all.push(dir.join("roles").join(name));
    all.extend(run.options.roles_path.iter().map(|root| root.join(name)));
    all.push(dir.join(name));
    for enclosing in enclosing.chain() {
        if let Some(beside) = enclosing.role.as_ref().and_then(|role| role.path.parent()) {
            all.push(beside.join(name));
        }
    }
    all
}

/// Returns the collections whose roles are known by their short names here.
fn searched(enclosing: &Rc<Enclosing>) -> Vec<String> {
    let named = enclosing
        .chain()
        .find(|enclosing| !enclosing.keywords.collections.is_empty());
    named.map_or_else(Vec::new, |enclosing| {
        enclosing
            .keywords
            .collections
            .iter()
            .flat_map(eval::texts)
            .collect()
    })
}

/// Returns a role's name as Ansible shows it: of a collection's role in full, of a path its last part.
fn shown_name(path: &Path, name: &str) -> String {
    if let Some((collection, role)) = of_collection(path) {
        return format!("{collection}.{role}");
    }
    if name.contains('/') {
        return name
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or(name)
            .to_owned();
    }
    name.to_owned()
}

fn identity(path: &Path, used: &RoleUse, how: &Use) -> String {
    let raw = |values: &[Value]| values.iter().map(outcome::raw_json).collect::<Vec<_>>();
    json!([
        path,
        outcome::raw_json(&Value::Dict(used.params.clone())),
        outcome::raw_json(&Value::Dict(used.keywords.vars.clone())),
        raw(&used.keywords.when),
        raw(&used.keywords.tags),
        how.from
            .iter()
            .map(|(kind, stem)| json!([kind, stem]))
            .collect::<Vec<_>>(),
    ])
    .to_string()
}
