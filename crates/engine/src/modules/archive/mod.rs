//! `archive` of community.general: files and trees into an archive, or one file compressed.
//!
//! What an archive has is told by Ansible from a tar's header sums and a zip's checksums, so ours are written as
//! Python writes them (`tar`, `zip`). bzip2 and xz are the target's own programs, as with `unarchive`.

mod compression;
mod sources;
mod tar;
mod zip;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::Args;
use crate::atomic::How;
use crate::attrs::{self, Attributes, Meta};
use crate::change::{self, Change, Content};
use crate::digest;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::paths;
use crate::place;
use crate::source::Source;
use compression::Format;
use sources::Sources;

pub(super) struct Archive;

/// What archives are compared by: names, each with a sum.
type Sums = BTreeSet<(Vec<u8>, u32)>;

/// One archive to be made.
struct Job<'a> {
    args: &'a Args,
    format: Format,
    dest: PathBuf,
    sources: Sources,
    /// Whether it is an archive even if it has one file alone.
    is_archive: bool,
}

/// What became of it.
#[derive(Default)]
struct Packed {
    changed: bool,
    state: &'static str,
    archived: Vec<PathBuf>,
}

impl ActionModule for Archive {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let job = Job::read(args, context)?;
        let (found, missing): (Vec<PathBuf>, Vec<PathBuf>) = {
            let there = |path: &PathBuf| path.symlink_metadata().is_ok();
            job.sources.paths.iter().cloned().partition(there)
        };
        let mut packed = match (found.as_slice(), context.check) {
            ([], _) => job.nothing(),
            (_, true) => Packed {
                changed: job.is_archive || !job.dest.exists(),
                state: "absent",
                ..Packed::default()
            },
            (found, false) => job.pack(found, !missing.is_empty(), context)?,
        };
        if job.dest.exists() {
            packed.changed |= job.give_attributes(context)?;
        }
        Ok(job.outcome(&packed, &missing))
    }
}

impl<'a> Job<'a> {
    fn read(args: &'a Args, context: &Context<'_>) -> Result<Self, Failure> {
        let sources = Sources::read(args, context)?;
        let given = args.str("dest").filter(|dest| !dest.is_empty());
        let is_archive = args.bool("force_archive")
            || sources.globbed
            || sources.paths.len() > 1
            || sources.paths.first().is_some_and(|path| path.is_dir());
        let format = Format::read(args.required("format")?);
        let dest = match (given, sources.paths.first()) {
            (Some(dest), _) => PathBuf::from(dest),
            (None, Some(path)) if !is_archive => {
                let mut dest = path.clone().into_os_string();
                dest.push(format!(".{}", format.name()));
                PathBuf::from(dest)
            }
            (None, _) => {
                let msg = "Error, must specify \"dest\" when archiving multiple files or trees";
                return Err(Failure::new(msg)
                    .with("dest", "None")
                    .with("path", sources.given.join(", ")));
            }
        };
        let job = Self {
            args,
            format,
            dest,
            sources,
            is_archive,
        };
        job.refuse_to_remove_itself()?;
        Ok(job)
    }

    fn refuse_to_remove_itself(&self) -> Result<(), Failure> {
        let within = |path: &&PathBuf| path.is_dir() && self.dest.starts_with(path);
        let own = self.sources.paths.iter().find(within);
        match own.filter(|_| self.args.bool("remove")) {
            None => Ok(()),
            Some(_) => {
                let msg =
                    "Error, created archive can not be contained in source paths when remove=true";
                let paths = sources::shown(&self.sources.paths).join(", ");
                Err(Failure::new(msg).with("path", paths))
            }
        }
    }

    /// There is nothing to be packed: what was made before stays.
    fn nothing(&self) -> Packed {
        let name = self.dest.file_name().unwrap_or_default().to_string_lossy();
        let state = match () {
            () if !self.dest.exists() => "absent",
            () if has_archives_ending(&name) => "archive",
            () => "compress",
        };
        Packed {
            state,
            ..Packed::default()
        }
    }

    /// Makes the archive, or compresses the one file, and removes what it was made of if that is asked for.
    fn pack(
        &self,
        found: &[PathBuf],
        incomplete: bool,
        context: &mut Context<'_>,
    ) -> Result<Packed, Failure> {
        let before = self.sums_there(context)?;
        let scratch = scratch()?;
        let plain = scratch.path().join("archive");
        let (archived, state) = match (self.is_archive, self.format) {
            (true, _) => {
                let state = if incomplete { "incomplete" } else { "archive" };
                (self.write_members(found, &plain)?, state)
            }
            // A single file that cannot be read is passed over in silence, as by Ansible.
            (false, Format::Tar | Format::Zip) => {
                (self.members(found, &plain)?.archived, "archive")
            }
            (false, _) => (self.copy_alone(&found[0], &plain)?, "compress"),
        };
        let after = self.sums_of(&plain)?;
        let made = self.format.compress(&plain, &self.dest, context)?;
        let written = self.put(&made, context)?;
        let changed = match before {
            Before::Sums(before) => before != after,
            Before::Size(size) => size != written,
        };
        if self.args.bool("remove") {
            self.remove(&archived, context)?;
        }
        Ok(Packed {
            changed,
            state,
            archived,
        })
    }

