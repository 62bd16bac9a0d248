//! Writes YAML exactly as `PyYAML`'s emitter does: styles, folding, indentation.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Error;
use crate::value::{Moment, Value, compare, float_repr};

/// The emitter's options.
pub(super) struct Style {
    pub(super) indent: usize,
    pub(super) width: usize,
    /// Whether containers are in flow style; `None`: those that hold only plain scalars.
    pub(super) flow: Option<bool>,
    pub(super) sort: bool,
    pub(super) unicode: bool,
    pub(super) explicit_start: bool,
    pub(super) explicit_end: bool,
    /// The quotes that all scalars get, needed or not.
    pub(super) quote: Option<char>,
}

/// Returns `value` as a YAML document.
pub(super) fn dump(value: &Value, style: &Style) -> Result<String, Error> {
    let node = represent(value, style, 0)?;
    let mut emitter = Emitter {
        style,
        out: String::new(),
        column: 0,
        blank: true,
        indention: true,
        open_ended: false,
    };
    if style.explicit_start {
        emitter.out.push_str("---");
        emitter.column = 3;
        emitter.blank = false;
        if !matches!(node, Node::Scalar(_)) {
            emitter.line_break();
        }
    }
    emitter.node(&node, None, Position::default());
    if emitter.column > 0 || emitter.out.is_empty() {
        emitter.line_break();
    }
    if style.explicit_end || emitter.open_ended {
        emitter.out.push_str("...\n");
    }
    Ok(emitter.out)
}

enum Node {
    Scalar(Scalar),
    /// Bytes, in base64 by lines.
    Binary(String),
    Seq(Vec<Node>, bool),
    Map(Vec<(Node, Node)>, bool),
}

struct Scalar {
    text: String,
    /// Whether it reads back as itself without quotes.
    plain: bool,
    /// Whether it is no text: quoted it needs a tag that says so.
    foreign: bool,
}

fn represent(value: &Value, style: &Style, depth: usize) -> Result<Node, Error> {
    if depth > 100 {
        return Err(Error::failed("the value is nested too deeply"));
    }
    let plain = |text: String| {
        Node::Scalar(Scalar {
            text,
            plain: true,
            foreign: true,
        })
    };
    let is_scalar = |node: &Node| matches!(node, Node::Scalar(_)) && style.quote.is_none();
    let seq = |items: &[Value]| {
        let nodes = items.iter().map(|item| represent(item, style, depth + 1));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let flow = style.flow.unwrap_or_else(|| nodes.iter().all(is_scalar));
        Ok(Node::Seq(nodes, flow))
    };
    Ok(match value {
        Value::None => plain("null".to_owned()),
        Value::Bool(truth) => plain(truth.to_string()),
        Value::Int(_) | Value::Big(_) => plain(value.to_string()),
        Value::Float(f) => plain(yaml_float(*f)),
        Value::List(list) => return seq(&list.items()),
        Value::Tuple(items) => return seq(items),
        Value::Dict(dict) => {
            let mut entries = dict.entries();
            let sortable = entries
                .windows(2)
                .all(|pair| compare(pair[0].0.value(), pair[1].0.value(), "<").is_ok());
            if style.sort && sortable {
                entries.sort_by(|a, b| {
                    compare(a.0.value(), b.0.value(), "<").unwrap_or(std::cmp::Ordering::Equal)
                });
            }
            let mut pairs = Vec::new();
            for (key, value) in entries {
                pairs.push((
                    represent(key.value(), style, depth + 1)?,
                    represent(&value, style, depth + 1)?,
                ));
            }
            let flow = style
                .flow
                .unwrap_or_else(|| pairs.iter().all(|(k, v)| is_scalar(k) && is_scalar(v)));
            Node::Map(pairs, flow)
        }
        Value::Undefined(undefined) => return Err(crate::template::eval::trip(undefined)),
        Value::Bytes(bytes) => Node::Binary(base64_lines(bytes)),
        other => {
            let text = other.to_string();
            let foreign = Moment::of(other).is_some();
            let plain = foreign || crate::yaml::is_plain_text(&text);
            Node::Scalar(Scalar {
                text,
                plain,
                foreign,
            })
        }
    })
}

