//! Which files of the controller a playbook may read, and by which of its words.
//!
//! Every name of a file in the author's texts is read as far as variables and literal loops tell;
//! what stays open becomes a glob of its literal parts. What they lead to travels, and nothing else
//! is ever sent: [`Reads`] is the rule for both sides. The folders that Ansible searches by itself
//! (roles, `files`, `templates`, …) travel whole, so a name of which nothing is known is looked for there.

mod known;
mod name;
mod reading;
mod sites;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::files::{Files, normal};
use crate::glob::{self, Glob};
use crate::syntax::{self, Playbook};
use crate::value::{Value, tagged};
use crate::yaml::{self, Node};
use known::{Known, Values};
use name::{Bases, Name};
use sites::{Sites, Wanted};

/// Folders beside a playbook that its tasks search.
const SEARCHED: &[&str] = &[
    "files",
    "templates",
    "vars",
    "tasks",
    "handlers",
    "group_vars",
    "host_vars",
];
/// Folders of a role that hold YAML which may name files.
const SPEAKING: &[&str] = &[
    "tasks",
    "handlers",
    "vars",
    "defaults",
    "meta",
    "group_vars",
    "host_vars",
];
/// Where tasks look beside themselves.
const KINDS: &[&str] = &["files", "templates", "vars", "tasks"];
/// The most files that are listed; more are looked up when a task wants them.
const MOST_PATHS: usize = 40_000;
/// Longer texts name nothing.
const MOST_TEXT: u64 = 4 << 20;
/// Files that name files that name files: deeper than this is a circle.
const MOST_ROUNDS: usize = 12;

/// What else is known when a playbook's files are gathered.
#[derive(Debug, Default)]
pub struct Given<'a> {
    /// Variables of the command line and of inventories.
    pub vars: Vec<&'a Map<String, Json>>,
    /// Names of the hosts that it is run on.
    pub hosts: Vec<String>,
    /// Tasks that stand in no file of the playbook.
    pub inline: Vec<Node>,
    /// What `~` means on the controller.
    pub home: Option<PathBuf>,
    /// Where relative paths of tests start.
    pub working_folder: PathBuf,
    pub options: syntax::Options,
}

/// What may be read: the rule by which files are sent, and the target knows what it can expect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reads {
    /// Folders that are read whole.
    folders: BTreeSet<PathBuf>,
    /// Files whose names stand in the playbook.
    files: BTreeSet<Glob>,
    /// Files and folders with what is in them.
    wholes: BTreeSet<Glob>,
    /// What tests ask about, without its content.
    tests: BTreeSet<Glob>,
    /// Paths whose links are resolved (`realpath`).
    links: BTreeSet<Glob>,
    /// The playbook's own folders, in which it may be told what is there.
    own: BTreeSet<PathBuf>,
    /// Folders that `fetch` fills, a folder for each host in them.
    stores: BTreeSet<Glob>,
    /// Files that `fetch` writes.
    writes: BTreeSet<Glob>,
    /// Whether there was more than is listed.
    partial: bool,
    /// Whether the playbook writes files on the controller.
    grows: bool,
}

impl Reads {
    /// Returns whether the content of `path` may be read.
    #[must_use]
    pub fn permits(&self, path: &Path) -> bool {
        is_plain(path)
            && (path.ancestors().any(|folder| self.folders.contains(folder))
                || self.files.iter().any(|glob| glob.matches(path))
                || self.wholes.iter().any(|glob| glob.covers(path)))
    }

    /// Returns whether it may be known what lies at `path`.
    #[must_use]
    pub fn tells(&self, path: &Path) -> bool {
        self.permits(path) || is_plain(path) && self.tests.iter().any(|glob| glob.matches(path))
    }

    /// Returns whether it may be known where the links of `path` lead. Where `..` leaves a folder, that
    /// tells where the folder lies: it must be one that may be known, too, or the way to the playbook's own.
    #[must_use]
    pub fn resolves(&self, path: &Path) -> bool {
        let named = |path: &Path| self.links.iter().any(|glob| glob.matches(path));
        let known = |path: &Path| {
            named(path) || self.tells(path) || self.own.iter().any(|own| own.starts_with(path))
        };
        let mut at = PathBuf::new();
        for part in path.components() {
            if part == Component::ParentDir && !known(&normal(&at)) {
                return false;
            }
            at.push(part);
        }
        path.is_absolute() && named(&normal(path))
    }

