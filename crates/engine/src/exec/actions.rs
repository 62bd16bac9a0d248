//! What a task does: the executor's own actions, and the way to every module.

use std::time::{Duration, Instant};

use amibake_playbook::argspec::{self, ModuleSpec};
use amibake_playbook::names::{bare, is_variable_name};
use amibake_playbook::value::{Dict, Key, Value};
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;
use serde_json::{Map, Value as Json, json};

use super::attempt::TRACEBACK;
use super::diff;
use super::eval;
use super::executor::Call;
use super::outcome::{Attempt, Fields, raw_json};
use super::own_args;
use super::reboot::whole;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{ConditionError, TaskError, refused};
use super::vars::NewVars;
use crate::censor::Secrets;
use crate::deadline;
use crate::module::{Failure, Outcome};
use crate::splitlines::splitlines;

/// Returns a module's full name, or the name as it is.
pub(super) fn full(action: &str) -> String {
    match argspec::find(action) {
        Some(spec) => spec.name.to_owned(),
        None if bare(action).contains('.') => action.to_owned(),
        None => format!("ansible.builtin.{}", bare(action)),
    }
}

/// What says among facts that they were gathered, and not only set.
const GATHERED: &str = "_ansible_facts_gathered";

/// What the executor does without a module.
const OWN: &[&str] = &[
    "add_host",
    "assert",
    "async_status",
    "debug",
    "fail",
    "fetch",
    "gather_facts",
    "group_by",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "ping",
    "reboot",
    "set_fact",
    "set_stats",
    "setup",
    "validate_argument_spec",
    "wait_for_connection",
];

/// Returns whether the executor does `action` itself.
#[must_use]
pub fn does(action: &str) -> bool {
    OWN.contains(&bare(action))
}

fn as_json(args: Dict) -> Result<Map<String, Json>, TaskError> {
    match eval::wide_numbers_as_text(&eval::without_omitted(&Value::Dict(args))).to_json() {
        Ok(Json::Object(map)) => Ok(map),
        Ok(_) => Ok(Map::new()),
        Err(e) => Err(TaskError::Unwritable(e.to_string())),
    }
}

/// Whether check mode passes an action over before its parameters or its `until` are looked at.
pub(super) fn is_never_checked(action: &str) -> bool {
    bare(action) == "uri"
}

