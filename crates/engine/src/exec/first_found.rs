//! The names that the lookup `first_found` looks for, in order.

use std::path::Path;

use amibake_playbook::template::Error;
use amibake_playbook::value::Value;

use super::eval;

/// What `first_found` looks for.
#[derive(Default)]
pub(super) struct Search {
    pub(super) files: Vec<String>,
    paths: Vec<String>,
    pub(super) skip: bool,
    pub(super) found: Vec<String>,
}

impl Search {
    /// Reads the options.
    pub(super) fn of(option: impl Fn(&str) -> Option<Value>) -> Self {
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
    pub(super) fn terms(&mut self, terms: &[Value]) -> Result<(), Error> {
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
    pub(super) fn names(&mut self, files: &[String]) {
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
