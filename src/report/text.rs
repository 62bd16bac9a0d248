//! The words and lines that both reports share: banners, results, diffs, figures.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use amibake_protocol::event::{Diff, Recap, Status};
use serde::Serialize as _;
use serde_json::ser::Formatter;
use serde_json::{Map, Value as Json};
use similar::TextDiff;

/// Lines of a failed command's output that are shown; the first of longer output are left out,
/// since the reason stands at the end.
const OUTPUT_LINES: usize = 200;

/// Characters of one such line that are shown.
const LINE_CHARS: usize = 2_000;

/// Characters of the name of a task or play that are shown: each is held while it runs.
const NAME_CHARS: usize = 2_000;

/// Lines of a file's two states that are compared; a machine may send a million of them.
const DIFF_LINES: usize = 50_000;

/// How long two states are compared before the rest is taken to differ.
const DIFF_TIME: Duration = Duration::from_secs(2);

/// Colours as Ansible uses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Yellow,
    Cyan,
    Red,
    Dim,
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    /// Colours `text`, if that is wanted.
    pub(super) fn paint(self, colour: Colour, text: &str) -> String {
        if !self.0 {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Cyan => "36",
            Colour::Red => "31",
            Colour::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// How wide headings are where there is room: Ansible's 79 columns.
pub(super) const WIDTH: usize = 79;

/// Returns a heading filled up with stars, after an empty line, as Ansible prints it.
pub(super) fn banner(title: &str, width: usize) -> String {
    let stars = width.saturating_sub(title.chars().count()).max(3);
    format!("\n{title} {}\n", "*".repeat(stars))
}

/// Adds the figures of another run on the same host, which may have told any.
pub(super) fn add(sum: &mut Recap, recap: &Recap) {
    let add = |sum: &mut u32, more: u32| *sum = sum.saturating_add(more);
    add(&mut sum.ok, recap.ok);
    add(&mut sum.changed, recap.changed);
    sum.unreachable |= recap.unreachable;
    add(&mut sum.failed, recap.failed);
    add(&mut sum.skipped, recap.skipped);
    add(&mut sum.rescued, recap.rescued);
    add(&mut sum.ignored, recap.ignored);
    add(&mut sum.cleared, recap.cleared);
}

/// Returns the name of a task or play as it is shown.
pub(super) fn name(text: &str) -> String {
    shortened(&printable(text), NAME_CHARS)
}

/// Cuts text that is longer than `limit` characters, showing that.
pub(super) fn shortened(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
    kept + "…"
}

/// Breaks lines at blanks so that they fit `columns`, what follows below the text. What stands between
/// backquotes, and words that are wider, stay whole: they are there to be copied.
pub(super) fn fitted(text: &str, columns: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let blanks = line.len() - line.trim_start().len();
        let below = " ".repeat(blanks + 2);
        let options = textwrap::Options::new(columns.max(40))
            .break_words(false)
            .word_separator(textwrap::WordSeparator::AsciiSpace)
            .word_splitter(textwrap::WordSplitter::NoHyphenation)
            .subsequent_indent(&below);
        for piece in textwrap::wrap(&held_together(line), options) {
            out.push_str(&piece.replace(HELD, " "));
            out.push('\n');
        }
    }
    out
}

/// Stands for a blank that is not to be broken at: a control character, of which there are none.
const HELD: char = '\u{1f}';

fn held_together(line: &str) -> String {
    let mut quoted = false;
    let closed = line.matches('`').count().is_multiple_of(2);
    line.chars()
        .map(|c| {
            quoted ^= c == '`';
            match c {
                ' ' if quoted && closed => HELD,
                c => c,
            }
        })
        .collect()
}

/// Returns the colour of an outcome.
pub(super) fn colour(status: Status) -> Colour {
    match status {
        Status::Ok => Colour::Green,
        Status::Changed => Colour::Yellow,
        Status::Skipped => Colour::Cyan,
        Status::Failed | Status::Ignored | Status::Rescued => Colour::Red,
    }
}

/// Returns the line for one result; `label` is the item's, in a loop.
pub(super) fn result_line(
    host: &str,
    label: Option<&str>,
    status: Status,
    result: &Map<String, Json>,
    details: Details,
) -> String {
    let host = printable(host);
    match status {
        Status::Failed | Status::Ignored | Status::Rescued => match label {
            None => format!("fatal: [{host}]: FAILED! => {}", failure(result)),
            Some(label) => {
                let label = printable(label);
                format!("failed: [{host}] (item={label}) => {}", failure(result))
            }
        },
        Status::Ok | Status::Changed | Status::Skipped => {
            let word = match status {
                Status::Changed => "changed",
                Status::Skipped => "skipping",
                _ => "ok",
            };
            let mut line = format!("{word}: [{host}]");
            if let Some(label) = label {
                let _infallible = write!(line, " => (item={})", printable(label));
            }
            line + &shown(result, details)
        }
    }
}

/// How much of a good result is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Details {
    /// Nothing: the word says it.
    #[default]
    None,
    /// One line of JSON (`-v`).
    Line,
    /// The message of a `debug`, over several lines.
    Message,
}

