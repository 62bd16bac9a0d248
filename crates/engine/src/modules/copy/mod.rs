//! `copy` and `template`: a file, a text or a tree, put on the machine.
//!
//! What comes from the controller is in [`Context::sources`]; `remote_src` is read here. The
//! tree of a `remote_src` is in `remote`, the planning of one file in `plan`.

mod nearby;
mod plan;
mod remote;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::attrs::{self, Attributes, Meta, Mode, Target};
use crate::change::Change;
use crate::digest;
use crate::module::{Context, Failure, StateModule};
use crate::modules::{edit, paths};
use crate::place::{self, Place};
use crate::source::Source;

use nearby::{Here, Nearby};

pub(super) struct Copy;

pub(super) struct Want {
    src: String,
    dest: String,
    what: What,
    attributes: Attributes,
    /// Attributes of directories made on the way.
    folders: Attributes,
    preserve: bool,
    force: bool,
    follow: bool,
    backup: bool,
    unsafe_writes: bool,
    validate: Option<String>,
    checksum: Option<String>,
    check: bool,
}

enum What {
    /// One file of this name, or a text without a name.
    One {
        source: Source,
        name: Option<String>,
    },
    /// A tree from the controller, by path below the destination.
    Tree(Vec<(String, Source)>),
    /// Something that is on the machine already.
    Remote(String),
}

/// One thing to be put somewhere, and what is there.
struct Item {
    dest: PathBuf,
    source: Source,
    /// SHA-1 of a file's content.
    checksum: String,
    /// Where a file of the machine itself is copied from; for a link, where the one there leads.
    like: Option<PathBuf>,
    old: Option<Target>,
    /// SHA-1 of the file there; `None` also for a link that is not followed.
    old_checksum: Option<String>,
    old_text: Option<Vec<u8>>,
    missing: Vec<PathBuf>,
    parent: Option<Meta>,
    /// Where a copy goes of what is there; a link that leads nowhere has none.
    backup_to: Option<PathBuf>,
    attributes: Attributes,
}

/// A directory of a tree, to be compared as `file` does.
struct Folder {
    path: PathBuf,
    old: Option<Target>,
    missing: Vec<PathBuf>,
    parent: Option<Meta>,
}

/// What Ansible's action did last, of which alone it tells where a tree has exactly one file: a
/// directory, else the file.
#[derive(Clone, Copy)]
enum Last {
    Folder(usize),
    /// An item that is a link.
    Link(usize),
}

pub(super) struct Now {
    items: Vec<Item>,
    folders: Vec<Folder>,
    last: Option<Last>,
    /// What results show as `dest`.
    dest: String,
    tree: bool,
    /// A remote tree: everything under the destination whose owner is to be compared.
    owned: Vec<Target>,
    /// A remote tree: what gets the attributes asked for, and these, once it is copied.
    top: Option<(Target, Attributes)>,
    remote: Vec<Change>,
    /// Not forced, and there.
    kept: bool,
}

