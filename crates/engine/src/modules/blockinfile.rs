//! `blockinfile`: that a marked block of lines is in a text file, or is not.

use amibake_playbook::pyre::{ReError, Regex};
use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};
use crate::modules::edit::{Edit, Edited, Found, bad_pattern, bytes_regex};

pub(super) struct BlockInFile;

pub(super) struct Want {
    edit: Edit,
    present: bool,
    /// With its markers and their newlines; empty if there is to be none.
    block: Vec<Vec<u8>>,
    begin: Vec<u8>,
    end: Vec<u8>,
    place: Place,
    append_newline: bool,
    prepend_newline: bool,
}

enum Place {
    Begin,
    End,
    After(Regex),
    Before(Regex),
}

impl StateModule for BlockInFile {
    type Want = Want;
    type Now = Found;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let edit = Edit::read(args, context, "Path")?;
        let marker = args.required("marker")?;
        let mark = |word: &str| {
            let word = args.str(word).unwrap_or_default();
            format!("{}\n", marker.replace("{mark}", word)).into_bytes()
        };
        let (begin, end) = (mark("marker_begin"), mark("marker_end"));
        let present = args.str("state") != Some("absent");
        let mut block = Vec::new();
        let text = args.str("block").filter(|text| present && !text.is_empty());
        if let Some(text) = text {
            let newline = if text.ends_with('\n') { "" } else { "\n" };
            block.push(begin.clone());
            block.extend(split(format!("{text}{newline}").as_bytes()));
            block.push(end.clone());
        }
        Ok(Want {
            edit,
            present,
            block,
            begin,
            end,
            place: place(args)?,
            append_newline: args.bool("append_newline") && present,
            prepend_newline: args.bool("prepend_newline") && present,
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Found, Failure> {
        want.edit.inspect()
    }

    fn plan(&self, want: &Want, now: &Found) -> Result<Vec<Change>, Failure> {
        if now.content.is_none() && !want.edit.create {
            let msg = format!("Path {} does not exist !", want.edit.path.display());
            return Err(Failure::new(msg).with("rc", 257));
        }
        if now.content.is_none() && !want.present {
            return Ok(Vec::new());
        }
        want.edit.plan(now, &edited(want, now)?)
    }

    fn result(&self, want: &Want, now: &Found, _: &Context<'_>) -> Map<String, Json> {
        let mut result = Map::new();
        let mut put = |name: &str, value: String| result.insert(name.to_owned(), Json::from(value));
        if now.content.is_none() && !want.present {
            put(
                "msg",
                format!("File {} not present", want.edit.path.display()),
            );
            return result;
        }
        if let Ok(edited) = edited(want, now) {
            put("msg", want.edit.msg(now, &edited));
            if let Some(backup) = want.edit.backup(now, &edited) {
                put("backup_file", backup);
            }
        }
        result
    }

    fn diff(&self, want: &Want, now: &Found, plan: &[Change]) -> Json {
        let edited = edited(want, now).ok();
        want.edit.diff(want.present, now, edited.as_ref(), plan)
    }

    fn diff_unasked(&self, want: &Want, now: &Found) -> Json {
        want.edit.diff_unasked(want.present, now)
    }
}

fn place(args: &Args) -> Result<Place, Failure> {
    Ok(match (args.str("insertafter"), args.str("insertbefore")) {
        (Some("EOF"), _) | (None, None) => Place::End,
        (None, Some("BOF")) => Place::Begin,
        (Some(pattern), _) => Place::After(bytes_regex(pattern)?),
        (None, Some(pattern)) => Place::Before(bytes_regex(pattern)?),
    })
}

fn edited(want: &Want, now: &Found) -> Result<Edited, Failure> {
    let original = now.content.as_deref();
    let mut lines = split(original.unwrap_or_default());
    let mut at = match old_block(want, &lines) {
        Some((from, to)) => {
            lines.drain(from..=to);
            from
        }
        None => find_place(want, original.unwrap_or_default(), &lines)?,
    };
    if let Some(line) = at.checked_sub(1).and_then(|before| lines.get_mut(before))
        && !line.ends_with(b"\n")
    {
        line.push(b'\n');
    }
    if want.prepend_newline && at != 0 && lines[at - 1] != b"\n" {
        lines.insert(at, b"\n".to_vec());
        at += 1;
    }
    lines.splice(at..at, want.block.iter().cloned());
    let after = at + want.block.len();
    if want.append_newline && lines.get(after).is_some_and(|line| line != b"\n") {
        lines.insert(after, b"\n".to_vec());
    }
    let text = lines.concat();
    Ok(match original {
        Some(original) if original == text => Edited::same(text),
        None => Edited::to(text, "File created"),
        Some(_) if want.block.is_empty() => Edited::to(text, "Block removed"),
        Some(_) => Edited::to(text, "Block inserted"),
    })
}

/// Returns the first and last line of the block that is there; the markers may stand either way.
fn old_block(want: &Want, lines: &[Vec<u8>]) -> Option<(usize, usize)> {
    let begin = lines.iter().rposition(|line| *line == want.begin)?;
    let end = lines.iter().rposition(|line| *line == want.end)?;
    Some((begin.min(end), begin.max(end)))
}

fn find_place(want: &Want, text: &[u8], lines: &[Vec<u8>]) -> Result<usize, Failure> {
    let found = match &want.place {
        Place::Begin => return Ok(0),
        Place::End => return Ok(lines.len()),
        Place::After(regex) => last_line(regex, text, lines, false).map(|at| at.map(|at| at + 1)),
        Place::Before(regex) => last_line(regex, text, lines, true),
    };
    let found = found.map_err(|e| bad_pattern("insertafter", &e))?;
    Ok(found.unwrap_or(lines.len()).min(lines.len()))
}

/// Returns the last line that matches; a pattern with `(?m)` is searched for in the whole text.
fn last_line(
    regex: &Regex,
    text: &[u8],
    lines: &[Vec<u8>],
    from_start: bool,
) -> Result<Option<usize>, ReError> {
    if regex.is_multiline() {
        let found = regex.search(text, 0)?.map(|groups| groups.whole());
        let edge = found.map(|range| if from_start { range.start } else { range.end });
        return Ok(edge.map(|edge| text[..edge].split(|b| *b == b'\n').count() - 1));
    }
    let mut last = None;
    for (at, line) in lines.iter().enumerate() {
        if regex.is_match(line)? {
            last = Some(at);
        }
    }
    Ok(last)
}

/// Splits after `\n`, `\r` and `\r\n`, as Python's `bytes.splitlines(True)` does.
fn split(text: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut start = 0;
    for (at, byte) in text.iter().enumerate() {
        let ends = *byte == b'\n' || (*byte == b'\r' && text.get(at + 1) != Some(&b'\n'));
        if ends {
            lines.push(text[start..=at].to_vec());
            start = at + 1;
        }
    }
    if start < text.len() {
        lines.push(text[start..].to_vec());
    }
    lines
}
