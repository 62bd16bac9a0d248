//! Modules in Python that a role, a playbook or a collection brings along.

use std::path::{Path, PathBuf};

use super::known;
use super::walk::{Follow, Walk, normal};

impl Walk<'_> {
    /// Says whose own module `name` is and where, if it is one.
    pub(super) fn own_module(&self, name: &str) -> Option<String> {
        if self.follow == Follow::Nothing {
            return None;
        }
        let of_role =
            |(name, folder): &(String, PathBuf)| (format!("the role {name}"), folder.clone());
        let mut owners: Vec<(String, PathBuf)> = self.role.iter().rev().map(of_role).collect();
        owners.push(("the playbook".to_owned(), self.base()));
        if name == known::bare(name) {
            let beside = owners.iter().find_map(|(owner, folder)| {
                let file = self.python_file(folder, &["library", "action_plugins"], name)?;
                Some((owner.clone(), file))
            });
            let found = beside.or_else(|| self.of_collection(name));
            return found.map(|(owner, file)| {
                format!(
                    "`{name}` is a Python module of {owner}'s own ({}), and amibake runs none",
                    file.display()
                )
            });
        }
        None
    }

    /// Finds a module by its full name, or one of the collection that the role is in. One that is here in Rust is
    /// the same module, wherever its collection is installed too.
    fn of_collection(&self, name: &str) -> Option<(String, PathBuf)> {
        let (owner, folder, short) = match name.split('.').collect::<Vec<_>>()[..] {
            [namespace, collection, short] => {
                let below = Path::new("ansible_collections")
                    .join(namespace)
                    .join(collection);
                let mut folders = self
                    .collection_roots()
                    .map(|folder| normal(&folder.join(&below)));
                let folder = folders.find(|folder| self.files.is_dir(folder));
                (format!("{namespace}.{collection}"), folder?, short)
            }
            [short] => {
                let (_, role) = self.role.last()?;
                let folder = role.parent()?.parent()?;
                (
                    "the role's collection".to_owned(),
                    folder.to_path_buf(),
                    short,
                )
            }
            _ => return None,
        };
        if is_here(&folder, short) {
            return None;
        }
        let file = self.python_file(&folder, &["plugins/modules", "plugins/action"], short)?;
        Some((owner, file))
    }

    fn python_file(&self, folder: &Path, below: &[&str], name: &str) -> Option<PathBuf> {
        let mut files = below
            .iter()
            .map(|below| folder.join(below).join(format!("{name}.py")));
        files.find(|file| self.files.is_file(file))
    }
}

/// Returns whether the module called `short` of the collection in this folder is one of this program's.
fn is_here(folder: &Path, short: &str) -> bool {
    let name = |part: Option<&Path>| Some(part?.file_name()?.to_str()?.to_owned());
    let (Some(namespace), Some(collection)) = (name(folder.parent()), name(Some(folder))) else {
        return false;
    };
    let full = format!("{namespace}.{collection}.{short}");
    matches!(known::here(&full), known::Name::Module(_))
}
