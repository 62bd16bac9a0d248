//! What `lineinfile`, `blockinfile` and `replace` share: a text file, edited whole, then its
//! attributes.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use amibake_playbook::pyre::{Flags, ReError, Regex};
use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::atomic::{How, Validate};
use crate::attrs::{self, Attributes, Meta, NewFile, Target};
use crate::change::{Change, Content};
use crate::module::{Context, Failure};
use crate::modules::paths;
use crate::place::{self, Place};

/// The arguments all three have.
pub(super) struct Edit {
    pub(super) path: PathBuf,
    attributes: Attributes,
    validate: Option<String>,
    unsafe_writes: bool,
    backup: bool,
    pub(super) create: bool,
    pub(super) check: bool,
}

/// What is there to be edited.
pub(super) struct Found {
    /// Its content; `None` if there is no file.
    pub(super) content: Option<Vec<u8>>,
    target: Option<Target>,
    /// The file a link at the path leads to.
    real: PathBuf,
    missing: Vec<PathBuf>,
    parent: Option<Meta>,
    /// Where a copy goes of what is there, if one is asked for.
    backup_to: Option<PathBuf>,
}

/// A text after editing, and Ansible's word for what was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edited {
    pub(super) text: Vec<u8>,
    pub(super) changed: bool,
    pub(super) msg: String,
    /// Lines removed, by `lineinfile`.
    pub(super) found: usize,
}

impl Edited {
    /// Returns `text` as it was.
    pub(super) fn same(text: Vec<u8>) -> Self {
        Self {
            text,
            changed: false,
            msg: String::new(),
            found: 0,
        }
    }

    /// Returns a changed text.
    pub(super) fn to(text: Vec<u8>, msg: impl Into<String>) -> Self {
        Self {
            text,
            changed: true,
            msg: msg.into(),
            found: 0,
        }
    }
}

impl Edit {
    pub(super) fn read(args: &Args, context: &Context<'_>, word: &str) -> Result<Self, Failure> {
        let path = PathBuf::from(args.required("path")?);
        if path.is_dir() {
            let msg = format!("{word} {} is a directory !", path.display());
            return Err(Failure::new(msg).with("rc", 256));
        }
        Ok(Self {
            attributes: Attributes::read(args, &path)?,
            validate: args.str("validate").map(str::to_owned),
            unsafe_writes: args.bool("unsafe_writes"),
            backup: args.bool("backup"),
            create: args.bool("create"),
            check: context.check,
            path,
        })
    }

    pub(super) fn inspect(&self) -> Result<Found, Failure> {
        let found = match self.path.exists() {
            true => self.inspect_file(),
            false => self.inspect_nothing(),
        };
        found.map_err(|e| Failure::new(format!("could not read {}: {e}", self.path.display())))
    }

    /// Looks at a file, walked to once: a loop comes to it for each of its lines.
    fn inspect_file(&self) -> io::Result<Found> {
        let place = Place::behind(&self.path)?;
        let mut content = Vec::new();
        place.open_to_read()?.read_to_end(&mut content)?;
        let real = place.real();
        let meta = match real == self.path {
            true => Meta::at(&place)?,
            false => Meta::read(&self.path)?, // there may be a link
        };
        Ok(Found {
            content: Some(content),
            target: meta.map(|meta| self.attributes.target(&self.path, meta)),
            real,
            missing: Vec::new(),
            parent: None,
            backup_to: self.backup.then(|| paths::backup_name(&self.path)),
        })
    }

