//! The one place where state modules change the machine.
//!
//! A [`Change`] is data: planned, shown by `--diff`, tested as golden cases, then applied here.

use std::fs::{self, File, FileTimes, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use amibake_protocol::event::Diff;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use serde::Serialize;

use crate::account::{self, Step};
use crate::atomic::{self, How};
use crate::module::{Context, Failure};
use crate::run_command::{Command, required_bin};
use crate::source::Source;

/// One change to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Run a program that makes the change, by its argument vector (`groupadd`, `systemctl`).
    Run {
        /// The argument vector.
        argv: Vec<String>,
    },
    /// Run `sysctl`, which may refuse a parameter and yet exit well.
    Sysctl {
        /// The argument vector.
        argv: Vec<String>,
        /// How the failure begins: `setting NAME failed`.
        failing: String,
    },
    /// A step of a user's plan.
    Account(Step),
    /// Remove the file or link at `path`.
    Remove {
        /// What to remove.
        path: PathBuf,
    },
    /// Remove the directory at `path` and all that is in it.
    RemoveTree {
        /// What to remove.
        path: PathBuf,
    },
    /// Make a directory; its parent is there.
    Directory {
        /// Where.
        path: PathBuf,
    },
    /// Make a symbolic link, in the place of what is at `path` if there is something.
    Link {
        /// Where.
        path: PathBuf,
        /// What it leads to, as it will be written into the link.
        target: PathBuf,
    },
    /// Make a hard link, in the place of what is at `path` if there is something.
    HardLink {
        /// Where.
        path: PathBuf,
        /// The file it becomes another name of.
        target: PathBuf,
    },
    /// Replace the file at `path` whole, or create it.
    Write {
        /// Where. A link here is replaced, not followed.
        path: PathBuf,
        /// The new content.
        content: Content,
        /// How.
        #[serde(flatten)]
        how: How,
    },
    /// Copy a file over the one at `path`, or create it.
    Copy {
        /// Where.
        path: PathBuf,
        /// The file that is read.
        from: PathBuf,
    },
    /// Keep a copy of the file, with its attributes, beside it.
    Backup {
        /// The file.
        path: PathBuf,
        /// Its copy.
        to: PathBuf,
    },
    /// Change owner or group of the file or link itself.
    Owner {
        /// Whose.
        path: PathBuf,
        /// The new owner.
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        /// The new group.
        #[serde(skip_serializing_if = "Option::is_none")]
        gid: Option<u32>,
    },
    /// Change the permission bits.
    Mode {
        /// Whose.
        path: PathBuf,
        /// The new bits.
        #[serde(serialize_with = "octal")]
        mode: u32,
    },
    /// Change the flags of the file system, by `chattr`.
    Flags {
        /// Whose.
        path: PathBuf,
        /// `+i`, `=a`, ….
        flags: String,
    },
    /// Change the times of access and modification, links followed; `None` is the present.
    Times {
        /// Whose.
        path: PathBuf,
        /// Time of last access.
        accessed: Option<SystemTime>,
        /// Time of last modification.
        modified: Option<SystemTime>,
    },
}

/// What a file is given. Compared and shown as text or by checksum, so that it can be large.
#[derive(Debug, Clone)]
pub struct Content {
    /// The bytes.
    pub source: Source,
    /// Their SHA-1, or the text itself where it is short.
    pub shown: String,
}

impl Content {
    /// Returns `text` as content.
    #[must_use]
    pub fn text(text: Vec<u8>) -> Self {
        Self {
            shown: String::from_utf8_lossy(&text).into_owned(),
            source: Source::Bytes(text.into()),
        }
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Self) -> bool {
        self.shown == other.shown
    }
}

impl Eq for Content {}

impl Serialize for Content {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.shown)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn octal<S: serde::Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&crate::attrs::octal(*mode))
}

impl Change {
    /// Returns what `--diff` shows of it; `None` where Ansible shows nothing.
    ///
    /// The modules about files render their own, from the state before.
    #[must_use]
    pub fn diff(&self) -> Option<Diff> {
        None
    }
}

/// Applies `changes` in order and stops at the first that fails.
pub fn apply(changes: &[Change], context: &mut Context<'_>) -> Result<(), Failure> {
    changes.iter().try_for_each(|c| apply_one(c, context))
}

fn apply_one(change: &Change, context: &mut Context<'_>) -> Result<(), Failure> {
    match change {
        Change::Run { argv } => run(argv, context),
        Change::Sysctl { argv, failing } => sysctl(argv, failing, context),
        Change::Account(step) => account::take(step, context),
        Change::Remove { path } => told("remove", path, fs::remove_file(path)),
        Change::RemoveTree { path } => {
            fs::remove_dir_all(path).map_err(|e| Failure::new(format!("rmtree failed: {e}")))
        }
        Change::Directory { path } => told("create", path, make_directory(path)),
        Change::Link { path, target } => link(path, |at| symlink(target, at)),
        Change::HardLink { path, target } => link(path, |at| fs::hard_link(target, at)),
        Change::Write { path, content, how } => {
            atomic::replace(path, &content.source, how, &context.environment)
        }
        Change::Copy { path, from } => copy(path, from, context),
        Change::Backup { path, to } => told("back up", path, back_up(path, to)),
        Change::Owner { path, uid, gid } => {
            let verb = if uid.is_some() { "chown" } else { "chgrp" };
            lchown(path, *uid, *gid).map_err(|e| {
                let msg = format!("{verb} failed: {e}");
                Failure::new(msg).with("path", path.to_string_lossy())
            })
        }
        Change::Mode { path, mode } => told(
            "chmod",
            path,
            fs::set_permissions(path, Permissions::from_mode(*mode)),
        ),
        Change::Flags { path, flags } => chattr(path, flags, context),
        Change::Times {
            path,
            accessed,
            modified,
        } => set_times(path, *accessed, *modified),
    }
}

