//! Runs whole playbooks on this machine, as Ansible's linear strategy does for one host.
//!
//! Owns the order of things: plays, roles, blocks, loops, handlers, results. What a variable is
//! worth is [`amibake_playbook`]'s, what a module does is [`crate::modules`]'s.

mod options;

pub use options::{Become, Controller, Entry, Options, Project};

use amibake_protocol::event::{Event, Recap};

/// Runs every entry of `project` in order and returns the figures of the recap.
///
/// The last event is [`Event::Finished`], come what may.
pub fn run(_project: &Project<'_>, _options: &Options, controller: &mut dyn Controller) -> Recap {
    let recap = Recap::default();
    controller.event(Event::Finished {
        recap,
        error: Some("the executor is not built yet".to_owned()),
    });
    recap
}
