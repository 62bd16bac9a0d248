//! Which file of the workspace uses which other, by resolved imports, and what follows from that:
//! circles, and what crosses the walls between the rooms.
//!
//! Names are followed through re-exports to the file that defines them. Test code does not count.
//! What a macro hands on is found among its tokens; methods, which are not imported, are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;
use syn::{Attribute, File, Item, ItemMod, ItemUse, UseTree};

/// A path of names: of a module its own, from its crate on.
type Names = Vec<String>;

/// The imports of a workspace.
#[derive(Debug, Default)]
pub(crate) struct Imports {
    modules: BTreeMap<Names, Module>,
    /// By file: the files it uses.
    files: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
    /// By file: what it names of crates from elsewhere, as `tokio::time::sleep`.
    foreign: BTreeMap<PathBuf, BTreeSet<String>>,
}

#[derive(Debug, Default)]
struct Module {
    file: PathBuf,
    children: BTreeSet<String>,
    items: BTreeSet<String>,
    /// What `use` makes of a name here.
    aliases: BTreeMap<String, Names>,
    globs: Vec<Names>,
    /// Paths that its code names, `use` included.
    named: BTreeSet<Names>,
}

/// Where a path ends.
enum End {
    Module(Names),
    /// Something that the module defines.
    Item(Names),
    /// Outside of the workspace.
    Foreign(Names),
}

impl Imports {
    /// Reads crates, each by its name in code and the file that it begins with.
    pub(crate) fn read(root: &Path, crates: &[(String, PathBuf)]) -> Result<Self, String> {
        let mut imports = Self::default();
        for (name, file) in crates {
            imports.read_file(root, vec![name.clone()], file, true)?;
        }
        imports.resolve_all();
        Ok(imports)
    }

