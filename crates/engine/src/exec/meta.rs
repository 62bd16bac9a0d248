//! `meta`: what steers the run itself.

use std::rc::Rc;

use super::effects::{Effects, Flow};
use super::eval;
use super::model::Enclosing;
use super::role::Role;
use super::run::{Run, Stop};
use super::task_context::TaskContext;

impl Run<'_> {
    /// Does a `meta` task. It has no result and counts nowhere.
    pub(super) fn meta(&self, cx: &TaskContext<'_>) -> Result<Effects, Stop> {
        let enclosing = cx.enclosing;
        let args = self.written_args(cx)?;
        let what = args
            .get("_raw_params")
            .map_or_else(String::new, |raw| raw.to_string());
        // Ansible flushes handlers whatever `when` says, with a warning.
        if what != "flush_handlers" && !self.is_wanted(cx)? {
            return Ok(Effects::default());
        }
        match what.as_str() {
            "flush_handlers" => {
                return Ok(Effects {
                    flush: true,
                    ..Effects::default()
                });
            }
            "end_play" | "end_batch" | "end_host" => return Ok(Effects::flow(Flow::EndPlay)),
            "end_role" => {
                let role = enclosing.role.as_ref();
                let ends = |role: &Rc<Role>| Flow::EndRole(role.identity.clone());
                return Ok(Effects::flow(role.map_or(Flow::Next, ends)));
            }
            "clear_facts" => {
                self.vars.clear_facts();
                self.module_facts.borrow_mut().clear();
            }
            "noop" | "refresh_inventory" | "clear_host_errors" | "reset_connection" => {}
            other => return Err(Stop(format!("invalid meta action requested: {other}"))),
        }
        Ok(Effects::default())
    }

    /// Returns whether all conditions of a task hold.
    fn is_wanted(&self, cx: &TaskContext<'_>) -> Result<bool, Stop> {
        let place = &cx.task.place;
        for condition in cx.enclosing.gathered(&cx.task.keywords, |k| &k.when) {
            let held = self.holds(&condition, cx);
            if !held.map_err(|e| Stop(format!("{}:{}: {e}", place.file, place.line)))? {
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
            .map_err(|e| Stop(e.to_string()))?;
        Ok(eval::truth(&rendered).unwrap_or(false))
    }
}
