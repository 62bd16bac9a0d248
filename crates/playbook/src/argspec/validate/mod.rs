//! Argument specs of roles: what `meta/argument_specs.yml` says of variables, and what is wrong with them.
//!
//! As Ansible's `ArgumentSpecValidator`, in its order and its words. A spec is the author's data here; what
//! our own modules take stands in the tables beside this folder. Values are coerced in a copy, as far as
//! that decides what else is wrong: a default sets nothing for the role.

mod rules;
mod types;

use crate::value::{Dict, Value};
use types::Type;

/// What became of some arguments.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What is wrong, in Ansible's words and order.
    pub errors: Vec<String>,
    /// The values of options with `no_log`, which must not be shown.
    pub secrets: Vec<Value>,
}

/// A spec, or a value below one, that is not of the shape it must be: Python's words for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Says what is wrong with `arguments` by the options of `spec`.
///
/// # Errors
/// [`Malformed`] if the spec is no spec.
pub fn validate(spec: &Dict, arguments: &Dict) -> Result<Verdict, Malformed> {
    let arguments = arguments.deep_copy();
    let mut validator = Validator::default();
    let options = Options::read(spec)?;
    validator.level(&options, &arguments, None)?;
    validator.unsupported();
    Ok(validator.verdict)
}

/// Says why a value cannot be of the type of that name, in Ansible's words.
#[must_use]
pub fn why_not(kind: &str, value: &Value) -> String {
    let coerced = Type::named(kind).and_then(|kind| kind.coerce(value));
    coerced.err().unwrap_or_default()
}

/// The options of one level of a spec.
struct Options(Vec<(String, Dict)>);

impl Options {
    fn read(spec: &Dict) -> Result<Self, Malformed> {
        let option = |(name, option): (crate::value::Key, Value)| match option {
            Value::Dict(option) => Ok((name.value().to_string(), option)),
            other => Err(Malformed(format!(
                "'{}' object has no attribute 'get'",
                other.type_name()
            ))),
        };
        Ok(Self(
            spec.entries()
                .into_iter()
                .map(option)
                .collect::<Result<_, _>>()?,
        ))
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Dict)> {
        self.0.iter().map(|(name, option)| (&**name, option))
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }
}

/// A parameter that no option is called, and what there is instead.
struct Unsupported {
    name: String,
    options: Vec<String>,
    aliases: Vec<String>,
}

#[derive(Default)]
struct Validator {
    verdict: Verdict,
    /// Names of the options around the level at hand, outermost first.
    within: Vec<String>,
    unsupported: Vec<Unsupported>,
}

/// Returns whether `key` of an option is there and true.
fn is_set(option: &Dict, key: &str) -> bool {
    option.get(key).is_some_and(|value| value.truthy())
}

/// Returns what `key` of an option says, unless that is nothing.
fn given(option: &Dict, key: &str) -> Option<Value> {
    option
        .get(key)
        .filter(|value| !matches!(value, Value::None))
}

impl Validator {
    fn error(&mut self, message: impl Into<String>) {
        self.verdict.errors.push(message.into());
    }

    /// Judges the arguments of one level; `parent` is the option whose level it is, with its rules.
    fn level(
        &mut self,
        options: &Options,
        arguments: &Dict,
        parent: Option<&Dict>,
    ) -> Result<(), Malformed> {
        let aliases = self.aliases(options, arguments);
        if let Err(message) = self.note_secrets(options, arguments) {
            self.error(message);
        }
        self.note_unsupported(options, &aliases, arguments);
        if let Some(parent) = parent {
            let wrong = rules::exclusive(parent.get("mutually_exclusive"), arguments);
            self.broken(wrong);
        }
        set_defaults(options, arguments, false);
        self.broken(required(options, arguments));
        self.types(options, arguments);
        self.choices(options, arguments);
        for rule in rules::ALL {
            let wrong = parent.and_then(|parent| (rule.check)(parent.get(rule.name), arguments));
            self.broken(wrong);
        }
        set_defaults(options, arguments, true);
        self.below(options, arguments)
    }

    /// Adds what breaks a rule of the level at hand.
    fn broken(&mut self, wrong: Option<String>) {
        let Some(wrong) = wrong else { return };
        let place = self.found_in();
        self.error(wrong + &place);
    }

