//! What can go wrong in a template.

use crate::value::{Place, Trace, ValueError, Via};

/// A template that cannot be rendered.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}{}", self.location())]
pub struct Error {
    /// What went wrong, in Ansible's words where it has some: `'foo' is undefined`.
    pub message: String,
    /// Which sort of trouble it is.
    pub kind: ErrorKind,
    /// The template or expression it arose in.
    pub expression: Option<String>,
    /// Where that stands.
    pub place: Option<Place>,
    /// How it was met.
    pub trace: Box<Trace>,
}

/// The sorts of trouble a caller may want to tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The text is no template, or names a filter or test that does not exist.
    Syntax,
    /// A filter, test or lookup that Ansible has is not here.
    Missing,
    /// A variable or attribute is undefined.
    Undefined,
    /// An operation failed.
    Failed,
    /// What should be evaluated is not the author's word.
    Untrusted,
    /// The limits on time, memory or nesting were reached.
    Limit,
}

/// How messages begin that need no word more.
const TOLD: &[&str] = &[
    "The filter plugin",
    "The test plugin",
    "The lookup plugin",
    "Error rendering",
    "Syntax error in",
    "Recursive loop detected",
];

/// What text it was that could not be evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// One with `{{ }}`.
    Template,
    /// One without: a condition, `debug: var`.
    Expression,
}

impl What {
    fn noun(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Expression => "expression",
        }
    }
}

impl Error {
    /// Returns an error of `kind` without a place.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind,
            expression: None,
            place: None,
            trace: Box::default(),
        }
    }

    /// Returns an operation's failure.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// Returns the refusal to evaluate what is data.
    #[must_use]
    pub fn untrusted() -> Self {
        let message = "Encountered untrusted template or expression.";
        Self::new(ErrorKind::Untrusted, message)
    }

    /// Names the text and the place, unless an inner one has been named already, and says in Ansible's
    /// words what became of it.
    #[must_use]
    pub(crate) fn within(mut self, what: What, text: &str, place: Option<&Place>) -> Self {
        if self.expression.is_none() {
            let own = self.place.take().filter(|place| !place.file.is_empty());
            self.place = own.or_else(|| place.cloned());
            let met = self.trace.expression.take();
            self.expression = Some(met.unwrap_or_else(|| text.to_owned()));
            self.say(what);
        }
        self
    }

    /// Names the file and the line of the template that it was met in: as its place, if none is nearer.
    pub(crate) fn in_file(mut self, file: &str, line: u32) -> Self {
        let place = Place {
            file: file.into(),
            line,
            column: 0,
        };
        match &self.place {
            None => self.place = Some(place),
            Some(known) if *known.file == *file => {}
            Some(_) => {
                let named = |via: &Via| via.place.as_ref().is_some_and(|at| at.file == place.file);
                if !self.trace.via.iter().any(named) {
                    self.trace.via.push(Via {
                        variable: None,
                        place: Some(place),
                    });
                }
            }
        }
        self
    }

    /// Puts before a bare reason what was being done. Plugins have named themselves, and what an inner text came
    /// to may have passed through a value.
    pub(crate) fn say(&mut self, what: What) {
        let begun = |begin: &&str| self.message.starts_with(begin);
        if TOLD.iter().any(begun) {
            return;
        }
        let doing = match self.kind {
            ErrorKind::Syntax => "Syntax error in",
            ErrorKind::Failed => "Error rendering",
            ErrorKind::Missing | ErrorKind::Undefined | ErrorKind::Untrusted | ErrorKind::Limit => {
                return;
            }
        };
        self.message = format!("{doing} {}: {}", what.noun(), self.message);
    }

    fn location(&self) -> String {
        let place = self.place.as_ref().map(|place| format!(" ({place})"));
        match &self.expression {
            Some(text) => format!(", in {}{}", shorten(text), place.unwrap_or_default()),
            None => place.unwrap_or_default(),
        }
    }
}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        Self::failed(error.0)
    }
}

/// Returns a template in one line of bearable length.
fn shorten(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(120) {
        Some((cut, _)) => format!("`{}…`", &line[..cut]),
        None => format!("`{line}`"),
    }
}
