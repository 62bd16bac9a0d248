//! From YAML to what the executor walks: plays, roles' task files, variable files.
//!
//! Whether keys and modules exist has been checked before; here an unknown key is a module.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::spec;
use amibake_playbook::value::{self, Dict, Key, Value};
use amibake_playbook::yaml::{self, Kind, Node as Yaml};
use amibake_protocol::event::Place;

use super::model::{Block, Keywords, Loop, Node, Play, RoleUse, Task};
use super::options::Entry;
use super::run::{Run, Stop};

/// Reads the plays of an entry.
pub(super) fn plays(run: &Run<'_>, entry: &Entry) -> Result<Vec<Play>, Stop> {
    match entry {
        Entry::Playbook { path, .. } => playbook(run, path),
        Entry::Role { path, .. } => {
            let name = Value::str(path.to_string_lossy());
            let place = whole(path);
            let mut play = whole_play(place.clone());
            play.roles = vec![RoleUse {
                name,
                keywords: Keywords::default(),
                params: Dict::new(),
                place,
            }];
            Ok(vec![play])
        }
        Entry::Tasks { path, text, .. } => {
            let document = yaml::parse(path, text.as_bytes()).map_err(|e| Stop(e.to_string()))?;
            let mut play = whole_play(whole(path));
            play.tasks = nodes(&document.root)?;
            Ok(vec![play])
        }
    }
}

fn playbook(run: &Run<'_>, path: &Path) -> Result<Vec<Play>, Stop> {
    let root = load(run, path)?;
    let mut plays = Vec::new();
    for item in sequence(&root)? {
        let fields = mapping(item)?;
        let import = fields
            .iter()
            .find(|(key, _)| super::actions::bare(key) == "import_playbook");
        match import {
            Some((_, name)) => plays.extend(imported(run, path, &fields, name)?),
            None => plays.push(play(&fields, &place(item))?),
        }
    }
    Ok(plays)
}

/// Reads the plays of `import_playbook`, which take its `vars`, `when` and `tags`.
fn imported(
    run: &Run<'_>,
    from: &Path,
    fields: &[(String, &Yaml)],
    name: &Yaml,
) -> Result<Vec<Play>, Stop> {
    let name = scalar(name);
    let path = super::handlers::folder_of(from).join(&name);
    let mut plays = playbook(run, &super::search::normal(&path))?;
    let mut keywords = Keywords::default();
    for (key, node) in fields {
        keyword(&mut keywords, key, node)?;
    }
    for play in &mut plays {
        let own = std::mem::take(&mut play.keywords.vars);
        play.keywords.vars = keywords.vars.copy();
        own.entries()
            .into_iter()
            .for_each(|(key, value)| play.keywords.vars.insert(key, value));
        play.keywords.when.splice(0..0, keywords.when.clone());
        play.keywords.tags.extend(keywords.tags.clone());
    }
    Ok(plays)
}

/// Reads a task file: a list of tasks and blocks.
pub(super) fn tasks(run: &Run<'_>, path: &Path) -> Result<Vec<Node>, Stop> {
    nodes(&load(run, path)?)
}

/// Reads a variable file; an empty one has none.
pub(super) fn variables(run: &Run<'_>, path: &Path) -> Result<Dict, Stop> {
    let root = load(run, path)?;
    match value_of(&root)? {
        Value::Dict(dict) => Ok(dict),
        Value::None => Ok(Dict::new()),
        _ => Err(Stop(format!(
            "{} must hold a mapping of variables",
            path.display()
        ))),
    }
}

/// Reads any file as a value.
pub(super) fn load(run: &Run<'_>, path: &Path) -> Result<Yaml, Stop> {
    let document = yaml::load(run.project.files, path).map_err(|e| Stop(e.to_string()))?;
    for warning in &document.warnings {
        run.warn(warning.to_string(), None);
    }
    Ok(document.root)
}

/// A play with nothing in it but that it gathers facts and becomes root.
fn whole_play(place: Place) -> Play {
    Play {
        keywords: Keywords {
            become_: Some(Value::Bool(true)),
            ..Keywords::default()
        },
        hosts: Value::str("all"),
        gather_facts: None,
        gather_subset: None,
        fact_path: None,
        vars_files: Vec::new(),
        force_handlers: None,
        pre_tasks: Vec::new(),
        roles: Vec::new(),
        tasks: Vec::new(),
        post_tasks: Vec::new(),
        handlers: Vec::new(),
        place,
    }
}

fn whole(path: &Path) -> Place {
    Place {
        file: path.to_string_lossy().into_owned(),
        line: 1,
        column: 1,
    }
}

