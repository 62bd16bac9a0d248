//! Groups of modules, which `module_defaults` names: what `action_groups` of collections say.

use std::path::{Path, PathBuf};

use super::catalogue;
use super::walk::{Follow, Walk, load};
use crate::diagnostic::Diagnostic;
use crate::yaml::Node;

/// The groups of ansible-core 2.19 itself.
const BUILTIN: &[&str] = &[
    "acme",
    "aws",
    "azure",
    "cpm",
    "docker",
    "gcp",
    "k8s",
    "os",
    "ovirt",
    "testgroup",
    "testlegacy",
    "vmware",
];

/// Groups of collections that have modules here: each is all of its collection.
const HERE: &[&str] = &["community.mysql.all", "community.postgresql.all"];

/// Whether a group has a module, as far as that is known where the group's collection is not installed.
#[must_use]
pub fn group_has(group: &str, module: &str) -> bool {
    HERE.contains(&group) && module.starts_with(group.trim_end_matches("all"))
}

/// What can be said of a group.
enum Group {
    Known,
    /// No collection that is installed has it, and none of its modules is here.
    Elsewhere,
    Unknown,
}

/// Returns the file below `path` that says which modules are in `namespace.collection.group`.
#[must_use]
pub fn runtime_file(path: &Path, group: &str) -> Option<PathBuf> {
    let (namespace, rest) = group.split_once('.')?;
    let (collection, _) = rest.split_once('.')?;
    let below = path.join("ansible_collections").join(namespace);
    Some(below.join(collection).join("meta/runtime.yml"))
}

impl Walk<'_> {
    /// Complains of groups of modules that there are not, and tells of those whose defaults nothing takes.
    pub(super) fn check_groups(&mut self, defaults: &Node) {
        for (key, _) in defaults.as_map().unwrap_or_default() {
            let group = key.as_str().and_then(|key| key.strip_prefix("group/"));
            let Some(group) = group.filter(|_| self.follow == Follow::Everything) else {
                continue;
            };
            match self.group(group) {
                Group::Known => {}
                Group::Elsewhere => {
                    let said = format!(
                        "the defaults of the group `{group}` have no effect: amibake has none of its modules"
                    );
                    self.warn(Diagnostic::new(&key.span, said));
                }
                Group::Unknown => {
                    let wrong = format!("there is no group of modules `{group}`");
                    let names = BUILTIN.iter().chain(HERE).copied();
                    self.error(Diagnostic::new(&key.span, wrong).nearest(group, names));
                }
            }
        }
    }

    /// Looks for a group: in the collections that are installed, then among those that Ansible ships.
    fn group(&mut self, group: &str) -> Group {
        let short = group.strip_prefix("ansible.builtin.").unwrap_or(group);
        let mut files = self
            .collection_roots()
            .filter_map(|path| runtime_file(&path, group));
        let file = files.find(|file| self.files.is_file(file));
        drop(files);
        if let Some(file) = file {
            let name = group.rsplit('.').next().unwrap_or(group);
            let root = load(self, &file);
            let groups = root.as_ref().and_then(|root| root.get("action_groups"));
            return match groups.is_some_and(|all| all.get(name).or(all.get(group)).is_some()) {
                true => Group::Known,
                false => Group::Unknown,
            };
        }
        if BUILTIN.contains(&short) || HERE.contains(&group) {
            return Group::Known;
        }
        match catalogue::collection(group) {
            Some(collection) if HERE.iter().any(|here| is_of(here, collection)) => Group::Unknown,
            Some(_) => Group::Elsewhere,
            None => Group::Unknown,
        }
    }
}

fn is_of(group: &str, collection: &str) -> bool {
    group.rsplit_once('.').map(|(of, _)| of) == Some(collection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Disk;
    use crate::files::tests::project;
    use crate::syntax::{Options, parse};

    #[test]
    fn groups_of_collections_that_are_not_installed_are_known_or_told() {
        let said = |group: &str| {
            let site = format!(
                "- hosts: all\n  module_defaults: {{group/{group}: {{a: b}}}}\n  tasks: [ping: ]\n"
            );
            let dir = project(&[("site.yml", site.as_str())]);
            let parsed = parse(
                &Disk::here(),
                &dir.path().join("site.yml"),
                &Options::default(),
            );
            match parsed {
                Ok(playbook) => playbook.warnings.iter().map(ToString::to_string).collect(),
                Err(wrong) => wrong.to_string(),
            }
        };
        assert_eq!(said("community.postgresql.all"), "");
        assert_eq!(said("aws"), "");
        let elsewhere = said("community.docker.docker");
        assert!(
            elsewhere.contains("`community.docker.docker` have no effect"),
            "{elsewhere}"
        );
        let unknown = said("community.mysql.al");
        assert!(
            unknown.contains("no group of modules `community.mysql.al`"),
            "{unknown}"
        );
        assert!(unknown.contains("community.mysql.all"), "{unknown}");
    }

    #[test]
    fn a_group_has_the_modules_of_its_collection() {
        let group = "community.mysql.all";
        assert!(group_has(group, "community.mysql.mysql_query"));
        assert!(!group_has(group, "community.postgresql.postgresql_db"));
        assert!(!group_has(
            "community.mysql.some",
            "community.mysql.mysql_query"
        ));
    }
}
