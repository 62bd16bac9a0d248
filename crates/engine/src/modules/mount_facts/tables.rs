//! The shapes that lines about mounts have: fstab and its kin of other systems, and what `mount` prints.

use amibake_playbook::pyre::{Captures, Flags, Regex};
use serde_json::{Map, Value as Json, json};

use super::sources::Found;

/// As Linux prints mounts, and OpenBSD and NetBSD.
const LINUX: (&str, &[&str]) = (
    r"^(\S+) on (\S+) type (\S+) \((.+)\)$",
    &["device", "mount", "fstype", "options"],
);
/// As the other BSDs and macOS do.
const BSD: (&str, &[&str]) = (r"^(\S+) on (\S+) \((.+)\)$", &["device", "mount", "fstype"]);
/// As AIX does, below two lines of headings.
const AIX: (&str, &[&str]) = (
    r"^(\S*)\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+\s+\d+\s+\d+:\d+)\s+(.*)$",
    &["node", "mounted", "mount", "fstype", "time", "options"],
);

/// One mount as a source has it.
pub(super) struct Line {
    point: String,
    /// As it is written.
    text: String,
    fields: Map<String, Json>,
}

impl Line {
    fn new(point: &str, line: &str, fields: Json) -> Self {
        Self {
            point: point.to_owned(),
            text: line.to_owned(),
            fields: match fields {
                Json::Object(fields) => fields,
                _ => Map::new(),
            },
        }
    }

    pub(super) fn of(self, source: &str) -> Found {
        Found {
            source: source.to_owned(),
            point: self.point,
            line: self.text,
            fields: self.fields,
        }
    }
}

/// Reads a file in the first shape that fits all of it; the ones with more columns come first.
pub(super) fn of_file(text: &str) -> Vec<Line> {
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return Vec::new();
    }
    let read = vfstab(&lines).or_else(|| mnttab(&lines));
    let read = read.or_else(|| fstab(&lines)).or_else(|| aix(&lines));
    read.unwrap_or_default()
}

/// Seven columns.
fn vfstab(lines: &[&str]) -> Option<Vec<Line>> {
    let told = lines.iter().filter(|line| is_told(line));
    told.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [device, checked, mount, kind, pass, boot, options, ..] = words[..] else {
            return None;
        };
        let pass = pass.parse::<i64>().map_or(json!(pass), Json::from);
        let fields = json!({
            "device": device, "device_to_fsck": checked, "mount": mount, "fstype": kind, "passno": pass,
            "mount_at_boot": boot, "options": options,
        });
        Some(Line::new(mount, line, fields))
    })
    .collect()
}

/// Five columns, of which the last is a time.
fn mnttab(lines: &[&str]) -> Option<Vec<Line>> {
    let words =
        |line: &&str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let mut times = lines
        .iter()
        .map(words)
        .map(|words| Some(words.get(4)?.len()));
    // A line with fewer columns before one with a time is told as none.
    if times.find(|length| !matches!(length, Some(length) if *length != 10)) != Some(Some(10)) {
        return None;
    }
    let read = |line: &&str| {
        let words = words(line);
        let [device, mount, kind, options, time, ..] = words.as_slice() else {
            return None;
        };
        let time: i64 = time.parse().ok()?;
        let fields = json!({
            "device": device, "mount": mount, "fstype": kind, "options": options, "time": time,
        });
        Some(Line::new(mount, line, fields))
    };
    lines.iter().map(read).collect()
}

/// Four to six columns.
fn fstab(lines: &[&str]) -> Option<Vec<Line>> {
    let told = lines
        .iter()
        .map(|line| line.trim())
        .filter(|line| is_told(line));
    told.map(|line| {
        let words: Vec<String> = line.split_whitespace().map(unescaped).collect();
        let [device, mount, kind, options, rest @ ..] = words.as_slice() else {
            return None;
        };
        let mut fields =
            json!({"device": device, "mount": mount, "fstype": kind, "options": options});
        for (name, number) in ["dump", "passno"].into_iter().zip(rest) {
            fields[name] = json!(number.parse::<i64>().ok()?);
        }
        Some(Line::new(mount, line, fields))
    })
    .collect()
}

