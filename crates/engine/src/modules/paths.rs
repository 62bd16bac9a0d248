//! Small things about paths that several modules need, as Python's `os.path` has them.

use std::io;
use std::path::{Component, Path, PathBuf};

use serde_json::Value as Json;

use crate::attrs::Meta;

/// Returns the directory that a path is in; for a bare name, where we are.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        None => Path::new("/"),
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
    }
}

/// Returns what follows the last slash: empty for `dir/`.
pub(super) fn basename(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Returns the reason of an error without Rust's `(os error 2)`, as Python shows it.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Returns an error about `path` as Python words it.
pub(super) fn python_error(error: &io::Error, path: &str) -> String {
    match error.raw_os_error() {
        Some(code) => format!("[Errno {code}] {}: '{path}'", reason(error)),
        None => error.to_string(),
    }
}

/// Resolves links as `os.path.realpath` does: what is missing stays as it is written.
///
/// To be shown only. What is to be changed or read is found by `place`.
pub(super) fn real(path: &Path) -> PathBuf {
    let start = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut out = PathBuf::from("/");
    let mut todo: Vec<PathBuf> = pieces(&start);
    let mut links = 0;
    while let Some(piece) = todo.pop() {
        if piece.as_os_str() == ".." {
            out.pop();
            continue;
        }
        let next = out.join(&piece);
        match std::fs::read_link(&next) {
            Ok(target) if links < 40 => {
                links += 1;
                if target.is_absolute() {
                    out = PathBuf::from("/");
                }
                todo.extend(pieces(&target));
            }
            _ => out = next,
        }
    }
    out
}

/// The components of `path`, last first.
fn pieces(path: &Path) -> Vec<PathBuf> {
    let components = path.components().rev();
    components
        .filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir))
        .map(|c| PathBuf::from(c.as_os_str()))
        .collect()
}

/// Returns the directories that are missing on the way to `path`, itself included, outermost
/// first, and what is known of the one the first is made in.
pub(super) fn missing(path: &Path) -> io::Result<(Option<Meta>, Vec<PathBuf>)> {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        if at.as_os_str().is_empty() {
            return Ok((Meta::follow(Path::new("."))?, missing));
        }
        if let Some(meta) = Meta::follow(at)? {
            return Ok((Some(meta), missing));
        }
        missing.insert(0, at.to_owned());
        match at.parent() {
            Some(parent) => at = parent,
            None => return Ok((None, missing)),
        }
    }
}

/// Returns the name of a dated copy, as Ansible makes it: `PATH.PID.YYYY-MM-DD@HH:MM:SS~`.
///
/// Ansible's modules have a process each; here one makes several copies a second, so the number
/// goes on from ours until the name is free.
pub(super) fn backup_name(path: &Path) -> PathBuf {
    let now = jiff::Zoned::now().strftime("%Y-%m-%d@%H:%M:%S");
    let named = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}.{now}~"));
        PathBuf::from(name)
    };
    let numbers = std::process::id()..;
    let free = numbers
        .map(named)
        .find(|name| name.symlink_metadata().is_err());
    free.unwrap_or_else(|| named(u32::MAX))
}

/// Writes `value` as Python's `json.dumps` does: on one line, with spaces, in ASCII.
pub(super) fn python_json(value: &Json) -> String {
    match value {
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(python_json).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let pair = |(k, v): (&String, &Json)| format!("{}: {}", quoted(k), python_json(v));
            let pairs: Vec<String> = map.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Json::String(text) => quoted(text),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    for c in Json::from(text).to_string().chars() {
        if c.is_ascii() {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_resolved_even_where_it_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("gone/there", &link).unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        assert_eq!(real(&link), root.join("gone/there"));
    }

    #[test]
    fn names_are_split_as_python_splits_them() {
        assert_eq!(basename("/a/b"), "b");
        assert_eq!(basename("/a"), "a");
        assert_eq!(basename("a/"), "");
    }
}
