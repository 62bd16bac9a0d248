//! The walk over everything a playbook reaches, which collects every complaint on its way.

use std::path::{Path, PathBuf};

use super::judge::{Position, is_false};
use super::keywords::Place;
use super::known::{self, Name};
use super::reach::Reachability;
use super::role::From;
use super::{Block, Keywords, Options, Play, Playbook, Step, Task};
use crate::argspec::LINKS_ARE_FOLLOWED;
use crate::diagnostic::{Diagnostic, Diagnostics, Span};
use crate::files::Files;
pub(super) use crate::files::normal;
use crate::template::{Nowhere, Templar};
use crate::value::{Dict, Value};
use crate::yaml::{self, Kind, Node, truth};
use serde_json::{Map, Value as Json};

/// Files included in one another deeper than this are taken for a circle.
const DEPTH_LIMIT: usize = 60;

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follow {
    /// Into every file and role that is named, all of it checked.
    Everything,
    /// Into imported playbooks only.
    Nothing,
}

pub(super) struct Walk<'a> {
    pub(super) follow: Follow,
    pub(super) files: &'a dyn Files,
    pub(super) options: &'a Options,
    pub(super) out: Playbook,
    pub(super) errors: Vec<Diagnostic>,
    /// Folders of the playbooks being read, innermost last.
    pub(super) bases: Vec<PathBuf>,
    /// Names and folders of the roles being read, innermost last.
    pub(super) role: Vec<(String, PathBuf)>,
    /// Task files and playbooks being read, innermost last.
    pub(super) within: Vec<PathBuf>,
    pub(super) position: Position,
    /// Plays read so far.
    pub(super) plays: usize,
    /// Whether what is being read runs on this machine.
    pub(super) local: bool,
    /// What a module is by its name, as far as this walk can know.
    pub(super) name: fn(&str) -> Name,
    /// What the plays, blocks and tasks being read ask for that is not here, outermost first.
    pub(super) refused: Vec<Diagnostic>,
    /// Files that tasks certainly read and that are not there.
    pub(super) absent: Vec<Diagnostic>,
    /// Whether they may be there, or not be read, when the tasks run.
    pub(super) may_come: bool,
    /// Whether a task of the play being read may have ended it.
    pub(super) ended: bool,
    /// The same of the role.
    pub(super) role_ended: bool,
}

/// Returns the name of an imported playbook. Its own variables and those of the command line are all that it may
/// be made of.
fn imported(
    keywords: &Keywords,
    name: &Node,
    extra: &Map<String, Json>,
) -> Result<String, Diagnostic> {
    let unexpected = || name.unexpected("import_playbook", "the path of a playbook");
    if !name.is_template() {
        return name.as_str().map(str::to_owned).ok_or_else(unexpected);
    }
    let known = known_vars(keywords, extra);
    match Templar::new(&known, &Nowhere).render(&Value::from_node(name)) {
        Ok(Value::Str(text)) => Ok(text.to_string()),
        Ok(_) => Err(unexpected()),
        Err(error) => {
            let wrong = format!(
                "the name of this playbook cannot be known before the run: {}",
                error.message
            );
            let hint = "it may be made of its own `vars` and of extra variables";
            Err(Diagnostic::new(&name.span, wrong).hint(hint))
        }
    }
}

/// Returns the variables that a play, or an import, has of itself, below those of the command line.
pub(super) fn known_vars(keywords: &Keywords, extra: &Map<String, Json>) -> Dict {
    let known = Dict::new();
    let own = keywords.iter().find(|(name, _)| name == "vars");
    if let Some(own) = own.map(|(_, node)| Value::from_node(node)) {
        for (name, value) in own.as_dict().map(Dict::entries).unwrap_or_default() {
            known.insert(name, value);
        }
    }
    for (name, value) in extra {
        known.set(name, Value::from_authored_json(value));
    }
    known
}

/// Whether a task ends its play or role, for its host or for all.
pub(super) fn ends(task: &Task) -> bool {
    let ends = |what: &Node| {
        what.as_str()
            .is_none_or(|what| what.starts_with("end_") || what.contains("{{"))
    };
    known::bare(&task.action) == "meta" && task.args.named.iter().any(|(_, what)| ends(what))
}

