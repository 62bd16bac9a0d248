//! `from_csv`, `from_ini` and `to_ini`.

use super::super::{Filter, Given, filter};
use crate::delimited::{self, Dialect};
use crate::ini::{self, Ini};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Dict, Key, Value};

const FROM_CSV: &[&str] = &[
    "dialect",
    "fieldnames",
    "delimiter",
    "skipinitialspace",
    "strict",
];

pub(in super::super) const FILTERS: &[Filter] = &[
    filter("from_csv", FROM_CSV, from_csv),
    filter("from_ini", &[], from_ini),
    filter("to_ini", &[], to_ini),
];

fn from_csv(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let usual = match given.text_or(0, "excel").as_str() {
        "excel" | "unix" => ",",
        "excel-tab" => "\t",
        other => {
            return Err(Error::failed(format!(
                "Dialect '{other}' is not supported by your version of python."
            )));
        }
    };
    let delimiter = given.optional_text(2)?.unwrap_or_else(|| usual.to_owned());
    let mut letters = delimiter.chars();
    let (Some(delimiter), None) = (letters.next(), letters.next()) else {
        return Err(Error::failed(
            "Unable to create custom dialect: \"delimiter\" must be a 1-character string",
        ));
    };
    let dialect = Dialect {
        delimiter,
        skip_initial_space: given.flag(3, false)?,
    };
    let mut rows = delimited::rows(&value.to_string(), dialect).into_iter();
    let names = match given.optional(1) {
        None | Some(Value::None) => {
            let first = rows.next().unwrap_or_default();
            first.into_iter().map(Value::from).collect()
        }
        Some(names) => machine.items(names)?,
    };
    let rows = rows.map(|row| named(&names, row));
    rows.collect::<Result<Vec<_>, _>>().map(Value::list)
}

/// Pairs names and cells up as `DictReader` does: cells beyond the names are under none.
fn named(names: &[Value], row: Vec<String>) -> Result<Value, Error> {
    let mut cells = row.into_iter().map(Value::from);
    let dict = Dict::new();
    for name in names {
        let cell = cells.next().unwrap_or_default();
        dict.insert(Key::of(name.clone())?, cell);
    }
    let rest: Vec<Value> = cells.collect();
    if !rest.is_empty() {
        dict.insert(Key::of(Value::None)?, Value::list(rest));
    }
    Ok(Value::Dict(dict))
}

fn from_ini(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let Value::Str(text) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "from_ini requires a str, got <class '{kind}'>"
        )));
    };
    let options = ini::Options {
        case_sensitive: true,
        ..ini::Options::default()
    };
    let ini = Ini::parse(text, options)
        .map_err(|e| Error::failed(format!("from_ini failed to parse given string: {e}")))?;
    let section = |keys: &ini::Section| {
        Value::dict(keys.iter().map(|(key, value)| {
            let value = value.as_ref().map_or(Value::None, Value::str);
            (key, value)
        }))
    };
    let out = Dict::new();
    for name in ini.sections.keys() {
        let keys = ini.section(name).unwrap_or_default();
        out.set(name, section(&keys));
    }
    if !ini.defaults.is_empty() {
        out.set("DEFAULT", section(&ini.defaults));
    }
    Ok(Value::Dict(out))
}

fn to_ini(_: &Evaluator<'_>, value: Value, _: &Given) -> Result<Value, Error> {
    let Value::Dict(sections) = &value else {
        let kind = value.type_name();
        return Err(Error::failed(format!(
            "to_ini requires a dict, got <class '{kind}'>"
        )));
    };
    if sections.is_empty() {
        return Err(Error::failed(
            "to_ini received an empty dict. An empty dict cannot be converted.",
        ));
    }
    let mut ini = Ini::default();
    for (name, keys) in sections.entries() {
        let Value::Dict(keys) = &keys else {
            let kind = keys.type_name();
            return Err(Error::failed(format!(
                "to_ini failed to parse given dict:'{kind}' object has no attribute 'items'"
            )));
        };
        let entries = keys.entries();
        if entries
            .iter()
            .any(|(_, value)| matches!(value, Value::None))
        {
            return Err(Error::failed(
                "to_ini failed to parse given dict:option values must be strings",
            ));
        }
        let entries = entries.into_iter();
        let keys = entries.map(|(key, value)| (key.value().to_string(), Some(value.to_string())));
        match name.value().to_string() {
            name if name == "DEFAULT" => ini.defaults = keys.collect(),
            name => drop(ini.sections.insert(name, keys.collect())),
        }
    }
    let text = ini.write();
    Ok(Value::str(text.strip_suffix('\n').unwrap_or(&text)))
}
