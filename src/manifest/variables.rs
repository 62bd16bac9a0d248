//! The manifest's variables: `--var` over `--var-file` over `AMIBAKE_VAR_name` over the default.

use std::collections::BTreeMap;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;

use super::read;

/// Values from outside the manifest, strongest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// `--var`, then `--var-file`, then the environment.
    layers: Vec<BTreeMap<String, String>>,
}

impl Given {
    /// Returns the values of each layer, strongest first.
    pub(crate) fn new(layers: Vec<BTreeMap<String, String>>) -> Self {
        Self { layers }
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }
}

/// Variables and their values.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, String>,
    sensitive: Vec<String>,
}

/// Names that have a value only when an image is about to be made.
const LATER: [&str; 2] = ["arch", "build_time"];

impl Variables {
    pub(super) fn read(node: Option<&Node>, given: &Given) -> Result<Self, Diagnostic> {
        let mut variables = Self::default();
        let Some(node) = node else {
            return Ok(variables);
        };
        for (key, value) in node.expect_map("`variables`")? {
            let name = key.expect_str("a variable's name")?;
            if !is_name(name) || LATER.contains(&name) || name == "name" {
                return Err(Diagnostic::new(
                    &key.span,
                    format!("`{name}` cannot be a variable's name"),
                ));
            }
            let fields = value.fields("a variable", &["default", "sensitive"])?;
            let value = match given.get(name) {
                Some(value) => value.clone(),
                None => fields.text("default")?.ok_or_else(|| missing(key, name))?,
            };
            if fields.bool("sensitive")? == Some(true) {
                variables.sensitive.push(name.to_owned());
            }
            variables.values.insert(name.to_owned(), value);
        }
        Ok(variables)
    }

    /// Returns these variables and one more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.values.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Returns text with its variables filled in.
    pub(super) fn fill(&self, node: &Node, text: &str) -> Result<String, Diagnostic> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let wrong = |message: String| Diagnostic::new(&node.span, message);
            let (inside, after) = after
                .split_once("}}")
                .ok_or_else(|| wrong("`{{` without `}}`".into()))?;
            let name = inside.trim();
            filled.push_str(before);
            if !is_name(name) {
                return Err(wrong(format!("`{name}` is no variable's name"))
                    .hint("expressions in the manifest itself are not supported yet"));
            }
            match self.values.get(name) {
                Some(value) => filled.push_str(value),
                None if LATER.contains(&name) => filled.push_str(&format!("{{{{ {name} }}}}")),
                None => {
                    let known = self.values.keys().map(String::as_str).chain(LATER);
                    return Err(wrong(format!("unknown variable `{name}`")).nearest(name, known));
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// Refuses a text that names a sensitive variable, or holds its value.
    pub(super) fn refuse_secrets(&self, node: &Node, what: &str) -> Result<(), Diagnostic> {
        let text = read::fill(node, what, self)?;
        for name in &self.sensitive {
            if self
                .values
                .get(name)
                .is_some_and(|v| !v.is_empty() && text.contains(v.as_str()))
            {
                return Err(Diagnostic::new(
                    &node.span,
                    format!("{what} holds the sensitive variable `{name}`"),
                )
                .hint(
                    "anybody in the account can read user data; give secrets to a playbook instead",
                ));
            }
        }
        Ok(())
    }
}

fn missing(key: &Node, name: &str) -> Diagnostic {
    Diagnostic::new(&key.span, format!("variable `{name}` has no value")).hint(format!(
        "give it by `--var {name}=…`, AMIBAKE_VAR_{name}, or a default"
    ))
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Returns `text` with `{{ name }}`, as [`Variables::fill`] leaves it, replaced.
pub(super) fn replace_name(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("{{{{ {name} }}}}"), value)
}