    /// Returns whether `path` lies in the playbook's own folders, with no dotfile on the way.
    #[must_use]
    pub fn is_own(&self, path: &Path) -> bool {
        let inside = |folder: &PathBuf| {
            let below = path.strip_prefix(folder).ok()?;
            let hidden =
                |part: Component<'_>| part.as_os_str().as_encoded_bytes().starts_with(b".");
            Some(!below.components().any(hidden))
        };
        is_plain(path) && self.own.iter().filter_map(inside).any(|plain| plain)
    }

    /// Returns whether `fetch` may fill `folder` on the controller.
    #[must_use]
    pub fn permits_storing(&self, folder: &Path) -> bool {
        self.stores.iter().any(|glob| glob.matches(&normal(folder)))
    }

    /// Returns whether `fetch` may write `file` on the controller.
    #[must_use]
    pub fn permits_writing(&self, file: &Path) -> bool {
        self.writes.iter().any(|glob| glob.matches(&normal(file)))
    }

    /// Returns whether what is not there may be there after all: too many files to list, or files
    /// that the run itself makes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.partial || self.grows
    }
}

fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir)
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Every file, sorted; folders with nothing in them, and links that cannot be followed.
    pub paths: Vec<PathBuf>,
    /// What is there, and is only tested for.
    pub tested: Vec<PathBuf>,
    pub reads: Reads,
    /// What tasks check out of git, as far as that is written.
    pub checkouts: BTreeSet<Checkout>,
    /// Modules that nobody knows.
    pub unknown_modules: BTreeSet<String>,
    /// What the user should know: a cap that was met.
    pub notes: Vec<String>,
}

/// A repository and what of it is checked out; `None` is for the run to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Checkout {
    pub repository: Option<String>,
    /// Branch, tag, commit or `HEAD`.
    pub version: Option<String>,
}

/// Returns the files that belong to `playbook`.
#[must_use]
pub fn needed(files: &dyn Files, playbook: &Playbook, given: &Given<'_>) -> Found {
    let mut gathering = Gathering::new(files, playbook, given);
    for _ in 0..MOST_ROUNDS {
        if !gathering.round() {
            break;
        }
    }
    gathering.finish()
}

struct Gathering<'a> {
    files: &'a dyn Files,
    playbook: &'a Playbook,
    given: &'a Given<'a>,
    reads: Reads,
    found: BTreeSet<PathBuf>,
    tested: BTreeSet<PathBuf>,
    documents: BTreeMap<PathBuf, Option<Node>>,
    templates: BTreeMap<PathBuf, Option<String>>,
    roles: BTreeSet<PathBuf>,
    /// What was followed and read for more names, and whether whole.
    heard: BTreeSet<(Glob, bool)>,
    notes: Vec<String>,
}

impl<'a> Gathering<'a> {
    fn new(files: &'a dyn Files, playbook: &'a Playbook, given: &'a Given<'a>) -> Self {
        let mut all = Self {
            files,
            playbook,
            given,
            reads: Reads {
                own: playbook.folders.clone(),
                ..Reads::default()
            },
            found: playbook.files.clone(),
            tested: BTreeSet::new(),
            documents: BTreeMap::new(),
            templates: BTreeMap::new(),
            roles: BTreeSet::new(),
            heard: BTreeSet::new(),
            notes: Vec::new(),
        };
        for path in &playbook.files {
            all.reads.files.insert(literal(path));
            all.read(path, false);
        }
        for role in &playbook.roles {
            all.add_role(role);
        }
        for folder in &playbook.folders {
            SEARCHED
                .iter()
                .for_each(|name| all.add_folder(&folder.join(name)));
        }
        all
    }

    fn add_role(&mut self, role: &Path) {
        if self.roles.insert(role.to_path_buf()) {
            self.add_folder(role);
        }
    }

    fn add_folder(&mut self, folder: &Path) {
        if !self.is_covered(folder) {
            self.reads.folders.insert(folder.to_path_buf());
            self.take(folder, true, &|files, found| {
                glob::tree(files, folder, found);
            });
        }
    }

    fn is_covered(&self, path: &Path) -> bool {
        path.ancestors()
            .any(|folder| self.reads.folders.contains(folder))
    }

    /// Adds what a search finds, and reads it where it may name other files, if it is to be `heard`.
    fn take(
        &mut self,
        at: &Path,
        heard: bool,
        search: &dyn Fn(&dyn Files, &mut dyn FnMut(PathBuf) -> bool),
    ) -> Vec<PathBuf> {
        let mut all = Vec::new();
        let mut left = MOST_PATHS.saturating_sub(self.found.len());
        search(self.files, &mut |path| {
            if !self.found.contains(&path) {
                left = left.saturating_sub(1);
            }
            all.push(path);
            left > 0
        });
        if left == 0 && !self.reads.partial {
            self.reads.partial = true;
            let at = at.display();
            self.notes.push(format!(
                "the playbook can name more than {MOST_PATHS} files: those of {at} and what follows are sent when a task wants them"
            ));
        }
        for path in &all {
            if heard && self.speaks(path) {
                self.read(path, false);
            }
        }
        self.found.extend(all.iter().cloned());
        all
    }