    fn read_file(
        &mut self,
        root: &Path,
        name: Names,
        file: &Path,
        owns_folder: bool,
    ) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = fs::read_to_string(root.join(file)).map_err(|e| told(&e))?;
        let parsed: File = syn::parse_file(&text).map_err(|e| told(&e))?;
        let folder = match owns_folder {
            true => file.parent().unwrap_or(Path::new("")).to_path_buf(),
            false => file.with_extension(""),
        };
        let mut below = Vec::new();
        self.files.entry(file.to_path_buf()).or_default();
        self.read_items(&name, file, &parsed.items, &mut below);
        for name in below {
            let last = name.last().cloned().unwrap_or_default();
            let direct = folder.join(format!("{last}.rs"));
            let (child, owns) = match root.join(&direct).is_file() {
                true => (direct, false),
                false => (folder.join(&last).join("mod.rs"), true),
            };
            self.read_file(root, name, &child, owns)?;
        }
        Ok(())
    }

    /// Notes what stands in a module; those of its modules that have files are put into `below`.
    fn read_items(&mut self, name: &Names, file: &Path, items: &[Item], below: &mut Vec<Names>) {
        let mut reader = Reader::default();
        items.iter().for_each(|item| reader.visit_item(item));
        let mut module = reader.module;
        module.file = file.to_path_buf();
        self.modules.insert(name.clone(), module);
        for inner in reader.inner {
            let mut child = name.clone();
            child.push(inner.ident.to_string());
            match &inner.content {
                Some((_, items)) => self.read_items(&child, file, items, below),
                None => below.push(child),
            }
        }
    }

    fn resolve_all(&mut self) {
        for (name, module) in &self.modules {
            for path in &module.named {
                match self.resolve(name, path, 0) {
                    Some(End::Module(to) | End::Item(to)) => {
                        let to = self.modules[&to].file.clone();
                        if to != module.file {
                            self.files
                                .entry(module.file.clone())
                                .or_default()
                                .insert(to);
                        }
                    }
                    Some(End::Foreign(name)) => {
                        self.foreign
                            .entry(module.file.clone())
                            .or_default()
                            .insert(name.join("::"));
                    }
                    None => {}
                }
            }
        }
    }

    /// Follows a path that stands in the module `from`.
    fn resolve(&self, from: &Names, path: &[String], depth: usize) -> Option<End> {
        let (first, rest) = path.split_first()?;
        let module = self.modules.get(from)?;
        let at = match first.as_str() {
            "crate" => from[..1].to_vec(),
            "self" => from.clone(),
            "super" => from.split_last()?.1.to_vec(),
            _ if module.children.contains(first) => joined(from, first),
            _ if module
                .aliases
                .get(first)
                .is_some_and(|alias| alias[..] != path[..1])
                && depth < 20 =>
            {
                let end = self.resolve(from, &module.aliases[first], depth + 1)?;
                return self.go_on(end, rest, depth);
            }
            _ if self.modules.contains_key(&path[..1]) => path[..1].to_vec(),
            _ if module.items.contains(first) => return Some(End::Item(from.clone())),
            _ if first.starts_with(char::is_uppercase) => return None,
            _ => return Some(End::Foreign(path.to_vec())),
        };
        self.go_on(End::Module(at), rest, depth)
    }

    fn go_on(&self, end: End, rest: &[String], depth: usize) -> Option<End> {
        if let End::Foreign(mut path) = end {
            path.extend_from_slice(rest);
            return Some(End::Foreign(path));
        }
        let (End::Module(at), Some((next, after))) = (&end, rest.split_first()) else {
            return Some(end);
        };
        let module = self.modules.get(at)?;
        if next == "super" {
            return self.go_on(End::Module(at.split_last()?.1.to_vec()), after, depth);
        }
        if module.children.contains(next) {
            return self.go_on(End::Module(joined(at, next)), after, depth);
        }
        if module.items.contains(next) || depth > 20 {
            return Some(end);
        }
        if let Some(alias) = module.aliases.get(next) {
            let end = self.resolve(at, alias, depth + 1)?;
            return self.go_on(end, after, depth + 1);
        }
        let mut globs = module.globs.iter();
        let found = globs.find_map(|glob| match self.resolve(at, glob, depth + 1)? {
            End::Module(to) if self.modules[&to].items.contains(next) => Some(End::Item(to)),
            _ => None,
        });
        Some(found.unwrap_or(end))
    }

    /// Returns a circle of more than `most` files for every file that is in one: each uses the
    /// next, the last the first, and none comes twice.
    pub(crate) fn circles(&self, most: usize) -> BTreeMap<&Path, Vec<&Path>> {
        let files = self.files.keys().map(PathBuf::as_path);
        files
            .filter_map(|file| {
                let back = self.leading_to(file);
                self.way_back(&mut vec![file], &back, most)
                    .map(|circle| (file, circle))
            })
            .collect()
    }

    /// Extends a way until it is back at its begin, after more than `most` files.
    fn way_back<'s>(
        &'s self,
        way: &mut Vec<&'s Path>,
        back: &BTreeSet<&Path>,
        most: usize,
    ) -> Option<Vec<&'s Path>> {
        for next in &self.files[*way.last()?] {
            if way[0] == next && way.len() > most {
                return Some(way.clone());
            }
            if back.contains(next.as_path()) && !way.contains(&next.as_path()) {
                way.push(next);
                if let Some(circle) = self.way_back(way, back, most) {
                    return Some(circle);
                }
                way.pop();
            }
        }
        None
    }

    /// Returns the files in a circle with `file`: those that it reaches and that reach it.
    fn leading_to(&self, file: &Path) -> BTreeSet<&Path> {
        let back = |other: &&Path| self.reachable(other).contains(file);
        self.reachable(file).into_iter().filter(back).collect()
    }

    fn reachable(&self, file: &Path) -> BTreeSet<&Path> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![file]);
        while let Some(file) = next.pop() {
            for used in &self.files[file] {
                if seen.insert(used.as_path()) {
                    next.push(used);
                }
            }
        }
        seen
    }

    /// Returns what crosses a wall: what files name, a file of the workspace or something of another crate,
    /// that `may` does not let them.
    pub(crate) fn crossings(&self, may: impl Fn(&str, &str) -> bool) -> Vec<String> {
        let own = self.files.iter().flat_map(|(file, used)| {
            let used = used.iter().map(|used| used.display().to_string());
            used.map(move |used| (file, used))
        });
        let foreign = self
            .foreign
            .iter()
            .flat_map(|(file, names)| names.iter().map(move |name| (file, name.clone())));
        own.chain(foreign)
            .filter(|(file, used)| !may(&file.display().to_string(), used))
            .map(|(file, used)| format!("{} names {used}", file.display()))
            .collect()
    }
}

