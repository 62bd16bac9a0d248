//! Lookups in files of the controller that hold tables: `ini` and `csvfile`, and `unvault`.

use amibake_playbook::delimited::{self, Dialect};
use amibake_playbook::ini::{self, Ini, Section};
use amibake_playbook::pyre::{Flags, Regex};
use amibake_playbook::syntax::free_form::parse_kv;
use amibake_playbook::template::{Error, Kwargs};
use amibake_playbook::value::Value;

use super::eval;

/// The options of a lookup, as they stand for one term; inline ones of a term hold for those after it.
struct Options<'k> {
    given: Kwargs,
    known: &'k [&'k str],
    /// What ends the sentence that refuses one.
    stop: &'k str,
}

impl Options<'_> {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        if !self.known.contains(&name) {
            return Err(Error::failed(format!(
                "'{name}' is not a valid option{}",
                self.stop
            )));
        }
        self.given.insert(name.to_owned(), Value::str(value));
        Ok(())
    }

    fn text(&self, name: &str, usual: &str) -> String {
        match self.given.get(name) {
            None | Some(Value::None) => usual.to_owned(),
            Some(value) => value.to_string(),
        }
    }

    fn flag(&self, name: &str, usual: bool) -> bool {
        self.given.get(name).and_then(eval::truth).unwrap_or(usual)
    }
}

const INI: &[&str] = &[
    "type",
    "file",
    "section",
    "re",
    "encoding",
    "default",
    "case_sensitive",
    "allow_no_value",
    "allow_none",
    "interpolation",
];
const PROPERTIES: &str = "java_properties";

/// Looks keys up in an INI file; `read` gives the text of a file.
pub(super) fn ini(
    terms: &[Value],
    options: &Kwargs,
    read: impl Fn(&str) -> Result<String, Error>,
) -> Result<Vec<Value>, Error> {
    let mut options = Options {
        given: options.clone(),
        known: INI,
        stop: ".",
    };
    let mut found = Vec::new();
    for term in terms {
        let term = term.to_string();
        let key = ini_key(&term, &mut options)?;
        let file = options.text("file", "ansible.ini");
        let properties = options.text("type", "ini") == "properties";
        let section = match properties {
            true => PROPERTIES.to_owned(),
            false => options.text("section", "global"),
        };
        let mut text = read(&file)?;
        if properties {
            text = format!("[{PROPERTIES}]\n{text}");
        }
        let how = ini::Options {
            allow_no_value: options.flag("allow_no_value", options.flag("allow_none", false)),
            case_sensitive: options.flag("case_sensitive", false),
        };
        let ini = Ini::parse(&text, how).map_err(|e| Error::failed(e.to_string()))?;
        let Some(keys) = ini.section(&section) else {
            return Err(Error::failed(format!(
                "No section '{section}' in '{file}'."
            )));
        };
        let value =
            |key: &str| section_value(&section, &keys, key, options.flag("interpolation", true));
        if options.flag("re", false) {
            let pattern = Regex::new(&format!(r"\A(?:{key})"), Flags::default());
            let pattern = pattern.map_err(|e| Error::failed(e.to_string()))?;
            for name in keys.keys() {
                if pattern.is_match(name.as_bytes()).unwrap_or(false) {
                    found.push(value(name)?);
                }
            }
            continue;
        }
        let name = match how.case_sensitive {
            true => key,
            false => key.to_lowercase(),
        };
        match keys.contains_key(&name) {
            true => found.extend(Some(value(&name)?).filter(|v| !matches!(v, Value::None))),
            false => found.push(Value::from(options.text("default", ""))),
        }
    }
    Ok(found)
}

/// Reads `key section=a file=b.ini`, in which values may have blanks.
fn ini_key(term: &str, options: &mut Options<'_>) -> Result<String, Error> {
    if !term.contains('=') && !term.trim().contains(' ') {
        return Ok(term.to_owned());
    }
    let mut parts: Vec<(&str, String)> = Vec::new();
    let mut at = "key";
    for word in term.split_whitespace() {
        if let Some(name) = INI.iter().rfind(|name| word.contains(&format!("{name}="))) {
            at = name;
        }
        match parts.iter_mut().find(|(name, _)| *name == at) {
            Some((_, text)) => text.extend([" ", word]),
            None => parts.push((at, word.to_owned())),
        }
    }
    let mut key = None;
    for (_, part) in parts {
        match part.split_once('=') {
            Some((_, value)) if value.contains('=') => {
                return Err(Error::failed(format!(
                    "Could not use '{part}' from {term}."
                )));
            }
            Some((name, value)) => options.set(name, value)?,
            None => key = key.or(Some(part)),
        }
    }
    key.ok_or_else(|| {
        Error::failed(format!(
            "No key to look up was provided as first term within string inline options: {term}"
        ))
    })
}

/// Returns a key's value, `%(other)s` in it replaced.
fn section_value(
    section: &str,
    keys: &Section,
    key: &str,
    interpolate: bool,
) -> Result<Value, Error> {
    let value = match interpolate {
        true => Ini::interpolated(section, keys, key).map_err(|e| Error::failed(e.to_string()))?,
        false => keys.get(key).cloned().flatten(),
    };
    Ok(value.map_or(Value::None, Value::from))
}

const CSV: &[&str] = &["col", "keycol", "default", "delimiter", "file", "encoding"];

/// Looks keys up in a column of a table; `read` gives the text of a file.
pub(super) fn csv(
    terms: &[Value],
    options: &Kwargs,
    read: impl Fn(&str) -> Result<String, Error>,
) -> Result<Vec<Value>, Error> {
    let missing = || Error::failed("Search key is required but was not found");
    if terms.is_empty() {
        return Err(missing());
    }
    let mut options = Options {
        given: options.clone(),
        known: CSV,
        stop: "",
    };
    let mut found = Vec::new();
    for term in terms {
        let pairs = parse_kv(&term.to_string(), false).map_err(|e| Error::failed(e.to_string()))?;
        let mut key = None;
        for (name, value) in pairs {
            match name.as_str() {
                "_raw_params" => key = Some(value),
                name => options.set(name, &value)?,
            }
        }
        let key = key.ok_or_else(missing)?;
        let delimiter = match options.text("delimiter", "TAB").as_str() {
            "TAB" | "\\t" => "\t".to_owned(),
            other => other.to_owned(),
        };
        let mut letters = delimiter.chars();
        let (Some(delimiter), None) = (letters.next(), letters.next()) else {
            return Err(Error::failed("\"delimiter\" must be a 1-character string"));
        };
        let dialect = Dialect {
            delimiter,
            skip_initial_space: false,
        };
        let column = |name: &str, usual: &str| {
            let text = options.text(name, usual);
            let wrong = format!(
                "Config '{name}' for 'csvfile' lookup plugin from 'Direct' has an invalid value: Invalid value \
                 provided for 'int': '{text}'"
            );
            text.trim()
                .parse::<usize>()
                .map_err(|_| Error::failed(wrong))
        };
        let (col, keycol) = (column("col", "1")?, column("keycol", "0")?);
        let rows = delimited::rows(&read(&options.text("file", "ansible.csv"))?, dialect);
        let short = || Error::failed("list index out of range");
        let mut answer = options.given.get("default").cloned();
        for row in rows {
            if *row.get(keycol).ok_or_else(short)? == key {
                answer = Some(Value::str(row.get(col).ok_or_else(short)?));
                break;
            }
        }
        match answer {
            None | Some(Value::None) => {}
            Some(answer) => found.extend(eval::items(&answer).unwrap_or_else(|| vec![answer])),
        }
    }
    Ok(found)
}
