//! Which handlers a notification means.

use super::handlers::Handler;
use super::run::{Run, Stop};

impl Run<'_> {
    /// Notifies handlers by name or topic.
    pub(super) fn notify(&self, names: &[String]) -> Result<(), Stop> {
        for name in names {
            let found = self.find_handlers(name);
            if found.is_empty() {
                let wrong = format!(
                    "The requested handler '{name}' was not found in either the main handlers list nor in the \
                     listening handlers list"
                );
                if !self.options.settings.passes_missing_handlers {
                    return Err(Stop::new(wrong));
                }
                self.warn(wrong, None);
                continue;
            }
            self.handlers.borrow_mut().notify(name, &found);
        }
        Ok(())
    }

    /// Returns the handlers that a notification means: the one of that name, and who listens.
    pub(super) fn find_handlers(&self, notification: &str) -> Vec<usize> {
        let all = self.handlers.borrow().all().to_vec();
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(all[*at].list));
        let mut found = Vec::new();
        for at in order.iter().copied() {
            let handler = &all[at];
            let Some(name) = self.handler_name(handler) else {
                continue;
            };
            let role = handler.enclosing.role.as_ref();
            let full = role.map(|role| format!("{} : {name}", role.name));
            let short = role.map(|role| format!("{} : {name}", role.short_name()));
            let names = [Some(name), full, short];
            if names.iter().flatten().any(|name| name == notification) {
                found.push(at);
                break;
            }
        }
        let mut seen = Vec::new();
        for (at, handler) in all.iter().enumerate().rev() {
            // Topics are never templated. A role's may be called by its name too.
            let role = handler.enclosing.role.as_ref();
            let means = |topic: &str| {
                let of = |name: &str| notification == format!("{name} : {topic}");
                topic == notification || role.is_some_and(|r| of(&r.name) || of(r.short_name()))
            };
            let mut topics = handler.task.listen.iter().flat_map(super::eval::texts);
            if !topics.any(|topic| means(&topic)) {
                continue;
            }
            let name = self.handler_name(handler);
            if name.is_some() && seen.contains(&name) {
                continue;
            }
            seen.push(name);
            found.push(at);
        }
        found
    }

    fn handler_name(&self, handler: &Handler) -> Option<String> {
        let name = handler.task.keywords.name.as_ref()?;
        let scope = self.vars.scope(&handler.enclosing, Some(&handler.task));
        self.text(name, &scope, &handler.enclosing).ok()
    }
}
