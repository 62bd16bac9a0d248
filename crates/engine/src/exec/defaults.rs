//! `module_defaults`: of modules by name, and of groups of modules.

use std::path::Path;

use amibake_playbook::syntax::{group_has, runtime_file};
use amibake_playbook::value::{Dict, Value};

use super::actions::full;
use super::convert;
use super::run::Run;
use super::task_context::TaskContext;

/// Groups that name one another deeper than this are a circle.
const DEPTH_LIMIT: usize = 20;

impl Run<'_> {
    /// Returns the parameters that the keyword gives to the module with that full name, from the play inwards.
    pub(super) fn defaults(&self, cx: &TaskContext<'_>, module: &str) -> Dict {
        let merged = Dict::new();
        let levels = cx
            .enclosing
            .gathered(&cx.task.keywords, |k| &k.module_defaults);
        // What is said of a group is weaker than what is said of the module.
        for of_groups in [true, false] {
            for level in levels.iter().filter_map(Value::as_dict) {
                for (name, args) in level.entries() {
                    let name = name.value().to_string();
                    let group = name.strip_prefix("group/");
                    let meant = match group {
                        Some(group) => self.is_in(module, group, DEPTH_LIMIT),
                        None => full(&name) == module,
                    };
                    if meant && group.is_some() == of_groups {
                        add(&merged, &args);
                    }
                }
            }
        }
        merged
    }

    /// Returns whether a module is in a group of modules.
    fn is_in(&self, module: &str, group: &str, depth: usize) -> bool {
        // Of the groups that Ansible itself has, none other has a module that works here.
        if matches!(group, "testgroup" | "ansible.builtin.testgroup") {
            return module == "ansible.builtin.ping";
        }
        let Some(members) = self.members(group) else {
            return group_has(group, module);
        };
        let collection = group
            .rsplit_once('.')
            .map_or("", |(collection, _)| collection);
        let qualified = |name: &str| match name.contains('.') {
            true => name.to_owned(),
            false => format!("{collection}.{name}"),
        };
        members.iter().any(|member| match member.get("metadata") {
            Some(metadata) => {
                let others = metadata.get("extend_group").unwrap_or_default();
                let others = super::eval::texts(&others);
                depth > 0
                    && others
                        .iter()
                        .any(|other| self.is_in(module, &qualified(other), depth - 1))
            }
            None => full(&qualified(&member.to_string())) == module,
        })
    }

    /// Returns what a collection says is in one of its groups, if it is installed; the first that has it on the paths
    /// counts.
    fn members(&self, group: &str) -> Option<Vec<Value>> {
        let beside = self.playbook_dir.borrow().join("collections");
        let paths = std::iter::once(&beside).chain(&self.options.collections_path);
        let mut files = paths.filter_map(|path: &std::path::PathBuf| runtime_file(path, group));
        let found = files.find(|file: &std::path::PathBuf| self.project.files.is_file(file))?;
        let read = |file: &Path| convert::variables(self, file).ok();
        let groups = read(&found).and_then(|root| root.get("action_groups"));
        let name = group.rsplit('.').next().unwrap_or(group);
        let members = groups.and_then(|groups| groups.get(group).or_else(|| groups.get(name)));
        Some(
            members
                .as_ref()
                .and_then(super::eval::items)
                .unwrap_or_default(),
        )
    }
}

fn add(merged: &Dict, args: &Value) {
    for (key, value) in args.as_dict().map(Dict::entries).unwrap_or_default() {
        merged.insert(key, value);
    }
}