fn told(doing: &str, path: &Path, answer: io::Result<()>) -> Result<(), Failure> {
    answer.map_err(|e| {
        let msg = format!("could not {doing} {}: {e}", path.display());
        Failure::new(msg).with("path", path.to_string_lossy())
    })
}

/// Makes a directory; one that somebody else made meanwhile is as good.
fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        answer => answer,
    }
}

/// Makes a link under another name and renames it, so that `path` is never missing.
fn link(path: &Path, make: impl Fn(&Path) -> io::Result<()>) -> Result<(), Failure> {
    let failed = |doing: &str, e: &io::Error| {
        Failure::new(format!("Error while {doing}: {e}")).with("path", path.to_string_lossy())
    };
    match make(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        answer => return answer.map_err(|e| failed("linking", &e)),
    }
    if fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
        fs::remove_dir(path).map_err(|e| failed("replacing", &e))?;
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let made = tempfile::Builder::new()
        .prefix(".amibake_")
        .make_in(folder, make);
    let placed = made.and_then(|new| new.persist(path).map_err(|e| e.error));
    placed.map_err(|e| failed("replacing", &e))?;
    Ok(())
}

fn copy(path: &Path, from: &Path, context: &Context<'_>) -> Result<(), Failure> {
    let source = File::open(from).and_then(Source::of_file);
    let source = source.map_err(|e| {
        let msg = format!("could not read {}: {e}", from.display());
        Failure::new(msg).with("path", from.to_string_lossy())
    })?;
    atomic::replace(path, &source, &How::default(), &context.environment)
}

/// Copies content, mode, times, extended attributes and, where allowed, the owner.
fn back_up(path: &Path, to: &Path) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    fs::copy(path, to)?;
    let _ = lchown(to, Some(meta.uid()), Some(meta.gid()));
    for name in xattr::list_deref(path).into_iter().flatten() {
        if let Ok(Some(value)) = xattr::get_deref(path, &name) {
            let _ = xattr::set(to, &name, &value);
        }
    }
    fs::set_permissions(to, meta.permissions())?;
    let times = FileTimes::new()
        .set_accessed(meta.accessed()?)
        .set_modified(meta.modified()?);
    File::options().write(true).open(to)?.set_times(times)
}

fn chattr(path: &Path, flags: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let path_text = path.to_string_lossy();
    let argv = ["chattr", flags, &path_text].map(str::to_owned);
    run(&argv, context).map_err(|failure| {
        Failure::new("chattr failed")
            .with("path", path_text.as_ref())
            .with("details", failure.msg)
    })
}

fn set_times(
    path: &Path,
    accessed: Option<SystemTime>,
    modified: Option<SystemTime>,
) -> Result<(), Failure> {
    let spec = |time: Option<SystemTime>| match time.map(|t| t.duration_since(UNIX_EPOCH)) {
        None => TimeSpec::UTIME_NOW,
        Some(Ok(after)) => TimeSpec::from(after),
        Some(Err(_)) => TimeSpec::new(0, 0),
    };
    let follow = UtimensatFlags::FollowSymlink;
    utimensat(AT_FDCWD, path, &spec(accessed), &spec(modified), follow).map_err(|e| {
        let msg = format!("Error while updating modification or access time: {e}");
        Failure::new(msg).with("path", path.to_string_lossy())
    })
}

/// Runs `sysctl` in no language but C's: what it refused is told by its words alone.
fn sysctl(argv: &[String], failing: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let program = required_bin("sysctl", context)?;
    let mut command = Command::new(std::iter::once(&program).chain(argv));
    for name in ["LANG", "LC_ALL", "LC_MESSAGES"] {
        command = command.env(name, "C");
    }
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    let refused = |line: &str| {
        let said = line.strip_prefix("sysctl: setting key \"");
        said.is_some_and(|said| {
            said.ends_with("\": Invalid argument") || said.ends_with("\": Read-only file system")
        })
    };
    if ran.rc == 0 && !ran.stderr.lines().any(refused) {
        return Ok(());
    }
    let (out, err) = (ran.stdout, ran.stderr);
    Err(Failure::new(format!("{failing}: {out}{err}")))
}

/// Runs a program; its stderr is the failure's message, as Ansible's modules report it.
fn run(argv: &[String], context: &mut Context<'_>) -> Result<(), Failure> {
    let Some((program, args)) = argv.split_first() else {
        return Err(Failure::new("no program to run"));
    };
    let program = required_bin(program, context)?;
    let command = Command::new(std::iter::once(&program).chain(args));
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    if ran.rc == 0 {
        return Ok(());
    }
    Err(Failure::new(ran.stderr).with("rc", ran.rc))
}
