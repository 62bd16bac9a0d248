//! What ansible-core takes and this program does not: said where it stands, never passed over.
//!
//! A keyword whose value would need what is not here is refused, unless the facts known beforehand
//! make it unreachable. If they do not tell, the run refuses it when it gets there.

use super::Keywords;
use super::judge::is_false;
use super::keywords::{KEYWORDS, Place, Support};
use super::known;
use super::reach::Reachability;
use super::walk::Walk;
use crate::diagnostic::Diagnostic;
use crate::yaml::Node;

/// The strategies that are the same for one host.
pub const STRATEGIES: &[&str] = &["linear", "free", "host_pinned"];
const ORDERS: &[&str] = &[
    "inventory",
    "sorted",
    "reverse_sorted",
    "reverse_inventory",
    "shuffle",
];
const CONNECTIONS: &[&str] = &["ssh", "smart", "paramiko", "paramiko_ssh"];
/// The ways to become another user.
pub const BECOME_METHODS: &[&str] = &["sudo", "su"];
const FLAGS: &[&str] = &["-H", "-S", "-n"];

impl Walk<'_> {
    /// Refuses what of `keywords` would not be done.
    pub(super) fn check_support(&mut self, keywords: &Keywords, place: Place) {
        for (name, value) in keywords {
            if value.is_null() {
                continue;
            }
            let Some(keyword) = KEYWORDS.iter().find(|k| k.name == name) else {
                continue;
            };
            if place == Place::ImportPlaybook && !matches!(name.as_str(), "vars" | "when" | "tags")
            {
                let wrong =
                    format!("`{name}` has no effect on import_playbook, in Ansible neither");
                self.warn(Diagnostic::new(&value.span, wrong));
                continue;
            }
            match keyword.support {
                Support::Works if name == "order" => self.check_order(value),
                Support::Works => {}
                Support::OneHost => self.for_one_host(name, value),
                Support::NoEffect if is_false(value) => {}
                Support::NoEffect => {
                    let wrong = format!("`{name}` has no effect: {}", keyword.note);
                    self.warn(Diagnostic::new(&value.span, wrong));
                }
                Support::Partly => self.check_value(name, value),
                Support::Refused => {
                    let wrong = format!("`{name}` is not supported");
                    self.refuse(Diagnostic::new(&value.span, wrong).hint(keyword.note));
                }
            }
        }
    }

    fn check_order(&mut self, value: &Node) {
        let order = value.scalar_text().unwrap_or_default();
        if !value.is_template() && !ORDERS.contains(&order.as_str()) {
            let wrong = format!("`order` must be one of {}", ORDERS.join(", "));
            let wrong = Diagnostic::new(&value.span, wrong);
            self.error(wrong.nearest(&order, ORDERS.iter().copied()));
        }
    }

    /// Notes what would need the hosts to wait for one another.
    fn for_one_host(&mut self, name: &str, value: &Node) {
        if !is_false(value) && self.position.reach != Reachability::No {
            let wrong = format!("`{name}` is not supported for several hosts: each runs by itself");
            let wrong = Diagnostic::new(&value.span, wrong);
            let wrong = wrong.hint("choose one with `--limit`");
            self.out
                .one_host
                .push((self.plays.saturating_sub(1), wrong));
        }
    }

    fn check_value(&mut self, name: &str, value: &Node) {
        let text = value.scalar_text().unwrap_or_default();
        let bare = known::bare(&text);
        let program = text.rsplit('/').next().unwrap_or_default();
        let template = value.is_template();
        let (fits, hint) = match name {
            // Who becomes whom is decided when the task runs, and refused there.
            "become_method" => (
                template || BECOME_METHODS.contains(&bare),
                "there are `sudo` and `su`",
            ),
            "become_exe" => (
                BECOME_METHODS.contains(&program),
                "no program is run to become another user",
            ),
            "become_flags" => (
                text.split_whitespace().all(|flag| FLAGS.contains(&flag)),
                "no program is run to become another user",
            ),
            "connection" => (
                CONNECTIONS.contains(&bare) || (bare == "local" && self.local),
                "a play runs on its hosts; with `--local`, or `ansible_connection: local` of all its hosts, on this machine",
            ),
            "debugger" => (text == "never", "nobody is asked while tasks run"),
            "strategy" => (
                template || STRATEGIES.contains(&bare),
                "each host runs by itself, which for one host is `linear` and `free` alike",
            ),
            "module_defaults" => return self.check_groups(value),
            // `async` and `poll` go together, and delegations are judged by what is delegated.
            _ => return,
        };
        if !fits {
            let wrong = format!("`{name}: {text}` is not supported");
            self.refuse(Diagnostic::new(&value.span, wrong).hint(hint));
        }
    }
}