impl Run<'_> {
    /// Does what the task says, once.
    pub(super) fn act(&self, cx: &TaskContext<'_>) -> Attempt {
        let task = cx.task;
        if let Err(error) = self.allow_async(cx) {
            return error.into();
        }
        let checked = self
            .written_args(cx)
            .and_then(|args| own_args::check(&task.action, &args));
        if let Err(error) = checked {
            return error.into();
        }
        let done = match bare(&task.action) {
            "debug" => self.debug(cx),
            "set_fact" => self.set_fact(cx),
            "assert" => self.assert(cx),
            "fail" => self.fail(cx),
            "validate_argument_spec" => self.validate_argument_spec(cx),
            "set_stats" => self.set_stats(cx),
            "pause" => self.pause_action(cx),
            "fetch" => self.fetch(cx),
            "async_status" => self.async_status(cx),
            "include_vars" => self.include_vars(cx),
            "include_tasks" => self.find_tasks(cx),
            "include_role" => self.find_role(cx),
            "setup" | "gather_facts" => self.setup(cx),
            "wait_for_connection" => self.wait_for_connection(cx),
            "group_by" => self.group_by(cx),
            "add_host" => self.add_host(cx),
            "ping" => self.ping(cx),
            "reboot" => self.reboot(cx),
            _ => self.module(cx),
        };
        done.unwrap_or_else(|error| self.raised(error, cx))
    }

    /// Returns the task's parameters as written, with `module_defaults` below them.
    pub(super) fn written_args(&self, cx: &TaskContext<'_>) -> Result<Dict, TaskError> {
        let name = full(&cx.task.action);
        let mut merged = self.defaults(cx, &name);
        // What is gathered by is a module of its own.
        if bare(&cx.task.action) == "gather_facts" {
            let own = std::mem::replace(&mut merged, self.defaults(cx, "ansible.builtin.setup"));
            own.entries()
                .into_iter()
                .for_each(|(key, value)| merged.insert(key, value));
        }
        if let Some(more) = &cx.task.more_args {
            for (key, value) in self.more_args(cx, &name, more)?.entries() {
                merged.insert(key, value);
            }
        }
        for (key, value) in cx.task.args.entries() {
            merged.insert(key, value);
        }
        Ok(merged)
    }

    /// Returns the parameters that a template gives: a mapping, or none where it is omitted.
    fn more_args(
        &self,
        cx: &TaskContext<'_>,
        action: &str,
        template: &Value,
    ) -> Result<Dict, TaskError> {
        let action = || action.to_owned();
        let rendered = self.render(template, cx.scope, cx.enclosing);
        let rendered = rendered.map_err(|source| TaskError::Arguments {
            action: action(),
            source: Box::new(source),
        })?;
        match rendered {
            Value::Omit => Ok(Dict::new()),
            Value::Dict(args) => Ok(args),
            other => Err(TaskError::NoMapping {
                action: action(),
                found: other.type_name().to_string(),
            }),
        }
    }

    /// Returns the parameters with every template rendered and what is omitted left out.
    pub(super) fn args(&self, cx: &TaskContext<'_>) -> Result<Dict, TaskError> {
        let rendered = Dict::new();
        for (key, value) in self.written_args(cx)?.entries() {
            let value = self.arg(cx, &key.value().to_string(), &value)?;
            if matches!(value, Value::Omit) {
                continue;
            }
            rendered.insert(self.arg_name(cx, key)?, value);
        }
        Ok(rendered)
    }

    /// Returns the name of a parameter. Names of facts may be templates where the author wrote them.
    pub(super) fn arg_name(&self, cx: &TaskContext<'_>, key: Key) -> Result<Key, TaskError> {
        match key.value() {
            Value::Str(name) if name.is_authors() && name.contains("{{") => {
                let written = Value::authored(name, None);
                let name = self.arg(cx, name, &written)?;
                Ok(Key::from(name.to_string().as_str()))
            }
            _ => Ok(key),
        }
    }

    fn arg(&self, cx: &TaskContext<'_>, key: &str, value: &Value) -> Result<Value, TaskError> {
        self.render(value, cx.scope, cx.enclosing)
            .map_err(|source| TaskError::Argument {
                action: full(&cx.task.action),
                name: key.to_owned(),
                source: Box::new(source),
            })
    }

    /// Refuses what of the parameters Ansible does and we do not.
    pub(super) fn refuse_values(
        spec: &ModuleSpec,
        args: &Map<String, Json>,
    ) -> Result<(), TaskError> {
        for (name, value) in args {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            if let Some(why) = argspec::refused(spec, name, &text) {
                let secret = spec.param(name).is_some_and(|param| param.no_log);
                let shown = if secret { "********" } else { &text };
                return Err(refused(format!("{name}: {shown} is not supported: {why}")));
            }
        }
        Ok(())
    }

    /// Returns the parameters as JSON, aliases and all as they were written.
    pub(super) fn json_args(&self, cx: &TaskContext<'_>) -> Result<Map<String, Json>, TaskError> {
        as_json(self.args(cx)?)
    }

    /// Returns what `module_defaults` gives to a module that the task's own hands on to.
    pub(super) fn json_defaults(
        &self,
        cx: &TaskContext<'_>,
        module: &str,
    ) -> Result<Map<String, Json>, TaskError> {
        let rendered = Dict::new();
        for (key, value) in self.defaults(cx, module).entries() {
            let value = self.arg(cx, &key.value().to_string(), &value)?;
            if !matches!(value, Value::Omit) {
                rendered.insert(key, value);
            }
        }
        as_json(rendered)
    }

    fn set_fact(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let facts = Dict::new();
        let mut cacheable = false;
        for (key, value) in args.entries() {
            let name = key.value().to_string();
            if name == "cacheable" {
                cacheable = eval::truth(&value).unwrap_or(false);
                continue;
            }
            if !is_variable_name(&name) {
                return Err(self.no_variable(cx, name));
            }
            facts.insert(key, value);
        }
        if facts.is_empty() {
            return Err(refused(
                "No key/value pairs provided, at least one is required for this action to succeed",
            ));
        }
        let mut attempt = plain(json!({"changed": false}));
        attempt.put("ansible_facts", &Value::Dict(facts.clone()));
        attempt.sets.push(NewVars {
            facts: if cacheable {
                facts.clone()
            } else {
                Dict::new()
            },
            set: facts,
            ..NewVars::default()
        });
        Ok(attempt)
    }

    /// Returns why a fact cannot have its name, which may be a template of something else than text.
    fn no_variable(&self, cx: &TaskContext<'_>, name: String) -> TaskError {
        let written = cx.task.args.keys().into_iter().filter_map(|key| match key {
            Value::Str(text) if text.is_authors() && text.contains("{{") => {
                let rendered = self.arg(cx, &text, &Value::authored(&text, None)).ok()?;
                (rendered.to_string() == name).then_some(rendered)
            }
            _ => None,
        });
        let found = written
            .into_iter()
            .find(|value| !matches!(value, Value::Str(_)));
        match found {
            Some(value) => refused(format!(
                "Task failed: Invalid variable name '{name}' of type '{}'.",
                value.type_name()
            )),
            None => TaskError::VariableName(name),
        }
    }

    fn assert(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.written_args(cx)?;
        let get = |name: &str| match args.get(name) {
            Some(value) => self.arg(cx, name, &value).map(Some),
            None => Ok(None),
        };
        let fail_msg = match get("fail_msg")? {
            Some(msg) => Some(msg),
            None => get("msg")?,
        };
        let success_msg = get("success_msg")?;
        let that = args
            .get("that")
            .ok_or_else(|| refused("conditional required in \"that\" string"))?;
        for condition in self.assertions(that, cx) {
            refuse_condition(&condition)?;
            let held = self.condition(&condition, cx.scope, cx.enclosing);
            if held? {
                continue;
            }
            let msg = fail_msg.unwrap_or_else(|| Value::str("Assertion failed"));
            let failed = json!({"failed": true, "changed": false, "evaluated_to": false});
            let mut attempt = saying(failed, &msg);
            attempt.put("assertion", &as_written(condition));
            return Ok(attempt);
        }
        let msg = success_msg.unwrap_or_else(|| Value::str("All assertions passed"));
        Ok(saying(json!({"changed": false}), &msg))
    }

    /// Returns the conditions of an assertion: those of a list, also of one that a template gives.
    fn assertions(&self, that: Value, cx: &TaskContext<'_>) -> Vec<Value> {
        let listed = match &that {
            // What fails here fails again, and is told, when it is decided.
            Value::Template(_) => self.render(&that, cx.scope, cx.enclosing).ok(),
            _ => Some(that.clone()),
        };
        let conditions = listed.as_ref().and_then(eval::items);
        conditions.unwrap_or_else(|| vec![that])
    }

    fn fail(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let msg = args
            .get("msg")
            .unwrap_or_else(|| Value::str("Failed as requested from task"));
        Ok(saying(json!({"failed": true, "changed": false}), &msg))
    }

    fn ping(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        self.allow_delegation(cx)?;
        // Whatever it is, the module takes it for text.
        let data = match self.args(cx)?.get("data") {
            None => Json::from("pong"),
            Some(Value::None) => Json::Null,
            Some(data) => Json::from(data.to_string()),
        };
        match data == "crash" {
            true => Ok(Attempt::failed("Task failed: Module failed: boom")),
            false => Ok(plain(json!({"changed": false, "ping": data}))),
        }
    }

    /// `wait_for_connection`: the task runs where the machine is, so that there is nothing to wait for but `delay`.
    fn wait_for_connection(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let args = self.args(cx)?;
        let delay = whole(&args, "delay", 0)?;
        for unused in ["connect_timeout", "sleep", "timeout"] {
            whole(&args, unused, 0)?;
        }
        let check = self.keyword_truth("check_mode", cx, |k| k.check_mode.clone())?;
        if check.unwrap_or(self.options.check) {
            return Ok(plain(json!({"skipped": true})));
        }
        self.allow_delegation(cx)?;
        let since = Instant::now();
        deadline::sleep(Duration::from_secs(u64::try_from(delay).unwrap_or(0)));
        let elapsed = since.elapsed().as_secs();
        Ok(plain(json!({"changed": false, "elapsed": elapsed})))
    }

    /// `setup`, and the gathering of facts that opens a play: by the module, under the task's identity.
    fn setup(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let spec =
            argspec::find("setup").ok_or_else(|| refused("The module setup was not found"))?;
        let mut call = self.prepare(cx, spec)?;
        call.args.shift_remove("parallel"); // `gather_facts` runs one module here
        if let Some(interpreter) = self.interpreter(cx)? {
            call.args
                .insert("_interpreter".to_owned(), interpreter.into());
        }
        let mut attempt = self.run_call(cx, spec, call);
        if let Some(Json::Array(warnings)) = attempt.fields.shift_remove("warnings") {
            for warning in warnings.iter().filter_map(Json::as_str) {
                self.warn(warning, Some(&cx.task.place));
            }
        }
        if bare(&cx.task.action) == "gather_facts" {
            self.gathered.set(true);
        }
        Ok(attempt)
    }

    /// Returns the Python that the author names for the machine, if it is not to be found out.
    fn interpreter(&self, cx: &TaskContext<'_>) -> Result<Option<String>, TaskError> {
        let named = amibake_playbook::template::Scope::get(cx.scope, "ansible_python_interpreter");
        let Some(named) = named else {
            return Ok(None);
        };
        let name = self.text(&named, cx.scope, cx.enclosing)?;
        Ok(Some(name).filter(|name| !name.is_empty() && !name.starts_with("auto")))
    }

    /// Makes what a task has set known to the rest of the run.
    pub(super) fn take(&self, new: &NewVars) {
        self.vars.add(new);
        let mut known = self.module_facts.borrow_mut();
        for (name, value) in &new.module_facts {
            // Modules choose by what `setup` finds; packages and accounts are long lists.
            if let Some(name) = name.strip_prefix("ansible_") {
                known.insert(name.to_owned(), value.clone());
            }
        }
    }

    /// Takes in what runs before have found out.
    pub(super) fn take_cached(&self) {
        let Some(known) = &self.options.cached_facts else {
            return;
        };
        let mut known = known.clone();
        let gathered = known.shift_remove(GATHERED) == Some(Json::Bool(true));
        self.gathered.set(gathered);
        self.take(&NewVars::found(known));
    }

    /// Tells the controller what the runs to come are to know.
    pub(super) fn keep_facts(&self) {
        let Some(cached) = &self.vars.cached else {
            return;
        };
        let mut facts = Map::new();
        for (name, value) in cached.entries() {
            facts.insert(name.value().to_string(), raw_json(&value));
        }
        if facts.is_empty() {
            return;
        }
        facts.insert(GATHERED.to_owned(), Json::Bool(self.gathered.get()));
        let answer = self.controller.borrow_mut().ask(Ask::KeepFacts { facts });
        if let Answer::Refused { reason } = answer {
            self.warn(format!("facts could not be kept: {reason}"), None);
        }
    }

    /// Runs a module, under the task's identity.
    fn module(&self, cx: &TaskContext<'_>) -> Result<Attempt, TaskError> {
        let spec = argspec::find(&cx.task.action)
            .ok_or_else(|| refused(format!("The module {} was not found", cx.task.action)))?;
        let call = self.prepare(cx, spec)?;
        if call.check && is_never_checked(&cx.task.action) {
            let action = &cx.task.action;
            let msg = format!("This action ({action}) does not support check mode.");
            let fields = json!({"changed": false, "skipped": true, "msg": msg});
            return Ok(plain(fields));
        }
        match self.job_limit(cx)? {
            Some(limit) => Ok(self.start_job(cx, call, limit)),
            None => Ok(self.run_call(cx, spec, call)),
        }
    }

    pub(super) fn run_call(&self, cx: &TaskContext<'_>, spec: &ModuleSpec, call: Call) -> Attempt {
        let secrets = Secrets::of(spec, &call.args);
        let index = cx.index;
        let hidden = self.is_censored(cx);
        let mut output = |stream, line: &str| {
            if hidden {
                return;
            }
            self.emit(Event::TaskOutput {
                index,
                stream,
                line: secrets.text(line),
            });
        };
        let facts = self.module_facts.borrow();
        let wanted = call.diff;
        let answer = self.executor.borrow_mut().call(call, &facts, &mut output);
        let mut attempt = match answer {
            Ok(outcome) => succeeded(outcome),
            Err(mut failure) => {
                let ours = format!("({}) module: ", spec.name);
                let theirs = format!("({}) module: ", own_args::called(&cx.task.action));
                failure.msg = failure.msg.replacen(&ours, &theirs, 1);
                self.explain_value(&failure.msg, cx);
                let mut attempt = failed(failure);
                attempt
                    .fields
                    .insert("exception".to_owned(), json!(TRACEBACK));
                attempt
            }
        };
        secrets.fields(&mut attempt.fields);
        if wanted {
            attempt.diff = diff::shown(attempt.fields.get("diff"));
        }
        if let Some(Json::Object(facts)) = attempt.fields.get("ansible_facts") {
            attempt.sets.push(NewVars::found(facts.clone()));
        }
        attempt
    }
}