pub(super) fn empty_play(span: &Span) -> Play {
    Play {
        name: "all".to_owned(),
        span: span.clone(),
        keywords: Vec::new(),
        pre_tasks: Vec::new(),
        roles: Vec::new(),
        tasks: Vec::new(),
        post_tasks: Vec::new(),
        handlers: Vec::new(),
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(files: &'a dyn Files, options: &'a Options, base: &Path) -> Self {
        let mut out = Playbook::default();
        out.folders.insert(base.to_path_buf());
        Self {
            follow: Follow::Everything,
            files,
            options,
            out,
            errors: Vec::new(),
            bases: vec![base.to_path_buf()],
            role: Vec::new(),
            within: Vec::new(),
            position: Position::start(),
            plays: 0,
            local: options.local,
            name: known::anywhere,
            refused: Vec::new(),
            absent: Vec::new(),
            ended: false,
            role_ended: false,
            may_come: false,
        }
    }

    pub(super) fn finish(mut self, plays: Vec<Play>) -> Result<Playbook, Diagnostics> {
        self.tell_absent();
        let wrong = Diagnostic::merged(self.errors);
        if !wrong.is_empty() && !self.options.survey {
            return Err(Diagnostics(wrong));
        }
        self.out.wrong = wrong;
        self.out.warnings = Diagnostic::merged(self.out.warnings);
        self.out.plays = plays;
        Ok(self.out)
    }

    /// Returns whether `path` may be entered, complaining at `span` of circles.
    fn enter(&mut self, path: &Path, span: &Span) -> bool {
        if self.within.len() >= DEPTH_LIMIT {
            self.error(Diagnostic::new(
                span,
                format!("files are included more than {DEPTH_LIMIT} deep"),
            ));
            return false;
        }
        self.within.push(path.to_path_buf());
        true
    }

    /// `import` is where another playbook names this one.
    pub(super) fn playbook(&mut self, path: &Path, import: Option<&Span>) -> Vec<Play> {
        let span = import.cloned().unwrap_or_else(|| Span::whole(path));
        if self.within.iter().any(|p| p == path) {
            self.error(Diagnostic::new(&span, "this playbook imports itself"));
            return Vec::new();
        }
        if !self.enter(path, &span) {
            return Vec::new();
        }
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        self.out.folders.insert(base.clone());
        self.bases.push(base);
        let mut plays = Vec::new();
        if let Some(root) = load(self, path) {
            match &root.kind {
                Kind::Seq(items) if items.is_empty() => self.error(Diagnostic::new(
                    &root.span,
                    "a playbook must have at least one play",
                )),
                Kind::Seq(items) => items.iter().for_each(|item| plays.extend(self.entry(item))),
                Kind::Null => self.error(Diagnostic::new(
                    &root.span,
                    "a playbook must have at least one play",
                )),
                _ => self.error(root.unexpected("a playbook", "a list of plays")),
            }
        }
        self.bases.pop();
        self.within.pop();
        plays
    }

    fn entry(&mut self, node: &Node) -> Vec<Play> {
        let Some(pairs) = node.as_map() else {
            self.error(node.unexpected("a play", "a mapping"));
            return Vec::new();
        };
        let import = pairs.iter().find(|(key, _)| {
            key.as_str()
                .is_some_and(|k| known::bare(k) == "import_playbook")
        });
        match import {
            Some((key, name)) => self.import_playbook(node, key, name),
            None => vec![self.inside(node, |walk| walk.play(node))],
        }
    }

    fn import_playbook(&mut self, node: &Node, key: &Node, name: &Node) -> Vec<Play> {
        let mut node = node.clone();
        if let Kind::Map(pairs) = &mut node.kind {
            pairs.retain(|(k, _)| k != key);
        }
        let keywords = self.keywords(&node, Place::ImportPlaybook, &[]);
        let text = match imported(&keywords, name, &self.options.extra_vars) {
            Ok(text) => text,
            Err(wrong) => {
                self.error(wrong);
                return Vec::new();
            }
        };
        let path = normal(&self.base().join(text.trim()));
        if !self.files.is_file(&path) {
            self.error(missing(name, &path));
            return Vec::new();
        }
        let mut plays = self.inside(&node, |walk| walk.playbook(&path, Some(&name.span)));
        for play in &mut plays {
            hand_down(&keywords, &mut play.keywords);
        }
        plays
    }

    pub(super) fn base(&self) -> PathBuf {
        self.bases.last().cloned().unwrap_or_default()
    }

    fn play(&mut self, node: &Node) -> Play {
        let lists = ["pre_tasks", "tasks", "post_tasks", "handlers", "roles"];
        self.local = self.options.local || self.options.local_plays.contains(&self.plays);
        self.plays += 1;
        let outside = self.refused.len();
        let keywords = self.keywords(node, Place::Play, &lists);
        self.check_play(node);
        self.ended = false;
        let mut part = |name: &str| match node.get(name) {
            Some(list) => {
                let steps = self.steps(list, name, name == "handlers");
                (steps, self.ended)
            }
            None => (Vec::new(), self.ended),
        };
        let (pre_tasks, before_roles) = part("pre_tasks");
        let (tasks, _) = part("tasks");
        let (post_tasks, _) = part("post_tasks");
        let (handlers, _) = part("handlers");
        self.ended = before_roles;
        let roles = node
            .get("roles")
            .map(|list| self.roles(list))
            .unwrap_or_default();
        self.refused.truncate(outside);
        let hosts = node.get("hosts").map(hosts_text).unwrap_or_default();
        Play {
            name: node
                .get("name")
                .and_then(Node::scalar_text)
                .unwrap_or(hosts),
            span: node.span.clone(),
            keywords,
            pre_tasks,
            roles,
            tasks,
            post_tasks,
            handlers,
        }
    }

    fn check_play(&mut self, node: &Node) {
        match node.get("hosts") {
            None => self.error(Diagnostic::new(&node.span, "this play has no `hosts`")),
            Some(hosts)
                if matches!(hosts.kind, Kind::Null | Kind::Map(_))
                    || hosts.as_seq().is_some_and(<[Node]>::is_empty)
                    || hosts.as_str() == Some("") =>
            {
                self.error(hosts.unexpected("`hosts`", "a pattern of hosts"));
            }
            Some(_) => {}
        }
        if let (Some(user), Some(_)) = (node.get("user"), node.get("remote_user")) {
            let wrong = "both `user` and `remote_user` are set for this play";
            let hint = "the first is the old name of the second";
            self.error(Diagnostic::new(&user.span, wrong).hint(hint));
        }
        if let Some(files) = node.get("vars_files") {
            self.vars_files(files);
        }
        self.check_play_spec(node);
        self.check_prompts(node);
    }

    fn vars_files(&mut self, files: &Node) {
        let items: Vec<&Node> = match &files.kind {
            Kind::Seq(items) => items
                .iter()
                .flat_map(|i| i.as_seq().map_or(vec![i], |s| s.iter().collect()))
                .collect(),
            _ => vec![files],
        };
        for item in items {
            match item.as_str() {
                Some(_) if item.is_template() => {}
                Some(name) => {
                    let base = self.base();
                    let found = [base.join("vars").join(name), base.join(name)]
                        .into_iter()
                        .map(|path| normal(&path))
                        .find(|path| self.files.is_file(path));
                    // One of several may be missing, so the run decides.
                    if let Some(path) = found {
                        self.variables(&path);
                    }
                }
                None if item.is_null() => {}
                None => self.error(item.unexpected("`vars_files`", "a list of paths")),
            }
        }
    }

    /// Checks a file of variables; encrypted ones are left to who has the password.
    pub(super) fn variables(&mut self, path: &Path) {
        if self.follow == Follow::Nothing {
            return;
        }
        if self
            .files
            .read(path)
            .is_ok_and(|bytes| bytes.starts_with(b"$ANSIBLE_VAULT;"))
        {
            self.out.files.insert(path.to_path_buf());
            return;
        }
        let Some(root) = load(self, path) else {
            return;
        };
        match root.kind {
            Kind::Map(_) => self.check_variables(&root),
            Kind::Null => {}
            _ => self.error(root.unexpected("a file of variables", "a mapping")),
        }
    }

    /// Reads the keywords of `node`, complaining of those not valid in `place`.
    pub(super) fn keywords(&mut self, node: &Node, place: Place, leave: &[&str]) -> Keywords {
        let mut keywords = Vec::new();
        for (key, value) in node.as_map().unwrap_or_default() {
            let Some(name) = key.as_str() else {
                self.error(key.unexpected("a keyword", "text"));
                continue;
            };
            if !place.knows(name) {
                let wrong = Diagnostic::new(
                    &key.span,
                    format!("`{name}` is not a keyword of {}", place.named()),
                );
                self.error(wrong.nearest(name, place.keywords()));
            } else if !leave.contains(&name) {
                keywords.push((name.to_owned(), value.clone()));
            }
        }
        self.check_keywords(&keywords, place);
        keywords
    }

    /// Reads a list of tasks and blocks. Nobody can tell beforehand whether handlers will be notified.
    pub(super) fn steps(&mut self, list: &Node, what: &str, handlers: bool) -> Vec<Step> {
        let reach = match handlers {
            true => Reachability::Undecided,
            false => Reachability::Yes,
        };
        self.no_surer_than(reach, |walk| walk.listed(list, what, handlers))
    }

    fn listed(&mut self, list: &Node, what: &str, handlers: bool) -> Vec<Step> {
        match &list.kind {
            Kind::Null => Vec::new(),
            Kind::Seq(items) => items
                .iter()
                .filter_map(|item| self.step(item, handlers))
                .collect(),
            _ => {
                self.error(list.unexpected(&format!("`{what}`"), "a list of tasks"));
                Vec::new()
            }
        }
    }

    fn step(&mut self, node: &Node, handlers: bool) -> Option<Step> {
        // As in Ansible: what is left of a task that was commented out.
        if node.is_null() {
            return None;
        }
        if node.as_map().is_none() {
            self.error(node.unexpected("a task", "a mapping"));
            return None;
        }
        let outside = self.refused.len();
        let block = ["block", "rescue", "always"]
            .iter()
            .any(|k| node.get(k).is_some());
        let step = self.inside(node, |walk| match block {
            true => Some(Step::Block(walk.block(node, handlers))),
            false => walk
                .task(node, handlers)
                .map(|task| Step::Task(Box::new(task))),
        });
        self.refused.truncate(outside);
        step
    }

    fn block(&mut self, node: &Node, handlers: bool) -> Block {
        if handlers && self.follow == Follow::Everything {
            self.error(super::task::no_handler("block", &node.span));
        }
        let keywords = self.keywords(node, Place::Block, &["block", "rescue", "always"]);
        if node.get("block").is_none() {
            self.error(Diagnostic::new(
                &node.span,
                "`rescue` and `always` need a `block`",
            ));
        }
        let caught = node.get("rescue").is_some_and(|list| !is_false(list));
        let mut part = |name: &str| {
            // What fails is rescued, and what rescues runs only if something fails.
            let reach = match name {
                "block" if caught => Reachability::Undecided,
                "rescue" => Reachability::Undecided,
                _ => Reachability::Yes,
            };
            let read = |walk: &mut Self| match node.get(name) {
                Some(list) => walk.steps(list, name, handlers),
                None => Vec::new(),
            };
            self.no_surer_than(reach, read)
        };
        Block {
            span: node.span.clone(),
            keywords,
            block: part("block"),
            rescue: part("rescue"),
            always: part("always"),
        }
    }

    fn task(&mut self, node: &Node, handlers: bool) -> Option<Task> {
        let place = if handlers {
            Place::Handler
        } else {
            Place::Task
        };
        self.judge_tags(node);
        let mut task = self.bare_task(node, place)?;
        if self.follow == Follow::Nothing {
            return Some(task);
        }
        self.check_sources(&task);
        if self.position.reach != Reachability::No && ends(&task) {
            match task
                .args
                .named
                .iter()
                .any(|(_, what)| what.as_str() == Some("end_role"))
            {
                true => self.role_ended = true,
                false => self.ended = true,
            }
        }
        match known::bare(&task.action) {
            "import_tasks" => task.imported = self.task_file(&task, true, handlers),
            // What is included is checked as well, but stays where it is: tags do not reach it.
            "include_tasks" => {
                self.included(&task, |walk| drop(walk.task_file(&task, false, handlers)));
            }
            "import_role" => task.imported = self.role_task(&task, true),
            "include_role" => self.included(&task, |walk| drop(walk.role_task(&task, false))),
            _ => self.check_local_follow(&task),
        }
        Some(task)
    }

    fn task_file(&mut self, task: &Task, import: bool, handlers: bool) -> Vec<Step> {
        let given = task
            .args
            .get("file")
            .or_else(|| task.args.get("_raw_params"));
        let Some(name) = given else {
            self.error(Diagnostic::new(
                &task.action_span,
                format!("{} needs the name of a file", task.action),
            ));
            return Vec::new();
        };
        if name.is_template() || name.as_str().is_none() {
            return Vec::new();
        }
        let text = name.as_str().unwrap_or_default().trim();
        let candidates = self.task_file_candidates(text, handlers);
        let Some(path) = candidates
            .iter()
            .find(|path| self.files.is_file(path))
            .cloned()
        else {
            let wrong = missing(
                name,
                candidates.first().map_or(Path::new(text), PathBuf::as_path),
            );
            match import && self.position.reach != Reachability::No {
                true => self.error(wrong),
                false => self.warn(wrong),
            }
            return Vec::new();
        };
        // A file may include itself under a condition; once is enough to check it.
        if self.within.contains(&path) {
            if import {
                self.error(Diagnostic::new(&name.span, "this file imports itself"));
            }
            return Vec::new();
        }
        self.read_task_file(&path, &name.span, handlers)
    }

    fn task_file_candidates(&self, name: &str, handlers: bool) -> Vec<PathBuf> {
        let folder = if handlers { "handlers" } else { "tasks" };
        let mut folders = Vec::new();
        if let Some(here) = self.within.last().and_then(|p| p.parent()) {
            folders.push(here.to_path_buf());
        }
        if let Some((_, role)) = self.role.last() {
            folders.push(role.join(folder));
            folders.push(role.clone());
        }
        folders.push(self.base().join(folder));
        folders.push(self.base());
        folders
            .iter()
            .map(|folder| normal(&folder.join(name)))
            .collect()
    }

    pub(super) fn read_task_file(&mut self, path: &Path, span: &Span, handlers: bool) -> Vec<Step> {
        if !self.enter(path, span) {
            return Vec::new();
        }
        let steps = match load(self, path) {
            Some(root) => self.steps(&root, "a file of tasks", handlers),
            None => Vec::new(),
        };
        self.within.pop();
        steps
    }

    fn role_task(&mut self, task: &Task, import: bool) -> Vec<Step> {
        let given = task.args.get("name").or_else(|| task.args.get("role"));
        let Some(name) = given else {
            self.error(Diagnostic::new(
                &task.action_span,
                format!("{} needs the `name` of a role", task.action),
            ));
            return Vec::new();
        };
        if name.is_template() || name.as_str().is_none() {
            return Vec::new();
        }
        let text = name.as_str().unwrap_or_default();
        let from = From::of(&task.args);
        let Some(path) = self.find_role(text) else {
            let wrong = self.role_missing(text, &name.span);
            match self.position.reach {
                Reachability::No => {}
                Reachability::Undecided if !import => self.warn(wrong),
                Reachability::Yes if !import => self.fails(wrong),
                Reachability::Undecided | Reachability::Yes => self.error(wrong),
            }
            return Vec::new();
        };
        self.role_at(&path, text, &name.span, &from)
            .map(|role| role.tasks)
            .unwrap_or_default()
    }

    /// Finds what a task names beside its role, its file and the playbook, in their folders of this kind first.
    pub(super) fn searched(
        &self,
        kind: &str,
        name: &str,
        fits: impl Fn(&Path) -> bool,
    ) -> Option<PathBuf> {
        let role = self.role.last().map(|(_, folder)| folder.clone());
        let here = self.within.last().and_then(|file| file.parent());
        let folders = role.into_iter().chain(here.map(Path::to_path_buf));
        folders
            .chain([self.base()])
            .flat_map(|folder| [folder.join(kind).join(name), folder.join(name)])
            .map(|path| normal(&path))
            .find(|path| fits(path))
    }

    /// Returns the folders in which collections lie: beside the playbook, then those that are given.
    pub(super) fn collection_roots(&self) -> impl Iterator<Item = PathBuf> {
        let beside = self.base().join("collections");
        std::iter::once(beside).chain(self.options.collections_path.iter().cloned())
    }

    /// Refuses to keep the links of a folder, which are followed when it travels.
    fn check_local_follow(&mut self, task: &Task) {
        let (Some(keeps), Some(src)) = (task.args.get("local_follow"), task.args.get("src")) else {
            return;
        };
        let text = src
            .as_str()
            .filter(|text| !text.is_empty() && !src.is_template());
        let sends = known::bare(&task.action) == "copy" && is_no(keeps) && !self.local;
        let Some(text) = text.filter(|_| sends) else {
            return;
        };
        let found = self.searched("files", text, |path| {
            self.files.is_file(path) || self.files.is_dir(path)
        });
        if found.is_some_and(|path| self.files.is_dir(&path)) {
            let wrong = "`local_follow: false` is not supported for a folder";
            self.refuse(Diagnostic::new(&keeps.span, wrong).hint(LINKS_ARE_FOLLOWED));
        }
    }
}

fn is_no(node: &Node) -> bool {
    node.scalar_text().and_then(|text| truth(&text)) == Some(false)
}

/// Gives an imported play the `vars`, `when` and `tags` of its import; its own variables win.
fn hand_down(import: &Keywords, play: &mut Keywords) {
    for (name, outer) in import {
        if !matches!(name.as_str(), "vars" | "when" | "tags") {
            continue;
        }
        match play.iter_mut().find(|(own, _)| own == name) {
            None => play.push((name.clone(), outer.clone())),
            Some((_, own)) => own.kind = joined(outer, own),
        }
    }
}

/// Returns two mappings in one, the inner one's keys winning, or the items of both.
fn joined(outer: &Node, inner: &Node) -> Kind {
    match (&outer.kind, &inner.kind) {
        (Kind::Map(outer), Kind::Map(inner)) => {
            let own = |key: &Node| inner.iter().any(|(k, _)| k.kind == key.kind);
            let kept = outer.iter().filter(|(key, _)| !own(key));
            Kind::Map(kept.chain(inner).cloned().collect())
        }
        _ => {
            let items = |node: &Node| match &node.kind {
                Kind::Seq(items) => items.clone(),
                Kind::Null => Vec::new(),
                _ => vec![node.clone()],
            };
            Kind::Seq([items(outer), items(inner)].concat())
        }
    }
}

fn hosts_text(hosts: &Node) -> String {
    match &hosts.kind {
        Kind::Seq(items) => {
            let all: Vec<String> = items.iter().filter_map(Node::scalar_text).collect();
            all.join(",")
        }
        _ => hosts.scalar_text().unwrap_or_default(),
    }
}

pub(super) fn missing(name: &Node, path: &Path) -> Diagnostic {
    Diagnostic::new(&name.span, format!("there is no file {}", path.display()))
}

/// Reads a YAML file and tells `walk` of it.
pub(super) fn load(walk: &mut Walk<'_>, path: &Path) -> Option<Node> {
    walk.out.files.insert(path.to_path_buf());
    match yaml::load(walk.files, path) {
        Ok(document) => {
            walk.out.warnings.extend(document.warnings);
            Some(document.root)
        }
        Err(error) => {
            walk.error(error);
            None
        }
    }
}