fn shown(result: &Map<String, Json>, details: Details) -> String {
    let kept = match details {
        Details::None => return String::new(),
        Details::Line => without(
            result,
            &["diff", "invocation", "stdout_lines", "stderr_lines"],
        ),
        Details::Message => without(result, &["changed", "diff", "failed", "invocation"]),
    };
    match details {
        Details::Message => format!(" => {}", indented(&kept)),
        _ => format!(" => {}", one_line(&kept)),
    }
}

fn indented(value: &Map<String, Json>) -> String {
    formatted(
        value,
        serde_json::ser::PrettyFormatter::with_indent(b"    "),
    )
}

/// Returns JSON with the spaces that Python puts into it.
fn one_line(value: &Map<String, Json>) -> String {
    formatted(value, Spaced)
}

fn formatted(value: &Map<String, Json>, format: impl Formatter) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    match value.serialize(&mut serializer) {
        Ok(()) => printable_lines(&String::from_utf8_lossy(&bytes)),
        Err(_) => String::new(),
    }
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// Returns what is known of a failure: one line of JSON, then the output as it was.
fn failure(result: &Map<String, Json>) -> String {
    let apart = [
        "stdout",
        "stderr",
        "stdout_lines",
        "stderr_lines",
        "diff",
        "invocation",
    ];
    let mut text = one_line(&without(result, &apart));
    for stream in ["stdout", "stderr"] {
        if let Some(Json::String(output)) = result.get(stream)
            && !output.is_empty()
        {
            let _infallible = write!(text, "\n  {stream}:{}", bounded(output));
        }
    }
    text
}

fn without(result: &Map<String, Json>, keys: &[&str]) -> Map<String, Json> {
    let kept = result
        .iter()
        .filter(|(key, _)| !keys.contains(&key.as_str()));
    kept.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Returns output below its title, its beginning left out where it is long.
fn bounded(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let left_out = lines.len().saturating_sub(OUTPUT_LINES);
    let mut text = String::new();
    if left_out > 0 {
        let _infallible = write!(text, "\n    … {left_out} lines left out");
    }
    for line in &lines[left_out..] {
        let cut = shortened(line, LINE_CHARS);
        let _infallible = write!(text, "\n    {}", printable(&cut));
    }
    text
}

/// Returns text without control characters: a host must not draw on the user's terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if is_harmless(c) { c } else { '\u{fffd}' })
        .collect()
}

/// Returns a line of JSON, in which what could draw on a terminal is written as an escape: JSON
/// asks that only of the oldest control characters.
pub(super) fn escaped(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        match is_harmless(c) {
            true => line.push(c),
            false => line.push_str(&format!("\\u{:04x}", c as u32)),
        }
    }
    line
}

fn is_harmless(c: char) -> bool {
    // Marks of direction make a line read as another than it is.
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c == '\t' || !c.is_control() && !turns
}

