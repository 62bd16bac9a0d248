//! The gathering of facts that opens a play.

use std::rc::Rc;

use amibake_playbook::value::{Dict, Value};

use amibake_protocol::job::Gathering;

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
        let said = play.gather_facts.as_ref();
        let wanted = match (self.options.gathering, said) {
            (Gathering::Smart, _) if self.gathered.get() => false,
            (Gathering::Implicit | Gathering::Smart, None) => true,
            (_, said) => self.is_true(said, enclosing)?,
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
                // Facts of one host are nobody else's.
                run_once: Some(Value::Bool(false)),
                ..Keywords::default()
            },
            args,
            ..Task::new("gather_facts", play.place.clone())
        })))
    }
}
