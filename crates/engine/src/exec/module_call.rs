//! One call of a module: its checked arguments, its sources, whom it runs as.

use std::collections::BTreeMap;

use amibake_playbook::spec::ModuleSpec;
use amibake_playbook::value::{Dict, Value};
use amibake_protocol::event::Stream;
use serde_json::{Map, Value as Json};

use super::actions::{Doing, bare};
use super::eval;
use super::run::Run;
use crate::module::{Context, Failure, Outcome};
use crate::modules;
use crate::source::Source;
use crate::worker::Workers;

/// A call, ready to run.
pub(super) struct Call {
    name: &'static str,
    pub(super) args: Map<String, Json>,
    check: bool,
    diff: bool,
    environment: Vec<(String, String)>,
    sources: BTreeMap<String, Source>,
    /// The user it runs as; `None` is the login user.
    user: Option<String>,
}

impl Call {
    /// Runs it under its identity and waits for its answer.
    pub(super) fn run(
        self,
        workers: &mut Workers,
        facts: &Map<String, Json>,
        output: &mut dyn FnMut(Stream, &str),
    ) -> Result<Outcome, Failure> {
        if modules::find(self.name).is_none() {
            return Err(Failure::new(format!(
                "the module {} is not supported yet",
                self.name
            )));
        }
        let mut context = Context {
            check: self.check,
            diff: self.diff,
            environment: self.environment,
            sources: self.sources,
            facts,
            output,
        };
        let answer = workers.run(self.user.as_deref(), self.name, &self.args, &mut context);
        // A user's groups are those of the process that was started for it.
        if matches!(self.name, "ansible.builtin.user" | "ansible.builtin.group") {
            workers.forget();
        }
        answer
    }
}

impl Run<'_> {
    /// Templates and checks everything a call needs.
    pub(super) fn prepare(
        &self,
        doing: &Doing<'_>,
        spec: &'static ModuleSpec,
    ) -> Result<Call, String> {
        let args = self.json_args(doing)?;
        let sources = self.sources(doing, bare(spec.name), &args)?;
        let keyword = |value: Option<Value>, default: bool| match value {
            Some(value) => self.boolean(&value, doing.reach, doing.around),
            None => Ok(default),
        };
        let own = &doing.task.keywords;
        Ok(Call {
            name: spec.name,
            args,
            check: keyword(
                doing.around.nearest(own, |k| k.check_mode.clone()),
                self.options.check,
            )?,
            diff: keyword(
                doing.around.nearest(own, |k| k.diff.clone()),
                self.options.diff,
            )?,
            environment: self.environment(doing)?.into_iter().collect(),
            sources,
            user: self.identity(doing)?,
        })
    }

    /// Merges `environment` from the play inwards.
    pub(super) fn environment(
        &self,
        doing: &Doing<'_>,
    ) -> Result<BTreeMap<String, String>, String> {
        let mut merged = BTreeMap::new();
        for level in doing
            .around
            .gathered(&doing.task.keywords, |k| &k.environment)
        {
            let rendered = self
                .render(&level, doing.reach, doing.around)
                .map_err(|e| {
                    format!(
                        "Task failed: Error processing keyword 'environment': {}",
                        e.message
                    )
                })?;
            for (name, value) in rendered.as_dict().map(Dict::entries).unwrap_or_default() {
                merged.insert(name.value().to_string(), value.to_string());
            }
        }
        Ok(merged)
    }

    /// Returns the user a task runs as; `None` is whoever we are.
    fn identity(&self, doing: &Doing<'_>) -> Result<Option<String>, String> {
        let own = &doing.task.keywords;
        let delegate = doing.around.nearest(own, |k| k.delegate_to.clone());
        if let Some(host) = delegate {
            self.allow_delegation(&host, doing)?;
        }
        let value = |name: &str, value: Option<Value>| {
            let named = amibake_playbook::template::Scope::get(doing.reach, name);
            match named.or(value) {
                Some(value) => self
                    .render(&value, doing.reach, doing.around)
                    .map_err(|e| format!("Task failed: {}", e.message))
                    .map(Some),
                None => Ok(None),
            }
        };
        let becomes = value(
            "ansible_become",
            doing.around.nearest(own, |k| k.become_.clone()),
        )?
        .map_or(self.options.privilege.always, |b| {
            eval::truth(&b).unwrap_or(false)
        });
        let become_user = value(
            "ansible_become_user",
            doing.around.nearest(own, |k| k.become_user.clone()),
        )?
        .map(|user| user.to_string())
        .or_else(|| self.options.privilege.user.clone());
        let wanted = if becomes {
            become_user.unwrap_or_else(|| "root".to_owned())
        } else {
            self.options.login_user.clone()
        };
        Ok((!wanted.is_empty()).then_some(wanted))
    }

    fn allow_delegation(&self, host: &Value, doing: &Doing<'_>) -> Result<(), String> {
        let host = self
            .text(host, doing.reach, doing.around)
            .map_err(|e| format!("Task failed: {}", e.message))?;
        let here = host == self.options.inventory_hostname
            || (self.options.local && ["localhost", "127.0.0.1", "::1"].contains(&host.as_str()));
        if here || host.is_empty() {
            return Ok(());
        }
        Err(format!(
            "delegate_to: {host} is not supported: every host runs by itself"
        ))
    }

    /// Opens what the controller side of the task supplies.
    fn sources(
        &self,
        doing: &Doing<'_>,
        module: &str,
        given: &Map<String, Json>,
    ) -> Result<BTreeMap<String, Source>, String> {
        let mut sources = BTreeMap::new();
        let remote = given
            .get("remote_src")
            .is_some_and(|v| eval::truth(&Value::from_json(v)).unwrap_or(false));
        if module == "template" {
            let rendered = self.rendered_template(doing, given)?;
            sources.insert(String::new(), Source::of_text(&rendered));
            return Ok(sources);
        }
        let src = given.get("src").and_then(Json::as_str).map(str::to_owned);
        match (module, src) {
            ("copy" | "unarchive" | "assemble" | "patch", Some(src)) if !remote => {
                self.open_source(doing, &src, &mut sources)?;
            }
            ("script", _) => {
                let raw = given
                    .get("_raw_params")
                    .or_else(|| given.get("cmd"))
                    .and_then(Json::as_str);
                if let Some(name) = raw.and_then(|raw| raw.split_whitespace().next()) {
                    self.open_source(doing, name, &mut sources)?;
                }
            }
            _ => {}
        }
        Ok(sources)
    }
}
