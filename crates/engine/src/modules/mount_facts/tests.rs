//! Sources in every shape, and what is told of repeats and of what takes too long.

use serde_json::{Value as Json, json};

use crate::modules::tests::run;

fn facts(args: Json) -> Json {
    let outcome = run("mount_facts", args).unwrap();
    outcome.result["ansible_facts"].clone()
}

fn of_text(text: &str) -> Json {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table");
    std::fs::write(&path, text).unwrap();
    facts(json!({"sources": [path], "mount_binary": null, "include_aggregate_mounts": true}))
}

#[test]
fn every_shape_of_a_table_is_read() {
    let fstab = of_text(
        "# <file system>\nserver:/a\\040b /no/where\\040to nfs rw 0 2\ntmpfs /no tmpfs rw\n",
    );
    let mount = &fstab["mount_points"]["/no/where to"];
    assert_eq!(mount["device"], "server:/a b");
    assert_eq!((&mount["dump"], &mount["passno"]), (&json!(0), &json!(2)));
    assert_eq!(
        mount["ansible_context"]["source_data"],
        "server:/a\\040b /no/where\\040to nfs rw 0 2"
    );
    assert_eq!(mount["uuid"], Json::Null);
    assert!(fstab["mount_points"]["/no"].get("dump").is_none());
    let vfstab = of_text("/dev/dsk/c0 /dev/rdsk/c0 /no/here ufs - no rw\n");
    assert_eq!(vfstab["mount_points"]["/no/here"]["passno"], "-");
    assert_eq!(vfstab["mount_points"]["/no/here"]["mount_at_boot"], "no");
    let mnttab = of_text("rpool /no/pool zfs rw 1700000000\n");
    assert_eq!(mnttab["mount_points"]["/no/pool"]["time"], 1_700_000_000);
    let aix = of_text("* comment\n/no/home:\n\tdev = /dev/hd1\n\tvfs = jfs2\n\tnodename = far\n");
    let mount = &aix["mount_points"]["/no/home"];
    assert_eq!(
        (&mount["device"], &mount["fstype"]),
        (&json!("far:/dev/hd1"), &json!("jfs2"))
    );
    assert_eq!(mount["attributes"]["vfs"], "jfs2");
    assert_eq!(of_text("nodev\tproc\next4\n")["mount_points"], json!({}));
}

/// Makes a program of a shell's script.
fn script(folder: &std::path::Path, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join("mount");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

fn of_program(text: &str) -> Json {
    let folder = tempfile::tempdir().unwrap();
    let path = script(folder.path(), text);
    facts(json!({"sources": ["mount"], "mount_binary": path}))["mount_points"].clone()
}

#[test]
fn what_mount_prints_is_read_of_every_system() {
    let linux = of_program("echo 'tmpfs on /no/tmp type tmpfs (rw,size=1k)'");
    assert_eq!(linux["/no/tmp"]["options"], "rw,size=1k");
    let bsd = of_program(
        "echo 'map auto on /x (autofs)'; echo '/dev/ada0 on /no/root (ufs, local, soft-updates)'",
    );
    assert_eq!(bsd["/no/root"]["fstype"], "ufs");
    assert_eq!(bsd["/no/root"]["options"], "local, soft-updates");
    let aix = of_program(
        "echo '  node mounted'; echo '-----'; echo '  /dev/hd4 /no/root jfs2 May 01 10:00 rw,log=/dev/hd8'
        echo 'far /export /no/far nfs3 May 01 10:00 ro'",
    );
    assert_eq!(aix["/no/root"]["device"], "/dev/hd4");
    assert_eq!(aix["/no/far"]["device"], "far:/export");
    assert_eq!(of_program("echo what"), json!({}));
}

#[test]
fn mounts_are_chosen_and_have_their_size() {
    let all = facts(json!({}));
    let root = &all["mount_points"]["/"];
    assert!(root["size_total"].as_u64().is_some_and(|size| size > 0));
    assert_eq!(all["aggregate_mounts"], json!([]));
    let proc = facts(json!({"fstypes": ["pro?"], "sources": ["dynamic"]}));
    let points = proc["mount_points"].as_object().unwrap();
    assert!(points.contains_key("/proc"));
    assert!(points.values().all(|mount| mount["fstype"] == "proc"));
    assert_eq!(
        facts(json!({"devices": "none*"}))["mount_points"],
        json!({})
    );
}

#[test]
fn what_takes_too_long_is_an_error_a_warning_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = script(folder.path(), "sleep 60");
    let endless = |how: &str| {
        let args =
            json!({"sources": ["mount"], "mount_binary": path, "timeout": 0.2, "on_timeout": how});
        run("mount_facts", args)
    };
    let said = format!("Command '{path}' timed out after 0.2 seconds");
    assert_eq!(endless("error").unwrap_err().msg, said);
    assert_eq!(endless("warn").unwrap().warnings, [said.as_str()]);
    assert!(endless("ignore").unwrap().warnings.is_empty());
}

#[test]
fn what_is_asked_for_twice_is_told() {
    let twice = run(
        "mount_facts",
        json!({"sources": ["static", "/etc/fstab"], "mount_binary": null}),
    );
    let warnings = twice.unwrap().warnings;
    assert!(warnings[0].contains("duplicate entries"), "{warnings:?}");
    let empty = run("mount_facts", json!({"sources": [""]})).unwrap_err();
    assert_eq!(empty.msg, "sources contains an empty string");
    let never = run("mount_facts", json!({"timeout": 0})).unwrap_err();
    assert_eq!(
        never.msg,
        "argument 'timeout' must be a positive number or null, not 0.0"
    );
}
