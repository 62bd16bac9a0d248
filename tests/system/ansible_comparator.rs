//! The comparator of the twin tests reports each difference that is planted, and nothing it may ignore.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::inventory::{IgnoreList, Inventory, differences};

/// A root with one of everything that is compared.
fn plant(root: &Path) {
    let files = [
        ("etc/motd", "welcome\n"),
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nweb:x:999:999:Web:/srv:/bin/sh\n",
        ),
        ("etc/group", "root:x:0:\nweb:x:999:\nadm:x:4:web,root\n"),
        (
            "etc/shadow",
            "root:*:19000:0:99999:7:::\nweb:$6$salt$hash:19000:0:99999:7:::\n",
        ),
        (
            "var/lib/dpkg/status",
            "Package: git\nStatus: install ok installed\nVersion: 1:2.39\nDescription: x\n more\n\n\
             Package: less\nStatus: install ok installed\nVersion: 590\n",
        ),
        (
            "var/lib/apt/extended_states",
            "Package: less\nArchitecture: amd64\nAuto-Installed: 1\n\n",
        ),
        (
            "usr/lib/systemd/system/web.service",
            "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
        ),
        ("var/log/web/access.log", "GET /\n"),
        ("usr/lib/python3/__pycache__/x.pyc", "bytes"),
    ];
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(root.join("etc/systemd/system/multi-user.target.wants")).unwrap();
    symlink("motd", root.join("etc/link")).unwrap();
}