/// Refuses what asserts nothing. In a `when` it is taken for true, as older versions of Ansible did.
fn refuse_condition(condition: &Value) -> Result<(), ConditionError> {
    let wrong = match condition {
        Value::None => "Empty conditional expressions are not allowed.",
        Value::Str(text) if text.trim().is_empty() => {
            "Empty conditional expressions are not allowed."
        }
        Value::Bool(_) | Value::Str(_) | Value::Template(_) => return Ok(()),
        _ => "Conditional expressions must be strings.",
    };
    Err(ConditionError {
        message: wrong.to_owned(),
        template: None,
    })
}

/// Returns a condition as any other text of the author is, a template only where it has one's marks.
fn as_written(condition: Value) -> Value {
    match condition {
        Value::Template(source) => Value::authored(&source.text, source.place.clone()),
        other => other,
    }
}

/// Returns a result with these fields.
pub(super) fn plain(fields: Json) -> Attempt {
    match fields {
        Json::Object(fields) => fields.into(),
        _ => Attempt::default(),
    }
}

/// Returns a result with these fields and a message of ours.
pub(super) fn saying(fields: Json, msg: &Value) -> Attempt {
    let mut attempt = plain(fields);
    attempt.put("msg", msg);
    attempt
}

fn succeeded(outcome: Outcome) -> Attempt {
    let mut fields = Fields::new();
    fields.insert("changed".to_owned(), json!(outcome.changed));
    fields.extend(outcome.result);
    if !outcome.diff.is_null() {
        fields.insert("diff".to_owned(), outcome.diff);
    }
    if outcome.skipped {
        fields.insert("skipped".to_owned(), json!(true));
    }
    if !outcome.warnings.is_empty() {
        fields.insert("warnings".to_owned(), json!(outcome.warnings));
    }
    add_lines(&mut fields);
    fields.into()
}

pub(super) fn failed(failure: Failure) -> Attempt {
    let mut fields = failure.result;
    fields.entry("changed").or_insert_with(|| json!(false));
    fields.insert("failed".to_owned(), json!(true));
    fields.insert("msg".to_owned(), json!(failure.msg));
    add_lines(&mut fields);
    fields.into()
}

/// Adds `stdout_lines` and `stderr_lines`, as Ansible's action base does.
fn add_lines(fields: &mut Fields) {
    for name in ["stdout", "stderr"] {
        let lines = format!("{name}_lines");
        if let (Some(Json::String(text)), false) = (fields.get(name), fields.contains_key(&lines)) {
            let split: Vec<Json> = splitlines(text).into_iter().map(Json::from).collect();
            fields.insert(lines, Json::Array(split));
        }
    }
}
