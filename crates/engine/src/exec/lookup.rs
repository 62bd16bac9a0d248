//! Lookups: those on the project's files are answered here, the rest is asked of the controller.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::template::{Error, Kwargs, Outside, Scope, Templar};
use amibake_playbook::value::{self, Dict, Value};
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Place;
use serde_json::Map;

use super::eval;
use super::model::Around;
use super::run::Run;
use super::search;
use super::vars::Reach;

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
];

/// Lookups that only the controller can answer.
const THEIRS: &[&str] = &[
    "env", "pipe", "lines", "password", "unvault", "ini", "csvfile",
];

/// The controller's side, as one task's templates see it.
pub(super) struct Controllers<'r, 'a> {
    run: &'r Run<'a>,
    around: &'r Rc<Around>,
    reach: &'r Reach,
}

impl<'r, 'a> Controllers<'r, 'a> {
    /// Returns what templates of a task in these surroundings see.
    pub(super) fn new(run: &'r Run<'a>, around: &'r Rc<Around>, reach: &'r Reach) -> Self {
        Self { run, around, reach }
    }

    /// Runs the lookup of a loop. Terms are rendered and a list.
    pub(super) fn loop_items(&self, lookup: &str, terms: &[Value]) -> Result<Vec<Value>, Error> {
        self.lookup(lookup, terms, &Kwargs::default(), None)
    }

    fn find(&self, kind: &str, name: &str) -> Option<PathBuf> {
        search::find(self.run, self.around, kind, name).ok()
    }

    fn file(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let flag = |name: &str, default| options.get(name).and_then(eval::truth).unwrap_or(default);
        let each = |term: &Value| {
            let name = term.to_string();
            let path = self.find("files", &name).ok_or_else(|| {
                let msg = "The 'file' lookup had an issue accessing the file";
                Error::failed(format!(
                    "{msg} '{name}'. file not found, use -vvvvv to see paths searched"
                ))
            })?;
            let mut text = self.run.read_text(&path).map_err(Error::failed)?;
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
            let path = self.find("templates", &name);
            let path = path.ok_or_else(|| {
                Error::failed(format!(
                    "the template file {name} could not be found for the lookup"
                ))
            })?;
            let text = self.run.read_text(&path).map_err(Error::failed)?;
            let reach = self.reach.with_local();
            for (key, value) in options
                .get("template_vars")
                .and_then(Value::as_dict)
                .map(Dict::entries)
                .unwrap_or_default()
            {
                reach.local.insert(key, value);
            }
            reach
                .local
                .set("template_path", Value::str(path.to_string_lossy()));
            let rendered = self
                .run
                .render_file(&text, &path, &Map::new(), &reach, self.around);
            rendered.map(Value::from).map_err(Error::failed)
        };
        terms.iter().map(each).collect()
    }

    fn fileglob(&self, terms: &[Value]) -> Result<Vec<Value>, Error> {
        let mut found = Vec::new();
        for term in terms {
            let term = term.to_string();
            let (folder, pattern) = term
                .rsplit_once('/')
                .map_or(("", term.as_str()), |(f, p)| (f, p));
            let folders = if folder.is_empty() && !term.starts_with('/') {
                let all = search::folders(self.run, self.around);
                all.into_iter().flat_map(|f| [f.join("files"), f]).collect()
            } else {
                let folder = if folder.is_empty() { "/" } else { folder };
                self.find("files", folder).into_iter().collect::<Vec<_>>()
            };
            for folder in folders {
                let names = self.matching(&folder, pattern);
                if !names.is_empty() {
                    found.extend(names);
                    break;
                }
            }
        }
        Ok(found)
    }

    fn matching(&self, folder: &Path, pattern: &str) -> Vec<Value> {
        let names = self.run.project.files.list(folder).unwrap_or_default();
        let hidden = pattern.starts_with('.');
        names
            .iter()
            .filter(|name| {
                (hidden || !name.starts_with('.')) && crate::facts::matches(pattern, name)
            })
            .map(|name| folder.join(name))
            .filter(|path| self.run.project.files.is_file(path))
            .map(|path| Value::str(path.to_string_lossy()))
            .collect()
    }

