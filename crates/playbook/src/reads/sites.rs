//! Where names of files stand: what tasks are given, lookups, tests, what templates include.

use super::Checkout;
use super::known::{Known, Values};
use super::name::{Name, joined};
use super::reading::{Reading, in_the_role, lookup, parsed};
use crate::glob::Piece;
use crate::names::bare;
use crate::syntax::{CONDITIONS, free_form};
use crate::template::ast::{Args, Expr, Stmt};
use crate::template::{Nowhere, Syntax, Templar, cache, each_expression, each_inner};
use crate::value::{Dict, Value, looks_like_template};
use crate::yaml::{Kind, Node, truth};

/// What is wanted of the files that a name leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// Their content; YAML and templates among them may name others.
    Content,
    /// The content of a template, whatever it is called.
    Template,
    /// Of a folder, all that is in it.
    Whole,
    /// The same, of which nothing is read but by the machine it is copied to.
    Copied,
    /// The content of files that fit a shell pattern.
    Matches,
    /// Whether they are there.
    Presence,
    /// Where their links lead.
    Links,
    /// The role of that name.
    Role,
    /// A folder that `fetch` fills, by host.
    Stored,
    /// A file that `fetch` writes.
    Written,
}

/// A name that stands somewhere.
pub(super) type Site = (Name, Wanted);

/// Tests on files of the controller.
const TESTS: &[&str] = &[
    "exists",
    "is_exists",
    "file",
    "is_file",
    "directory",
    "is_dir",
    "link",
    "is_link",
    "link_exists",
    "same_file",
    "is_same_file",
    "mount",
    "is_mount",
];

/// Parameters that name files, by action.
const NAMING: &[(&str, &[&str], Wanted)] = &[
    ("copy", &["src"], Wanted::Copied),
    ("template", &["src"], Wanted::Template),
    ("script", &["_raw_params", "cmd"], Wanted::Content),
    ("unarchive", &["src"], Wanted::Content),
    ("assemble", &["src"], Wanted::Copied),
    ("uri", &["src"], Wanted::Content),
    ("patch", &["src"], Wanted::Content),
    ("include_vars", &["file", "_raw_params"], Wanted::Content),
    ("include_vars", &["dir"], Wanted::Whole),
    ("include_tasks", &["file", "_raw_params"], Wanted::Content),
    ("import_tasks", &["file", "_raw_params"], Wanted::Content),
    ("include_role", &["name", "role"], Wanted::Role),
    ("import_role", &["name", "role"], Wanted::Role),
];

/// Collects the names in one text after the other.
pub(super) struct Sites<'a> {
    known: &'a Known<'a>,
    own: Vec<(String, Values)>,
    pub(super) found: Vec<Site>,
    pub(super) checkouts: Vec<Checkout>,
}

/// Returns the items of every loop in a file, by the name that they have there.
pub(super) fn loops(root: &Node, known: &Known<'_>) -> Vec<(String, Values)> {
    let mut all = Vec::new();
    each_mapping(root, &mut |pairs| all.extend(looped(pairs, known, &[])));
    all
}

fn each_mapping(node: &Node, visit: &mut dyn FnMut(&[(Node, Node)])) {
    match &node.kind {
        Kind::Seq(items) => items.iter().for_each(|item| each_mapping(item, visit)),
        Kind::Map(pairs) => {
            visit(pairs);
            pairs
                .iter()
                .for_each(|(_, value)| each_mapping(value, visit));
        }
        _ => {}
    }
}

fn get<'n>(pairs: &'n [(Node, Node)], name: &str) -> Option<&'n Node> {
    let found = pairs.iter().find(|(key, _)| key.as_str() == Some(name));
    found.map(|(_, value)| value)
}

/// Returns what a task loops over, and under which name.
fn looped(
    pairs: &[(Node, Node)],
    known: &Known<'_>,
    own: &[(String, Values)],
) -> Option<(String, Values)> {
    let reading = Reading::new(known, own);
    let items = pairs.iter().find_map(|(key, over)| {
        let key = key.as_str()?;
        let over = Value::from_node(over);
        match (key, key.strip_prefix("with_").map(bare)) {
            ("loop", _) | (_, Some("items" | "list" | "flattened")) => {
                Some(reading.elements(&over))
            }
            (_, Some(plugin)) => Some(with_lookup(plugin, &over, &reading)),
            _ => None,
        }
    })?;
    let name = get(pairs, "loop_control").and_then(|control| control.get("loop_var")?.as_str());
    Some((name.unwrap_or("item").to_owned(), items))
}

