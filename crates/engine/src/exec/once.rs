//! Tasks for which hosts heed one another: one does it for all (`run_once`), or only so many are at it at the same
//! time (`throttle`, `--forks`). The controller says whose turn it is.

use amibake_playbook::names::bare;
use amibake_playbook::value::{List, Value};
use amibake_protocol::ask::{Answer, Ask, Once, Step};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::effects::{Effects, Flow};
use super::run::{Run, Stop};
use super::task_context::TaskContext;
use super::turn::not_awaited;
use super::vars::NewVars;

/// What Ansible does once for all hosts, whatever the task says.
const BYPASSES_HOSTS: &[&str] = &["add_host", "pause"];
/// How many bytes of what came of a task the other hosts are told.
const SHARED_BYTES: usize = 4 << 20;

impl Run<'_> {
    /// Runs a task when it is this host's turn, or takes over what came of it on another host.
    pub(super) fn in_turn(&self, cx: TaskContext<'_>, handler: bool) -> Result<Effects, Stop> {
        let throttle = self.throttle(&cx)?;
        if !self.accompanied.get() {
            return Ok(self.ordinary(cx, handler));
        }
        let step = self.step_of(&cx);
        if self.is_for_one(&cx)? {
            return self.for_all(cx, handler, step);
        }
        let limit = [throttle, self.options.forks].into_iter().flatten().min();
        let together = self.batch.borrow().len();
        match limit.filter(|limit| usize::try_from(*limit).is_ok_and(|limit| limit < together)) {
            Some(limit) => self.among_few(cx, handler, step, limit),
            None => Ok(self.ordinary(cx, handler)),
        }
    }

    /// Returns where the walk is, in the words of all hosts.
    fn step_of(&self, cx: &TaskContext<'_>) -> Step {
        let place = &cx.task.place;
        Step {
            play: self.plays.get().saturating_sub(1),
            at: self.position.borrow().clone(),
            task: format!("{}:{}:{}", place.file, place.line, place.column),
        }
    }

    /// Returns whether one host does the task for all. Only hosts that go in step can.
    fn is_for_one(&self, cx: &TaskContext<'_>) -> Result<bool, Stop> {
        if !self.in_step.get() {
            return Ok(false);
        }
        let once = self.keyword_truth("run_once", cx, |keywords| keywords.run_once.clone())?;
        Ok(once.unwrap_or(false) || BYPASSES_HOSTS.contains(&bare(&cx.task.action)))
    }

    /// Returns how many hosts may be at the task. What is no number ends the run, as Ansible's.
    fn throttle(&self, cx: &TaskContext<'_>) -> Result<Option<u32>, Stop> {
        let pick = |keywords: &super::model::Keywords| keywords.throttle.clone();
        let wrong = |why: String| {
            let place = &cx.task.place;
            Stop::new(format!(
                "{}:{}: Failed to convert the throttle value to an integer: {why}",
                place.file, place.line
            ))
        };
        let given = self
            .keyword(cx, pick)
            .map_err(|error| wrong(error.to_string()))?;
        let Some(given) = given.filter(|given| !matches!(given, Value::None)) else {
            return Ok(None);
        };
        let number = super::eval::number(&given).ok_or_else(|| {
            let shown = given.repr();
            wrong(format!("invalid literal for int() with base 10: {shown}"))
        })?;
        Ok(u32::try_from(number).ok().filter(|number| *number > 0))
    }

    /// Runs a task if this host is the one, and otherwise waits for what came of it.
    fn for_all(&self, cx: TaskContext<'_>, handler: bool, step: Step) -> Result<Effects, Stop> {
        let hosts = self.batch.borrow().clone();
        let ask = Ask::Once {
            step: step.clone(),
            hosts,
        };
        match self.ask_others(ask)? {
            None => Ok(Effects::flow(Flow::Cancelled)),
            Some(Once::Yours) => {
                let effects = self.ordinary(cx, handler);
                let outcome = self.told_to_others(&cx, &effects)?;
                let told: Option<Json> = self.ask_others(Ask::Came { step, outcome })?;
                Ok(told.map_or_else(|| Effects::flow(Flow::Cancelled), |_| effects))
            }
            Some(Once::Done { outcome }) => Ok(taken_over(&cx, &outcome)),
        }
    }

    /// Returns what of a task concerns the hosts that it was done for.
    fn told_to_others(&self, cx: &TaskContext<'_>, effects: &Effects) -> Result<Json, Stop> {
        let failed = matches!(effects.flow, Flow::Failed | Flow::Cancelled);
        let shares = self.keyword_truth("run_once", cx, |keywords| keywords.run_once.clone())?;
        if !shares.unwrap_or(false) {
            return Ok(json!({ "failed": failed }));
        }
        let registered = cx.task.register.as_ref().and_then(|name| {
            let mut set = effects.set.iter();
            set.find(|(known, _)| known == name)
                .map(|(_, value)| value.clone())
        });
        let sets = effects.vars.iter().map(|new| {
            Value::dict([
                ("set", Value::Dict(new.set.clone())),
                ("included", Value::Dict(new.included.clone())),
                ("facts", Value::Dict(new.facts.clone())),
            ])
        });
        let shared = Value::dict([
            ("registered", registered.unwrap_or(Value::None)),
            ("sets", Value::list(sets.collect())),
        ]);
        let place = &cx.task.place;
        let wrong = |why: String| {
            Stop::new(format!(
                "{}:{}: what came of this task cannot be told to the other hosts: {why}",
                place.file, place.line
            ))
        };
        let shared = shared
            .to_tagged_json()
            .map_err(|error| wrong(error.to_string()))?;
        let outcome = json!({ "failed": failed, "shared": shared });
        match outcome.to_string().len() {
            length if length > SHARED_BYTES => Err(wrong(format!("it has {length} bytes"))),
            _ => Ok(outcome),
        }
    }

    /// Runs a task when fewer than `limit` hosts are at it.
    fn among_few(
        &self,
        cx: TaskContext<'_>,
        handler: bool,
        step: Step,
        limit: u32,
    ) -> Result<Effects, Stop> {
        let ask = Ask::Slot {
            step: step.clone(),
            hosts: self.batch.borrow().clone(),
            limit,
            in_step: self.in_step.get(),
        };
        if self.ask_others::<bool>(ask)? != Some(true) {
            return Ok(Effects::flow(Flow::Cancelled));
        }
        let effects = self.ordinary(cx, handler);
        let _ended: Option<Json> = self.ask_others(Ask::SlotEnded { step })?;
        Ok(effects)
    }

    /// Asks the controller about the other hosts. Nothing is that the run was cancelled meanwhile.
    pub(super) fn ask_others<T: DeserializeOwned>(&self, ask: Ask) -> Result<Option<T>, Stop> {
        let answer = self.controller.borrow_mut().ask(ask);
        match answer {
            Answer::Value { value } => {
                let answer = serde_json::from_value(value);
                answer.map(Some).map_err(|e| not_awaited(&e.to_string()))
            }
            Answer::Refused { .. } if self.controller.borrow().cancelled() => Ok(None),
            Answer::Refused { reason } => Err(not_awaited(&reason)),
            Answer::File { .. } => Err(not_awaited("a file came instead of a word")),
        }
    }
}

/// Returns what a task that another host did leaves to be done on this one: what the task says that it sets, as data.
fn taken_over(cx: &TaskContext<'_>, outcome: &Json) -> Effects {
    let mut effects = Effects::default();
    if outcome["failed"] == json!(true) {
        effects.flow = Flow::Failed;
    }
    let shared = Value::from_foreign_json(&outcome["shared"]);
    let field = |of: &Value, name: &str| of.get(name).unwrap_or_default();
    if let (Some(name), Some(registered)) = (&cx.task.register, shared.get("registered")) {
        effects.set.push((name.clone(), registered));
    }
    let sets = field(&shared, "sets");
    for new in sets.as_list().map(List::items).unwrap_or_default() {
        let part = |name: &str, allowed: bool| {
            let found = field(&new, name).as_dict().cloned();
            found.filter(|_| allowed).unwrap_or_default()
        };
        let action = bare(&cx.task.action);
        effects.vars.push(NewVars {
            set: part("set", action == "set_fact"),
            included: part("included", action == "include_vars"),
            facts: part("facts", action != "include_vars"),
            // Modules work on this machine, whatever tasks are told of another.
            ..NewVars::default()
        });
    }
    effects
}
