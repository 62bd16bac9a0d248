//! Makes a task's call of a module: its checked arguments, its sources, whom it runs as.

use std::collections::BTreeMap;

use amibake_playbook::argspec::ModuleSpec;
use amibake_playbook::names::bare;
use amibake_playbook::surrogates;
use amibake_playbook::template::ErrorKind;
use amibake_playbook::value::{Dict, Key, Value};
use serde_json::{Map, Value as Json};

use super::eval;
use super::executor::Call;
use super::model::Keywords;
use super::own_args;
use super::run::{Delegation, Run};
use super::task_context::TaskContext;
use super::task_error::{TaskError, refused};
use crate::args::Args;
use crate::open_files::{FEW, FdLimit};
use crate::shlex;
use crate::source::Source;
use crate::worker::{Identity, Method};

/// Reads `become_method`.
fn become_method(name: Option<&String>) -> Result<Method, TaskError> {
    match name.map(|name| bare(name)) {
        None | Some("sudo") => Ok(Method::Sudo),
        Some("su") => Ok(Method::Su),
        Some(other) => Err(refused(format!(
            "become_method: {other} is not supported: there are sudo and su"
        ))),
    }
}

/// Returns whether `src` lies with the controller: defaults and other names of parameters count.
fn is_ours(spec: &ModuleSpec, given: &Map<String, Json>) -> bool {
    // Arguments that cannot be read are the module's to refuse, and need no file for that.
    Args::coerce(spec, given.clone())
        .is_ok_and(|args| !args.bool("remote_src") && args.opt_bool("copy") != Some(false))
}

/// Refuses texts with bytes that are no UTF-8, which only a file's content may be.
fn refuse_bytes(spec: &ModuleSpec, args: &Map<String, Json>) -> Result<(), TaskError> {
    let is_content = |name: &str| bare(spec.name) == "copy" && name == "content";
    let texts = args.iter().filter(|(name, _)| !is_content(name));
    let mut wrong = texts.filter_map(|(_, value)| surrogates::complaint(value.as_str()?));
    match wrong.next() {
        Some(why) => Err(refused(format!("Task failed: Module failed: {why}"))),
        None => Ok(()),
    }
}

