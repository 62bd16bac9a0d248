//! Python's `re`, over `fancy-regex`: its pattern syntax, its flags, its replacement templates.
//!
//! Patterns are translated, not reinterpreted: what means the same in both stays as it is. Texts
//! are bytes; a `str` pattern is Unicode, a `bytes` pattern ([`Flags::bytes`]) matches any byte.

mod beginning;
mod refusal;

use std::fmt::Write;
use std::iter::Peekable;
use std::ops::Range;
use std::str::Chars;
use std::sync::OnceLock;

use fancy_regex::{BytesMode, RegexBuilder};

use beginning::Beginning;

/// What `re.compile` takes besides the pattern. Inline flags (`(?im)`) add to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// `re.I`
    pub ignore_case: bool,
    /// `re.M`: `^` and `$` match at each line.
    pub multiline: bool,
    /// `re.S`: `.` matches a newline too.
    pub dot_all: bool,
    /// `re.X`: white space and comments in the pattern.
    pub verbose: bool,
    /// `re.A`, and what a `bytes` pattern implies: `\w`, `\d`, `\s` are ASCII and `.` is a byte.
    pub bytes: bool,
}

/// A pattern or template that Python would refuse, or one too complex to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReError {
    /// The pattern does not compile.
    #[error("{reason}")]
    Pattern { reason: String },
    /// The replacement names a group that is not there, or escapes badly.
    #[error("{reason}")]
    Template {
        /// Why it cannot be expanded.
        reason: String,
    },
    /// Matching took more steps than it may.
    #[error("the pattern took too many steps on this text")]
    TooManySteps,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub struct Regex {
    pattern: String,
    flags: Flags,
    /// What decides whether a text has a match, where that takes no program.
    beginning: Option<Beginning>,
    /// Compiled when it is wanted, if there is a beginning; that is refused by nobody.
    program: OnceLock<fancy_regex::Regex>,
}

/// Where the groups of one match lie; group 0 is the whole match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captures(Vec<Option<Range<usize>>>);

impl Captures {
    /// Returns where group `index` matched.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Range<usize>> {
        self.0.get(index).cloned().flatten()
    }

    /// Returns where the whole pattern matched.
    #[must_use]
    pub fn whole(&self) -> Range<usize> {
        self.get(0).unwrap_or_default()
    }

    /// Returns how many groups there are, the whole included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "group 0 is always there")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Regex {
    /// Compiles `pattern` as `re.compile(pattern, flags)` does.
    pub fn new(pattern: &str, flags: Flags) -> Result<Self, ReError> {
        let regex = Self {
            pattern: pattern.to_owned(),
            flags,
            beginning: Beginning::read(pattern, flags),
            program: OnceLock::new(),
        };
        if regex.beginning.is_none() {
            regex.program()?;
        }
        Ok(regex)
    }

    fn program(&self) -> Result<&fancy_regex::Regex, ReError> {
        if let Some(program) = self.program.get() {
            return Ok(program);
        }
        let program = compile(&self.pattern, self.flags)?;
        Ok(self.program.get_or_init(|| program))
    }

    /// Returns whether the pattern was compiled with `re.M`, by flag or inline.
    #[must_use]
    pub fn is_multiline(&self) -> bool {
        let mut flags = self.flags;
        leading_flags(&self.pattern, &mut flags);
        flags.multiline
    }

    /// Returns the names of the groups by index; unnamed ones are `None`.
    pub fn group_names(&self) -> impl Iterator<Item = Option<&str>> {
        let program = self.program().ok();
        program
            .into_iter()
            .flat_map(fancy_regex::Regex::capture_names)
    }

    /// Finds the first match at or after byte `from`: `pattern.search(text, from)`.
    pub fn search(&self, text: &[u8], from: usize) -> Result<Option<Captures>, ReError> {
        let found = self.program()?.captures_from_pos(text, from);
        let found = found.map_err(|_| ReError::TooManySteps)?;
        Ok(found.map(|groups| {
            let ranges = (0..groups.len()).map(|i| groups.get(i).map(|m| m.range()));
            Captures(ranges.collect())
        }))
    }

    /// Returns whether `text` has a match anywhere.
    pub fn is_match(&self, text: &[u8]) -> Result<bool, ReError> {
        if let Some(beginning) = &self.beginning {
            return Ok(beginning.matches(text));
        }
        let matches = self.program()?.is_match(text);
        matches.map_err(|_| ReError::TooManySteps)
    }

    /// Finds all matches as `finditer` does, empty ones right after others included.
    pub fn find_all(&self, text: &[u8]) -> Result<Vec<Captures>, ReError> {
        let mut found = Vec::new();
        let (mut from, mut not_empty_at) = (0, None);
        while from <= text.len() {
            let Some(groups) = self.search(text, from)? else {
                break;
            };
            let Range { start, end } = groups.whole();
            if start == end && not_empty_at == Some(start) {
                from = next_char(text, start);
                not_empty_at = None;
                continue;
            }
            from = end;
            not_empty_at = (start == end).then_some(end);
            found.push(groups);
        }
        Ok(found)
    }

    /// Replaces matches as `subn(template, text, count)` does; a `count` of 0 replaces all.
    pub fn sub(
        &self,
        template: &str,
        text: &[u8],
        count: usize,
    ) -> Result<(Vec<u8>, usize), ReError> {
        let mut found = self.find_all(text)?;
        if count > 0 {
            found.truncate(count);
        }
        let template = Template::parse(template, self)?;
        let (mut out, mut at) = (Vec::new(), 0);
        for groups in &found {
            let Range { start, end } = groups.whole();
            out.extend_from_slice(&text[at..start]);
            template.expand(groups, text, &mut out);
            at = end;
        }
        out.extend_from_slice(&text[at..]);
        Ok((out, found.len()))
    }

    /// Fills `template` with the groups of one match: `match.expand(template)`.
    pub fn expand(
        &self,
        template: &str,
        groups: &Captures,
        text: &[u8],
    ) -> Result<Vec<u8>, ReError> {
        let mut out = Vec::new();
        Template::parse(template, self)?.expand(groups, text, &mut out);
        Ok(out)
    }
}