impl StateModule for Copy {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let dest = args.required("dest")?.to_owned();
        let what = what(args, context, &dest)?;
        let path = Path::new(&dest);
        let preserve = args.str("mode") == Some("preserve");
        let attributes = match preserve {
            true => Attributes::read_but_mode(args),
            false => Attributes::read(args, path)?,
        };
        let mode = args.raw("directory_mode").filter(|mode| !mode.is_null());
        Ok(Want {
            folders: Attributes {
                mode: mode.map(|mode| Mode::read(mode, path)).transpose()?,
                ..attributes.clone()
            },
            attributes,
            preserve,
            what,
            force: args.opt_bool("force").unwrap_or(true),
            follow: args.bool("follow"),
            backup: args.bool("backup"),
            unsafe_writes: args.bool("unsafe_writes"),
            validate: args.str("validate").map(str::to_owned),
            checksum: args.str("checksum").map(str::to_owned),
            check: context.check,
            src: args.str("src").unwrap_or_default().to_owned(),
            dest,
        })
    }

    fn inspect(&self, want: &Want, context: &mut Context<'_>) -> Result<Now, Failure> {
        let unreadable = |e: io::Error| Failure::new(format!("could not read {}: {e}", want.dest));
        match &want.what {
            What::One { source, name } => inspect_item(want, source, name.as_deref(), context.diff),
            What::Tree(entries) => tree(want, entries, context.diff).map_err(unreadable),
            What::Remote(src) => remote::inspect(want, src, context.diff),
        }
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        plan::all(want, now)
    }

    fn result(&self, want: &Want, now: &Now, _: &Context<'_>) -> Map<String, Json> {
        let mut result = Map::new();
        if let Some(last) = now.last {
            return last.result(now);
        }
        let here = !matches!(want.what, What::Remote(_));
        let differing = |item: &Item| plan::differs(item) && !now.kept;
        if want.check && here && !now.tree && now.items.iter().any(differing) {
            // Ansible's action compares sums, and runs no module that would tell more.
            return result;
        }
        let mut put = |name: &str, value: &str| result.insert(name.to_owned(), Json::from(value));
        put("dest", &now.dest);
        match &want.what {
            What::Remote(src) => put("src", src),
            What::Tree(_) if now.tree => put("src", &want.src),
            What::Tree(_) | What::One { .. } => match &now.items[..] {
                [item] if differing(item) => put("src", &want.origin(item)),
                _ => None,
            },
        };
        if let ([item], false) = (&now.items[..], now.tree || now.kept) {
            put("checksum", &item.checksum);
            let remote = matches!(want.what, What::Remote(_));
            if plan::differs(item) || remote {
                if let Ok(md5) = digest::checksum(item.source.reader(), "md5") {
                    put("md5sum", &md5);
                }
                if let (Some(to), false) = (&item.backup_to, want.check)
                    && plan::differs(item)
                {
                    put("backup_file", &to.to_string_lossy());
                }
            } else {
                put("path", &item.dest.to_string_lossy());
            }
        }
        let remote = matches!(want.what, What::Remote(_));
        if (!now.tree && !now.kept) || (now.tree && remote) {
            attrs::add_path_info(&mut result);
        }
        result
    }

    /// Returns what Ansible's action registers: of a content that differs, else of attributes.
    fn diff(&self, want: &Want, now: &Now, plan: &[Change]) -> Json {
        if let Some(last) = now.last {
            return last.diff(want, now, plan);
        }
        let ([item], false, false) = (&now.items[..], now.tree || now.kept, want.is_remote())
        else {
            return Json::Null;
        };
        if plan::differs(item) {
            return json!([content_diff(want, item)]);
        }
        let Some(target) = &item.old else {
            return Json::Null;
        };
        let (mut before, mut after) = edit::attributes_diff(target, plan);
        before["path"] = Json::from(item.dest.to_string_lossy());
        after["path"] = Json::from(item.dest.to_string_lossy());
        json!({"before": before, "after": after})
    }

    fn changed(&self, want: &Want, now: &Now, plan: &[Change]) -> bool {
        match now.last {
            Some(last) => last.changed(want, now, plan),
            None => !plan.is_empty(),
        }
    }

    fn diff_unasked(&self, want: &Want, now: &Now) -> Json {
        if now.last.is_some() {
            return Json::Null;
        }
        match &now.items[..] {
            [item] if plan::differs(item) && !now.tree && !now.kept && !want.is_remote() => {
                json!([])
            }
            _ => Json::Null,
        }
    }
}

impl Last {
    fn path(self, now: &Now) -> &Path {
        match self {
            Self::Folder(at) => &now.folders[at].path,
            Self::Link(at) => &now.items[at].dest,
        }
    }

    /// Returns whether it was changed by itself, not along with the file.
    fn changed(self, want: &Want, now: &Now, plan: &[Change]) -> bool {
        let path = self.path(now);
        match self {
            Self::Folder(at) if now.folders[at].old.is_none() && !want.check => {
                let with_file = |item: &Item| item.dest.starts_with(path) && !item.is_link();
                !now.items.iter().any(with_file)
            }
            Self::Folder(_) | Self::Link(_) => plan.iter().any(|change| change.is_about(path)),
        }
    }

    /// Returns what `file` answers of it.
    fn result(self, now: &Now) -> Map<String, Json> {
        let path = Json::from(self.path(now).to_string_lossy());
        let mut result = Map::new();
        match self {
            Self::Folder(_) => drop(result.insert("path".to_owned(), path.clone())),
            Self::Link(at) => {
                if let Source::Link(target) = &now.items[at].source {
                    result.insert("src".to_owned(), Json::from(target.as_str()));
                }
            }
        }
        result.insert("dest".to_owned(), path);
        attrs::add_path_info(&mut result);
        result
    }

