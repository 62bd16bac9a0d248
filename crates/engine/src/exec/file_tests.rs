//! The tests of paths on the controller: `file`, `directory`, `exists`, `link`, `mount`, `same_file`, ….
//!
//! Of a bundle, links are followed before it travels, and which file systems there are is not told: what needs more
//! than that is answered where the run is on the controller itself.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use amibake_playbook::files::{Files, normal};
use amibake_playbook::template::Error;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Place;
use serde_json::Value as Json;

use super::run::Run;
use super::search;

/// Decides a test of `path`; `other` is its argument.
pub(super) fn file_test(
    run: &Run<'_>,
    test: &str,
    path: &str,
    other: Option<&str>,
) -> Result<bool, Error> {
    let files = run.project.files;
    let at = run.options.working_folder.join(path);
    find(files, path, &at)?;
    match test {
        "exists" => Ok(exists(files, &at)),
        "file" => Ok(files.is_file(&at)),
        "directory" => Ok(files.is_dir(&at)),
        "link" => Ok(is_link(files, &at)),
        "link_exists" => Ok(exists(files, &at) || is_link(files, &at)),
        "mount" => is_mount(files, path, &at),
        "same_file" => {
            let other = other.unwrap_or_default();
            let second = run.options.working_folder.join(other);
            find(files, other, &second)?;
            are_same(files, (path, &at), (other, &second))
        }
        "vaulted_file" => {
            let vaulted = files.is_vaulted(&at);
            vaulted.map_err(|error| not_told(path, &error))
        }
        _ => Err(Error::failed(format!(
            "the test '{test}' cannot be answered here"
        ))),
    }
}

/// Returns a path of the controller without links, as Python's `realpath`; of another machine the
/// controller is asked, once for each path.
pub(super) fn realpath(run: &Run<'_>, path: &str, place: Place) -> Result<String, Error> {
    let at = run.options.working_folder.join(path);
    if is_here(run.project.files, &at) {
        return Ok(run.project.files.real(&at).to_string_lossy().into_owned());
    }
    if let Some(known) = run.resolved.borrow().get(&at) {
        return Ok(known.clone());
    }
    let ask = Ask::Resolve {
        place,
        path: at.clone(),
    };
    let answer = run.controller.borrow_mut().ask(ask);
    let why = match answer {
        Answer::Value {
            value: Json::String(real),
        } => {
            run.resolved.borrow_mut().insert(at, real.clone());
            return Ok(real);
        }
        Answer::Refused { reason } => reason,
        Answer::Value { .. } | Answer::File { .. } => {
            "the controller did not answer with a path".to_owned()
        }
    };
    Err(Error::failed(format!("'{path}' cannot be resolved: {why}")))
}

/// Looks once more for what is not here.
fn find(files: &dyn Files, name: &str, at: &Path) -> Result<(), Error> {
    if !exists(files, at) {
        let looked = search::look(files, name, &[at.to_path_buf()]);
        looked.map_err(|error| Error::failed(error.to_string()))?;
    }
    Ok(())
}

fn exists(files: &dyn Files, at: &Path) -> bool {
    files.is_file(at) || files.is_dir(at)
}

fn is_link(files: &dyn Files, at: &Path) -> bool {
    files.link(at).is_some() || files.locate(at).is_symlink()
}

/// Returns whether a path of the controller is one of this machine.
fn is_here(files: &dyn Files, at: &Path) -> bool {
    files.locate(at) == at
}

/// Whether a file system begins there, as Python's `ismount` decides it.
fn is_mount(files: &dyn Files, name: &str, at: &Path) -> Result<bool, Error> {
    if !is_here(files, at) {
        return Err(elsewhere("mount", name));
    }
    let Ok(own) = at.symlink_metadata() else {
        return Ok(false);
    };
    if own.is_symlink() {
        return Ok(false);
    }
    let Ok(above) = at.join("..").canonicalize().and_then(|dir| dir.metadata()) else {
        return Ok(false);
    };
    Ok(own.dev() != above.dev() || own.ino() == above.ino())
}

fn are_same(
    files: &dyn Files,
    (name, at): (&str, &PathBuf),
    (other, second): (&str, &PathBuf),
) -> Result<bool, Error> {
    for (name, at) in [(name, at), (other, second)] {
        if !exists(files, at) {
            return Err(Error::failed(no_such(name)));
        }
    }
    if normal(at) == normal(second) {
        return Ok(true);
    }
    if !is_here(files, at) || !is_here(files, second) {
        return Err(elsewhere("same_file", name));
    }
    let id = |path: &Path| path.metadata().map(|file| (file.dev(), file.ino()));
    let same = id(at).and_then(|first| Ok(first == id(second)?));
    same.map_err(|error| Error::failed(error.to_string()))
}

fn no_such(name: &str) -> String {
    format!("[Errno 2] No such file or directory: '{name}'")
}

fn elsewhere(test: &str, name: &str) -> Error {
    Error::failed(format!(
        "the test '{test}' of {name} needs the controller's file systems, and the run is on another machine; only --local \
         can answer it"
    ))
}

fn not_told(name: &str, error: &io::Error) -> Error {
    let why = match error.kind() {
        io::ErrorKind::NotFound => format!("[Errno 2] No such file or directory: b'{name}'"),
        _ => error.to_string(),
    };
    Error::failed(format!(
        "Cannot test if the file '{name}' is a vault: {why}"
    ))
}
