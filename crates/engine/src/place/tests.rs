use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};

use super::*;
use crate::users;

const NOBODY: u32 = 65534;
const OTHER: u32 = 65533;

fn folder_of(mode: u32, owner: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("d/f"), "x").unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    symlink("../d", folder.path().join("in/to-d")).unwrap();
    symlink("../d/f", folder.path().join("in/to-f")).unwrap();
    let inner = folder.path().join("in");
    fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
    if owner != 0 {
        chown(&inner, Some(owner), None).unwrap();
    }
    folder
}

/// Only root can give files away, and only root is guarded.
fn as_root() -> bool {
    if !is_root() {
        eprintln!("skipped: giving files to others needs root");
    }
    is_root()
}

#[test]
fn a_link_in_a_folder_of_roots_own_is_followed() {
    let folder = folder_of(0o755, 0);
    let at = |name: &str| folder.path().join(name);
    assert_eq!(Place::of(&at("in/to-d/f")).unwrap().real(), at("d/f"));
    assert_eq!(Place::behind(&at("in/to-f")).unwrap().real(), at("d/f"));
    assert_eq!(Place::of(&at("in/to-f")).unwrap().real(), at("in/to-f"));
    assert_eq!(Place::of(&at("in/to-d/")).unwrap().real(), at("d"));
    assert_eq!(Place::of(&at("in/to-d/../d/f")).unwrap().real(), at("d/f"));
}

#[test]
fn a_link_that_another_could_have_put_there_leads_to_nothing_of_roots() {
    if !as_root() {
        return;
    }
    for (mode, owner, group) in [
        (0o755, NOBODY, 0),
        (0o775, 0, NOBODY),
        (0o777, 0, 0),
        (0o775, NOBODY, 1),
    ] {
        let folder = folder_of(mode, owner);
        let at = |name: &str| folder.path().join(name);
        chown(at("in"), None, Some(group)).unwrap();
        for path in ["in/to-d/f", "in/to-d/", "in/to-d/new"] {
            let refused = Place::of(&at(path)).unwrap_err();
            assert!(is_untrusted(&refused));
            let refused = refused.to_string();
            assert!(refused.contains("in/to-d is a symbolic link"), "{refused}");
        }
        assert!(Place::behind(&at("in/to-f")).is_err());
        assert!(real(&at("in/to-f")).is_err());
        assert!(Place::of(&at("in/to-f")).unwrap().open_to_read().is_err());
    }
}

#[test]
fn roots_own_group_and_roots_own_link_in_a_sticky_folder_are_roots() {
    if !as_root() {
        return;
    }
    let own_group = folder_of(0o775, 0);
    let found = Place::of(&own_group.path().join("in/to-d/f")).unwrap();
    assert_eq!(found.real(), own_group.path().join("d/f"));
    let sticky = folder_of(0o1777, 0);
    let found = Place::of(&sticky.path().join("in/to-d/f"));
    assert_eq!(found.is_ok(), control::hard_links_are_protected());
}

#[test]
fn an_acl_counts_even_where_the_group_is_roots() {
    if !as_root() {
        return;
    }
    let folder = folder_of(0o775, 0);
    let mut acl = vec![2, 0, 0, 0];
    for (tag, bits, id) in [
        (0x01, 7, u32::MAX),
        (0x02, 7, NOBODY),
        (0x04, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 5, u32::MAX),
    ] {
        acl.extend([tag, 0, bits, 0]);
        acl.extend(id.to_le_bytes());
    }
    if xattr::set(folder.path().join("in"), "system.posix_acl_access", &acl).is_err() {
        eprintln!("skipped: the file system has no ACLs");
        return;
    }
    assert!(Place::of(&folder.path().join("in/to-d/f")).is_err());
}

/// A home with links to what is its owner's, root's and another's.
fn home() -> tempfile::TempDir {
    let home = folder_of(0o755, NOBODY);
    let at = |name: &str| home.path().join("in").join(name);
    let give = |name: &str, uid: u32| lchown(at(name), Some(uid), None).unwrap();
    for folder in ["rel", "rel/1", "roots", "others", "rel/1/roots"] {
        fs::create_dir(at(folder)).unwrap();
    }
    for file in ["rel/1/f", "rel/1/by-root", "rel/1/others", "rel/1/roots/f"] {
        fs::write(at(file), "x").unwrap();
    }
    for name in ["rel", "rel/1", "rel/1/f"] {
        give(name, NOBODY);
    }
    give("others", OTHER);
    give("rel/1/others", OTHER);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for (name, target) in [
        ("current", PathBuf::from("rel/1")),
        ("absolute", at("rel/1")),
        ("twice", at("current")),
        ("to-roots", PathBuf::from("roots")),
        ("to-others", PathBuf::from("others")),
        ("round", home.path().join("d/../in/rel/1")),
        ("to-etc", PathBuf::from("/etc")),
    ] {
        symlink(target, at(name)).unwrap();
        give(name, NOBODY);
    }
    home
}

