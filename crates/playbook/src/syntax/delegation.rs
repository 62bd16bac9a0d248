//! Where tasks are delegated to. What touches no machine runs the same wherever it is delegated to.

use super::known;
use super::walk::{Follow, Walk};
use super::{Keywords, Task};
use crate::diagnostic::Diagnostic;
use crate::hosts::is_localhost;

/// Actions that touch no machine.
const NOWHERE: &[&str] = &[
    "add_host",
    "assert",
    "debug",
    "fail",
    "group_by",
    "import_role",
    "import_tasks",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "set_fact",
    "set_stats",
    "validate_argument_spec",
];

/// Keywords that say how a machine is reached.
const CONNECTING: &[&str] = &["become_exe", "become_flags", "become_method", "connection"];

/// Returns whether an action touches no machine.
#[must_use]
pub fn touches_no_machine(action: &str) -> bool {
    NOWHERE.contains(&known::bare(action))
}

/// Returns the keywords of a task that matter where it runs. What an import says holds for all that it brings.
pub(super) fn mattering(task: &Task) -> Keywords {
    let all = task.keywords.iter();
    let imports = known::bare(&task.action).starts_with("import_");
    let matters = |name: &str| imports || !CONNECTING.contains(&name);
    match touches_no_machine(&task.action) {
        true => all.filter(|(name, _)| matters(name)).cloned().collect(),
        false => task.keywords.clone(),
    }
}

impl Walk<'_> {
    /// Refuses a task that would be done on the controller. Names that are templates are rendered, and refused,
    /// when the task runs.
    pub(super) fn check_delegation(&mut self, task: &Task) {
        if self.follow == Follow::Nothing || self.local || touches_no_machine(&task.action) {
            return;
        }
        let own = task
            .keywords
            .iter()
            .rfind(|(name, _)| name == "delegate_to");
        let own = own
            .map(|(_, node)| node.clone())
            .filter(|node| !node.is_null());
        let Some(host) = own.or_else(|| self.position.delegated.clone()) else {
            return;
        };
        let text = host.scalar_text().unwrap_or_default();
        if !host.is_template() && is_localhost(&text) {
            let wrong = format!(
                "`delegate_to: {text}` is not supported for `{}`",
                task.action
            );
            let hint = "it would run on the controller: that is done where the hosts of the play are this machine, too (`--local`, `ansible_connection: local`)";
            self.refuse(Diagnostic::new(&host.span, wrong).hint(hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::files::Disk;
    use crate::syntax::{Options, parse};

    /// Returns what is wrong with a play of these tasks.
    fn wrong(tasks: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yml");
        std::fs::write(folder.path().join("more.yml"), "- {command: ls}\n").unwrap();
        std::fs::write(&path, format!("- hosts: all\n  tasks:\n{tasks}")).unwrap();
        let parsed = parse(&Disk::here(), Path::new(&path), &Options::default());
        parsed.err().map(|all| all.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_touches_no_machine_may_be_delegated_to_the_controller() {
        for task in [
            "{debug: {msg: a}, delegate_to: localhost, connection: local}",
            "{local_action: debug msg=a}",
            "{delegate_to: localhost, block: [{assert: {that: true}}, {set_fact: {a: 1}}]}",
            "{command: ls, delegate_to: '{{ somewhere }}'}",
            "{delegate_to: localhost, block: [{command: ls, delegate_to: '{{ inventory_hostname }}'}]}",
        ] {
            assert_eq!(wrong(&format!("    - {task}\n")), "", "{task}");
        }
    }

    #[test]
    fn what_would_be_done_on_the_controller_is_refused_where_that_is_said() {
        for (task, place) in [
            ("{command: ls, delegate_to: localhost}", "3:34"),
            ("{local_action: command ls}", "3:22"),
            ("{delegate_to: 127.0.0.1, block: [{command: ls}]}", "3:21"),
            ("{delegate_to: localhost, import_tasks: more.yml}", "3:21"),
        ] {
            let wrong = wrong(&format!("    - {task}\n"));
            let said = wrong.contains("is not supported for `command`");
            assert!(
                said && wrong.contains(&format!("site.yml:{place}")),
                "{task}: {wrong}"
            );
        }
    }
}
