//! Replaces a file whole: a new file beside it, then a rename, as Ansible's `atomic_move` does.
//!
//! What was there keeps its owner, mode and extended attributes (ACLs are among them). A file is
//! written where it lies only where asked (`unsafe_writes`) or where it is a mount point itself.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use tempfile::NamedTempFile;

use crate::attrs::{self, Mode};
use crate::by_descriptor::copy_xattrs;
use crate::context::Failure;
use crate::place::{self, Place};
use crate::replaced;
use crate::shlex;
use crate::source::Source;

/// How a file is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct How {
    /// Writes in place where a rename is not possible.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unsafe_writes: bool,
    /// A command to check the new content before it is put in place; `%s` is its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validate: Option<Validate>,
    /// The new file takes its mode and times from this one instead of from what was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) like: Option<PathBuf>,
    /// Permission bits of a file where there was none, from the first moment on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mode: Option<u32>,
}

/// A validation command and how its refusal reads.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Validate {
    /// The command line, split as a shell would, run without one.
    pub(crate) command: String,
    /// Whether refusals read as `copy`'s rather than as `lineinfile`'s.
    #[serde(skip)]
    pub(crate) as_copy: bool,
    /// The checksum that `copy` answers with its refusal.
    #[serde(skip)]
    pub(crate) checksum: Option<String>,
    /// Owner, group and mode the file gets before it is judged.
    #[serde(skip)]
    pub(crate) attributes: attrs::Attributes,
}

/// Replaces the file at `place`, which was found at `dest`, by `content`, and returns it, open.
pub(crate) fn replace(
    place: &Place,
    dest: &Path,
    content: &Source,
    how: &How,
) -> Result<File, Failure> {
    let mut new = match named_like(dest).tempfile_in(place.folder()) {
        Ok(new) => new,
        Err(_) if how.unsafe_writes => return in_place(place, dest, content),
        Err(e) => return Err(unwritable(dest, &plain(e))),
    };
    let written = content.write_to(new.as_file_mut());
    written.map_err(|e| failed("write", dest, &e))?;
    let set = set_attributes(new.as_file(), place, dest, how);
    let old = set.map_err(|e| failed("set the attributes of", dest, &e))?;
    let file = put_in_place(new, place, dest, content, how)?;
    old.into_iter().for_each(replaced::let_go);
    Ok(file)
}