fn play(fields: &[(String, &Yaml)], place: &Place) -> Result<Play, Stop> {
    let mut play = Play {
        keywords: Keywords::default(),
        ..whole_play(place.clone())
    };
    for (key, node) in fields {
        match key.as_str() {
            "hosts" => play.hosts = value_of(node)?,
            "gather_facts" => play.gather_facts = Some(value_of(node)?),
            "gather_subset" => play.gather_subset = Some(value_of(node)?),
            "fact_path" => play.fact_path = Some(value_of(node)?),
            "vars_files" => play.vars_files = list(node)?,
            "force_handlers" => play.force_handlers = Some(value_of(node)?),
            "pre_tasks" => play.pre_tasks = nodes(node)?,
            "tasks" => play.tasks = nodes(node)?,
            "post_tasks" => play.post_tasks = nodes(node)?,
            "handlers" => play.handlers = nodes(node)?,
            "roles" => play.roles = roles(node)?,
            "vars_prompt" => {
                return Err(refused(
                    node,
                    "vars_prompt needs a terminal; give the variables with -e",
                ));
            }
            _ => {
                keyword(&mut play.keywords, key, node)?;
            }
        }
    }
    Ok(play)
}

/// Reads `roles:` or `dependencies:`.
pub(super) fn roles(node: &Yaml) -> Result<Vec<RoleUse>, Stop> {
    sequence(node)?.iter().map(role_use).collect()
}

fn role_use(node: &Yaml) -> Result<RoleUse, Stop> {
    let mut role = RoleUse {
        name: Value::None,
        keywords: Keywords::default(),
        params: Dict::new(),
        place: place(node),
    };
    if !matches!(node.kind, Kind::Map(_)) {
        role.name = value_of(node)?;
        return Ok(role);
    }
    for (key, node) in mapping(node)? {
        match key.as_str() {
            "role" | "name" => role.name = value_of(node)?,
            // Where `ansible-galaxy` gets a role from is not for the one that runs it.
            "src" | "version" | "scm" => {}
            _ if keyword(&mut role.keywords, &key, node)? => {}
            _ => role.params.set(&key, value_of(node)?),
        }
    }
    Ok(role)
}

fn nodes(node: &Yaml) -> Result<Vec<Node>, Stop> {
    sequence(node)?.iter().map(node_of).collect()
}

fn node_of(node: &Yaml) -> Result<Node, Stop> {
    let fields = mapping(node)?;
    let has = |name: &str| fields.iter().any(|(key, _)| key == name);
    if has("block") || has("rescue") || has("always") {
        return block(&fields).map(|block| Node::Block(Rc::new(block)));
    }
    task(&fields, place(node)).map(|task| Node::Task(Rc::new(task)))
}

fn block(fields: &[(String, &Yaml)]) -> Result<Block, Stop> {
    let mut block = Block::default();
    for (key, node) in fields {
        match key.as_str() {
            "block" => block.tasks = nodes(node)?,
            "rescue" => block.rescue = nodes(node)?,
            "always" => block.always = nodes(node)?,
            _ => {
                keyword(&mut block.keywords, key, node)?;
            }
        }
    }
    Ok(block)
}

fn task(fields: &[(String, &Yaml)], place: Place) -> Result<Task, Stop> {
    let mut task = Task {
        keywords: Keywords::default(),
        action: String::new(),
        args: Value::None,
        register: None,
        looping: None,
        until: Vec::new(),
        retries: None,
        delay: None,
        changed_when: Vec::new(),
        failed_when: Vec::new(),
        notify: Vec::new(),
        listen: Vec::new(),
        asynchronous: None,
        poll: None,
        place,
    };
    let mut control = Dict::new();
    let mut extra = None;
    for (key, node) in fields {
        match key.as_str() {
            "register" => task.register = Some(scalar(node)),
            "loop" => task.looping = Some(looping(None, node)?),
            "loop_control" => control = value_of(node)?.as_dict().cloned().unwrap_or_default(),
            "until" => task.until = list(node)?,
            "retries" => task.retries = Some(value_of(node)?),
            "delay" => task.delay = Some(value_of(node)?),
            "changed_when" => task.changed_when = list(node)?,
            "failed_when" => task.failed_when = list(node)?,
            "notify" => task.notify = list(node)?,
            "listen" => task.listen = list(node)?,
            "async" => task.asynchronous = Some(value_of(node)?),
            "poll" => task.poll = Some(value_of(node)?),
            "args" => extra = Some(value_of(node)?),
            "action" | "local_action" => action(&mut task, node)?,
            _ if key.starts_with("with_") => {
                task.looping = Some(looping(key.strip_prefix("with_"), node)?);
            }
            _ if keyword(&mut task.keywords, key, node)? => {}
            _ => {
                task.action.clone_from(key);
                task.args = args_of(key, node)?;
            }
        }
    }
    if let Some(looping) = &mut task.looping {
        looping.control = control;
    }
    if let Some(extra) = extra {
        task.args = merged(extra, task.args);
    }
    if task.action.is_empty() {
        return Err(Stop(format!(
            "{}:{}: no module in this task",
            task.place.file, task.place.line
        )));
    }
    Ok(task)
}

