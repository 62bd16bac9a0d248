//! Where the controller's files are looked for: the role's folders, the task's, the play's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

pub(super) use amibake_playbook::files::normal;

use amibake_playbook::argspec::LINKS_ARE_FOLLOWED;
use amibake_playbook::files::{Files, Look};

use super::model::Enclosing;
use super::run::Run;
use super::task_context::TaskContext;
use super::task_error::{FileError, TaskError, refused};
use crate::source::Source;

/// Returns the folder that a path stands in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    path.parent().map_or_else(|| "/".into(), Path::to_path_buf)
}

/// Returns the folders of `ansible_search_path`: the role and those it was called from, the
/// folder of the task file, the playbook's.
pub(super) fn folders(run: &Run<'_>, enclosing: &Rc<Enclosing>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut add = |folder: &Path| {
        if !folders.iter().any(|known: &PathBuf| known == folder) {
            folders.push(folder.to_path_buf());
        }
    };
    for enclosing in enclosing.chain() {
        if let Some(role) = &enclosing.role {
            add(&role.path);
        }
    }
    add(&enclosing.folder);
    add(&run.playbook_dir.borrow());
    folders
}

/// Finds a file for an action: `files/x` and `x` below each of the folders. Fails with Ansible's
/// list of where it looked.
pub(super) fn find(
    run: &Run<'_>,
    enclosing: &Rc<Enclosing>,
    kind: &str,
    name: &str,
) -> Result<PathBuf, FileError> {
    let candidates = places(run, enclosing, kind, name);
    let files = run.project.files;
    let here = |path: &&PathBuf| files.is_file(path) || files.is_dir(path);
    if let Some(found) = candidates.iter().find(here) {
        return Ok(found.clone());
    }
    if let Some(found) = look(files, name, &candidates)? {
        return Ok(found);
    }
    let tried = candidates.iter().map(|path| path.display().to_string());
    Err(FileError::NotFound {
        name: name.to_owned(),
        tried: tried.collect(),
    })
}

/// Returns where a file of that name is looked for, in order.
pub(super) fn places(
    run: &Run<'_>,
    enclosing: &Rc<Enclosing>,
    kind: &str,
    name: &str,
) -> Vec<PathBuf> {
    let candidates = candidates(run, enclosing, kind, name);
    candidates.iter().map(|path| normal(path)).collect()
}

/// Looks once more for what is not here, with the controller.
///
/// # Errors
/// What must not be taken for absent.
pub(super) fn look(
    files: &dyn Files,
    name: &str,
    paths: &[PathBuf],
) -> Result<Option<PathBuf>, FileError> {
    let name = name.to_owned();
    match files.look(paths) {
        Look::Absent => Ok(None),
        Look::There(path) => Ok(Some(path)),
        Look::Withheld(path) => Err(FileError::Withheld { name, path }),
        Look::Outside(path) => Err(FileError::Outside { name, path }),
    }
}

fn candidates(run: &Run<'_>, enclosing: &Rc<Enclosing>, kind: &str, name: &str) -> Vec<PathBuf> {
    if name.starts_with('/') {
        return vec![PathBuf::from(name)];
    }
    if let (Some(below), Some(home)) = (name.strip_prefix("~/"), &run.options.home) {
        return vec![home.join(below)];
    }
    let mut all = Vec::new();
    for folder in folders(run, enclosing) {
        // A role's task file may name what lies beside `tasks/`, or in it.
        let in_tasks = enclosing
            .role
            .as_ref()
            .is_some_and(|role| role.path == folder);
        if !name.starts_with(&format!("{kind}/")) {
            all.push(folder.join(kind).join(name));
        }
        all.push(folder.join(name));
        if in_tasks {
            all.push(folder.join("tasks").join(kind).join(name));
            all.push(folder.join("tasks").join(name));
        }
    }
    // Ansible looks beside the playbook once more, and says so.
    let dir = run.playbook_dir.borrow();
    all.push(dir.join(kind).join(name));
    all.push(dir.join(name));
    all
}

