//! From the syntax tree to what the executor walks: the same plays, blocks and tasks, with their
//! nodes as values. What is written where, and whether it may be, is [`syntax`]'s.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use amibake_playbook::diagnostic::{Diagnostic, Diagnostics};
use amibake_playbook::names::bare;
use amibake_playbook::syntax::{self, Read};
use amibake_playbook::value::{self, Dict, Key, Source, Value};
use amibake_playbook::yaml::{self, Kind, Node as Yaml};
use amibake_protocol::event::Place;

use super::argument_spec::ArgumentSpec;
use super::model::{Block, Keywords, Loop, Node, Play, RoleUse, Task};
use super::options::Entry;
use super::reserved;
use super::run::{Run, Stop};

/// Reads the plays of an entry.
pub(super) fn plays(run: &Run<'_>, entry: &Entry) -> Result<Vec<Play>, Stop> {
    let files = run.project.files;
    match entry {
        Entry::Playbook { path, .. } => {
            let plays = read(run, syntax::read_playbook(files, path, &options(run)))?;
            reserved::check_plays(run, &plays);
            Ok(plays.iter().map(play).collect())
        }
        Entry::Role { path, .. } => {
            let mut play = whole_play(path);
            play.roles = vec![RoleUse {
                name: Value::str(path.to_string_lossy()),
                keywords: Keywords::default(),
                params: Dict::new(),
                place: play.place.clone(),
            }];
            Ok(vec![play])
        }
        Entry::Tasks { path, text, .. } => {
            let document =
                yaml::parse(path, text.as_bytes()).map_err(|e| Stop::new(e.to_string()))?;
            let steps = read(
                run,
                syntax::read_tasks(files, path, &document.root, &options(run)),
            )?;
            reserved::check_steps(run, &steps);
            let mut play = whole_play(path);
            play.tasks = nodes(&steps);
            Ok(vec![play])
        }
    }
}

/// Reads a task file: a list of tasks and blocks.
pub(super) fn tasks(run: &Run<'_>, path: &Path) -> Result<Vec<Node>, Stop> {
    let read_file = syntax::read_task_file(run.project.files, path, &options(run));
    let steps = read(run, read_file)?;
    reserved::check_steps(run, &steps);
    Ok(nodes(&steps))
}

/// What a role's `meta/main.yml` says.
#[derive(Default)]
pub(super) struct Meta {
    read: syntax::Meta,
    pub(super) dependencies: Vec<RoleUse>,
    pub(super) allow_duplicates: Option<Value>,
    pub(super) collections: Vec<Value>,
}

/// Reads a role's `meta/main.yml`.
pub(super) fn meta(run: &Run<'_>, path: &Path) -> Result<Meta, Stop> {
    let meta = read(
        run,
        syntax::read_meta(run.project.files, path, &options(run)),
    )?;
    let truth = meta.allow_duplicates.as_ref().map(value);
    Ok(Meta {
        dependencies: meta.dependencies.iter().map(role_use).collect(),
        allow_duplicates: truth,
        collections: meta.collections.as_ref().map_or_else(Vec::new, list),
        read: meta,
    })
}

/// Reads what a role says of the variables of its entry point `entry`.
pub(super) fn role_spec(
    run: &Run<'_>,
    role: &Path,
    entry: &str,
    meta: &Meta,
) -> Result<Option<ArgumentSpec>, Stop> {
    let files = run.project.files;
    let spec = syntax::read_role_spec(files, role, entry, Some(&meta.read), &options(run));
    Ok(read(run, spec)?.as_ref().map(argument_spec))
}

/// Reads what a play says of its variables, under `name`.
pub(super) fn play_spec(run: &Run<'_>, playbook: &Path, name: &str) -> Result<ArgumentSpec, Stop> {
    let spec = syntax::play_spec(run.project.files, playbook, name);
    let spec = spec.map_err(|e| Stop::new(e.to_string()))?;
    Ok(argument_spec(&spec))
}

