//! `replace`: every match of a pattern in a text file, replaced.

use std::ops::Range;

use amibake_playbook::codec::Codec;
use amibake_playbook::pyre::{Flags, Regex};
use serde_json::{Map, Value as Json, json};

use crate::args::Args;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};
use crate::modules::edit::{Edit, Edited, Found, bad_pattern};

pub(super) struct Replace;

pub(super) struct Want {
    edit: Edit,
    regex: Regex,
    replacement: String,
    /// The pattern of `after` and `before`, if either is given.
    section: Option<(Regex, String)>,
    codec: Codec,
}

impl StateModule for Replace {
    type Want = Want;
    type Now = Found;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let pattern = args.required("regexp")?;
        let flags = Flags {
            multiline: true,
            ..Flags::default()
        };
        Ok(Want {
            edit: Edit::read(args, context, "Path")?,
            regex: Regex::new(pattern, flags).map_err(|e| bad_pattern(pattern, &e))?,
            replacement: args.str("replace").unwrap_or_default().to_owned(),
            section: section_pattern(args)?,
            codec: codec(args.str("encoding").unwrap_or("utf-8"))?,
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Found, Failure> {
        want.edit.inspect()
    }

    fn plan(&self, want: &Want, now: &Found) -> Result<Vec<Change>, Failure> {
        if now.content.is_none() {
            let msg = format!("Path {} does not exist !", want.edit.path.display());
            return Err(Failure::new(msg).with("rc", 257));
        }
        match edited(want, now)? {
            Some(edited) => want.edit.plan(now, &edited),
            None => Ok(Vec::new()),
        }
    }

    fn result(&self, want: &Want, now: &Found, _: &Context<'_>) -> Map<String, Json> {
        let mut result = Map::new();
        result.insert("rc".to_owned(), Json::from(0));
        let msg = match (edited(want, now), &want.section) {
            (Ok(Some(edited)), _) => {
                if let Some(backup) = want.edit.backup(now, &edited) {
                    result.insert("backup_file".to_owned(), Json::from(backup));
                }
                want.edit.msg(now, &edited)
            }
            (Ok(None), Some((_, pattern))) => {
                format!("Pattern for before/after params did not match the given file: {pattern}")
            }
            _ => return result,
        };
        result.insert("msg".to_owned(), Json::from(msg));
        result
    }

    fn diff(&self, want: &Want, now: &Found, _: &[Change]) -> Json {
        let Ok(Some(edited)) = edited(want, now) else {
            return Json::Null;
        };
        if !edited.changed {
            return Json::Null;
        }
        let title = want.edit.path.to_string_lossy();
        json!({
            "before_header": title,
            "before": String::from_utf8_lossy(now.content.as_deref().unwrap_or_default()),
            "after_header": title,
            "after": String::from_utf8_lossy(&edited.text),
        })
    }
}

fn section_pattern(args: &Args) -> Result<Option<(Regex, String)>, Failure> {
    let given = |name: &str| args.str(name).filter(|text| !text.is_empty());
    let pattern = match (given("after"), given("before")) {
        (Some(after), Some(before)) => format!("{after}(?P<subsection>.*?){before}"),
        (Some(after), None) => format!("{after}(?P<subsection>.*)"),
        (None, Some(before)) => format!("(?P<subsection>.*){before}"),
        (None, None) => return Ok(None),
    };
    let flags = Flags {
        dot_all: true,
        ..Flags::default()
    };
    let regex = Regex::new(&pattern, flags).map_err(|e| bad_pattern(&pattern, &e))?;
    Ok(Some((regex, pattern)))
}

fn codec(name: &str) -> Result<Codec, Failure> {
    Codec::called(name).ok_or_else(|| {
        Failure::new(format!(
            "Task failed: Module failed: unknown encoding: {name}"
        ))
    })
}

/// Returns the text after replacing; `None` where the section asked for is not there.
fn edited(want: &Want, now: &Found) -> Result<Option<Edited>, Failure> {
    let bytes = now.content.clone().unwrap_or_default();
    let text = decode(&bytes, want)?;
    let Some(section) = section(want, &text)? else {
        return Ok(None);
    };
    let old = &text.as_bytes()[section.clone()];
    let replaced = want.regex.sub(&want.replacement, old, 0);
    let (new, count) = replaced
        .map_err(|e| Failure::new(format!("Unable to process replace due to error: {e}")))?;
    if count == 0 || new == old {
        return Ok(Some(Edited::same(bytes)));
    }
    let whole = [
        &text.as_bytes()[..section.start],
        &new,
        &text.as_bytes()[section.end..],
    ]
    .concat();
    let whole = encode(&String::from_utf8_lossy(&whole), want)?;
    Ok(Some(Edited::to(
        whole,
        format!("{count} replacements made"),
    )))
}

fn section(want: &Want, text: &str) -> Result<Option<Range<usize>>, Failure> {
    let Some((regex, pattern)) = &want.section else {
        return Ok(Some(0..text.len()));
    };
    let found = regex
        .search(text.as_bytes(), 0)
        .map_err(|e| bad_pattern(pattern, &e))?;
    let group = regex
        .group_names()
        .position(|name| name == Some("subsection"));
    Ok(found.and_then(|groups| groups.get(group.unwrap_or(0))))
}

fn decode(bytes: &[u8], want: &Want) -> Result<String, Failure> {
    let path = want.edit.path.display();
    let no_text = |e| Failure::new(format!("{path} cannot be read: {e}"));
    want.codec.decode(bytes).map_err(no_text)
}

fn encode(text: &str, want: &Want) -> Result<Vec<u8>, Failure> {
    let path = want.edit.path.display();
    let no_bytes = |e| Failure::new(format!("{path} cannot be written: {e}"));
    want.codec.encode(text).map_err(no_bytes)
}
