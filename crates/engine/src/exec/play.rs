//! The gathering of facts that opens a play.

use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};

use super::model::{Enclosing, Keywords, Play, Task};
use super::run::{Run, Stop};

impl Run<'_> {
    /// Returns the task that gathers facts, unless the play says not to. It runs whatever the tags,
    /// unless the play itself is tagged.
    pub(super) fn gathering(
        &self,
        play: &Play,
        enclosing: &Rc<Enclosing>,
    ) -> Result<Option<Rc<Task>>, Stop> {
        let wanted = match &play.gather_facts {
            None => true,
            value => self.is_true(value.as_ref(), enclosing)?,
        };
        if !wanted || self.start_at.borrow().is_some() && !play.keywords.tags.is_empty() {
            return Ok(None);
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
        Ok(Some(Rc::new(Task {
            keywords: Keywords {
                name: Some(Value::str("Gathering Facts")),
                tags: always,
                ..Keywords::default()
            },
            args,
            ..Task::new("gather_facts", play.place.clone())
        })))
    }
}
