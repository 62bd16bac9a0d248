//! What a machine's root holds, read from outside, and how two machines differ.
//!
//! Owns the inventory (files, packages, users, groups, units) and the reviewed ignore list; whoever
//! compares two machines goes through [`differences`]. Timestamps and the sizes of directories are not
//! read at all: they are the clock's and the file system's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What is told of a subject: `mode`, `owner`, `sha256`, `version`, with its value.
pub(crate) type Aspects = BTreeMap<String, String>;

/// Subjects (`file /etc/motd`, `package git`, `user web`, `unit cron.service`) and their aspects.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inventory(BTreeMap<String, Aspects>);

/// What two machines may differ in: `tests/twin/ignore`.
#[derive(Debug)]
pub(crate) struct IgnoreList(Vec<Ignore>);

#[derive(Debug)]
struct Ignore {
    kind: String,
    name: glob::Pattern,
    /// Empty: all of them, the subject's existence included.
    aspects: BTreeSet<String>,
}

impl IgnoreList {
    /// Reads the reviewed list.
    pub(crate) fn reviewed() -> Self {
        Self::read("ignore")
    }

    /// Reads what two runs of one play may leave otherwise when days lie between them.
    pub(crate) fn of_days() -> Self {
        Self::read("days")
    }

    fn read(list: &str) -> Self {
        let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/twin");
        Self::parse(&fs::read_to_string(folder.join(list)).unwrap())
    }

    /// Reads `KIND NAME ASPECTS # reason` lines; a line that gives no reason is an error.
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let rules = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(rules.map(Ignore::parse).collect())
    }

    /// Whether this may differ, of this subject.
    pub(crate) fn covers(&self, subject: &str, aspect: &str) -> bool {
        let (kind, name) = subject.split_once(' ').expect("a subject has a kind");
        self.0.iter().any(|rule| rule.covers(kind, name, aspect))
    }
}

impl Ignore {
    fn parse(line: &str) -> Self {
        let (rule, reason) = line.split_once(" # ").unwrap_or((line, ""));
        assert!(!reason.trim().is_empty(), "no reason is given: {line}");
        let words: Vec<&str> = rule.split_whitespace().collect();
        let [kind, name, aspects] = words[..] else {
            panic!("not `KIND NAME ASPECTS # reason`: {line}");
        };
        let all = aspects == "*";
        let aspects = aspects.split(',').filter(|_| !all).map(str::to_owned);
        Self {
            kind: kind.to_owned(),
            name: glob::Pattern::new(name).unwrap(),
            aspects: aspects.collect(),
        }
    }

    fn covers(&self, kind: &str, name: &str, aspect: &str) -> bool {
        let options = glob::MatchOptions {
            require_literal_separator: true,
            ..glob::MatchOptions::new()
        };
        self.kind == kind
            && (self.aspects.is_empty() || self.aspects.contains(aspect))
            && self.name.matches_with(name, options)
    }
}

/// Lists what `theirs` and `ours` differ in, one line each, less what the list covers.
pub(crate) fn differences(
    theirs: &Inventory,
    ours: &Inventory,
    ignored: &IgnoreList,
) -> Vec<String> {
    let subjects: BTreeSet<&String> = theirs.0.keys().chain(ours.0.keys()).collect();
    let mut found = Vec::new();
    for subject in subjects {
        match (theirs.0.get(subject), ours.0.get(subject)) {
            (Some(theirs), Some(ours)) => {
                found.extend(of_aspects(subject, theirs, ours, ignored));
            }
            _ if ignored.covers(subject, "existence") => {}
            (Some(_), _) => found.push(format!("{subject}: missing on ours")),
            (None, _) => found.push(format!("{subject}: only on ours")),
        }
    }
    found
}

fn of_aspects(
    subject: &str,
    theirs: &BTreeMap<String, String>,
    ours: &BTreeMap<String, String>,
    ignored: &IgnoreList,
) -> Vec<String> {
    let aspects: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
    let mut found = Vec::new();
    for aspect in aspects {
        let (a, b) = (theirs.get(aspect), ours.get(aspect));
        if a == b || ignored.covers(subject, aspect) {
            continue;
        }
        let said =
            |value: Option<&String>| value.map_or("nothing".to_owned(), |v| format!("`{v}`"));
        found.push(format!(
            "{subject}: {aspect} is {}, not {}",
            said(b),
            said(a)
        ));
    }
    found
}

impl Inventory {
    pub(crate) fn from_subjects(subjects: BTreeMap<String, Aspects>) -> Self {
        Self(subjects)
    }

    pub(crate) fn subjects(&self) -> &BTreeMap<String, Aspects> {
        &self.0
    }

    /// Reads the root of a machine, running or not.
    pub(crate) fn of_root(root: &Path) -> Self {
        let mut inventory = Self::default();
        let names = Names::read(root);
        let mut backups = Vec::new();
        inventory.walk(root, root, &names, &mut backups);
        inventory.number(backups);
        inventory.packages(root);
        inventory.accounts(root);
        inventory.unit_files(root);
        inventory
    }