    fn diff(self, want: &Want, now: &Now, plan: &[Change]) -> Json {
        let path = Json::from(self.path(now).to_string_lossy());
        let (old, word) = match self {
            Self::Folder(at) => (now.folders[at].old.as_ref(), "directory"),
            Self::Link(at) => (now.items[at].old.as_ref(), "link"),
        };
        let (mut before, mut after) = match old {
            Some(old) => edit::attributes_diff(old, plan),
            None => (json!({}), json!({})),
        };
        let state = old.map_or("absent", |old| attrs::state_of(&old.meta));
        if state != word && self.changed(want, now, plan) {
            before["state"] = Json::from(state);
            after["state"] = Json::from(word);
        }
        before["path"] = path.clone();
        after["path"] = path;
        json!({"before": before, "after": after})
    }
}

impl Item {
    fn is_link(&self) -> bool {
        matches!(self.source, Source::Link(_))
    }
}

impl Want {
    fn is_remote(&self) -> bool {
        matches!(self.what, What::Remote(_))
    }

    /// Returns what results and diffs call the source of `item`.
    fn origin<'a>(&'a self, item: &'a Item) -> Cow<'a, str> {
        match (self.src.is_empty(), &self.what) {
            (true, _) => item.dest.to_string_lossy(),
            (false, What::Tree(entries)) => {
                let file = entries
                    .iter()
                    .find(|(_, s)| !matches!(s, Source::Directory));
                let below = file.map_or("", |(below, _)| below);
                let top = match self.src.ends_with('/') {
                    true => Path::new(&self.src),
                    false => Path::new(&self.src).parent().unwrap_or(Path::new("")),
                };
                Cow::Owned(top.join(below).to_string_lossy().into_owned())
            }
            (false, What::One { .. } | What::Remote(_)) => Cow::Borrowed(&self.src),
        }
    }
}

/// Above this, `--diff` does not show a content, as Ansible's `max_file_size_for_diff`.
const SHOWN_BYTES: usize = 104_448;
/// How much of what is there is searched for a byte that no text has.
const PEEKED_BYTES: usize = 8192;

fn content_diff(want: &Want, item: &Item) -> Map<String, Json> {
    let mut diff = Map::new();
    let mut put = |name: &str, value: Json| diff.insert(name.to_owned(), value);
    match &item.old_text {
        None => put("before", Json::from("")),
        Some(old) if old[..old.len().min(PEEKED_BYTES)].contains(&0) => {
            put("dst_binary", Json::from(1))
        }
        Some(old) if old.len() > SHOWN_BYTES => put("dst_larger", Json::from(SHOWN_BYTES)),
        Some(old) => {
            put("before_header", Json::from(item.dest.to_string_lossy()));
            put("before", Json::from(String::from_utf8_lossy(old)))
        }
    };
    let mut new = Vec::new();
    let reader = io::Read::take(item.source.reader(), SHOWN_BYTES as u64 + 1);
    if io::Read::read_to_end(&mut { reader }, &mut new).is_err() {
        return diff;
    }
    let mut put = |name: &str, value: Json| diff.insert(name.to_owned(), value);
    if new.len() > SHOWN_BYTES {
        put("src_larger", Json::from(SHOWN_BYTES));
    } else if new.contains(&0) {
        put("src_binary", Json::from(1));
    } else {
        put("after_header", Json::from(want.origin(item)));
        put("after", Json::from(String::from_utf8_lossy(&new)));
    }
    diff
}

fn what(args: &Args, context: &Context<'_>, dest: &str) -> Result<What, Failure> {
    let src = args.str("src").filter(|src| !src.is_empty());
    if args.bool("remote_src") {
        let src = src.ok_or_else(|| Failure::new("src (or content) is required"))?;
        return Ok(What::Remote(src.to_owned()));
    }
    if let Some(content) = args.raw("content").filter(|_| src.is_none()) {
        if dest.ends_with('/') || Path::new(dest).is_dir() {
            return Err(Failure::new("can not use content with a dir as dest"));
        }
        let source = Source::of_text(&content_text(content));
        return Ok(What::One { source, name: None });
    }
    let name = src.map(|src| paths::basename(src).to_owned());
    if let Some(source) = context.sources.get("") {
        let source = source.clone();
        return Ok(What::One { source, name });
    }
    let entries = context.sources.iter();
    Ok(What::Tree(
        entries
            .map(|(path, source)| (path.clone(), source.clone()))
            .collect(),
    ))
}

/// Returns a `content`: text as it is, lists and mappings as `json.dumps` writes them.
fn content_text(content: &Json) -> String {
    match content {
        Json::String(text) => text.clone(),
        Json::Array(_) | Json::Object(_) => paths::python_json(content),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Null => String::new(),
        Json::Number(n) => n.to_string(),
    }
}