fn compile(pattern: &str, flags: Flags) -> Result<fancy_regex::Regex, ReError> {
    let (translated, flags) = translate(pattern, flags);
    let mode = if flags.bytes {
        BytesMode::Ascii
    } else {
        BytesMode::UnicodeBytes
    };
    RegexBuilder::new(&translated)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multiline)
        .dot_matches_new_line(flags.dot_all)
        .verbose_mode(flags.verbose)
        .bytes_mode(mode)
        .build()
        .map_err(|e| ReError::Pattern {
            reason: refusal::python_says(pattern).unwrap_or_else(|| e.to_string()),
        })
}

/// Returns the byte after the UTF-8 character (or stray byte) at `at`.
fn next_char(text: &[u8], at: usize) -> usize {
    let mut next = at + 1;
    while next < text.len() && text[next] & 0xC0 == 0x80 {
        next += 1;
    }
    next
}

/// A replacement: text and group references.
struct Template(Vec<Part>);

enum Part {
    Text(String),
    Group(usize),
}

impl Template {
    fn parse(template: &str, regex: &Regex) -> Result<Self, ReError> {
        let names: Vec<Option<&str>> = regex.group_names().collect();
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = template.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '\\' {
                text.push(c);
                continue;
            }
            match template_escape(&mut chars, &names)? {
                Part::Text(more) => text.push_str(&more),
                group @ Part::Group(_) => {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(group);
                }
            }
        }
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    fn expand(&self, groups: &Captures, text: &[u8], out: &mut Vec<u8>) {
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Group(index) => {
                    out.extend_from_slice(&text[groups.get(*index).unwrap_or_default()]);
                }
            }
        }
    }
}

/// Reads what follows a backslash in a replacement.
fn template_escape(
    chars: &mut Peekable<Chars<'_>>,
    names: &[Option<&str>],
) -> Result<Part, ReError> {
    let bad = |reason: String| ReError::Template { reason };
    let plain = |c: char| Ok(Part::Text(c.to_string()));
    match chars.next() {
        None => Err(bad("bad escape (end of pattern)".to_owned())),
        Some('g') => {
            let name = group_name(chars).ok_or_else(|| bad("missing group name".to_owned()))?;
            let index = match name.parse() {
                Ok(index) => index,
                Err(_) => names
                    .iter()
                    .position(|known| *known == Some(name.as_str()))
                    .ok_or_else(|| bad(format!("unknown group name '{name}'")))?,
            };
            group(index, names)
        }
        Some('0') => plain(octal(chars, 0, 2)),
        Some(digit @ '1'..='9') => {
            let first = digit as usize - '0' as usize;
            let Some(second) = chars.next_if(char::is_ascii_digit) else {
                return group(first, names);
            };
            let three =
                digit < '4' && second < '8' && chars.peek().is_some_and(|c| ('0'..'8').contains(c));
            if three {
                let high = digit.to_digit(8).unwrap_or(0) * 8 + second.to_digit(8).unwrap_or(0);
                return plain(octal(chars, high, 1));
            }
            group(first * 10 + (second as usize - '0' as usize), names)
        }
        Some(c) => match escape_char(c) {
            Some(c) => plain(c),
            None if c == '\\' => plain('\\'),
            None if c.is_ascii_alphabetic() => Err(bad(format!("bad escape \\{c}"))),
            None => Ok(Part::Text(format!("\\{c}"))),
        },
    }
}

