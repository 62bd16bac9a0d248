//! Files of variables, and templates: `vars_files`, `include_vars`, `template`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::template::Scope;
use amibake_playbook::value::{Dict, Moment, Value};
use serde_json::{Map, Value as Json, json};

use super::actions::plain;
use super::convert;
use super::eval;
use super::model::{Enclosing, Play};
use super::outcome::Attempt;
use super::run::{Run, Stop};
use super::search;
use super::task_context::TaskContext;
use super::task_error::{FileError, TaskError, refused};
use super::vars::{NewVars, VarScope};

/// Reads a play's `vars_files`; of a list in it the first that is there.
pub(super) fn load_vars_files(
    run: &Run<'_>,
    play: &Play,
    enclosing: &Rc<Enclosing>,
) -> Result<(), Stop> {
    for entry in &play.vars_files {
        let choices = eval::items(entry).unwrap_or_else(|| vec![entry.clone()]);
        let mut found = None;
        let mut names = Vec::new();
        for choice in &choices {
            let scope = run.vars.scope(enclosing, None);
            let Ok(name) = run.text(choice, &scope, enclosing) else {
                // A name that needs facts is passed over, as Ansible does before it has any.
                continue;
            };
            found = search::find(run, enclosing, "vars", &name).ok();
            names.push(name);
            if found.is_some() {
                break;
            }
        }
        match found {
            Some(path) => {
                for (key, value) in convert::variables(run, &path)?.entries() {
                    run.vars.play_files.insert(key, value);
                }
            }
            None if names.is_empty() => {}
            None => {
                return Err(Stop::new(format!(
                    "vars file {} was not found",
                    names.join(", ")
                )));
            }
        }
    }
    Ok(())
}

/// Returns what an argument says; nothing is as if it were not there.
fn said(args: &Dict, name: &str) -> Option<String> {
    let value = args.get(name).filter(Value::truthy)?;
    Some(value.to_string())
}