    /// Returns where the level at hand is, as rules and choices say it.
    fn found_in(&self) -> String {
        match self.within.is_empty() {
            true => String::new(),
            false => format!(" found in {}", self.within.join(" -> ")),
        }
    }

    /// Likewise, as types say it.
    fn found_in_quoted(&self) -> String {
        match self.within.is_empty() {
            true => String::new(),
            false => format!(" found in '{}'.", self.within.join(" -> ")),
        }
    }

    /// Gives options the values of their aliases, and returns those.
    fn aliases(&mut self, options: &Options, arguments: &Dict) -> Vec<String> {
        let mut all = Vec::new();
        for (name, option) in options.each() {
            if given(option, "default").is_some() && is_set(option, "required") {
                self.error(format!(
                    "internal error: required and default are mutually exclusive for {name}"
                ));
                return Vec::new();
            }
            let Some(aliases) = given(option, "aliases") else {
                continue;
            };
            let Value::List(aliases) = aliases else {
                self.error("internal error: aliases must be a list or tuple");
                return Vec::new();
            };
            for alias in aliases.items() {
                let alias = alias.to_string();
                if let Some(value) = arguments.get(&alias) {
                    arguments.set(name, value);
                }
                all.push(alias);
            }
        }
        all
    }

    /// Notes the values that must not be shown, at every depth.
    fn note_secrets(&mut self, options: &Options, arguments: &Dict) -> Result<(), String> {
        for (name, option) in options.each() {
            let Some(value) = arguments.get(name) else {
                continue;
            };
            if is_set(option, "no_log") {
                self.verdict.secrets.push(value.deep_copy());
            }
            let Some((below, kind)) = sub_options(option) else {
                continue;
            };
            for item in elements(&value) {
                let item = match item {
                    text @ Value::Str(_) => Type::Dict.coerce(&text)?,
                    other => other,
                };
                let Value::Dict(inner) = &item else {
                    return Err(format!(
                        "Value '{item}' in the sub parameter field '{name}' must be a {kind}, not '{}'",
                        item.type_name()
                    ));
                };
                if let Ok(below) = Options::read(&below) {
                    self.note_secrets(&below, inner)?;
                }
            }
        }
        Ok(())
    }

    fn note_unsupported(&mut self, options: &Options, aliases: &[String], arguments: &Dict) {
        for key in arguments.keys() {
            let name = key.to_string();
            if options.has(&name) || aliases.contains(&name) {
                continue;
            }
            let path: Vec<&str> = self.within.iter().map(String::as_str).collect();
            let mut known: Vec<String> = options.each().map(|(name, _)| name.to_owned()).collect();
            known.sort();
            let mut aliases = aliases.to_vec();
            aliases.sort();
            self.unsupported.push(Unsupported {
                name: [path, vec![&name]].concat().join("."),
                options: known,
                aliases,
            });
        }
    }

    /// Says which parameters there are not. Of what there is, Ansible names one level's.
    fn unsupported(&mut self) {
        let mut all = std::mem::take(&mut self.unsupported);
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        let Some(last) = all.last() else { return };
        let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
        let mut supported = last.options.join(", ");
        if !last.aliases.is_empty() {
            supported += &format!(" ({})", last.aliases.join(", "));
        }
        let names = names.join(", ");
        self.error(format!(
            "{names}. Supported parameters include: {supported}."
        ));
    }

    fn types(&mut self, options: &Options, arguments: &Dict) {
        for (name, option) in options.each() {
            let Some(value) = arguments.get(name) else {
                continue;
            };
            let may_be_none = !is_set(option, "required") && given(option, "default").is_none();
            if matches!(value, Value::None) && may_be_none {
                continue;
            }
            let wanted = type_name(option, "type");
            if let Err(why) = self.coerce(name, option, &value, &wanted, arguments) {
                let place = self.found_in_quoted();
                let kind = value.type_name();
                self.error(format!(
                    "argument '{name}' is of type {kind}{place} and we were unable to convert to {wanted}: {why}"
                ));
            }
        }
    }

