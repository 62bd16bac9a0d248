//! `find`: files by name, age, size, content, mode.

mod contents;

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use amibake_playbook::fnmatch;
use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::attrs::Mode;
use crate::digest;
use crate::module::{ActionModule, Context, Failure, Outcome};
use crate::modules::stat;
use crate::shlex;
use crate::users;
use contents::Contents;

pub(super) struct Find;

/// A pattern for the names of files, by `use_regex`.
enum NamePattern {
    Shell(fnmatch::Pattern),
    Regex(Regex),
}

struct Search<'a> {
    args: &'a Args,
    patterns: Vec<NamePattern>,
    excludes: Vec<NamePattern>,
    contents: Option<Contents>,
    age: Option<i64>,
    size: Option<i64>,
    mode: Option<u32>,
    now: i64,
    found: Vec<Json>,
    looked: usize,
    skipped: Map<String, Json>,
    warnings: Vec<String>,
    above: Vec<(u64, u64)>,
}

impl ActionModule for Find {
    fn run(&self, args: &Args, context: &mut Context<'_>) -> Result<Outcome, Failure> {
        let mut search = Search::read(args)?;
        for path in args.list("paths") {
            search.root(&shlex::expand(path, &context.environment));
        }
        let full = search.full();
        let msg = match (search.warnings.is_empty(), full) {
            (false, _) => "Not all paths examined, check warnings for details",
            (true, true) => "Limit of matches reached",
            (true, false) => "All paths examined",
        };
        let result = json!({
            "matched": search.found.len(),
            "files": search.found,
            "msg": msg,
            "examined": search.looked,
            "skipped_paths": search.skipped,
        });
        Ok(Outcome {
            result: result.as_object().cloned().unwrap_or_default(),
            warnings: search.warnings,
            ..Outcome::default()
        })
    }
}

impl<'a> Search<'a> {
    fn read(args: &'a Args) -> Result<Self, Failure> {
        let regex = args.bool("use_regex");
        let mut patterns = args.list("patterns");
        if patterns.iter().all(|pattern| pattern.is_empty()) {
            patterns = vec![if regex { ".*" } else { "*" }];
        }
        let compile = |patterns: Vec<&str>| -> Result<Vec<NamePattern>, Failure> {
            let read = |p: &str| NamePattern::read(p, regex);
            patterns.into_iter().map(read).collect()
        };
        if let Some(limit) = args.int("limit").filter(|limit| *limit <= 0) {
            return Err(Failure::new(format!(
                "limit cannot be {limit} (use None for unlimited)"
            )));
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            args,
            patterns: compile(patterns)?,
            excludes: compile(args.list("excludes"))?,
            contents: Contents::read(args)?,
            age: quantity(
                args,
                "age",
                &[
                    ("s", 1),
                    ("m", 60),
                    ("h", 3600),
                    ("d", 86400),
                    ("w", 604_800),
                ],
            )?,
            size: quantity(
                args,
                "size",
                &[
                    ("b", 1),
                    ("k", 1 << 10),
                    ("m", 1 << 20),
                    ("g", 1 << 30),
                    ("t", 1 << 40),
                ],
            )?,
            mode: mode(args)?,
            now: i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            found: Vec::new(),
            looked: 0,
            skipped: Map::new(),
            warnings: Vec::new(),
            above: Vec::new(),
        })
    }

    fn full(&self) -> bool {
        let limit = self
            .args
            .int("limit")
            .and_then(|limit| usize::try_from(limit).ok());
        limit.is_some_and(|limit| self.found.len() >= limit)
    }

    fn root(&mut self, given: &str) {
        let path = Path::new(given.trim_end_matches('/'));
        let path = if path.as_os_str().is_empty() {
            Path::new("/")
        } else {
            path
        };
        let searched = match path.is_dir() {
            true => self.folder(path, 1),
            false => Err(format!("'{given}' is not a directory")),
        };
        let Err(reason) = searched else { return };
        self.warnings.push(format!(
            "Skipped '{given}' path due to this access issue: {reason}\n"
        ));
        self.skipped.insert(given.to_owned(), Json::from(reason));
    }

    /// Looks at all that is in a directory, then into the directories there. An error ends the search.
    fn folder(&mut self, folder: &Path, depth: i64) -> Result<(), String> {
        let entries = match fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Ok(entries) => entries,
            Err(e) => {
                let shown = folder.to_string_lossy().into_owned();
                self.skipped.insert(shown, Json::from(e.to_string()));
                return Ok(());
            }
        };
        self.looked += entries.len();
        let deep_enough = self
            .args
            .int("depth")
            .is_some_and(|limit| limit != 0 && depth > limit);
        if deep_enough {
            return Ok(());
        }
        let is_dir = |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_dir());
        let paths = entries.into_iter().map(|entry| entry.path());
        let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = paths.partition(|path| is_dir(path));
        for path in files.iter().chain(&folders) {
            self.look(path)?;
            if self.full() {
                return Ok(());
            }
        }
        for path in folders.iter().filter(|_| self.args.bool("recurse")) {
            self.descend(path, depth)?;
        }
        Ok(())
    }

    fn descend(&mut self, path: &Path, depth: i64) -> Result<(), String> {
        let link = path.is_symlink();
        let Ok(meta) = fs::metadata(path) else {
            return Ok(());
        };
        let id = (meta.dev(), meta.ino());
        // A link to a directory we are in would lead round for ever.
        if self.full() || (link && (!self.args.bool("follow") || self.above.contains(&id))) {
            return Ok(());
        }
        self.above.push(id);
        let searched = self.folder(path, depth + 1);
        self.above.pop();
        searched
    }

    fn look(&mut self, path: &Path) -> Result<(), String> {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with('.') && !self.args.bool("hidden") {
            return Ok(());
        }
        let shown = path.to_string_lossy().into_owned();
        match fs::symlink_metadata(path) {
            Ok(meta) => {
                if self.matches(path, &name, &meta)? {
                    let facts = self.facts(path, shown, &meta);
                    self.found.push(facts);
                }
            }
            Err(e) => {
                let reason = e.to_string();
                self.warnings
                    .push(format!("Skipped entry '{shown}' due to access issue."));
                self.skipped.insert(shown, Json::from(reason));
            }
        }
        Ok(())
    }

    fn matches(&self, path: &Path, name: &str, meta: &Metadata) -> Result<bool, String> {
        let kind = meta.file_type();
        let (wanted, sized) = match self.args.str("file_type") {
            Some("any") => (true, kind.is_file()),
            Some("directory") => (kind.is_dir(), false),
            Some("link") => (kind.is_symlink(), false),
            _ => (kind.is_file(), true),
        };
        let read = self.args.str("file_type").unwrap_or("file") == "file";
        let so_far = wanted && self.named(name) && self.aged(meta) && (!sized || self.sized(meta));
        let contents = self.contents.as_ref().filter(|_| read && so_far);
        let contained = contents.map_or(Ok(true), |contents| contents.are_in(path))?;
        Ok(so_far && contained && self.has_mode(meta))
    }

    fn named(&self, name: &str) -> bool {
        let any = |patterns: &[NamePattern]| patterns.iter().any(|p| p.matches(name));
        any(&self.patterns) && !any(&self.excludes)
    }

    fn aged(&self, meta: &Metadata) -> bool {
        let stamp = match self.args.str("age_stamp") {
            Some("atime") => meta.atime(),
            Some("ctime") => meta.ctime(),
            _ => meta.mtime(),
        };
        beyond(self.age, self.now - stamp)
    }

    fn sized(&self, meta: &Metadata) -> bool {
        beyond(self.size, i64::try_from(meta.size()).unwrap_or(i64::MAX))
    }

    fn has_mode(&self, meta: &Metadata) -> bool {
        let bits = meta.mode() & 0o7777;
        match self.mode {
            None => true,
            Some(mode) if self.args.bool("exact_mode") => bits == mode,
            Some(mode) => bits & mode != 0,
        }
    }

    fn facts(&self, path: &Path, shown: String, meta: &Metadata) -> Json {
        let mut facts = Map::new();
        facts.insert("path".to_owned(), Json::from(shown));
        facts.extend(stat::facts(meta));
        let owner = users::user_by_id(meta.uid()).map_or(String::new(), |user| user.name);
        let group = users::group_by_id(meta.gid()).map_or(String::new(), |group| group.name);
        facts.insert("pw_name".to_owned(), Json::from(owner));
        facts.insert("gr_name".to_owned(), Json::from(group));
        let algorithm = self.args.str("checksum_algorithm").unwrap_or("sha1");
        if self.args.bool("get_checksum")
            && meta.is_file()
            && let Ok(checksum) = digest::file_checksum(path, algorithm)
        {
            facts.insert("checksum".to_owned(), Json::from(checksum));
        }
        Json::Object(facts)
    }
}

