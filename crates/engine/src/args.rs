//! A task's arguments: checked against the module's spec and coerced as Ansible coerces them.

use amibake_playbook::argspec::{self, Kind, ModuleSpec, Param, RequiredIf, why_not};
use amibake_playbook::value::Value;
use serde_json::{Map, Value as Json};

use crate::context::Failure;
use crate::environment::variable;
use crate::shlex;

/// Arguments after templating, by canonical parameter name, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Args(Map<String, Json>);

impl Args {
    /// Checks `given` against `spec` and coerces every value to its parameter's type.
    pub fn coerce(spec: &ModuleSpec, given: Map<String, Json>) -> Result<Self, Failure> {
        Self::coerce_within(spec, given, &[])
    }

    /// Likewise; paths name variables of `environment` too, which is the task's.
    pub fn coerce_within(
        spec: &ModuleSpec,
        given: Map<String, Json>,
        environment: &[(String, String)],
    ) -> Result<Self, Failure> {
        let (given, unknown) = by_param(spec, given);
        check_exclusive(spec, &given)?;
        check_required(spec, &given)?;
        let mut args = Map::new();
        for param in spec.params {
            let value = given.get(param.name).cloned();
            let value = value.or_else(|| said_by(environment, param.name));
            if let Some(value) = value.or_else(|| param.default.map(default_value)) {
                let value = coerce(param, value, environment)?;
                args.insert(param.name.to_owned(), value);
            }
        }
        for param in spec.params {
            if let Some(value) = args.get(param.name) {
                check_choices(param, value)?;
            }
        }
        check_rules(spec, &args)?;
        if spec.open {
            args.extend(unknown);
        } else if !unknown.is_empty() {
            return Err(unsupported(spec, unknown.keys()));
        }
        Ok(Self(args))
    }

    /// Returns the text called `name`, if given.
    #[must_use]
    pub fn str(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns the text called `name`; its spec says it is required or has a default.
    pub fn required(&self, name: &str) -> Result<&str, Failure> {
        self.str(name)
            .ok_or_else(|| Failure::new(format!("missing required arguments: {name}")))
    }

    /// Returns whether `name` is true; absent is false.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        self.opt_bool(name).unwrap_or(false)
    }

    /// Returns the truth of `name`, if given.
    #[must_use]
    pub fn opt_bool(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// Returns the whole number called `name`, if given.
    #[must_use]
    pub fn int(&self, name: &str) -> Option<i64> {
        self.0.get(name)?.as_i64()
    }

    /// Returns the texts of the list called `name`; absent is empty.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        let items = self.0.get(name).and_then(Json::as_array);
        items
            .map(|items| items.iter().filter_map(Json::as_str).collect())
            .unwrap_or_default()
    }

    /// Returns all parameters of `module`, whose arguments these are: null where none is given.
    pub(crate) fn every(&self, module: &str) -> Map<String, Json> {
        let spec = argspec::find(module);
        let params = spec.map_or(&[][..], |spec| spec.params).iter();
        let value = |name: &str| self.raw(name).cloned().unwrap_or_default();
        params
            .map(|param| (param.name.to_owned(), value(param.name)))
            .collect()
    }

    /// Returns the value called `name` as it is, if given.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&Json> {
        self.0.get(name)
    }

    /// Returns whether `name` was given or has a default.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns all of them.
    #[must_use]
    pub fn all(&self) -> &Map<String, Json> {
        &self.0
    }
}

/// Returns a parameter that the environment gives where the task does not.
fn said_by(environment: &[(String, String)], param: &str) -> Option<Json> {
    match param {
        "unsafe_writes" => variable("ANSIBLE_UNSAFE_WRITES", environment).map(Json::from),
        _ => None,
    }
}

