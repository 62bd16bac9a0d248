//! What is to be archived: paths and globs less those excluded, and the folder that names are told from.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use amibake_playbook::fnmatch::fnmatch;
use glob::MatchOptions;

use crate::args::Args;
use crate::module::{Context, Failure};
use crate::shlex;

/// The task's paths.
pub(super) struct Sources {
    /// As they were given, `~` and variables expanded.
    pub(super) given: Vec<String>,
    /// Globs replaced by what they match.
    pub(super) expanded: Vec<PathBuf>,
    pub(super) excluded: Vec<PathBuf>,
    /// Whether there was a glob.
    pub(super) globbed: bool,
    /// What is left, each once and in order.
    pub(super) paths: Vec<PathBuf>,
    /// The folder they are all in, with the slash at its end.
    pub(super) root: Vec<u8>,
}

impl Sources {
    pub(super) fn read(args: &Args, context: &Context<'_>) -> Result<Self, Failure> {
        let list = |name: &str| -> Vec<String> {
            let given = args.list(name).into_iter();
            given
                .map(|path| shlex::expand(path, &context.environment))
                .collect()
        };
        let given = list("path");
        let (expanded, globbed) = expand(&given);
        let (excluded, _) = expand(&list("exclude_path"));
        let mut paths: Vec<PathBuf> = expanded.clone();
        paths.retain(|path| !excluded.iter().any(|other| same(path, other)));
        paths.sort_by(|a, b| bytes(a).cmp(bytes(b)));
        paths.dedup_by(|a, b| same(a, b));
        if paths.is_empty() {
            return Err(Failure::new("Error, no source paths were found")
                .with("path", given.join(", "))
                .with("expanded_paths", shown(&expanded).join(", "))
                .with("expanded_exclude_paths", shown(&excluded).join(", ")));
        }
        Ok(Self {
            root: common_root(&paths),
            given,
            expanded,
            excluded,
            globbed,
            paths,
        })
    }

    /// Returns the name that `path` has in the archive.
    pub(super) fn name<'p>(&self, path: &'p Path) -> &'p [u8] {
        let path = bytes(path);
        path.strip_prefix(&*self.root).unwrap_or(path)
    }
}

/// Returns paths as results have them.
pub(super) fn shown(paths: &[PathBuf]) -> Vec<String> {
    let shown = |path: &PathBuf| path.to_string_lossy().into_owned();
    paths.iter().map(shown).collect()
}

/// Whether any pattern fits the name.
pub(super) fn matches(name: &[u8], patterns: &[&str]) -> bool {
    let name = String::from_utf8_lossy(name);
    patterns.iter().any(|pattern| fnmatch(pattern, &name))
}

/// Returns what is archived of a path: itself, or all that is in the folder; folders before files, as `os.walk` goes.
pub(super) fn walk(path: &Path) -> Vec<PathBuf> {
    match path.is_dir() {
        true => {
            let mut found = Vec::new();
            walk_into(path, &mut found);
            found
        }
        false => vec![path.to_owned()],
    }
}

fn walk_into(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return; // as `os.walk`, which passes over what it cannot read
    };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.into_iter().partition(|path| path.is_dir());
    found.extend(folders.iter().cloned().chain(files));
    for folder in folders.iter().filter(|folder| !folder.is_symlink()) {
        walk_into(folder, found);
    }
}

/// Replaces globs; returns whether there was one.
fn expand(given: &[String]) -> (Vec<PathBuf>, bool) {
    let is_glob = |path: &&String| path.contains(['*', '?']);
    let expanded = given.iter().flat_map(|path| match is_glob(&path) {
        true => matching(path),
        false => vec![PathBuf::from(path)],
    });
    let expanded = expanded.collect();
    (expanded, given.iter().any(|path| is_glob(&path)))
}

/// Returns what Python's `glob.glob` finds: no name with a dot before it, and `**` is `*`.
fn matching(pattern: &str) -> Vec<PathBuf> {
    let mut pattern = pattern.to_owned();
    while pattern.contains("**") {
        pattern = pattern.replace("**", "*");
    }
    let options = MatchOptions {
        require_literal_leading_dot: true,
        require_literal_separator: true,
        ..MatchOptions::default()
    };
    let found = glob::glob_with(&pattern, options);
    found.map_or_else(|_| Vec::new(), |found| found.flatten().collect())
}

/// Returns the folder that all paths are in.
fn common_root(paths: &[PathBuf]) -> Vec<u8> {
    let folders = paths.iter().map(|path| with_slash(dirname(bytes(path))));
    let common = folders.reduce(|a, b| {
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
        a[..same].to_vec()
    });
    with_slash(dirname(&common.unwrap_or_default()))
}

/// Returns what Python's `os.path.dirname` does.
fn dirname(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte == b'/');
    let head = &path[..end.map_or(0, |at| at + 1)];
    let kept = head.iter().rposition(|byte| *byte != b'/');
    match kept {
        Some(last) => head[..=last].to_vec(),
        None => head.to_vec(),
    }
}

fn with_slash(mut path: Vec<u8>) -> Vec<u8> {
    if !path.is_empty() && !path.ends_with(b"/") {
        path.push(b'/');
    }
    path
}

fn bytes(path: &Path) -> &[u8] {
    let path: &OsStr = path.as_os_str();
    path.as_bytes()
}

/// Whether two paths are written alike: to Ansible `/a/` is another one than `/a`.
fn same(a: &Path, b: &Path) -> bool {
    bytes(a) == bytes(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_the_folder_that_all_are_in() {
        for (paths, root) in [
            (&["/a/b/c"][..], "/a/b/"),
            (&["/a/b/c", "/a/bd/e"], "/a/"),
            (&["/a/b/", "/a/b/c"], "/a/b/"),
            (&["/a", "/b"], "/"),
            (&["a"], ""),
        ] {
            let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
            let found = common_root(&paths);
            assert_eq!(String::from_utf8(found).unwrap(), root, "{paths:?}");
        }
    }
}
