//! The lookup `filetree`: what lies below a folder of this machine, in the shape of community.general's.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

/// Returns all that is below `root`, of each folder the folders first, no link followed; nothing if that is more
/// than `most`.
pub(super) fn below(root: &Path, most: usize) -> Option<Vec<Json>> {
    let names = Names::read();
    let mut all = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let (inner, files): (Vec<PathBuf>, Vec<PathBuf>) =
            listed(&folder).into_iter().partition(|path| path.is_dir());
        for path in inner.iter().chain(&files) {
            all.extend(described(root, path, &names));
        }
        if all.len() > most {
            return None;
        }
        let real = inner.into_iter().filter(|folder| !folder.is_symlink());
        folders.extend(real.rev());
    }
    Some(all)
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Returns what is told of a path; nothing of sockets and their like.
fn described(root: &Path, path: &Path, names: &Names) -> Option<Json> {
    let meta = path.symlink_metadata().ok()?;
    let below = path.strip_prefix(root).ok()?.to_string_lossy().into_owned();
    let mut told = json!({
        "root": root.to_string_lossy(),
        "path": below,
        "uid": meta.uid(),
        "gid": meta.gid(),
        "owner": name_of(&names.users, meta.uid()),
        "group": name_of(&names.groups, meta.gid()),
        "mode": format!("0{:03o}", meta.permissions().mode() & 0o7777),
        "size": meta.len(),
        "mtime": seconds(meta.mtime(), meta.mtime_nsec()),
        "ctime": seconds(meta.ctime(), meta.ctime_nsec()),
        "state": state(&meta)?,
    });
    match state(&meta)? {
        "link" => told["src"] = json!(fs::read_link(path).ok()?.to_string_lossy()),
        "file" => told["src"] = json!(path.to_string_lossy()),
        _ => {}
    }
    Some(told)
}

fn state(meta: &Metadata) -> Option<&'static str> {
    match meta.file_type() {
        kind if kind.is_symlink() => Some("link"),
        kind if kind.is_dir() => Some("directory"),
        kind if kind.is_file() => Some("file"),
        _ => None,
    }
}

/// Returns what Python makes of a time.
#[expect(clippy::cast_precision_loss, reason = "Python's loses the same")]
fn seconds(seconds: i64, nanoseconds: i64) -> f64 {
    seconds as f64 + 1e-9 * nanoseconds as f64
}

/// The names of this machine's own users and groups, by number.
struct Names {
    users: Vec<(u32, String)>,
    groups: Vec<(u32, String)>,
}

impl Names {
    fn read() -> Self {
        Self {
            users: table("/etc/passwd"),
            groups: table("/etc/group"),
        }
    }
}

/// Reads `NAME:PASSWORD:NUMBER:…` lines.
fn table(path: &str) -> Vec<(u32, String)> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    text.lines().filter_map(line).collect()
}

/// Returns a name, or the number of what has none.
fn name_of(names: &[(u32, String)], number: u32) -> Json {
    let known = names.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| json!(number), |(_, name)| json!(name))
}
