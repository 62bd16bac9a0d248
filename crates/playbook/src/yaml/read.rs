//! Reading a node as what it should be, with a complaint at its place if it is not.

use super::{Diagnostic, Kind, Node};

impl Node {
    /// Returns the text of a text node.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the truth of a boolean node.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.kind {
            Kind::Bool(truth) => Some(truth),
            _ => None,
        }
    }

    /// Returns the number of a node that is whole and fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match &self.kind {
            Kind::Int(int) => i64::try_from(int).ok(),
            _ => None,
        }
    }

    /// Returns the items of a list.
    #[must_use]
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the pairs of a mapping.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            Kind::Map(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// Returns the value of the text key `name` of a mapping.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        let (_, value) = self
            .as_map()?
            .iter()
            .find(|(key, _)| key.as_str() == Some(name))?;
        Some(value)
    }

    /// Returns whether it is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind == Kind::Null
    }

    /// Returns whether it is text that may be a template: `{{` or `{%` inside, and not `!unsafe`.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.tag.as_deref() != Some("!unsafe")
            && self
                .as_str()
                .is_some_and(|text| text.contains("{{") || text.contains("{%"))
    }

    /// Returns a scalar as text, the way Python's `str` writes it; `None` for lists, mappings, null.
    #[must_use]
    pub fn scalar_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Null | Kind::Seq(_) | Kind::Map(_) => None,
            Kind::Bool(true) => Some("True".to_owned()),
            Kind::Bool(false) => Some("False".to_owned()),
            Kind::Int(int) => Some(int.to_string()),
            Kind::Float(float) => Some(format!("{float:?}")),
            Kind::Str(text) => Some(text.clone()),
            Kind::Timestamp(date) => Some(date.to_string()),
        }
    }

    /// Returns the complaint that this node is not `wanted` ("a mapping").
    #[must_use]
    pub fn unexpected(&self, what: &str, wanted: &str) -> Diagnostic {
        Diagnostic::new(
            &self.span,
            format!("{what} must be {wanted}, not {}", self.kind_name()),
        )
    }

    /// Returns the text of `what`, a text node.
    pub fn expect_str(&self, what: &str) -> Result<&str, Diagnostic> {
        self.as_str().ok_or_else(|| self.unexpected(what, "text"))
    }

    /// Returns the text of `what`, any scalar.
    pub fn expect_text(&self, what: &str) -> Result<String, Diagnostic> {
        self.scalar_text()
            .ok_or_else(|| self.unexpected(what, "text"))
    }

    /// Returns the truth of `what`; text like `"yes"` is understood too.
    pub fn expect_bool(&self, what: &str) -> Result<bool, Diagnostic> {
        self.scalar_text()
            .and_then(|text| truth(&text))
            .ok_or_else(|| self.unexpected(what, "true or false"))
    }

    /// Returns the whole number of `what`; text that is one is understood too.
    pub fn expect_int(&self, what: &str) -> Result<i64, Diagnostic> {
        self.as_i64()
            .or_else(|| self.as_str()?.trim().parse().ok())
            .ok_or_else(|| self.unexpected(what, "a whole number"))
    }

    /// Returns the items of `what`, a list.
    pub fn expect_seq(&self, what: &str) -> Result<&[Node], Diagnostic> {
        self.as_seq().ok_or_else(|| self.unexpected(what, "a list"))
    }

    /// Returns the pairs of `what`, a mapping.
    pub fn expect_map(&self, what: &str) -> Result<&[(Node, Node)], Diagnostic> {
        self.as_map()
            .ok_or_else(|| self.unexpected(what, "a mapping"))
    }

    /// Returns `what` as a mapping whose every key is one of `known`.
    pub fn fields<'n>(
        &'n self,
        what: &'n str,
        known: &[&'static str],
    ) -> Result<Fields<'n>, Diagnostic> {
        for (key, _) in self.expect_map(what)? {
            let name = key.expect_str("a key")?;
            if !known.contains(&name) {
                let wrong = Diagnostic::new(&key.span, format!("unknown key `{name}` in {what}"));
                let listed = format!("known keys: {}", known.join(", "));
                let wrong = wrong.nearest(name, known.iter().copied());
                return Err(match wrong.hint {
                    Some(_) => wrong,
                    None => wrong.hint(listed),
                });
            }
        }
        Ok(Fields { node: self, what })
    }
}

/// Returns what Ansible's `boolean` makes of a text.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
        "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
        _ => None,
    }
}

/// A mapping whose keys are all known.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'n> {
    pub node: &'n Node,
    what: &'n str,
}

impl<'n> Fields<'n> {
    /// Returns the value of `key`, if it is there and not null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.node.get(key).filter(|value| !value.is_null())
    }

    /// Returns the value of `key`, which must be there.
    pub fn require(&self, key: &str) -> Result<&'n Node, Diagnostic> {
        self.get(key).ok_or_else(|| {
            Diagnostic::new(&self.node.span, format!("{} has no `{key}`", self.what))
        })
    }

    /// Returns the text of `key`, if it is there.
    pub fn text(&self, key: &str) -> Result<Option<String>, Diagnostic> {
        self.get(key)
            .map(|value| value.expect_text(&format!("`{key}`")))
            .transpose()
    }

    /// Returns the truth of `key`, if it is there.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Diagnostic> {
        self.get(key)
            .map(|value| value.expect_bool(&format!("`{key}`")))
            .transpose()
    }

    /// Returns the whole number of `key`, if it is there.
    pub fn int(&self, key: &str) -> Result<Option<i64>, Diagnostic> {
        self.get(key)
            .map(|value| value.expect_int(&format!("`{key}`")))
            .transpose()
    }

    /// Returns the items of the list `key`; none if it is not there.
    pub fn seq(&self, key: &str) -> Result<&'n [Node], Diagnostic> {
        match self.get(key) {
            Some(value) => value.expect_seq(&format!("`{key}`")),
            None => Ok(&[]),
        }
    }
}