    /// Returns whether the file may name others: YAML where it is read as such, templates.
    fn speaks(&self, path: &Path) -> bool {
        let role = path
            .ancestors()
            .find(|folder| self.reads.folders.contains(*folder));
        let Some(below) = role.and_then(|role| path.strip_prefix(role).ok()) else {
            return is_yaml(path) || is_template(path);
        };
        let first = below
            .components()
            .next()
            .map(|part| part.as_os_str().to_string_lossy().into_owned());
        let whole = role
            .and_then(Path::file_name)
            .map(|name| name.to_string_lossy().into_owned());
        let named = |names: &[&str]| {
            let fits =
                |name: &Option<String>| name.as_deref().is_some_and(|name| names.contains(&name));
            fits(&first) || fits(&whole)
        };
        is_yaml(path) && named(SPEAKING) || named(&["templates"]) || is_template(path)
    }

    fn read(&mut self, path: &Path, template: bool) {
        let short = self.files.size(path).is_ok_and(|size| size <= MOST_TEXT);
        if is_yaml(path) && !template {
            if !self.documents.contains_key(path) {
                let read = short.then(|| yaml::load(self.files, path).ok()).flatten();
                self.documents
                    .insert(path.to_path_buf(), read.map(|document| document.root));
            }
        } else if !self.templates.contains_key(path) {
            let read = short.then(|| self.files.read(path).ok()).flatten();
            let text = read.and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.filter(|text| text.contains("{{") || text.contains("{%"));
            self.templates.insert(path.to_path_buf(), text);
        }
    }

    /// Follows every name that stands in what was read; returns whether there is more to read.
    fn round(&mut self) -> bool {
        let before = (self.documents.len(), self.templates.len(), self.roles.len());
        let sites = self.sites();
        let bases = self.bases();
        for (name, wanted) in sites {
            match wanted {
                Wanted::Role => self.follow_role(&name),
                Wanted::Presence => self.follow_test(&name, &bases),
                Wanted::Links => self.follow_links(&name, &bases),
                Wanted::Stored => self.reads.stores.extend(bases.globs(&name)),
                Wanted::Written => self.reads.writes.extend(bases.globs(&name)),
                wanted => self.follow(&name, wanted, &bases),
            }
        }
        before != (self.documents.len(), self.templates.len(), self.roles.len())
    }

    fn sites(&self) -> BTreeSet<sites::Site> {
        let known = self.known();
        let mut sites = Sites::new(&known);
        let nodes = self.documents.values().flatten().chain(&self.given.inline);
        nodes.for_each(|node| sites.add_node(node));
        let texts = self.templates.values().flatten();
        texts.for_each(|text| sites.add_template(text));
        for vars in &self.given.vars {
            for value in vars.values() {
                texts_of(value, &mut |text| sites.add_template(text));
            }
        }
        sites.found.into_iter().collect()
    }