/// At least `limit`, or at most its absolute if it is negative.
fn beyond(limit: Option<i64>, value: i64) -> bool {
    match limit {
        None => true,
        Some(limit) if limit >= 0 => value >= limit,
        Some(limit) => value <= limit.saturating_neg(),
    }
}

/// Reads `-2w`, `10k`, `5`.
fn quantity(args: &Args, name: &str, units: &[(&str, i64)]) -> Result<Option<i64>, Failure> {
    let Some(given) = args.str(name) else {
        return Ok(None);
    };
    let lower = given.to_lowercase();
    let split = lower
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let factor = match unit {
        "" => Some(1),
        unit => units
            .iter()
            .find(|(known, _)| *known == unit)
            .map(|(_, factor)| *factor),
    };
    let value = number
        .parse::<i64>()
        .ok()
        .zip(factor)
        .map(|(n, f)| n.saturating_mul(f));
    value
        .map(Some)
        .ok_or_else(|| Failure::new(format!("failed to process {name}")).with(name, given))
}

fn mode(args: &Args) -> Result<Option<u32>, Failure> {
    match args.raw("mode") {
        None | Some(Json::Null) => Ok(None),
        Some(given @ Json::String(_)) => Ok(Some(
            Mode::read(given, Path::new(""))?.apply(0, false) & 0o7777,
        )),
        Some(_) => Err(Failure::new(
            "argument 'mode' is not a string and conversion is not allowed",
        )),
    }
}

impl NamePattern {
    fn read(pattern: &str, regex: bool) -> Result<Self, Failure> {
        Ok(match regex {
            true => Self::Regex(compiled(&format!("(?:{pattern})"))?),
            false => Self::Shell(fnmatch::Pattern::new(pattern)),
        })
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Shell(pattern) => pattern.matches(name),
            Self::Regex(regex) => {
                let found = regex.search(name.as_bytes(), 0).ok().flatten();
                found.is_some_and(|found| found.whole().start == 0)
            }
        }
    }
}

fn compiled(pattern: &str) -> Result<Regex, Failure> {
    Regex::new(pattern, Flags::default())
        .map_err(|e| Failure::new(format!("the pattern '{pattern}' cannot be used: {e}")))
}