fn base64_lines(bytes: &[u8]) -> String {
    // 76 characters of base64 a line, as MIME has them.
    let lines = bytes.chunks(57).map(|line| STANDARD.encode(line) + "\n");
    lines.collect()
}

fn yaml_float(f: f64) -> String {
    if f.is_nan() {
        return ".nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = float_repr(f);
    if text.contains('.') {
        text
    } else {
        text.replacen('e', ".0e", 1)
    }
}

/// Where a node stands.
#[derive(Default, Clone, Copy)]
struct Position {
    flow: bool,
    in_mapping: bool,
    simple_key: bool,
}

struct Emitter<'a> {
    style: &'a Style,
    out: String,
    column: usize,
    blank: bool,
    indention: bool,
    open_ended: bool,
}

impl Emitter<'_> {
    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
        self.blank = true;
        self.indention = true;
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn indicator(&mut self, text: &str, need_space: bool, blank: bool, indention: bool) {
        if need_space && !self.blank {
            self.text(" ");
        }
        self.text(text);
        self.blank = blank;
        self.indention = self.indention && indention;
        self.open_ended = false;
    }

    fn indent(&mut self, indent: Option<usize>) {
        let indent = indent.unwrap_or(0);
        if !self.indention || self.column > indent || self.column == indent && !self.blank {
            self.line_break();
        }
        if self.column < indent {
            self.out.push_str(&" ".repeat(indent - self.column));
            self.column = indent;
            self.blank = true;
        }
    }

    fn deeper(&self, indent: Option<usize>, flow: bool, indentless: bool) -> Option<usize> {
        match indent {
            None => Some(if flow { self.style.indent } else { 0 }),
            Some(n) if indentless => Some(n),
            Some(n) => Some(n + self.style.indent),
        }
    }

    fn node(&mut self, node: &Node, indent: Option<usize>, at: Position) {
        match node {
            Node::Scalar(scalar) => {
                let indent = self.deeper(indent, true, false);
                self.scalar(scalar, indent, at);
            }
            Node::Binary(text) => {
                let indent = self.deeper(indent, true, false);
                self.binary(text, indent, at);
            }
            Node::Seq(items, flow) if at.flow || *flow || items.is_empty() => {
                self.flow_seq(items, indent);
            }
            Node::Seq(items, _) => {
                let indentless = at.in_mapping && !self.indention;
                let inner = self.deeper(indent, false, indentless);
                for item in items {
                    self.indent(inner);
                    self.indicator("-", true, false, true);
                    self.node(item, inner, Position::default());
                }
            }
            Node::Map(pairs, flow) if at.flow || *flow || pairs.is_empty() => {
                self.flow_map(pairs, indent);
            }
            Node::Map(pairs, _) => {
                let inner = self.deeper(indent, false, false);
                for (key, value) in pairs {
                    self.indent(inner);
                    self.pair(key, value, inner, false);
                }
            }
        }
    }

    fn pair(&mut self, key: &Node, value: &Node, indent: Option<usize>, flow: bool) {
        let at = Position {
            flow,
            in_mapping: true,
            simple_key: false,
        };
        if simple(key) {
            self.node(
                key,
                indent,
                Position {
                    simple_key: true,
                    ..at
                },
            );
            self.indicator(":", false, false, false);
            self.node(value, indent, at);
            return;
        }
        self.indicator("?", true, false, !flow);
        self.node(key, indent, at);
        self.indent(indent);
        self.indicator(":", true, false, !flow);
        self.node(value, indent, at);
    }

    fn flow_seq(&mut self, items: &[Node], indent: Option<usize>) {
        self.indicator("[", true, true, false);
        let inner = self.deeper(indent, true, false);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.indicator(",", false, false, false);
            }
            if self.column > self.style.width {
                self.indent(inner);
            }
            let at = Position {
                flow: true,
                ..Position::default()
            };
            self.node(item, inner, at);
        }
        self.indicator("]", false, false, false);
    }

    fn flow_map(&mut self, pairs: &[(Node, Node)], indent: Option<usize>) {
        self.indicator("{", true, true, false);
        let inner = self.deeper(indent, true, false);
        for (index, (key, value)) in pairs.iter().enumerate() {
            if index > 0 {
                self.indicator(",", false, false, false);
            }
            if self.column > self.style.width {
                self.indent(inner);
            }
            self.pair(key, value, inner, true);
        }
        self.indicator("}", false, false, false);
    }

    fn scalar(&mut self, scalar: &Scalar, indent: Option<usize>, at: Position) {
        let text = &scalar.text;
        let found = Analysis::of(text, self.style.unicode);
        let allowed = if at.flow {
            found.flow_plain
        } else {
            found.block_plain
        };
        let split = !at.simple_key;
        let quoted = self.style.quote.is_some() || !allowed;
        if scalar.foreign && quoted {
            self.indicator("!", true, false, false);
        }
        match self.style.quote {
            Some('"') => return self.double(text, indent, split),
            Some(_) if found.single && !(at.simple_key && found.multiline) => {
                self.indicator("'", true, false, false);
                self.folded(text, indent, split, true);
                return self.indicator("'", false, false, false);
            }
            _ => {}
        }
        if scalar.plain && allowed && !(at.simple_key && (text.is_empty() || found.multiline)) {
            self.folded(text, indent, split, false);
        } else if found.single && !(at.simple_key && found.multiline) {
            self.indicator("'", true, false, false);
            self.folded(text, indent, split, true);
            self.indicator("'", false, false, false);
        } else {
            self.double(text, indent, split);
        }
    }

    fn binary(&mut self, text: &str, indent: Option<usize>, at: Position) {
        self.indicator("!!binary", true, false, false);
        if at.flow || at.simple_key || text.is_empty() {
            return self.double(text, indent, !at.simple_key);
        }
        self.indicator("|", true, false, false);
        self.line_break();
        for line in text.lines() {
            self.indent(indent);
            self.text(line);
            self.indention = false;
            self.line_break();
        }
    }

    /// Writes plain or single-quoted text, folding at single blanks beyond the width.
    fn folded(&mut self, text: &str, indent: Option<usize>, split: bool, quoted: bool) {
        if !quoted && !text.is_empty() && !self.blank {
            self.text(" ");
        }
        self.blank = false;
        self.indention = false;
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < chars.len() {
            let kind = |c: char| if c == ' ' { 0 } else { u8::from(c == '\n') + 1 };
            let end = (at..chars.len())
                .find(|i| kind(chars[*i]) != kind(chars[at]))
                .unwrap_or(chars.len());
            let run: String = chars[at..end].iter().collect();
            match kind(chars[at]) {
                0 if end - at == 1
                    && self.column > self.style.width
                    && split
                    && (!quoted || at != 0 && end != chars.len()) =>
                {
                    self.indent(indent);
                    self.blank = false;
                    self.indention = false;
                }
                2 => {
                    self.out.push('\n');
                    self.column = 0;
                    for _ in at..end {
                        self.line_break();
                    }
                    self.out.pop();
                    self.indent_after_breaks(indent);
                }
                _ if quoted => self.text(&run.replace('\'', "''")),
                _ => self.text(&run),
            }
            at = end;
        }
    }

    /// Ends the empty lines inside a quoted text and begins its next line.
    fn indent_after_breaks(&mut self, indent: Option<usize>) {
        self.line_break();
        self.indent(indent);
        self.blank = false;
        self.indention = false;
    }

    /// Writes as libyaml does: broken at single blanks beyond the width.
    fn double(&mut self, text: &str, indent: Option<usize>, split: bool) {
        self.indicator("\"", true, false, false);
        let chars: Vec<char> = text.chars().collect();
        let mut spaced = false;
        for (at, c) in chars.iter().copied().enumerate() {
            let inside = at > 0 && at + 1 < chars.len();
            if c == ' ' && split && !spaced && inside && self.column > self.style.width {
                self.indent(indent);
                self.blank = false;
                self.indention = false;
                if chars.get(at + 1) == Some(&' ') {
                    self.text("\\");
                }
            } else if self.escapes(c) {
                self.text(&escape(c));
            } else {
                self.text(c.encode_utf8(&mut [0; 4]));
            }
            spaced = c == ' ';
        }
        self.indicator("\"", false, false, false);
    }

    fn escapes(&self, c: char) -> bool {
        "\"\\\u{85}\u{2028}\u{2029}\u{feff}".contains(c)
            || !((' '..='~').contains(&c) || self.style.unicode && printable(c))
    }
}