    /// Collects every value that a variable may have.
    fn known(&self) -> Known<'a> {
        let mut known = Known::of_facts(self.files, &self.given.options.facts);
        let nodes = || self.documents.values().flatten().chain(&self.given.inline);
        nodes().for_each(|node| known.add_file(node));
        for vars in &self.given.vars {
            for (name, value) in *vars {
                known.add(name, &Values::one(Value::from_authored_json(value)));
            }
        }
        let folders = |paths: &BTreeSet<PathBuf>| {
            let values = paths.iter().map(|path| Value::str(path.to_string_lossy()));
            Values {
                all: values.collect(),
                ..Values::default()
            }
        };
        for host in &self.given.hosts {
            let short = host.split('.').next().unwrap_or_default();
            known.add("inventory_hostname", &Values::one(Value::str(host)));
            known.add("inventory_hostname_short", &Values::one(Value::str(short)));
        }
        known.add("playbook_dir", &folders(&self.playbook.folders));
        known.add("role_path", &folders(&self.roles));
        let loops: Vec<_> = nodes()
            .flat_map(|node| sites::loops(node, &known))
            .collect();
        for (name, values) in loops {
            known.add(&name, &values);
        }
        known
    }

    /// Collects what tasks check out. What the manifest or the command line gives is what a variable
    /// is: other values would be watched in vain.
    fn checkouts(&self) -> BTreeSet<Checkout> {
        let mut known = self.known();
        let mut given: BTreeMap<&str, Values> = BTreeMap::new();
        for vars in &self.given.vars {
            for (name, value) in *vars {
                let value = Values::one(Value::from_authored_json(value));
                given.entry(name).or_default().add(&value);
            }
        }
        given
            .into_iter()
            .for_each(|(name, values)| known.set(name, values));
        let mut sites = Sites::new(&known);
        let nodes = self.documents.values().flatten().chain(&self.given.inline);
        nodes.for_each(|node| sites.add_node(node));
        sites.checkouts.into_iter().collect()
    }

    fn bases(&self) -> Bases<'a> {
        let mut folders: Vec<PathBuf> = self.playbook.folders.iter().cloned().collect();
        let beside: BTreeSet<&Path> = self
            .documents
            .keys()
            .filter_map(|path| path.parent())
            .collect();
        for folder in beside {
            if !self.playbook.folders.contains(folder) && !self.is_covered(folder) {
                folders.push(folder.to_path_buf());
                folders.extend(KINDS.iter().map(|kind| folder.join(kind)));
            }
        }
        let inner = self.roles.iter().chain(&self.playbook.folders);
        let mut broad: Vec<PathBuf> = self.playbook.folders.iter().cloned().collect();
        broad.extend(self.given.home.clone());
        Bases {
            folders,
            inner: inner
                .flat_map(|role| KINDS.iter().map(|kind| role.join(kind)))
                .collect(),
            broad,
            home: self.given.home.as_deref(),
        }
    }

    fn follow(&mut self, name: &Name, wanted: Wanted, bases: &Bases<'_>) {
        let name = match wanted {
            Wanted::Matches => &name.globbed(),
            _ => name,
        };
        for glob in bases.globs(name) {
            let whole = matches!(wanted, Wanted::Whole | Wanted::Copied)
                && (glob.literal().is_some() || !Bases::is_system(&glob.folder()));
            let at = glob
                .literal()
                .map_or_else(|| glob.folder(), Path::to_path_buf);
            if self.is_covered(&at) {
                continue;
            }
            let rules = if whole {
                &mut self.reads.wholes
            } else {
                &mut self.reads.files
            };
            let new = rules.insert(glob.clone());
            let heard = wanted != Wanted::Copied;
            let goes_on = match heard {
                true => self.heard.insert((glob.clone(), whole)),
                false => new,
            };
            if !goes_on {
                continue;
            }
            let found = self.take(&at, heard, &|files, found| {
                let mut fits = |path: PathBuf| !(whole || glob.matches(&path)) || found(path);
                if whole || glob.literal().is_none() {
                    glob.search(files, &mut fits);
                } else if files.is_file(&at) {
                    fits(at.clone());
                }
            });
            if wanted == Wanted::Template {
                found.iter().for_each(|path| self.read(path, true));
            }
        }
    }

    /// Returns a name that begins at the working folder where it is relative.
    fn in_working_folder(&self, name: &Name) -> Name {
        match name.known() {
            Some(text) if !text.starts_with(['/', '~']) => {
                Name::text(format!("{}/{text}", self.given.working_folder.display()))
            }
            _ => name.clone(),
        }
    }

    fn follow_links(&mut self, name: &Name, bases: &Bases<'_>) {
        for glob in bases.globs(&self.in_working_folder(name)) {
            // Where it leads is told, so a way may begin there.
            if let Some(path) = glob.literal() {
                let real = literal(&self.files.real(path));
                self.reads.links.insert(real);
            }
            self.reads.links.insert(glob);
        }
    }

    fn follow_test(&mut self, name: &Name, bases: &Bases<'_>) {
        let name = self.in_working_folder(name);
        // No file is read by that name, so it has no glob of its own; a test may ask about it.
        if name
            .known()
            .is_some_and(|text| normal(Path::new(&text)) == Path::new("/"))
        {
            self.reads.tests.insert(literal(Path::new("/")));
        }
        for glob in bases.globs(&name) {
            if !self.reads.tests.insert(glob.clone()) {
                continue;
            }
            match glob.literal() {
                Some(path) if self.files.is_file(path) || self.files.is_dir(path) => {
                    self.tested.insert(path.to_path_buf());
                }
                Some(_) => {}
                None => {
                    let mut found = Vec::new();
                    glob.search(self.files, &mut |path| {
                        found.push(path);
                        found.len() < MOST_PATHS
                    });
                    self.tested
                        .extend(found.into_iter().filter(|path| glob.matches(path)));
                }
            }
        }
    }

    /// Adds the roles that a name can stand for: one whose name is open may be any beside the others.
    fn follow_role(&mut self, name: &Name) {
        let mut folders: Vec<PathBuf> = self
            .playbook
            .folders
            .iter()
            .map(|f| f.join("roles"))
            .collect();
        folders.extend(self.given.options.roles_path.iter().cloned());
        folders.extend(
            self.roles
                .iter()
                .filter_map(|role| role.parent())
                .map(Path::to_path_buf),
        );
        let Some(text) = name.known() else {
            folders
                .iter()
                .for_each(|folder| self.follow_roles(folder, name));
            return;
        };
        folders.extend(self.playbook.folders.iter().cloned());
        let mut candidates: Vec<PathBuf> =
            folders.iter().map(|folder| folder.join(&text)).collect();
        if let [namespace, collection, role] = text.split('.').collect::<Vec<_>>()[..] {
            let below = Path::new("ansible_collections")
                .join(namespace)
                .join(collection);
            let below = below.join("roles").join(role);
            let roots = self
                .playbook
                .folders
                .iter()
                .map(|folder| folder.join("collections"));
            let roots = roots.chain(self.given.options.collections_path.iter().cloned());
            candidates.extend(roots.map(|root| root.join(&below)));
        }
        let candidates: Vec<PathBuf> = candidates.iter().map(|path| normal(path)).collect();
        self.reads
            .tests
            .extend(candidates.iter().map(|path| literal(path)));
        let found = candidates.iter().find(|path| is_role(self.files, path));
        found.into_iter().for_each(|role| self.add_role(role));
    }

    /// Adds the roles in a folder that a name can stand for.
    fn follow_roles(&mut self, folder: &Path, name: &Name) {
        let Some(pattern) = Bases::role_glob(folder, name) else {
            return;
        };
        let names = self.files.list(folder).unwrap_or_default();
        let roles: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
        let fits = |path: &&PathBuf| pattern.matches(path) && is_role(self.files, path);
        let roles: Vec<&PathBuf> = roles.iter().filter(fits).collect();
        roles.into_iter().for_each(|role| self.add_role(role));
        self.reads.tests.insert(pattern);
    }

    fn finish(mut self) -> Found {
        let texts = self.documents.values().flatten().chain(&self.given.inline);
        self.reads.grows = texts.into_iter().any(writes_here);
        self.tested.retain(|path| !self.found.contains(path));
        let checkouts = self.checkouts();
        Found {
            checkouts,
            unknown_modules: self.playbook.used.unknown_modules(),
            paths: self.found.into_iter().collect(),
            tested: self.tested.into_iter().collect(),
            reads: self.reads,
            notes: self.notes,
        }
    }
}