    fn write_members(&self, found: &[PathBuf], plain: &Path) -> Result<Vec<PathBuf>, Failure> {
        let members = self.members(found, plain)?;
        if members.errors.is_empty() {
            return Ok(members.archived);
        }
        Err(Failure::new(format!(
            "Errors when writing archive at {}: {}",
            self.dest.display(),
            members.errors.join("; ")
        )))
    }

    /// Writes everything below what was found to `plain`, which is not compressed yet.
    fn members(&self, found: &[PathBuf], plain: &Path) -> Result<Members, Failure> {
        let failed = |e: io::Error| {
            let at = self.dest.display();
            Failure::new(format!(
                "Error when writing {} archive at {at}: {e}",
                self.format.ending()
            ))
        };
        let file = File::create(plain).map_err(failed)?;
        let mut writer = match self.format {
            Format::Zip => Writer::Zip(zip::Writer::new(file)),
            Format::Tar | Format::Gz | Format::Bz2 | Format::Xz => {
                Writer::Tar(tar::Writer::new(io::BufWriter::new(file)))
            }
        };
        let patterns = self.args.list("exclusion_patterns");
        let mut members = Members::default();
        for path in found.iter().flat_map(|path| sources::walk(path)) {
            let name = self.sources.name(&path);
            match writer.add(&path, name, &patterns) {
                Ok(true) => members.archived.push(path),
                Ok(false) => {}
                Err(error) => {
                    let shown = path.to_string_lossy();
                    let error = paths::python_error(&error, &shown);
                    members.errors.push(format!("{shown}: {error}"));
                }
            }
        }
        writer.finish().map_err(failed)?;
        Ok(members)
    }

    /// The one file, which is compressed and no archive.
    fn copy_alone(&self, path: &Path, plain: &Path) -> Result<Vec<PathBuf>, Failure> {
        let copy = || {
            let mut from = place::Place::behind(path)?.open_to_read()?;
            io::copy(&mut from, &mut File::create(plain)?)
        };
        copy().map_err(|e| {
            let shown = path.to_string_lossy();
            let error = paths::python_error(&e, &shown);
            Failure::new(format!("Unable to write to compressed file: {error}"))
                .with("path", shown.as_ref())
                .with("dest", self.dest.to_string_lossy())
        })?;
        Ok(vec![path.to_owned()])
    }

    /// Returns what the archive has that is there.
    fn sums_there(&self, context: &mut Context<'_>) -> Result<Before, Failure> {
        let Ok(meta) = self.dest.metadata() else {
            return Ok(Before::Size(0));
        };
        let opened = place::Place::behind(&self.dest).and_then(|place| place.open_to_read());
        let Ok(mut there) = opened else {
            return Ok(Before::Size(meta.len()));
        };
        let scratch = scratch()?;
        let copy = scratch.path().join("archive");
        let unread = |e: io::Error| Failure::new(format!("{}: {e}", self.dest.display()));
        if let Format::Zip | Format::Tar = self.format {
            io::copy(&mut there, &mut File::create(&copy).map_err(unread)?).map_err(unread)?;
            return Ok(Before::Sums(self.sums_of(&copy)?));
        }
        let sums = match self.format.expand(there, &copy, context)? {
            true => self.sums_of(&copy)?,
            false => Sums::new(),
        };
        Ok(Before::Sums(sums))
    }

    /// Returns what the archive has that lies at `plain`, or the sum of a file that is none.
    fn sums_of(&self, plain: &Path) -> Result<Sums, Failure> {
        let unread = |e: io::Error| Failure::new(format!("{}: {e}", self.dest.display()));
        let mut file = File::open(plain).map_err(unread)?;
        if let Format::Zip = self.format {
            return Ok(zip::sums(&mut file).unwrap_or_default());
        }
        if let Some(sums) = tar::sums(io::BufReader::new(&file)) {
            return Ok(sums);
        }
        if let Format::Tar = self.format {
            return Err(Failure::new("tar is not a valid format"));
        }
        file.seek(SeekFrom::Start(0)).map_err(unread)?;
        let mut crc = flate2::CrcReader::new(io::BufReader::new(file));
        io::copy(&mut crc, &mut io::sink()).map_err(unread)?;
        Ok([(Vec::new(), crc.crc().sum())].into())
    }