/// Tells parameters, by their first names, from what the module does not have. What is null was not given, unless it
/// may be anything and would be something else.
fn by_param(spec: &ModuleSpec, given: Map<String, Json>) -> (Map<String, Json>, Map<String, Json>) {
    let (mut known, mut unknown) = (Map::new(), Map::new());
    for (name, value) in given {
        match spec.param(&name) {
            Some(param) if value.is_null() && !takes_null(param) => {}
            Some(param) => drop(known.insert(param.name.to_owned(), value)),
            None => drop(unknown.insert(name, value)),
        }
    }
    (known, unknown)
}

fn takes_null(param: &Param) -> bool {
    param.kind == Kind::Raw && param.default.is_some()
}

fn unsupported<'a>(spec: &ModuleSpec, names: impl Iterator<Item = &'a String>) -> Failure {
    let mut names: Vec<&str> = names.map(String::as_str).collect();
    names.sort_unstable();
    let shown = spec.params.iter().filter(|param| !param.internal);
    let mut params: Vec<&str> = shown.map(|param| param.name).collect();
    params.sort_unstable();
    let mut aliases: Vec<&str> = spec
        .params
        .iter()
        .flat_map(|param| param.aliases)
        .copied()
        .collect();
    aliases.sort_unstable();
    let mut supported = params.join(", ");
    if !aliases.is_empty() {
        supported += &format!(" ({})", aliases.join(", "));
    }
    Failure::new(format!(
        "Unsupported parameters for ({}) module: {}. Supported parameters include: {supported}.",
        spec.name,
        names.join(", ")
    ))
}

/// Refuses parameters that exclude each other; defaults do not count.
fn check_exclusive(spec: &ModuleSpec, args: &Map<String, Json>) -> Result<(), Failure> {
    let clashing: Vec<String> = spec
        .mutually_exclusive
        .iter()
        .filter(|set| set.iter().filter(|name| args.contains_key(**name)).count() > 1)
        .map(|set| set.join("|"))
        .collect();
    if clashing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "parameters are mutually exclusive: {}",
        clashing.join(", ")
    )))
}

/// Misses what must be given.
fn check_required(spec: &ModuleSpec, args: &Map<String, Json>) -> Result<(), Failure> {
    let mut missing: Vec<&str> = spec
        .params
        .iter()
        .filter(|p| p.required && !args.contains_key(p.name))
        .map(|p| p.name)
        .collect();
    missing.sort_unstable();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Failure::new(format!(
            "missing required arguments: {missing}"
        )));
    }
    Ok(())
}

/// Checks what must be given along with what, in Ansible's order; defaults count as given.
fn check_rules(spec: &ModuleSpec, args: &Map<String, Json>) -> Result<(), Failure> {
    let given = |name: &&&str| args.contains_key(**name);
    for set in spec.required_together {
        let count = set.iter().filter(given).count();
        if count > 0 && count < set.len() {
            let set = set.join(", ");
            return Err(Failure::new(format!(
                "parameters are required together: {set}"
            )));
        }
    }
    for set in spec.required_one_of {
        if !set.iter().any(|name| args.contains_key(*name)) {
            let set = set.join(", ");
            return Err(Failure::new(format!(
                "one of the following is required: {set}"
            )));
        }
    }
    spec.required_if
        .iter()
        .try_for_each(|rule| check_if(rule, args))?;
    for (name, needs) in spec.required_by {
        let missing: Vec<&str> = needs.iter().filter(|need| !given(need)).copied().collect();
        if args.contains_key(*name) && !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(Failure::new(format!(
                "missing parameter(s) required by '{name}': {missing}"
            )));
        }
    }
    Ok(())
}

fn check_if(rule: &RequiredIf, args: &Map<String, Json>) -> Result<(), Failure> {
    let Some(value) = args.get(rule.param).and_then(text) else {
        return Ok(());
    };
    let missing: Vec<&str> = rule
        .needs
        .iter()
        .filter(|need| !args.contains_key(**need))
        .copied()
        .collect();
    let enough = if rule.any {
        missing.len() < rule.needs.len()
    } else {
        missing.is_empty()
    };
    if enough || !value.eq_ignore_ascii_case(rule.is) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{} is {value} but {} of the following are missing: {}",
        rule.param,
        if rule.any { "any" } else { "all" },
        missing.join(", ")
    )))
}