    fn coerce(
        &mut self,
        name: &str,
        option: &Dict,
        value: &Value,
        wanted: &str,
        arguments: &Dict,
    ) -> Result<(), String> {
        let coerced = Type::named(wanted)?.coerce(value)?;
        arguments.set(name, coerced.clone());
        if !is_set(option, "elements") {
            return Ok(());
        }
        let place = self.found_in_quoted();
        if coerced.as_list().is_none() {
            self.error(format!(
                "Invalid type {wanted} for option '{coerced}'{place}, elements value check is supported only with \
                 'list' type"
            ));
        }
        let items = types::iterated(&coerced)?;
        let kind = type_name(option, "elements");
        let mut kept = Vec::new();
        for item in items {
            match Type::named(&kind).and_then(|kind| kind.coerce(&item)) {
                Ok(item) => kept.push(item),
                Err(why) => {
                    let place = place.trim_end_matches('.');
                    let found = item.type_name();
                    self.error(format!(
                        "Elements value for option '{name}'{place} is of type {found} and we were unable to convert \
                         to {kind}: {why}"
                    ));
                }
            }
        }
        arguments.set(name, Value::list(kept));
        Ok(())
    }

    fn choices(&mut self, options: &Options, arguments: &Dict) {
        for (name, option) in options.each() {
            let (Some(choices), Some(value)) = (given(option, "choices"), arguments.get(name))
            else {
                continue;
            };
            let place = self.found_in();
            let Value::List(list) = &choices else {
                self.error(format!(
                    "internal error: choices for argument {name} are not iterable: {choices}{place}"
                ));
                continue;
            };
            let list = list.items();
            match rules::chosen(name, &value, &list) {
                Ok(Some(written)) => arguments.set(name, written),
                Ok(None) => {}
                Err(wrong) => self.error(wrong + &place),
            }
        }
    }

    /// Judges what stands below options that are mappings, or lists of them.
    fn below(&mut self, options: &Options, arguments: &Dict) -> Result<(), Malformed> {
        for (name, option) in options.each() {
            let Some((spec, _)) = sub_options(option) else {
                continue;
            };
            let mut value = arguments.get(name).unwrap_or_default();
            if matches!(value, Value::None) {
                if !is_set(option, "apply_defaults") {
                    continue;
                }
                value = Value::Dict(Dict::new());
                arguments.set(name, value.clone());
            }
            let inner = Options::read(&spec)?;
            self.within.push(name.to_owned());
            for element in elements(&value) {
                self.element(name, &inner, &element, option)?;
            }
            self.within.pop();
        }
        Ok(())
    }

    fn element(
        &mut self,
        name: &str,
        options: &Options,
        element: &Value,
        parent: &Dict,
    ) -> Result<(), Malformed> {
        match element {
            Value::Dict(arguments) => self.level(options, arguments, Some(parent)),
            Value::List(_) | Value::Str(_) => {
                self.error(format!(
                    "value of '{name}' must be of type dict or list of dicts"
                ));
                Ok(())
            }
            other => Err(Malformed(format!(
                "argument of type '{}' is not iterable",
                other.type_name()
            ))),
        }
    }
}

/// Returns the name of an option's type, or of its elements'.
fn type_name(option: &Dict, key: &str) -> String {
    given(option, key).map_or_else(|| "str".to_owned(), |kind| kind.to_string())
}

/// Returns the options below an option, and what it is: a mapping or a list of them.
fn sub_options(option: &Dict) -> Option<(Dict, &'static str)> {
    let Value::Dict(below) = option.get("options")? else {
        return None;
    };
    match &*type_name(option, "type") {
        "dict" => Some((below, "dict")),
        "list" if type_name(option, "elements") == "dict" => Some((below, "list")),
        _ => None,
    }
}

/// Returns the items of a list, or the one value.
fn elements(value: &Value) -> Vec<Value> {
    match value {
        Value::List(list) => list.items(),
        Value::None => Vec::new(),
        one => vec![one.clone()],
    }
}

/// Gives arguments the defaults that they lack: first those there are, in the end nothing to the others.
fn set_defaults(options: &Options, arguments: &Dict, all: bool) {
    for (name, option) in options.each() {
        let default = given(option, "default");
        if !arguments.has(name) && (all || default.is_some()) {
            arguments.set(name, default.unwrap_or_default().deep_copy());
        }
    }
}

fn required(options: &Options, arguments: &Dict) -> Option<String> {
    let missing =
        |(name, option): &(&str, &Dict)| is_set(option, "required") && !arguments.has(name);
    let mut missing: Vec<&str> = options
        .each()
        .filter(missing)
        .map(|(name, _)| name)
        .collect();
    missing.sort_unstable();
    let names = missing.join(", ");
    (!missing.is_empty()).then(|| format!("missing required arguments: {names}"))
}