fn group(index: usize, names: &[Option<&str>]) -> Result<Part, ReError> {
    if index < names.len() {
        return Ok(Part::Group(index));
    }
    Err(ReError::Template {
        reason: format!("invalid group reference {index}"),
    })
}

fn group_name(chars: &mut Peekable<Chars<'_>>) -> Option<String> {
    chars.next_if_eq(&'<')?;
    let mut name = String::new();
    loop {
        match chars.next()? {
            '>' => return Some(name),
            c => name.push(c),
        }
    }
}

/// Reads up to `more` further octal digits after those that made `value`.
fn octal(chars: &mut Peekable<Chars<'_>>, mut value: u32, more: usize) -> char {
    for _ in 0..more {
        let Some(digit) = chars.next_if(|c| ('0'..'8').contains(c)) else {
            break;
        };
        value = value * 8 + digit.to_digit(8).unwrap_or(0);
    }
    char::from_u32(value).unwrap_or('\0')
}

fn escape_char(c: char) -> Option<char> {
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ => return None,
    })
}

/// Rewrites a Python pattern for `fancy-regex`; returns the flags with the inline ones added.
fn translate(pattern: &str, mut flags: Flags) -> (String, Flags) {
    let body = leading_flags(pattern, &mut flags);
    let mut out = String::with_capacity(body.len() + 8);
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, false, &mut out),
            '[' => class(&mut chars, flags, &mut out),
            '$' if !flags.multiline => out.push_str(r"(?=\n?\z)"),
            '{' => brace(&mut chars, &mut out),
            '}' => out.push_str(r"\}"),
            '(' if comes(&chars, "?#") => {
                chars.by_ref().find(|c| *c == ')');
            }
            c => out.push(c),
        }
    }
    (out, flags)
}

fn comes(chars: &Peekable<Chars<'_>>, text: &str) -> bool {
    chars.clone().take(text.len()).eq(text.chars())
}

/// Takes `(?im)` off the front, the only place where Python lets global flags stand.
fn leading_flags<'a>(pattern: &'a str, flags: &mut Flags) -> &'a str {
    let Some((letters, rest)) = pattern
        .strip_prefix("(?")
        .and_then(|rest| rest.split_once(')'))
        .filter(|(letters, _)| {
            !letters.is_empty() && letters.chars().all(|c| "aiLmsux".contains(c))
        })
    else {
        return pattern;
    };
    for letter in letters.chars() {
        match letter {
            'i' => flags.ignore_case = true,
            'm' => flags.multiline = true,
            's' => flags.dot_all = true,
            'x' => flags.verbose = true,
            'a' => flags.bytes = true,
            _ => {}
        }
    }
    leading_flags(rest, flags)
}

/// Writes the escape that follows a backslash.
fn escape(chars: &mut Peekable<Chars<'_>>, in_class: bool, out: &mut String) {
    let Some(c) = chars.next() else {
        out.push('\\');
        return;
    };
    match c {
        'Z' if !in_class => out.push_str(r"\z"),
        'u' => hex(chars, 4, out),
        'U' => hex(chars, 8, out),
        'x' => hex(chars, 2, out),
        '0' => literal(octal(chars, 0, 2), out),
        'b' if in_class => literal('\x08', out),
        'A' | 'b' | 'B' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' | '1'..='9' => {
            out.push('\\');
            out.push(c);
        }
        c if escape_char(c).is_some() => literal(escape_char(c).unwrap_or(c), out),
        // An escape Python does not know: left for the compiler to refuse.
        c if c.is_ascii_alphabetic() => {
            out.push_str("\\p{unknown escape ");
            out.push(c);
            out.push('}');
        }
        c => literal(c, out),
    }
}

/// Writes `c` so that it can mean nothing but itself.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_alphanumeric() || !c.is_ascii() {
        out.push(c);
    } else {
        let _ = write!(out, "\\x{:02X}", u32::from(c));
    }
}