/// Reads a default: JSON lists and mappings are such, anything else is text.
fn default_value(default: &str) -> Json {
    if default.starts_with(['[', '{'])
        && let Ok(value) = serde_json::from_str(default)
    {
        return value;
    }
    Json::from(default)
}

/// Coerces one value as Ansible's `check_type_*` functions do.
fn coerce(param: &Param, value: Json, environment: &[(String, String)]) -> Result<Json, Failure> {
    let coerced = match param.kind {
        Kind::Raw => Some(value.clone()),
        Kind::Str => text(&value).map(Json::from),
        Kind::Path => text(&value).map(|path| Json::from(shlex::expand(&path, environment))),
        Kind::Bool => truth(&value).map(Json::from),
        Kind::Int => whole(&value).map(Json::from),
        Kind::Float => number(&value).map(Json::from),
        Kind::List => elements(&value)
            .map(|items| {
                items
                    .iter()
                    .map(|item| text(item).map(Json::from))
                    .collect::<Option<Vec<_>>>()
            })
            .and_then(|items| items.map(Json::from)),
        Kind::RawList => elements(&value).map(Json::from),
        Kind::Dict => mapping(&value).map(Json::from),
    };
    let coerced = coerced.ok_or_else(|| cannot_convert(param, &value))?;
    Ok(taken_back(param, coerced))
}

fn cannot_convert(param: &Param, value: &Json) -> Failure {
    let kind = match param.kind {
        Kind::Str => "str",
        Kind::Path => "path",
        Kind::Bool => "bool",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::List | Kind::RawList => "list",
        Kind::Dict => "dict",
        Kind::Raw => "raw",
    };
    let value = Value::from_json(value);
    let why = match param.no_log {
        true => "********".to_owned(),
        false => why_not(kind, &value),
    };
    Failure::new(format!(
        "argument '{}' is of type {} and we were unable to convert to {kind}: {why}",
        param.name,
        value.type_name()
    ))
}

/// Returns the choice that YAML took for a truth, if there is only one it can have been.
fn taken_back(param: &Param, value: Json) -> Json {
    let written = match value.as_str() {
        Some("True") => param.choice_for(true),
        Some("False") => param.choice_for(false),
        _ => None,
    };
    match written {
        Some(choice) if !param.choices.iter().any(|c| value == *c) => Json::from(choice),
        _ => value,
    }
}

fn check_choices(param: &Param, value: &Json) -> Result<(), Failure> {
    if param.choices.is_empty() {
        return Ok(());
    }
    let fits = |item: &Json| text(item).is_some_and(|t| param.choices.contains(&t.as_str()));
    let shown = |item: &Json| text(item).unwrap_or_else(|| item.to_string());
    let (name, choices) = (param.name, param.choices.join(", "));
    let Some(items) = value.as_array() else {
        return match fits(value) {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "value of {name} must be one of: {choices}, got: {}",
                shown(value)
            ))),
        };
    };
    let wrong: Vec<String> = items.iter().filter(|item| !fits(item)).map(shown).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "value of {name} must be one or more of: {choices}. Got no match for: {}",
        wrong.join(", ")
    )))
}

/// Returns a scalar as Python's `str` writes it; lists and mappings as JSON.
fn text(value: &Json) -> Option<String> {
    match value {
        Json::Null => None,
        Json::String(text) => Some(text.clone()),
        Json::Bool(true) => Some("True".to_owned()),
        Json::Bool(false) => Some("False".to_owned()),
        other => Some(other.to_string()),
    }
}

pub(crate) fn truth(value: &Json) -> Option<bool> {
    match text(value)?.trim().to_lowercase().as_str() {
        "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
        "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
        _ => None,
    }
}

fn whole(value: &Json) -> Option<i64> {
    match value {
        Json::String(text) => text.trim().parse().ok(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a whole float within i64 is checked first"
        )]
        Json::Number(n) => n.as_i64().or_else(|| {
            n.as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < 9e15)
                .map(|f| f as i64)
        }),
        _ => None,
    }
}

