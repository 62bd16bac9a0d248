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
    /// What all scalars are written as that can be.
    pub(super) scalars: Option<Scalars>,
    /// Whether everything is written out: tags, quotes, brackets.
    pub(super) canonical: bool,
}

/// How scalars are written, needed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalars {
    Single,
    Double,
    /// In a block of their own, `|`.
    Literal,
    /// Likewise, long lines folded: `>`.
    Folded,
    /// As they are without a style; `PyYAML` only counts them as styled.
    Plain,
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
    if style.explicit_start || style.canonical {
        emitter.out.push_str("---");
        emitter.column = 3;
        emitter.blank = false;
        emitter.indention = false;
        if style.canonical {
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
    /// What it is; unless it is a text, it needs a tag that says so when it is quoted.
    tag: &'static str,
}

impl Scalar {
    fn is_text(&self) -> bool {
        self.tag == "!!str"
    }
}

fn represent(value: &Value, style: &Style, depth: usize) -> Result<Node, Error> {
    if depth > 100 {
        return Err(Error::failed("the value is nested too deeply"));
    }
    let plain = |text: String, tag| {
        Node::Scalar(Scalar {
            text,
            plain: true,
            tag,
        })
    };
    let is_scalar = |node: &Node| matches!(node, Node::Scalar(_)) && style.scalars.is_none();
    let seq = |items: &[Value]| {
        let nodes = items.iter().map(|item| represent(item, style, depth + 1));
        let nodes = nodes.collect::<Result<Vec<_>, _>>()?;
        let flow = style.flow.unwrap_or_else(|| nodes.iter().all(is_scalar));
        Ok(Node::Seq(nodes, flow || style.canonical))
    };
    Ok(match value {
        Value::None => plain("null".to_owned(), "!!null"),
        Value::Bool(truth) => plain(truth.to_string(), "!!bool"),
        Value::Int(_) | Value::Big(_) => plain(value.to_string(), "!!int"),
        Value::Float(f) => plain(yaml_float(*f), "!!float"),
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
            Node::Map(pairs, flow || style.canonical)
        }
        Value::Undefined(undefined) => return Err(crate::template::eval::trip(undefined)),
        Value::Bytes(bytes) => Node::Binary(base64_lines(bytes)),
        other => {
            let text = other.to_string();
            let is_moment = Moment::of(other).is_some();
            Node::Scalar(Scalar {
                plain: is_moment || crate::yaml::is_plain_text(&text),
                text,
                tag: if is_moment { "!!timestamp" } else { "!!str" },
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
        if simple(key) && !self.style.canonical {
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
        if !flow || self.style.canonical || self.column > self.style.width {
            self.indent(indent);
        }
        self.indicator(":", true, false, !flow);
        self.node(value, indent, at);
    }

    fn flow_seq(&mut self, items: &[Node], indent: Option<usize>) {
        self.tag("!!seq");
        self.indicator("[", true, true, false);
        let inner = self.deeper(indent, true, false);
        for (index, item) in items.iter().enumerate() {
            self.next_in_flow(index, inner);
            let at = Position {
                flow: true,
                ..Position::default()
            };
            self.node(item, inner, at);
        }
        self.end_flow(items.is_empty(), indent);
        self.indicator("]", false, false, false);
    }

    fn flow_map(&mut self, pairs: &[(Node, Node)], indent: Option<usize>) {
        self.tag("!!map");
        self.indicator("{", true, true, false);
        let inner = self.deeper(indent, true, false);
        for (index, (key, value)) in pairs.iter().enumerate() {
            self.next_in_flow(index, inner);
            self.pair(key, value, inner, true);
        }
        self.end_flow(pairs.is_empty(), indent);
        self.indicator("}", false, false, false);
    }

    /// Writes what a value is, where all is written out.
    fn tag(&mut self, tag: &str) {
        if self.style.canonical {
            self.indicator(tag, true, false, false);
        }
    }

    fn next_in_flow(&mut self, index: usize, inner: Option<usize>) {
        if index > 0 {
            self.indicator(",", false, false, false);
        }
        if self.style.canonical || self.column > self.style.width {
            self.indent(inner);
        }
    }

    fn end_flow(&mut self, empty: bool, indent: Option<usize>) {
        if self.style.canonical && !empty {
            self.indicator(",", false, false, false);
            self.indent(indent);
        }
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
        let in_line = at.simple_key && found.multiline;
        if self.style.canonical {
            self.tag(scalar.tag);
            return self.double(text, indent, split);
        }
        let wanted = match self.style.scalars {
            Some(Scalars::Plain) => None,
            Some(Scalars::Literal | Scalars::Folded)
                if !found.block || at.flow || at.simple_key =>
            {
                Some(Scalars::Double)
            }
            wanted => wanted,
        };
        if !scalar.is_text() && (wanted.is_some() || !allowed) {
            self.indicator("!", true, false, false);
        }
        match wanted {
            Some(Scalars::Double) => return self.double(text, indent, split),
            Some(Scalars::Literal) => return self.literal(text, indent),
            Some(Scalars::Folded) => return self.folded_block(text, indent),
            _ => {}
        }
        let plain = wanted.is_none() && scalar.plain && allowed;
        if plain && !(in_line || at.simple_key && text.is_empty()) {
            self.folded(text, indent, split, false);
        } else if found.single && !in_line {
            self.indicator("'", true, false, false);
            self.folded(text, indent, split, true);
            self.indicator("'", false, false, false);
        } else {
            self.double(text, indent, split);
        }
    }

    /// Begins a block: how it is indented, where its own lines do not say that, and how it ends.
    fn begin_block(&mut self, kind: &str, text: &str) {
        self.indicator(kind, true, false, false);
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            let hint = self.style.indent.to_string();
            self.text(&hint);
        }
        let mut last = text.chars().rev();
        let chomps = match (last.next(), last.next()) {
            (Some(c), _) if !is_break(c) => "-",
            (None, _) => "-",
            (_, None) => "+",
            (_, Some(before)) if is_break(before) => "+",
            _ => "",
        };
        self.text(chomps);
        self.line_break();
        self.open_ended = chomps == "+";
    }

    fn literal(&mut self, text: &str, indent: Option<usize>) {
        self.begin_block("|", text);
        let mut begins = true;
        for c in text.chars() {
            if is_break(c) {
                self.break_by(c);
                begins = true;
                continue;
            }
            if begins {
                self.indent(indent);
            }
            self.text(c.encode_utf8(&mut [0; 4]));
            (self.indention, begins) = (false, false);
        }
    }

    fn folded_block(&mut self, text: &str, indent: Option<usize>) {
        self.begin_block(">", text);
        let (mut begins, mut leads) = (true, true);
        let chars: Vec<char> = text.chars().collect();
        for (at, c) in chars.iter().copied().enumerate() {
            let next = chars.get(at + 1).copied();
            if is_break(c) {
                if !begins && !leads && c == '\n' {
                    let after = chars[at..].iter().find(|c| !is_break(**c));
                    if after.is_some_and(|c| !matches!(c, ' ' | '\t' | '\0')) {
                        self.line_break();
                    }
                }
                self.break_by(c);
                begins = true;
                continue;
            }
            if begins {
                self.indent(indent);
                leads = matches!(c, ' ' | '\t');
            }
            if !begins && c == ' ' && next != Some(' ') && self.column > self.style.width {
                self.indent(indent);
            } else {
                self.text(c.encode_utf8(&mut [0; 4]));
            }
            (self.indention, begins) = (false, false);
        }
    }

    /// Breaks a line of a block as the text does.
    fn break_by(&mut self, c: char) {
        self.line_break();
        if c != '\n' {
            self.out.pop();
            self.out.push(c);
        }
    }

    fn binary(&mut self, text: &str, indent: Option<usize>, at: Position) {
        self.indicator("!!binary", true, false, false);
        if at.flow || at.simple_key || text.is_empty() || self.style.canonical {
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

fn is_break(c: char) -> bool {
    "\n\u{85}\u{2028}\u{2029}".contains(c)
}

/// What styles a text allows, as `PyYAML`'s `analyze_scalar` finds.
struct Analysis {
    multiline: bool,
    flow_plain: bool,
    block_plain: bool,
    single: bool,
    block: bool,
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
                block: false,
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
            breaks |= is_break(c);
            if !(c == '\n' || (' '..='~').contains(&c)) {
                let nice = c == '\u{85}' || printable(c);
                special |= !(nice && c != '\u{feff}' && unicode);
            }
            let before = at.checked_sub(1).map(|b| chars[b]);
            let was_break = before.is_some_and(is_break);
            space_break |= is_break(c) && before == Some(' ');
            break_space |= c == ' ' && was_break;
            preceded = "\0 \t\r\n\u{85}\u{2028}\u{2029}".contains(c);
        }
        let last = chars.last().copied().unwrap_or(first);
        let edges = first == ' ' || last == ' ' || is_break(first) || is_break(last);
        let mut found = Self {
            multiline: breaks,
            flow_plain: true,
            block_plain: true,
            single: true,
            block: !(space_break || special || last == ' '),
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