fn joined(at: &Names, next: &str) -> Names {
    let mut names = at.clone();
    names.push(next.to_owned());
    names
}

/// Gathers what one module says.
#[derive(Default)]
struct Reader<'s> {
    module: Module,
    inner: Vec<&'s ItemMod>,
}

impl<'s> Visit<'s> for Reader<'s> {
    fn visit_item(&mut self, item: &'s Item) {
        if is_test(attributes(item)) {
            return;
        }
        if let Some(name) = name_of(item) {
            self.module.items.insert(name);
        }
        syn::visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'s ItemMod) {
        self.module.children.insert(item.ident.to_string());
        self.inner.push(item);
    }

    /// The path of `pub(in …)` uses nothing.
    fn visit_visibility(&mut self, _: &'s syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'s ItemUse) {
        self.read_use(&mut Vec::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'s syn::Path) {
        let names: Names = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1 {
            self.module.named.insert(names);
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'s syn::Macro) {
        self.visit_path(&mac.path);
        self.read_tokens(mac.tokens.clone());
    }
}

impl Reader<'_> {
    fn read_use(&mut self, before: &mut Names, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.read_use(before, &path.tree);
                before.pop();
            }
            UseTree::Group(group) => group
                .items
                .iter()
                .for_each(|tree| self.read_use(before, tree)),
            UseTree::Glob(_) => {
                self.module.globs.push(before.clone());
                self.module.named.insert(before.clone());
            }
            UseTree::Name(name) => self.bring(before, &name.ident.to_string(), None),
            UseTree::Rename(name) => {
                self.bring(
                    before,
                    &name.ident.to_string(),
                    Some(name.rename.to_string()),
                );
            }
        }
    }

    fn bring(&mut self, before: &Names, name: &str, rename: Option<String>) {
        let mut path = before.clone();
        if name != "self" {
            path.push(name.to_owned());
        }
        if let Some(last) = path.last().cloned() {
            self.module
                .aliases
                .insert(rename.unwrap_or(last), path.clone());
            self.module.named.insert(path);
        }
    }

    /// Finds `a::b::c` among the tokens of a macro.
    fn read_tokens(&mut self, tokens: TokenStream) {
        let (mut names, mut colons) = (Names::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if names.is_empty() || colons == 2 => {
                    names.push(ident.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !names.is_empty() => {
                    colons += 1;
                    continue;
                }
                TokenTree::Group(group) => {
                    self.note(&mut names);
                    self.read_tokens(group.stream());
                }
                TokenTree::Ident(ident) => {
                    self.note(&mut names);
                    names.push(ident.to_string());
                }
                _ => self.note(&mut names),
            }
            colons = 0;
        }
        self.note(&mut names);
    }

    fn note(&mut self, names: &mut Names) {
        let names = std::mem::take(names);
        if names.len() > 1 {
            self.module.named.insert(names);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let mut is_test = false;
        if attribute.path().is_ident("cfg") {
            // `test`, alone or among what `all` asks for. What else is in it is not a matter here.
            let _not_a_list = attribute.parse_nested_meta(|meta| {
                let all = meta.path.is_ident("all");
                is_test |= meta.path.is_ident("test");
                match all {
                    true => meta.parse_nested_meta(|inner| {
                        is_test |= inner.path.is_ident("test");
                        if inner.input.peek(syn::Token![=]) {
                            inner.value()?.parse::<syn::Lit>()?;
                        }
                        Ok(())
                    }),
                    false => Ok(()),
                }
            });
        }
        is_test
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// Returns the crates of the workspace at `root`, by their names in code.
pub(crate) fn crates(root: &Path) -> Vec<(String, PathBuf)> {
    let mut folders = vec![("amibake".to_owned(), PathBuf::from("src"))];
    let listed = fs::read_dir(root.join("crates")).into_iter().flatten();
    for entry in listed.flatten() {
        let name = entry.file_name().to_string_lossy().replace('-', "_");
        let src = Path::new("crates").join(entry.file_name()).join("src");
        folders.push((format!("amibake_{name}"), src));
    }
    let mut found = Vec::new();
    for (name, src) in folders {
        let (library, program) = (src.join("lib.rs"), src.join("main.rs"));
        let has_library = root.join(&library).is_file();
        if root.join(&program).is_file() {
            let name = if has_library {
                format!("{name} (program)")
            } else {
                name.clone()
            };
            found.push((name, program));
        }
        if has_library {
            found.push((name, library));
        }
    }
    found
}

/// The rooms of the executor, the lowest first: none names one above it.
const EXECUTOR: [&[&str]; 5] = [
    &["model", "role", "argument_spec", "options", "play_hosts"],
    &[
        "kept",
        "vars",
        "handlers",
        "outcome",
        "effects",
        "trail",
        "grouping",
        "checkpoint",
        "imports",
        "executor",
        "run",
        "task_context",
        "task_error",
        "censor",
    ],
    &[
        "eval",
        "explain",
        "keyword",
        "config_lookup",
        "url_lookup",
        "file_lookups",
        "file_tests",
        "first_found",
        "subelements",
        "lookup",
        "search",
        "convert",
        "roles",
        "notify",
        "magic",
        "reserved",
    ],
    &[
        "actions",
        "attempt",
        "debug",
        "defaults",
        "fetch",
        "files",
        "group_by",
        "include",
        "jobs",
        "join",
        "loops",
        "meta",
        "module_call",
        "own_args",
        "pause",
        "play",
        "prompts",
        "reboot",
        "resume",
        "stats",
        "task",
        "task_result",
        "validate",
    ],
    &["add_host", "once", "serial", "turn", "flow", "mod"],
];

/// Returns which room of the executor a file is in.
fn room_of_executor(file: &str) -> Option<usize> {
    let name = file.strip_prefix("crates/engine/src/exec/")?;
    let name = name.strip_suffix(".rs")?;
    // A file that no room lists is below all, so that naming anything is a breach.
    let found = EXECUTOR.iter().position(|room| room.contains(&name));
    Some(found.map_or(0, |room| room + 1))
}

/// Returns whether a file may name something: a file of the workspace, or a path of another crate.
/// These are the walls that `docs/design.md` names.
pub(crate) fn may(file: &str, used: &str) -> bool {
    if let (Some(own), Some(other)) = (room_of_executor(file), room_of_executor(used)) {
        return own >= other;
    }
    let (package, _) = used.split_once("::").unwrap_or((used, ""));
    let in_crates = file.starts_with("crates/");
    let for_ec2 = ["src/targets/ec2/", "src/stack/", "src/cert/"];
    let reads_files = ["std::fs", "std::os"]
        .iter()
        .any(|path| used.starts_with(path));
    let acts = [
        "std::process",
        "std::net",
        "std::thread",
        "std::env",
        "std::time::Instant",
        "std::time::SystemTime",
    ];
    match package {
        "tokio" | "tokio_util" | "futures_util" => !in_crates,
        // The format of keys is not the protocol.
        "russh" => {
            file.starts_with("src/ssh/") || (!in_crates && used.starts_with("russh::keys::"))
        }
        aws if aws.starts_with("aws_") => for_ec2.iter().any(|room| file.starts_with(room)),
        "src/report/mod.rs" | "src/report.rs" => {
            file == "src/main.rs" || file.starts_with("src/report")
        }
        "std" if file.starts_with("crates/playbook/") => {
            let is_name = used.starts_with("std::net::Ip");
            let is_files = file == "crates/playbook/src/files.rs";
            (is_name || !acts.iter().any(|path| used.starts_with(path)))
                && (is_files || !reads_files)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(root: &Path) -> Imports {
        Imports::read(root, &crates(root)).unwrap()
    }

    fn workspace() -> Imports {
        read(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
    }

    fn shown(circle: &[&Path]) -> String {
        let names: Vec<String> = circle
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        names.join(" -> ")
    }

    #[test]
    fn no_circle_has_more_than_three_files() {
        let imports = workspace();
        let circles = imports.circles(3);
        let circles: BTreeSet<String> = circles.values().map(|circle| shown(circle)).collect();
        let circles: Vec<String> = circles.into_iter().collect();
        assert!(circles.is_empty(), "{}", circles.join("\n"));
    }

    #[test]
    fn no_wall_is_crossed() {
        let crossings = workspace().crossings(may);
        assert!(crossings.is_empty(), "{}", crossings.join("\n"));
    }

    /// Makes a workspace of these files.
    fn planted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn a_planted_circle_is_found_through_re_exports_paths_and_macros() {
        let folder = planted(&[
            (
                "src/main.rs",
                "mod a; mod b; mod c; mod room; use amibake_x::Thing;",
            ),
            ("src/a.rs", "use crate::b::f as g;"),
            ("src/b.rs", "fn f() { super::c::f() }"),
            (
                "src/c.rs",
                "fn f() { println!(\"{}\", crate::room::Shown::default()) }",
            ),
            ("src/room/mod.rs", "mod inner; pub use inner::Shown;"),
            (
                "src/room/inner.rs",
                "use crate::a::*; struct Shown; #[cfg(test)] mod tests { use crate::main; }",
            ),
            ("crates/x/src/lib.rs", "pub struct Thing;"),
        ]);
        let imports = read(folder.path());
        let circles = imports.circles(3);
        let of_a = shown(&circles[Path::new("src/a.rs")]);
        assert_eq!(
            of_a,
            "src/a.rs -> src/b.rs -> src/c.rs -> src/room/inner.rs"
        );
        assert_eq!(circles.len(), 4, "{circles:?}");
        assert!(imports.circles(4).is_empty());
        assert!(imports.files[Path::new("src/main.rs")].contains(Path::new("crates/x/src/lib.rs")));
    }

    #[test]
    fn a_planted_breach_of_every_wall_is_found() {
        let folder = planted(&[
            (
                "src/main.rs",
                "mod report; mod bake; mod targets; mod ssh; use report::Bars;",
            ),
            ("src/report.rs", "pub struct Bars;"),
            (
                "src/bake.rs",
                "use crate::report::Bars; use russh::client; use aws_sdk_ec2 as ec2;",
            ),
            ("src/ssh.rs", "fn f() { tokio::spawn(async {}); }"),
            ("src/targets.rs", "mod ec2;"),
            ("src/targets/ec2.rs", "use russh::keys::PrivateKey;"),
            (
                "crates/engine/src/lib.rs",
                "mod exec; async fn f() { tokio::time::sleep(x).await }",
            ),
            (
                "crates/playbook/src/lib.rs",
                "mod files; use std::fs; fn f() { fs::read(p); std::process::exit(1) } use std::net::IpAddr;",
            ),
            (
                "crates/playbook/src/files.rs",
                "fn f() { std::fs::read(p) }",
            ),
            (
                "crates/engine/src/exec/mod.rs",
                "mod flow; mod task; mod new;",
            ),
            ("crates/engine/src/exec/flow.rs", "use super::task::Task;"),
            (
                "crates/engine/src/exec/task.rs",
                "use super::flow; struct Task;",
            ),
            ("crates/engine/src/exec/new.rs", "use super::task::Task;"),
        ]);
        let crossings = read(folder.path()).crossings(may);
        let expected = [
            "crates/engine/src/exec/new.rs names crates/engine/src/exec/task.rs",
            "crates/engine/src/exec/task.rs names crates/engine/src/exec/flow.rs",
            "src/bake.rs names src/report.rs",
            "crates/engine/src/lib.rs names tokio::time::sleep",
            "crates/playbook/src/lib.rs names std::fs",
            "crates/playbook/src/lib.rs names std::fs::read",
            "crates/playbook/src/lib.rs names std::process::exit",
            "src/bake.rs names aws_sdk_ec2",
            "src/bake.rs names russh::client",
        ];
        assert_eq!(crossings, expected);
    }
}
