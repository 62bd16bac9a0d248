//! Texts of the manifest as templates: the playbook's own engine over the manifest's variables, shut
//! off from files, commands, the environment, the clock and chance, so that a manifest says the same
//! wherever and whenever it is read.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use amibake_playbook::diagnostic::Diagnostic;
use amibake_playbook::template::{Error, Outside, Scope, Templar};
use amibake_playbook::value::{Place, Value};
use amibake_playbook::yaml::Node;

use super::variables::LATER;

/// What is in reach of every template and is no variable.
const FUNCTIONS: [&str; 13] = [
    "cycler",
    "dict",
    "joiner",
    "lipsum",
    "lookup",
    "namespace",
    "now",
    "omit",
    "q",
    "query",
    "range",
    "undef",
    "vars",
];

/// A text with its expressions evaluated.
pub(super) struct Rendered {
    pub(super) text: String,
    /// The variables that had a say in it.
    pub(super) used: BTreeSet<String>,
}

/// Whether a text has expressions: a lone `{#` is the shell's more often than a comment.
pub(super) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Returns what a template gives with these variables.
pub(super) fn render(
    node: &Node,
    text: &str,
    values: &BTreeMap<String, String>,
) -> Result<Rendered, Diagnostic> {
    let (names, shut) = (Names::of(values), Shut::default());
    let rendered = Templar::new(&names, &shut).render_str(text, None);
    let wrong = |message: String| Diagnostic::new(&node.span, message);
    if let Some(name) = names.unknown.take() {
        return Err(match LATER.contains(&&*name) {
            true => wrong(format!("`{{{{ {name} }}}}` has no value here"))
                .hint("each image has its own value, and `name` and `source.arch` are shared by all: put it into `image.name`"),
            false => {
                let known = values.keys().map(String::as_str).chain(LATER);
                wrong(format!("unknown variable `{name}`")).nearest(&name, known)
            }
        });
    }
    if let Some(asked) = shut.asked.get() {
        return Err(wrong(format!("an expression in the manifest cannot depend on {asked}"))
            .hint("give the value by a variable: `--var`, or AMIBAKE_VAR_name; `build_time` is the time of the build"));
    }
    let text = match rendered.map_err(|error| wrong(error.to_string()))? {
        Value::Str(text) => text.to_string(),
        number @ (Value::Bool(_) | Value::Int(_) | Value::Big(_) | Value::Float(_)) => {
            number.to_string()
        }
        other => {
            let gives = other.type_name();
            return Err(wrong(format!("this gives a {gives}, and must give text")));
        }
    };
    let used = names.used.into_inner();
    Ok(Rendered { text, used })
}

/// The manifest's variables, and which of them were asked for.
struct Names<'a> {
    values: &'a BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
    /// The first that there is not.
    unknown: RefCell<Option<String>>,
}

impl<'a> Names<'a> {
    fn of(values: &'a BTreeMap<String, String>) -> Self {
        Self {
            values,
            used: RefCell::default(),
            unknown: RefCell::default(),
        }
    }
}

impl Scope for Names<'_> {
    fn get(&self, name: &str) -> Option<Value> {
        let found = self.values.get(name);
        match found {
            Some(_) => _ = self.used.borrow_mut().insert(name.to_owned()),
            None if FUNCTIONS.contains(&name) => {}
            None => _ = self.unknown.borrow_mut().get_or_insert(name.to_owned()),
        }
        found.map(Value::str)
    }

    fn names(&self) -> Vec<String> {
        self.values.keys().cloned().collect()
    }
}

/// A world that answers nothing, and remembers what it was asked.
#[derive(Default)]
struct Shut {
    asked: Cell<Option<&'static str>>,
}

impl Outside for Shut {
    fn lookup(
        &self,
        name: &str,
        _terms: &[Value],
        _options: &amibake_playbook::template::Kwargs,
        _place: Option<&Place>,
    ) -> Result<Vec<Value>, Error> {
        self.asked.set(Some("lookups"));
        Err(Error::failed(format!("the lookup {name} is for playbooks")))
    }

    fn environment(&self, _name: &str, _place: Option<&Place>) -> Result<Option<String>, Error> {
        self.asked.set(Some("the environment"));
        Ok(None)
    }

    fn now(&self) -> (i64, u32, i32) {
        self.asked.set(Some("the time"));
        (0, 0, 0)
    }

    fn entropy(&self, bytes: &mut [u8]) {
        self.asked.set(Some("chance"));
        bytes.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use amibake_playbook::yaml;

    use super::*;

    fn rendered(text: &str) -> Result<Rendered, String> {
        let values = [("name", "web"), ("version", "1.2.3"), ("count", "3")];
        let values = values.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let quoted = serde_json::Value::from(text).to_string();
        let document = yaml::parse(Path::new("/m/web.yaml"), quoted.as_bytes()).unwrap();
        render(&document.root, text, &values).map_err(|wrong| wrong.message)
    }

    #[test]
    fn a_text_is_what_its_expressions_give() {
        for (text, expected) in [
            ("{{ name | upper }}", "WEB"),
            (
                "{{ name }}-{{ version.split('.')[:2] | join('-') }}",
                "web-1-2",
            ),
            ("{{ count | int * 2 }}", "6"),
            (
                "{% if version is version('1.0', '>=') %}new{% else %}old{% endif %}",
                "new",
            ),
            ("{{ version | default('main', true) }}", "1.2.3"),
            ("{{ '{{' }} name }}", "{{ name }}"),
            ("{% for n in range(2) %}{{ n }}{% endfor %}", "01"),
            (
                "{{ 'abc' | hash('sha256') | truncate(8, true, '') }}",
                "ba7816bf",
            ),
            ("{{ ['a', 'b'] | random(seed=version) }}", "b"),
        ] {
            assert_eq!(
                rendered(text).map(|r| r.text).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
        let used = rendered("{{ name if count == '3' else version }}")
            .unwrap()
            .used;
        assert_eq!(
            used,
            BTreeSet::from(["count".to_owned(), "name".to_owned()])
        );
    }

    #[test]
    fn it_depends_on_nothing_but_the_manifest_s_variables() {
        for (text, why) in [
            ("{{ now() }}", "cannot depend on the time"),
            ("{{ '%Y' | strftime }}", "cannot depend on the time"),
            ("{{ ['a', 'b'] | random }}", "cannot depend on chance"),
            (
                "{{ lookup('env', 'HOME') }}",
                "cannot depend on the environment",
            ),
            (
                "{{ lookup('file', '/etc/passwd') }}",
                "cannot depend on lookups",
            ),
            (
                "{{ lookup('pipe', 'id') | default('x') }}",
                "cannot depend on lookups",
            ),
            ("{{ verson | default('x') }}", "unknown variable `verson`"),
            (
                "{{ ansible_facts.kernel }}",
                "unknown variable `ansible_facts`",
            ),
            ("{{ build_time }}", "`{{ build_time }}` has no value here"),
            (
                "{{ name.split('e') }}",
                "this gives a list, and must give text",
            ),
            ("{{ name | uppr }}", "uppr"),
            ("{{ name", "template"),
        ] {
            let said = rendered(text).map(|r| r.text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