fn argument_spec(read: &syntax::ArgumentSpec) -> ArgumentSpec {
    ArgumentSpec {
        title: Value::authored(&read.title, None),
        options: value(&read.options),
        file: read.file.clone(),
        place: place(&read.span),
    }
}

/// Reads a variable file; an empty one has none.
pub(super) fn variables(run: &Run<'_>, path: &Path) -> Result<Dict, Stop> {
    let document =
        yaml::load(run.project.files, path).map_err(|e| Stop::malformed(e.to_string()))?;
    warn(run, &document.warnings);
    reserved::check_mapping(run, &document.root);
    match value(&document.root) {
        Value::Dict(dict) => Ok(dict),
        Value::None => Ok(Dict::new()),
        _ => Err(Stop::malformed(format!(
            "{} must be stored as a dictionary/hash",
            path.display()
        ))),
    }
}

fn options(run: &Run<'_>) -> syntax::Options {
    syntax::Options {
        local: run.options.local,
        extra_vars: run.options.extra_vars.clone(),
        ..syntax::Options::default()
    }
}

fn read<T>(run: &Run<'_>, read: Result<Read<T>, Diagnostics>) -> Result<T, Stop> {
    let read = read.map_err(|e| Stop::malformed(e.to_string()))?;
    warn(run, &read.warnings);
    Ok(read.it)
}

fn warn(run: &Run<'_>, warnings: &[Diagnostic]) {
    for warning in warnings {
        let hint = warning.hint.as_ref().map(|hint| format!("; {hint}"));
        let message = warning.message.clone() + &hint.unwrap_or_default();
        run.warn(message, Some(&place(&warning.span)));
    }
}

/// A play with nothing in it but that it gathers facts and becomes root.
fn whole_play(path: &Path) -> Play {
    Play {
        keywords: Keywords {
            become_: Some(Value::Bool(true)),
            ..Keywords::default()
        },
        hosts: Value::str("all"),
        gather_facts: None,
        gather_subset: None,
        gather_timeout: None,
        fact_path: None,
        vars_files: Vec::new(),
        force_handlers: None,
        argument_spec: None,
        strategy: None,
        serial: None,
        order: None,
        prompts: Vec::new(),
        pre_tasks: Vec::new(),
        roles: Vec::new(),
        tasks: Vec::new(),
        post_tasks: Vec::new(),
        handlers: Vec::new(),
        place: Place {
            file: path.to_string_lossy().into_owned(),
            line: 1,
            column: 1,
        },
    }
}

fn play(read: &syntax::Play) -> Play {
    let mut play = Play {
        keywords: keywords(&read.keywords),
        pre_tasks: nodes(&read.pre_tasks),
        roles: read.roles.iter().map(role_use).collect(),
        tasks: nodes(&read.tasks),
        post_tasks: nodes(&read.post_tasks),
        handlers: nodes(&read.handlers),
        place: place(&read.span),
        ..whole_play(read.span.file())
    };
    for (name, node) in &read.keywords {
        match name.as_str() {
            "hosts" => play.hosts = value(node),
            "gather_facts" => play.gather_facts = Some(value(node)),
            "gather_subset" => play.gather_subset = Some(value(node)),
            "gather_timeout" => play.gather_timeout = Some(value(node)),
            "fact_path" => play.fact_path = Some(value(node)),
            "vars_files" => play.vars_files = list(node),
            "force_handlers" => play.force_handlers = Some(value(node)),
            "vars_prompt" => play.prompts = list(node),
            "strategy" => play.strategy = Some(value(node)),
            "serial" => play.serial = Some(value(node)),
            "order" => play.order = Some(value(node)),
            "validate_argspec" => play.argument_spec = Some(value(node)),
            _ => {}
        }
    }
    play
}

fn role_use(read: &syntax::RoleUse) -> RoleUse {
    RoleUse {
        name: value(&read.name),
        keywords: keywords(&read.keywords),
        params: dict(&read.params),
        place: place(&read.span),
    }
}

