//! Filters: their table, and how their arguments are bound.

mod crypto;
mod dates;
mod dicts;
mod json;
mod lists;
mod numbers;
mod paths;
mod random;
mod regex;
mod select;
mod sets;
mod strings;
mod yaml;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::eval::Evaluator;
use super::{Error, ErrorKind, Kwargs};
use crate::value::Value;

pub(super) use lists::attribute_path;

/// What runs a filter.
type Run = fn(&Evaluator<'_>, Value, &Given) -> Result<Value, Error>;

/// One filter.
pub(super) struct Filter {
    pub(super) name: &'static str,
    /// The parameters after the input; a last `*` takes any number, `**` any name.
    pub(super) params: &'static [&'static str],
    /// Whether it wants to see undefined values.
    pub(super) takes_undefined: bool,
    pub(super) run: Run,
}

const fn filter(name: &'static str, params: &'static [&'static str], run: Run) -> Filter {
    Filter {
        name,
        params,
        takes_undefined: false,
        run,
    }
}

const fn lenient(name: &'static str, params: &'static [&'static str], run: Run) -> Filter {
    Filter {
        name,
        params,
        takes_undefined: true,
        run,
    }
}

fn table() -> &'static HashMap<&'static str, &'static Filter> {
    static TABLE: OnceLock<HashMap<&'static str, &'static Filter>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = [
            crypto::FILTERS,
            dates::FILTERS,
            dicts::FILTERS,
            json::FILTERS,
            lists::FILTERS,
            numbers::FILTERS,
            paths::FILTERS,
            random::FILTERS,
            regex::FILTERS,
            select::FILTERS,
            sets::FILTERS,
            strings::FILTERS,
            yaml::FILTERS,
        ];
        let all = all.into_iter().flatten();
        all.map(|filter| (filter.name, filter)).collect()
    })
}

/// Returns the name without its collection, if that is one of Ansible's own.
pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name)
}

/// Returns the filter called `name`.
pub(super) fn find(name: &str) -> Option<&'static Filter> {
    table().get(bare(name)).copied()
}

/// Returns the error of a filter that does not exist.
pub(super) fn unknown(name: &str) -> Error {
    let known = table().keys().copied();
    Error::new(
        ErrorKind::Syntax,
        format!("No filter named '{name}'.{}", nearest(bare(name), known)),
    )
}

/// Returns ` Did you mean …?` if a known name is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 4)
        .map_or_else(String::new, |(_, near)| format!(" Did you mean '{near}'?"))
}

/// The arguments of a call, by parameter.
pub(super) struct Given {
    name: String,
    names: Vec<String>,
    values: Vec<Option<Value>>,
    /// What a `*` parameter took.
    pub(super) rest: Vec<Value>,
    /// What a `**` parameter took.
    pub(super) named: Kwargs,
}

impl Given {
    pub(super) fn bind(
        name: &str,
        params: &[&str],
        positional: Vec<Value>,
        named: Kwargs,
    ) -> Result<Self, Error> {
        let plain: Vec<String> = params
            .iter()
            .filter(|p| !p.starts_with('*'))
            .map(|p| (*p).to_owned())
            .collect();
        let mut given = Self {
            name: bare(name).to_owned(),
            values: vec![None; plain.len()],
            names: plain,
            rest: Vec::new(),
            named: Kwargs::new(),
        };
        for (index, value) in positional.into_iter().enumerate() {
            match given.values.get_mut(index) {
                Some(slot) => *slot = Some(value),
                None if params.contains(&"*") => given.rest.push(value),
                None => {
                    return Err(Error::failed(format!(
                        "{}() takes at most {} arguments",
                        given.name,
                        given.names.len()
                    )));
                }
            }
        }
        for (key, value) in named {
            match given.names.iter().position(|name| *name == key) {
                Some(index) => given.values[index] = Some(value),
                None if params.contains(&"**") => drop(given.named.insert(key, value)),
                None => {
                    return Err(Error::failed(format!(
                        "{}() got an unexpected keyword argument '{key}'",
                        given.name
                    )));
                }
            }
        }
        Ok(given)
    }

    pub(super) fn optional(&self, index: usize) -> Option<&Value> {
        self.values.get(index)?.as_ref()
    }

    pub(super) fn value(&self, index: usize) -> Result<&Value, Error> {
        self.optional(index).ok_or_else(|| {
            Error::failed(format!(
                "{}() missing 1 required positional argument: '{}'",
                self.name,
                self.names.get(index).map_or("", String::as_str)
            ))
        })
    }

    pub(super) fn text(&self, index: usize) -> Result<String, Error> {
        self.value(index).map(ToString::to_string)
    }

    /// Returns the text at `index`; absent and `None` are nothing.
    pub(super) fn optional_text(&self, index: usize) -> Result<Option<String>, Error> {
        Ok(match self.optional(index) {
            None | Some(Value::None) => None,
            Some(value) => Some(value.to_string()),
        })
    }

    pub(super) fn text_or(&self, index: usize, default: &str) -> String {
        match self.optional(index) {
            None => default.to_owned(),
            Some(value) => value.to_string(),
        }
    }

    pub(super) fn flag(&self, index: usize, default: bool) -> Result<bool, Error> {
        Ok(self.optional(index).map_or(default, Value::truthy))
    }

    pub(super) fn int(&self, index: usize, default: i64) -> Result<i64, Error> {
        match self.optional(index) {
            None | Some(Value::None) => Ok(default),
            Some(Value::Float(f)) => {
                Ok(Value::whole(*f).and_then(|n| n.as_int()).unwrap_or(default))
            }
            Some(value) => value.as_int().ok_or_else(|| {
                Error::failed(format!(
                    "'{}' object cannot be interpreted as an integer",
                    value.type_name()
                ))
            }),
        }
    }

    pub(super) fn size(&self, index: usize, default: usize) -> Result<usize, Error> {
        let default = i64::try_from(default).unwrap_or(i64::MAX);
        Ok(usize::try_from(self.int(index, default)?).unwrap_or(0))
    }
}
