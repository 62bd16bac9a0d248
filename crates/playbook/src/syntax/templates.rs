//! What templates name that is not there: in tasks and keywords, in variables, in the files that tasks render.

use std::sync::Arc;

use super::keywords;
use super::reach::Reachability;
use super::used::Supported;
use super::walk::{Follow, Walk};
use super::{Keywords, Task, known};
use crate::diagnostic::{Diagnostic, Source, Span};
use crate::template::plugins::{self, Support};
use crate::template::{Error, FileOptions, Use, uses, uses_of_expression, uses_of_file};
use crate::yaml::{Kind, Node, truth};

/// Larger files are no templates.
const MOST_BYTES: usize = 1 << 20;

/// Settings of a project of DebOps', in its folder.
const DEBOPS_SETTINGS: [&str; 5] = [
    ".debops.cfg",
    ".debops.yaml",
    ".debops.yml",
    ".debops.json",
    ".debops.toml",
];

impl Walk<'_> {
    /// Looks at what the keywords of a play, role, block or task name.
    pub(super) fn check_templates(&mut self, keywords: &Keywords) {
        if self.follow == Follow::Nothing {
            return;
        }
        for (name, value) in keywords {
            match name.as_str() {
                // What cannot be rendered in a name is shown as it is.
                "name" | "hosts" | "register" => {}
                // A variable that nobody reads does no harm.
                "vars" => self.check_variables(value),
                name if keywords::CONDITIONS.contains(&name) => self.conditions(value),
                "loop_control" => {
                    for (key, value) in value.as_map().unwrap_or_default() {
                        match key.as_str() {
                            Some("break_when") => self.conditions(value),
                            _ => self.texts(value),
                        }
                    }
                }
                _ => self.texts(value),
            }
        }
    }

    /// Looks at variables, which are rendered when something reads them.
    pub(super) fn check_variables(&mut self, value: &Node) {
        self.no_surer_than(Reachability::Undecided, |walk| walk.texts(value));
    }

    /// Looks at the parameters of a task, and at the file that it renders.
    pub(super) fn check_rendered(&mut self, task: &Task) {
        if self.follow == Follow::Nothing || self.position.reach == Reachability::No {
            return;
        }
        let action = known::bare(&task.action);
        for (name, value) in &task.args.named {
            match (action, name.as_str()) {
                ("assert", "that") => self.conditions(value),
                ("debug", "var") => self.expressions(value),
                // Keywords of what is included, and judged there.
                ("include_tasks" | "include_role", "apply") => {}
                _ => self.texts(value),
            }
        }
        task.args
            .template
            .iter()
            .for_each(|value| self.texts(value));
        if action == "template" {
            self.check_template_file(task);
        }
    }

    fn texts(&mut self, node: &Node) {
        self.each_text(node, &mut |walk, node, text| {
            walk.note(&node.span, uses(text));
        });
    }

    fn expressions(&mut self, node: &Node) {
        self.each_text(node, &mut |walk, node, text| {
            walk.note(&node.span, uses_of_expression(text));
        });
    }

    /// A condition is an expression; where it has a template, the run says what it thinks of that.
    fn conditions(&mut self, node: &Node) {
        self.each_text(node, &mut |walk, node, text| {
            let found = match text.contains("{{") || text.contains("{%") {
                true => uses(text),
                false => uses_of_expression(text),
            };
            walk.note(&node.span, found);
        });
    }

    fn each_text(&mut self, node: &Node, look: &mut dyn FnMut(&mut Self, &Node, &str)) {
        if matches!(node.tag.as_deref(), Some("!unsafe" | "!vault")) {
            return;
        }
        match &node.kind {
            Kind::Str(text) => look(self, node, text),
            Kind::Seq(items) => items.iter().for_each(|item| self.each_text(item, look)),
            Kind::Map(pairs) => {
                for (_, value) in pairs {
                    self.each_text(value, look);
                }
            }
            _ => {}
        }
    }

    fn note(&mut self, span: &Span, found: Result<Vec<Use>, Error>) {
        match found {
            Ok(found) => found.iter().for_each(|used| self.note_use(span, used)),
            Err(error) => self.fails(Diagnostic::new(span, error.message)),
        }
    }

    /// DebOps' lookups look where a project's settings say before they look in the role; those settings are not read here.
    fn refuse_overrides(&mut self, span: &Span, full: &str) {
        if !plugins::IN_THE_ROLE.iter().any(|(name, _)| *name == full) {
            return;
        }
        let base = self.base();
        let mut settings = base
            .ancestors()
            .flat_map(|folder| DEBOPS_SETTINGS.map(|name| folder.join(name)));
        if let Some(found) = settings.find(|path| self.files.is_file(path)) {
            let msg = format!(
                "`{full}` looks first where {} says, which amibake does not read",
                found.display()
            );
            self.refuse(Diagnostic::new(span, msg));
        }
    }

    /// Notes that a filter, test or lookup is used, and says so if it is not there.
    pub(super) fn note_use(&mut self, span: &Span, used: &Use) {
        if self.position.reach == Reachability::No {
            return;
        }
        if used.kind.word() == "lookup" {
            self.note_writing(&used.name);
        }
        let support = plugins::support(used.kind, &used.name);
        let full = plugins::full_name(used.kind, &used.name);
        self.out.used.add(
            used.kind.into(),
            full.clone(),
            Supported::from(support),
            span,
        );
        let word = used.kind.word();
        match support {
            Support::Here => self.refuse_overrides(span, &full),
            Support::Missing => {
                self.refuse(Diagnostic::new(
                    span,
                    format!("the {word} `{full}` is not in amibake yet"),
                ));
            }
            Support::Foreign => {
                self.refuse(Diagnostic::new(
                    span,
                    format!("`{full}` is not a {word} that amibake has"),
                ));
            }
            Support::Unknown => {
                let error = plugins::unknown(used.kind, &used.name);
                self.fails(Diagnostic::new(span, error.message));
            }
        }
    }

    fn check_template_file(&mut self, task: &Task) {
        let Some(src) = task.args.get("src") else {
            return;
        };
        if src.is_template() {
            return;
        }
        let Some(path) = src
            .as_str()
            .and_then(|name| self.searched("templates", name, |path| self.files.is_file(path)))
        else {
            return;
        };
        let text = self
            .files
            .read(&path)
            .ok()
            .filter(|bytes| bytes.len() <= MOST_BYTES);
        let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) else {
            return;
        };
        if text.starts_with("$ANSIBLE_VAULT;") {
            return;
        }
        let source = Source::new(&path, text.as_str());
        let at = |line, column| Span {
            source: Arc::clone(&source),
            line,
            column,
        };
        match uses_of_file(&text, &options(task)) {
            Ok(found) => {
                for used in found {
                    self.note_use(&at(used.line, used.column.max(1)), &used);
                }
            }
            Err(error) => {
                let line = error.place.as_ref().map_or(0, |place| place.line);
                self.fails(Diagnostic::new(&at(line, 1), error.message));
            }
        }
    }
}

/// Returns how a task has its file read, as far as that is literal.
fn options(task: &Task) -> FileOptions {
    let given = |name: &str| task.args.get(name);
    FileOptions::given(
        |name| {
            let literal = given(name).filter(|value| value.tag.is_none());
            literal.and_then(Node::as_str).map(str::to_owned)
        },
        |name| {
            let text = given(name).and_then(Node::scalar_text);
            text.and_then(|text| truth(&text))
        },
    )
}
