//! What is mounted where, and how much room is left.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Map, Value as Json, json};

use super::devices::Names;
use super::read;

/// Returns what is mounted where; of several at one place the last, as Ansible has it. Servers are
/// waited for with `patience`.
pub(super) fn mounts(uuids: &Names, patience: Duration) -> Vec<Json> {
    let file = if read::exists("/etc/mtab") {
        "/etc/mtab"
    } else {
        "/proc/mounts"
    };
    let binds = bind_mounts(&read::text("/proc/self/mountinfo").unwrap_or_default());
    let mut found: Vec<Mount> = Vec::new();
    for mount in read::lines(file)
        .iter()
        .filter_map(|line| Mount::parse(line))
    {
        match found.iter_mut().find(|known| known.place == mount.place) {
            Some(known) => *known = mount,
            None => found.push(mount),
        }
    }
    let start = Instant::now();
    let sizes: Vec<Size> = found.iter().map(Size::of).collect();
    let both = found.iter().zip(sizes);
    both.map(|(mount, size)| {
        let left = patience.saturating_sub(start.elapsed());
        mount.json(&binds, uuids, size.within(left))
    })
    .collect()
}

/// A line of the table of mounts.
struct Mount {
    place: String,
    device: String,
    kind: String,
    options: String,
    dump: i64,
    pass: i64,
}

impl Mount {
    /// Reads a line; none for what has neither a device nor a server.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<String> = line.split_whitespace().map(unescape).collect();
        let [device, place, kind, options, rest @ ..] = fields.as_slice() else {
            return None;
        };
        let named = device.starts_with(['/', '\\']) || device.contains(":/");
        if !named || kind == "none" {
            return None;
        }
        let number = |at: usize| rest.get(at).and_then(|n| n.parse().ok()).unwrap_or(0);
        Some(Self {
            place: place.clone(),
            device: device.clone(),
            kind: kind.clone(),
            options: options.clone(),
            dump: number(0),
            pass: number(1),
        })
    }

    fn json(
        &self,
        binds: &BTreeSet<String>,
        uuids: &Names,
        size: Option<Map<String, Json>>,
    ) -> Json {
        let bind = if binds.contains(&self.place) {
            ",bind"
        } else {
            ""
        };
        let mut entry = json!({
            "mount": self.place, "device": self.device, "fstype": self.kind,
            "options": format!("{}{bind}", self.options), "dump": self.dump, "passno": self.pass,
        });
        match size {
            Some(size) => {
                entry["uuid"] = json!(self.uuid(uuids));
                if let Some(entry) = entry.as_object_mut() {
                    entry.extend(size);
                }
            }
            None => entry["note"] = json!("Could not get extra information due to timeout"),
        }
        entry
    }

    /// Returns the id of its file system; a device that is not there, as in a container, has none.
    fn uuid<'a>(&self, uuids: &'a Names) -> &'a str {
        let name = std::fs::canonicalize(&self.device).ok();
        let name = name.as_deref().and_then(Path::file_name);
        let found = name.and_then(|name| uuids.get(name.to_string_lossy().as_ref())?.first());
        found.map_or("N/A", String::as_str)
    }
}

/// How large a file system is: known, or asked of a server that may never answer.
enum Size {
    Known(Map<String, Json>),
    Asked(Receiver<Map<String, Json>>),
}

impl Size {
    fn of(mount: &Mount) -> Self {
        let place = mount.place.clone();
        let is_remote = mount.device.contains(":/") || mount.device.starts_with("//");
        if !is_remote {
            return Self::Known(space_at(&place));
        }
        let (answer, asked) = channel();
        std::thread::spawn(move || answer.send(space_at(&place)));
        Self::Asked(asked)
    }

    fn within(self, limit: Duration) -> Option<Map<String, Json>> {
        match self {
            Self::Known(size) => Some(size),
            Self::Asked(answer) => answer.recv_timeout(limit).ok(),
        }
    }
}

/// Returns how large the file system at `place` is; nothing if that cannot be told.
pub(crate) fn space_at(place: &str) -> Map<String, Json> {
    nix::sys::statvfs::statvfs(place).map_or_else(|_| Map::new(), |size| space(&size))
}

#[expect(
    clippy::useless_conversion,
    reason = "the counts are u32 on some targets"
)]
fn space(size: &nix::sys::statvfs::Statvfs) -> Map<String, Json> {
    let fragment = u64::from(size.fragment_size());
    let (blocks, free) = (u64::from(size.blocks()), u64::from(size.blocks_available()));
    let (inodes, inodes_free) = (u64::from(size.files()), u64::from(size.files_available()));
    let used = |total: u64, free: u64| i128::from(total) - i128::from(free);
    let mut space = Map::new();
    let mut set = |name: &str, value: i128| {
        space.insert(
            name.to_owned(),
            json!(i64::try_from(value).unwrap_or(i64::MAX)),
        );
    };
    set("size_total", i128::from(fragment) * i128::from(blocks));
    set("size_available", i128::from(fragment) * i128::from(free));
    set("block_size", i128::from(u64::from(size.block_size())));
    set("block_total", blocks.into());
    set("block_available", free.into());
    set("block_used", used(blocks, free));
    set("inode_total", inodes.into());
    set("inode_available", inodes_free.into());
    set("inode_used", used(inodes, inodes_free));
    space
}

/// Mount points whose file system's root is not what is mounted, as `findmnt` marks with `[…]`.
fn bind_mounts(mountinfo: &str) -> BTreeSet<String> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(3);
            let (root, mount) = (fields.next()?, fields.next()?);
            (root != "/").then(|| unescape(mount))
        })
        .collect()
}

/// Replaces `\040` and its kin.
fn unescape(field: &str) -> String {
    let mut out = String::new();
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|d| u8::from_str_radix(d, 8).ok());
        if let Some(code) = code {
            out.push(char::from(code));
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_whose_device_is_not_there_is_told_all_the_same() {
        let mount = Mount::parse("/dev/gone /tmp ext4 rw,x 0 1").unwrap();
        let size = Size::of(&mount).within(Duration::ZERO);
        let told = mount.json(&BTreeSet::new(), &Names::new(), size);
        assert_eq!(told["uuid"], "N/A");
        assert!(told["size_total"].as_u64().is_some_and(|size| size > 0));
        assert!(Mount::parse("tmpfs /tmp tmpfs rw 0 0").is_none());
    }

    #[test]
    fn a_server_that_does_not_answer_is_not_waited_for_forever() {
        let mount = Mount::parse("server:/export /mnt nfs4 rw 0 0").unwrap();
        let (_never, asked) = channel();
        let size = Size::Asked(asked).within(Duration::from_millis(1));
        let told = mount.json(&BTreeSet::new(), &Names::new(), size);
        assert_eq!(
            told["note"],
            "Could not get extra information due to timeout"
        );
        assert!(told.get("size_total").is_none() && told.get("uuid").is_none());
    }

    #[test]
    fn a_bind_mount_is_one_of_a_folder() {
        let info = "36 35 98:0 /mnt1 /mnt\\0402 rw - ext3 /dev/root rw\n37 35 98:0 / / rw - ext3 /dev/root rw\n";
        assert_eq!(bind_mounts(info), ["/mnt 2".to_owned()].into());
    }
}
