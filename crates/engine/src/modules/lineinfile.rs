//! `lineinfile`: that one line is in a text file, or is not.

use amibake_playbook::pyre::Regex;
use serde_json::{Map, Value as Json};

use crate::args::Args;
use crate::change::Change;
use crate::module::{Context, Failure, StateModule};
use crate::modules::edit::{Edit, Edited, Found, bad_pattern, bytes_regex};

pub(super) struct LineInFile;

pub(super) struct Want {
    edit: Edit,
    present: bool,
    finder: Finder,
    line: String,
    place: Place,
    backrefs: bool,
    first_match: bool,
    warnings: Vec<String>,
}

/// What is there, and what it is after editing: worked out once, since it takes a search of each line.
pub(super) struct Now {
    found: Found,
    edited: Edited,
}

/// How the line to be replaced or removed is found.
enum Finder {
    Regex(Regex, String),
    Text(String),
    Line,
}

/// Where a new line goes.
enum Place {
    Begin,
    End,
    After(Regex),
    Before(Regex),
}

/// A text and its lines, each with its newline.
struct Lines<'a> {
    whole: &'a [u8],
    lines: Vec<&'a [u8]>,
}

impl<'a> Lines<'a> {
    fn of(whole: &'a [u8]) -> Self {
        Self {
            whole,
            lines: whole.split_inclusive(|b| *b == b'\n').collect(),
        }
    }

    /// Returns what stands before the line at `at`, and the rest.
    fn divided(&self, at: usize) -> (&'a [u8], &'a [u8]) {
        let before = self.lines[..at].iter().map(|line| line.len()).sum();
        self.whole.split_at(before)
    }

    fn same(&self) -> Edited {
        Edited::same(self.whole.to_vec())
    }

    fn replaced(&self, at: usize, new: &[u8]) -> Edited {
        let old = self.lines[at];
        if old == new {
            return self.same();
        }
        let (before, rest) = self.divided(at);
        Edited::to([before, new, &rest[old.len()..]].concat(), "line replaced")
    }

    /// Returns the text with the wanted line before that at `at`.
    fn with(&self, want: &Want, at: usize) -> Edited {
        let (before, rest) = self.divided(at);
        let open = !before.is_empty() && !before.ends_with(b"\n") && !before.ends_with(b"\r");
        let end: &[u8] = if open { b"\n" } else { b"" };
        let line = want.line.as_bytes();
        Edited::to([before, end, line, b"\n", rest].concat(), "line added")
    }
}

impl StateModule for LineInFile {
    type Want = Want;
    type Now = Now;

    fn want(&self, args: &Args, context: &mut Context<'_>) -> Result<Want, Failure> {
        let edit = Edit::read(args, context, "Path")?;
        let present = args.str("state") != Some("absent");
        refuse_misuse(args, present)?;
        let finder = match (args.str("regexp"), args.str("search_string")) {
            (Some(pattern), _) => Finder::Regex(bytes_regex(pattern)?, pattern.to_owned()),
            (None, Some(text)) => Finder::Text(text.to_owned()),
            (None, None) => Finder::Line,
        };
        Ok(Want {
            edit,
            present,
            finder,
            line: args.str("line").unwrap_or_default().to_owned(),
            place: place(args)?,
            backrefs: args.bool("backrefs"),
            first_match: args.bool("firstmatch"),
            warnings: warnings(args),
        })
    }

    fn inspect(&self, want: &Want, _: &mut Context<'_>) -> Result<Now, Failure> {
        let found = want.edit.inspect()?;
        let edited = edited(want, &found)?;
        Ok(Now { found, edited })
    }

    fn plan(&self, want: &Want, now: &Now) -> Result<Vec<Change>, Failure> {
        let Now { found, edited } = now;
        if found.content.is_none() && !want.present {
            return Ok(Vec::new());
        }
        if found.content.is_none() && !want.edit.create {
            let msg = format!("Destination {} does not exist !", want.edit.path.display());
            return Err(Failure::new(msg).with("rc", 257));
        }
        want.edit.plan(found, edited)
    }

    fn result(&self, want: &Want, now: &Now, _: &Context<'_>) -> Map<String, Json> {
        let Now { found, edited } = now;
        let mut result = Map::new();
        if found.content.is_none() && !want.present {
            result.insert("msg".to_owned(), Json::from("file not present"));
            return result;
        }
        let backup = want.edit.backup(found, edited).unwrap_or_default();
        result.insert("msg".to_owned(), Json::from(want.edit.msg(found, edited)));
        result.insert("backup".to_owned(), Json::from(backup));
        if !want.present {
            result.insert("found".to_owned(), Json::from(edited.found));
        }
        result
    }

    fn diff(&self, want: &Want, now: &Now, plan: &[Change]) -> Json {
        let edited = Some(&now.edited);
        want.edit.diff(want.present, &now.found, edited, plan)
    }

    fn diff_unasked(&self, want: &Want, now: &Now) -> Json {
        want.edit.diff_unasked(want.present, &now.found)
    }

    fn warnings(&self, want: &Want, _: &Now) -> Vec<String> {
        want.warnings.clone()
    }
}

fn refuse_misuse(args: &Args, present: bool) -> Result<(), Failure> {
    let any = ["line", "search_string", "regexp"]
        .iter()
        .any(|name| args.has(name));
    let msg = if present && args.bool("backrefs") && !args.has("regexp") {
        "regexp is required with backrefs=true"
    } else if present && !args.has("line") {
        "line is required with state=present"
    } else if !present && !any {
        "one of line, search_string, or regexp is required with state=absent"
    } else {
        return Ok(());
    };
    Err(Failure::new(msg))
}

