//! Which files travel to the target with a playbook.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Playbook;
use crate::files::Files;

/// The default cap on what travels: 100 MiB.
pub const SIZE_LIMIT: u64 = 100 * 1024 * 1024;

/// Folders beside a playbook that its tasks search.
const SEARCHED: &[&str] = &[
    "files",
    "templates",
    "vars",
    "tasks",
    "handlers",
    "group_vars",
    "host_vars",
];

/// Why the files cannot travel.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// They are more than the cap allows.
    #[error("the playbook's files are {total} bytes, more than {limit}; the biggest is {} with {size} bytes", biggest.display())]
    TooBig {
        /// All of them.
        total: u64,
        limit: u64,
        biggest: PathBuf,
        size: u64,
    },
}

/// Returns every file that belongs into the bundle, sorted: what was read, the trees of the roles
/// used, the searched folders beside the playbooks, and what tasks name literally. Among them are
/// empty folders, and links that cannot be followed.
///
/// # Errors
/// [`SourcesError::TooBig`] above `limit` bytes.
pub fn sources(
    files: &dyn Files,
    playbook: &Playbook,
    limit: u64,
) -> Result<Vec<PathBuf>, SourcesError> {
    let mut all: BTreeSet<PathBuf> = playbook.files.clone();
    for tree in playbook.roles.iter().chain(&playbook.sources) {
        gather(files, tree, &mut all, 0);
    }
    for folder in &playbook.folders {
        for name in SEARCHED {
            gather(files, &folder.join(name), &mut all, 0);
        }
        if playbook.templated {
            gather_beside(files, folder, &mut all);
        }
    }
    check_size(files, &all, limit)?;
    Ok(all.into_iter().collect())
}

/// Deeper than this is a circle of links.
const DEPTH_LIMIT: usize = 40;

fn gather(files: &dyn Files, path: &Path, all: &mut BTreeSet<PathBuf>, depth: usize) {
    if files.link(path).is_some() || files.is_file(path) {
        all.insert(path.to_path_buf());
    } else if depth < DEPTH_LIMIT && files.is_dir(path) {
        let names = files.list(path).unwrap_or_default();
        if names.is_empty() {
            all.insert(path.to_path_buf());
        }
        for name in names {
            if name != ".git" {
                gather(files, &path.join(name), all, depth + 1);
            }
        }
    }
}

/// A templated name may mean any YAML file beside the playbook.
fn gather_beside(files: &dyn Files, folder: &Path, all: &mut BTreeSet<PathBuf>) {
    for name in files.list(folder).unwrap_or_default() {
        let path = folder.join(&name);
        let yaml = path
            .extension()
            .is_some_and(|e| e == "yml" || e == "yaml" || e == "json");
        if yaml && files.is_file(&path) {
            all.insert(path);
        }
    }
}

fn check_size(files: &dyn Files, all: &BTreeSet<PathBuf>, limit: u64) -> Result<(), SourcesError> {
    let size = |path: &PathBuf| files.size(path).unwrap_or(0);
    let total = all.iter().map(size).sum();
    if total <= limit {
        return Ok(());
    }
    let biggest = all
        .iter()
        .max_by_key(|path| size(path))
        .cloned()
        .unwrap_or_default();
    Err(SourcesError::TooBig {
        total,
        limit,
        size: size(&biggest),
        biggest,
    })
}
