//! `file`: files, directories and links, that they are there, and their attributes.
//!
//! Here are the arguments and the answer; what is read of the machine is in `read` and `below`, the
//! plans by state in `plan`, times in `times`. `copy` uses the plan for directories too.

mod below;
mod plan;
mod read;
mod times;

pub(super) use self::plan::make_directories;

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::geteuid;
use serde_json::{Map, Value as Json, json};

use self::times::Times;
use crate::args::Args;
use crate::attrs::{self, Attributes, Meta, NewFile, Target};
use crate::by_descriptor;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};
use crate::modules::{edit, paths};
use crate::users;

pub(super) struct File;

/// The states by Ansible's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Absent,
    Directory,
    File,
    Hard,
    Link,
    Touch,
}

impl State {
    fn of(word: &str) -> Self {
        match word {
            "absent" => Self::Absent,
            "directory" => Self::Directory,
            "hard" => Self::Hard,
            "link" => Self::Link,
            "touch" => Self::Touch,
            _ => Self::File,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Directory => "directory",
            Self::File => "file",
            Self::Hard => "hard",
            Self::Link => "link",
            Self::Touch => "touch",
        }
    }
}

pub(super) struct Want {
    /// Links not followed.
    path: PathBuf,
    /// The path as it was given, or completed with the name of `src`: what results show.
    state: State,
    src: Option<String>,
    recurse: bool,
    force: bool,
    follow: bool,
    attributes: Attributes,
    times: Times,
    check: bool,
    /// Whether only a guess is wanted: is the file a text?
    peeks: bool,
    warnings: Vec<String>,
}

pub(super) struct Now {
    /// What was there before, by Ansible's word.
    before: &'static str,
    /// What the attributes are for: the path, or what the link there leads to.
    target: Option<Target>,
    accessed: SystemTime,
    modified: SystemTime,
    /// Everything below, with `recurse`.
    below: Vec<below::Entry>,
    /// The directories to be made, and what the first is made in.
    missing: Vec<PathBuf>,
    parent: Option<Meta>,
    /// Where the link at the path leads to.
    link: Option<PathBuf>,
    /// What has no times to touch: a link that leads nowhere, or where it leads, if it is followed.
    nowhere: Option<PathBuf>,
    /// What `src` is, for links: its resolved path and what `stat` says.
    source: Option<(PathBuf, Option<Meta>)>,
    /// Whether a directory there has something in it.
    occupied: bool,
    /// Why a link on the way is not followed, where only what it leads to was looked at.
    untrusted: Option<String>,
}