#[test]
fn a_users_link_leads_to_what_is_his_own() {
    if !as_root() {
        return;
    }
    let home = home();
    let at = |name: &str| home.path().join("in").join(name);
    for link in ["current", "absolute", "twice", "round"] {
        let below = |name: &str| at(link).join(name);
        for name in ["f", "new", "by-root"] {
            let found = Place::of(&below(name)).unwrap();
            assert_eq!(found.real(), at("rel/1").join(name), "{link}");
        }
        assert_eq!(real(&at(link)).unwrap(), at("rel/1"));
        assert_eq!(real(&below("gone/there")).unwrap(), at("rel/1/gone/there"));
        let inside = Place::behind(&at(link)).unwrap().enter().unwrap();
        assert!(inside.look(OsStr::new("f")).unwrap().is_some());
        assert!(inside.look(OsStr::new("new")).unwrap().is_none());
        assert!(inside.look(OsStr::new("others")).is_err());
        assert!(inside.sibling(OsStr::new("roots")).enter().is_err());
    }
}

#[test]
fn a_users_link_leads_to_nothing_of_roots_or_of_another() {
    if !as_root() {
        return;
    }
    let home = home();
    let at = |name: &str| home.path().join("in").join(name);
    for path in [
        "to-roots/new",
        "to-roots/",
        "to-others/new",
        "to-others/",
        "current/roots/f",
        "current/roots/new",
        "current/roots/../f",
        "current/others",
        "to-etc/passwd",
        "to-etc/",
    ] {
        let judged = match path.contains("..") {
            // The way leads by a folder of root's that all may search, and back.
            true => Place::of(&at(path)).map(|_| ()).is_ok(),
            false => Place::of(&at(path)).is_err_and(|e| is_untrusted(&e)),
        };
        assert!(judged, "{path}");
    }
    assert!(real(&at("to-etc/gone/there")).is_err_and(|e| is_untrusted(&e)));
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(at("rel/1/roots"), closed).unwrap();
    assert!(Place::of(&at("current/roots/../f")).is_err());
    let refused = Place::of(&at("to-others/new")).unwrap_err().to_string();
    let user = users::user_by_id(NOBODY).map_or(NOBODY.to_string(), |user| user.name);
    assert!(refused.contains(&format!("user {user} could have put there, and ")));
    assert!(
        refused.ends_with("in/others is not that user's own"),
        "{refused}"
    );
}

#[test]
fn a_second_name_of_a_file_of_roots_is_not_taken_for_a_users() {
    if !as_root() {
        return;
    }
    let home = home();
    let at = |name: &str| home.path().join("in").join(name);
    fs::hard_link(at("rel/1/by-root"), at("planted")).unwrap();
    for path in ["planted", "current/by-root"] {
        let place = Place::of(&at(path)).unwrap();
        let stat = fstat(place.hold().unwrap()).unwrap();
        assert!(place.refuse_second_name(&stat).is_err(), "{path}");
        let opened = place.open_to_read();
        assert_eq!(
            opened.is_ok(),
            control::hard_links_are_protected(),
            "{path}"
        );
    }
    let own = Place::of(&at("current/f")).unwrap();
    let stat = fstat(own.hold().unwrap()).unwrap();
    assert!(own.refuse_second_name(&stat).is_ok());
}

#[test]
fn below_a_folder_that_others_can_swap_no_link_leads_to_roots() {
    if !as_root() {
        return;
    }
    let folder = folder_of(0o755, NOBODY);
    let inner = folder.path().join("in/roots");
    fs::create_dir(&inner).unwrap();
    symlink("/etc", inner.join("etc")).unwrap();
    assert!(Place::of(&inner.join("etc/passwd")).is_err());
    // In a sticky folder nobody moves what is root's.
    let sticky = folder_of(0o1777, 0);
    let inner = sticky.path().join("in/roots");
    fs::create_dir(&inner).unwrap();
    symlink("/etc", inner.join("etc")).unwrap();
    let found = Place::of(&inner.join("etc/passwd")).unwrap();
    assert_eq!(found.real(), Path::new("/etc/passwd"));
}

#[test]
fn a_link_is_resolved_even_where_it_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link");
    symlink("gone/there", &link).unwrap();
    let root = fs::canonicalize(folder.path()).unwrap();
    assert_eq!(real(&link).unwrap(), root.join("gone/there"));
}
