//! Replays what real Ansible answered: same flags, same result fields, same files afterwards.
//!
//! `tests/twin/MODULE.yml` has the cases, `MODULE.json` the answers, recorded by `record.py`.
//! Changing owners needs root; without it these tests only say so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that panics has failed, and says if it was skipped"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use amibake_engine::args::Args;
use amibake_engine::exec;
use amibake_engine::module::{Context, Failure, Outcome};
use amibake_engine::modules;
use amibake_engine::source::Source;
use amibake_playbook::argspec;
use amibake_playbook::files::Disk;
use serde_json::{Map, Value as Json};
use sha1::{Digest, Sha1};

/// One run's outcome in the form of the recording.
struct Answer {
    changed: bool,
    failed: bool,
    skipped: bool,
    result: Map<String, Json>,
    tree: Vec<String>,
}

#[test]
fn file_is_as_ansibles() {
    replay("file");
}

#[test]
fn copy_is_as_ansibles() {
    replay("copy");
}

#[test]
fn lineinfile_is_as_ansibles() {
    replay("lineinfile");
}

#[test]
fn blockinfile_is_as_ansibles() {
    replay("blockinfile");
}

#[test]
fn replace_is_as_ansibles() {
    replay("replace");
}

#[test]
fn modules_of_settings_are_as_ansibles() {
    replay("settings");
}

#[test]
fn modules_that_read_are_as_ansibles() {
    replay("reading");
}

fn replay(name: &str) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: changing owners needs root");
        return;
    }
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin");
    let recording = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let recording: Json = serde_json::from_str(&recording).unwrap();
    let cases = fs::read(folder.join(format!("{name}.yml"))).unwrap();
    assert_eq!(
        recording["of"],
        hex(&cases),
        "{name}.yml has changed: run record.py {name}"
    );
    let mut wrong = Vec::new();
    for case in recording["cases"].as_array().unwrap() {
        wrong.extend(differences(case));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs one case three times and lists where we differ.
fn differences(case: &Json) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut place = prepare(case);
    for run in ["check", "first", "second"] {
        if run == "first" {
            place = prepare(case);
        }
        let ours = perform(case, &place, run == "check");
        let theirs = &case["answers"][run];
        for difference in compare(case, &ours, theirs) {
            wrong.push(format!("{} ({run}): {difference}", case["name"]));
        }
    }
    wrong
}

fn compare(case: &Json, ours: &Answer, theirs: &Json) -> Vec<String> {
    let mut wrong = Vec::new();
    let flags = [
        ("changed", ours.changed),
        ("failed", ours.failed),
        ("skipped", ours.skipped),
    ];
    for (name, flag) in flags {
        if theirs[name] != flag {
            wrong.push(format!("{name} is {flag}: {:?}", ours.result.get("msg")));
        }
    }
    let tree: Vec<&str> = theirs["tree"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Json::as_str)
        .collect();
    if ours.tree != tree {
        wrong.push(format!("tree is {:#?}, not {tree:#?}", ours.tree));
    }
    if case["only"] == "changed" {
        return wrong;
    }
    // `assemble` answers what its validation command wrote; ours tells only of a refusal.
    let compared = theirs["result"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(key, _)| *key != "validation");
    for (key, value) in compared {
        let mine = ours.result.get(key).unwrap_or(&Json::Null);
        if !alike(key, mine, value) {
            wrong.push(format!("{key} is {mine}, not {value}"));
        }
    }
    wrong
}

/// Compares two values; what depends on the clock, the disk or the machine only by its type.
fn alike(key: &str, ours: &Json, theirs: &Json) -> bool {
    const MACHINE: &[&str] = &[
        "atime",
        "mtime",
        "ctime",
        "inode",
        "dev",
        "version",
        "blocks",
        "block_size",
        "birthtime",
        "elapsed",
        "attributes",
        "attr_flags",
        "device_type",
        "delta",
        "start",
        "end",
    ];
    if MACHINE.contains(&key) {
        return ours.is_null() == theirs.is_null();
    }
    match (ours, theirs) {
        (Json::Object(ours), Json::Object(theirs)) => theirs
            .iter()
            .all(|(key, value)| alike(key, ours.get(key).unwrap_or(&Json::Null), value)),
        (Json::Array(ours), Json::Array(theirs)) if key == "files" => {
            let sorted = |items: &[Json]| {
                let mut items = items.to_vec();
                items.sort_by_key(|item| item["path"].to_string());
                items
            };
            ours.len() == theirs.len()
                && sorted(ours)
                    .iter()
                    .zip(sorted(theirs))
                    .all(|(a, b)| alike("", a, &b))
        }
        // A directory's size is the file system's affair.
        _ if key == "size" => ours.is_number(),
        _ => ours == theirs,
    }
}

struct Place {
    dir: tempfile::TempDir,
    ctl: tempfile::TempDir,
}

fn prepare(case: &Json) -> Place {
    let place = Place {
        dir: tempfile::tempdir().unwrap(),
        ctl: tempfile::tempdir().unwrap(),
    };
    for (key, folder) in [("setup", &place.dir), ("ctl", &place.ctl)] {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let script = case[key].as_str().unwrap_or(":");
        let script = format!("umask 022; {script}");
        let ran = Command::new("sh")
            .args(["-ec", &script])
            .current_dir(folder.path())
            .status();
        assert!(ran.unwrap().success(), "setup of {}", case["name"]);
    }
    place
}