/// Returns a diff as Ansible's `--diff` prints it.
pub(super) fn diff(diff: &Diff, paint: Paint) -> String {
    let title = |side: &str, header: &str| match header {
        "" => side.to_owned(),
        header => format!("{side}: {}", printable(header)),
    };
    let count = |text: &str| text.lines().count();
    let (before, after) = (count(&diff.before), count(&diff.after));
    if before + after > DIFF_LINES {
        let titles =
            title("before", &diff.before_header) + ", " + &title("after", &diff.after_header);
        return format!("{titles}: {before} and {after} lines, too many to compare\n\n");
    }
    let mut comparison = TextDiff::configure();
    comparison.timeout(DIFF_TIME);
    let lines = comparison.diff_lines(&diff.before, &diff.after);
    let unified = lines
        .unified_diff()
        .context_radius(3)
        .header(
            &title("before", &diff.before_header),
            &title("after", &diff.after_header),
        )
        .to_string();
    let mut text = String::new();
    for line in unified.lines() {
        let line = printable(line);
        let painted = match line.chars().next() {
            Some('+') => paint.paint(Colour::Green, &line),
            Some('-') => paint.paint(Colour::Red, &line),
            Some('@') => paint.paint(Colour::Cyan, &line),
            _ => line,
        };
        text.push_str(&painted);
        text.push('\n');
    }
    text + "\n"
}

/// Returns the figures of one host, as the last lines of `ansible-playbook` show them.
pub(super) fn recap_line(host: &str, recap: &Recap, paint: Paint) -> String {
    let colour = match recap {
        recap if recap.failed > 0 || recap.unreachable > 0 => Colour::Red,
        recap if recap.changed > 0 => Colour::Yellow,
        _ => Colour::Green,
    };
    let host = paint.paint(colour, &format!("{:<26}", printable(host)));
    let mut line = format!("{host} :");
    let figures = [
        ("ok", recap.ok, Colour::Green),
        ("changed", recap.changed, Colour::Yellow),
        ("unreachable", recap.unreachable, Colour::Red),
        ("failed", recap.failed, Colour::Red),
        ("skipped", recap.skipped, Colour::Cyan),
        ("rescued", recap.rescued, Colour::Yellow),
        ("ignored", recap.ignored, Colour::Cyan),
    ];
    for (name, figure, colour) in figures {
        let text = format!("{name}={figure:<4}");
        let text = match figure {
            0 => text,
            _ => paint.paint(colour, &text),
        };
        let _infallible = write!(line, " {text}");
    }
    line + "\n"
}

/// Returns a time as people read it: `0.4 s`, `12 s`, `3 min 05 s`.
pub(super) fn seconds(elapsed_ms: u64) -> String {
    match elapsed_ms {
        0..10_000 => format!("{}.{} s", elapsed_ms / 1000, elapsed_ms % 1000 / 100),
        10_000..60_000 => format!("{} s", elapsed_ms / 1000),
        _ => format!(
            "{} min {:02} s",
            elapsed_ms / 60_000,
            elapsed_ms / 1000 % 60
        ),
    }
}

/// Returns text in ASCII, for terminals and logs that have nothing else.
pub(super) fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '…' => plain.push_str("..."),
            c if c.is_ascii() => plain.push(c),
            _ => plain.push('?'),
        }
    }
    plain
}

/// As [`printable`], of several lines.
pub(super) fn printable_lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_and_figures_are_as_wide_as_ansible_makes_them() {
        assert_eq!(banner("PLAY RECAP", WIDTH).trim_end().chars().count(), 81);
        let line = recap_line("web1", &Recap::default(), Paint(false));
        assert_eq!(
            line,
            "web1                       : ok=0    changed=0    unreachable=0    failed=0    \
             skipped=0    rescued=0    ignored=0   \n"
        );
    }

    #[test]
    fn lines_fit_the_terminal_and_commands_stay_whole() {
        let text = "error: the agent could not be started on web1, and nobody knows why\n  \
                    caused by: it is gone (remove it with `amibake reap --run web-2026 --region eu-west-1`)\n\
                    short\n";
        assert_eq!(
            fitted(text, 40),
            "error: the agent could not be started on\n  web1, and nobody knows why\n  \
             caused by: it is gone (remove it with\n    `amibake reap --run web-2026 --region eu-west-1`)\n\
             short\n"
        );
        assert_eq!(fitted(text, 200), text);
    }

    #[test]
    fn long_output_keeps_its_end() {
        let output: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        let text = bounded(&output.join("\n"));
        assert!(text.starts_with("\n    … 800 lines left out\n    800\n"));
        assert!(text.ends_with("999"));
    }
}
