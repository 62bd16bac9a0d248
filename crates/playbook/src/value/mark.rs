//! Texts, and whose word each is. A mark is a byte beside the text: no text costs more for it.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

/// Whose word a text is. What is not known to be the author's is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mark {
    /// Said by a machine, or made of other texts: never evaluated.
    #[default]
    Data,
    /// A constant in an expression. It may hold a template where a lookup takes it as a term,
    /// and is data as soon as it has left the expression.
    Literal,
    /// Written in a playbook, an inventory, a prompt or on the command line: may be evaluated.
    Author,
}

/// A text and its mark. Two texts are equal whosever they are.
#[derive(Clone, Default)]
pub struct Text {
    chars: Rc<str>,
    mark: Mark,
}

impl Text {
    /// Returns a text with its mark.
    #[must_use]
    pub fn new(chars: impl Into<Rc<str>>, mark: Mark) -> Self {
        let chars = chars.into();
        Self { chars, mark }
    }

    /// Returns a text that the author wrote.
    #[must_use]
    pub fn authors(chars: &str) -> Self {
        Self::new(chars, Mark::Author)
    }

    /// Returns whose word it is.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Returns whether it may be evaluated.
    #[must_use]
    pub fn is_authors(&self) -> bool {
        self.mark == Mark::Author
    }

    /// Returns the text without its mark, shared.
    #[must_use]
    pub fn shared(&self) -> Rc<str> {
        self.chars.clone()
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.chars
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chars)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.chars == other.chars
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.chars.cmp(&other.chars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    #[test]
    fn a_mark_makes_no_value_larger() {
        let plain = std::mem::size_of::<Rc<str>>();
        assert_eq!(std::mem::size_of::<Value>(), plain + 8);
    }

    #[test]
    fn what_is_not_known_to_be_the_authors_is_data() {
        for value in [
            Value::str("x"),
            Value::from("x"),
            Value::from(String::from("x")),
        ] {
            assert_eq!(value.mark(), Some(Mark::Data));
        }
        assert_eq!(Text::default().mark(), Mark::Data);
        assert_eq!(Value::authored("x", None).mark(), Some(Mark::Author));
        assert_eq!(Value::authored("{{ x }}", None).mark(), Some(Mark::Author));
    }

    #[test]
    fn texts_are_equal_whosever_they_are() {
        assert!(Text::authors("x") == Text::new("x", Mark::Data));
    }
}
