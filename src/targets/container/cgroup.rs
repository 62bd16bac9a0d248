//! A machine's own control groups, below this process's.
//!
//! The systemd of a machine takes the group that it finds itself in for its own, and makes and
//! removes there a group for each unit. Two machines in one group would remove each other's: a
//! unit whose group goes while it starts fails, be it sshd or what allows logins.

use std::io;
use std::path::{Path, PathBuf};

use super::super::TargetError;

/// The file in a machine's folder that says which groups were made for it, one a line.
const LIST: &str = "cgroups";

/// Joins the groups named before `--`, then becomes the program named after it.
pub(super) const JOIN: &str = r#"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done
shift
exec "$@"
"#;

/// Makes the groups of the machine `name` in `folder`, one in each hierarchy that systemd uses and that
/// can be seen here.
pub(super) fn make(name: &str, folder: &Path) -> Result<Vec<PathBuf>, TargetError> {
    let failed =
        |e| TargetError::new(format!("no control group could be made for {name}")).because(e);
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let groups: Vec<PathBuf> = groups(&own, &mounts)
        .into_iter()
        .map(|group| group.join(name))
        .collect();
    let lines = groups.iter().map(|group| format!("{}\n", group.display()));
    std::fs::write(folder.join(LIST), lines.collect::<String>()).map_err(failed)?;
    for group in &groups {
        std::fs::create_dir(group).map_err(failed)?;
    }
    Ok(groups)
}

/// Returns the folders of this process's groups: in the unified hierarchy, and in the older one
/// that systemd names `systemd`.
fn groups(own: &str, mounts: &str) -> Vec<PathBuf> {
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (hierarchy, path) = (parts.next()?, parts.next()?);
        let (kind, option) = match hierarchy {
            "" => ("cgroup2", ""),
            "name=systemd" => ("cgroup", "name=systemd"),
            _ => return None,
        };
        let mut places = mounts
            .lines()
            .filter_map(|mount| place(mount, kind, option));
        places.find_map(|(root, point)| {
            let below = Path::new(path).strip_prefix(root).ok()?;
            // What is above what is mounted cannot be reached.
            let seen = !below.starts_with("..");
            seen.then(|| Path::new(point).join(below))
        })
    };
    own.lines().filter_map(group).collect()
}

/// Returns what is mounted where, if it is a hierarchy of this kind. See `proc(5)`, `mountinfo`.
fn place<'a>(mount: &'a str, kind: &str, option: &str) -> Option<(&'a str, &'a str)> {
    let (before, after) = mount.split_once(" - ")?;
    let mut after = after.split(' ');
    let is_kind = after.next() == Some(kind);
    let has_option = option.is_empty() || after.nth(1)?.split(',').any(|o| o == option);
    let mut before = before.split(' ').skip(3);
    (is_kind && has_option).then_some((before.next()?, before.next()?))
}

/// Removes the groups of the machine in `folder`; returns whether they are gone. They stay while a
/// process is in one.
pub(super) fn remove(folder: &Path) -> bool {
    let list = std::fs::read_to_string(folder.join(LIST)).unwrap_or_default();
    let mut lines = list.lines();
    lines.all(|group| remove_group(Path::new(group)).is_ok())
}

/// Removes a group and those below it. Its files go with it; others may remove it at the same time.
fn remove_group(group: &Path) -> io::Result<()> {
    let removed = group.read_dir().and_then(|entries| {
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                remove_group(&entry.path())?;
            }
        }
        std::fs::remove_dir(group)
    });
    match removed {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !group.exists() => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIFIED: &str = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                          39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                          40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    fn found(own: &str, mounts: &str) -> Vec<String> {
        let found = groups(own, mounts).into_iter();
        found.map(|group| group.display().to_string()).collect()
    }

    #[test]
    fn a_group_is_looked_for_in_the_hierarchies_that_systemd_uses() {
        let scope = "0::/user.slice/session-2.scope\n";
        assert_eq!(
            found(scope, UNIFIED),
            ["/sys/fs/cgroup/user.slice/session-2.scope"]
        );
        assert_eq!(
            found("9:name=systemd:/a\n8:pids:/b\n0::/c\n", HYBRID),
            ["/sys/fs/cgroup/systemd/a", "/sys/fs/cgroup/unified/c"]
        );
    }

    #[test]
    fn a_mount_may_show_a_part_of_its_hierarchy() {
        let docker = UNIFIED.replace(" / ", " /docker/c1 ");
        assert_eq!(
            found("0::/docker/c1/job\n", &docker),
            ["/sys/fs/cgroup/job"]
        );
        assert_eq!(found("0::/docker/c1\n", &docker), ["/sys/fs/cgroup/"]);
        assert_eq!(found("0::/elsewhere\n", &docker), [""; 0]);
        let above = UNIFIED.replace(" / ", " /../.. ");
        assert_eq!(found("0::/\n", &above), [""; 0], "not told where");
        assert_eq!(found("0::/../elsewhere\n", UNIFIED), [""; 0]);
        assert_eq!(found("0::/\n", ""), [""; 0]);
    }

    #[test]
    fn groups_go_with_those_below_them_once_they_are_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert!(remove(folder.path()), "none was made");
        let group = folder.path().join("group");
        std::fs::create_dir_all(group.join("payload/system.slice")).unwrap();
        let list = format!("{}\n", group.display());
        std::fs::write(folder.path().join(LIST), list).unwrap();
        // Stands for a process: what keeps a folder from being removed.
        std::fs::write(group.join("payload/busy"), "").unwrap();
        assert!(!remove(folder.path()));
        std::fs::remove_file(group.join("payload/busy")).unwrap();
        assert!(remove(folder.path()));
        assert!(!group.exists());
        assert!(remove(folder.path()), "and it may be asked again");
    }
}