impl Run<'_> {
    /// Opens a file, or everything in a folder, for the module that puts it on this machine, and
    /// returns where it was found.
    pub(super) fn open_source(
        &self,
        cx: &TaskContext<'_>,
        src: &str,
        keep_links: bool,
        sources: &mut BTreeMap<String, Source>,
    ) -> Result<PathBuf, TaskError> {
        let path = find(self, cx.enclosing, "files", src)?;
        let files = self.project.files;
        if !files.is_dir(&path) {
            sources.insert(String::new(), open(files, &path)?);
            return Ok(path);
        }
        if keep_links && !self.options.local {
            return Err(refused(format!(
                "local_follow: false is not supported for a folder: {LINKS_ARE_FOLLOWED}"
            )));
        }
        // `src: folder` copies the folder, `src: folder/` what is in it.
        let name = path.file_name().filter(|_| !src.ends_with('/'));
        let top = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        // A bundle's links were followed; here they are what they are.
        let own = |path: &Path| std::fs::read_link(path).ok();
        let own = |path: &Path| own(path).map(|target| target.to_string_lossy().into_owned());
        match keep_links {
            true => open_tree(files, &path, &top, &own, sources)?,
            false => open_folder(files, &path, &top, sources)?,
        }
        Ok(path)
    }

    /// Opens the files that lie in a folder itself, by name, for `assemble`; returns the folder.
    pub(super) fn open_fragments(
        &self,
        cx: &TaskContext<'_>,
        src: &str,
        sources: &mut BTreeMap<String, Source>,
    ) -> Result<PathBuf, TaskError> {
        let folder = find(self, cx.enclosing, "files", src)?;
        let files = self.project.files;
        if !files.is_dir(&folder) {
            return Err(FileError::NotAFolder(folder).into());
        }
        let names = files.list(&folder);
        for name in names.map_err(FileError::unreadable("list", &folder))? {
            let path = folder.join(&name);
            if files.is_file(&path) {
                sources.insert(name, open(files, &path)?);
            }
        }
        Ok(folder)
    }

    /// Reads a text of the controller's.
    pub(super) fn read_text(&self, path: &Path) -> Result<String, FileError> {
        let bytes = self.project.files.read(path);
        let bytes = bytes.map_err(FileError::unreadable("read", path))?;
        String::from_utf8(bytes).map_err(|_| FileError::NotUtf8(path.to_owned()))
    }
}

/// Opens what a recursive copy of `folder` brings, by path below the destination; links are followed
/// as far as they can be.
pub fn open_folder(
    files: &dyn Files,
    folder: &Path,
    below: &str,
    sources: &mut BTreeMap<String, Source>,
) -> Result<(), FileError> {
    open_tree(files, folder, below, &|path| files.link(path), sources)
}

/// Does the same; `link` says where one leads that is not followed.
fn open_tree(
    files: &dyn Files,
    folder: &Path,
    below: &str,
    link: &dyn Fn(&Path) -> Option<String>,
    sources: &mut BTreeMap<String, Source>,
) -> Result<(), FileError> {
    if !below.is_empty() {
        sources.insert(below.to_owned(), Source::Directory);
    }
    let names = files.list(folder);
    for name in names.map_err(FileError::unreadable("list", folder))? {
        let path = folder.join(&name);
        let inner = match below {
            "" => name,
            below => format!("{below}/{name}"),
        };
        if let Some(target) = link(&path) {
            sources.insert(inner, Source::Link(target));
        } else if files.is_dir(&path) {
            open_tree(files, &path, &inner, link, sources)?;
        } else {
            sources.insert(inner, open(files, &path)?);
        }
    }
    Ok(())
}

fn open(files: &dyn Files, path: &Path) -> Result<Source, FileError> {
    let opened = std::fs::File::open(files.locate(path));
    let source = opened.and_then(|file| Ok(Source::of_file_with(file, files.mode(path)?)));
    source.map_err(FileError::unreadable("open", path))
}