impl StateModule for File {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let mut path = PathBuf::from(args.required("path")?);
        let state = args.str("state").map(State::of);
        let src = args.str("src").map(str::to_owned);
        if !matches!(state, Some(State::Link | State::Absent))
            && path.is_dir()
            && let Some(name) = args
                .str("_original_basename")
                .or_else(|| src.as_deref().map(paths::basename))
                .filter(|n| !n.is_empty())
        {
            path.push(name);
        }
        let state = state.unwrap_or_else(|| default_state(&path, args.bool("recurse")));
        refuse_misuse(args, state, &path)?;
        let attributes = Attributes::read(args, &path)?;
        Ok(Want {
            warnings: missing_accounts(&attributes, context.check && state != State::Absent),
            state,
            src,
            recurse: args.bool("recurse"),
            force: args.bool("force"),
            follow: args.bool("follow"),
            attributes,
            times: Times::read(args, state == State::Touch)?,
            check: context.check,
            peeks: args.opt_bool("_diff_peek").is_some(),
            path,
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        let unreadable = |path: &Path, e: io::Error| {
            let msg = format!("could not read {}: {e}", path.display());
            Failure::new(msg).with("path", want.path.to_string_lossy())
        };
        let mut now = read::read(want).map_err(|e| unreadable(&want.path, e))?;
        let src = want.src.as_deref().map_or(&*want.path, Path::new);
        now.source = read::source(want, &now).map_err(|e| unreadable(src, e))?;
        Ok(now)
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        if want.peeks {
            return Ok(Vec::new());
        }
        let changes = match want.state {
            State::Absent => Ok(plan::absent(want, now)),
            State::Directory => plan::directory(want, now),
            State::File => plan::file(want, now),
            State::Link => plan::link(want, now),
            State::Hard => plan::hard(want, now),
            State::Touch => plan::touch(want, now),
        };
        // What was warned of before is told with the failure, too.
        let changes = changes.map_err(|failure| match want.warnings.is_empty() {
            true => failure,
            false => failure.with("warnings", want.warnings.clone()),
        })?;
        match &now.untrusted {
            Some(refusal) if !changes.is_empty() => {
                let msg = format!("could not change {}: {refusal}", want.path.display());
                Err(Failure::new(msg).with("path", want.path.to_string_lossy()))
            }
            _ => Ok(changes),
        }
    }

    fn result(&self, want: &Want, now: &Now, _: &Context<'_>) -> Map<String, Json> {
        let shown = now.target.as_ref().map_or(&want.path, |t| &t.path);
        let mut result = Map::new();
        let mut put = |name: &str, value: Json| result.insert(name.to_owned(), value);
        if want.peeks {
            put("path", Json::from(want.path.to_string_lossy()));
            put("appears_binary", Json::from(appears_binary(&want.path)));
            attrs::add_path_info(&mut result);
            return result;
        }
        match want.state {
            State::Absent => {
                put("path", Json::from(want.path.to_string_lossy()));
                put("state", Json::from("absent"));
                // In check mode it is still there, and Ansible tells of it.
                attrs::add_path_info(&mut result);
                return result;
            }
            State::Directory | State::File => {
                put("path", Json::from(shown.to_string_lossy()));
            }
            State::Touch => {
                put("dest", Json::from(want.path.to_string_lossy()));
            }
            State::Link | State::Hard => {
                put("dest", Json::from(want.path.to_string_lossy()));
                let old = now
                    .link
                    .as_ref()
                    .filter(|_| want.follow)
                    .map(|l| l.to_string_lossy().into_owned());
                put("src", Json::from(want.src.clone().or(old)));
            }
        }
        attrs::add_path_info(&mut result);
        result
    }

    fn diff(&self, want: &Want, now: &Now, plan: &[Change]) -> Json {
        if want.peeks || (want.state == State::Absent && plan.is_empty()) {
            return Json::Null;
        }
        let mut before = json!({"path": want.path.to_string_lossy()});
        let mut after = before.clone();
        if now.before != want.state.word() {
            before["state"] = Json::from(now.before);
            after["state"] = Json::from(want.state.word());
            if want.state == State::Absent && now.before == "directory" {
                before["path_content"] = walked(&want.path);
            }
        }
        let made = || want.attributes.target(&want.path, made(want.state, now));
        let target = now.target.clone().unwrap_or_else(made);
        let (from, to) = edit::attributes_diff(&target, plan);
        merge(&mut before, from);
        merge(&mut after, to);
        for change in plan {
            show(change, now, &mut before, &mut after);
        }
        json!({"before": before, "after": after})
    }

    fn failed(&self, want: &Want, now: &Now, failure: Failure) -> Failure {
        if want.state == State::Touch && now.before == "absent" {
            remove_touched(&want.path);
        }
        failure
    }

    fn warnings(&self, want: &Want, now: &Now) -> Vec<String> {
        let dangling = want.state == State::Link
            && want.follow
            && !want.check
            && matches!(now.source, Some((_, None)));
        let mut warnings = want.warnings.clone();
        if dangling {
            warnings.push(
                "Cannot set fs attributes on a non-existent symlink target. follow should be set \
                 to False to avoid this."
                    .to_owned(),
            );
        }
        warnings
    }
}

/// Removes a file that was made and could not be given its owner or mode, if it is what was made.
fn remove_touched(path: &Path) {
    let ours =
        |meta: &fs::Metadata| meta.is_file() && meta.len() == 0 && meta.uid() == geteuid().as_raw();
    if fs::symlink_metadata(path).is_ok_and(|meta| ours(&meta)) {
        let _ = by_descriptor::remove(path);
    }
}

/// Foresees what the plan makes where nothing is.
fn made(state: State, now: &Now) -> Meta {
    let kind = match state {
        State::Directory => NewFile::Directory,
        State::Link => NewFile::Link,
        State::Absent | State::File | State::Hard | State::Touch => NewFile::Regular,
    };
    Meta::foreseen(kind, now.parent.as_ref())
}

fn merge(into: &mut Json, from: Json) {
    if let (Json::Object(into), Json::Object(from)) = (into, from) {
        into.extend(from);
    }
}

/// Lists what is in a directory that goes, as `os.walk` does.
fn walked(path: &Path) -> Json {
    let (mut directories, mut files) = (Vec::new(), Vec::new());
    let mut todo = vec![path.to_owned()];
    while let Some(folder) = todo.pop() {
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut below = Vec::new();
        for entry in entries {
            let shown = Json::from(entry.path().to_string_lossy());
            if !entry.path().is_dir() {
                files.push(shown);
                continue;
            }
            directories.push(shown);
            // A link to a directory is listed as one and not entered.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below.push(entry.path());
            }
        }
        todo.extend(below.into_iter().rev());
    }
    json!({"directories": directories, "files": files})
}

/// Adds what a change of times or of a link's target is about to the two sides of the diff.
fn show(change: &Change, now: &Now, before: &mut Json, after: &mut Json) {
    match change {
        Change::Times {
            path,
            accessed,
            modified,
        } if now.target.as_ref().is_none_or(|t| t.path == *path) => {
            let present = SystemTime::now();
            let seconds = |t: SystemTime| {
                t.duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(0.0, |d| d.as_secs_f64())
            };
            // What the plan makes is as old as the task.
            let old = |time| if now.target.is_some() { time } else { present };
            for (name, old, new) in [
                ("mtime", old(now.modified), modified.unwrap_or(present)),
                ("atime", old(now.accessed), accessed.unwrap_or(present)),
            ] {
                if old != new {
                    before[name] = Json::from(seconds(old));
                    after[name] = Json::from(seconds(new));
                }
            }
        }
        Change::Link { target, .. } | Change::HardLink { target, .. } if now.link.is_some() => {
            before["src"] = Json::from(now.link.as_ref().map(|l| l.to_string_lossy()));
            after["src"] = Json::from(target.to_string_lossy());
        }
        _ => {}
    }
}