fn inspect_item(
    want: &Want,
    source: &Source,
    name: Option<&str>,
    diff: bool,
) -> Result<Now, Failure> {
    let mut dest = want.dest.clone();
    if let Some(name) = name {
        if dest.ends_with('/') {
            dest.push_str(name);
        } else if Path::new(&dest).is_dir() {
            dest = format!("{dest}/{name}");
        }
    }
    let mut path = PathBuf::from(&dest);
    let failed = |e| Failure::new(format!("could not read {dest}: {e}"));
    if want.follow && path.is_symlink() && path.exists() {
        path = place::real(&path).map_err(failed)?;
    }
    let item = item(want, path, source.clone(), diff, &mut Nearby::default()).map_err(failed)?;
    let kept = !want.force && item.old.is_some();
    Ok(Now {
        dest: item.dest.to_string_lossy().into_owned(),
        items: vec![item],
        folders: Vec::new(),
        last: None,
        tree: false,
        owned: Vec::new(),
        top: None,
        remote: Vec::new(),
        kept,
    })
}

fn tree(want: &Want, entries: &[(String, Source)], diff: bool) -> io::Result<Now> {
    let base = Path::new(&want.dest);
    let (mut items, mut folders, mut files) = (Vec::new(), Vec::new(), 0);
    let mut nearby = Nearby::default();
    for (below, source) in entries {
        let path = base.join(below);
        let is_link = matches!(source, Source::Link(_));
        if matches!(source, Source::Directory) {
            // The top comes with what is in it; alone it is not made.
            if want.src.ends_with('/') || below.contains('/') {
                folders.push(folder(want, path)?);
            }
            continue;
        }
        files += usize::from(!is_link);
        let item = item(want, path, source.clone(), diff, &mut nearby)?;
        if want.force || is_link || item.old.is_none() {
            items.push(item);
        }
    }
    let link = items.iter().rposition(Item::is_link).map(Last::Link);
    let last = link.or(folders.len().checked_sub(1).map(Last::Folder));
    let slash = if want.dest.ends_with('/') { "" } else { "/" };
    let (tree, dest) = match &items[..] {
        [item] if files == 1 && !item.is_link() => {
            (false, item.dest.to_string_lossy().into_owned())
        }
        _ => (true, format!("{}{slash}", want.dest)),
    };
    Ok(Now {
        tree,
        dest,
        items,
        folders,
        last: last.filter(|_| files == 1),
        owned: Vec::new(),
        top: None,
        remote: Vec::new(),
        kept: false,
    })
}

fn folder(want: &Want, path: PathBuf) -> io::Result<Folder> {
    let meta = Meta::follow(&path)?;
    let (parent, missing) = paths::missing(&path)?;
    Ok(Folder {
        old: meta.map(|meta| want.folders.target(&path, meta)),
        path,
        missing,
        parent,
    })
}

/// Reads what there is at `dest`, to be compared with `source`.
fn item(
    want: &Want,
    dest: PathBuf,
    source: Source,
    diff: bool,
    nearby: &mut Nearby,
) -> io::Result<Item> {
    let Here {
        place,
        parent,
        missing,
    } = nearby.find(&dest)?;
    let own = place.as_ref().map(Meta::at).transpose()?.flatten();
    let file = own.as_ref().is_some_and(Meta::is_file);
    let file = place.as_ref().filter(|_| file);
    let mut attributes = want.attributes.clone();
    if let (true, Source::File { mode, .. }) = (want.preserve, &source) {
        attributes.mode = Some(Mode::Bits(*mode));
    }
    Ok(Item {
        checksum: digest::checksum(source.reader(), "sha1")?,
        like: match own.as_ref().is_some_and(Meta::is_link) {
            true if matches!(source, Source::Link(_)) => Some(std::fs::read_link(&dest)?),
            _ => None,
        },
        old: own.map(|meta| attributes.target(&dest, meta)),
        old_checksum: file.map(checksum).transpose()?,
        old_text: file.filter(|_| diff).map(head).transpose()?,
        missing,
        parent,
        backup_to: (want.backup && dest.exists()).then(|| paths::backup_name(&dest)),
        attributes,
        dest,
        source,
    })
}

/// Returns the SHA-1 of the file there, which is no link.
fn checksum(place: &Place) -> io::Result<String> {
    digest::checksum(place.open_to_read()?, "sha1")
}

/// Reads as much of a file as a diff may show, and one byte more.
fn head(place: &Place) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let file = place.open_to_read()?;
    io::Read::read_to_end(&mut io::Read::take(file, SHOWN_BYTES as u64 + 1), &mut text)?;
    Ok(text)
}
