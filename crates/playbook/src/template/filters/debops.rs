//! DebOps' own filters, which nearly all of its roles use: lists of options, those of one name merged into one and
//! sorted by weight.

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::{Dict, Key, Value};

const KEYWORDS: &[&str] = &["*", "**"];

pub(super) const FILTERS: &[Filter] = &[
    filter("parse_kv_config", KEYWORDS, parse_kv_config),
    filter("parse_kv_items", KEYWORDS, parse_kv_items),
];

/// Keys of an option that are not copied as they are.
const OF_CONFIG: &[&str] = &[
    "state",
    "id",
    "weight",
    "real_weight",
    "separator",
    "value",
    "comment",
    "option",
    "section",
];
const OF_ITEMS: &[&str] = &[
    "state",
    "id",
    "weight",
    "real_weight",
    "separator",
    "comment",
    "options",
];
const OF_VALUE: &[&str] = &[
    "name",
    "state",
    "id",
    "weight",
    "real_weight",
    "param",
    "copy_id_from",
];
/// An option without a name that has other keys than these is a table of names and values.
const OF_NO_TABLE: &[&str] = &[
    "option",
    "state",
    "comment",
    "section",
    "weight",
    "value",
    "copy_id_from",
];

fn parse_kv_config(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let merge_keys = match given.named.get("merge_keys") {
        Some(keys @ Value::List(_)) => machine.items(keys)?,
        _ => Vec::new(),
    };
    Parser::new(machine, given, merge_keys).config(joined(machine, value, given)?)
}

fn parse_kv_items(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let merge_keys = match given.named.get("merge_keys") {
        Some(keys) => machine.items(keys)?,
        None => Vec::new(),
    };
    Parser::new(machine, given, merge_keys).items(joined(machine, value, given)?, given)
}

fn joined(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    for list in std::iter::once(&value).chain(&given.rest) {
        out.extend(machine.items(list)?);
    }
    Ok(out)
}

struct Parser<'m, 'e> {
    machine: &'m Evaluator<'e>,
    /// The key by which options are the same one.
    name: Key,
    /// Keys whose lists are merged by the same rules.
    merge_keys: Vec<Value>,
    parsed: Dict,
}

impl<'m, 'e> Parser<'m, 'e> {
    fn new(machine: &'m Evaluator<'e>, given: &Given, mut merge_keys: Vec<Value>) -> Self {
        let options = Value::str("options");
        if !merge_keys.contains(&options) {
            merge_keys.push(options);
        }
        let name = given.named.get("name").and_then(Value::as_str);
        Self {
            machine,
            name: Key::authors(name.unwrap_or("name")),
            merge_keys,
            parsed: Dict::new(),
        }
    }

    fn config(self, elements: Vec<Value>) -> Result<Value, Error> {
        for (index, element) in elements.into_iter().enumerate() {
            let Some(element) = self.table(element) else {
                continue;
            };
            match element.get_key(&self.name) {
                Some(name) => self.option(name, &element, index)?,
                None if is_table(&element) => {
                    for (key, value) in element.entries() {
                        self.pair(key, value, index)?;
                    }
                }
                None => {}
            }
        }
        sorted(&self.parsed)
    }

    fn items(self, elements: Vec<Value>, given: &Given) -> Result<Value, Error> {
        for (index, element) in elements.into_iter().enumerate() {
            let Some(element) = self.table(element) else {
                continue;
            };
            if let Some(name) = element.get_key(&self.name) {
                self.item(name, &element, index, given)?;
            }
        }
        sorted(&self.parsed)
    }

    /// Returns an element as a dict: a text is one that has only its name.
    fn table(&self, element: Value) -> Option<Dict> {
        match element {
            Value::Dict(dict) => Some(dict),
            Value::Str(_) => {
                let dict = Dict::new();
                dict.insert(self.name.clone(), element);
                Some(dict)
            }
            _ => None,
        }
    }