/// Returns whether a file's beginning has a byte that texts do not. One that cannot be read is a text.
fn appears_binary(path: &Path) -> bool {
    let mut head = Vec::new();
    let file = fs::File::open(path).map(|file| file.take(8192));
    let read = file.and_then(|mut head_of| head_of.read_to_end(&mut head));
    read.is_ok() && head.contains(&0)
}

fn default_state(path: &Path, recurse: bool) -> State {
    match Meta::read(path) {
        Ok(Some(meta)) => State::of(attrs::state_of(&meta)),
        _ if recurse => State::Directory,
        _ => State::File,
    }
}

fn refuse_misuse(args: &Args, state: State, path: &Path) -> Result<(), Failure> {
    let msg = if args.bool("recurse") && state != State::Directory {
        "recurse option requires state to be 'directory'"
    } else if args.has("src") && !matches!(state, State::Link | State::Hard) {
        "src option requires state to be 'link' or 'hard'"
    } else {
        return Ok(());
    };
    Err(Failure::new(msg).with("path", path.to_string_lossy()))
}

/// In check mode an account may be missing because an earlier task would have made it.
fn missing_accounts(attributes: &Attributes, check: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if !check {
        return warnings;
    }
    let mut warn = |noun: &str, number: &str, title: &str, given: &str| {
        warnings.push(format!(
            "failed to look up {noun} {number}{given}. Create {title} up to this point in real play"
        ));
    };
    if let Some(owner) = &attributes.owner {
        match owner.given.parse() {
            Ok(uid) if users::user_by_id(uid).is_none() => {
                warn("user", "with uid ", "user", &owner.given);
            }
            Err(_) if owner.id.is_none() => warn("user", "", "user", &owner.given),
            _ => {}
        }
    }
    if let Some(group) = &attributes.group {
        match group.given.parse() {
            Ok(gid) if users::group_by_id(gid).is_none() => {
                warn("group", "with gid ", "group", &group.given);
            }
            Err(_) if group.id.is_none() => warn("group", "", "group", &group.given),
            _ => {}
        }
    }
    warnings
}

impl Now {
    fn times(&self, path: &Path, wanted: &Times) -> Option<Change> {
        wanted.plan(path, self.accessed, self.modified)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::times::Time;
    use super::*;
    use crate::modules::tests::run;

    #[test]
    fn states_keep_their_words() {
        for word in ["absent", "directory", "file", "hard", "link", "touch"] {
            assert_eq!(State::of(word).word(), word);
        }
        assert_eq!(Time::read("preserve", ""), Ok(Time::Preserve));
    }

    #[test]
    fn a_hard_link_is_a_name_of_what_a_link_leads_to_if_that_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for (follow, is_link) in [(true, false), (false, true)] {
            let path = at(&format!("{follow}"));
            let task = json!({"path": path, "src": at("link"), "state": "hard", "follow": follow});
            run("file", task).unwrap();
            assert_eq!(path.is_symlink(), is_link);
        }
        let links = std::fs::metadata(at("file")).unwrap().nlink();
        assert_eq!(links, 2);
    }

    #[test]
    fn a_look_through_a_link_that_is_not_trusted_passes_if_nothing_is_to_change() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: giving files to others needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["home", "roots"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::set_permissions(at("roots"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("../roots", at("home/link")).unwrap();
        std::os::unix::fs::chown(at("home"), Some(65534), None).unwrap();
        let task =
            |mode: &str| json!({"path": at("home/link"), "state": "directory", "mode": mode});
        let outcome = run("file", task("0755")).unwrap();
        assert!(!outcome.changed);
        let refused = run("file", task("0777")).unwrap_err().msg;
        assert!(
            refused.contains("home/link is a symbolic link"),
            "{refused}"
        );
        assert_eq!(at("roots").metadata().unwrap().mode() & 0o7777, 0o755);
    }

    #[test]
    fn by_a_users_link_folders_are_made_that_become_his() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: giving files to others needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["home", "home/rel"] {
            std::fs::create_dir(at(name)).unwrap();
            std::os::unix::fs::chown(at(name), Some(65534), None).unwrap();
        }
        std::os::unix::fs::symlink("rel", at("home/current")).unwrap();
        let task = json!({"path": at("home/current/a/b"), "state": "directory", "owner": "65534"});
        for changed in [true, false] {
            assert_eq!(run("file", task.clone()).unwrap().changed, changed);
        }
        for name in ["home/rel/a", "home/rel/a/b"] {
            assert_eq!(at(name).metadata().unwrap().uid(), 65534);
        }
        // What stays root's is no place to go on from.
        let task = json!({"path": at("home/current/c/d"), "state": "directory"});
        assert!(run("file", task).is_err());
    }
}
