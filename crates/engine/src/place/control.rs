//! Who besides root could have put something where it is found.

use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat};

use super::by_descriptor;
use crate::users;
use std::os::fd::AsFd;

const STICKY: u32 = 0o1000;
const WRITABLE_BY_GROUP: u32 = 0o020;
const WRITABLE_BY_ALL: u32 = 0o002;

/// Those who could have chosen what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Control {
    Root,
    /// Besides root this user alone.
    User(u32),
    Several,
}

impl Control {
    pub(super) fn of(uid: u32) -> Self {
        match uid {
            0 => Self::Root,
            uid => Self::User(uid),
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Root, control) | (control, Self::Root) => control,
            (Self::User(uid), Self::User(other)) if uid == other => self,
            _ => Self::Several,
        }
    }
}

/// Returns who could have put `child` in the folder that is held.
pub(super) fn over(folder: &OwnedFd, stat: &Stat, child: &Stat) -> Control {
    let owner = Control::of(stat.st_uid);
    let shared = match stat.st_mode & (WRITABLE_BY_ALL | WRITABLE_BY_GROUP) {
        0 => return owner,
        WRITABLE_BY_GROUP => group(folder, stat),
        _ => Control::Several,
    };
    let theirs = match stat.st_mode & STICKY != 0 && is_its_makers(child) {
        true => Control::of(child.st_uid),
        false => shared,
    };
    owner.and(theirs)
}

/// Returns whether what lies in a sticky folder was put there by its owner: names of links of
/// others can be made where hard links are not protected.
fn is_its_makers(child: &Stat) -> bool {
    FileType::from_raw_mode(child.st_mode) == FileType::Directory || hard_links_are_protected()
}

/// Returns whom the group of a folder lets write: nobody else if it is root's or the owner's own.
/// Of another the list of members says too little: programs take groups that no list gives them.
fn group(folder: &OwnedFd, stat: &Stat) -> Control {
    let private = stat.st_gid == 0 || users::is_own_group(stat.st_gid, stat.st_uid);
    match private && !has_acl(folder) {
        true => Control::of(stat.st_uid),
        false => Control::Several,
    }
}

/// Returns whether an ACL lets others write, which shows in the bits of the group.
fn has_acl(folder: &OwnedFd) -> bool {
    let acl = xattr::get_deref(by_descriptor(folder.as_fd()), "system.posix_acl_access");
    match acl {
        Ok(acl) => acl.is_some(),
        Err(e) => e.kind() != std::io::ErrorKind::Unsupported,
    }
}

/// Returns whether others than root can make, rename or remove names in a folder.
pub(super) fn others_write(folder: &Stat) -> bool {
    folder.st_uid != 0 || folder.st_mode & (WRITABLE_BY_ALL | WRITABLE_BY_GROUP) != 0
}

pub(super) fn hard_links_are_protected() -> bool {
    let set = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    set.is_ok_and(|set| set.trim() == "1")
}
