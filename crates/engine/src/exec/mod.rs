//! Runs whole playbooks on this machine, as Ansible's linear strategy does for one host.
//!
//! Owns the order of things: plays, roles, blocks, loops, handlers, results. What a template is
//! worth is [`amibake_playbook`]'s, what a module does is [`crate::modules`]'s.
//!
//! Its rooms, each above those before it:
//! - model: what is run (`model`, `role`);
//! - state: variables and handlers (`vars`, `handlers`), results (`outcome`), the way that led here (`trail`), held by
//!   `run` with the services it borrows;
//! - services: templates, lookups, files (`eval`, `lookup`, `search`, `convert`, `roles`, `notify`);
//! - task: one task with its loop, retries and conditions. It returns its effects (`effects`);
//!   a reboot ends in it, and the run that goes on comes back to it (`reboot`, `resume`);
//! - flow: the walk, the only recursion, which applies them.

mod actions;
mod add_host;
mod added_hosts;
mod argument_spec;
mod attempt;
mod checkpoint;
mod config_lookup;
mod convert;
mod debug;
mod defaults;
mod diff;
mod effects;
mod eval;
mod executor;
mod explain;
mod fetch;
mod file_lookups;
mod file_tests;
mod files;
mod first_found;
mod flow;
mod group_by;
mod grouping;
mod handlers;
mod imports;
mod include;
mod jobs;
mod join;
mod kept;
mod keyword;
mod lookup;
mod loops;
mod magic;
mod meta;
mod model;
mod module_call;
mod notify;
mod once;
mod options;
mod outcome;
mod own_args;
mod pause;
mod play;
mod play_hosts;
mod prompts;
mod reboot;
mod reserved;
mod resume;
mod role;
mod roles;
mod run;
mod search;
mod serial;
mod stats;
mod subelements;
mod task;
mod task_context;
mod task_error;
mod task_result;
mod trail;
mod turn;
mod url_lookup;
mod validate;
mod vars;

pub use actions::does;
pub use lookup::{Side, lookup_is_answered_by};
pub use options::{Become, Controller, Entry, Interruption, Options, Project};
pub use search::open_folder;
pub use task_error::FileError;

use amibake_protocol::event::Recap;

/// Runs every entry of `project` in order and returns the figures of the recap.
///
/// The last event is `Finished`, come what may.
pub fn run(project: &Project<'_>, options: &Options, controller: &mut dyn Controller) -> Recap {
    run::Run::new(project, options, controller).run(None)
}

/// Goes on with a run that a reboot interrupted, and returns the figures of the recap, those of before included.
pub fn resume(
    project: &Project<'_>,
    options: &Options,
    controller: &mut dyn Controller,
    from: &Interruption,
) -> Recap {
    run::Run::new(project, options, controller).run(Some(from))
}
