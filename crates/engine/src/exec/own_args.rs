//! The parameters of the executor's own actions, refused in the words of Ansible's. Modules have specs for that.

use amibake_playbook::names::bare;
use amibake_playbook::syntax::takes_text;
use amibake_playbook::value::Dict;
use serde_json::{Map, Value as Json};

use super::actions::full;
use super::task_error::{TaskError, refused};

/// What an action takes.
pub(super) struct Action {
    name: &'static str,
    params: &'static [&'static str],
    /// Other names of them.
    aliases: &'static [&'static str],
    required: &'static [&'static str],
}

/// Those that Ansible checks by a spec.
const BY_SPEC: &[Action] = &[
    Action {
        name: "assert",
        params: &["fail_msg", "quiet", "success_msg", "that"],
        aliases: &["msg"],
        required: &["that"],
    },
    Action {
        name: "debug",
        params: &["msg", "var", "verbosity"],
        aliases: &[],
        required: &[],
    },
    Action {
        name: "ping",
        params: &["data"],
        aliases: &[],
        required: &[],
    },
];

/// `pause`, whose values are looked at before their names are.
pub(super) const PAUSE: Action = Action {
    name: "pause",
    params: &["echo", "minutes", "prompt", "seconds"],
    aliases: &[],
    required: &[],
};

/// Those of which Ansible knows but the names of their parameters.
const BY_NAMES: &[(&str, &[&str])] = &[
    ("fail", &["msg"]),
    (
        "wait_for_connection",
        &["connect_timeout", "delay", "sleep", "timeout"],
    ),
];

const OF_INCLUDE_VARS: &[&str] = &[
    "dir",
    "depth",
    "files_matching",
    "ignore_files",
    "extensions",
    "ignore_unknown_extensions",
];

/// Refuses parameters that an action does not have, and misses those it needs.
pub(super) fn check(action: &str, args: &Dict) -> Result<(), TaskError> {
    let names: Vec<String> = args.keys().iter().map(ToString::to_string).collect();
    if args.has("_raw_params") && !takes_text(action) {
        let full = full(action);
        return Err(refused(format!(
            "Task failed: Action '{full}' does not support raw params."
        )));
    }
    let known_action = bare(action);
    if known_action == "shell" && args.has("expand_argument_vars") {
        return Err(refused(format!(
            "Unsupported parameters for ({action}) module: expand_argument_vars"
        )));
    }
    if let Some((_, known)) = BY_NAMES.iter().find(|(name, _)| *name == known_action) {
        return only(action, args, known);
    }
    if known_action == "include_vars" {
        return check_include_vars(&names);
    }
    match BY_SPEC.iter().find(|spec| spec.name == known_action) {
        Some(spec) => spec.check(action, args),
        None => Ok(()),
    }
}

/// Refuses what is not among the parameters that an action has, as Ansible's actions do that only know these.
pub(super) fn only(action: &str, args: &Dict, known: &[&str]) -> Result<(), TaskError> {
    let names: Vec<String> = args.keys().iter().map(ToString::to_string).collect();
    let bad = unknown(&names, known);
    match bad.is_empty() {
        true => Ok(()),
        false => Err(refused(format!(
            "Invalid options for {action}: {}",
            bad.join(",")
        ))),
    }
}

impl Action {
    /// Refuses parameters that it does not have, and misses those it needs.
    pub(super) fn check(&self, action: &str, args: &Dict) -> Result<(), TaskError> {
        let names: Vec<String> = args.keys().iter().map(ToString::to_string).collect();
        let missing = |name: &&&str| !names.iter().any(|given| given == **name);
        let missing: Vec<&str> = self.required.iter().filter(missing).copied().collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(refused(format!("missing required arguments: {missing}")));
        }
        let bad = unknown(&names, &[self.params, self.aliases].concat());
        if bad.is_empty() {
            return Ok(());
        }
        let aliases = match self.aliases {
            [] => String::new(),
            aliases => format!(" ({})", aliases.join(", ")),
        };
        Err(refused(format!(
            "Unsupported parameters for ({action}) module: {}. Supported parameters include: {}{aliases}.",
            bad.join(", "),
            self.params.join(", ")
        )))
    }
}

fn check_include_vars(names: &[String]) -> Result<(), TaskError> {
    let of_files = ["file", "_raw_params"];
    let all = [OF_INCLUDE_VARS, &of_files, &["name", "hash_behaviour"]].concat();
    if let Some(bad) = names.iter().find(|name| !all.contains(&name.as_str())) {
        return Err(refused(format!(
            "Task failed: {bad} is not a valid option in include_vars"
        )));
    }
    let any = |known: &[&str]| names.iter().any(|name| known.contains(&name.as_str()));
    if any(OF_INCLUDE_VARS) && any(&of_files) {
        return Err(refused(
            "Task failed: You are mixing file only and dir only arguments, these are incompatible",
        ));
    }
    Ok(())
}

/// Refuses what the actions that read the controller's files refuse before they look at anything else.
pub(super) fn check_sources(module: &str, args: &Map<String, Json>) -> Result<(), TaskError> {
    let is_given = |name: &str| args.get(name).is_some_and(|value| !value.is_null());
    let is_there = |name: &str| is_given(name) && args.get(name).is_some_and(|value| value != "");
    let in_folder = || {
        args.get("dest")
            .and_then(Json::as_str)
            .is_some_and(|dest| dest.ends_with('/'))
    };
    let both = is_given("src") && is_given("dest");
    let wrong = match module {
        "copy" if !is_there("src") && !is_given("content") => "src (or content) is required",
        "copy" if !is_there("dest") => "dest is required",
        "copy" if is_there("src") && is_given("content") => {
            "src and content are mutually exclusive"
        }
        "copy" if is_given("content") && in_folder() => "can not use content with a dir as dest",
        "template" if is_given("state") => "'state' cannot be specified on a template",
        "template" | "assemble" if !both => "src and dest are required",
        "unarchive" if is_given("copy") && is_given("remote_src") => {
            "parameters are mutually exclusive: ('copy', 'remote_src')"
        }
        "unarchive" if !both => "src (or content) and dest are required",
        "script" if !is_given("_raw_params") && !is_given("cmd") => {
            "one of the following is required: _raw_params, cmd"
        }
        _ => return Ok(()),
    };
    Err(refused(wrong))
}

/// Returns what Ansible calls the module of an action: as it is written, or as another action calls it.
pub(super) fn called(action: &str) -> &str {
    match bare(action) {
        "command" | "shell" => "ansible.legacy.command",
        "copy" | "template" => "ansible.legacy.copy",
        "assemble" => "ansible.legacy.assemble",
        "unarchive" => "ansible.legacy.unarchive",
        "uri" => "ansible.legacy.uri",
        _ => action,
    }
}

fn unknown(names: &[String], known: &[&str]) -> Vec<String> {
    let mut bad: Vec<String> = names
        .iter()
        .filter(|name| !known.contains(&name.as_str()))
        .cloned()
        .collect();
    bad.sort();
    bad
}
