//! The one place where state modules change the machine.
//!
//! A [`Change`] is data: planned, tested as golden cases, then applied here;
//! what touches files goes by descriptor (`by_descriptor`).

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;

use crate::account::{self, Step};
use crate::atomic::{self, How};
use crate::by_descriptor::{self, Made};
use crate::context::{Context, Failure};
use crate::place::{FileId, Place};
use crate::replaced::Many;
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
    Remove { path: PathBuf },
    /// Remove the directory at `path` and all that is in it.
    RemoveTree { path: PathBuf },
    /// Make a directory; its parent is there.
    Directory { path: PathBuf },
    /// Make a symbolic link, in the place of what is at `path` if there is something.
    Link {
        path: PathBuf,
        /// What it leads to, as it will be written into the link.
        target: PathBuf,
    },
    /// Make a hard link, in the place of what is at `path` if there is something.
    HardLink {
        path: PathBuf,
        /// The file it becomes another name of.
        target: PathBuf,
    },
    /// Replace the file at `path` whole, or create it.
    Write {
        /// Where. A link here is replaced, not followed.
        path: PathBuf,
        content: Content,
        #[serde(flatten)]
        how: How,
    },
    /// Copy a file over the one at `path`, or create it.
    Copy {
        path: PathBuf,
        /// The file that is read.
        from: PathBuf,
    },
    /// Keep a copy of the file, with its attributes, beside it.
    Backup { path: PathBuf, to: PathBuf },
    /// Change owner or group of the file or link itself.
    Owner {
        path: PathBuf,
        #[serde(skip_serializing_if = "Option::is_none")]
        uid: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        gid: Option<u32>,
        /// Which file was seen there; `None` if this plan makes it.
        #[serde(skip)]
        of: Option<FileId>,
    },
    /// Change the permission bits.
    Mode {
        path: PathBuf,
        #[serde(serialize_with = "octal")]
        mode: u32,
        /// Which file was seen there; `None` if this plan makes it.
        #[serde(skip)]
        of: Option<FileId>,
    },
    /// Change the flags of the file system, by `chattr`.
    Flags {
        path: PathBuf,
        /// `+i`, `=a`, ….
        flags: String,
    },
    /// Change the times of access and modification, links followed; `None` is the present.
    Times {
        path: PathBuf,
        /// Time of last access.
        accessed: Option<SystemTime>,
        /// Time of last modification.
        modified: Option<SystemTime>,
    },
}

impl Change {
    /// Returns whether it is made to what is at this path itself.
    pub(crate) fn is_about(&self, at: &Path) -> bool {
        match self {
            Self::Run { .. } | Self::Sysctl { .. } | Self::Account(_) => false,
            Self::Remove { path }
            | Self::RemoveTree { path }
            | Self::Directory { path }
            | Self::Link { path, .. }
            | Self::HardLink { path, .. }
            | Self::Write { path, .. }
            | Self::Copy { path, .. }
            | Self::Backup { path, .. }
            | Self::Owner { path, .. }
            | Self::Mode { path, .. }
            | Self::Flags { path, .. }
            | Self::Times { path, .. } => path == at,
        }
    }
}

