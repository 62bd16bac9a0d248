//! The manifest's variables: `--var` over `--var-file` over `AMIBAKE_VAR_name` over the default.

use std::collections::{BTreeMap, BTreeSet};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::yaml::Node;
use amibake_protocol::mask::Mask;

use super::expression::{self, Rendered};
use crate::secret::Secret;

/// Values from outside the manifest, strongest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    /// `--var`, then `--var-file`, then the environment.
    layers: Vec<BTreeMap<String, String>>,
    secrets: Secrets,
}

/// Whether a sensitive variable must have its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Secrets {
    #[default]
    Needed,
    /// Nothing is made of them: another text stands for one that is not given.
    Unneeded,
}

impl Given {
    /// Returns the values of each layer, strongest first.
    pub(crate) fn new(layers: Vec<BTreeMap<String, String>>) -> Self {
        Self {
            layers,
            secrets: Secrets::Needed,
        }
    }

    /// Returns the same for a command that may need no secrets.
    pub(crate) fn with_secrets(self, secrets: Secrets) -> Self {
        Self { secrets, ..self }
    }

    fn get(&self, name: &str) -> Option<&String> {
        self.layers.iter().find_map(|layer| layer.get(name))
    }
}

/// What variables of a manifest were given from outside: who uses it again gives it again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct GivenHere {
    /// Those that may be shown.
    pub(crate) values: BTreeMap<String, String>,
}

/// Variables and their values.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables {
    values: BTreeMap<String, String>,
    sensitive: Vec<String>,
    /// Those that were given from outside.
    given: BTreeSet<String>,
    /// Whether a text may have the sensitive ones.
    for_machine: bool,
}

/// A shorter secret would be found in every other text.
const SHORTEST_SECRET: usize = 4;

/// Names of what each image has a value of its own for.
pub(super) const LATER: [&str; 2] = ["arch", BUILD_TIME];

const BUILD_TIME: &str = "build_time";

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
            let is_sensitive = fields.bool("sensitive")? == Some(true);
            let value = match given.get(name) {
                Some(value) => {
                    variables.given.insert(name.to_owned());
                    value.clone()
                }
                None => match fields.text("default")? {
                    Some(default) => default,
                    None if is_sensitive && given.secrets == Secrets::Unneeded => {
                        format!("the value of {name} is not known here")
                    }
                    None => return Err(missing(key, name)),
                },
            };
            // Empty is no secret but the lack of one.
            if is_sensitive && !value.is_empty() {
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

    /// Returns the sensitive ones.
    pub(super) fn sensitive(&self) -> BTreeMap<String, Secret<String>> {
        let named = self.secrets();
        let named = named.map(|(name, value)| (name.to_owned(), Secret::new(value.to_owned())));
        named.collect()
    }

    /// Returns the names of all.
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.values.keys().cloned().collect()
    }

    /// Returns those that were given from outside.
    pub(super) fn given(&self) -> GivenHere {
        let plain = self
            .given
            .iter()
            .filter(|name| !self.sensitive.contains(name));
        let value = |name: &String| Some((name.clone(), self.values.get(name)?.clone()));
        GivenHere {
            values: plain.filter_map(value).collect(),
        }
    }

    fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        let value = |name| self.values.get(name).map(String::as_str);
        let names = self.sensitive.iter().map(String::as_str);
        names.filter_map(move |name| Some((name, value(name)?)))
    }

    /// Returns text with its expressions evaluated.
    ///
    /// # Errors
    /// A sensitive variable, or its value, in a text that is not for a machine: names, tags and
    /// descriptions are read by everybody in the account.
    pub(super) fn fill(&self, node: &Node, text: &str) -> Result<String, Diagnostic> {
        let rendered = match expression::is_template(text) {
            true => expression::render(node, text, &self.values)?,
            false => Rendered {
                text: text.to_owned(),
                used: BTreeSet::new(),
            },
        };
        self.check_build_time(node, text, &rendered)?;
        // What is made of a secret, its hash for one, is none to look at.
        let mut secrets = self.secrets();
        let told_by = secrets
            .find(|(name, value)| rendered.used.contains(*name) || rendered.text.contains(value));
        match told_by {
            Some((name, _)) if !self.for_machine => Err(told(node, name)),
            _ => {
                self.check_secrets(node, text, &rendered)?;
                Ok(rendered.text)
            }
        }
    }

    /// Refuses a text that makes something of a secret: the mask would not know it, nor the content that
    /// it must be hidden.
    fn check_secrets(
        &self,
        node: &Node,
        text: &str,
        rendered: &Rendered,
    ) -> Result<(), Diagnostic> {
        for name in self.sensitive.iter().filter(|n| rendered.used.contains(*n)) {
            let rest = without_bare(text, name);
            let is_made = || {
                Ok(expression::render(node, &rest, &self.values)?
                    .used
                    .contains(name))
            };
            if text.contains("{%") || is_made()? {
                let message =
                    format!("an expression makes something of the sensitive variable `{name}`");
                return Err(Diagnostic::new(&node.span, message).hint(format!(
                    "nothing would hide that: hand it on as it is, `{{{{ {name} }}}}`, and have the playbook make it"
                )));
            }
        }
        Ok(())
    }

    /// Refuses a text in which the build's time is not to be found as it is: an image's content is known
    /// by leaving it out.
    fn check_build_time(
        &self,
        node: &Node,
        text: &str,
        rendered: &Rendered,
    ) -> Result<(), Diagnostic> {
        let time = self.values.get(BUILD_TIME);
        let Some(time) = time.filter(|_| rendered.used.contains(BUILD_TIME)) else {
            return Ok(());
        };
        let other = self.clone().with(BUILD_TIME, OTHER_TIME);
        let later = expression::render(node, text, &other.values)?;
        if rendered.text.replace(time, OTHER_TIME) == later.text {
            return Ok(());
        }
        let message = "what an expression makes of `build_time` would be another content each time";
        Err(Diagnostic::new(&node.span, message).hint("put it in as it is: `{{ build_time }}`"))
    }
}

/// Returns a text without the expressions that are nothing but this variable.
fn without_bare(text: &str, name: &str) -> String {
    let (mut rest, mut kept) = (text, String::new());
    while let Some((before, after)) = rest.split_once("{{") {
        kept.push_str(before);
        rest = match after.split_once("}}") {
            Some((inside, after)) if inside.trim() == name => after,
            _ => {
                kept.push_str("{{");
                after
            }
        };
    }
    kept + rest
}

/// Another time than that of any build.
const OTHER_TIME: &str = "10000101T000000Z";

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
