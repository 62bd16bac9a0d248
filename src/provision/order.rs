//! Hardening comes last. What is installed after it meets its umask, its mounts without exec and its
//! firewall, and what it set may be undone: a manifest or a playbook in another order is warned about.

use std::path::Path;

use amibake_playbook::diagnostic::{Diagnostic, Span};
use amibake_playbook::syntax::{Playbook, RoleUse, Step as Item, Task};
use amibake_playbook::yaml::Node;

use crate::manifest::{Provision, Step};

/// Roles that harden, by the last part of their names: ours are known by their paths.
const ROLES: [&str; 4] = [
    "os_hardening",
    "ssh_hardening",
    "os-hardening",
    "ssh-hardening",
];

/// Actions that make nothing.
const LOOKS: [&str; 18] = [
    "assert",
    "debug",
    "fail",
    "gather_facts",
    "getent",
    "include_vars",
    "meta",
    "package_facts",
    "pause",
    "ping",
    "reboot",
    "service_facts",
    "set_fact",
    "setup",
    "slurp",
    "stat",
    "wait_for",
    "wait_for_connection",
];

const HINT: &str = "packages and the application come first, then hardening/ssh, then hardening/os: after them scripts of packages find /tmp \
                    without exec, files are made that others cannot read, and kernel modules, ports and PAM are as hardening left them";

/// What has hardened the machine so far.
#[derive(Debug, Default)]
pub(super) struct Order {
    by: Option<String>,
}

impl Order {
    /// Takes in a step of the manifest, and returns a warning if some of it comes too late.
    pub(super) fn after(&mut self, step: &Step, playbook: &Playbook) -> Option<Diagnostic> {
        let before = self.by.is_some();
        let mut late = None;
        for (what, span) in items(playbook) {
            match (what, &self.by) {
                (What::Hardens(by), _) => self.by = Some(by),
                (What::Makes(what), Some(by)) => {
                    late = late.or_else(|| Some((what, by.clone(), span)));
                }
                (What::Makes(_), None) => {}
            }
        }
        let (what, by, span) = late?;
        let what = match &step.provision {
            Provision::Playbook { path, .. } if before => format!("the playbook {}", name(path)),
            _ => what,
        };
        // What an earlier step has hardened, the manifest alone can put right.
        let span = if before { &step.span } else { span };
        Some(Diagnostic::new(span, format!("{what} comes after {by}")).hint(HINT))
    }
}

/// What one part of a playbook does.
enum What {
    /// A role that hardens.
    Hardens(String),
    /// Anything else that may change the machine.
    Makes(String),
}

/// Returns what a playbook does, in its order, each with its place.
fn items(playbook: &Playbook) -> Vec<(What, &Span)> {
    let mut found = Vec::new();
    for play in &playbook.plays {
        steps(&play.pre_tasks, &mut found);
        play.roles.iter().for_each(|used| role(used, &mut found));
        steps(&play.tasks, &mut found);
        steps(&play.post_tasks, &mut found);
    }
    found
}

fn role<'a>(used: &'a RoleUse, found: &mut Vec<(What, &'a Span)>) {
    let named = used.name.scalar_text().unwrap_or_default();
    let path = used.role.as_ref().map_or(Path::new(&named), |r| &r.path);
    if let Some(by) = hardens(path) {
        found.push((What::Hardens(by), &used.span));
        return;
    }
    let dependencies = used.role.iter().flat_map(|r| &r.dependencies);
    dependencies.for_each(|before| role(before, found));
    let what = format!("the role {}", name(Path::new(&named)));
    found.push((What::Makes(what), &used.span));
}

fn steps<'a>(list: &'a [Item], found: &mut Vec<(What, &'a Span)>) {
    for step in list {
        match step {
            Item::Block(block) => {
                steps(&block.block, found);
                steps(&block.rescue, found);
                steps(&block.always, found);
            }
            Item::Task(one) => task(one, found),
        }
    }
}