/// What a file is given. Compared and shown as text or by checksum, so that it can be large.
#[derive(Debug, Clone)]
pub struct Content {
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

/// Applies `changes` in order and stops at the first that fails.
pub fn apply(changes: &[Change], context: &mut Context<'_>) -> Result<(), Failure> {
    let _many = Many::begin();
    let mut made = Made::default();
    changes
        .iter()
        .try_for_each(|c| apply_one(c, &mut made, context))
}

fn apply_one(change: &Change, made: &mut Made, context: &mut Context<'_>) -> Result<(), Failure> {
    match change {
        Change::Run { argv } => run_argv(argv, context),
        Change::Sysctl { argv, failing } => sysctl(argv, failing, context),
        Change::Account(step) => account::take(step, context),
        Change::Remove { path } => {
            made.let_go();
            told("remove", path, by_descriptor::remove(path))
        }
        Change::RemoveTree { path } => {
            made.let_go();
            by_descriptor::remove_tree(path)
                .map_err(|e| Failure::new(format!("rmtree failed: {e}")))
        }
        Change::Directory { path } => told("create", path, made.directory(path)),
        Change::Link { path, target } => link(path, made, |at| symlink(target, at)),
        Change::HardLink { path, target } => {
            let target = Place::of(target).map_err(|e| {
                let msg = format!("Error while linking to {}: {e}", target.display());
                Failure::new(msg).with("path", path.to_string_lossy())
            })?;
            link(path, made, |at| fs::hard_link(target.path(), at))
        }
        Change::Write { path, content, how } => write(path, &content.source, how, made, context),
        Change::Copy { path, from } => copy(path, from, made, context),
        Change::Backup { path, to } => told("back up", path, by_descriptor::back_up(path, to)),
        Change::Owner { path, uid, gid, of } => {
            let verb = if uid.is_some() { "chown" } else { "chgrp" };
            made.give_owner(path, *of, *uid, *gid).map_err(|e| {
                let msg = format!("{verb} failed: {e}");
                Failure::new(msg).with("path", path.to_string_lossy())
            })
        }
        Change::Mode { path, mode, of } => told("chmod", path, made.give_mode(path, *of, *mode)),
        Change::Flags { path, flags } => chattr(path, flags, context),
        Change::Times {
            path,
            accessed,
            modified,
        } => by_descriptor::set_times(path, *accessed, *modified).map_err(|e| {
            let msg = format!("Error while updating modification or access time: {e}");
            Failure::new(msg).with("path", path.to_string_lossy())
        }),
    }
}

fn told(doing: &str, path: &Path, answer: io::Result<()>) -> Result<(), Failure> {
    answer.map_err(|e| {
        let msg = format!("could not {doing} {}: {e}", path.display());
        Failure::new(msg).with("path", path.to_string_lossy())
    })
}

fn link(
    path: &Path,
    made: &mut Made,
    make: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), Failure> {
    made.let_go();
    let place = Place::of(path).map_err(|e| unlinked("linking", path, &e))?;
    by_descriptor::link(&place, make).map_err(|(doing, e)| unlinked(doing, path, &e))?;
    told("link", path, made.note(&place))
}

fn unlinked(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("Error while {doing}: {error}")).with("path", path.to_string_lossy())
}

fn copy(path: &Path, from: &Path, made: &mut Made, context: &Context<'_>) -> Result<(), Failure> {
    let source = made.source(from).and_then(|place| place.open_to_read());
    let source = source.and_then(Source::of_file).map_err(|e| {
        let msg = format!("could not read {}: {e}", from.display());
        Failure::new(msg).with("path", from.to_string_lossy())
    })?;
    write(path, &source, &How::default(), made, context)
}

fn write(
    path: &Path,
    content: &Source,
    how: &How,
    made: &mut Made,
    context: &Context<'_>,
) -> Result<(), Failure> {
    if let Some(validate) = &how.validate {
        atomic::validate(validate, path, content, &context.environment)?;
    }
    let place = made.place(path).map_err(|e| atomic::unwritable(path, &e))?;
    let file = atomic::replace(&place, path, content, how)?;
    told("write", path, made.keep(&place, file))
}

/// Runs `chattr` in the folder that was found. It follows no link itself.
fn chattr(path: &Path, flags: &str, context: &mut Context<'_>) -> Result<(), Failure> {
    let path_text = path.to_string_lossy();
    let refused = |details: String| {
        Failure::new("chattr failed")
            .with("path", path_text.as_ref())
            .with("details", details)
    };
    let place = Place::of(path).map_err(|e| refused(e.to_string()))?;
    let program = required_bin("chattr", context)?;
    let name = Path::new(".").join(place.name()).into_os_string();
    let name = name
        .into_string()
        .map_err(|_| refused("the name is no UTF-8".to_owned()))?;
    let command = Command::new([&program, flags, &name]).cwd(place.folder());
    let ran = command.run(context).map_err(|e| e.failure(&command))?;
    match ran.rc {
        0 => Ok(()),
        _ => Err(refused(ran.stderr.replace(&name, &path_text))),
    }
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
fn run_argv(argv: &[String], context: &mut Context<'_>) -> Result<(), Failure> {
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
