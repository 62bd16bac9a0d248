//! The language's values: Python's, as far as a playbook can see them.
//!
//! Strings come in two kinds. A [`Value::Str`] reads as it stands, whatever it contains; its
//! [`Mark`] says whether the author of the playbook wrote it, so that it may be evaluated as an
//! expression, or whether it is data: everything a module, a fact or a lookup returns. A
//! [`Value::Template`] is text that the author wrote and that still holds `{{ … }}`: the
//! template room renders it when, and whenever, something reads it. No operation on values ever
//! makes an author's text out of data.

mod compare;
mod containers;
mod convert;
mod mark;
mod moment;
mod number;
mod object;
pub mod tagged;
mod text;

use std::rc::Rc;

use num_bigint::BigInt;

pub use compare::compare;
pub use containers::{Dict, Key, List};
pub use mark::{Mark, Text};
pub use moment::Moment;
pub use number::float_repr;
pub(crate) use number::from_big;
pub use object::{Object, Range};
pub(crate) use text::{key_text, repr_str};

/// A position in a file that the author can edit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The file, as the author knows it.
    pub file: Rc<str>,
    /// Line, from 1; 0 when only the file is known.
    pub line: u32,
    /// Column, from 1; 0 when only the line is known.
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, _) => write!(f, "line {}, column {}", self.line, self.column),
            (false, 0) => write!(f, "{}", self.file),
            (false, line) if self.column == 0 => write!(f, "{}:{line}", self.file),
            (false, line) => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// A template that has not been rendered, and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The text with its `{{ … }}`.
    pub text: Rc<str>,
    /// Where it stands, if it came from a file.
    pub place: Option<Place>,
}

/// How a failure was met: what it was that failed, and the way from there.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The text that failed, where it is not the one that is being rendered.
    pub expression: Option<String>,
    /// The variables and files by way of which it was met, innermost first.
    pub via: Vec<Via>,
    /// The nearest name that is there, of an attribute or a key that is not.
    pub near: Option<String>,
}

/// What a failure was met by way of.
#[derive(Debug, Clone)]
pub struct Via {
    /// A variable; without a name it is a template's file.
    pub variable: Option<Rc<str>>,
    /// Where it is written.
    pub place: Option<Place>,
}

/// A value that is not there: it may be asked about and chained through, and fails on use.
#[derive(Debug, Clone, Default)]
pub struct Undefined {
    /// What to say on use: `'foo' is undefined`.
    pub message: String,
    /// Where the expression stands that gave it, if known.
    pub place: Option<Place>,
    /// Whether it stands for a failure (an element that cannot be rendered) rather than for a
    /// missing name: `default` replaces the second only.
    pub failed: bool,
    pub trace: Trace,
    /// What it was looked for in, and by which name.
    pub sought: Option<(Value, Rc<str>)>,
}

/// A value.
#[derive(Clone, Default)]
pub enum Value {
    /// `None`.
    #[default]
    None,
    /// `True` and `False`.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// A whole number that does not fit an [`i64`]; never one that does.
    Big(Rc<BigInt>),
    Float(f64),
    /// Text that reads as it stands.
    Str(Text),
    /// Bytes, as from `.encode()`.
    Bytes(Rc<[u8]>),
    /// A mutable list, shared by its clones.
    List(List),
    Tuple(Rc<[Value]>),
    /// A mutable mapping in insertion order, shared by its clones.
    Dict(Dict),
    /// A template yet to be rendered.
    Template(Rc<Source>),
    /// What a missing name or attribute gives.
    Undefined(Rc<Undefined>),
    /// `omit`: drops the parameter or element it stands for.
    Omit,
    /// Anything else: ranges, macros, namespaces, moments, bound methods.
    Object(Rc<dyn Object>),
}

/// An operation that these values do not support, in Python's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

impl Value {
    /// Returns text that is data.
    pub fn str(text: impl AsRef<str>) -> Self {
        Self::Str(Text::new(text.as_ref(), Mark::Data))
    }

    /// Returns text that the author wrote and that reads as it stands, whatever it contains: a
    /// key, say.
    #[must_use]
    pub fn authors_str(text: &str) -> Self {
        Self::Str(Text::authors(text))
    }

    /// Returns a list of `items`.
    #[must_use]
    pub fn list(items: Vec<Value>) -> Self {
        Self::List(List::new(items))
    }

    /// Returns a tuple of `items`.
    #[must_use]
    pub fn tuple(items: Vec<Value>) -> Self {
        Self::Tuple(Rc::from(items))
    }

