//! The tests of paths on the controller: `file`, `directory`, `exists`, `link`, `mount`, `same_file`, ….
//!
//! Of a bundle, links are followed before it travels, and which file systems there are is not told: what needs more
//! than that the controller is asked.

use std::io;
use std::path::Path;

use amibake_playbook::files::{self, Files, normal};
use amibake_playbook::template::Error;
use amibake_protocol::ask::{Answer, Ask, FileTest};
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
        "link" => is_link(run, path, &at),
        "link_exists" => Ok(exists(files, &at) || is_link(run, path, &at)?),
        "mount" => is_mount(run, path, &at),
        "same_file" => {
            let other = other.unwrap_or_default();
            let second = run.options.working_folder.join(other);
            find(files, other, &second)?;
            are_same(run, (path, &at), (other, &second))
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

fn is_link(run: &Run<'_>, name: &str, at: &Path) -> Result<bool, Error> {
    let files = run.project.files;
    if files.link(at).is_some() || files.locate(at).is_symlink() {
        return Ok(true);
    }
    // With a slash at its end a path is what a link leads to.
    if is_here(files, at) || name.ends_with('/') {
        return Ok(false);
    }
    asked(run, name, at, FileTest::Link)
}

fn is_mount(run: &Run<'_>, name: &str, at: &Path) -> Result<bool, Error> {
    match is_here(run.project.files, at) {
        true => Ok(files::is_mount(at)),
        false => asked(run, name, at, FileTest::Mount),
    }
}

/// Returns whether a path of the controller is one of this machine.
fn is_here(files: &dyn Files, at: &Path) -> bool {
    files.locate(at) == at
}

/// Has the controller test a path of its own. Links were followed before a bundle travelled, and which file systems
/// there are is not sent along.
fn asked(run: &Run<'_>, name: &str, at: &Path, test: FileTest) -> Result<bool, Error> {
    let ask = Ask::Test {
        place: run.at.borrow().clone(),
        path: normal(at),
        test,
    };
    let answer = run.controller.borrow_mut().ask(ask);
    let why = match answer {
        Answer::Value {
            value: Json::Bool(held),
        } => return Ok(held),
        Answer::Refused { reason } => reason,
        Answer::Value { .. } | Answer::File { .. } => {
            "the controller did not answer with a truth".to_owned()
        }
    };
    Err(Error::failed(format!("'{name}' cannot be tested: {why}")))
}

fn are_same(
    run: &Run<'_>,
    (name, at): (&str, &Path),
    (other, second): (&str, &Path),
) -> Result<bool, Error> {
    let files = run.project.files;
    for (name, at) in [(name, at), (other, second)] {
        if !exists(files, at) {
            return Err(Error::failed(no_such(name)));
        }
    }
    if normal(at) == normal(second) {
        return Ok(true);
    }
    if !is_here(files, at) || !is_here(files, second) {
        return asked(run, name, at, FileTest::SameFile(normal(second)));
    }
    files::are_same(at, second).map_err(|error| Error::failed(error.to_string()))
}

fn no_such(name: &str) -> String {
    format!("[Errno 2] No such file or directory: '{name}'")
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