impl Run<'_> {
    /// Templates and checks everything a call needs.
    pub(super) fn prepare(
        &self,
        cx: &TaskContext<'_>,
        spec: &'static ModuleSpec,
    ) -> Result<Call, TaskError> {
        let mut args = self.json_args(cx)?;
        own_args::check_sources(bare(spec.name), &args)?;
        match bare(spec.name) {
            "package" => {
                self.choose_manager(cx, &mut args)?;
                for (name, value) in self.json_defaults(cx, "ansible.builtin.apt")? {
                    args.entry(name).or_insert(value);
                }
            }
            "service" => self.add_defaults_behind(cx, &mut args)?,
            _ => {}
        }
        Self::refuse_values(spec, &args)?;
        refuse_bytes(spec, &args)?;
        let fd_limit = FdLimit::make();
        let sources = self.sources(cx, spec, &mut args)?;
        let check = self.keyword_truth("check_mode", cx, |k| k.check_mode.clone())?;
        let diff = self.keyword_truth("diff", cx, |k| k.diff.clone())?;
        Ok(Call {
            name: spec.name,
            args,
            check: check.unwrap_or(self.options.check),
            diff: diff.unwrap_or(self.options.diff),
            environment: self.environment(cx)?.into_iter().collect(),
            fd_limit: Some(fd_limit).filter(|_| sources.len() > FEW),
            sources,
            who: self.identity(cx)?,
            limit: self.time_limit(cx)?.map(|limit| limit.time),
        })
    }

    /// Has `service` know the defaults of the modules that it may hand on to: only there it is seen which one it is.
    fn add_defaults_behind(
        &self,
        cx: &TaskContext<'_>,
        args: &mut Map<String, Json>,
    ) -> Result<(), TaskError> {
        let mut behind = Map::new();
        for module in crate::modules::SERVICE_MANAGERS {
            let defaults = self.json_defaults(cx, module)?;
            if !defaults.is_empty() {
                behind.insert((*module).to_owned(), defaults.into());
            }
        }
        if !behind.is_empty() {
            args.insert("_defaults".to_owned(), behind.into());
        }
        Ok(())
    }

    /// Fills in the package manager that a variable names, where the task leaves it open.
    fn choose_manager(
        &self,
        cx: &TaskContext<'_>,
        args: &mut Map<String, Json>,
    ) -> Result<(), TaskError> {
        let open = args.get("use").is_none_or(|manager| manager == "auto");
        let named = amibake_playbook::template::Scope::get(cx.scope, "ansible_package_use");
        if let Some(named) = named.filter(|_| open) {
            let manager = self.text(&named, cx.scope, cx.enclosing)?;
            args.insert("use".to_owned(), Json::from(manager));
        }
        Ok(())
    }

    /// Merges `environment` from the play inwards.
    pub(super) fn environment(
        &self,
        cx: &TaskContext<'_>,
    ) -> Result<BTreeMap<String, String>, TaskError> {
        let mut merged = BTreeMap::new();
        for level in cx.enclosing.gathered(&cx.task.keywords, |k| &k.environment) {
            for (name, value) in self.environment_level(cx, &level)? {
                merged.insert(name.value().to_string(), value.to_string());
            }
        }
        Ok(merged)
    }

    /// Renders one level of `environment`: a mapping value by value, whose omitted ones are left out.
    fn environment_level(
        &self,
        cx: &TaskContext<'_>,
        level: &Value,
    ) -> Result<Vec<(Key, Value)>, TaskError> {
        let rendered = |value: &Value| self.render(value, cx.scope, cx.enclosing);
        if let Value::Dict(written) = level {
            let mut level = Vec::new();
            for (name, value) in written.entries() {
                match rendered(&value) {
                    Ok(Value::Omit) => {}
                    Ok(value) => level.push((name, value)),
                    // Until facts are gathered there is no `ansible_env`: Ansible goes without what needs it.
                    Err(error)
                        if error.kind == ErrorKind::Undefined
                            && error.message.contains("ansible_env") => {}
                    Err(error) => return Err(TaskError::Environment(error)),
                }
            }
            return Ok(level);
        }
        match rendered(level).map_err(TaskError::Environment)? {
            Value::Omit | Value::None => Ok(Vec::new()),
            Value::Dict(level) => Ok(level.entries()),
            other => {
                let warning = format!("could not parse environment value, skipping: {other}");
                self.warn(warning, Some(&cx.task.place));
                Ok(Vec::new())
            }
        }
    }

    /// Returns whether a task becomes another user.
    pub(super) fn becomes(&self, cx: &TaskContext<'_>) -> Result<bool, TaskError> {
        let becomes = self.connection_value(cx, "ansible_become", &|k| &k.become_)?;
        let said = |value: Value| eval::truth(&value).unwrap_or(false);
        Ok(becomes.map_or(self.options.privilege.always, said))
    }

    /// Returns what a variable says of how tasks are run, or else the keyword.
    fn connection_value(
        &self,
        cx: &TaskContext<'_>,
        name: &str,
        pick: &dyn Fn(&Keywords) -> &Option<Value>,
    ) -> Result<Option<Value>, TaskError> {
        let value = match cx.scope.given(name) {
            Some(value) => Some(self.render(&value, cx.scope, cx.enclosing)?),
            None => self.keyword(cx, |k| pick(k).clone())?,
        };
        Ok(value.filter(|v| !matches!(v, Value::None | Value::Omit)))
    }

    /// Returns whom a task runs as.
    pub(super) fn identity(&self, cx: &TaskContext<'_>) -> Result<Identity, TaskError> {
        self.allow_delegation(cx)?;
        let value = |name: &str, pick: &dyn Fn(&Keywords) -> &Option<Value>| {
            self.connection_value(cx, name, pick)
        };
        let options = &self.options;
        let becomes = self.becomes(cx)?;
        let method = value("ansible_become_method", &|k| &k.become_method)?;
        let method = method.map(|method| method.to_string());
        let method = become_method(method.as_ref().or(options.privilege.method.as_ref()))?;
        let user = if becomes {
            let user = value("ansible_become_user", &|k| &k.become_user)?;
            let user = user.map(|user| user.to_string());
            let user = user.or_else(|| options.privilege.user.clone());
            user.unwrap_or_else(|| "root".to_owned())
        } else {
            // Ansible's local connection logs in as nobody else either.
            let remote = value("ansible_user", &|k| &k.remote_user)?;
            let remote = remote.filter(|_| !options.local);
            remote.map_or_else(|| options.login_user.clone(), |user| user.to_string())
        };
        Ok(Identity {
            user: (!user.is_empty()).then_some(user),
            method,
        })
    }

    /// Returns the host that a task is delegated to, if it is.
    pub(super) fn delegated(&self, cx: &TaskContext<'_>) -> Result<Option<String>, TaskError> {
        match &*self.delegation.borrow() {
            Delegation::Open => {}
            Delegation::Nobody => return Ok(None),
            Delegation::To(host) => return Ok(Some(host.clone())),
        }
        let host = self.keyword(cx, |k| k.delegate_to.clone())?;
        let host = host
            .filter(|host| !matches!(host, Value::None))
            .map(|host| host.to_string());
        Ok(host.filter(|host| !host.is_empty()))
    }

    /// Returns what a task is told of the host that it is delegated to.
    pub(super) fn delegated_vars(&self, host: &str) -> Value {
        let vars = match self.vars.hosts.get(host) {
            Some(Value::Dict(known)) => known.copy(),
            _ => Dict::new(),
        };
        if !vars.has("ansible_host") {
            vars.set("ansible_host", Value::str(host));
        }
        let own = &self.options.inventory_hostname;
        vars.set("inventory_hostname", Value::str(own));
        Value::Dict(vars)
    }

    /// Refuses a call of a module elsewhere.
    pub(super) fn allow_delegation(&self, cx: &TaskContext<'_>) -> Result<(), TaskError> {
        let own = &self.options.inventory_hostname;
        let delegated = self.delegated(cx)?;
        let host = delegated.as_ref().unwrap_or(own);
        if host != own && self.is_on_controller() && self.is_this_machine(host) {
            return Ok(());
        }
        if let Some(why) = &self.options.unreachable {
            return Err(TaskError::Unreachable(why.clone()));
        }
        if self.options.untouched {
            let why = format!("{own} was not connected to, as nothing was to be done on it");
            return Err(refused(why));
        }
        match host == own {
            true => Ok(()),
            false => Err(refused(format!(
                "delegate_to: {host} is not supported: every host runs by itself"
            ))),
        }
    }

    /// Opens what a request sends: `src`, and the files of a form by the names of their fields.
    fn open_request(
        &self,
        cx: &TaskContext<'_>,
        src: Option<String>,
        given: &Map<String, Json>,
        sources: &mut BTreeMap<String, Source>,
    ) -> Result<(), TaskError> {
        if let Some(src) = src {
            self.open_source(cx, &src, false, sources)?;
        }
        if given.get("body_format") != Some(&Json::from("form-multipart")) {
            return Ok(());
        }
        let fields = given.get("body").and_then(Json::as_object);
        for (name, field) in fields.into_iter().flatten() {
            let file = field.get("filename").and_then(Json::as_str);
            if let Some(file) = file.filter(|_| field.get("content").is_none()) {
                let mut one = BTreeMap::new();
                self.open_source(cx, file, false, &mut one)?;
                let opened = one.into_values().next();
                sources.extend(opened.map(|source| (format!("body.{name}"), source)));
            }
        }
        Ok(())
    }

    /// Opens what the controller side of the task supplies; a template's mode is one of those things.
    fn sources(
        &self,
        cx: &TaskContext<'_>,
        spec: &ModuleSpec,
        given: &mut Map<String, Json>,
    ) -> Result<BTreeMap<String, Source>, TaskError> {
        let mut sources = BTreeMap::new();
        let module = bare(spec.name);
        if module == "template" {
            let (rendered, path) = self.rendered_template(cx, given)?;
            if given.get("mode").and_then(Json::as_str) == Some("preserve") {
                let mode = self
                    .project
                    .files
                    .mode(&path)
                    .map_err(|e| refused(e.to_string()))?;
                given.insert("mode".to_owned(), Json::from(format!("0{mode:03o}")));
            }
            given.insert("src".to_owned(), Json::from(path.to_string_lossy()));
            sources.insert(String::new(), Source::of_text(&rendered));
            return Ok(sources);
        }
        let src = given.get("src").and_then(Json::as_str);
        let src = src.filter(|src| !src.is_empty()).map(str::to_owned);
        match (module, src) {
            ("copy" | "unarchive", Some(src)) if is_ours(spec, given) => {
                let follow = given.get("local_follow").map(Value::from_json);
                let follow = follow.as_ref().and_then(eval::truth).unwrap_or(true);
                let found = self.open_source(cx, &src, !follow, &mut sources)?;
                if module == "copy" {
                    // A slash at the end says that what is in a folder is copied.
                    let slash = if src.ends_with('/') { "/" } else { "" };
                    let found = format!("{}{slash}", found.display());
                    given.insert("src".to_owned(), Json::from(found));
                }
            }
            ("assemble", Some(src)) if is_ours(spec, given) => {
                let found = self.open_fragments(cx, &src, &mut sources)?;
                given.insert("src".to_owned(), Json::from(found.to_string_lossy()));
            }
            ("uri", src) if is_ours(spec, given) => {
                self.open_request(cx, src, given, &mut sources)?;
            }
            ("script", _) => {
                let raw = given
                    .get("_raw_params")
                    .or_else(|| given.get("cmd"))
                    .and_then(Json::as_str);
                let words = raw.map(|raw| shlex::split(raw.trim()));
                let words = words.transpose().map_err(refused)?;
                if let Some(name) = words.iter().flatten().next() {
                    self.open_source(cx, name, false, &mut sources)?;
                }
            }
            _ => {}
        }
        Ok(sources)
    }
}