/// How a lookup is called in a text.
const CALLS: &[&str] = &["lookup", "query", "q("];

/// Returns whether tasks of a file put files on the controller: `fetch`, and `lookup('password', …)`.
fn writes_here(node: &Node) -> bool {
    match &node.kind {
        yaml::Kind::Str(text) => {
            text.contains("password") && CALLS.iter().any(|call| text.contains(call))
        }
        yaml::Kind::Seq(items) => items.iter().any(writes_here),
        yaml::Kind::Map(pairs) => pairs.iter().any(|(key, value)| {
            let key = key.as_str().map(crate::names::bare);
            matches!(key, Some("fetch" | "with_password")) || writes_here(value)
        }),
        _ => false,
    }
}

/// Returns whether a folder looks like a role: one of the folders that a role has is in it.
fn is_role(files: &dyn Files, path: &Path) -> bool {
    let parts = [
        "tasks",
        "handlers",
        "vars",
        "defaults",
        "meta",
        "files",
        "templates",
        "library",
    ];
    parts.iter().any(|part| files.is_dir(&path.join(part)))
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_none_or(|ending| ending == "yml" || ending == "yaml" || ending == "json")
}

fn is_template(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending == "j2" || ending == "jinja" || ending == "jinja2")
}

fn literal(path: &Path) -> Glob {
    Glob::new([glob::Piece::Text(path.to_string_lossy().into_owned())])
}

fn texts_of(value: &Json, visit: &mut dyn FnMut(&str)) {
    match value {
        data if tagged::is_data(data) => {}
        Json::String(text) => visit(text),
        Json::Array(items) => items.iter().for_each(|item| texts_of(item, visit)),
        Json::Object(map) => map.values().for_each(|item| texts_of(item, visit)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
