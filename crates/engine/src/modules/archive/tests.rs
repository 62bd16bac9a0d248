//! Archives are read by Python as they were meant, and those that Python made are told as unchanged.

use std::path::Path;
use std::process::Command;

use serde_json::{Value as Json, json};

use super::*;
use crate::modules::tests::{check, run};

const NAME: &str = "community.general.archive";

/// What Ansible's module does with the tree, told by what it calls.
const PYTHON: &str = "
import os, sys, tarfile, zipfile
kind, dest, tree = sys.argv[1:]
def members():
    for folder, folders, files in os.walk(tree):
        for name in sorted(folders) + sorted(files):
            yield os.path.join(folder, name)
if kind == 'zip':
    with zipfile.ZipFile(dest, 'w', zipfile.ZIP_DEFLATED, True) as archive:
        for path in members():
            archive.write(path, os.path.relpath(path, os.path.dirname(tree)))
else:
    with tarfile.open(dest, 'w|' + ('' if kind == 'tar' else kind)) as archive:
        for path in members():
            archive.add(path, os.path.relpath(path, os.path.dirname(tree)), recursive=False)
";

/// What Python reads of an archive: names, kinds, modes, links, content.
const LISTED: &str = "
import json, sys, tarfile, zipfile
out = []
if sys.argv[1] == 'zip':
    with zipfile.ZipFile(sys.argv[2]) as archive:
        assert archive.testzip() is None
        for i in archive.infolist():
            out.append([i.filename, i.external_attr, list(i.date_time), archive.read(i).decode()])
else:
    with tarfile.open(sys.argv[2]) as archive:
        for m in archive.getmembers():
            text = archive.extractfile(m).read().decode() if m.isreg() else ''
            out.append([m.name, m.type.decode(), m.mode, m.mtime, m.linkname, m.uname, m.uid, m.chksum, text])
print(json.dumps(sorted(out)))
";

fn python(script: &str, args: &[&str]) -> String {
    let mut python = Command::new("python3");
    let ran = python.arg("-c").arg(script).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    String::from_utf8(ran.stdout).unwrap()
}

/// A tree with one of everything, times with parts of seconds and names that fit no header.
fn plant(folder: &Path) -> String {
    let script = format!(
        "umask 022; mkdir -p tree/deep/empty; echo one > tree/one; chmod 4750 tree/one
        ln -s one tree/link; ln tree/one tree/twin; mkfifo tree/pipe; : > tree/nothing
        echo long > tree/{long}; echo bent > 'tree/deep/grün nach'
        touch -h -d '2024-01-02 03:04:05.123456789' tree/one tree/link tree/deep",
        long = "n".repeat(120)
    );
    let mut shell = Command::new("sh");
    let made = shell.args(["-ec", &script]).current_dir(folder).status();
    assert!(made.unwrap().success());
    folder.join("tree").to_string_lossy().into_owned()
}

fn archived(outcome: &Outcome) -> Vec<&str> {
    let all = outcome.result["archived"].as_array().unwrap();
    all.iter().filter_map(Json::as_str).collect()
}

#[test]
fn pythons_archives_are_ours_entry_for_entry_and_nothing_has_changed() {
    for kind in ["tar", "gz", "bz2", "xz", "zip"] {
        let folder = tempfile::tempdir().unwrap();
        let tree = plant(folder.path());
        if kind == "zip" {
            std::fs::remove_file(Path::new(&tree).join("pipe")).unwrap(); // Python waits for who writes to it
        }
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let (theirs, ours) = (at("theirs"), at("ours"));
        python(PYTHON, &[kind, &theirs, &tree]);
        let listed = python(LISTED, &[kind, &theirs]);
        let task = |dest: &str| json!({"path": tree, "dest": dest, "format": kind});
        let first = run(NAME, task(&ours)).unwrap();
        assert!(first.changed, "{kind}");
        assert_eq!(first.result["dest_state"], "archive");
        assert_eq!(python(LISTED, &[kind, &ours]), listed, "{kind}");
        assert!(!run(NAME, task(&ours)).unwrap().changed, "{kind} again");
        assert!(
            !run(NAME, task(&theirs)).unwrap().changed,
            "{kind} of Python's"
        );
        std::fs::write(Path::new(&tree).join("nothing"), "something").unwrap();
        assert!(run(NAME, task(&theirs)).unwrap().changed, "{kind} since");
    }
}

#[test]
fn a_file_alone_is_compressed_and_removed_if_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (format, program) in [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz")] {
        let task = json!({"path": at("alone"), "format": format, "mode": "0600"});
        std::fs::write(at("alone"), "content").unwrap();
        assert!(check(NAME, task.clone()).unwrap().changed);
        assert!(run(NAME, task.clone()).unwrap().changed);
        let again = run(NAME, task.clone()).unwrap();
        assert!(!again.changed);
        assert_eq!(again.result["dest_state"], "compress");
        assert_eq!(again.result["mode"], "0600");
        let made = at(&format!("alone.{format}"));
        let shown = Command::new(program).arg("-dc").arg(&made).output();
        assert_eq!(shown.unwrap().stdout, b"content");
        let mut removing = task;
        removing["remove"] = json!(true);
        assert!(!run(NAME, removing).unwrap().changed);
        assert!(!at("alone").exists());
    }
}

#[test]
fn what_is_excluded_or_missing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    for name in ["a.txt", "b.txt", "c.bin", ".d.txt"] {
        std::fs::write(at(name), name).unwrap();
    }
    let task = json!({
        "path": [at("*.*"), at("gone")], "exclude_path": [at("b*")], "exclusion_patterns": ["*.bin"],
        "dest": at("all.tgz"),
    });
    let outcome = run(NAME, task).unwrap();
    assert_eq!(archived(&outcome), [at("a.txt")]);
    assert_eq!(outcome.result["missing"], json!([at("gone")]));
    assert_eq!(outcome.result["dest_state"], "incomplete");
    let gone = json!({"path": at("gone"), "dest": at("all.tgz")});
    assert_eq!(run(NAME, gone).unwrap().result["dest_state"], "archive");
    let nothing = run(NAME, json!({"path": at("*.none")})).unwrap_err();
    assert_eq!(nothing.msg, "Error, no source paths were found");
    let several = run(NAME, json!({"path": [at("a.txt"), at("b.txt")]})).unwrap_err();
    assert!(several.msg.contains("must specify \"dest\""));
}

#[test]
fn a_tree_goes_whole_and_no_archive_is_made_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(at("tree/deep")).unwrap();
    std::fs::write(at("tree/deep/file"), "x").unwrap();
    let task = |dest: &str| json!({"path": at("tree"), "dest": at(dest), "remove": true});
    let refused = run(NAME, task("tree/own.tgz")).unwrap_err();
    assert!(refused.msg.contains("can not be contained"));
    assert!(run(NAME, task("tree.tgz")).unwrap().changed);
    assert!(!at("tree").exists() && at("tree.tgz").exists());
}

#[test]
fn who_could_have_put_a_link_there_chooses_nothing_that_root_reads() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(folder.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("../secret", home.join("link")).unwrap();
    std::os::unix::fs::lchown(home.join("link"), Some(1234), Some(1234)).unwrap();
    std::os::unix::fs::chown(&home, Some(1234), Some(1234)).unwrap();
    let task = json!({"path": home, "format": "zip", "dest": folder.path().join("out.zip")});
    let failure = run(NAME, task).unwrap_err();
    assert!(failure.msg.contains("symbolic link"), "{}", failure.msg);
}
