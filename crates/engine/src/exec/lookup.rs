//! Lookups: those on the project's files are answered here, the rest is asked of the controller.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::fnmatch;
use amibake_playbook::names::bare;
use amibake_playbook::template::plugins::{self, Support};
use amibake_playbook::template::{Error, Kwargs, Outside, Scope as _};
use amibake_playbook::value::{self, Dict, Value};
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Place;
use serde_json::Map;

use super::config_lookup;
use super::eval;
use super::file_lookups;
use super::file_tests;
use super::first_found::Search;
use super::model::Enclosing;
use super::outcome;
use super::run::Run;
use super::search;
use super::subelements::subelements;
use super::task_context::TaskContext;
use super::task_error::FileError;
use super::url_lookup;
use super::vars::VarScope;

/// Lookups answered here.
const OURS: &[&str] = &[
    "config",
    "file",
    "fileglob",
    "first_found",
    "template",
    "items",
    "list",
    "dict",
    "indexed_items",
    "flattened",
    "together",
    "nested",
    "cartesian",
    "sequence",
    "subelements",
    "vars",
    "varnames",
    "random_choice",
    "inventory_hostnames",
    "csvfile",
    "ini",
    "unvault",
    "debops.debops.file_src",
    "debops.debops.task_src",
    "debops.debops.template_src",
];

/// Lookups that only the controller can answer.
const THEIRS: &[&str] = &["env", "filetree", "pipe", "lines", "password"];

/// What changes the syntax in the lookup `template`.
const TEMPLATE: &[&str] = &[
    "variable_start_string",
    "variable_end_string",
    "comment_start_string",
    "comment_end_string",
    "trim_blocks",
];

/// Who answers a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The machine that the playbook runs on.
    Target,
    /// A server that the machine asks.
    Network,
    /// Amibake itself.
    Controller,
}

/// Returns who answers the lookup `name`, if anybody does.
#[must_use]
pub fn lookup_is_answered_by(name: &str) -> Option<Side> {
    if name == "url" {
        return Some(Side::Network);
    }
    if OURS.contains(&name) {
        return Some(Side::Target);
    }
    THEIRS.contains(&name).then_some(Side::Controller)
}

/// The controller's side, as one task's templates see it.
pub(super) struct Controllers<'r, 'a> {
    run: &'r Run<'a>,
    enclosing: &'r Rc<Enclosing>,
    scope: &'r VarScope,
    /// Where `with_first_found` looks for names; `first_found` in a template looks in no such folder.
    kind: &'static str,
}

impl<'r, 'a> Controllers<'r, 'a> {
    /// Returns what templates of a task in these surroundings see.
    pub(super) fn new(run: &'r Run<'a>, enclosing: &'r Rc<Enclosing>, scope: &'r VarScope) -> Self {
        Self {
            run,
            enclosing,
            scope,
            kind: "",
        }
    }

    /// Returns what the `with_*` loop of a task sees.
    pub(super) fn looping(run: &'r Run<'a>, cx: &TaskContext<'r>) -> Self {
        let action = cx.task.action.as_str();
        let kind = match () {
            () if action.contains("template") => "templates",
            () if action.contains("var") => "vars",
            () => "files",
        };
        Self {
            kind,
            ..Self::new(run, cx.enclosing, cx.scope)
        }
    }

    /// Finds a file of the controller, if it is there.
    ///
    /// # Errors
    /// What is there, or may be, and was not sent.
    fn find(&self, kind: &str, name: &str) -> Result<Option<PathBuf>, Error> {
        match search::find(self.run, self.enclosing, kind, name) {
            Ok(path) => Ok(Some(path)),
            Err(FileError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::failed(error.to_string())),
        }
    }

    /// Returns the text of a file; where there is none, that is told, and `missing` is what the lookup says.
    fn text_of(&self, name: &str, missing: &str) -> Result<String, Error> {
        let Some(path) = self.find("files", name)? else {
            self.warn_missing(name);
            return Err(Error::failed(missing));
        };
        let text = self.run.read_text(&path);
        text.map_err(|e| Error::failed(e.to_string()))
    }

    fn unvault(&self, term: &Value) -> Result<Value, Error> {
        let missing = format!("Unable to find file matching \"{term}\" ");
        self.text_of(&term.to_string(), &missing).map(Value::from)
    }

    fn warn_missing(&self, name: &str) {
        let paths = "(use -vvvvv to see paths)";
        let warning = format!("Unable to find '{name}' in expected paths {paths}");
        self.run.warn(warning, None);
    }

