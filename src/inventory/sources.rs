//! Where an inventory comes from: files, folders of them, lists of hosts; several, of which later ones win.

use std::path::{Path, PathBuf};

use amibake_playbook::files::Files as _;
use amibake_playbook::yaml::{self as text, Kind};

use super::{Inventory, InventoryError, ini, yaml};
use crate::vault::Opened;

/// Files of a folder that Ansible takes for no inventories.
const NO_INVENTORIES: &[&str] = &[
    ".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".ini", ".cfg",
    ".retry",
];
const FOLDERS_OF_VARIABLES: &[&str] = &["group_vars", "host_vars", "vars_plugins"];

impl Inventory {
    /// Reads all sources, `group_vars` and `host_vars` beside them included; `merges` is `hash_behaviour = merge`.
    pub(crate) fn read(
        sources: &[String],
        files: &Opened,
        merges: bool,
    ) -> Result<Self, InventoryError> {
        let mut inventory = Self {
            files: files.clone(),
            merges,
            ..Self::default()
        };
        for source in sources {
            inventory.add_source(source)?;
        }
        for source in sources {
            if let Some(folder) = folder_of(source) {
                inventory.add_vars_of(&folder)?;
            }
        }
        Ok(inventory)
    }

    fn add_source(&mut self, source: &str) -> Result<(), InventoryError> {
        if is_list(source) {
            source.clone_into(&mut self.source);
            return self.add_list(source);
        }
        let path = absolute(source);
        match path.is_dir() {
            true => self.add_folder(&path),
            false => self.add_file(&path),
        }
    }

    /// Adds `web1,web[2:3],db:2222`.
    fn add_list(&mut self, list: &str) -> Result<(), InventoryError> {
        for part in list
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            ini::add_hosts(self, "ungrouped", part).map_err(|message| InventoryError::List {
                list: list.to_owned(),
                message,
            })?;
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), InventoryError> {
        let names = self
            .files
            .list(folder)
            .map_err(|source| InventoryError::Read {
                path: folder.to_owned(),
                source,
            })?;
        let mut names: Vec<String> = names
            .into_iter()
            .filter(|name| {
                !name.starts_with('.')
                    && !FOLDERS_OF_VARIABLES.contains(&name.as_str())
                    && !NO_INVENTORIES.iter().any(|ending| name.ends_with(ending))
            })
            .collect();
        names.sort();
        for name in names {
            let path = folder.join(name);
            match path.is_dir() {
                true => self.add_folder(&path)?,
                false => self.add_file(&path)?,
            }
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), InventoryError> {
        self.source = path.to_string_lossy().into_owned();
        let bytes = self
            .files
            .read(path)
            .map_err(|source| InventoryError::Read {
                path: path.to_owned(),
                source,
            })?;
        if bytes.starts_with(b"#!") {
            return Err(InventoryError::Unsupported {
                what: format!("the inventory script {}", path.display()),
            });
        }
        let is_yaml = match path.extension().and_then(|extension| extension.to_str()) {
            Some("yml" | "yaml" | "json") => true,
            // As Ansible, which tries YAML first.
            None => {
                text::parse(path, &bytes).is_ok_and(|read| matches!(read.root.kind, Kind::Map(_)))
            }
            Some(_) => false,
        };
        match is_yaml {
            true => yaml::read(self, path, &bytes),
            false => ini::read(self, path, &String::from_utf8_lossy(&bytes)),
        }
    }
}

/// Returns what is told of a source: a list of hosts as it was typed, or the whole path.
pub(crate) fn told(source: &str) -> String {
    match is_list(source) {
        true => source.to_owned(),
        false => absolute(source).to_string_lossy().into_owned(),
    }
}

pub(crate) fn is_there(source: &str) -> bool {
    is_list(source) || Path::new(source).exists()
}

fn is_list(source: &str) -> bool {
    source.contains(',') && !Path::new(source).exists()
}

/// Returns the folder whose `group_vars` and `host_vars` belong to a source.
fn folder_of(source: &str) -> Option<PathBuf> {
    if is_list(source) {
        return None;
    }
    let path = absolute(source);
    match path.is_dir() {
        true => Some(path),
        false => path.parent().map(Path::to_path_buf),
    }
}

fn absolute(source: &str) -> PathBuf {
    std::path::absolute(source).unwrap_or_else(|_| PathBuf::from(source))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::{listed_by_ansible, merged};
    use super::*;

    #[test]
    #[ignore = "needs AMIBAKE_TEST_PYTHON: ./test runs it"]
    fn several_sources_are_one_inventory_of_which_later_ones_win() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("inventory");
        fs::create_dir_all(folder.join("group_vars")).unwrap();
        fs::create_dir(folder.join("more")).unwrap();
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write("a", "[web]\nweb[1:2] port=80\n");
        write(
            "b",
            "web:\n  hosts:\n    web2: {port: 81}\n  vars: {tier: 2}\n",
        );
        write("more/c.yml", "db: {hosts: {db1: }}\n");
        write("notes.txt", "web9\n");
        write("ansible.cfg", "[defaults]\n");
        write("group_vars/web.yml", "from_folder: true\n");
        let last = temp.path().join("last");
        fs::write(&last, "[web:vars]\ntier=3\n").unwrap();
        let sources = [
            folder.display().to_string(),
            "one,two:2222,web1".to_owned(),
            last.display().to_string(),
        ];
        let ours = Inventory::read(&sources, &Opened::default(), false).unwrap();
        assert_eq!(ours.hosts, ["web1", "web2", "db1", "one", "two"]);
        let web2 = merged(&ours.host("web2"));
        assert_eq!((&web2["port"], &web2["tier"]), (&81.into(), &3.into()));
        assert_eq!(web2["from_folder"], true);
        assert_eq!(ours.source_of("db1"), folder.join("more/c.yml").to_str());
        assert_eq!(ours.source_of("one"), Some("one,two:2222,web1"));
        let theirs = listed_by_ansible(&sources);
        for host in &ours.hosts {
            let known = theirs["_meta"]["hostvars"].get(host);
            let known = known.cloned().unwrap_or_else(|| serde_json::json!({}));
            assert_eq!(serde_json::json!(merged(&ours.host(host))), known, "{host}");
        }
    }
}