fn edit(root: &Path, file: &str, from: &str, to: &str) {
    let path = root.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

fn run(program: &str, args: &[&str], path: &Path) {
    let status = Command::new(program).args(args).arg(path).status().unwrap();
    assert!(status.success(), "{program} {args:?}");
}

/// What is done to one of two equal roots, and the line that must tell of it.
type Planted = (&'static str, fn(&Path), &'static str);

const PLANTED: &[Planted] = &[
    (
        "content",
        |root| fs::write(root.join("etc/motd"), "Welcome\n").unwrap(),
        "file /etc/motd: sha256 is",
    ),
    (
        "size",
        |root| fs::write(root.join("etc/motd"), "").unwrap(),
        "file /etc/motd: size is `0`, not `8`",
    ),
    (
        "mode",
        |root| {
            fs::set_permissions(root.join("etc/motd"), PermissionsExt::from_mode(0o600)).unwrap();
        },
        "file /etc/motd: mode is `0600`, not `0644`",
    ),
    (
        "mode of a folder",
        |root| fs::set_permissions(root.join("etc"), PermissionsExt::from_mode(0o1755)).unwrap(),
        "file /etc: mode is `1755`, not `0755`",
    ),
    (
        "owner",
        |root| chown(root.join("etc/motd"), Some(999), None).unwrap(),
        "file /etc/motd: owner is `web`, not `root`",
    ),
    (
        "group",
        |root| chown(root.join("etc/motd"), None, Some(4)).unwrap(),
        "file /etc/motd: group is `adm`, not `root`",
    ),
    (
        "missing file",
        |root| fs::remove_file(root.join("etc/motd")).unwrap(),
        "file /etc/motd: missing on ours",
    ),
    (
        "extra file",
        |root| fs::write(root.join("etc/more"), "").unwrap(),
        "file /etc/more: only on ours",
    ),
    (
        "type",
        |root| {
            fs::remove_file(root.join("etc/motd")).unwrap();
            fs::create_dir(root.join("etc/motd")).unwrap();
        },
        "file /etc/motd: type is `directory`, not `file`",
    ),
    (
        "link target",
        |root| {
            fs::remove_file(root.join("etc/link")).unwrap();
            symlink("passwd", root.join("etc/link")).unwrap();
        },
        "file /etc/link: target is `passwd`, not `motd`",
    ),
    (
        "owner of a link",
        |root| std::os::unix::fs::lchown(root.join("etc/link"), Some(999), None).unwrap(),
        "file /etc/link: owner is `web`, not `root`",
    ),
    (
        "xattr",
        |root| {
            run(
                "setfattr",
                &["-n", "user.note", "-v", "x"],
                &root.join("etc/motd"),
            );
        },
        "file /etc/motd: xattr user.note is `78`, not nothing",
    ),
    (
        "ACL",
        |root| run("setfacl", &["-m", "u:999:r"], &root.join("etc/motd")),
        "file /etc/motd: xattr system.posix_acl_access is",
    ),
    (
        "capability",
        |root| {
            let net_bind = "0x0100000200040000000000000000000000000000";
            run(
                "setfattr",
                &["-n", "security.capability", "-v", net_bind],
                &root.join("etc/motd"),
            );
        },
        "file /etc/motd: xattr security.capability is `0100000200040000000000000000000000000000`, not nothing",
    ),
    (
        "package version",
        |root| edit(root, "var/lib/dpkg/status", "1:2.39", "1:2.40"),
        "package git: version is `1:2.40`, not `1:2.39`",
    ),
    (
        "package state",
        |root| {
            edit(
                root,
                "var/lib/dpkg/status",
                "Package: git\nStatus: install ok",
                "Package: git\nStatus: hold ok",
            );
        },
        "package git: state is `hold ok installed`, not `install ok installed`",
    ),
    (
        "package missing",
        |root| {
            edit(
                root,
                "var/lib/dpkg/status",
                "Package: less",
                "Package: more",
            );
        },
        "package less: missing on ours",
    ),
    (
        "package mark",
        |root| {
            edit(
                root,
                "var/lib/apt/extended_states",
                "Auto-Installed: 1",
                "Auto-Installed: 0",
            );
        },
        "package less: mark is `manual`, not `auto`",
    ),
    (
        "user",
        |root| edit(root, "etc/passwd", "/srv:/bin/sh", "/srv:/bin/false"),
        "user web: shell is `/bin/false`, not `/bin/sh`",
    ),
    (
        "user missing",
        |root| edit(root, "etc/passwd", "web:x:999:", "app:x:998:"),
        "user app: only on ours",
    ),
    (
        "password",
        |root| edit(root, "etc/shadow", "web:$6$salt$hash", "web:!$6$salt$hash"),
        "user web: password is `!$6$…`, not `$6$…`",
    ),
    (
        "group",
        |root| edit(root, "etc/group", "web,root", "root"),
        "group adm: members is `root`, not `root,web`",
    ),
    (
        "service enabled",
        |root| {
            let link = root.join("etc/systemd/system/multi-user.target.wants/web.service");
            symlink("/usr/lib/systemd/system/web.service", link).unwrap();
        },
        "unit web.service: state is `enabled`, not `disabled`",
    ),
    (
        "service masked",
        |root| symlink("/dev/null", root.join("etc/systemd/system/web.service")).unwrap(),
        "unit web.service: state is `masked`, not `disabled`",
    ),
];

#[test]
fn each_planted_difference_is_reported() {
    let (theirs, ignored) = (tempfile::tempdir().unwrap(), IgnoreList::reviewed());
    plant(theirs.path());
    let before = Inventory::of_root(theirs.path());
    for (name, change, told) in PLANTED {
        let ours = tempfile::tempdir().unwrap();
        plant(ours.path());
        let same = differences(&before, &Inventory::of_root(ours.path()), &ignored);
        assert!(same.is_empty(), "two equal roots differ: {same:#?}");
        change(ours.path());
        let found = differences(&before, &Inventory::of_root(ours.path()), &ignored);
        assert!(
            found.iter().any(|line| line.starts_with(told)),
            "{name}: {found:#?}"
        );
    }
}

#[test]
fn a_service_that_runs_on_one_machine_only_is_reported() {
    let root = tempfile::tempdir().unwrap();
    plant(root.path());
    let running = |sub: &str| {
        Inventory::of_root(root.path())
            .with_running(&format!("web.service loaded active {sub} The web\n"))
    };
    let found = differences(
        &running("running"),
        &running("exited"),
        &IgnoreList::reviewed(),
    );
    assert_eq!(
        found,
        ["running web.service: state is `loaded active exited`, not `loaded active running`"]
    );
}

#[test]
fn what_the_list_ignores_is_not_reported() {
    let (theirs, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(theirs.path());
    plant(ours.path());
    edit(ours.path(), "var/log/web/access.log", "GET", "POST");
    edit(
        ours.path(),
        "usr/lib/python3/__pycache__/x.pyc",
        "bytes",
        "others",
    );
    // A salt is chance, and with it the hash and the file's sum.
    edit(ours.path(), "etc/shadow", "$6$salt$hash", "$6$tlas$hsah");
    let of = |root: &tempfile::TempDir| Inventory::of_root(root.path());
    let found = differences(&of(&theirs), &of(&ours), &IgnoreList::reviewed());
    assert!(found.is_empty(), "{found:#?}");

    // The list covers the aspects it names, not the file.
    fs::set_permissions(
        ours.path().join("etc/shadow"),
        PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    fs::remove_file(ours.path().join("etc/group")).unwrap();
    let found = differences(&of(&theirs), &of(&ours), &IgnoreList::reviewed());
    assert!(
        found.contains(&"file /etc/shadow: mode is `0600`, not `0644`".to_owned()),
        "{found:#?}"
    );
    assert!(
        found.contains(&"file /etc/group: missing on ours".to_owned()),
        "{found:#?}"
    );
}

#[test]
#[should_panic(expected = "no reason is given")]
fn a_line_of_the_list_without_a_reason_is_refused() {
    IgnoreList::parse("file /etc/motd *");
}