    /// Adds which units run, from `systemctl list-units --all --plain --no-legend`.
    pub(crate) fn with_running(mut self, listed: &str) -> Self {
        for line in listed.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [name, loaded, active, sub, ..] = words[..] {
                let subject = format!("running {name}");
                self.put(&subject, "state", format!("{loaded} {active} {sub}"));
            }
        }
        self
    }

    fn put(&mut self, subject: &str, aspect: &str, value: impl Into<String>) {
        let aspects = self.0.entry(subject.to_owned()).or_default();
        aspects.insert(aspect.to_owned(), value.into());
    }

    fn walk(&mut self, root: &Path, folder: &Path, names: &Names, backups: &mut Vec<String>) {
        let Ok(entries) = fs::read_dir(folder) else {
            return; // it went while we looked
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(meta) = fs::symlink_metadata(&path) else {
                continue;
            };
            let shown = path.strip_prefix(root).unwrap();
            let subject = format!("file /{}", shown.display());
            self.file(&subject, &path, &meta, names);
            if meta.is_dir() {
                self.walk(root, &path, names, backups);
            }
            if without_date(&subject) != subject {
                backups.push(subject);
            }
        }
    }

    /// Gives dated copies names without their dates: of several of one file, by what they are.
    fn number(&mut self, backups: Vec<String>) {
        let mut copies: Vec<_> = backups
            .iter()
            .filter_map(|subject| Some((without_date(subject), self.0.remove(subject)?)))
            .collect();
        copies.sort();
        for (index, (subject, aspects)) in copies.into_iter().enumerate() {
            self.0.insert(format!("{subject} {index}"), aspects);
        }
    }

    fn file(&mut self, subject: &str, path: &Path, meta: &Metadata, names: &Names) {
        self.put(subject, "type", kind(meta));
        self.put(subject, "owner", names.user(meta.uid()));
        self.put(subject, "group", names.group(meta.gid()));
        if meta.is_symlink() {
            let target = fs::read_link(path).unwrap_or_default();
            self.put(subject, "target", target.to_string_lossy());
        } else {
            let mode = format!("{:04o}", meta.permissions().mode() & 0o7777);
            self.put(subject, "mode", mode);
        }
        if meta.is_file() {
            self.put(subject, "size", meta.len().to_string());
            let content = fs::read(path).unwrap_or_default();
            self.put(subject, "sha256", sha256(&content));
        }
        if meta.file_type().is_block_device() || meta.file_type().is_char_device() {
            self.put(subject, "device", meta.rdev().to_string());
        }
        for (name, value) in xattrs(path) {
            self.put(subject, &name, value);
        }
    }

    /// Packages with their state and version, and whether they were asked for.
    fn packages(&mut self, root: &Path) {
        for stanza in stanzas(root, "var/lib/dpkg/status") {
            let subject = package(&stanza);
            for (field, aspect) in [("Status", "state"), ("Version", "version")] {
                let value = stanza.get(field).cloned().unwrap_or_default();
                self.put(&subject, aspect, value);
            }
            self.put(&subject, "mark", "manual");
        }
        for stanza in stanzas(root, "var/lib/apt/extended_states") {
            let subject = package(&stanza);
            let automatic = stanza.get("Auto-Installed").is_some_and(|auto| auto == "1");
            if automatic && self.0.contains_key(&subject) {
                self.put(&subject, "mark", "auto");
            }
        }
    }

    fn accounts(&mut self, root: &Path) {
        let passwd = ["uid", "gid", "comment", "home", "shell"];
        for fields in colon_lines(root, "etc/passwd") {
            let subject = format!("user {}", fields[0]);
            for (aspect, value) in passwd.iter().zip(fields.iter().skip(2)) {
                self.put(&subject, aspect, value);
            }
        }
        let shadow = [
            "password", "changed", "min", "max", "warn", "inactive", "expires",
        ];
        for fields in colon_lines(root, "etc/shadow") {
            let subject = format!("user {}", fields[0]);
            for (aspect, value) in shadow.iter().zip(fields.iter().skip(1)) {
                let value = match *aspect {
                    "changed" if *value == today() => "today".to_owned(),
                    _ => without_salt(value),
                };
                self.put(&subject, aspect, value);
            }
        }
        for fields in colon_lines(root, "etc/group") {
            let subject = format!("group {}", fields[0]);
            self.put(&subject, "gid", fields.get(2).cloned().unwrap_or_default());
            let members: BTreeSet<&str> = fields
                .get(3)
                .map_or("", String::as_str)
                .split(',')
                .collect();
            let members: Vec<&str> = members.into_iter().collect();
            self.put(&subject, "members", members.join(","));
        }
    }

    /// What systemd makes of the links below `/etc/systemd`: enabled, masked, static.
    fn unit_files(&mut self, root: &Path) {
        let mut systemctl = Command::new("systemctl");
        systemctl.arg("--root").arg(root);
        systemctl.args(["list-unit-files", "--no-pager", "--no-legend"]);
        let listed = systemctl.output().unwrap();
        for line in String::from_utf8_lossy(&listed.stdout).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [name, state, ..] = words[..] {
                self.put(&format!("unit {name}"), "state", state);
            }
        }
    }
}