fn printable(c: char) -> bool {
    // libyaml, which Ansible writes with, escapes what is beyond the basic plane.
    matches!(c, '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
}

fn escape(c: char) -> String {
    let short = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' | '\\' => c,
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        c => {
            let code = u32::from(c);
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{short}")
}

/// Returns whether a key may stand on its line: short and without newlines.
fn simple(key: &Node) -> bool {
    match key {
        Node::Scalar(scalar) => scalar.text.chars().count() < 128 && !scalar.text.contains('\n'),
        Node::Seq(items, _) => items.is_empty(),
        Node::Map(pairs, _) => pairs.is_empty(),
        // Its last line ends too.
        Node::Binary(_) => false,
    }
}

/// What styles a text allows, as `PyYAML`'s `analyze_scalar` finds.
struct Analysis {
    multiline: bool,
    flow_plain: bool,
    block_plain: bool,
    single: bool,
}

impl Analysis {
    fn of(text: &str, unicode: bool) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let Some(first) = chars.first().copied() else {
            return Self {
                multiline: false,
                flow_plain: false,
                block_plain: true,
                single: true,
            };
        };
        let blank_at = |at: usize| {
            chars
                .get(at)
                .is_none_or(|c| "\0 \t\r\n\u{85}\u{2028}\u{2029}".contains(*c))
        };
        let (mut block, mut flow) = (false, false);
        if text.starts_with("---") || text.starts_with("...") {
            (block, flow) = (true, true);
        }
        let (mut special, mut breaks) = (false, false);
        let (mut space_break, mut break_space) = (false, false);
        let mut preceded = true;
        for (at, c) in chars.iter().copied().enumerate() {
            let followed = blank_at(at + 1);
            if at == 0 {
                match c {
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\''
                    | '"' | '%' | '@' | '`' => (flow, block) = (true, true),
                    '?' | ':' => {
                        flow = true;
                        block |= followed;
                    }
                    '-' if followed => (flow, block) = (true, true),
                    _ => {}
                }
            } else {
                match c {
                    ',' | '?' | '[' | ']' | '{' | '}' => flow = true,
                    ':' => {
                        flow = true;
                        block |= followed;
                    }
                    '#' if preceded => (flow, block) = (true, true),
                    _ => {}
                }
            }
            let is_break = "\n\u{85}\u{2028}\u{2029}".contains(c);
            breaks |= is_break;
            if !(c == '\n' || (' '..='~').contains(&c)) {
                let nice = c == '\u{85}' || printable(c);
                special |= !(nice && c != '\u{feff}' && unicode);
            }
            let before = at.checked_sub(1).map(|b| chars[b]);
            let was_break = before.is_some_and(|b| "\n\u{85}\u{2028}\u{2029}".contains(b));
            space_break |= is_break && before == Some(' ');
            break_space |= c == ' ' && was_break;
            preceded = "\0 \t\r\n\u{85}\u{2028}\u{2029}".contains(c);
        }
        let last = chars.last().copied().unwrap_or(first);
        let is_break = |c: char| "\n\u{85}\u{2028}\u{2029}".contains(c);
        let edges = first == ' ' || last == ' ' || is_break(first) || is_break(last);
        let mut found = Self {
            multiline: breaks,
            flow_plain: true,
            block_plain: true,
            single: true,
        };
        if edges || breaks || break_space || space_break || special {
            found.flow_plain = false;
            found.block_plain = false;
        }
        if break_space || space_break || special {
            found.single = false;
        }
        found.flow_plain &= !flow;
        found.block_plain &= !block;
        found
    }
}