    fn first_found(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let mut names = Vec::new();
        let mut skip = options.get("skip").and_then(eval::truth).unwrap_or(false);
        let list = |value: Option<Value>| -> Vec<String> {
            let texts = value.map(|v| eval::texts(&v)).unwrap_or_default();
            texts
                .iter()
                .flat_map(|t| {
                    t.split([',', ';'])
                        .map(|p| p.trim().to_owned())
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        let from_options = Dict::new();
        for (key, value) in options {
            from_options.set(key, value.clone());
        }
        let mut all = terms.to_vec();
        if all.is_empty() {
            all.push(Value::Dict(from_options.clone()));
        }
        for term in all
            .iter()
            .flat_map(|t| eval::items(t).unwrap_or_else(|| vec![t.clone()]))
        {
            let Some(dict) = term.as_dict() else {
                let paths = list(from_options.get("paths"));
                let name = term.to_string();
                if paths.is_empty() {
                    names.push(name);
                } else {
                    names.extend(paths.iter().map(|path| format!("{path}/{name}")));
                }
                continue;
            };
            skip = dict
                .get("skip")
                .as_ref()
                .and_then(eval::truth)
                .unwrap_or(skip);
            let paths = list(dict.get("paths"));
            let files = list(dict.get("files"));
            if paths.is_empty() {
                names.extend(files);
            } else {
                let joined = paths
                    .iter()
                    .flat_map(|path| files.iter().map(move |file| format!("{path}/{file}")));
                names.extend(joined.collect::<Vec<_>>());
            }
        }
        for kind in ["templates", "vars", "files"] {
            let found = names.iter().find_map(|name| self.find(kind, name));
            if let Some(path) = found.filter(|path| self.run.project.files.is_file(path)) {
                return Ok(vec![Value::str(path.to_string_lossy())]);
            }
        }
        if skip {
            return Ok(Vec::new());
        }
        Err(Error::failed("No file was found when using first_found."))
    }

    fn variables(&self, terms: &[Value], options: &Kwargs) -> Result<Vec<Value>, Error> {
        let each = |term: &Value| {
            let name = term.to_string();
            match (self.reach.get(&name), options.get("default")) {
                (Some(value), _) if value.is_latent() => {
                    Templar::new(self.reach, self).render(&value)
                }
                (Some(value), _) => Ok(value),
                (None, Some(default)) => Ok(default.clone()),
                (None, None) => Err(Error::failed(format!(
                    "No variable named '{name}' was found."
                ))),
            }
        };
        terms.iter().map(each).collect()
    }

    fn names(&self, terms: &[Value]) -> Result<Vec<Value>, Error> {
        use amibake_playbook::pyre::{Flags, Regex};
        let names = self.reach.names();
        let mut found = Vec::new();
        for term in terms {
            let regex = Regex::new(&term.to_string(), Flags::default())
                .map_err(|e| Error::failed(e.to_string()))?;
            let fits = names
                .iter()
                .filter(|name| regex.is_match(name.as_bytes()).unwrap_or(false));
            found.extend(fits.map(Value::str));
        }
        Ok(found)
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
                "the {plugin} lookup was refused: {reason}"
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
        let name = super::actions::bare(name);
        let name = name.strip_prefix("community.general.").unwrap_or(name);
        match name {
            "file" => self.file(terms, options),
            "template" => self.template(terms, options),
            "fileglob" => self.fileglob(terms),
            "first_found" => self.first_found(terms, options),
            "vars" => self.variables(terms, options),
            "varnames" => self.names(terms),
            "inventory_hostnames" => Ok(vec![Value::str(&self.run.options.inventory_hostname)]),
            "list" => Ok(terms.to_vec()),
            "items" => Ok(flat(terms, 1)),
            "flattened" => Ok(flat(terms, usize::MAX)),
            "indexed_items" => Ok(indexed(&flat(terms, 1))),
            "dict" => pairs(terms),
            "together" => Ok(together(terms)),
            "nested" | "cartesian" => Ok(nested(terms)),
            "sequence" => terms
                .iter()
                .map(|t| sequence(t, options))
                .collect::<Result<Vec<_>, _>>()
                .map(|s| s.concat()),
            "subelements" => subelements(terms),
            "env" => {
                let value = |term: &Value| {
                    let found = self.environment(&term.to_string(), place)?;
                    Ok(Value::from(found.unwrap_or_default()))
                };
                terms.iter().map(value).collect()
            }
            "random_choice" => Ok(random(terms, self)),
            name if THEIRS.contains(&name) => self.ask(name, terms, options, place),
            _ => Err(Error::failed(format!("lookup plugin ({name}) not found"))),
        }
    }

    fn file_test(&self, test: &str, path: &str, _other: Option<&str>) -> Result<bool, Error> {
        let files = self.run.project.files;
        let path = Path::new(path);
        match test {
            "exists" => Ok(files.is_file(path) || files.is_dir(path)),
            "file" => Ok(files.is_file(path)),
            "directory" => Ok(files.is_dir(path)),
            "link" => Ok(files.locate(path).is_symlink()),
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
        let path = beside.or_else(|| self.find("templates", name));
        let path =
            path.ok_or_else(|| Error::failed(format!("'{name}' not found in search path")))?;
        let text = self.run.read_text(&path).map_err(Error::failed)?;
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
        let name = super::actions::bare(name);
        OURS.contains(&name) || THEIRS.contains(&name)
    }
}

fn protocol_place(place: &value::Place) -> Place {
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

fn indexed(items: &[Value]) -> Vec<Value> {
    let pair = |(at, item): (usize, &Value)| {
        Value::tuple(vec![
            Value::Int(i64::try_from(at).unwrap_or(0)),
            item.clone(),
        ])
    };
    items.iter().enumerate().map(pair).collect()
}

fn pairs(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let mut pairs = Vec::new();
    for term in terms {
        let Some(dict) = term.as_dict() else {
            return Err(Error::failed(format!(
                "the 'dict' lookup plugin expects a dictionary, got '{term}' of type {}",
                term.type_name()
            )));
        };
        for (key, value) in dict.entries() {
            pairs.push(Value::dict([
                ("key", key.value().clone()),
                ("value", value),
            ]));
        }
    }
    Ok(pairs)
}

fn together(terms: &[Value]) -> Vec<Value> {
    let lists: Vec<Vec<Value>> = terms
        .iter()
        .map(|t| eval::items(t).unwrap_or_else(|| vec![t.clone()]))
        .collect();
    let longest = lists.iter().map(Vec::len).max().unwrap_or(0);
    (0..longest)
        .map(|at| {
            Value::list(
                lists
                    .iter()
                    .map(|list| list.get(at).cloned().unwrap_or_default())
                    .collect(),
            )
        })
        .collect()
}

fn nested(terms: &[Value]) -> Vec<Value> {
    let mut rows: Vec<Vec<Value>> = vec![Vec::new()];
    for term in terms {
        let items = eval::items(term).unwrap_or_else(|| vec![term.clone()]);
        rows = rows
            .iter()
            .flat_map(|row| {
                items.iter().map(move |item| {
                    let mut row = row.clone();
                    row.push(item.clone());
                    row
                })
            })
            .collect();
    }
    rows.into_iter().map(Value::list).collect()
}

/// `start=1 end=5 stride=2 format=web%02d`, or `count=3`, or `1-5/2:web%02d`.
fn sequence(term: &Value, options: &Kwargs) -> Result<Vec<Value>, Error> {
    let text = term.to_string();
    let mut fields: Vec<(String, String)> = options
        .iter()
        .map(|(k, v)| (k.clone(), v.to_string()))
        .collect();
    if text.contains('=') {
        let pairs = text
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        fields.extend(pairs.map(|(k, v)| (k.to_owned(), v.trim_matches(['"', '\'']).to_owned())));
    } else if !text.is_empty() {
        let (range, format) = text.split_once(':').unwrap_or((&text, "%d"));
        let (range, stride) = range.split_once('/').unwrap_or((range, "1"));
        let (start, end) = range.split_once('-').unwrap_or(("1", range));
        for (key, value) in [
            ("start", start),
            ("end", end),
            ("stride", stride),
            ("format", format),
        ] {
            fields.push((key.to_owned(), value.to_owned()));
        }
    }
    let get = |name: &str| {
        fields
            .iter()
            .rev()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    };
    let number = |name: &str| -> Result<Option<i64>, Error> {
        get(name)
            .map(|text| {
                let parsed = text
                    .strip_prefix("0x")
                    .map_or_else(|| text.parse(), |hex| i64::from_str_radix(hex, 16));
                parsed.map_err(|_| Error::failed(format!("can't parse {name}={text} as integer")))
            })
            .transpose()
    };
    let start = number("start")?.unwrap_or(1);
    let count = number("count")?;
    let given = number("stride")?;
    let end = match (number("end")?, count) {
        (Some(end), None) => end,
        (None, Some(0)) => return Ok(Vec::new()),
        (None, Some(count)) => start + count * given.unwrap_or(1) - given.unwrap_or(1),
        (Some(_), Some(_)) => {
            return Err(Error::failed(
                "can't specify both count and end in with_sequence",
            ));
        }
        (None, None) => return Err(Error::failed("must specify count or end in with_sequence")),
    };
    let stride = given.unwrap_or(1);
    if stride > 0 && end < start {
        return Err(Error::failed("to count backwards make stride negative"));
    }
    if stride < 0 && end > start {
        return Err(Error::failed("to count forward don't make stride negative"));
    }
    let format = get("format").unwrap_or("%d");
    let mut items = Vec::new();
    let mut n = start;
    while stride != 0 && ((stride > 0 && n <= end) || (stride < 0 && n >= end)) {
        items.push(Value::from(formatted(format, n)?));
        n += stride;
    }
    Ok(items)
}

/// Formats one number as Python's `%d`, `%02d`, `%x` do.
fn formatted(format: &str, n: i64) -> Result<String, Error> {
    let bad = || Error::failed(format!("bad formatting string: {format}"));
    let (before, spec) = format.split_once('%').ok_or_else(bad)?;
    let end = spec
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(bad)?;
    let (width, kind) = (&spec[..end], &spec[end..=end]);
    let zero = width.starts_with('0');
    let width: usize = width.trim_start_matches('0').parse().unwrap_or(0);
    let shown = match kind {
        "x" => format!("{n:x}"),
        "X" => format!("{n:X}"),
        "o" => format!("{n:o}"),
        "d" | "i" | "s" => n.to_string(),
        _ => return Err(bad()),
    };
    let padded = if zero {
        format!("{shown:0>width$}")
    } else {
        format!("{shown:>width$}")
    };
    Ok(format!("{before}{padded}{}", &spec[end + 1..]))
}

fn subelements(terms: &[Value]) -> Result<Vec<Value>, Error> {
    let (Some(list), Some(path)) = (terms.first(), terms.get(1)) else {
        return Err(Error::failed(
            "subelements lookup expects a list of two or three items",
        ));
    };
    let options = terms.get(2).and_then(|flags| flags.get("skip_missing"));
    let skip = options.as_ref().and_then(eval::truth).unwrap_or(false);
    let path = path.to_string();
    let elements = match list {
        Value::Dict(dict) => dict.values(),
        other => eval::items(other).unwrap_or_default(),
    };
    let mut found = Vec::new();
    for element in elements {
        let inner = path
            .split('.')
            .try_fold(element.clone(), |value, key| value.get(key));
        match inner.as_ref().and_then(eval::items) {
            Some(items) => {
                let rest = without(&element, &path);
                let pair = |item| Value::tuple(vec![rest.clone(), item]);
                found.extend(items.into_iter().map(pair));
            }
            None if skip => {}
            None => {
                return Err(Error::failed(format!(
                    "could not find '{path}' key in iterated item '{}'",
                    element.repr()
                )));
            }
        }
    }
    Ok(found)
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
    let items = flat(terms, 1);
    let mut bytes = [0; 8];
    outside.entropy(&mut bytes);
    let at = usize::try_from(u64::from_ne_bytes(bytes) % (items.len().max(1) as u64)).unwrap_or(0);
    items.get(at).cloned().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> String {
        let items = sequence(&Value::str(text), &Kwargs::default()).unwrap();
        Value::list(items).repr()
    }

    #[test]
    fn a_sequence_counts_as_it_is_told() {
        assert_eq!(run("start=0 end=4 stride=2"), "['0', '2', '4']");
        assert_eq!(run("count=2"), "['1', '2']");
        assert_eq!(
            run("start=1 end=3 format=web%02d.x"),
            "['web01.x', 'web02.x', 'web03.x']"
        );
        assert_eq!(run("4-2/-1"), "['4', '3', '2']");
    }

    #[test]
    fn nested_lists_are_crossed_in_order() {
        let terms = [
            Value::list(vec![Value::Int(1), Value::Int(2)]),
            Value::list(vec![Value::str("a"), Value::str("b")]),
        ];
        assert_eq!(
            Value::list(nested(&terms)).repr(),
            "[[1, 'a'], [1, 'b'], [2, 'a'], [2, 'b']]"
        );
    }

    #[test]
    fn together_fills_the_shorter_list_with_none() {
        let terms = [
            Value::list(vec![Value::Int(1), Value::Int(2)]),
            Value::list(vec![Value::str("a")]),
        ];
        assert_eq!(
            Value::list(together(&terms)).repr(),
            "[[1, 'a'], [2, None]]"
        );
    }
}
