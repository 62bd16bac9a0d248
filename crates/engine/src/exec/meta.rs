//! `meta`: what steers the run itself.

use std::rc::Rc;

use amibake_protocol::event::{Event, Status};
use serde_json::json;

use super::effects::{Effects, Flow};
use super::eval;
use super::model::Enclosing;
use super::role::Role;
use super::run::{Run, Stop};
use super::task_context::TaskContext;

/// Returns what Ansible says it does instead of what is not wanted; some it does whatever `when` says.
fn instead_of(what: &str) -> Option<&'static str> {
    Some(match what {
        "flush_handlers" => ", not running handlers",
        "clear_facts" => ", not clearing facts and fact cache",
        "clear_host_errors" => ", not clearing host error state",
        "end_batch" => ", continuing current batch",
        "end_play" => ", continuing play",
        "end_host" => ", continuing execution",
        "end_role" => "continuing role",
        _ => return None,
    })
}

fn skipped(index: u32, what: &str, instead: &str) -> Event {
    let reason = format!("{what} conditional evaluated to False{instead}");
    let fields = [
        ("msg", json!(what)),
        ("skipped", json!(true)),
        ("skip_reason", json!(reason)),
    ];
    Event::TaskFinished {
        index,
        status: Status::Skipped,
        result: fields
            .map(|(name, value)| (name.to_owned(), value))
            .into_iter()
            .collect(),
        diff: Vec::new(),
        elapsed_ms: 0,
    }
}

impl Run<'_> {
    /// Does a `meta` task. It counts nowhere, and is told only where its conditions do not hold.
    pub(super) fn meta(&self, cx: &mut TaskContext<'_>, handler: bool) -> Result<Effects, Stop> {
        let enclosing = cx.enclosing;
        let args = self.written_args(cx)?;
        let what = args
            .get("_raw_params")
            .map_or_else(String::new, |raw| raw.to_string());
        if let Some(instead) = instead_of(&what)
            && !self.is_wanted(cx)?
        {
            self.begin(cx, handler);
            self.emit(skipped(cx.index, &what, instead));
            return Ok(Effects::default());
        }
        match what.as_str() {
            "flush_handlers" => {
                return Ok(Effects {
                    flush: true,
                    ..Effects::default()
                });
            }
            "end_play" => {
                self.ended.set(Some(self.plays.get().saturating_sub(1)));
                return Ok(Effects::flow(Flow::EndPlay));
            }
            "end_batch" | "end_host" => return Ok(Effects::flow(Flow::EndPlay)),
            "end_role" => {
                let role = enclosing.role.as_ref();
                let ends = |role: &Rc<Role>| Flow::EndRole(role.identity.clone());
                return Ok(Effects::flow(role.map_or(Flow::Next, ends)));
            }
            "clear_facts" => {
                self.vars.clear_facts();
                self.gathered.set(false);
                self.module_facts.borrow_mut().clear();
            }
            "clear_host_errors" => {
                self.cleared.set(true);
                self.count(|recap| recap.cleared = recap.failed);
            }
            "noop" | "refresh_inventory" | "reset_connection" => {}
            other => return Err(Stop::new(format!("invalid meta action requested: {other}"))),
        }
        Ok(Effects::default())
    }

    /// Returns whether all conditions of a task hold.
    fn is_wanted(&self, cx: &TaskContext<'_>) -> Result<bool, Stop> {
        let place = &cx.task.place;
        for condition in cx.enclosing.gathered(&cx.task.keywords, |k| &k.when) {
            let held = self.holds(&condition, cx);
            if !held.map_err(|e| Stop::new(format!("{}:{}: {e}", place.file, place.line)))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Evaluates a keyword of a play; absent is false.
    pub(super) fn is_true(
        &self,
        value: Option<&amibake_playbook::value::Value>,
        enclosing: &Rc<Enclosing>,
    ) -> Result<bool, Stop> {
        let Some(value) = value else {
            return Ok(false);
        };
        let scope = self.vars.scope(enclosing, None);
        let rendered = self
            .render(value, &scope, enclosing)
            .map_err(|e| Stop::new(e.to_string()))?;
        Ok(eval::truth(&rendered).unwrap_or(false))
    }
}