fn nodes(steps: &[syntax::Step]) -> Vec<Node> {
    let node = |step: &syntax::Step| match step {
        syntax::Step::Task(read) => Node::Task(Rc::new(task(read))),
        syntax::Step::Block(read) => Node::Block(Rc::new(Block {
            keywords: keywords(&read.keywords),
            tasks: nodes(&read.block),
            rescue: nodes(&read.rescue),
            always: nodes(&read.always),
        })),
    };
    steps.iter().map(node).collect()
}

fn task(read: &syntax::Task) -> Task {
    let mut task = Task {
        keywords: keywords(&read.keywords),
        args: dict(&read.args.named),
        more_args: read.args.template.as_ref().map(value),
        refused: read.refused.as_ref().map(ToString::to_string),
        ..Task::new(&read.action, place(&read.span))
    };
    if bare(&read.action) == "assert"
        && let Some((_, that)) = read.args.named.iter().find(|(name, _)| name == "that")
    {
        task.args.insert(Key::authors("that"), asserted(that));
    }
    let mut control = Dict::new();
    for (name, node) in &read.keywords {
        match name.as_str() {
            "register" => task.register = node.as_str().map(str::to_owned),
            "loop" if node.is_null() => {}
            "loop" => task.looping = Some(looping(None, node)),
            "loop_control" => control = value(node).as_dict().cloned().unwrap_or_default(),
            "until" => task.until = conditions(node),
            "retries" => task.retries = Some(value(node)),
            "delay" => task.delay = Some(value(node)),
            "changed_when" => task.changed_when = conditions(node),
            "failed_when" => task.failed_when = conditions(node),
            "listen" => task.listen = list(node),
            "async" => task.asynchronous = Some(value(node)),
            "poll" => task.poll = Some(value(node)),
            _ => {
                if let Some(lookup) = name.strip_prefix("with_") {
                    task.looping = Some(looping(Some(lookup), node));
                }
            }
        }
    }
    if let Some(looping) = &mut task.looping {
        looping.control = control;
    }
    task
}

fn looping(lookup: Option<&str>, node: &Yaml) -> Loop {
    Loop {
        lookup: lookup.map(str::to_owned),
        over: value(node),
        control: Dict::new(),
    }
}

/// Picks the keywords that plays, roles, blocks and tasks share.
fn keywords(read: &syntax::Keywords) -> Keywords {
    let mut keywords = Keywords::default();
    for (name, node) in read {
        match name.as_str() {
            "when" => keywords.when = conditions(node),
            name => keywords.set(name, value(node)),
        }
    }
    keywords
}

fn dict(pairs: &[(String, Yaml)]) -> Dict {
    let dict = Dict::new();
    for (name, node) in pairs {
        dict.insert(Key::authors(name), value(node));
    }
    dict
}

/// Reads one value or a list of them.
fn list(node: &Yaml) -> Vec<Value> {
    super::model::listed(value(node))
}

/// Reads one condition or a list of them. Each knows where it stands, also without `{{ }}`.
fn conditions(node: &Yaml) -> Vec<Value> {
    match &node.kind {
        Kind::Seq(items) => items.iter().map(condition).collect(),
        Kind::Null => Vec::new(),
        _ => vec![condition(node)],
    }
}

/// Reads what an assertion looks at: a condition, a list of them, or a template that gives either.
fn asserted(node: &Yaml) -> Value {
    match &node.kind {
        Kind::Seq(items) => Value::list(items.iter().map(condition).collect()),
        _ => condition(node),
    }
}

fn condition(node: &Yaml) -> Value {
    match (value(node), &node.kind) {
        (Value::Str(text), Kind::Str(_)) if text.is_authors() && !text.trim().is_empty() => {
            Value::Template(Rc::new(Source {
                text: text.shared(),
                place: Some(value::Place::of(&node.span)),
            }))
        }
        (value, _) => value,
    }
}

/// Turns YAML into a value: texts are the author's, and so may be templates.
fn value(node: &Yaml) -> Value {
    Value::from_node(node)
}

pub(super) fn place(span: &amibake_playbook::diagnostic::Span) -> Place {
    Place {
        file: span.file().to_string_lossy().into_owned(),
        line: span.line,
        column: span.column,
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