    fn option(&self, name: Value, element: &Dict, index: usize) -> Result<(), Error> {
        let Some((key, current)) = self.begun(name, element, index, true)? else {
            return Ok(());
        };
        let section = or(element, "section", || {
            or_text(&current, "section", "unknown")
        });
        current.set("section", section);
        self.weigh(element, &current)?;
        self.value(&current, element)?;
        for same in ["option", "comment"] {
            if let Some(value) = element.get(same) {
                current.set(same, value);
            }
        }
        self.merge(element, &current)?;
        self.copy_others(element, &current, OF_CONFIG);
        self.parsed.insert(key, Value::Dict(current));
        Ok(())
    }

    fn item(&self, name: Value, element: &Dict, index: usize, given: &Given) -> Result<(), Error> {
        let Some((key, current)) = self.begun(name, element, index, false)? else {
            return Ok(());
        };
        self.weigh(element, &current)?;
        if let Some(comment) = element.get("comment") {
            current.set("comment", comment);
        }
        if let Some(Value::Dict(defaults)) = given.named.get("defaults") {
            for (key, value) in defaults.entries() {
                if !current.has_key(&key) {
                    current.insert(key, value);
                }
            }
        }
        self.merge(element, &current)?;
        self.copy_others(element, &current, OF_ITEMS);
        if let Some(Value::Dict(empty)) = given.named.get("empty") {
            self.fill(&current, empty)?;
        }
        self.parsed.insert(key, Value::Dict(current));
        Ok(())
    }

    /// Returns an option as it is so far, with its state and its place, unless it is to be passed over.
    fn begun(
        &self,
        name: Value,
        element: &Dict,
        index: usize,
        appends_anew: bool,
    ) -> Result<Option<(Key, Dict)>, Error> {
        let state = or_text(element, "state", "present");
        if is(&state, "ignore") {
            return Ok(None);
        }
        let key = Key::of(name.clone())?;
        let known = self.known(&key);
        let old_state = or_text(known.as_ref().unwrap_or(&Dict::new()), "state", "present");
        let appended = is(&state, "append");
        if appended && (is(&old_state, "init") || (known.is_none() && !appends_anew)) {
            return Ok(None);
        }
        let current = known.map_or_else(Dict::new, |known| known.copy());
        let mut new_state = match element.get("state") {
            Some(state) if !appended => state,
            _ => old_state,
        };
        if is(&new_state, "init") && !is(&state, "init") && has_value(&Value::Dict(current.copy()))
        {
            new_state = Value::str("present");
        }
        current.set("state", new_state);
        current.insert(self.name.clone(), name);
        place(&current, index * 10)?;
        let separator = or(element, "separator", || {
            or(&current, "separator", || Value::Bool(false))
        });
        current.set("separator", separator);
        Ok(Some((key, current)))
    }

    fn known(&self, key: &Key) -> Option<Dict> {
        self.parsed.get_key(key)?.as_dict().cloned()
    }

    /// One name and value of a table.
    fn pair(&self, key: Key, value: Value, index: usize) -> Result<(), Error> {
        let current = self
            .known(&key)
            .map_or_else(Dict::new, |known| known.copy());
        current.insert(self.name.clone(), key.value().clone());
        current.set("state", Value::str("present"));
        place(&current, index * 10)?;
        current.set("section", or_text(&current, "section", "unknown"));
        real_weight(&current)?;
        self.value(
            &current,
            &Value::dict([("value", value)])
                .as_dict()
                .cloned()
                .unwrap_or_default(),
        )?;
        self.parsed.insert(key, Value::Dict(current));
        Ok(())
    }

    fn weigh(&self, element: &Dict, current: &Dict) -> Result<(), Error> {
        copy_id(&self.parsed, element, current)?;
        if let Some(weight) = element.get("weight") {
            let sum = int(&weight)? + int_of(current, "weight")?;
            current.set("weight", Value::Int(sum));
        }
        real_weight(current)
    }

    /// Merges the lists of options that an option has itself.
    fn merge(&self, element: &Dict, current: &Dict) -> Result<(), Error> {
        for key in &self.merge_keys {
            let key = Key::of(key.clone())?;
            let Some(new) = element.get_key(&key) else {
                continue;
            };
            let mut options = match current.get_key(&key) {
                Some(old) => self.machine.items(&old)?,
                None => Vec::new(),
            };
            options.extend(self.machine.items(&new)?);
            let inner = Parser {
                machine: self.machine,
                name: Key::authors("name"),
                merge_keys: self.merge_keys.clone(),
                parsed: Dict::new(),
            };
            current.insert(key, inner.config(options)?);
        }
        Ok(())
    }