impl Run<'_> {
    /// `include_vars`: a file, or the files of a folder.
    pub(super) fn include_vars(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let text = |name: &str| said(&args, name);
        let (all, mut read) = (Dict::new(), Vec::new());
        let done = self.read_variables(cx, &args, &all, &mut read);
        let mut given = match text("name") {
            Some(name) => Dict::from_iter([(name.as_str().into(), Value::Dict(all))]),
            None => all,
        };
        if done.is_ok() && text("hash_behaviour").as_deref() == Some("merge") {
            given = self.merged_with_known(cx, &given)?;
        }
        let shown: Vec<_> = read.iter().map(|file| json!(file)).collect();
        let mut attempt = plain(json!({"changed": false, "ansible_included_var_files": shown}));
        attempt.put("ansible_facts", &Value::Dict(given.clone()));
        match done {
            // Ansible says it there, and `failed_when` may look at it.
            Err(error) => {
                attempt.put("message", &Value::from(error.to_string()));
                attempt.put("failed", &Value::Bool(true));
            }
            Ok(()) => attempt.sets.push(NewVars {
                included: given,
                ..NewVars::default()
            }),
        }
        Ok(attempt)
    }

    /// Returns variables in which mappings have what the task sees of them already, too.
    fn merged_with_known(&self, cx: &TaskContext<'_>, new: &Dict) -> Result<Dict, TaskError> {
        let merged = Dict::new();
        for (name, value) in new.entries() {
            let known = Scope::get(cx.scope, &name.value().to_string());
            // What is in a mapping stays the template that it is.
            let known = known.map(|known| match known {
                Value::Template(_) => self.render(&known, cx.scope, cx.enclosing),
                known => Ok(known),
            });
            let value = match (known.transpose()?, &value) {
                (Some(Value::Dict(old)), Value::Dict(new)) => Value::Dict(merge(&old, new)),
                _ => value,
            };
            merged.insert(name, value);
        }
        Ok(merged)
    }

    /// Reads what an `include_vars` names into `all`, and tells which files had something to give.
    fn read_variables(
        &self,
        cx: &TaskContext<'_>,
        args: &Dict,
        all: &Dict,
        read: &mut Vec<PathBuf>,
    ) -> Result<(), TaskError> {
        let text = |name: &str| said(args, name);
        let files = if let Some(dir) = text("dir") {
            self.variable_files(cx, &dir, args)?
        } else {
            let raw = || Some(text("_raw_params")?.trim_end_matches('\n').to_owned());
            let name = text("file").or_else(raw);
            let name = name.ok_or(FileError::Nameless)?;
            vec![search::find(self, cx.enclosing, "vars", &name)?]
        };
        for file in files {
            let found = convert::variables(self, &file).map_err(|stop| refused(stop.said))?;
            for (key, value) in found.entries() {
                all.insert(key, value);
            }
            read.push(file);
        }
        Ok(())
    }

    /// Returns the variable files of a folder in order, as `include_vars: dir` reads them.
    fn variable_files(
        &self,
        cx: &TaskContext<'_>,
        dir: &str,
        args: &Dict,
    ) -> Result<Vec<PathBuf>, TaskError> {
        let folder = match &cx.enclosing.role {
            Some(role) if !dir.starts_with('/') => {
                let inside = role.path.join("vars").join(dir);
                if self.project.files.is_dir(&inside) {
                    inside
                } else {
                    role.path.join(dir)
                }
            }
            _ => cx.enclosing.folder.join(dir),
        };
        let folder = search::normal(&folder);
        if !self.project.files.is_dir(&folder) {
            return Err(refused(format!(
                "{} directory does not exist",
                folder.display()
            )));
        }
        let texts = |name: &str| args.get(name).map(|value| eval::texts(&value));
        let extensions = texts("extensions")
            .unwrap_or_else(|| ["yaml", "yml", "json"].map(str::to_owned).to_vec());
        let ignored = texts("ignore_files").unwrap_or_default();
        let depth = args
            .get("depth")
            .and_then(|d| eval::number(&d))
            .unwrap_or(0);
        let matching = args
            .get("files_matching")
            .map(|pattern| pattern.to_string());
        let mut files = Vec::new();
        self.walk(&folder, 1, depth, &mut files)?;
        let keep = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let fits = matching
                .as_ref()
                .is_none_or(|pattern| found_in(pattern, &name));
            !ignored.iter().any(|i| found_in(i, &name)) && fits
        };
        files.retain(keep);
        // Ansible passes over what `ignore_files` names, and stops at any other ending.
        let valid = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let ending = Path::new(&*name).extension().unwrap_or_default();
            extensions
                .iter()
                .any(|extension| ending == extension.as_str())
        };
        let flag = |name: &str| args.get(name).as_ref().and_then(eval::truth);
        if flag("ignore_unknown_extensions") == Some(true) {
            files.retain(|path| valid(&path));
        }
        if let Some(wrong) = files.iter().find(|path| !valid(path)) {
            let (wrong, valid) = (wrong.display(), extensions.join(", "));
            return Err(refused(format!(
                "{wrong} does not have a valid extension: {valid}"
            )));
        }
        Ok(files)
    }

    fn walk(
        &self,
        folder: &Path,
        level: i64,
        depth: i64,
        files: &mut Vec<PathBuf>,
    ) -> Result<(), TaskError> {
        let names = self.project.files.list(folder);
        let names = names.map_err(FileError::unreadable("list", folder))?;
        let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let (inner, own): (Vec<_>, Vec<_>) = paths
            .into_iter()
            .partition(|p| self.project.files.is_dir(p));
        files.extend(own);
        for folder in inner {
            if depth == 0 || level < depth {
                self.walk(&folder, level + 1, depth, files)?;
            }
        }
        Ok(())
    }

    /// Renders the template of a `template` task; tells where it is, too.
    pub(super) fn rendered_template(
        &self,
        cx: &TaskContext<'_>,
        given: &Map<String, Json>,
    ) -> Result<(String, PathBuf), TaskError> {
        let src = given
            .get("src")
            .and_then(Json::as_str)
            .ok_or_else(|| refused("src and dest are required"))?;
        let path = search::find(self, cx.enclosing, "templates", src)?;
        let text = self.read_text(&path)?;
        let scope = cx.scope.with_local();
        let dest = given.get("dest").and_then(Json::as_str);
        self.describe_template(src, &path, dest, &scope);
        let rendered = self
            .render_file(&text, &path, given, &scope, cx.enclosing)
            .map_err(TaskError::Template)?;
        Ok((rendered, path))
    }

    /// Tells a template about itself: how it was named, where it is, whose, and what it becomes.
    pub(super) fn describe_template(
        &self,
        name: &str,
        path: &Path,
        dest: Option<&str>,
        scope: &VarScope,
    ) {
        if !scope.has("ansible_managed") {
            scope
                .local
                .set("ansible_managed", Value::str("Ansible managed"));
        }
        let controller = &self.options.controller;
        let set = |name: &str, value: Value| scope.local.set(name, value);
        set("template_path", Value::str(name));
        set("template_fullpath", Value::str(path.to_string_lossy()));
        set("template_host", Value::str(&controller.hostname));
        set("template_uid", Value::str(&controller.user));
        set("template_destpath", dest.map_or(Value::None, Value::str));
        self.set_template_times(path, &scope.local);
    }

    /// Tells a template when it was changed and when it is rendered, by this machine's clock.
    fn set_template_times(&self, path: &Path, local: &Dict) {
        let here = |time: jiff::Timestamp| {
            let zoned = time.to_zoned(jiff::tz::TimeZone::system());
            let seconds = i128::from(time.as_second() + i64::from(zoned.offset().seconds()));
            let micros = i128::from(time.subsec_microsecond());
            Moment::naive(seconds * 1_000_000 + micros).value()
        };
        local.set("template_run_date", here(jiff::Timestamp::now()));
        let file = std::fs::metadata(self.project.files.locate(path));
        let changed = file.and_then(|file| file.modified());
        if let Some(time) = changed
            .ok()
            .and_then(|time| jiff::Timestamp::try_from(time).ok())
        {
            local.set("template_mtime", here(time));
        }
    }
}

/// Returns a mapping with what both have; where both have a mapping that is merged too, and else the new value counts.
fn merge(old: &Dict, new: &Dict) -> Dict {
    let merged = old.copy();
    for (key, value) in new.entries() {
        let value = match (key.as_str().and_then(|name| merged.get(name)), &value) {
            (Some(Value::Dict(old)), Value::Dict(new)) => Value::Dict(merge(&old, new)),
            _ => value,
        };
        merged.insert(key, value);
    }
    merged
}

/// Whether a regular expression is found in a name.
fn found_in(pattern: &str, name: &str) -> bool {
    use amibake_playbook::pyre::{Flags, Regex};
    Regex::new(pattern, Flags::default())
        .is_ok_and(|regex| regex.is_match(name.as_bytes()).unwrap_or(false))
}