fn number(value: &Json) -> Option<f64> {
    match value {
        Json::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    }
}

fn elements(value: &Json) -> Option<Vec<Json>> {
    match value {
        Json::Array(items) => Some(items.clone()),
        Json::String(text) => Some(
            text.split(',')
                .map(|item| Json::from(item.trim()))
                .collect(),
        ),
        Json::Number(_) | Json::Bool(_) => Some(vec![value.clone()]),
        _ => None,
    }
}

fn mapping(value: &Json) -> Option<Map<String, Json>> {
    match value {
        Json::Object(map) => Some(map.clone()),
        Json::String(text) if text.trim_start().starts_with('{') => serde_json::from_str(text).ok(),
        Json::String(text) => text
            .split([',', ' '])
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                pair.split_once('=')
                    .map(|(k, v)| (k.trim().to_owned(), Json::from(v.trim())))
            })
            .collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amibake_playbook::argspec;

    #[test]
    fn numbers_and_truths_are_read_from_text() {
        let spec = argspec::find("group").unwrap();
        let given = serde_json::json!({"name": 12, "gid": "1001", "system": "yes"});
        let args = Args::coerce(spec, given.as_object().unwrap().clone()).unwrap();
        assert_eq!(args.str("name"), Some("12"));
        assert_eq!(args.int("gid"), Some(1001));
        assert!(args.bool("system"));
        assert_eq!(args.str("state"), Some("present"));
    }

    #[test]
    fn a_value_outside_the_choices_is_refused() {
        let spec = argspec::find("ansible.builtin.group").unwrap();
        let given = serde_json::json!({"name": "a", "state": "here"});
        let failure = Args::coerce(spec, given.as_object().unwrap().clone()).unwrap_err();
        assert_eq!(
            failure.msg,
            "value of state must be one of: absent, present, got: here"
        );
    }

    #[test]
    fn a_choice_that_yaml_took_for_a_truth_is_taken_back_if_it_can_be_only_one() {
        let coerced = |name: &str, given: serde_json::Value| {
            let given = given.as_object().unwrap().clone();
            Args::coerce(argspec::find(name).unwrap(), given)
        };
        let apt = coerced("apt", serde_json::json!({"upgrade": true})).unwrap();
        assert_eq!(apt.str("upgrade"), Some("yes"));
        let uri = serde_json::json!({"url": "x", "follow_redirects": false});
        assert_eq!(
            coerced("uri", uri).unwrap().str("follow_redirects"),
            Some("no")
        );
        let file = serde_json::json!({"path": "/x", "state": true});
        let msg = coerced("file", file).unwrap_err().msg;
        assert!(msg.ends_with("got: True"), "{msg}");
    }

    #[test]
    fn a_path_is_expanded_with_the_homes_of_users_and_the_tasks_environment() {
        let environment = [
            ("HOME".to_owned(), "/srv/me".to_owned()),
            ("WHERE".to_owned(), "here".to_owned()),
        ];
        for (given, path) in [
            ("~root/x", "/root/x"),
            ("~/$WHERE", "/srv/me/here"),
            ("/${WHERE}/$NOWHERE_AT_ALL", "/here/$NOWHERE_AT_ALL"),
        ] {
            let given = serde_json::json!({"path": given});
            let given = given.as_object().unwrap().clone();
            let spec = argspec::find("stat").unwrap();
            let args = Args::coerce_within(spec, given, &environment).unwrap();
            assert_eq!(args.str("path"), Some(path));
        }
    }

    #[test]
    fn a_value_that_needs_another_parameter_says_so() {
        let spec = argspec::find("group").unwrap();
        let given = serde_json::json!({"name": "a", "non_unique": true});
        let failure = Args::coerce(spec, given.as_object().unwrap().clone()).unwrap_err();
        assert_eq!(
            failure.msg,
            "non_unique is True but all of the following are missing: gid"
        );
    }
}
