//! The gathering of facts that opens a play.

use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};

use super::eval;
use super::model::{Enclosing, Keywords, Play, Task};
use super::run::{Flow, Run, Stop};

impl Run<'_> {
    /// Gathers facts unless the play says not to. It runs whatever the tags, unless the play
    /// itself is tagged.
    pub(super) fn gather(&self, play: &Play, around: &Rc<Enclosing>) -> Result<Flow, Stop> {
        let reach = self.vars.reach(around, None);
        let wanted = match &play.gather_facts {
            None => true,
            Some(value) => {
                let rendered = self
                    .render(value, &reach, around)
                    .map_err(|e| Stop(e.to_string()))?;
                eval::truth(&rendered).unwrap_or(false)
            }
        };
        if !wanted || self.start_at.borrow().is_some() && !play.keywords.tags.is_empty() {
            return Ok(Flow::Next);
        }
        let args = Dict::new();
        for (name, value) in [
            ("gather_subset", &play.gather_subset),
            ("gather_timeout", &play.gather_timeout),
            ("fact_path", &play.fact_path),
        ] {
            if let Some(value) = value {
                args.set(name, value.clone());
            }
        }
        let always = if play.keywords.tags.is_empty() {
            vec![Value::str("always")]
        } else {
            Vec::new()
        };
        let task = Rc::new(Task {
            keywords: Keywords {
                name: Some(Value::str("Gathering Facts")),
                tags: always,
                ..Keywords::default()
            },
            args,
            ..Task::new("gather_facts", play.place.clone())
        });
        let start_at = self.start_at.take();
        let flow = self.task(&task, around, false);
        self.start_at.replace(start_at);
        flow
    }
}