    fn file(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let flag = |name: &str, default| options.get(name).and_then(eval::truth).unwrap_or(default);
        let each = |term: &Value| {
            let name = term.to_string();
            let path = self.find("files", &name)?.ok_or_else(|| {
                let hint = "Use -vvvvv to see paths searched.";
                Error::failed(format!(
                    "Unable to access the file '{name}': File not found. {hint}"
                ))
            })?;
            let mut text = self
                .run
                .read_text(&path)
                .map_err(|e| Error::failed(e.to_string()))?;
            if flag("lstrip", false) {
                text = String::from(text.trim_start());
            }
            if flag("rstrip", true) {
                text = String::from(text.trim_end());
            }
            Ok(Value::from(text))
        };
        terms.iter().map(each).collect()
    }

    fn template(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let each = |term: &Value| {
            let name = term.to_string();
            let path = self.find("templates", &name)?;
            let path = path.ok_or_else(|| {
                self.warn_missing(&name);
                Error::failed(format!(
                    "the template file {name} could not be found for the lookup"
                ))
            })?;
            let text = self
                .run
                .read_text(&path)
                .map_err(|e| Error::failed(e.to_string()))?;
            let scope = self.scope.with_local();
            self.run.describe_template(&name, &path, None, &scope);
            for (key, value) in options
                .get("template_vars")
                .and_then(Value::as_dict)
                .map(Dict::entries)
                .unwrap_or_default()
            {
                scope.local.insert(key, value);
            }
            let given: Map<String, serde_json::Value> = options
                .iter()
                .filter(|(name, _)| TEMPLATE.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), outcome::raw_json(value)))
                .collect();
            let rendered = self
                .run
                .render_file_value(&text, &path, &given, &scope, self.enclosing);
            rendered.map_err(|e| Error::failed(e.message))
        };
        terms.iter().map(each).collect()
    }

    fn fileglob(&self, terms: &[Value]) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        for term in terms {
            let term = term.to_string();
            let (folder, pattern) = term.rsplit_once('/').unwrap_or(("", &term));
            let folders = match (folder, term.starts_with('/')) {
                ("", true) => vec![PathBuf::from("/")],
                ("", false) => {
                    let all = search::folders(self.run, self.enclosing);
                    all.into_iter().flat_map(|f| [f.join("files"), f]).collect()
                }
                (folder, _) => search::places(self.run, self.enclosing, "files", folder),
            };
            let is_dir = |folder: &&PathBuf| self.run.project.files.is_dir(folder);
            // A pattern with a folder means the first such folder, one without looks on.
            let first = folders.iter().filter(is_dir);
            let first = first.take(if folder.is_empty() { usize::MAX } else { 1 });
            let names = first.map(|folder| self.matching(folder, pattern));
            match names.into_iter().find(|names| !names.is_empty()) {
                Some(names) => found.extend(names),
                None => found.extend(self.matching_there(&folders, pattern)?),
            }
        }
        Ok(found)
    }

    /// Asks the controller for what matches in one of the folders, if nothing here does.
    fn matching_there(&self, folders: &[PathBuf], pattern: &str) -> Result<Vec<Value>, Error> {
        let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.join(pattern)).collect();
        let there = search::look(self.run.project.files, pattern, &paths);
        let there = there.map_err(|error| Error::failed(error.to_string()))?;
        let folder = there.as_deref().and_then(Path::parent);
        Ok(folder.map_or_else(Vec::new, |folder| self.matching(folder, pattern)))
    }

    fn matching(&self, folder: &Path, pattern: &str) -> Vec<Value> {
        let names = self.run.project.files.list(folder).unwrap_or_default();
        let fits = fnmatch::Pattern::new(pattern);
        let hidden = pattern.starts_with('.');
        names
            .iter()
            .filter(|name| (hidden || !name.starts_with('.')) && fits.matches(name))
            .map(|name| folder.join(name))
            .filter(|path| self.run.project.files.is_file(path))
            .map(|path| Value::str(path.to_string_lossy()))
            .collect()
    }

    /// What is in folders of the controller, which tells of it; of two of one path the first counts.
    fn filetree(&self, terms: &[Value], place: Option<&value::Place>) -> Result<Vec<Value>, Error> {
        let mut all: Vec<Value> = Vec::new();
        let path = |item: &Value| item.as_dict().and_then(|item| item.get("path"));
        for term in terms {
            let Some(folder) = self.tree(&term.to_string())? else {
                continue;
            };
            let folder = Value::str(folder.to_string_lossy());
            for item in self.ask("filetree", &[folder], &Kwargs::default(), place)? {
                let own = path(&item).map(|path| path.to_string());
                let is_it = |known: &Value| path(known).map(|path| path.to_string()) == own;
                if !all.iter().any(is_it) {
                    all.push(item);
                }
            }
        }
        Ok(all)
    }

    /// Finds a folder as `filetree` does: below the first of the folders searched that has the one it is in.
    fn tree(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        let (folder, last) = name.rsplit_once('/').unwrap_or(("", name));
        let files = self.run.project.files;
        let folders = match (folder, name.starts_with('/')) {
            ("", true) => vec![PathBuf::from("/")],
            (folder, _) => search::places(self.run, self.enclosing, "files", folder),
        };
        if let Some(folder) = folders.iter().find(|folder| files.is_dir(folder)) {
            let path = search::normal(&folder.join(last));
            return Ok(Some(path).filter(|path| files.is_dir(path)));
        }
        let paths: Vec<PathBuf> = folders.iter().map(|folder| folder.join(last)).collect();
        let there = search::look(files, name, &paths);
        there.map_err(|error| Error::failed(error.to_string()))
    }

    fn first_found(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let mut search = Search::of(|name| options.get(name).cloned());
        match terms {
            [] => search.names(&search.files.clone()),
            terms => search.terms(terms)?,
        }
        for name in &search.found {
            if let Some(path) = self.find(self.kind, name)? {
                return Ok(vec![Value::str(path.to_string_lossy())]);
            }
        }
        if search.skip {
            return Ok(Vec::new());
        }
        Err(Error::failed("No file was found when using first_found."))
    }

    /// Returns the paths of files of the role that the task is in.
    fn in_the_role(&self, kind: &str, terms: &[Value]) -> Result<Vec<Value>, Error> {
        let files = self.run.project.files;
        let of_role = |enclosing: Rc<Enclosing>| Some(enclosing.role.as_ref()?.path.join(kind));
        let folder = self.enclosing.chain().find_map(of_role);
        let each = |term: &Value| {
            let name = term.to_string();
            let path = folder
                .as_ref()
                .map(|folder| search::normal(&folder.join(&name)));
            let found = match path {
                Some(path) if files.is_file(&path) || files.is_dir(&path) => Some(path),
                path => search::look(files, &name, path.as_slice())
                    .map_err(|error| Error::failed(error.to_string()))?,
            };
            let found = found
                .ok_or_else(|| Error::failed(format!("could not locate file in lookup: {name}")))?;
            Ok(Value::str(found.to_string_lossy()))
        };
        terms.iter().map(each).collect()
    }

    /// Asks the controller. The place is the expression's, or the task's that needs it.
    fn ask(
        &self,
        plugin: &str,
        terms: &[Value],
        options: &Kwargs,
        place: Option<&value::Place>,
    ) -> Result<Vec<Value>, Error> {
        let ask = Ask::Lookup {
            place: place.map_or_else(|| self.run.at.borrow().clone(), protocol_place),
            plugin: plugin.to_owned(),
            terms: terms.iter().map(outcome::raw_json).collect(),
            options: options
                .iter()
                .map(|(k, v)| (k.clone(), outcome::raw_json(v)))
                .collect(),
        };
        let answer = self.run.controller.borrow_mut().ask(ask);
        match answer {
            Answer::Value { value } => {
                let value = Value::from_json(&value);
                Ok(eval::items(&value).unwrap_or_else(|| vec![value]))
            }
            Answer::File { path } => Ok(vec![Value::str(path.to_string_lossy())]),
            Answer::Refused { reason } => Err(Error::failed(format!(
                "The lookup plugin '{plugin}' was refused: {reason}"
            ))),
        }
    }
}

