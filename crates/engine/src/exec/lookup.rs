//! Lookups: those on the project's files are answered here, the rest is asked of the controller.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::fnmatch;
use amibake_playbook::names::bare;
use amibake_playbook::template::plugins::{self, Support};
use amibake_playbook::template::{Error, Kwargs, Outside};
use amibake_playbook::value::{self, Dict, Value};
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Place;
use serde_json::Map;

use super::eval;
use super::file_lookups;
use super::model::Enclosing;
use super::run::Run;
use super::search;
use super::task_context::TaskContext;
use super::task_error::FileError;
use super::vars::VarScope;

/// Lookups answered here.
const OURS: &[&str] = &[
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
];

/// Lookups that only the controller can answer.
const THEIRS: &[&str] = &["env", "pipe", "lines", "password"];

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
    /// Amibake itself.
    Controller,
}

/// Returns who answers the lookup `name`, if anybody does.
#[must_use]
pub fn lookup_is_answered_by(name: &str) -> Option<Side> {
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

    /// Returns the text of a file that must be there.
    fn text_of(&self, kind: &str, name: &str) -> Result<String, Error> {
        let path = self.find(kind, name)?;
        let path =
            path.ok_or_else(|| Error::failed(format!("Unable to find file matching \"{name}\" ")))?;
        let text = self.run.read_text(&path);
        text.map_err(|e| Error::failed(e.to_string()))
    }

    fn file(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let flag = |name: &str, default| options.get(name).and_then(eval::truth).unwrap_or(default);
        let each = |term: &Value| {
            let name = term.to_string();
            let path = self.find("files", &name)?.ok_or_else(|| {
                let msg = "The 'file' lookup had an issue accessing the file";
                Error::failed(format!(
                    "{msg} '{name}'. file not found, use -vvvvv to see paths searched"
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
                Error::failed(format!(
                    "the template file {name} could not be found for the lookup"
                ))
            })?;
            let text = self
                .run
                .read_text(&path)
                .map_err(|e| Error::failed(e.to_string()))?;
            let scope = self.scope.with_local();
            for (key, value) in options
                .get("template_vars")
                .and_then(Value::as_dict)
                .map(Dict::entries)
                .unwrap_or_default()
            {
                scope.local.insert(key, value);
            }
            scope
                .local
                .set("template_path", Value::str(path.to_string_lossy()));
            let given: Map<String, serde_json::Value> = options
                .iter()
                .filter(|(name, _)| TEMPLATE.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), eval::raw_json(value)))
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
            terms: terms.iter().map(eval::raw_json).collect(),
            options: options
                .iter()
                .map(|(k, v)| (k.clone(), eval::raw_json(v)))
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
        match name {
            "file" => self.file(terms, options),
            "template" => self.template(terms, options),
            "ini" => file_lookups::ini(terms, options, |name| self.text_of("files", name)),
            "csvfile" => file_lookups::csv(terms, options, |name| self.text_of("files", name)),
            "unvault" => terms
                .iter()
                .map(|term| self.text_of("files", &term.to_string()).map(Value::from))
                .collect(),
            "fileglob" => self.fileglob(terms),
            "first_found" => self.first_found(terms, options),
            "inventory_hostnames" => Ok(vec![Value::str(&self.run.options.inventory_hostname)]),
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

    fn file_test(&self, test: &str, path: &str, _other: Option<&str>) -> Result<bool, Error> {
        let files = self.run.project.files;
        let name = path;
        let path = &self.run.options.working_folder.join(path);
        if !files.is_file(path) && !files.is_dir(path) {
            search::look(files, name, std::slice::from_ref(path))
                .map_err(|e| Error::failed(e.to_string()))?;
        }
        match test {
            "exists" => Ok(files.is_file(path) || files.is_dir(path)),
            "file" => Ok(files.is_file(path)),
            "directory" => Ok(files.is_dir(path)),
            "link" => Ok(files.link(path).is_some() || files.locate(path).is_symlink()),
            _ => Err(Error::failed(format!(
                "the test '{test}' cannot be answered here"
            ))),
        }
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

/// What `first_found` looks for.
#[derive(Default)]
struct Search {
    files: Vec<String>,
    paths: Vec<String>,
    skip: bool,
    found: Vec<String>,
}

impl Search {
    fn of(option: impl Fn(&str) -> Option<Value>) -> Self {
        let list = |name: &str| match option(name) {
            Some(Value::Str(text)) => text.split(',').map(|part| part.trim().to_owned()).collect(),
            Some(value) => eval::texts(&value),
            None => Vec::new(),
        };
        Self {
            files: list("files"),
            paths: list("paths"),
            skip: option("skip")
                .as_ref()
                .and_then(eval::truth)
                .unwrap_or(false),
            found: Vec::new(),
        }
    }

    /// Takes terms in; the options in one hold for those after it.
    fn terms(&mut self, terms: &[Value]) -> Result<(), Error> {
        for term in terms {
            match term {
                Value::Dict(dict) => {
                    let options = Self::of(|name| dict.get(name));
                    let found = std::mem::take(&mut self.found);
                    *self = Self { found, ..options };
                    self.names(&self.files.clone());
                }
                Value::Str(text) => self.names(&[text.to_string()]),
                Value::List(_) | Value::Tuple(_) => {
                    self.terms(&eval::items(term).unwrap_or_default())?;
                }
                other => {
                    let kind = other.type_name();
                    return Err(Error::failed(format!(
                        "Invalid term supplied. A string, dict or list is required, not '{kind}')."
                    )));
                }
            }
        }
        Ok(())
    }

    /// Adds names, each in every folder; both may be several in one text.
    fn names(&mut self, files: &[String]) {
        let split = |texts: &[String], at: &[char]| -> Vec<String> {
            let parts = texts.iter().flat_map(|text| text.split(at));
            parts.map(str::to_owned).collect()
        };
        let files = split(files, &[',', ';']);
        let paths = split(&self.paths, &[',', ':', ';']);
        if paths.is_empty() {
            self.found.extend(files);
            return;
        }
        for path in &paths {
            let joined = files.iter().map(|file| Path::new(path).join(file));
            let joined = joined.map(|path| path.to_string_lossy().into_owned());
            self.found.extend(joined);
        }
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

fn subelements(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let wrong = |what: &str| {
        let lead = "subelements lookup expects a list of two or three items, ";
        Error::failed(format!("{lead}{what}").trim_end())
    };
    let (list, path, flags) = match terms {
        [list, path] => (list, path, None),
        [list, path, flags] => (list, path, Some(flags)),
        _ => return Err(wrong("")),
    };
    let Value::Str(path) = path else {
        return Err(wrong(
            "first a dict or a list, second a string pointing to the subkey",
        ));
    };
    let elements = match list {
        Value::Dict(_) if was_skipped(list) => return Ok(Vec::new()),
        Value::Dict(dict) => dict.values(),
        Value::List(list) => list.items(),
        _ => {
            return Err(wrong(
                "first a dict or a list, second a string pointing to the subkey",
            ));
        }
    };
    let skip = match flags {
        None => false,
        Some(flags @ Value::Dict(_)) => {
            let skip = flags.get("skip_missing");
            skip.as_ref().and_then(eval::truth).unwrap_or(false)
        }
        Some(_) => {
            return Err(wrong(
                "the optional third item must be a dict with flags skip_missing",
            ));
        }
    };
    let mut found = Vec::new();
    for element in elements {
        let Value::Dict(_) = element else {
            return Err(Error::failed(format!(
                "subelements lookup expects a dictionary, got '{element}'"
            )));
        };
        if was_skipped(&element) {
            continue;
        }
        let items = subelement(&element, path, skip)?;
        let rest = without(&element, path);
        let pair = |item| Value::tuple(vec![rest.clone(), item]);
        found.extend(items.into_iter().map(pair));
    }
    Ok(found)
}

/// Returns whether this is the result of a task that was skipped.
fn was_skipped(value: &Value) -> bool {
    let skipped = value.get("skipped");
    skipped.is_some_and(|skipped| skipped != Value::Bool(false))
}

/// Returns the items of the list at the end of a dotted path; none of one that may be missing.
fn subelement(element: &Value, path: &str, skip: bool) -> Result<Vec<Value>, Error> {
    let keys: Vec<&str> = path.split('.').collect();
    let mut value = element.clone();
    for (at, key) in keys.iter().enumerate() {
        let wanted = if at + 1 == keys.len() {
            "list"
        } else {
            "dictionary"
        };
        let found = match value.get(key) {
            Some(found) => found,
            None if skip => return Ok(Vec::new()),
            None => {
                return Err(Error::failed(format!(
                    "could not find '{key}' key in iterated item '{value}'"
                )));
            }
        };
        let fits = match (wanted, &found) {
            ("list", Value::List(_)) => true,
            ("list", _) => false,
            (_, found) => found.as_dict().is_some(),
        };
        if !fits && wanted == "dictionary" && skip {
            return Ok(Vec::new());
        }
        if !fits {
            return Err(Error::failed(format!(
                "the key {key} should point to a {wanted}, got '{found}'"
            )));
        }
        value = found;
    }
    Ok(eval::items(&value).unwrap_or_default())
}

/// Returns a mapping without the key at the end of a dotted path, which the loop's items hold.
fn without(element: &Value, path: &str) -> Value {
    let copy = element.deep_copy();
    let (inner, last) = path.rsplit_once('.').unwrap_or(("", path));
    let keys = inner.split('.').filter(|key| !key.is_empty());
    let mut keys = keys;
    let holder = keys.try_fold(copy.clone(), |value, key| value.get(key));
    if let Some(dict) = holder.as_ref().and_then(Value::as_dict) {
        dict.remove(&last.into());
    }
    copy
}

fn random(terms: &[Value], outside: &dyn Outside) -> Vec<Value> {
    let mut bytes = [0; 8];
    outside.entropy(&mut bytes);
    let at = usize::try_from(u64::from_ne_bytes(bytes) % (terms.len().max(1) as u64)).unwrap_or(0);
    terms.get(at).cloned().into_iter().collect()
}
