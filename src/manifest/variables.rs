//! The manifest's variables: `--var` over `--var-file` over `AMIBAKE_VAR_name` over the default.

use std::collections::BTreeMap;

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;
use amibake_protocol::mask::Mask;

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
    /// Whether a text may have the sensitive ones.
    for_machine: bool,
}

/// A shorter secret would be found in every other text.
const SHORTEST_SECRET: usize = 4;

/// Names of what each image has a value of its own for.
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
            // Empty is no secret but the lack of one.
            if fields.bool("sensitive")? == Some(true) && !value.is_empty() {
                if value.len() < SHORTEST_SECRET {
                    return Err(too_short(key, name));
                }
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

    /// Returns these variables for texts that nobody but a machine of ours gets.
    pub(super) fn for_machine(&self) -> Self {
        Self {
            for_machine: true,
            ..self.clone()
        }
    }

    /// Returns what hides the sensitive ones.
    pub(super) fn mask(&self) -> Mask {
        self.secrets().map(|(_, value)| value).collect()
    }

    fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        let value = |name| self.values.get(name).map(String::as_str);
        let names = self.sensitive.iter().map(String::as_str);
        names.filter_map(move |name| Some((name, value(name)?)))
    }

    /// Returns text with its variables filled in.
    ///
    /// # Errors
    /// A sensitive variable, or its value, in a text that is not for a machine: names, tags and
    /// descriptions are read by everybody in the account.
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
                return Err(wrong(format!("`{name}` is not the name of a variable"))
                    .hint("expressions in the manifest itself are not supported yet"));
            }
            match self.values.get(name) {
                Some(value) => filled.push_str(value),
                None if LATER.contains(&name) => {
                    return Err(wrong(format!("`{{{{ {name} }}}}` has no value here"))
                        .hint("each image has its own value, and `name` and `source.arch` are shared by all: put it into `image.name`"));
                }
                None => {
                    let known = self.values.keys().map(String::as_str).chain(LATER);
                    return Err(wrong(format!("unknown variable `{name}`")).nearest(name, known));
                }
            }
            rest = after;
        }
        filled.push_str(rest);
        match self.secrets().find(|(_, value)| filled.contains(value)) {
            Some((name, _)) if !self.for_machine => Err(told(node, name)),
            _ => Ok(filled),
        }
    }
}

fn too_short(key: &Node, name: &str) -> Diagnostic {
    Diagnostic::new(
        &key.span,
        format!("the sensitive variable `{name}` has fewer than {SHORTEST_SECRET} bytes"),
    )
    .hint("a value this short could not be hidden without hiding parts of everything else")
}

fn told(node: &Node, name: &str) -> Diagnostic {
    Diagnostic::new(
        &node.span,
        format!("this holds the sensitive variable `{name}`"),
    )
    .hint("others can read it here: sensitive variables are for `vars` in `provision`, and for `test`")
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
