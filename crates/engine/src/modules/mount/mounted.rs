//! What is mounted, as the kernel lists it.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::modules::paths;

/// Sources by mount point. Of a bind mount the source is a path.
pub(super) struct Mounted(HashMap<String, String>);

struct Line<'a> {
    id: u64,
    parent: u64,
    root: String,
    at: &'a str,
    source: &'a str,
}

impl Mounted {
    pub(super) fn read() -> Self {
        let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self(sources(&text))
    }

    /// Returns whether something is mounted at `path`.
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Returns whether `source` is mounted at `path`.
    pub(super) fn is_of(&self, path: &str, source: &str) -> bool {
        self.0.get(path).is_some_and(|found| found == source)
    }
}

fn line(text: &str) -> Option<Line<'_>> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    Some(Line {
        id: fields.first()?.parse().ok()?,
        parent: fields.get(1)?.parse().ok()?,
        root: (*fields.get(3)?).to_owned(),
        at: fields.get(4)?,
        source: fields.get(fields.len().checked_sub(2)?)?,
    })
}

/// Reads the kernel's list. A mount below another is named by where it is found there: of a bind
/// mount the kernel tells the part of the file system that is shown, not the path it was bound from.
fn sources(text: &str) -> HashMap<String, String> {
    let mut lines: Vec<Line<'_>> = text.lines().filter_map(line).collect();
    let places: HashMap<u64, usize> = lines.iter().enumerate().map(|(at, l)| (l.id, at)).collect();
    let mut sources = HashMap::new();
    for at in 0..lines.len() {
        let parent = places.get(&lines[at].parent);
        let Some(parent) = parent.filter(|_| lines[at].parent != 1).copied() else {
            sources.insert(lines[at].at.to_owned(), lines[at].source.to_owned());
            continue;
        };
        let (above, below) = (lines[parent].root.clone(), lines[parent].at.to_owned());
        let line = &mut lines[at];
        if above.len() > 1 && line.root.starts_with(&format!("{above}/")) {
            line.root.replace_range(..above.len(), "");
        }
        if below != "/" {
            line.root.insert_str(0, &below);
        }
        sources.insert(line.at.to_owned(), line.root.clone());
    }
    sources
}

/// Returns whether another file system begins at `path`, as Python's `ismount` finds it.
pub(super) fn is_mount_point(path: &Path) -> bool {
    let Ok(own) = path.symlink_metadata() else {
        return false;
    };
    let parent = paths::real(&path.join(".."));
    let (false, Ok(parent)) = (own.is_symlink(), parent.symlink_metadata()) else {
        return false;
    };
    own.dev() != parent.dev() || own.ino() == parent.ino()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_mount_is_known_by_the_path_it_was_bound_from() {
        let text = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n\
                    42 60 0:35 / /tmp rw - tmpfs tmpfs rw\n\
                    60 1 8:2 / / rw - ext4 /dev/sdb2 rw\n\
                    78 42 0:35 /aaa /tmp/bbb rw - tmpfs tmpfs rw\n\
                    140 1 253:2 /rootfs / rw - ext4 /dev/sdb2 rw\n\
                    141 140 253:2 /rootfs/tmp/aaa /tmp/ccc rw - ext4 /dev/sdb2 rw\n";
        let mounted = Mounted(sources(text));
        assert!(mounted.is_of("/tmp/bbb", "/tmp/aaa"));
        assert!(mounted.is_of("/tmp/ccc", "/tmp/aaa"));
        assert!(!mounted.is_at("/tmp/ddd"));
    }

    #[test]
    fn proc_is_a_mount_point_and_what_is_in_it_is_none() {
        assert!(is_mount_point(Path::new("/proc")));
        assert!(is_mount_point(Path::new("/")));
        assert!(!is_mount_point(Path::new("/proc/sys/kernel")));
        assert!(!is_mount_point(Path::new("/nothing/there")));
    }
}