fn perform(case: &Json, place: &Place, check: bool) -> Answer {
    let (dir, ctl) = (
        place.dir.path().to_str().unwrap(),
        place.ctl.path().to_str().unwrap(),
    );
    let (name, args) = case["task"].as_object().unwrap().iter().next().unwrap();
    let Json::Object(given) = fill(args, dir, ctl) else {
        panic!("arguments are a mapping");
    };
    let outcome = run(name, given, check);
    let clean = |result: Map<String, Json>| match unfill(&Json::Object(result), dir, ctl) {
        Json::Object(result) => result,
        _ => Map::new(),
    };
    let mut tree = Vec::new();
    snapshot(place.dir.path(), place.dir.path(), &mut tree);
    tree.sort();
    match outcome {
        Ok(outcome) => Answer {
            changed: outcome.changed,
            failed: false,
            skipped: outcome.skipped,
            result: clean(outcome.result),
            tree,
        },
        Err(failure) => {
            let mut result = failure.result;
            result.insert("msg".to_owned(), Json::from(failure.msg));
            Answer {
                changed: false,
                failed: true,
                skipped: false,
                result: clean(result),
                tree,
            }
        }
    }
}

fn run(name: &str, given: Map<String, Json>, check: bool) -> Result<Outcome, Failure> {
    let spec = argspec::find(name).unwrap();
    let sources = sources(name, &given);
    let args = Args::coerce(spec, given)?;
    let facts = Map::new();
    let mut context = Context {
        check,
        diff: false,
        environment: Vec::new(),
        sources,
        facts: &facts,
        output: &mut |_, _| {},
    };
    modules::find(name).unwrap().run(&args, &mut context)
}

/// Plays the executor: opens what the task brings from the controller.
fn sources(name: &str, given: &Map<String, Json>) -> BTreeMap<String, Source> {
    let src = given.get("src").and_then(Json::as_str);
    let remote = given.get("remote_src") == Some(&Json::from(true));
    let (Some(src), "copy" | "unarchive", false) = (src, name, remote) else {
        return BTreeMap::new();
    };
    if !Path::new(src).is_dir() {
        let file = fs::File::open(src).unwrap();
        return BTreeMap::from([(String::new(), Source::of_file(file).unwrap())]);
    }
    let folder = Path::new(src);
    let name = folder.file_name().filter(|_| !src.ends_with('/'));
    let top = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut sources = BTreeMap::new();
    exec::open_folder(&Disk::here(), folder, &top, &mut sources).unwrap();
    sources
}

/// The same lines as `snapshot` in `record.py`.
fn snapshot(root: &Path, folder: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let mut mode = format!("{:04o}", meta.permissions().mode() & 0o7777);
        let dir = root.to_str().unwrap();
        let (kind, extra) = if meta.is_symlink() {
            "-".clone_into(&mut mode);
            let target = fs::read_link(&path).unwrap();
            ("link", target.to_str().unwrap().replace(dir, "{{dir}}"))
        } else if meta.is_dir() {
            snapshot(root, &path, lines);
            ("dir", String::new())
        } else {
            ("file", content(&path, dir, &meta))
        };
        let shown = without_date(path.strip_prefix(root).unwrap().to_str().unwrap());
        let line = format!(
            "{shown} {kind} {mode} {} {} {extra}",
            meta.uid(),
            meta.gid()
        );
        lines.push(line.trim().to_owned());
    }
}

fn content(path: &PathBuf, dir: &str, meta: &fs::Metadata) -> String {
    let data = fs::read(path).unwrap();
    let data = match String::from_utf8(data) {
        Ok(text) => text.replace(dir, "{{dir}}").into_bytes(),
        Err(bytes) => bytes.into_bytes(),
    };
    match meta.nlink() {
        1 => hex(&data),
        links => format!("{} x{links}", hex(&data)),
    }
}

/// Replaces `.PID.DATE@TIME~` of a backup by `.BACKUP~`.
fn without_date(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        [.., pid, date]
            if date.ends_with('~') && date.contains('@') && pid.parse::<u32>().is_ok() =>
        {
            format!("{}.BACKUP~", parts[..parts.len() - 2].join("."))
        }
        _ => name.to_owned(),
    }
}

fn fill(value: &Json, dir: &str, ctl: &str) -> Json {
    map_text(value, &|text| {
        text.replace("{{dir}}", dir).replace("{{ctl}}", ctl)
    })
}

fn unfill(value: &Json, dir: &str, ctl: &str) -> Json {
    map_text(value, &|text| {
        without_date(&text.replace(dir, "{{dir}}").replace(ctl, "{{ctl}}"))
    })
}

fn map_text(value: &Json, change: &dyn Fn(&str) -> String) -> Json {
    match value {
        Json::String(text) => Json::from(change(text)),
        Json::Array(items) => items.iter().map(|item| map_text(item, change)).collect(),
        Json::Object(map) => map
            .iter()
            .map(|(key, value)| (change(key), map_text(value, change)))
            .collect(),
        other => other.clone(),
    }
}

fn hex(data: &[u8]) -> String {
    Sha1::digest(data)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
