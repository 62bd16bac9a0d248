//! Small readers of files and folders, shared by the collectors.

use std::path::{Path, PathBuf};

/// Returns a file's text without surrounding white space; `None` if unreadable or empty.
pub(super) fn text(path: impl AsRef<Path>) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Returns a file's lines; none if unreadable.
pub(super) fn lines(path: impl AsRef<Path>) -> Vec<String> {
    text(path)
        .map(|text| text.lines().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Returns a file's number; `None` if it holds none.
pub(super) fn number<T: std::str::FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.parse().ok()
}

/// Returns the names in a folder in the order the system lists them.
pub(super) fn names(path: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Returns whether anything is at `path`, links followed.
pub(super) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}

/// Returns the last part of the link at `path`.
pub(super) fn link_name(path: impl AsRef<Path>) -> Option<String> {
    let target = std::fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// Returns where the program `name` lies: on `PATH`, then in the system's `sbin` folders.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/sbin", "/usr/sbin", "/usr/local/sbin"])
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(folder).join(name))
        .find(|path| {
            nix::unistd::access(path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
        })
}
