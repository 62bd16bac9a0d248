//! Whether a play does anything on its hosts: what only sets facts, checks and prints needs no connection.

use super::delegation::touches_no_machine;
use super::{Play, Role, RoleUse, Step};
use crate::names::bare;
use crate::yaml::Kind;

impl Play {
    /// Returns whether a host of this play may be touched, as far as can be told; `gathers` if facts are gathered
    /// unless the play says otherwise.
    #[must_use]
    pub fn may_touch(&self, gathers: bool) -> bool {
        let said = self
            .keywords
            .iter()
            .find(|(name, _)| name == "gather_facts");
        let gathers = match said.map(|(_, node)| &node.kind) {
            Some(Kind::Bool(gathers)) => *gathers,
            Some(_) => true,
            None => gathers,
        };
        let lists = [
            &self.pre_tasks,
            &self.tasks,
            &self.post_tasks,
            &self.handlers,
        ];
        gathers
            || lists.into_iter().any(|steps| any_touches(steps))
            || self.roles.iter().any(role_use_touches)
    }
}

fn any_touches(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Block(block) => {
            let parts = [&block.block, &block.rescue, &block.always];
            parts.into_iter().any(|steps| any_touches(steps))
        }
        // What is included while the play runs may be anything.
        Step::Task(task) => {
            let includes = matches!(bare(&task.action), "include_tasks" | "include_role");
            includes || !touches_no_machine(&task.action) || any_touches(&task.imported)
        }
    })
}

fn role_use_touches(used: &RoleUse) -> bool {
    used.role.as_ref().is_none_or(role_touches)
}

fn role_touches(role: &Role) -> bool {
    any_touches(&role.tasks)
        || any_touches(&role.handlers)
        || role.dependencies.iter().any(role_use_touches)
}

#[cfg(test)]
mod tests {
    use crate::files::Disk;
    use crate::files::tests::project;
    use crate::syntax::{Options, parse};

    #[test]
    fn what_only_sets_facts_checks_and_prints_touches_nothing() {
        let files = [
            ("more.yml", "- {debug: {msg: a}}\n"),
            ("acts.yml", "- {command: ls}\n"),
            ("roles/talks/tasks/main.yml", "- {assert: {that: true}}\n"),
            ("roles/acts/meta/main.yml", "dependencies: [talks]\n"),
            (
                "roles/acts/handlers/main.yml",
                "- {name: h, service: {name: x, state: restarted}}\n",
            ),
        ];
        let touches = |play: &str, gathers: bool| {
            let site = format!("- {{hosts: all, {play}}}\n");
            let dir = project(&[&files[..], &[("site.yml", site.as_str())]].concat());
            let site = dir.path().join("site.yml");
            let playbook = parse(&Disk::here(), &site, &Options::default()).unwrap();
            playbook.plays[0].may_touch(gathers)
        };
        for play in [
            "tasks: [{set_fact: {a: 1}}, {block: [{fail: {}}], rescue: [{meta: clear_host_errors}]}]",
            "tasks: [{import_tasks: more.yml}], roles: [talks]",
        ] {
            assert!(
                !touches(&format!("gather_facts: false, {play}"), true),
                "{play}"
            );
            assert!(!touches(play, false), "{play}");
            assert!(touches(play, true), "{play}");
        }
        for play in [
            "tasks: [{ping: }]",
            "tasks: [{import_tasks: acts.yml}]",
            "tasks: [{include_tasks: more.yml}]",
            "roles: [acts]",
            "gather_facts: '{{ x }}', tasks: []",
        ] {
            assert!(touches(play, false), "{play}");
        }
    }
}