fn task<'a>(task: &'a Task, found: &mut Vec<(What, &'a Span)>) {
    let action = task.action.rsplit('.').next().unwrap_or(&task.action);
    let named = task.args.get("name").and_then(Node::scalar_text);
    match (action, named) {
        ("import_role" | "include_role", Some(named)) => {
            let what = match hardens(Path::new(&named)) {
                Some(by) => What::Hardens(by),
                None => What::Makes(format!("the role {named}")),
            };
            found.push((what, &task.span));
        }
        ("import_tasks", _) => steps(&task.imported, found),
        (look, _) if LOOKS.contains(&look) => {}
        (_, _) => {
            let what = task.name.as_ref().unwrap_or(&task.action);
            found.push((What::Makes(format!("the task `{what}`")), &task.span));
        }
    }
}

/// Returns what a role is called that hardens.
fn hardens(role: &Path) -> Option<String> {
    for ours in ["hardening/os", "hardening/ssh"] {
        if role.ends_with(ours) {
            return Some(ours.to_owned());
        }
    }
    let file = role.file_name()?.to_str()?;
    let last = file.rsplit('.').next()?;
    let last = last.strip_prefix("ansible-").unwrap_or(last);
    ROLES.contains(&last).then(|| file.to_owned())
}

fn name(path: &Path) -> String {
    let last = path.file_name().map(|last| last.to_string_lossy());
    last.unwrap_or_default().into_owned()
}

#[cfg(test)]
mod tests {
    use crate::manifest::{Given, TargetKind, load};
    use crate::provision::ready;

    /// Returns what is warned about in a manifest with these steps, beside roles and a playbook.
    fn warned(provision: &str, playbook: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for role in [
            "hardening/os",
            "hardening/ssh",
            "roles/web",
            "roles/devsec.hardening.os_hardening",
        ] {
            let tasks = folder.path().join(role).join("tasks");
            std::fs::create_dir_all(&tasks).unwrap();
            let text = "- ansible.builtin.command: {cmd: touch /x}\n";
            std::fs::write(tasks.join("main.yml"), text).unwrap();
        }
        std::fs::write(folder.path().join("site.yaml"), playbook).unwrap();
        let path = folder.path().join("web.yaml");
        std::fs::write(
            &path,
            format!("name: web\nsource: {{ubuntu: \"24.04\"}}\nprovision:\n{provision}"),
        )
        .unwrap();
        let now = time::OffsetDateTime::now_utc();
        let manifest = load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
        let work = ready(
            &manifest.images[0].provision,
            &path,
            std::collections::BTreeMap::new(),
            &manifest.search,
        );
        let home = format!("{}/", folder.path().canonicalize().unwrap().display());
        let all = work.unwrap_or_else(|e| panic!("{e}")).warnings.into_iter();
        all.map(|warning| warning.lines().next().unwrap().replace(&home, ""))
            .collect()
    }

    #[test]
    fn what_comes_after_hardening_is_warned_about_where_it_stands() {
        let after = "  - role: hardening/os\n  - tasks:\n      - debug: {msg: x}\n      - name: Install\n        apt: {name: nginx}\n  - role: roles/web\n";
        assert_eq!(
            warned(after, ""),
            [
                "web.yaml:5:5: the task `Install` comes after hardening/os",
                "web.yaml:9:5: the role web comes after hardening/os",
            ]
        );
        let theirs = "  - role: roles/devsec.hardening.os_hardening\n  - playbook: site.yaml\n";
        assert_eq!(
            warned(
                theirs,
                "- hosts: all\n  tasks: [{command: {cmd: touch /y}}]\n"
            ),
            ["web.yaml:5:5: the playbook site.yaml comes after devsec.hardening.os_hardening"]
        );
    }

    #[test]
    fn the_order_inside_of_a_playbook_counts_too() {
        let playbook = "- hosts: all\n  roles:\n    - hardening/ssh\n    - web\n  tasks:\n    - import_role: {name: devsec.hardening.os_hardening}\n    - stat: {path: /}\n";
        assert_eq!(
            warned("  - playbook: site.yaml\n", playbook),
            ["site.yaml:4:7: the role web comes after hardening/ssh"]
        );
    }

    #[test]
    fn hardening_at_the_end_is_right_in_any_order_of_its_own() {
        for last in ["os\n  - role: hardening/ssh", "ssh\n  - role: hardening/os"] {
            let steps = format!(
                "  - role: roles/web\n  - role: hardening/{last}\n  - tasks: [{{assert: {{that: true}}}}]\n"
            );
            assert_eq!(warned(&steps, ""), [""; 0]);
        }
    }
}
