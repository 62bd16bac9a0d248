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

/// Returns the file below `path` that says which modules are in `namespace.collection.group`.
#[must_use]
pub fn runtime_file(path: &Path, group: &str) -> Option<PathBuf> {
    let (namespace, rest) = group.split_once('.')?;
    let (collection, _) = rest.split_once('.')?;
    let below = path.join("ansible_collections").join(namespace);
    Some(below.join(collection).join("meta/runtime.yml"))
}

impl Walk<'_> {
    /// Complains of groups of modules that there are not.
    pub(super) fn check_groups(&mut self, defaults: &Node) {
        for (key, _) in defaults.as_map().unwrap_or_default() {
            let group = key.as_str().and_then(|key| key.strip_prefix("group/"));
            if let Some(group) = group.filter(|_| self.follow == Follow::Everything)
                && !self.knows_group(group)
            {
                let wrong = format!("there is no group of modules `{group}`");
                let names = BUILTIN.iter().copied();
                self.error(Diagnostic::new(&key.span, wrong).nearest(group, names));
            }
        }
    }

    /// Returns whether there is such a group. Of the collections that Ansible ships any may be meant, as none of
    /// their groups has a module that works here.
    fn knows_group(&mut self, group: &str) -> bool {
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
            return groups.is_some_and(|all| all.get(name).or(all.get(group)).is_some());
        }
        BUILTIN.contains(&short) || catalogue::collection(group).is_some()
    }
}