fn hex(chars: &mut Peekable<Chars<'_>>, digits: usize, out: &mut String) {
    let mut value = 0;
    for _ in 0..digits {
        let Some(digit) = chars.next_if(char::is_ascii_hexdigit) else {
            break;
        };
        value = value * 16 + digit.to_digit(16).unwrap_or(0);
    }
    literal(char::from_u32(value).unwrap_or('\u{FFFD}'), out);
}

/// Writes a character class; inside one, only Python's own specials stay special.
fn class(chars: &mut Peekable<Chars<'_>>, flags: Flags, out: &mut String) {
    out.push('[');
    if chars.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    while let Some(c) = chars.next() {
        match c {
            ']' if first => out.push_str(r"\]"),
            ']' => {
                out.push(']');
                return;
            }
            '\\' => escape(chars, true, out),
            '[' | '&' | '~' | '#' => literal(c, out),
            '-' if chars.peek() == Some(&'-') => out.push_str(r"\-"),
            c if flags.verbose && c.is_ascii_whitespace() => literal(c, out),
            c => out.push(c),
        }
        first = false;
    }
}

/// Writes what begins with `{`: a repeat as it is, anything else as a literal brace.
fn brace(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    let ahead: String = chars.clone().take_while(|c| *c != '}').collect();
    let closed = chars.clone().nth(ahead.chars().count()) == Some('}');
    let (low, high) = ahead.split_once(',').unwrap_or((&ahead, "0"));
    let number = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    if !closed || !number(low) || !number(high) || ahead.is_empty() {
        out.push_str(r"\{");
        return;
    }
    chars.nth(ahead.chars().count());
    let low = if low.is_empty() { "0" } else { low };
    let tail = ahead.find(',').map_or("", |at| &ahead[at..]);
    let _ = write!(out, "{{{low}{tail}}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(pattern: &str, template: &str, text: &str) -> String {
        let regex = Regex::new(pattern, Flags::default()).unwrap();
        let (out, _) = regex.sub(template, text.as_bytes(), 0).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn found(pattern: &str, text: &str) -> Option<Range<usize>> {
        let regex = Regex::new(pattern, Flags::default()).unwrap();
        regex.search(text.as_bytes(), 0).unwrap().map(|m| m.whole())
    }

    #[test]
    fn a_dollar_matches_before_the_last_newline_only() {
        assert_eq!(found("b$", "ab\n"), Some(1..2));
        assert_eq!(found("a$", "a\nb"), None);
        assert_eq!(found("(?m)a$", "a\nb"), Some(0..1));
        assert_eq!(found(r"b\Z", "ab\n"), None);
    }

    #[test]
    fn empty_matches_are_replaced_as_python_does() {
        assert_eq!(sub("x*", "-", "abxd"), "-a-b--d-");
        assert_eq!(sub("", "-", "äb"), "-ä-b-");
    }

    #[test]
    fn templates_know_numbers_names_and_escapes() {
        assert_eq!(
            sub(r"(?P<k>\w+)=(\w+)", r"\g<k>:\2\t\g<0>\\", "a=b"),
            "a:b\ta=b\\"
        );
        assert_eq!(sub("(a)|(b)", r"<\1\2>", "ab"), "<a><b>");
        let regex = Regex::new("a", Flags::default()).unwrap();
        let error = regex.sub(r"\1", b"a", 0).unwrap_err();
        assert_eq!(error.to_string(), "invalid group reference 1");
    }

    #[test]
    fn what_is_special_in_one_dialect_only_stays_literal() {
        assert_eq!(found(r"\<Directory\>", "<Directory>"), Some(0..11));
        assert_eq!(found("[[a&&b]", "["), Some(0..1));
        assert_eq!(found("[]a]", "]"), Some(0..1));
        assert_eq!(found("{{ x }}", "{{ x }}"), Some(0..7));
        assert_eq!(found("a{,2}b", "aab"), Some(0..3));
        assert_eq!(found(r#"\"\'\/\-\ "#, r#""'/- "#), Some(0..5));
        assert_eq!(found(r"\x41\u00e9", "Aé"), Some(0..3));
        assert!(Regex::new(r"\y", Flags::default()).is_err());
    }

    #[test]
    fn look_around_and_back_references_work() {
        assert_eq!(found(r"(?<!#)Port(?= 22)", "#Port 22 Port 22"), Some(9..13));
        assert_eq!(found(r"(?P<q>['x])a(?P=q)", "'a'"), Some(0..3));
    }

    #[test]
    fn a_bytes_pattern_matches_any_byte() {
        let flags = Flags {
            bytes: true,
            ..Flags::default()
        };
        let regex = Regex::new("^a.c$", flags).unwrap();
        assert!(regex.is_match(b"a\xffc\n").unwrap());
    }
}