    fn inspect_nothing(&self) -> io::Result<Found> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let (parent, missing) = paths::missing(folder)?;
        Ok(Found {
            content: None,
            target: None,
            real: place::real(&self.path)?,
            missing,
            parent,
            backup_to: None,
        })
    }

    /// Plans the write, then the attributes.
    pub(super) fn plan(&self, found: &Found, edited: &Edited) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        if edited.changed {
            self.plan_write(found, edited, &mut changes);
        }
        changes.extend(self.plan_attributes(found)?);
        Ok(changes)
    }

    fn plan_write(&self, found: &Found, edited: &Edited, changes: &mut Vec<Change>) {
        let folders = found.missing.iter().cloned();
        changes.extend(folders.map(|path| Change::Directory { path }));
        if let Some(to) = found.backup_to.clone() {
            let path = self.path.clone();
            changes.push(Change::Backup { path, to });
        }
        let validate = self.validate.as_ref().map(|command| Validate {
            command: command.clone(),
            as_copy: false,
            checksum: None,
            attributes: Attributes::default(),
        });
        changes.push(Change::Write {
            path: found.real.clone(),
            content: Content::text(edited.text.clone()),
            how: How {
                unsafe_writes: self.unsafe_writes,
                validate,
                like: None,
                mode: None,
            },
        });
    }

    fn plan_attributes(&self, found: &Found) -> Result<Vec<Change>, Failure> {
        if let Some(target) = &found.target {
            return self.attributes.plan(target, self.check);
        }
        if self.check || !self.create {
            return Ok(Vec::new());
        }
        self.attributes.plan(&self.foreseen(found), false)
    }

    /// Returns what a file is like that is made at the path.
    fn foreseen(&self, found: &Found) -> Target {
        Target {
            path: self.path.clone(),
            meta: Meta::foreseen(NewFile::Regular, found.parent.as_ref()),
            flags: String::new(),
        }
    }

    /// Returns the result's `msg`: what was done to the text and to the attributes.
    pub(super) fn msg(&self, found: &Found, edited: &Edited) -> String {
        let attributes = self
            .plan_attributes(found)
            .is_ok_and(|changes| !changes.is_empty());
        let both = if attributes && edited.changed {
            " and "
        } else {
            ""
        };
        let also = if attributes {
            "ownership, perms or SE linux context changed"
        } else {
            ""
        };
        format!("{}{both}{also}", edited.msg)
    }

    /// Returns where the copy of the old file is, if one was made.
    pub(super) fn backup(&self, found: &Found, edited: &Edited) -> Option<String> {
        let made = found.backup_to.as_ref();
        let made = made.filter(|_| edited.changed && !self.check);
        made.map(|to| to.to_string_lossy().into_owned())
    }

    /// Returns Ansible's two diffs: of the content and of the attributes. There is none where there is no file and,
    /// without `present`, nothing that is to be in one.
    pub(super) fn diff(
        &self,
        present: bool,
        found: &Found,
        edited: Option<&Edited>,
        plan: &[Change],
    ) -> Json {
        let Some(edited) = edited.filter(|_| present || found.content.is_some()) else {
            return Json::Null;
        };
        let mut content = self.headers("content");
        let before = found.content.as_deref().unwrap_or_default();
        content["before"] = Json::from(String::from_utf8_lossy(before));
        content["after"] = Json::from(String::from_utf8_lossy(&edited.text));
        let mut attributes = self.headers("file attributes");
        let target = found.target.clone().unwrap_or_else(|| self.foreseen(found));
        let (before, after) = attributes_diff(&target, plan);
        if before != after {
            attributes["before"] = before;
            attributes["after"] = after;
        }
        json!([content, attributes])
    }

    /// Returns what Ansible registers as `diff` where none was asked for.
    pub(super) fn diff_unasked(&self, present: bool, found: &Found) -> Json {
        if !present && found.content.is_none() {
            return Json::Null;
        }
        let mut content = self.headers("content");
        content["before"] = Json::from("");
        content["after"] = Json::from("");
        json!([content, self.headers("file attributes")])
    }

    fn headers(&self, of: &str) -> Json {
        let title = format!("{} ({of})", self.path.display());
        json!({"before_header": title, "after_header": title})
    }
}

/// Returns what the changes of a plan do to the attributes of `target`: before and after.
pub(super) fn attributes_diff(target: &Target, plan: &[Change]) -> (Json, Json) {
    let meta = &target.meta;
    let (mut before, mut after) = (json!({}), json!({}));
    for change in plan {
        match change {
            Change::Owner { path, uid, gid, .. } if *path == target.path => {
                if let Some(uid) = uid {
                    before["owner"] = Json::from(meta.uid);
                    after["owner"] = Json::from(*uid);
                }
                if let Some(gid) = gid {
                    before["group"] = Json::from(meta.gid);
                    after["group"] = Json::from(*gid);
                }
            }
            Change::Mode { path, mode, .. } if *path == target.path => {
                before["mode"] = Json::from(attrs::octal(meta.bits()));
                after["mode"] = Json::from(attrs::octal(*mode));
            }
            Change::Flags { path, flags } if *path == target.path => {
                before["attributes"] = Json::from(target.flags.as_str());
                after["attributes"] = Json::from(flags.as_str());
            }
            _ => {}
        }
    }
    (before, after)
}

/// Compiles the pattern given as `name`, as one on bytes.
pub(super) fn bytes_regex(pattern: &str) -> Result<Regex, Failure> {
    let flags = Flags {
        bytes: true,
        ..Flags::default()
    };
    Regex::new(pattern, flags).map_err(|e| bad_pattern(pattern, &e))
}

pub(super) fn bad_pattern(pattern: &str, error: &ReError) -> Failure {
    Failure::new(format!(
        "the regular expression '{pattern}' cannot be used: {error}"
    ))
}