impl Controllers<'_, '_> {
    /// Returns the hosts of the inventory that patterns name.
    fn hostnames(&self, patterns: &[Value]) -> Result<Vec<Value>, Error> {
        let patterns: Vec<String> = patterns.iter().flat_map(eval::texts).collect();
        let matched = self.run.matched(&patterns);
        let matched = matched.map_err(|stop| Error::failed(stop.said))?;
        Ok(matched.hosts.iter().map(Value::str).collect())
    }
}

impl Outside for Controllers<'_, '_> {
    fn lookup(
        &self,
        name: &str,
        terms: &[Value],
        options: &Kwargs,
        place: Option<&value::Place>,
    ) -> Result<Vec<Value>, Error> {
        let name = bare(name);
        let name = name.strip_prefix("community.general.").unwrap_or(name);
        let mut in_the_role = plugins::IN_THE_ROLE.iter();
        if let Some((_, kind)) = in_the_role.find(|(known, _)| *known == name) {
            return self.in_the_role(kind, terms);
        }
        match name {
            "file" => self.file(terms, options),
            "template" => self.template(terms, options),
            "ini" => file_lookups::ini(terms, options, |name| {
                self.text_of(name, "Invalid filename None.")
            }),
            // Python's open() is what meets the missing name.
            "csvfile" => file_lookups::csv(terms, options, |name| {
                let missing = "expected str, bytes or os.PathLike object, not NoneType";
                self.text_of(name, missing)
            }),
            "unvault" => terms.iter().map(|term| self.unvault(term)).collect(),
            "fileglob" => self.fileglob(terms),
            "config" => {
                let variable = |name: &str| {
                    let written = self.scope.get(name)?;
                    self.run.render(&written, self.scope, self.enclosing).ok()
                };
                config_lookup::config(self.run, &variable, terms, options)
            }
            "url" => url_lookup::url(terms, options, self.scope, &|value| {
                self.run.render(value, self.scope, self.enclosing)
            }),
            "first_found" => self.first_found(terms, options),
            "filetree" => self.filetree(terms, place),
            "inventory_hostnames" => self.hostnames(terms),
            "flattened" => Ok(flat(terms, usize::MAX)),
            "subelements" => subelements(terms),
            "random_choice" => Ok(random(terms, self)),
            name if THEIRS.contains(&name) => self.ask(name, terms, options, place),
            name => match plugins::support(plugins::Kind::Lookup, name) {
                Support::Missing | Support::Foreign => Err(Error::failed(format!(
                    "The lookup plugin '{name}' is not supported."
                ))),
                Support::Here | Support::Unknown => Err(Error::failed(format!(
                    "The lookup plugin '{name}' was not found."
                ))),
            },
        }
    }

