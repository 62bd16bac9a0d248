//! The arguments of a filter, a test or a method, by parameter.

use super::{Error, Kwargs};
use crate::names::bare;
use crate::value::Value;

/// The arguments of a call, by parameter.
pub(super) struct Given {
    name: String,
    names: Vec<String>,
    values: Vec<Option<Value>>,
    /// What a `*` parameter took.
    pub(super) rest: Vec<Value>,
    /// What a `**` parameter, or one by keyword alone, took.
    pub(super) named: Kwargs,
}

/// Returns whether `key` is a parameter by keyword alone (`=key`), or any is.
fn takes_keyword(params: &[&str], key: &str) -> bool {
    params
        .iter()
        .any(|param| *param == "**" || param.strip_prefix('=') == Some(key))
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
            .filter(|p| !p.starts_with(['*', '=']))
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
                Some(index) if given.values[index].is_some() => {
                    return Err(Error::failed(format!(
                        "{}() got multiple values for argument '{key}'",
                        given.name
                    )));
                }
                Some(index) => given.values[index] = Some(value),
                None if takes_keyword(params, &key) => drop(given.named.insert(key, value)),
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