fn with_lookup(plugin: &str, over: &Value, reading: &Reading<'_>) -> Values {
    match plugin {
        "first_found" => Values {
            names: reading.wanted(over),
            ..Values::default()
        },
        "dict" => {
            let of = reading.elements(over);
            let mut all = Values {
                open: of.open,
                ..Values::default()
            };
            let entries = of
                .all
                .iter()
                .filter_map(Value::as_dict)
                .flat_map(Dict::entries);
            for (key, value) in entries {
                let pair = Value::dict([("key", key.value().clone()), ("value", value)]);
                all.add(&Values::one(pair));
            }
            all
        }
        plugin => {
            let terms = match over {
                Value::List(items) => items.items(),
                other => vec![other.clone()],
            };
            let nothing = Dict::new();
            let known = (!over.is_latent())
                .then(|| Templar::new(&nothing, &Nowhere).lookup(plugin, &terms));
            match known {
                Some(Ok(values)) => Values {
                    all: values,
                    ..Values::default()
                },
                _ => Values::open(),
            }
        }
    }
}

impl<'a> Sites<'a> {
    pub(super) fn new(known: &'a Known<'a>) -> Self {
        Self {
            known,
            own: Vec::new(),
            found: Vec::new(),
            checkouts: Vec::new(),
        }
    }

    /// Adds what stands in a YAML file, or a part of it.
    pub(super) fn add_node(&mut self, node: &Node) {
        match &node.kind {
            Kind::Str(text) => self.add_text(text),
            Kind::Seq(items) => items.iter().for_each(|item| self.add_node(item)),
            Kind::Map(pairs) => {
                let outside = self.own.len();
                self.own.extend(looped(pairs, self.known, &self.own));
                self.add_task(pairs);
                for (key, value) in pairs {
                    if is_condition(key.as_str().unwrap_or_default()) {
                        self.add_conditions(value);
                    }
                    self.add_node(value);
                }
                self.own.truncate(outside);
            }
            _ => {}
        }
    }

    /// Adds what a template names.
    pub(super) fn add_template(&mut self, text: &str) {
        let Ok(body) = cache::template(text, &Syntax::default()) else {
            return;
        };
        self.add_includes(&body);
        each_expression(&body, &mut |expr| self.add_expression(expr));
    }

    fn add_includes(&mut self, body: &[Stmt]) {
        for statement in body {
            match statement {
                Stmt::Include { name, .. }
                | Stmt::Import { name, .. }
                | Stmt::FromImport { name, .. }
                | Stmt::Extends(name) => {
                    let names = self.reading().expression_names(name);
                    self.add(names, Wanted::Template);
                }
                Stmt::If(arms, otherwise) => {
                    arms.iter().for_each(|(_, body)| self.add_includes(body));
                    self.add_includes(otherwise);
                }
                Stmt::For(def) => self.add_includes(&def.body),
                Stmt::Block(def) => self.add_includes(&def.body),
                Stmt::With(_, body) => self.add_includes(body),
                Stmt::Macro(def) => self.add_includes(&def.body),
                _ => {}
            }
        }
    }