fn warnings(args: &Args) -> Vec<String> {
    let (what, more) = match (args.str("regexp"), args.str("search_string")) {
        (Some(""), _) => (
            "regular expression",
            " If this is desired, use '^' to match every line in the file and avoid this warning.",
        ),
        (_, Some("")) => ("search string", ""),
        _ => return Vec::new(),
    };
    vec![format!(
        "The {what} is an empty string, which will match every line in the file. This may have \
         unintended consequences, such as replacing the last line in the file rather than \
         appending.{more}"
    )]
}

fn place(args: &Args) -> Result<Place, Failure> {
    Ok(match (args.str("insertafter"), args.str("insertbefore")) {
        (Some("BOF"), _) | (None, Some("BOF")) => Place::Begin,
        (Some("EOF"), _) | (None, None) => Place::End,
        (Some(pattern), _) => Place::After(bytes_regex(pattern)?),
        (None, Some(pattern)) => Place::Before(bytes_regex(pattern)?),
    })
}

fn edited(want: &Want, now: &Found) -> Result<Edited, Failure> {
    let text = Lines::of(now.content.as_deref().unwrap_or_default());
    if want.present {
        return present(want, &text);
    }
    let mut kept = Vec::new();
    for line in &text.lines {
        if !find(want, line)? {
            kept.push(*line);
        }
    }
    let found = text.lines.len() - kept.len();
    if found == 0 {
        return Ok(text.same());
    }
    let mut edited = Edited::to(kept.concat(), format!("{found} line(s) removed"));
    edited.found = found;
    Ok(edited)
}

fn find(want: &Want, line: &[u8]) -> Result<bool, Failure> {
    match &want.finder {
        Finder::Regex(regex, pattern) => regex.is_match(line).map_err(|e| bad_pattern(pattern, &e)),
        Finder::Text(text) => Ok(contains(line, text.as_bytes())),
        Finder::Line => Ok(bare(line) == want.line.as_bytes()),
    }
}

fn contains(line: &[u8], text: &[u8]) -> bool {
    text.is_empty() || line.windows(text.len()).any(|part| part == text)
}

fn present(want: &Want, text: &Lines<'_>) -> Result<Edited, Failure> {
    let mut hit = None;
    if !matches!(want.finder, Finder::Line) {
        for (at, line) in text.lines.iter().enumerate() {
            if find(want, line)? {
                hit = Some(at);
                if want.first_match {
                    break;
                }
            }
        }
    }
    if let Some(at) = hit {
        let new = new_line(want, text.lines[at])?;
        return Ok(text.replaced(at, &new));
    }
    insert(want, text)
}

fn new_line(want: &Want, line: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut new = match &want.finder {
        Finder::Regex(regex, pattern) if want.backrefs => {
            let groups = regex.search(line, 0);
            let expanded = groups.and_then(|groups| match groups {
                Some(groups) => regex.expand(&want.line, &groups, line),
                None => Ok(want.line.clone().into_bytes()),
            });
            expanded.map_err(|e| bad_pattern(pattern, &e))?
        }
        Finder::Regex(..) | Finder::Text(_) | Finder::Line => want.line.clone().into_bytes(),
    };
    if !new.ends_with(b"\n") {
        new.push(b'\n');
    }
    Ok(new)
}

/// Puts the line in its place, unless it is in the file or next to its place already.
fn insert(want: &Want, text: &Lines<'_>) -> Result<Edited, Failure> {
    let lines = &text.lines;
    let (mut exact, mut place) = (None, None);
    for (at, line) in lines.iter().enumerate() {
        if bare(line) == want.line.as_bytes() {
            exact = Some(at);
            continue;
        }
        let found = match &want.place {
            Place::After(regex) => regex.is_match(line).map(|found| found.then_some(at + 1)),
            Place::Before(regex) => regex.is_match(line).map(|found| found.then_some(at)),
            Place::Begin | Place::End => continue,
        };
        if let Some(at) = found.map_err(|e| bad_pattern("insertafter", &e))? {
            place = Some(at);
            if want.first_match {
                break;
            }
        }
    }
    if let Some(at) = exact {
        let line = terminated(want);
        return Ok(text.replaced(at, &line));
    }
    if want.backrefs {
        return Ok(text.same());
    }
    Ok(match (&want.place, place) {
        (Place::Begin, _) => text.with(want, 0),
        (Place::End, _) | (_, None) => text.with(want, lines.len()),
        (Place::After(_), Some(at))
            if lines
                .get(at)
                .is_some_and(|l| bare(l) == want.line.as_bytes()) =>
        {
            text.same()
        }
        // As Ansible has it: no newline is added to a last line that lacks one.
        (Place::After(_), Some(at)) if at == lines.len() => {
            Edited::to([text.whole, &terminated(want)].concat(), "line added")
        }
        (_, Some(at)) => text.with(want, at),
    })
}

fn terminated(want: &Want) -> Vec<u8> {
    let mut line = want.line.clone().into_bytes();
    if !line.ends_with(b"\n") {
        line.push(b'\n');
    }
    line
}

/// Returns a line without what ends it.
fn bare(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| !matches!(b, b'\r' | b'\n'));
    &line[..end.map_or(0, |at| at + 1)]
}