/// Reads `action: module k=v` or `action: {module: …}`.
fn action(task: &mut Task, node: &Yaml) -> Result<(), Stop> {
    if let Kind::Map(_) = node.kind {
        let args = Dict::new();
        for (key, node) in mapping(node)? {
            if key == "module" {
                task.action = scalar(node);
            } else {
                args.set(&key, value_of(node)?);
            }
        }
        task.args = Value::Dict(args);
        return Ok(());
    }
    let text = scalar(node);
    let (module, rest) = text
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((text.trim(), ""));
    module.clone_into(&mut task.action);
    task.args = free_text(module, rest.trim(), node);
    Ok(())
}

fn looping(lookup: Option<&str>, node: &Yaml) -> Result<Loop, Stop> {
    Ok(Loop {
        lookup: lookup.map(str::to_owned),
        over: value_of(node)?,
        control: Dict::new(),
    })
}

/// Puts the module's own parameters over those of `args:`.
fn merged(extra: Value, own: Value) -> Value {
    match (&extra, own) {
        (Value::Dict(extra), Value::Dict(own)) => {
            let all = extra.copy();
            own.entries()
                .into_iter()
                .for_each(|(key, value)| all.insert(key, value));
            Value::Dict(all)
        }
        (_, Value::None) => extra,
        (_, own) => own,
    }
}

fn args_of(action: &str, node: &Yaml) -> Result<Value, Stop> {
    match &node.kind {
        Kind::Null => Ok(Value::None),
        Kind::Str(text) => Ok(free_text(action, text, node)),
        Kind::Map(_) => value_of(node),
        _ => Ok(Value::dict([("_raw_params", value_of(node)?)])),
    }
}

/// Reads a module's text: for `command` and its kin the command with a few options in it, for
/// others `k=v` pairs.
fn free_text(action: &str, text: &str, node: &Yaml) -> Value {
    const RAW: &[&str] = &[
        "include_tasks",
        "import_tasks",
        "include_vars",
        "meta",
        "include_role",
        "import_role",
    ];
    let at = Some(value_place(node));
    let name = super::actions::bare(action);
    let free = spec::find(action).is_some_and(|spec| spec.free_form) || RAW.contains(&name);
    let options: &[&str] = match name {
        "command" | "shell" | "script" => &[
            "creates",
            "removes",
            "chdir",
            "executable",
            "warn",
            "stdin",
            "stdin_add_newline",
            "strip_empty_ends",
        ],
        "raw" => &["executable"],
        _ => &[],
    };
    let args = Dict::new();
    let mut raw = Vec::new();
    for word in words(text) {
        match word.split_once('=') {
            Some((key, value))
                if is_key(key)
                    && (!free
                        || options.contains(&key)
                        || (RAW.contains(&name) && !raw.is_empty())) =>
            {
                args.set(key, Value::authored(unquoted(value), at.clone()));
            }
            _ => raw.push(word),
        }
    }
    if free && args.is_empty() {
        args.set("_raw_params", Value::authored(text.trim(), at));
    } else if !raw.is_empty() {
        args.set("_raw_params", Value::authored(raw.join(" ").trim(), at));
    }
    Value::Dict(args)
}