    /// Returns a mapping with text keys.
    pub fn dict<K: AsRef<str>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        let dict = Dict::new();
        for (key, value) in pairs {
            dict.insert(Key::from(key.as_ref()), value);
        }
        Self::Dict(dict)
    }

    /// Returns text that the author wrote: a template if it holds `{{`, `{%` or `{#`.
    #[must_use]
    pub fn authored(text: &str, place: Option<Place>) -> Self {
        if !crate::value::looks_like_template(text) {
            return Self::authors_str(text);
        }
        let text = Rc::from(text);
        Self::Template(Rc::new(Source { text, place }))
    }

    /// Returns the undefined value that a missing variable gives.
    #[must_use]
    pub fn undefined(name: &str) -> Self {
        Self::missing(format!("{} is undefined", repr_str(name)))
    }

    /// Returns an undefined value that says `message` on use.
    #[must_use]
    pub fn missing(message: String) -> Self {
        Self::Undefined(Rc::new(Undefined {
            message,
            ..Undefined::default()
        }))
    }

    /// Returns an undefined value for what `on` does not have under `name`.
    #[must_use]
    pub fn missing_in(on: &Self, name: &str, message: String) -> Self {
        Self::Undefined(Rc::new(Undefined {
            message,
            sought: Some((on.clone(), name.into())),
            ..Undefined::default()
        }))
    }

    /// Returns the text, if this is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns whose word it is, if this is text.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        match self {
            Self::Str(text) => Some(text.mark()),
            Self::Template(_) => Some(Mark::Author),
            _ => None,
        }
    }

    /// Returns the mapping, if this is one.
    #[must_use]
    pub fn as_dict(&self) -> Option<&Dict> {
        match self {
            Self::Dict(dict) => Some(dict),
            _ => None,
        }
    }

    /// Returns the list, if this is one.
    #[must_use]
    pub fn as_list(&self) -> Option<&List> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns the truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(truth) => Some(*truth),
            _ => None,
        }
    }

    /// Returns the whole number, if this is one (`True` is 1) and it fits.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(truth) => Some(i64::from(*truth)),
            _ => None,
        }
    }

    /// Returns the value for `key` if this is a mapping that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        self.as_dict()?.get(key)
    }

    /// Returns whether this stands for something missing.
    #[must_use]
    pub fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }

    /// Returns whether a template yet to be rendered is in it, or what fails on use.
    #[must_use]
    pub fn is_latent(&self) -> bool {
        match self {
            Self::Template(_) | Self::Undefined(_) => true,
            Self::List(list) => list.is_latent(),
            Self::Dict(dict) => dict.is_latent(),
            Self::Tuple(items) => items.iter().any(Value::is_latent),
            _ => false,
        }
    }

    /// Returns Python's truth of it.
    #[must_use]
    pub fn truthy(&self) -> bool {
        match self {
            Self::None | Self::Undefined(_) => false,
            Self::Bool(truth) => *truth,
            Self::Int(n) => *n != 0,
            Self::Float(f) => *f != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::Bytes(bytes) => !bytes.is_empty(),
            Self::List(list) => !list.is_empty(),
            Self::Tuple(items) => !items.is_empty(),
            Self::Dict(dict) => !dict.is_empty(),
            Self::Object(object) => object.truthy(),
            Self::Big(_) | Self::Template(_) | Self::Omit => true,
        }
    }

    /// Returns Python's name for its type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::None => "NoneType",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Big(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) | Self::Template(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Dict(_) => "dict",
            Self::Undefined(_) => "AnsibleUndefined",
            Self::Omit => "_OmitType",
            Self::Object(object) => object.type_name(),
        }
    }

    /// Returns a copy that shares no list or mapping with this value.
    #[must_use]
    pub fn deep_copy(&self) -> Self {
        match self {
            Self::List(list) => Self::List(list.deep_copy()),
            Self::Dict(dict) => Self::Dict(dict.deep_copy()),
            Self::Tuple(items) => Self::tuple(items.iter().map(Value::deep_copy).collect()),
            other => other.clone(),
        }
    }
}

/// Returns whether `text` has what begins a Jinja expression, statement or comment.
#[must_use]
pub fn looks_like_template(text: &str) -> bool {
    text.starts_with("#jinja2:")
        || text
            .as_bytes()
            .windows(2)
            .any(|pair| matches!(pair, b"{{" | b"{%" | b"{#"))
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl From<f64> for Value {
    fn from(f: f64) -> Self {
        Self::Float(f)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::str(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Str(Text::new(text, Mark::Data))
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::list(items)
    }
}