/// Gives the new file the likeness of the one it replaces, or of the one it shall be like. Returns the one that it
/// replaces, held.
fn set_attributes(
    new: &File,
    place: &Place,
    dest: &Path,
    how: &How,
) -> io::Result<Option<OwnedFd>> {
    let old = match place.metadata() {
        Ok(there) if there.is_symlink() => held(dest).ok(),
        Ok(_) => place.hold().ok(),
        Err(_) => None,
    };
    match (&how.like, &old) {
        (Some(like), _) => take_likeness(&held(like)?, new, false),
        (None, Some(old)) => take_likeness(old, new, true),
        (None, None) => Ok(()),
    }?;
    if old.is_none() {
        let mode = how.mode.unwrap_or(0o666 & !attrs::umask());
        new.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(old)
}

/// Holds what `path` leads to.
fn held(path: &Path) -> io::Result<OwnedFd> {
    Place::behind(path)?.hold()
}

fn put_in_place(
    new: NamedTempFile,
    place: &Place,
    dest: &Path,
    content: &Source,
    how: &How,
) -> Result<File, Failure> {
    let persisted = match replaced::is_latest(place) && exchange(&new, place) {
        true => Ok(new.into_file()), // and what was there goes, which has the new one's name
        false => new.persist(place.path()),
    };
    let refused = match persisted {
        Ok(file) => {
            replaced::put(place, &file);
            return Ok(file);
        }
        Err(refused) => refused.error,
    };
    let code = refused.raw_os_error().map(Errno::from_raw);
    let mount_point = code == Some(Errno::EBUSY);
    let stubborn = matches!(
        code,
        Some(Errno::EPERM | Errno::EXDEV | Errno::EACCES | Errno::ETXTBSY)
    );
    if mount_point || (stubborn && how.unsafe_writes) {
        return in_place(place, dest, content);
    }
    Err(failed("replace", dest, &refused))
}

/// Has the new file and what is at `place` change names, if the file system does that.
fn exchange(new: &NamedTempFile, place: &Place) -> bool {
    renameat_with(CWD, new.path(), CWD, place.path(), RenameFlags::EXCHANGE).is_ok()
}

/// Names a new file so that it ends as `dest` does: validators look at it.
fn named_like(dest: &Path) -> tempfile::Builder<'static, '_> {
    let name = dest.file_name().unwrap_or_default();
    let suffix = match name.len() {
        0..=200 => name,
        _ => dest.extension().unwrap_or_default(),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".amibake_").suffix(suffix);
    builder
}

/// Gives `new` the mode and extended attributes of what `like` holds, and its owner if `owned`.
fn take_likeness(like: &OwnedFd, new: &File, owned: bool) -> io::Result<()> {
    let meta = std::fs::metadata(place::by_descriptor(like.as_fd()))?;
    if owned {
        let chown = std::os::unix::fs::fchown(new, Some(meta.uid()), Some(meta.gid()));
        tolerate_refusal(chown)?;
    }
    copy_xattrs(like, new);
    tolerate_refusal(new.set_permissions(Permissions::from_mode(meta.mode() & 0o7777)))?;
    if !owned {
        let times = std::fs::FileTimes::new()
            .set_accessed(meta.accessed()?)
            .set_modified(meta.modified()?);
        tolerate_refusal(new.set_times(times))?;
    }
    Ok(())
}

fn tolerate_refusal(answer: io::Result<()>) -> io::Result<()> {
    match answer {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        answer => answer,
    }
}

fn in_place(place: &Place, dest: &Path, content: &Source) -> Result<File, Failure> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let opened = place.open(flags, 0o666);
    let mut file = opened.map_err(|e| failed("open", dest, &e))?;
    let written = content.write_to(&mut file).and_then(|_| file.flush());
    written.map_err(|e| failed("write", dest, &e))?;
    Ok(file)
}