/// Takes process id and date out of a backup's name: `conf.202.2026-11-26@09:24:14~`.
pub(crate) fn without_date(name: &str) -> String {
    let parts: Vec<&str> = name.rsplitn(3, '.').collect();
    match parts[..] {
        [date, pid, file]
            if date.ends_with('~') && date.contains('@') && pid.parse::<u32>().is_ok() =>
        {
            format!("{file}.PID.DATE~")
        }
        _ => name.to_owned(),
    }
}

/// Users and groups of a root by their numbers.
struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    fn read(root: &Path) -> Self {
        let by_number = |file: &str| {
            let lines = colon_lines(root, file).into_iter();
            let numbered = lines.filter_map(|fields| {
                let number = fields.get(2)?.parse().ok()?;
                Some((number, fields[0].clone()))
            });
            // Of two names for a number the first is meant, as in getpwuid.
            let mut names = BTreeMap::new();
            numbered.for_each(|(number, name)| {
                names.entry(number).or_insert(name);
            });
            names
        };
        Self {
            users: by_number("etc/passwd"),
            groups: by_number("etc/group"),
        }
    }

    fn user(&self, number: u32) -> String {
        named(&self.users, number)
    }

    fn group(&self, number: u32) -> String {
        named(&self.groups, number)
    }
}

fn named(names: &BTreeMap<u32, String>, number: u32) -> String {
    let number_text = number.to_string();
    names.get(&number).cloned().unwrap_or(number_text)
}

fn kind(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_symlink() => "link",
        () if kind.is_dir() => "directory",
        () if kind.is_file() => "file",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if kind.is_block_device() => "block device",
        () => "character device",
    }
}

/// Extended attributes, ACLs among them, which the kernel keeps as `system.posix_acl_*`.
fn xattrs(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0; 4096];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return Vec::new();
    };
    let names = String::from_utf8_lossy(&names[..length]).into_owned();
    // The overlay's own are how it is made, not what it shows.
    let names = names
        .split_terminator('\0')
        .filter(|name| !name.starts_with("trusted.overlay."));
    let values = names.map(|name| {
        let mut value = vec![0; 65_536];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap_or(0);
        (format!("xattr {name}"), hex(&value[..length]))
    });
    values.collect()
}

/// Paragraphs of `Field: value` lines; of longer fields only the first line.
fn stanzas(root: &Path, file: &str) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let paragraphs = text
        .split("\n\n")
        .filter(|paragraph| !paragraph.trim().is_empty());
    let fields = |paragraph: &str| {
        let lines = paragraph.lines().filter(|line| !line.starts_with(' '));
        let pairs = lines.filter_map(|line| line.split_once(':'));
        pairs
            .map(|(field, value)| (field.to_owned(), value.trim().to_owned()))
            .collect()
    };
    paragraphs.map(fields).collect()
}

fn package(stanza: &BTreeMap<String, String>) -> String {
    let name = stanza.get("Package").map_or("", String::as_str);
    // `all` is written as the machine's own architecture in extended_states.
    format!("package {name}")
}

fn colon_lines(root: &Path, file: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

/// `$6$rounds=5000$salt$hash` without what chance made: `$6$rounds=5000$…`.
fn without_salt(field: &str) -> String {
    let locked = if field.starts_with('!') { "!" } else { "" };
    let hash = field.trim_start_matches('!');
    if !hash.starts_with('$') {
        return field.to_owned();
    }
    let parts: Vec<&str> = hash.split('$').collect();
    let parameters = parts.len().saturating_sub(2).max(2);
    format!("{locked}{}$…", parts[..parameters].join("$"))
}

/// Today as `/etc/shadow` has it: in days.
fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    (since.as_secs() / 86_400).to_string()
}

/// Returns a hash of the packages of a root, with their versions and architectures.
pub(crate) fn packages(root: &Path) -> String {
    let line = |stanza: BTreeMap<String, String>| {
        let field = |name: &str| stanza.get(name).cloned().unwrap_or_default();
        [field("Package"), field("Version"), field("Architecture")].join(" ")
    };
    let stanzas = stanzas(root, "var/lib/dpkg/status").into_iter();
    let mut lines: Vec<String> = stanzas.map(line).collect();
    lines.sort();
    sha256(lines.join("\n").as_bytes())
}

pub(crate) fn sha256(content: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, content).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