    /// Puts the archive where it goes, and returns its size.
    fn put(&self, made: &Path, context: &mut Context<'_>) -> Result<u64, Failure> {
        let read = || {
            let shown = digest::file_checksum(made, "sha1")?;
            let file = File::open(made)?;
            let size = file.metadata()?.len();
            Ok((Source::of_file_with(file, 0o666), shown, size))
        };
        let read: io::Result<_> = read();
        let unread = |e: io::Error| Failure::new(format!("could not read the archive: {e}"));
        let (source, shown, size) = read.map_err(unread)?;
        // As what opens it for writing does, it follows a link that is there.
        let path = place::real(&self.dest).map_err(unread)?;
        let how = How {
            unsafe_writes: self.args.bool("unsafe_writes"),
            ..How::default()
        };
        let content = Content { source, shown };
        change::apply(&[Change::Write { path, content, how }], context)?;
        Ok(size)
    }

    /// Removes what was archived.
    fn remove(&self, archived: &[PathBuf], context: &mut Context<'_>) -> Result<(), Failure> {
        if !self.is_archive {
            let path = self.sources.paths[0].clone();
            let shown = path.to_string_lossy().into_owned();
            let removed = change::apply(&[Change::Remove { path }], context);
            return removed.map_err(|failure| {
                let msg = format!("Unable to remove source file: {}", failure.msg);
                Failure::new(msg).with("path", shown)
            });
        }
        let mut left = Vec::new();
        let folders = self.sources.paths.iter().filter(|path| path.is_dir());
        for path in archived.iter().chain(folders) {
            if !path.exists() {
                continue; // it went with its folder
            }
            let change = match path.is_dir() {
                // No link is taken for the folder that it leads to.
                true if path.is_symlink() => None,
                true => Some(Change::RemoveTree { path: path.clone() }),
                false => Some(Change::Remove { path: path.clone() }),
            };
            let gone = change.is_some_and(|change| change::apply(&[change], context).is_ok());
            if !gone {
                left.push(path.to_string_lossy().into_owned());
            }
        }
        match left.is_empty() {
            true => Ok(()),
            false => Err(Failure::new("Error deleting some source files: ")
                .with("dest", self.dest.to_string_lossy())
                .with("files", left)),
        }
    }

    fn give_attributes(&self, context: &mut Context<'_>) -> Result<bool, Failure> {
        let attributes = Attributes::read(self.args, &self.dest)?;
        let unread = |e: io::Error| Failure::new(format!("could not read: {e}"));
        let Some(meta) = Meta::read(&self.dest).map_err(unread)? else {
            return Ok(false);
        };
        let changes = attributes.plan(&attributes.target(&self.dest, meta), context.check)?;
        if !context.check {
            change::apply(&changes, context)?;
        }
        Ok(!changes.is_empty())
    }

    fn outcome(&self, packed: &Packed, missing: &[PathBuf]) -> Outcome {
        let fields = json!({
            "archived": sources::shown(&packed.archived),
            "dest": self.dest.to_string_lossy(),
            "dest_state": packed.state,
            "arcroot": String::from_utf8_lossy(&self.sources.root),
            "missing": sources::shown(missing),
            "expanded_paths": sources::shown(&self.sources.expanded),
            "expanded_exclude_paths": sources::shown(&self.sources.excluded),
        });
        let mut outcome = Outcome::of(packed.changed, fields);
        attrs::add_path_info(&mut outcome.result);
        outcome
    }
}

/// What was there before, as far as it can be compared.
enum Before {
    Sums(Sums),
    /// Nothing that can be read: its size.
    Size(u64),
}

/// What went into an archive.
#[derive(Default)]
struct Members {
    archived: Vec<PathBuf>,
    /// What did not, and why.
    errors: Vec<String>,
}

enum Writer {
    Zip(zip::Writer),
    Tar(tar::Writer<io::BufWriter<File>>),
}

impl Writer {
    /// Adds what is at `path`, unless it is excluded. Returns whether it is found in the archive by that name.
    fn add(&mut self, path: &Path, name: &[u8], excluded: &[&str]) -> io::Result<bool> {
        match self {
            Self::Zip(_) if sources::matches(path.as_os_str().as_encoded_bytes(), excluded) => {
                Ok(false)
            }
            Self::Zip(writer) => writer.add(path, name),
            Self::Tar(writer) => {
                let name = tar::stored_name(name);
                match sources::matches(name, excluded) {
                    true => Ok(false),
                    false => writer.add(path, name),
                }
            }
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Zip(writer) => writer.finish(),
            Self::Tar(writer) => writer.finish(),
        }
    }
}

/// A folder of the task's own, for the archive while it is made.
fn scratch() -> Result<tempfile::TempDir, Failure> {
    tempfile::tempdir().map_err(|e| Failure::new(format!("could not make a folder: {e}")))
}

/// Whether a file is called as archives are, and not only compressed.
fn has_archives_ending(name: &str) -> bool {
    const ENDINGS: &[&str] = &[
        ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".zip",
    ];
    let name = name.to_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests;