/// Runs the validation command on a copy of the new content, in a folder of its own: beside the
/// destination, somebody else could put another file in its place.
pub(crate) fn validate(
    validate: &Validate,
    dest: &Path,
    content: &Source,
    environment: &[(String, String)],
) -> Result<(), Failure> {
    if !validate.command.contains("%s") {
        let msg = format!("validate must contain %s: {}", validate.command);
        return Err(with_checksum(Failure::new(msg), validate));
    }
    let unmade = |e| failed("make a copy to validate of", dest, &plain(e));
    let folder = tempfile::tempdir().map_err(unmade)?;
    let mut copy = named_like(dest).tempfile_in(&folder).map_err(unmade)?;
    let written = content.write_to(copy.as_file_mut());
    written.map_err(|e| failed("write", copy.path(), &e))?;
    give(&validate.attributes, copy.as_file())
        .map_err(|e| failed("set the attributes of", copy.path(), &e))?;
    let line = validate
        .command
        .replace("%s", &copy.path().to_string_lossy())
        .replace("%%", "%");
    let argv = shlex::split(&line).unwrap_or_default();
    let Some((program, args)) = argv.split_first() else {
        return Err(Failure::new("validate is not a command"));
    };
    let run = Command::new(program)
        .args(args)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output();
    let output = run.map_err(|e| {
        Failure::new(format!("Error executing command: {e}"))
            .with("cmd", line.as_str())
            .with("rc", 2)
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(refusal(validate, &output))
}

fn give(attributes: &attrs::Attributes, new: &File) -> io::Result<()> {
    let uid = attributes.owner.as_ref().and_then(|o| o.id);
    let gid = attributes.group.as_ref().and_then(|g| g.id);
    if uid.or(gid).is_some() {
        std::os::unix::fs::fchown(new, uid, gid)?;
    }
    if let Some(mode) = &attributes.mode {
        let now = new.metadata()?.mode();
        new.set_permissions(Permissions::from_mode(Mode::apply(mode, now, false)))?;
    }
    Ok(())
}

fn refusal(validate: &Validate, output: &std::process::Output) -> Failure {
    let rc = output.status.code().unwrap_or(-1);
    let stderr = String::from_utf8_lossy(&output.stderr);
    if !validate.as_copy {
        return Failure::new(format!("failed to validate: rc:{rc} error:{stderr}"));
    }
    let failure = Failure::new("failed to validate")
        .with("exit_status", rc)
        .with("stdout", String::from_utf8_lossy(&output.stdout))
        .with("stderr", stderr);
    with_checksum(failure, validate)
}

fn with_checksum(failure: Failure, validate: &Validate) -> Failure {
    match &validate.checksum {
        Some(checksum) => failure.with("checksum", checksum.as_str()),
        None => failure,
    }
}

/// Says that nothing can be made where `dest` is to be.
pub(crate) fn unwritable(dest: &Path, error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return failed("write beside", dest, error);
    }
    let parent = dest.parent().unwrap_or(dest).display();
    Failure::new(format!(
        "The destination directory '{parent}' is not writable by the current user."
    ))
}

/// Returns an error without the path of a descriptor, which says nothing to a reader.
fn plain(error: io::Error) -> io::Error {
    let mut text = error.to_string();
    match text.find(" at path \"") {
        Some(at) => {
            text.truncate(at);
            io::Error::new(error.kind(), text)
        }
        None => error,
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("could not {doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replace(path: &Path, text: &str, how: &How) -> Result<File, Failure> {
        let content = Source::of_text(text);
        if let Some(validate) = &how.validate {
            super::validate(validate, path, &content, &[])?;
        }
        super::replace(&Place::of(path).unwrap(), path, &content, how)
    }

    #[test]
    fn what_was_there_keeps_its_mode_and_the_rest_of_the_folder_is_as_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o4750)).unwrap();
        replace(&path, "new", &How::default()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o4750);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_refused_content_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, "old").unwrap();
        let how = How {
            validate: Some(Validate {
                command: "grep -q good %s".to_owned(),
                as_copy: false,
                checksum: None,
                attributes: attrs::Attributes::default(),
            }),
            ..How::default()
        };
        let failure = replace(&path, "bad", &how).unwrap_err();
        assert_eq!(failure.msg, "failed to validate: rc:1 error:");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        replace(&path, "good", &how).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "good");
    }

    #[test]
    fn what_is_written_in_place_is_judged_first() {
        let path = Path::new("/proc/self/comm"); // nothing can be made beside it
        let before = std::fs::read(path).unwrap();
        let how = |command: &str| How {
            unsafe_writes: true,
            validate: Some(Validate {
                command: command.to_owned(),
                as_copy: false,
                checksum: None,
                attributes: attrs::Attributes::default(),
            }),
            like: None,
            mode: None,
        };
        let bad = replace(path, "bad", &how("grep -q good %s"));
        assert_eq!(bad.unwrap_err().msg, "failed to validate: rc:1 error:");
        assert_eq!(std::fs::read(path).unwrap(), before);
        replace(path, "good", &how("grep -q good %s")).unwrap();
        assert_eq!(
            std::fs::read_to_string("/proc/self/comm").unwrap(),
            "good\n"
        );
    }

    #[test]
    fn what_cannot_be_written_is_named_as_the_task_names_it() {
        let path = Path::new("/proc/sys/vm/overcommit_memory");
        let refused = replace(path, "1", &How::default()).unwrap_err().msg;
        assert!(
            refused.contains(" /proc/sys/vm/overcommit_memory: "),
            "{refused}"
        );
        assert!(!refused.contains("/proc/self/fd"), "{refused}");
    }
}
