//! `assemble`: a file made of the fragments in a directory.

use std::path::{Path, PathBuf};

use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::atomic::{How, Validate};
use crate::attrs::{self, Attributes, Meta, NewFile, Target};
use crate::change::{Change, Content};
use crate::digest;
use crate::module::{Context, Failure, StateModule};
use crate::modules::paths;
use crate::place::{self, Place};
use crate::source::Source;

pub(super) struct Assemble;

pub(super) struct Want {
    src: String,
    dest: PathBuf,
    /// Fragments from the controller, by name, if `remote_src` is off.
    fragments: Option<Vec<(String, Source)>>,
    delimiter: Option<Vec<u8>>,
    regexp: Option<Regex>,
    ignore_hidden: bool,
    backup: bool,
    validate: Option<String>,
    unsafe_writes: bool,
    attributes: Attributes,
    check: bool,
}

pub(super) struct Now {
    text: Vec<u8>,
    old: Option<Target>,
    old_text: Option<Vec<u8>>,
    parent: Option<Meta>,
    backup_to: PathBuf,
}

impl StateModule for Assemble {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let dest = PathBuf::from(args.required("dest")?);
        let regexp = args.str("regexp").map(|pattern| {
            Regex::new(pattern, Flags::default())
                .map_err(|e| Failure::new(format!("Invalid Regexp ({e}) in \"{pattern}\"")))
        });
        let sources = context.sources.iter();
        let fragments = sources
            .map(|(name, source)| (name.clone(), source.clone()))
            .collect();
        Ok(Want {
            src: args.required("src")?.to_owned(),
            fragments: (!args.bool("remote_src")).then_some(fragments),
            delimiter: args.str("delimiter").map(unescape),
            regexp: regexp.transpose()?,
            ignore_hidden: args.bool("ignore_hidden"),
            backup: args.bool("backup"),
            validate: args.str("validate").map(str::to_owned),
            unsafe_writes: args.bool("unsafe_writes"),
            attributes: Attributes::read(args, &dest)?,
            check: context.check,
            dest,
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        let failed = |e: std::io::Error| Failure::new(format!("could not read: {e}"));
        let fragments = match &want.fragments {
            Some(fragments) => fragments.clone(),
            None => remote(&want.src)?,
        };
        let old = Meta::read(&want.dest).map_err(failed)?;
        let parent = want.dest.parent().unwrap_or(Path::new("/"));
        Ok(Now {
            text: assembled(want, &fragments)?,
            old: old.map(|meta| want.attributes.target(&want.dest, meta)),
            old_text: match want.dest.is_file() {
                true => Some(place::read(&want.dest).map_err(failed)?),
                false => None,
            },
            parent: Meta::follow(parent).map_err(failed)?,
            backup_to: paths::backup_name(&want.dest),
        })
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        if now.old_text.as_ref() != Some(&now.text) {
            if want.backup && now.old_text.is_some() {
                let path = want.dest.clone();
                let to = now.backup_to.clone();
                changes.push(Change::Backup { path, to });
            }
            changes.push(write(want, now));
        }
        let foreseen = || Target {
            path: want.dest.clone(),
            meta: Meta::foreseen(NewFile::Regular, now.parent.as_ref()),
            flags: String::new(),
        };
        if now.old.is_some() || !want.check {
            let target = now.old.clone().unwrap_or_else(foreseen);
            changes.extend(want.attributes.plan(&target, want.check)?);
        }
        Ok(changes)
    }

    fn result(&self, want: &Want, now: &Now, _: &Context<'_>) -> Map<String, Json> {
        let mut result = Map::new();
        let mut put = |name: &str, value: String| result.insert(name.to_owned(), Json::from(value));
        put("src", want.src.clone());
        put("dest", want.dest.to_string_lossy().into_owned());
        put(
            "checksum",
            digest::checksum(&now.text[..], "sha1").unwrap_or_default(),
        );
        put(
            "md5sum",
            digest::checksum(&now.text[..], "md5").unwrap_or_default(),
        );
        if want.fragments.is_none() {
            put("msg", "OK".to_owned());
        }
        let differs = now.old_text.as_ref() != Some(&now.text);
        // Ansible names the copy in check mode too, where none is made.
        if want.backup && differs && now.old_text.is_some() {
            put("backup_file", now.backup_to.to_string_lossy().into_owned());
        }
        attrs::add_path_info(&mut result);
        result
    }

    /// Ansible's action tells of the content; its module, for `remote_src`, of nothing.
    fn diff(&self, want: &Want, now: &Now, _: &[Change]) -> Json {
        if want.fragments.is_none() {
            return Json::Null;
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut diff = json!({
            "before": text(now.old_text.as_deref().unwrap_or_default()),
            "after_header": want.src,
            "after": text(&now.text),
        });
        if now.old_text.is_some() {
            diff["before_header"] = Json::from(want.dest.to_string_lossy());
        }
        diff
    }
}

fn write(want: &Want, now: &Now) -> Change {
    Change::Write {
        path: want.dest.clone(),
        content: Content::text(now.text.clone()),
        how: How {
            unsafe_writes: want.unsafe_writes,
            validate: want.validate.as_ref().map(|command| Validate {
                command: command.clone(),
                as_copy: false,
                checksum: None,
                attributes: Attributes::default(),
            }),
            like: None,
            mode: None,
        },
    }
}

fn remote(src: &str) -> Result<Vec<(String, Source)>, Failure> {
    let path = Path::new(src);
    if !path.exists() {
        return Err(Failure::new(format!("Source ({src}) does not exist")));
    }
    if !path.is_dir() {
        return Err(Failure::new(format!("Source ({src}) is not a directory")));
    }
    let read = || -> std::io::Result<Vec<(String, Source)>> {
        let mut fragments = Vec::new();
        for name in Place::behind(path)?.names()? {
            let place = Place::behind(&path.join(&name))?;
            if Meta::at(&place)?.is_some_and(|meta| meta.is_file()) {
                let source = Source::of_file(place.open_to_read()?)?;
                fragments.push((name.to_string_lossy().into_owned(), source));
            }
        }
        fragments.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(fragments)
    };
    read().map_err(|e| Failure::new(format!("could not read {src}: {e}")))
}

/// Joins the fragments: a newline after each that ends without one, the delimiter between.
fn assembled(want: &Want, fragments: &[(String, Source)]) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let (mut first, mut newline) = (true, false);
    for (name, source) in fragments {
        let matches = want
            .regexp
            .as_ref()
            .is_none_or(|r| r.is_match(name.as_bytes()).unwrap_or(false));
        if !matches || (want.ignore_hidden && name.starts_with('.')) {
            continue;
        }
        if newline {
            text.push(b'\n');
        }
        if let (false, Some(delimiter)) = (first, &want.delimiter) {
            text.extend(delimiter);
            if delimiter.last() != Some(&b'\n') {
                text.push(b'\n');
            }
        }
        let before = text.len();
        source
            .write_to(&mut text)
            .map_err(|e| Failure::new(format!("could not read {name}: {e}")))?;
        first = false;
        newline = text[before..].last() != Some(&b'\n');
    }
    Ok(text)
}

/// Reads `\n`, `\t` and their like in a delimiter.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'r') => out.push(b'\r'),
            Some(b'0') => out.push(0),
            Some(b'\\') | None => out.push(b'\\'),
            Some(other) => out.extend([b'\\', other]),
        }
    }
    out
}