/// AIX's stanzas: a mount point with a colon, and lines of `name = value`.
fn aix(lines: &[&str]) -> Option<Vec<Line>> {
    let mut stanzas: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        if line.starts_with('*') || line.trim().is_empty() {
            continue;
        }
        match line.trim_end().ends_with(':') {
            true => stanzas.push(vec![line]),
            // Linux has a file of that name, too.
            false if !line.contains('=') => return Some(Vec::new()),
            false => stanzas.last_mut()?.push(line),
        }
    }
    Some(stanzas.iter().map(|stanza| stanza_line(stanza)).collect())
}

fn stanza_line(stanza: &[&str]) -> Line {
    let point = stanza.first().copied().unwrap_or_default();
    let mut chars = point.chars();
    chars.next_back();
    let pairs = stanza
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once('='));
    let said: Map<String, Json> = pairs
        .map(|(name, value)| (name.trim().to_owned(), json!(value.trim())))
        .collect();
    let get = |name: &str| {
        said.get(name)
            .and_then(Json::as_str)
            .filter(|v| !v.is_empty())
    };
    let parts: Vec<&str> = [get("nodename"), get("dev")]
        .into_iter()
        .flatten()
        .collect();
    let device = match parts.is_empty() {
        true => "unknown".to_owned(),
        false => parts.join(":"),
    };
    let fields = json!({
        "mount": chars.as_str(), "device": device, "fstype": get("vfs").unwrap_or("unknown"), "attributes": said,
    });
    Line::new(chars.as_str(), &stanza.join("\n"), fields)
}

fn is_told(line: &str) -> bool {
    !line.trim().is_empty() && !line.trim().starts_with('#')
}

/// Replaces `\040` and its kin.
fn unescaped(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let digits = rest.get(at + 1..at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|b| (b'0'..=b'7').contains(&b)));
        let code = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
        if let Some(c) = code.and_then(char::from_u32) {
            out.push(c);
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out + rest
}

/// Reads what `mount` printed, in the shape that all of it has.
pub(super) fn of_program(text: &str) -> Vec<Line> {
    let lines: Vec<&str> = text.lines().collect();
    let all = |(pattern, _): (&str, _), lines: &[&str]| {
        lines.iter().all(|line| captures(pattern, line).is_some())
    };
    let mapped: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|l| !l.starts_with("map "))
        .collect();
    let shape = match () {
        () if all(LINUX, &lines) => LINUX,
        () if all(BSD, &mapped) => BSD,
        () if lines.len() > 2 && all(AIX, &lines[2..]) => AIX,
        () => return Vec::new(),
    };
    lines
        .iter()
        .filter_map(|line| printed(shape, line))
        .collect()
}

fn captures(pattern: &str, line: &str) -> Option<Captures> {
    let regex = Regex::new(pattern, Flags::default()).ok()?;
    regex.search(line.as_bytes(), 0).ok().flatten()
}

fn printed((pattern, names): (&str, &[&str]), line: &str) -> Option<Line> {
    let found = captures(pattern, line)?;
    let mut fields = Map::new();
    for (at, name) in names.iter().enumerate() {
        let text = line.get(found.get(at + 1)?)?;
        fields.insert((*name).to_owned(), json!(text));
    }
    let of = |name: &str| {
        fields
            .get(name)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (point, kind) = (of("mount"), of("fstype"));
    let (node, mounted) = (of("node"), of("mounted"));
    if pattern == BSD.0
        && let Some((kind, options)) = kind.split_once(',')
    {
        fields.insert("fstype".to_owned(), json!(kind.trim_end()));
        fields.insert("options".to_owned(), json!(options.trim_start()));
    }
    if pattern == AIX.0 {
        let device = match node.is_empty() {
            true => mounted,
            false => format!("{node}:{mounted}"),
        };
        fields.retain(|name, _| name != "node" && name != "mounted");
        fields.insert("device".to_owned(), json!(device));
    }
    Some(Line::new(&point, line, Json::Object(fields)))
}
