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
        self.touches(gathers, true)
    }

    /// Returns whether something in this play touches its hosts by itself, whatever is included while it runs.
    #[must_use]
    pub fn touches_itself(&self, gathers: bool) -> bool {
        self.touches(gathers, false)
    }

    /// `includes` is what to take of what is included: it may be anything.
    fn touches(&self, gathers: bool, includes: bool) -> bool {
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
            || lists.into_iter().any(|steps| any_touches(steps, includes))
            || self
                .roles
                .iter()
                .any(|used| role_use_touches(used, includes))
    }
}

fn any_touches(steps: &[Step], includes: bool) -> bool {
    steps.iter().any(|step| match step {
        Step::Block(block) => {
            let parts = [&block.block, &block.rescue, &block.always];
            parts.into_iter().any(|steps| any_touches(steps, includes))
        }
        Step::Task(task) => match bare(&task.action) {
            "include_tasks" | "include_role" => includes,
            _ => !touches_no_machine(&task.action) || any_touches(&task.imported, includes),
        },
    })
}

fn role_use_touches(used: &RoleUse, includes: bool) -> bool {
    used.role
        .as_ref()
        .is_none_or(|role| role_touches(role, includes))
}

fn role_touches(role: &Role, includes: bool) -> bool {
    any_touches(&role.tasks, includes)
        || any_touches(&role.handlers, includes)
        || role
            .dependencies
            .iter()
            .any(|used| role_use_touches(used, includes))
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
            let play = &playbook.plays[0];
            assert!(play.may_touch(gathers) || !play.touches_itself(gathers));
            (play.may_touch(gathers), play.touches_itself(gathers))
        };
        for play in [
            "tasks: [{set_fact: {a: 1}}, {block: [{fail: {}}], rescue: [{meta: clear_host_errors}]}]",
            "tasks: [{import_tasks: more.yml}], roles: [talks]",
        ] {
            let silent = format!("gather_facts: false, {play}");
            assert_eq!(touches(&silent, true), (false, false), "{play}");
            assert_eq!(touches(play, false), (false, false), "{play}");
            assert_eq!(touches(play, true), (true, true), "{play}");
        }
        for play in [
            "tasks: [{ping: }]",
            "tasks: [{import_tasks: acts.yml}]",
            "roles: [acts]",
            "gather_facts: '{{ x }}', tasks: []",
        ] {
            assert_eq!(touches(play, false), (true, true), "{play}");
        }
        let included = touches("tasks: [{include_tasks: more.yml}]", false);
        assert_eq!(included, (true, false));
    }
}
