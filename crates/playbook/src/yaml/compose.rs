//! From events to nodes: an explicit stack, anchors with a bound, merge keys, duplicate keys.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use num_bigint::BigInt;

use super::scalar::{self, Schema};
use super::{Document, Kind, Node, explain};
use crate::diagnostic::{Diagnostic, Source, Span};

/// Nested deeper than this is refused; everything that walks a tree may recurse.
pub(super) const DEPTH_LIMIT: usize = 200;

/// Nodes, or 64 bytes of text, that aliases may add: laughs, not billions.
const ALIAS_LIMIT: usize = 1_000_000;

pub(super) fn compose(
    source: &Arc<Source>,
    text: &str,
    schema: Schema,
) -> Result<Document, Diagnostic> {
    let mut composer = Composer::new(source, schema);
    composer.refuse_control_characters(text)?;
    let options = granit_parser::options! {
        block_scalar_eof_without_line_feed: true,
        bom_inside_document_as_content: true,
        emit_anchor_events: true,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event
            .map_err(|e| explain::explain(&composer.span(e.marker()), &e.kind().to_string()))?;
        composer.take(event, &span.start)?;
    }
    let root = composer.root.take().unwrap_or_else(|| Node {
        span: composer.at(1, 1),
        tag: None,
        kind: Kind::Null,
    });
    Ok(Document {
        root,
        warnings: composer.warnings,
    })
}

/// A node under construction, with what only the composer needs to know.
#[derive(Clone)]
struct Made {
    node: Node,
    /// Whether it was a plain scalar without a tag: only such a `<<` merges.
    plain: bool,
    depth: usize,
    weight: usize,
}

struct Open {
    span: Span,
    tag: Option<String>,
    anchor: usize,
    map: bool,
    items: Vec<Made>,
}

struct Composer<'s> {
    source: &'s Arc<Source>,
    schema: Schema,
    stack: Vec<Open>,
    anchors: HashMap<usize, Made>,
    aliased: usize,
    documents: usize,
    root: Option<Node>,
    warnings: Vec<Diagnostic>,
}

impl<'s> Composer<'s> {
    fn new(source: &'s Arc<Source>, schema: Schema) -> Self {
        Self {
            source,
            schema,
            stack: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            documents: 0,
            root: None,
            warnings: Vec::new(),
        }
    }

