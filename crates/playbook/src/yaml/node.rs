//! The tree that a document is read into.

use num_bigint::BigInt;

use super::scalar::Timestamp;
use crate::diagnostic::{Diagnostic, Span};

/// A value, where it stands, and its tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub span: Span,
    /// Its explicit tag as usually written: `!vault`, `!unsafe`, `!!str`.
    pub tag: Option<String>,
    pub kind: Kind,
}

/// The values there are.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `~`, `null`, or nothing at all.
    Null,
    /// `yes`, `no`, `on`, `off`, `true`, `false`.
    Bool(bool),
    /// A whole number of any size.
    Int(BigInt),
    Float(f64),
    /// Text; for `!vault` the ciphertext.
    Str(String),
    /// A date, perhaps with a time.
    Timestamp(Timestamp),
    Seq(Vec<Node>),
    /// A mapping in its order, merge keys applied, no key twice.
    Map(Vec<(Node, Node)>),
}

/// A file's one document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The value; [`Kind::Null`] for an empty file.
    pub root: Node,
    /// What is not wrong but probably not meant: a key given twice.
    pub warnings: Vec<Diagnostic>,
}

impl Node {
    /// Returns what kind of value it is, for messages.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match &self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Str(_) => "text",
            Kind::Timestamp(_) => "a date",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}