    fn reading(&self) -> Reading<'_> {
        Reading::new(self.known, &self.own)
    }

    fn add(&mut self, names: Vec<Name>, wanted: Wanted) {
        self.found
            .extend(names.into_iter().map(|name| (name, wanted)));
    }

    fn add_text(&mut self, text: &str) {
        if !looks_like_template(text) {
            return;
        }
        if let Some(body) = parsed(text) {
            each_expression(&body, &mut |expr| self.add_expression(expr));
        }
    }

    fn add_conditions(&mut self, node: &Node) {
        match &node.kind {
            Kind::Seq(items) => items.iter().for_each(|item| self.add_conditions(item)),
            Kind::Str(text) if !looks_like_template(text) => {
                if let Ok(expr) = cache::expression(text, false) {
                    each_inner(&expr, &mut |expr| self.add_expression(expr));
                }
            }
            _ => {}
        }
    }

    fn add_expression(&mut self, expr: &Expr) {
        match expr {
            Expr::Call(called, args) => {
                if let Some((plugin, terms)) = lookup(called, args) {
                    self.add_lookup(plugin, terms, args);
                }
            }
            Expr::Test(test) if TESTS.contains(&bare(&test.name)) => {
                let reading = self.reading();
                let mut names = reading.expression_names(&test.on);
                names.extend(
                    test.args
                        .positional
                        .iter()
                        .flat_map(|e| reading.expression_names(e)),
                );
                self.add(names, Wanted::Presence);
            }
            Expr::Filter(filter) => match (bare(&filter.name), filter.args.positional.first()) {
                ("realpath", _) => {
                    let names = self.reading().expression_names(&filter.on);
                    self.add(names, Wanted::Links);
                }
                ("fileglob", _) => {
                    let names = self.reading().expression_names(&filter.on);
                    self.add(names, Wanted::Matches);
                }
                ("select" | "reject" | "map", Some(Expr::Const(Value::Str(name)))) => {
                    let names = self.reading().expression_names(&filter.on);
                    match bare(name) {
                        "fileglob" => self.add(names, Wanted::Matches),
                        "realpath" => self.add(names, Wanted::Links),
                        name if TESTS.contains(&name) => self.add(names, Wanted::Presence),
                        _ => {}
                    }
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn add_lookup(&mut self, plugin: &str, terms: &[Expr], args: &Args) {
        let reading = self.reading();
        let names = || {
            terms
                .iter()
                .flat_map(|term| reading.expression_names(term))
                .collect()
        };
        let (names, wanted) = match plugin {
            "first_found" => (reading.first_found(terms, &args.named), Wanted::Content),
            "ini" | "csvfile" => {
                let given = args.named.iter().find(|(name, _)| &**name == "file");
                let mut all =
                    given.map_or_else(Vec::new, |(_, expr)| reading.expression_names(expr));
                let words = |name: Name| name.known().and_then(|text| file_word(&text));
                let terms: Vec<Name> = names();
                all.extend(terms.into_iter().filter_map(words));
                all.push(Name::text(if plugin == "ini" {
                    "ansible.ini"
                } else {
                    "ansible.csv"
                }));
                (all, Wanted::Content)
            }
            plugin => match wanted_by(plugin) {
                Some(wanted) => (names(), wanted),
                None => return,
            },
        };
        self.add(names, wanted);
    }

    /// Adds what the action of a task names, and the files of a play.
    fn add_task(&mut self, pairs: &[(Node, Node)]) {
        for (key, value) in pairs {
            let Some(key) = key.as_str() else { continue };
            if let Some(plugin) = key.strip_prefix("with_").map(bare) {
                self.add_loop(plugin, value);
            }
            match (key, &value.kind) {
                ("vars_files", _) => {
                    let names = self.reading().names(&flat(&Value::from_node(value)));
                    self.add(names, Wanted::Content);
                }
                ("roles" | "dependencies", Kind::Seq(items)) => {
                    items.iter().for_each(|item| self.add_role(item));
                }
                ("action" | "local_action", Kind::Str(text)) => {
                    if let Some((action, text)) = text.trim().split_once(char::is_whitespace) {
                        self.add_action(action, &free(action, text), pairs);
                    }
                }
                ("action" | "local_action", Kind::Map(args)) => {
                    if let Some(action) = get(args, "module").and_then(Node::as_str) {
                        self.add_action(action, &named(args), pairs);
                    }
                }
                (action, Kind::Str(text)) => self.add_action(action, &free(action, text), pairs),
                (action, Kind::Map(args)) => self.add_action(action, &named(args), pairs),
                (action, Kind::Null) => self.add_action(action, &Dict::new(), pairs),
                _ => {}
            }
        }
    }

    /// Adds what `git` checks out: each repository that it may be, with each version.
    fn add_checkout(&mut self, args: &Dict) {
        let reading = self.reading();
        let texts = |names: &[&str]| {
            let given = names.iter().find_map(|name| args.get(name))?;
            let names = reading.names(&given);
            Some(names.iter().map(Name::known).collect::<Vec<_>>())
        };
        let repositories = texts(&["repo", "name"]).unwrap_or_default();
        let versions = texts(&["version"]).unwrap_or_else(|| vec![Some("HEAD".to_owned())]);
        let mut all = Vec::new();
        for repository in &repositories {
            all.extend(versions.iter().map(|version| Checkout {
                repository: repository.clone(),
                version: version.clone(),
            }));
        }
        self.checkouts.extend(all);
    }

    /// Adds where `fetch` puts files: into a folder for each host, or, flat, to a name that is written
    /// or the file's own.
    fn add_fetch(&mut self, args: &Dict) {
        let names = |name: &str| {
            let given = args.get(name);
            given.map_or_else(Vec::new, |value| self.reading().names(&value))
        };
        let (src, dest) = (names("src"), names("dest"));
        let flat = match args.get("flat") {
            Some(flat) => truth(&flat.to_string()),
            None => Some(false),
        };
        if flat != Some(true) {
            self.add(dest.clone(), Wanted::Stored);
        }
        if flat != Some(false) {
            let own: Vec<Name> = src.iter().map(Name::base).collect();
            let (folders, files): (Vec<Name>, Vec<Name>) = dest
                .into_iter()
                .partition(|name| name.ends_with_slash() != Some(false));
            let open = folders
                .iter()
                .filter(|name| name.ends_with_slash().is_none());
            let files = files.into_iter().chain(open.cloned()).collect();
            self.add(files, Wanted::Written);
            self.add(joined(&folders, &own), Wanted::Written);
        }
    }

    fn add_role(&mut self, node: &Node) {
        let name = match &node.kind {
            Kind::Map(_) => ["role", "name", "src"].iter().find_map(|key| node.get(key)),
            _ => Some(node),
        };
        if let Some(name) = name {
            let names = self.reading().names(&Value::from_node(name));
            self.add(names, Wanted::Role);
        }
    }

    fn add_loop(&mut self, plugin: &str, over: &Node) {
        let over = Value::from_node(over);
        let names = match plugin {
            "first_found" => self.reading().wanted(&over),
            _ => self.reading().names(&over),
        };
        match (plugin, wanted_by(plugin)) {
            ("first_found", _) => self.add(names, Wanted::Content),
            (_, Some(wanted)) => self.add(names, wanted),
            _ => {}
        }
    }

    fn add_action(&mut self, action: &str, args: &Dict, task: &[(Node, Node)]) {
        let action = bare(action.strip_prefix("ansible.posix.").unwrap_or(action));
        if action == "fetch" {
            self.add_fetch(args);
        }
        if action == "git" {
            self.add_checkout(args);
        }
        if !NAMING.iter().any(|(known, ..)| *known == action) {
            return;
        }
        if let Some(Kind::Map(more)) = get(task, "args").map(|node| &node.kind) {
            for (name, value) in named(more).entries() {
                args.insert(name, value);
            }
        }
        if lies_on_target(action, args) {
            return;
        }
        for (_, names, wanted) in NAMING.iter().filter(|(known, ..)| *known == action) {
            let given = names.iter().find_map(|name| args.get(name));
            let Some(given) = given else { continue };
            let mut names = self.reading().names(&given);
            if action == "script" {
                names = names.iter().map(first_word).collect();
            }
            self.add(names, *wanted);
        }
        if action == "uri"
            && let Some(Value::Dict(body)) = args.get("body")
        {
            let fields = body.values();
            let files = fields.iter().filter_map(|field| field.get("filename"));
            for file in files {
                let names = self.reading().names(&file);
                self.add(names, Wanted::Content);
            }
        }
    }
}

/// Returns whether a keyword or parameter is an expression without `{{ }}`.
fn is_condition(key: &str) -> bool {
    key == "that" || CONDITIONS.contains(&key)
}

/// Returns what a lookup wants of the files that its terms name.
fn wanted_by(plugin: &str) -> Option<Wanted> {
    Some(match plugin {
        "file" | "unvault" => Wanted::Content,
        "template" => Wanted::Template,
        "fileglob" => Wanted::Matches,
        "filetree" | "community.general.filetree" => Wanted::Whole,
        plugin if in_the_role(plugin) => Wanted::Content,
        _ => return None,
    })
}

/// Whether the `src` of a task is surely the target's.
fn lies_on_target(action: &str, args: &Dict) -> bool {
    let said = |name: &str| args.get(name).and_then(|value| truth(&value.to_string()));
    match (said("remote_src"), said("copy"), args.has("remote_src")) {
        (Some(remote), ..) => remote,
        (None, Some(copy), _) if action == "unarchive" => !copy,
        (None, _, given) => action == "assemble" && !given,
    }
}

fn free(action: &str, text: &str) -> Dict {
    let raw = matches!(bare(action), "script");
    let args = Dict::new();
    for (name, text) in free_form::parse_kv(text, raw).unwrap_or_default() {
        args.set(&name, Value::authored(&text, None));
    }
    args
}

fn named(pairs: &[(Node, Node)]) -> Dict {
    let args = Dict::new();
    for (key, value) in pairs {
        if let Some(key) = key.as_str() {
            args.set(key, Value::from_node(value));
        }
    }
    args
}

/// Returns a list with the lists in it opened.
fn flat(value: &Value) -> Value {
    let Value::List(items) = value else {
        return value.clone();
    };
    let each = items.items().into_iter().flat_map(|item| match item {
        Value::List(inner) => inner.items(),
        other => vec![other],
    });
    Value::list(each.collect())
}

/// Returns the first word of a command; quotes keep its spaces in it.
fn first_word(name: &Name) -> Name {
    let (mut pieces, mut quote, mut begun) = (Vec::new(), None, false);
    for piece in &name.0 {
        let Piece::Text(text) = piece else {
            begun = true;
            pieces.push(piece.clone());
            continue;
        };
        let (mut word, mut ended) = (String::new(), false);
        for letter in text.chars() {
            match quote {
                Some(open) if letter == open => quote = None,
                None if matches!(letter, '"' | '\'') => (quote, begun) = (Some(letter), true),
                None if letter.is_whitespace() => ended = begun,
                _ => {
                    word.push(letter);
                    begun = true;
                }
            }
            if ended {
                break;
            }
        }
        pieces.push(Piece::Text(word));
        if ended {
            break;
        }
    }
    Name(pieces)
}

/// Returns the file of `key file=name` as `ini` and `csvfile` took their options once.
fn file_word(text: &str) -> Option<Name> {
    let word = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("file="));
    word.map(Name::text)
}