    fn take(&mut self, event: Event<'_>, start: &Marker) -> Result<(), Diagnostic> {
        let span = self.span(start);
        match event {
            Event::DocumentStart(..) => self.document(&span),
            Event::Alias(id) => self.alias(id, span),
            Event::Scalar(text, style, anchor, tag) => {
                let made = self.scalar(&text, style, tag.as_deref(), span)?;
                self.put(made, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => self.open(false, anchor, tag.as_deref(), span),
            Event::MappingStart(_, anchor, tag) => self.open(true, anchor, tag.as_deref(), span),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Anchor(id, _) => {
                self.begins_at(id, span);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// `PyYAML`'s reader refuses these wherever they stand; the parser lets some pass.
    fn refuse_control_characters(&self, text: &str) -> Result<(), Diagnostic> {
        let bad = |c: char| {
            (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}'))
                || matches!(c, '\u{fffe}' | '\u{ffff}')
        };
        let Some(at) = text.find(bad) else {
            return Ok(());
        };
        let before = &text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let found = text[at..].chars().next().unwrap_or_default();
        Err(Diagnostic::new(
            &self.at(line, column),
            format!("the character U+{:04X} is not allowed", u32::from(found)),
        ))
    }

    fn document(&mut self, span: &Span) -> Result<(), Diagnostic> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(Diagnostic::new(
                span,
                "a second document begins; one file holds one document",
            ));
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Diagnostic> {
        let Some(made) = self.anchors.get(&id).cloned() else {
            return Err(Diagnostic::new(
                &span,
                "this alias stands inside what it names",
            ));
        };
        self.aliased += made.weight;
        if self.aliased > ALIAS_LIMIT {
            return Err(Diagnostic::new(
                &span,
                format!("aliases add more than {ALIAS_LIMIT} values"),
            ));
        }
        // As in `PyYAML`, it stands where its anchor does.
        self.put(made, 0)
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<Made, Diagnostic> {
        let plain = style == ScalarStyle::Plain;
        let short = tag.map(short_tag);
        let key_like = self.at_key() && (text == "<<" || text == "=");
        let kind = match short.as_deref() {
            None if plain && !key_like => scalar::resolve(text, self.schema),
            // `!unsafe 12` is a number, as untagged; `!vault` holds text.
            Some("!unsafe") if plain => scalar::resolve(text, self.schema),
            None | Some("!" | "!unsafe" | "!vault" | "!vault-encrypted") => {
                Ok(Kind::Str(text.to_owned()))
            }
            Some(tag) if self.keeps(tag) => Ok(Kind::Str(text.to_owned())),
            Some(tag) => tag
                .strip_prefix("!!")
                .and_then(|name| scalar::construct(name, text))
                .unwrap_or_else(|| Err(format!("the tag {tag} is not known here"))),
        };
        Ok(Made {
            node: Node {
                kind: kind.map_err(|message| Diagnostic::new(&span, message))?,
                span,
                tag: short.clone(),
            },
            plain: plain && short.is_none(),
            depth: 1,
            weight: 1 + text.len() / 64,
        })
    }

    /// Returns whether a tag is for others to understand.
    fn keeps(&self, tag: &str) -> bool {
        self.schema == Schema::Tagged && !tag.starts_with("!!")
    }

    fn at_key(&self) -> bool {
        self.stack
            .last()
            .is_some_and(|open| open.map && open.items.len().is_multiple_of(2))
    }

    fn open(
        &mut self,
        map: bool,
        anchor: usize,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<(), Diagnostic> {
        if self.stack.len() >= DEPTH_LIMIT {
            return Err(too_deep(&span));
        }
        let tag = tag.map(short_tag);
        let own = if map { "!!map" } else { "!!seq" };
        match tag.as_deref() {
            None | Some("!" | "!unsafe") => {}
            Some(tag) if tag == own || self.keeps(tag) => {}
            Some("!!omap" | "!!pairs") if !map => {}
            Some("!!set") if map => {}
            Some(tag) => {
                let what = if map { "a mapping" } else { "a list" };
                return Err(Diagnostic::new(
                    &span,
                    format!("the tag {tag} does not fit {what}"),
                ));
            }
        }
        self.stack.push(Open {
            span,
            tag,
            anchor,
            map,
            items: Vec::new(),
        });
        Ok(())
    }

    /// A list or mapping that has just begun stands where its anchor does, as in `PyYAML`.
    fn begins_at(&mut self, anchor: usize, span: Span) {
        if let Some(open) = self.stack.last_mut().filter(|open| open.anchor == anchor) {
            open.span = span;
        }
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(open) = self.stack.pop() else {
            return Ok(());
        };
        let depth = 1 + open.items.iter().map(|i| i.depth).max().unwrap_or(0);
        let weight = 1 + open.items.iter().map(|i| i.weight).sum::<usize>();
        let kind = if open.map {
            Kind::Map(self.mapping(open.items)?)
        } else {
            Kind::Seq(open.items.into_iter().map(|made| made.node).collect())
        };
        let (kind, tag) = match open.tag.as_deref() {
            Some("!!set") => (keys_of(kind), None),
            Some("!!omap" | "!!pairs") => (listed_pairs(kind)?, None),
            _ => (kind, open.tag),
        };
        let node = Node {
            span: open.span,
            tag,
            kind,
        };
        let made = Made {
            node,
            plain: false,
            depth,
            weight,
        };
        self.put(made, open.anchor)
    }

    fn put(&mut self, made: Made, anchor: usize) -> Result<(), Diagnostic> {
        if self.stack.len() + made.depth > DEPTH_LIMIT {
            return Err(too_deep(&made.node.span));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, made.clone());
        }
        match self.stack.last_mut() {
            Some(open) => open.items.push(made),
            None => self.root = Some(made.node),
        }
        Ok(())
    }

    /// Pairs keys and values up: what is merged in comes first, a key given twice counts last.
    fn mapping(&mut self, items: Vec<Made>) -> Result<Vec<(Node, Node)>, Diagnostic> {
        let mut pairs = Pairs::default();
        let mut own = Vec::new();
        let mut merged = Vec::new();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            if key.plain && matches!(&key.node.kind, Kind::Str(text) if text == "<<") {
                merged.extend(merge_sources(value.node)?);
            } else {
                own.push((key.node, value.node));
            }
        }
        for (key, value) in merged {
            pairs.set(key, value)?;
        }
        let mut seen = Pairs::default();
        for (key, value) in own {
            let at = Node {
                kind: Kind::Null,
                tag: None,
                span: key.span.clone(),
            };
            if seen.set(key.clone(), at)? {
                self.warnings.push(
                    Diagnostic::new(&key.span, format!("the key {} is given twice", shown(&key)))
                        .hint("only the last value counts"),
                );
            }
            pairs.set(key, value)?;
        }
        Ok(pairs.pairs)
    }

    fn span(&self, marker: &Marker) -> Span {
        self.at(marker.line(), marker.col() + 1)
    }

    fn at(&self, line: usize, column: usize) -> Span {
        Span {
            source: Arc::clone(self.source),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

/// Returns what `!!set` stands for: there are no sets here, so its members are a list.
fn keys_of(kind: Kind) -> Kind {
    match kind {
        Kind::Map(pairs) => Kind::Seq(pairs.into_iter().map(|(key, _)| key).collect()),
        other => other,
    }
}

/// Returns what Ansible makes of `!!omap` and `!!pairs`: a list of lists of two.
fn listed_pairs(kind: Kind) -> Result<Kind, Diagnostic> {
    let Kind::Seq(items) = kind else {
        return Ok(kind);
    };
    let pair = |item: Node| match item.kind {
        Kind::Map(pairs) if pairs.len() == 1 => Ok(Node {
            kind: Kind::Seq(pairs.into_iter().flat_map(|(k, v)| [k, v]).collect()),
            ..item
        }),
        _ => Err(item.unexpected("a pair", "a mapping of one key")),
    };
    Ok(Kind::Seq(
        items.into_iter().map(pair).collect::<Result<_, _>>()?,
    ))
}

/// Returns the pairs that `<<: value` brings, in the order in which later ones win.
fn merge_sources(value: Node) -> Result<Vec<(Node, Node)>, Diagnostic> {
    let wrong = |node: &Node| {
        Diagnostic::new(
            &node.span,
            format!(
                "`<<` takes a mapping or a list of mappings, not {}",
                node.kind_name()
            ),
        )
    };
    match value.kind {
        Kind::Map(pairs) => Ok(pairs),
        Kind::Seq(items) => {
            let mut all = Vec::new();
            for item in items.into_iter().rev() {
                match item.kind {
                    Kind::Map(pairs) => all.extend(pairs),
                    _ => return Err(wrong(&item)),
                }
            }
            Ok(all)
        }
        _ => Err(wrong(&value)),
    }
}

/// An ordered mapping with Python's idea of equal keys.
#[derive(Default)]
struct Pairs {
    pairs: Vec<(Node, Node)>,
    index: HashMap<Key, usize>,
}

impl Pairs {
    /// Sets `key`, keeping the place of an equal one, as a dict does. Returns whether it was there.
    fn set(&mut self, key: Node, value: Node) -> Result<bool, Diagnostic> {
        let hashed = hashed(&key)?;
        if let Some(at) = self.index.get(&hashed) {
            self.pairs[*at].1 = value;
            return Ok(true);
        }
        self.index.insert(hashed, self.pairs.len());
        self.pairs.push((key, value));
        Ok(false)
    }
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Null,
    Int(BigInt),
    Text(String),
    Other(String),
}

/// In Python `1 == 1.0 == True`.
fn hashed(key: &Node) -> Result<Key, Diagnostic> {
    Ok(match &key.kind {
        Kind::Null => Key::Null,
        Kind::Bool(truth) => Key::Int(BigInt::from(u8::from(*truth))),
        Kind::Int(int) => Key::Int(int.clone()),
        Kind::Float(float) if float.fract() == 0.0 && float.abs() < 1e15 => {
            format!("{float:.0}").parse().map_or(Key::Null, Key::Int)
        }
        Kind::Float(float) => Key::Other(float.to_string()),
        Kind::Str(text) => Key::Text(text.clone()),
        Kind::Timestamp(date) => Key::Other(date.to_string()),
        Kind::Seq(_) | Kind::Map(_) => {
            let wrong = Diagnostic::new(
                &key.span,
                format!("{} cannot be a key of a mapping", key.kind_name()),
            );
            return Err(wrong.hint("a value that begins with `{{` must be quoted"));
        }
    })
}

fn shown(key: &Node) -> String {
    match &key.kind {
        Kind::Str(text) => format!("`{text}`"),
        Kind::Int(int) => format!("`{int}`"),
        Kind::Bool(truth) => format!("`{truth}`"),
        _ => key.kind_name().to_owned(),
    }
}

fn short_tag(tag: &Tag) -> String {
    match tag.suffix_in_namespace("tag:yaml.org,2002:") {
        Some(name) => format!("!!{name}"),
        None => format!("{}{}", tag.handle(), tag.suffix()),
    }
}

fn too_deep(span: &Span) -> Diagnostic {
    Diagnostic::new(span, format!("nested deeper than {DEPTH_LIMIT} levels"))
}