    fn copy_others(&self, element: &Dict, current: &Dict, known: &[&str]) {
        for (key, value) in element.entries() {
            let is_known = key.as_str().is_some_and(|key| known.contains(&key));
            if !is_known && key != self.name && !self.merge_keys.contains(key.value()) {
                current.insert(key, value);
            }
        }
    }

    /// Gives each key that is empty the first there is of others.
    fn fill(&self, current: &Dict, empty: &Dict) -> Result<(), Error> {
        for (key, others) in empty.entries() {
            if current.has_key(&key) {
                continue;
            }
            for other in self.machine.items(&others)? {
                if let Some(value) = current.get_key(&Key::of(other)?) {
                    current.insert(key, value);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sets an option's value, or adds a list of values to those that it has.
    fn value(&self, current: &Dict, element: &Dict) -> Result<(), Error> {
        let Some(new) = element.get("value") else {
            return Ok(());
        };
        let old = current.get("value");
        match &new {
            Value::List(_) => {
                let known = old.as_ref().and_then(Value::as_dict).map(Dict::copy);
                let known = known.unwrap_or_default();
                for (index, value) in self.machine.items(&new)?.into_iter().enumerate() {
                    let place = int_of(current, "id")? * 10 + whole(index);
                    if add_value(self.machine, &known, value, place)? {
                        current.set("value", Value::Dict(known.copy()));
                    }
                }
            }
            Value::Dict(_) | Value::Tuple(_) => {}
            _ if matches!(old, Some(Value::List(_))) => {}
            _ => current.set("value", cast(element, new)?),
        }
        Ok(())
    }
}

/// Returns whether an option without a name is a table of names and values.
fn is_table(element: &Dict) -> bool {
    let keys = element.entries();
    let mut keys = keys.iter().map(|(key, _)| key);
    keys.any(|key| !key.as_str().is_some_and(|key| OF_NO_TABLE.contains(&key)))
}

/// Adds one value of a list; returns whether there was anything to add.
fn add_value(
    machine: &Evaluator<'_>,
    known: &Dict,
    value: Value,
    place: i64,
) -> Result<bool, Error> {
    let of = |key: &Key| {
        known
            .get_key(key)
            .and_then(|v| v.as_dict().map(Dict::copy))
            .unwrap_or_default()
    };
    let element = match value {
        Value::Str(_) | Value::Int(_) | Value::Bool(_) => {
            let key = Key::of(value.clone())?;
            let current = of(&key);
            if current.get("name").is_some_and(|name| name.truthy()) {
                return Ok(false);
            }
            current.set("name", value);
            current.set("id", Value::Int(place));
            current.set("weight", or(&current, "weight", || Value::Int(0)));
            current.set("state", Value::str("present"));
            real_weight(&current)?;
            known.insert(key, Value::Dict(current));
            return Ok(true);
        }
        Value::Dict(element) => element,
        _ => return Ok(false),
    };
    let name = element.get("param").or_else(|| element.get("name"));
    let Some(name) = name.filter(Value::truthy) else {
        return Ok(false);
    };
    if is(&or_text(&element, "state", "present"), "ignore") {
        return Ok(false);
    }
    let names = match &name {
        Value::List(_) => machine.items(&name)?,
        _ => vec![name],
    };
    for name in names {
        let key = Key::of(name.clone())?;
        let current = of(&key);
        current.set("name", name);
        current.set("id", Value::Int(place));
        current.set("weight", Value::Int(int_of(&current, "weight")?));
        current.set("state", or_text(&element, "state", "present"));
        copy_id(known, &element, &current)?;
        if let Some(weight) = element.get("weight") {
            let sum = int(&weight)? + int_of(&current, "weight")?;
            current.set("weight", Value::Int(sum));
        }
        real_weight(&current)?;
        for (key, value) in element.entries() {
            if !key.as_str().is_some_and(|key| OF_VALUE.contains(&key)) {
                current.insert(key, value);
            }
        }
        known.insert(key, Value::Dict(current));
    }
    Ok(true)
}

/// Returns a value of the type that its option asks for.
fn cast(element: &Dict, value: Value) -> Result<Value, Error> {
    let kind = element.get("value_cast");
    Ok(
        match kind.as_ref().and_then(Value::as_str).unwrap_or_default() {
            "null" | "none" | "None" => Value::None,
            "int" | "integer" => Value::Int(int(&value)?),
            "str" | "string" => Value::str(value.to_string()),
            "bool" | "boolean" => Value::Bool(value.truthy()),
            "float" => match value
                .as_str()
                .map_or(value.as_float(), |text| text.trim().parse().ok())
            {
                Some(number) => Value::Float(number),
                None => {
                    let text = value.repr();
                    return Err(Error::failed(format!(
                        "could not convert string to float: {text}"
                    )));
                }
            },
            _ => value,
        },
    )
}

/// Gives an option its number, if it has none yet, and its weight.
fn place(current: &Dict, number: usize) -> Result<(), Error> {
    let number = match current.get("id") {
        Some(id) => int(&id)?,
        None => whole(number),
    };
    current.set("id", Value::Int(number));
    current.set("weight", Value::Int(int_of(current, "weight")?));
    Ok(())
}

/// Puts an option right behind another.
fn copy_id(known: &Dict, element: &Dict, current: &Dict) -> Result<(), Error> {
    let Some(of) = element.get("copy_id_from") else {
        return Ok(());
    };
    if let Some(other) = known.get_key(&Key::of(of)?)
        && let Some(other) = other.as_dict()
    {
        let id = int_of(other, "id")? + int_of(other, "weight")?;
        current.set("id", Value::Int(id));
    }
    Ok(())
}

fn real_weight(current: &Dict) -> Result<(), Error> {
    let sum = int_of(current, "id")? + int_of(current, "weight")?;
    current.set("real_weight", Value::Int(sum));
    Ok(())
}

/// Returns whether there is a `value` in a dict, however deep.
fn has_value(value: &Value) -> bool {
    let Some(dict) = value.as_dict() else {
        return false;
    };
    dict.entries().iter().any(|(key, value)| {
        key.as_str() == Some("value")
            || match value {
                Value::List(items) => items.items().iter().any(has_value),
                other => has_value(other),
            }
    })
}

/// Returns the options by weight, and each option's values likewise.
fn sorted(parsed: &Dict) -> Result<Value, Error> {
    let options = parsed.values();
    for option in &options {
        if let Some(option) = option.as_dict()
            && let Some(Value::Dict(values)) = option.get("value")
        {
            option.set("value", Value::list(by_weight(values.values())?));
        }
    }
    Ok(Value::list(by_weight(options)?))
}

fn by_weight(items: Vec<Value>) -> Result<Vec<Value>, Error> {
    let weight = |item: &Value| match item.get("real_weight") {
        Some(weight) => int(&weight),
        None => Err(Error::failed("'real_weight'")),
    };
    let mut weighed: Vec<(i64, Value)> = items
        .into_iter()
        .map(|item| Ok((weight(&item)?, item)))
        .collect::<Result<_, Error>>()?;
    weighed.sort_by_key(|(weight, _)| *weight);
    Ok(weighed.into_iter().map(|(_, item)| item).collect())
}

fn or(dict: &Dict, key: &str, default: impl FnOnce() -> Value) -> Value {
    dict.get(key).unwrap_or_else(default)
}

fn or_text(dict: &Dict, key: &str, default: &str) -> Value {
    or(dict, key, || Value::str(default))
}

fn is(value: &Value, text: &str) -> bool {
    value.as_str() == Some(text)
}

fn int_of(dict: &Dict, key: &str) -> Result<i64, Error> {
    dict.get(key).map_or(Ok(0), |value| int(&value))
}

/// Returns what Python's `int()` makes of a value.
fn int(value: &Value) -> Result<i64, Error> {
    let number = match value {
        Value::Float(number) => Value::whole(number.trunc()).and_then(|n| n.as_int()),
        Value::Str(text) => text.trim().parse().ok(),
        other => other.as_int(),
    };
    number.ok_or_else(|| {
        let text = value.repr();
        Error::failed(format!("invalid literal for int() with base 10: {text}"))
    })
}

fn whole(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