    fn file_test(&self, test: &str, path: &str, other: Option<&str>) -> Result<bool, Error> {
        file_tests::file_test(self.run, test, path, other)
    }

    fn glob(&self, pattern: &str) -> Result<Vec<String>, Error> {
        let found = self.fileglob(&[Value::str(pattern)])?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    fn load(&self, name: &str, from: Option<&str>) -> Result<(String, String), Error> {
        let beside = from.and_then(|from| Some(Path::new(from).parent()?.join(name)));
        let beside = beside.filter(|path| self.run.project.files.is_file(path));
        let path = match beside {
            Some(beside) => Some(beside),
            None => self.find("templates", name)?,
        };
        let path =
            path.ok_or_else(|| Error::failed(format!("'{name}' not found in search path")))?;
        let text = self
            .run
            .read_text(&path)
            .map_err(|e| Error::failed(e.to_string()))?;
        Ok((text, path.to_string_lossy().into_owned()))
    }

    fn realpath(&self, path: &str, place: Option<&value::Place>) -> Result<String, Error> {
        let place = place.map_or_else(|| self.run.at.borrow().clone(), protocol_place);
        file_tests::realpath(self.run, path, place)
    }

    fn working_folder(&self) -> Result<String, Error> {
        let folder = self.run.options.working_folder.to_string_lossy();
        Ok(folder.into_owned())
    }

    fn environment(
        &self,
        name: &str,
        place: Option<&value::Place>,
    ) -> Result<Option<String>, Error> {
        let answer = self.ask("env", &[Value::str(name)], &Kwargs::default(), place)?;
        let found = answer.first().filter(|value| !matches!(value, Value::None));
        Ok(found.map(ToString::to_string))
    }

    fn now(&self) -> (i64, u32, i32) {
        let now = jiff::Zoned::now();
        let timestamp = now.timestamp();
        let nanoseconds = u32::try_from(timestamp.subsec_nanosecond()).unwrap_or(0);
        (timestamp.as_second(), nanoseconds, now.offset().seconds())
    }

    fn entropy(&self, bytes: &mut [u8]) {
        use std::io::Read;
        let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(bytes));
        debug_assert!(read.is_ok(), "every Linux has /dev/urandom");
    }

    fn knows_lookup(&self, name: &str) -> bool {
        let name = bare(name);
        OURS.contains(&name) || THEIRS.contains(&name)
    }
}

pub(super) fn protocol_place(place: &value::Place) -> Place {
    Place {
        file: place.file.to_string(),
        line: place.line,
        column: place.column,
    }
}

/// Flattens lists in a list, `depth` levels deep.
fn flat(terms: &[Value], depth: usize) -> Vec<Value> {
    let one = |term: &Value| match eval::items(term) {
        Some(items) if depth > 1 => flat(&items, depth.saturating_sub(1)),
        Some(items) if depth == 1 => items,
        _ => vec![term.clone()],
    };
    terms.iter().flat_map(one).collect()
}

fn random(terms: &[Value], outside: &dyn Outside) -> Vec<Value> {
    let mut bytes = [0; 8];
    outside.entropy(&mut bytes);
    let at = usize::try_from(u64::from_ne_bytes(bytes) % (terms.len().max(1) as u64)).unwrap_or(0);
    terms.get(at).cloned().into_iter().collect()
}