fn is_key(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

fn unquoted(text: &str) -> &str {
    ['"', '\'']
        .iter()
        .find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
        .unwrap_or(text)
}

/// Splits at white space outside quotes and `{{ }}`, as Ansible's `split_args`.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut depth = 0_usize;
    let mut previous = ' ';
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open && previous != '\\' => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '{') if previous == '{' => depth += 1,
            (None, '}') if previous == '}' => depth = depth.saturating_sub(1),
            (None, c) if c.is_whitespace() && depth == 0 => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                previous = c;
                continue;
            }
            _ => {}
        }
        word.push(c);
        previous = c;
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Reads a keyword that plays, roles, blocks and tasks share. Returns whether it is one.
fn keyword(keywords: &mut Keywords, key: &str, node: &Yaml) -> Result<bool, Stop> {
    match key {
        "name" => keywords.name = Some(value_of(node)?).filter(|name| !matches!(name, Value::None)),
        "when" => keywords.when = list(node)?,
        "tags" => keywords.tags = list(node)?,
        "vars" => keywords.vars = value_of(node)?.as_dict().cloned().unwrap_or_default(),
        "environment" => keywords.environment = list(node)?,
        "module_defaults" => keywords.module_defaults = list(node)?,
        "become" => keywords.become_ = Some(value_of(node)?),
        "become_user" => keywords.become_user = Some(value_of(node)?),
        "become_method" => keywords.become_method = Some(value_of(node)?),
        "remote_user" | "user" => keywords.remote_user = Some(value_of(node)?),
        "connection" => keywords.connection = Some(value_of(node)?),
        "check_mode" => keywords.check_mode = Some(value_of(node)?),
        "diff" => keywords.diff = Some(value_of(node)?),
        "ignore_errors" => keywords.ignore_errors = Some(value_of(node)?),
        "no_log" => keywords.no_log = Some(value_of(node)?),
        "delegate_to" => keywords.delegate_to = Some(value_of(node)?),
        "timeout" => keywords.timeout = Some(value_of(node)?),
        "any_errors_fatal"
        | "become_exe"
        | "become_flags"
        | "collections"
        | "debugger"
        | "delegate_facts"
        | "gather_timeout"
        | "ignore_unreachable"
        | "max_fail_percentage"
        | "order"
        | "port"
        | "run_once"
        | "serial"
        | "strategy"
        | "throttle"
        | "validate_argspec" => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// Reads one value or a list of them.
fn list(node: &Yaml) -> Result<Vec<Value>, Stop> {
    match &node.kind {
        Kind::Seq(items) => items.iter().map(value_of).collect(),
        Kind::Null => Ok(Vec::new()),
        _ => Ok(vec![value_of(node)?]),
    }
}

/// Turns YAML into a value: texts are the author's, and so may be templates.
pub(super) fn value_of(node: &Yaml) -> Result<Value, Stop> {
    Ok(match &node.kind {
        Kind::Null => Value::None,
        Kind::Bool(truth) => Value::Bool(*truth),
        Kind::Int(n) => {
            i64::try_from(n).map_or_else(|_| Value::Big(Rc::new(n.clone())), Value::Int)
        }
        Kind::Float(f) => Value::Float(*f),
        Kind::Str(_) if node.tag.as_deref() == Some("!vault") => {
            return Err(refused(
                node,
                "this value is still encrypted: the controller opens vaults",
            ));
        }
        Kind::Str(text) if node.tag.as_deref() == Some("!unsafe") => Value::str(text),
        Kind::Str(text) => Value::authored(text, Some(value_place(node))),
        Kind::Timestamp(moment) => Value::str(moment.to_string()),
        Kind::Seq(items) => Value::list(items.iter().map(value_of).collect::<Result<_, _>>()?),
        Kind::Map(fields) => {
            let dict = Dict::new();
            for (key, value) in fields {
                let at = key;
                let key = match &key.kind {
                    Kind::Str(text) => Value::str(text),
                    _ => value_of(key)?,
                };
                let key = Key::of(key).map_err(|e| refused(at, &e.0))?;
                dict.insert(key, value_of(value)?);
            }
            Value::Dict(dict)
        }
    })
}

fn scalar(node: &Yaml) -> String {
    match &node.kind {
        Kind::Str(text) => text.clone(),
        _ => value_of(node).map(|v| v.to_string()).unwrap_or_default(),
    }
}

fn sequence(node: &Yaml) -> Result<&[Yaml], Stop> {
    match &node.kind {
        Kind::Seq(items) => Ok(items),
        Kind::Null => Ok(&[]),
        _ => Err(refused(
            node,
            &format!("expected a list, found {}", node.kind_name()),
        )),
    }
}

fn mapping(node: &Yaml) -> Result<Vec<(String, &Yaml)>, Stop> {
    match &node.kind {
        Kind::Map(fields) => Ok(fields
            .iter()
            .map(|(key, value)| (scalar(key), value))
            .collect()),
        _ => Err(refused(
            node,
            &format!("expected a mapping, found {}", node.kind_name()),
        )),
    }
}

fn refused(node: &Yaml, message: &str) -> Stop {
    let place = place(node);
    Stop(format!(
        "{}:{}:{}: {message}",
        place.file, place.line, place.column
    ))
}

fn place(node: &Yaml) -> Place {
    Place {
        file: node.span.file().to_string_lossy().into_owned(),
        line: node.span.line,
        column: node.span.column,
    }
}

fn value_place(node: &Yaml) -> value::Place {
    value::Place {
        file: Rc::from(node.span.file().to_string_lossy().as_ref()),
        line: node.span.line,
        column: node.span.column,
    }
}

/// Returns the file a folder's `main` is: `main.yml`, `main.yaml`, `main.json` or `main`.
pub(super) fn main_file(run: &Run<'_>, folder: &Path, stem: &str) -> Option<PathBuf> {
    let direct = folder.join(stem);
    let candidates = [
        folder.join(format!("{stem}.yml")),
        folder.join(format!("{stem}.yaml")),
        folder.join(format!("{stem}.json")),
        direct,
    ];
    candidates
        .into_iter()
        .find(|path| run.project.files.is_file(path))
}
