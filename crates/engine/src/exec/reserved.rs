//! The warning for variables that are called as a keyword or as a function of templates: they cannot always be told
//! from those. Ansible gives it for the same names.

use amibake_playbook::syntax;
use amibake_playbook::yaml::{Kind, Node};
use amibake_protocol::event::Place;

use super::convert;
use super::run::Run;

/// Ansible's list, without `vars`, which is always there.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "action", "always", "any_errors_fatal", "args", "async", "async_val", "become", "become_exe", "become_flags",
    "become_method", "become_user", "block", "changed_when", "check_mode", "collections", "connection", "cycler",
    "debugger", "delay", "delegate_facts", "delegate_to", "dict", "diff", "environment", "fact_path", "failed_when",
    "force_handlers", "gather_facts", "gather_timeout", "handlers", "hosts", "ignore_errors", "ignore_unreachable",
    "joiner", "lipsum", "local_action", "lookup", "loop", "loop_control", "loop_with", "max_fail_percentage",
    "module_defaults", "name", "namespace", "no_log", "notify", "now", "omit", "order", "poll", "port", "post_tasks",
    "pre_tasks", "q", "query", "range", "register", "remote_user", "rescue", "retries", "roles", "run_once", "serial",
    "strategy", "tags", "tasks", "throttle", "timeout", "undef", "until", "vars_files", "vars_prompt", "when", "with_",
];

/// Warns of a variable, once for each place.
pub(super) fn check(run: &Run<'_>, name: &str, place: Option<&Place>) {
    if !RESERVED.contains(&name) {
        return;
    }
    let message = format!("Found variable using reserved name '{name}'.");
    let known = format!("{message} {place:?}");
    if run.explained.borrow_mut().insert(known) {
        run.warn(message, place);
    }
}

/// Warns of the variables of a mapping.
pub(super) fn check_mapping(run: &Run<'_>, node: &Node) {
    let Kind::Map(pairs) = &node.kind else {
        return;
    };
    for (key, _) in pairs {
        check(
            run,
            key.as_str().unwrap_or_default(),
            Some(&convert::place(&key.span)),
        );
    }
}

/// Warns of what plays call their variables.
pub(super) fn check_plays(run: &Run<'_>, plays: &[syntax::Play]) {
    for play in plays {
        check_keywords(run, &play.keywords);
        for used in &play.roles {
            check_keywords(run, &used.keywords);
            check_names(run, &used.params);
        }
        for steps in [
            &play.pre_tasks,
            &play.tasks,
            &play.post_tasks,
            &play.handlers,
        ] {
            check_steps(run, steps);
        }
    }
}

/// Warns of what tasks call their variables.
pub(super) fn check_steps(run: &Run<'_>, steps: &[syntax::Step]) {
    for step in steps {
        match step {
            syntax::Step::Task(task) => {
                check_keywords(run, &task.keywords);
                if task
                    .spec
                    .is_some_and(|spec| spec.name == "ansible.builtin.set_fact")
                {
                    check_names(run, &task.args.named);
                }
                check_steps(run, &task.imported);
            }
            syntax::Step::Block(block) => {
                check_keywords(run, &block.keywords);
                for steps in [&block.block, &block.rescue, &block.always] {
                    check_steps(run, steps);
                }
            }
        }
    }
}

fn check_keywords(run: &Run<'_>, keywords: &syntax::Keywords) {
    for (name, node) in keywords {
        match name.as_str() {
            "vars" => check_mapping(run, node),
            "register" => {
                let name = node.as_str().unwrap_or_default();
                check(run, name, Some(&convert::place(&node.span)));
            }
            _ => {}
        }
    }
}

fn check_names(run: &Run<'_>, named: &[(String, Node)]) {
    for (name, node) in named {
        check(run, name, Some(&convert::place(&node.span)));
    }
}
