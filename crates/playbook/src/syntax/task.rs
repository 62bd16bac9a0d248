//! One task: which of its keys is the module, what the others are, its arguments.

use super::free_form;
use super::keywords::{self, Place};
use super::known::{self, Name};
use super::reach::Reachability;
use super::used::{Supported, UsedKind};
use super::walk::{Follow, Walk};
use super::{Args, Keywords, Task, args, catalogue, delegation};
use crate::diagnostic::{Diagnostic, Span};
use crate::template::Use;
use crate::template::plugins::{self, Support};
use crate::value;
use crate::yaml::{Kind, Node};

/// Modules whose text is a command, in which only their own parameters are pairs.
const COMMANDS: &[&str] = &["command", "shell", "script", "raw"];

/// Modules besides those with a `free_form` spec that take text which is not pairs.
const TEXTS: &[&str] = &[
    "include_tasks",
    "import_tasks",
    "include_vars",
    "include_role",
    "import_role",
    "add_host",
    "group_by",
    "set_fact",
    "meta",
];

/// Keywords with a truth that the executor looks at before each task.
const RENDERED: &[&str] = &["become", "check_mode", "diff"];

/// Returns whether a module takes text that is not pairs.
#[must_use]
pub fn takes_text(action: &str) -> bool {
    TEXTS.contains(&known::bare(action))
        || matches!(known::here(action), Name::Module(spec) if spec.free_form)
}

/// Returns the complaint of what Ansible takes for no handler.
pub(super) fn no_handler(what: &str, span: &Span) -> Diagnostic {
    let wrong = format!("`{what}` cannot be a handler");
    Diagnostic::new(span, wrong).hint("a handler that includes a file of tasks can")
}

/// Adds pairs, of which the later ones win.
fn add(pairs: &mut Vec<(Node, Node)>, more: Vec<(Node, Node)>) {
    for (key, value) in more {
        pairs.retain(|(known, _)| known.as_str() != key.as_str());
        pairs.push((key, value));
    }
}

/// Returns whether a text is one template and no pairs: `copy: "{{ what }}"`.
fn is_one_word(node: &Node) -> bool {
    let text = node.as_str().unwrap_or_default();
    let is_between = |open, close| text.starts_with(open) && text.ends_with(close);
    if !is_between("{{", "}}") && !is_between("{%", "%}") && !text.starts_with("#jinja2:") {
        return false;
    }
    free_form::parse_kv(text, false)
        .is_ok_and(|pairs| matches!(pairs.as_slice(), [(key, _)] if key == "_raw_params"))
}

impl Walk<'_> {
    /// Reads a task without what it imports.
    pub(super) fn bare_task(&mut self, node: &Node, place: Place) -> Option<Task> {
        let pairs = node.as_map()?;
        let mut keywords: Keywords = Vec::new();
        let mut candidates = Vec::new();
        for (key, value) in pairs {
            let Some(name) = key.as_str() else {
                self.error(key.unexpected("a task's key", "text"));
                continue;
            };
            if let Some(lookup) = name.strip_prefix("with_") {
                self.check_lookup(lookup, key);
                if value.is_null() {
                    let wrong = format!("`{name}` has nothing to loop over");
                    self.error(Diagnostic::new(&key.span, wrong));
                }
            } else if !place.knows(name) {
                candidates.push((name, key, value));
                continue;
            }
            keywords.push((name.to_owned(), value.clone()));
        }
        let (action, action_span, given) = self.action(node, &keywords, &candidates, place)?;
        if let Some((_, local)) = keywords.iter().find(|(name, _)| name == "local_action") {
            let localhost = Node {
                kind: Kind::Str("localhost".to_owned()),
                ..local.clone()
            };
            keywords.push(("delegate_to".to_owned(), localhost));
        }
        let args = self.arguments(&action, given.as_ref(), &keywords)?;
        let mut task = Task {
            name: node.get("name").and_then(Node::scalar_text),
            role: self.role.last().map(|(name, _)| name.clone()),
            spec: match known::here(&action) {
                Name::Module(spec) => Some(spec),
                _ => None,
            },
            action,
            args,
            keywords,
            span: node.span.clone(),
            action_span,
            imported: Vec::new(),
            refused: None,
        };
        self.check_task(&task, place);
        task.refused = self.refused.first().cloned();
        Some(task)
    }

    fn check_lookup(&mut self, lookup: &str, key: &Node) {
        let used = Use {
            kind: plugins::Kind::Lookup,
            name: lookup.to_owned(),
            line: 0,
            column: 0,
        };
        match plugins::support(used.kind, lookup) {
            Support::Unknown => {
                let wrong = format!("there is no lookup `{lookup}` to loop with");
                let here = used.kind.here();
                let short = |full: &String| full.rsplit('.').next().unwrap_or_default().to_owned();
                let names: Vec<String> = here.iter().map(short).collect();
                let wrong = Diagnostic::new(&key.span, wrong);
                self.error(wrong.nearest(lookup, names.iter().map(String::as_str)));
            }
            Support::Here | Support::Missing | Support::Foreign => {
                self.at_loop(|walk| walk.note_use(&key.span, &used));
            }
        }
    }

    /// Finds the module's name, its place and what is given to it.
    fn action(
        &mut self,
        node: &Node,
        keywords: &Keywords,
        candidates: &[(&str, &Node, &Node)],
        place: Place,
    ) -> Option<(String, Span, Option<Node>)> {
        let old = keywords
            .iter()
            .find(|(name, _)| name == "action" || name == "local_action");
        if let Some((keyword, value)) = old {
            if let Some((name, key, _)) = candidates.first() {
                let wrong = Self::unknown_key(name, key, place);
                self.error(wrong);
            }
            return self.old_style(keyword, value);
        }
        let mut modules: Vec<_> = candidates
            .iter()
            .filter(|(name, ..)| self.is_module(name))
            .collect();
        // What stands alone is no misspelt keyword: it is judged as a module, where it is reached.
        if let ([], [only]) = (modules.as_slice(), candidates) {
            modules.push(only);
        }
        if let [_, (second, key, _), ..] = modules.as_slice() {
            self.error(Diagnostic::new(
                &key.span,
                format!(
                    "a task has one module; here are `{}` and `{second}`",
                    modules[0].0
                ),
            ));
            return None;
        }
        for (name, key, _) in candidates {
            if modules.iter().all(|(module, ..)| module != name) {
                let wrong = Self::unknown_key(name, key, place);
                self.error(wrong);
            }
        }
        let Some((name, key, value)) = modules.first() else {
            if candidates.is_empty() {
                self.error(Diagnostic::new(&node.span, "this task has no module"));
            }
            return None;
        };
        self.check_action(name, key, || Self::unknown_key(name, key, place));
        Some(((*name).to_owned(), key.span.clone(), Some((*value).clone())))
    }

    fn unknown_key(name: &str, key: &Node, place: Place) -> Diagnostic {
        let modules = known::candidates(name);
        let mut all: Vec<&str> = place.keywords().collect();
        all.extend(modules.iter().map(String::as_str));
        let message = match catalogue::collection(name) {
            Some(collection) => {
                format!("`{name}` is no module of {collection} as Ansible ships it")
            }
            None => format!(
                "`{name}` is neither a module nor a keyword of {}",
                place.named()
            ),
        };
        Diagnostic::new(&key.span, message).nearest(name, all)
    }

    /// Notes that a module is used, and complains if it is not here, unless it cannot be reached.
    fn check_action(&mut self, name: &str, key: &Node, unknown: impl FnOnce() -> Diagnostic) {
        if self.position.reach == Reachability::No {
            return;
        }
        let refused = |message: String| Diagnostic::new(&key.span, message);
        let own = self.own_module(name);
        let found = (self.name)(name);
        self.note_module(name, found, own.is_some(), key);
        match (own, found) {
            (Some(own), Name::Module(_) | Name::Statement) => {
                self.stop(refused(own).hint("Ansible takes it instead of its own of that name"));
            }
            (Some(own), _) => self.refuse(refused(own)),
            (None, Name::Module(_) | Name::Statement) => {}
            (None, Name::Missing(full)) => {
                self.refuse(refused(format!("`{full}` is not in amibake yet")));
            }
            (None, Name::Unknown) if self.follow == Follow::Everything => self.error(unknown()),
            (None, Name::Foreign | Name::Unknown) => {
                self.refuse(refused(format!(
                    "`{name}` is not a module that amibake has"
                )));
            }
        }
    }

    fn note_module(&mut self, name: &str, found: Name, own: bool, key: &Node) {
        let (full, supported) = match found {
            _ if own => (name.to_owned(), Supported::Python),
            Name::Module(spec) => (spec.name.to_owned(), Supported::Works),
            Name::Statement => (
                format!("ansible.builtin.{}", known::bare(name)),
                Supported::Works,
            ),
            Name::Missing(full) => (full.to_owned(), Supported::Missing),
            Name::Foreign => (name.to_owned(), Supported::Foreign),
            Name::Unknown => (name.to_owned(), Supported::Unknown),
        };
        self.out
            .used
            .add(UsedKind::Module, full, supported, &key.span);
    }

    fn is_module(&self, name: &str) -> bool {
        !matches!((self.name)(name), Name::Unknown) || self.own_module(name).is_some()
    }

    /// `action: copy src=a dest=b`, `action: {module: copy, src: a}`, and the same for `local_action`.
    fn old_style(&mut self, keyword: &str, value: &Node) -> Option<(String, Span, Option<Node>)> {
        let (text, rest) = match &value.kind {
            Kind::Str(text) => (text.clone(), None),
            Kind::Map(pairs) => {
                let module = value
                    .get("module")
                    .and_then(Node::as_str)
                    .unwrap_or_default();
                let others = pairs.iter().filter(|(k, _)| k.as_str() != Some("module"));
                (module.to_owned(), Some(others.cloned().collect::<Vec<_>>()))
            }
            _ => {
                self.error(value.unexpected(&format!("`{keyword}`"), "text"));
                return None;
            }
        };
        let (name, free) = free_form::module_and_rest(text.trim());
        // What a template names is found, or not, when the task runs.
        if !value::looks_like_template(name) {
            self.check_action(name, value, || {
                let names = known::candidates(name);
                let wrong = Diagnostic::new(&value.span, format!("there is no module `{name}`"));
                wrong.nearest(name, names.iter().map(String::as_str))
            });
        }
        let kind = match rest {
            Some(mut pairs) => {
                if !free.is_empty() {
                    add(&mut pairs, self.free_pairs(name, free, value)?);
                }
                Kind::Map(self.with_inner_args(pairs)?)
            }
            _ if free.is_empty() => Kind::Null,
            _ => Kind::Str(free.to_owned()),
        };
        let given = Node {
            span: value.span.clone(),
            tag: value.tag.clone(),
            kind,
        };
        Some((name.to_owned(), value.span.clone(), Some(given)))
    }

    /// Returns the pairs of `action: {module: copy, args: {…}}` with those of `args` among them.
    fn with_inner_args(&mut self, mut pairs: Vec<(Node, Node)>) -> Option<Vec<(Node, Node)>> {
        let Some(at) = pairs
            .iter()
            .position(|(key, _)| key.as_str() == Some("args"))
        else {
            return Some(pairs);
        };
        let (_, inner) = pairs.remove(at);
        let inner = match &inner.kind {
            Kind::Map(inner) => inner.clone(),
            Kind::Str(text) => self.free_pairs("args", text, &inner)?,
            _ => {
                self.error(inner.unexpected("`args`", "a mapping"));
                return None;
            }
        };
        add(&mut pairs, inner);
        Some(pairs)
    }

    /// Returns the pairs of a text as a mapping has them.
    fn free_pairs(&mut self, action: &str, text: &str, at: &Node) -> Option<Vec<(Node, Node)>> {
        let key = |name: String| Node {
            span: at.span.clone(),
            tag: None,
            kind: Kind::Str(name),
        };
        let named = self.free_form(action, text, at)?.into_iter();
        Some(named.map(|(name, value)| (key(name), value)).collect())
    }

    fn arguments(
        &mut self,
        action: &str,
        given: Option<&Node>,
        keywords: &Keywords,
    ) -> Option<Args> {
        let mut args = Args::default();
        let extra = keywords.iter().find(|(name, _)| name == "args");
        if let Some((_, extra)) = extra {
            match &extra.kind {
                Kind::Map(pairs) => args.named = self.text_keys(pairs),
                Kind::Null => {}
                _ if extra.is_template() => args.template = Some(extra.clone()),
                _ => {
                    self.error(extra.unexpected("`args`", "a mapping"));
                    return None;
                }
            }
        }
        let Some(given) = given else {
            return Some(args);
        };
        let own = match &given.kind {
            Kind::Null => Vec::new(),
            Kind::Map(pairs) => self.text_keys(pairs),
            Kind::Str(_) if given.is_template() && !takes_text(action) && is_one_word(given) => {
                args.template = Some(given.clone());
                Vec::new()
            }
            Kind::Str(text) => self.free_form(action, text, given)?,
            Kind::Seq(_) => {
                self.error(given.unexpected(&format!("what `{action}` is given"), "a mapping"));
                return None;
            }
            // `meta: 1`: left to the module.
            _ => vec![("_raw_params".to_owned(), given.clone())],
        };
        for (key, value) in own {
            args.named.retain(|(known, _)| *known != key);
            args.named.push((key, value));
        }
        Some(args)
    }

    fn text_keys(&mut self, pairs: &[(Node, Node)]) -> Vec<(String, Node)> {
        let mut named = Vec::new();
        for (key, value) in pairs {
            match key.scalar_text() {
                Some(name) => named.push((name, value.clone())),
                None => self.error(key.unexpected("a parameter's name", "text")),
            }
        }
        named
    }

    fn free_form(&mut self, action: &str, text: &str, given: &Node) -> Option<Vec<(String, Node)>> {
        let command = COMMANDS.contains(&known::bare(action));
        let make = |text: String| Node {
            span: given.span.clone(),
            tag: given.tag.clone(),
            kind: Kind::Str(text),
        };
        match free_form::parse_kv(text, command) {
            Ok(pairs) => Some(pairs.into_iter().map(|(k, v)| (k, make(v))).collect()),
            Err(error) => {
                self.error(Diagnostic::new(&given.span, error.to_string()));
                None
            }
        }
    }

    fn check_task(&mut self, task: &Task, place: Place) {
        self.check_keywords(&delegation::mattering(task), place);
        self.check_delegation(task);
        let loops = task
            .keywords
            .iter()
            .filter(|(name, _)| name == "loop" || name.starts_with("with_"));
        if let Some((second, node)) = loops.clone().nth(1) {
            self.error(Diagnostic::new(
                &node.span,
                format!("a task has one loop; `{second}` is a second"),
            ));
        }
        if let Some((_, control)) = task
            .keywords
            .iter()
            .find(|(name, _)| name == "loop_control")
            && let Err(error) = control.fields("loop_control", keywords::LOOP_CONTROL)
        {
            self.error(error);
        }
        if !COMMANDS.contains(&known::bare(&task.action)) {
            for (name, value) in &task.args.named {
                if name.starts_with("_ansible_") {
                    let wrong = format!("`{name}` is no parameter");
                    let hint = "the prefix `_ansible_` is reserved for Ansible itself";
                    self.error(Diagnostic::new(&value.span, wrong).hint(hint));
                }
            }
        }
        self.check_statement(task);
        self.check_rendered(task);
        self.check_names_of(&task.keywords);
        if (place, self.follow) == (Place::Handler, Follow::Everything)
            && matches!(known::bare(&task.action), "import_role" | "include_role")
        {
            self.error(no_handler(&task.action, &task.action_span));
        }
        let flushes = |(name, value): &(String, Node)| {
            let what = value.as_str().filter(|_| name == "_raw_params");
            what.filter(|what| matches!(*what, "end_role" | "flush_handlers"))
                .map(str::to_owned)
        };
        // Where files are read one by one, nobody knows whether they are handlers.
        if (place, self.follow) == (Place::Handler, Follow::Everything)
            && known::bare(&task.action) == "meta"
            && let Some(what) = task.args.named.iter().find_map(flushes)
        {
            let wrong = format!("{what} cannot be used as a handler");
            self.error(Diagnostic::new(&task.span, wrong));
        }
        if let Some(spec) = task.spec {
            for wrong in args::refused(spec, &task.args) {
                self.refuse(wrong);
            }
        }
        if self.follow == Follow::Everything
            && self.position.reach != Reachability::No
            && let Some(spec) = task.spec
            && !matches!(known::bare(&task.action), "include_vars" | "set_fact")
        {
            for wrong in args::check(spec, &task.args, &task.action_span) {
                self.fails(wrong);
            }
        }
    }

    /// Checks the values of keywords as far as they are literal.
    pub(super) fn check_keywords(&mut self, keywords: &Keywords, place: Place) {
        self.check_support(keywords, place);
        self.check_templates(keywords);
        for (name, value) in keywords {
            let boolean = keywords::BOOLEANS.contains(&name.as_str());
            if boolean
                && !value.is_null()
                && !value.is_template()
                && value.tag.is_none()
                && let Err(error) = value.expect_bool(&format!("`{name}`"))
            {
                // Ansible looks at those of tasks when they run.
                match matches!(place, Place::Task | Place::Handler) && RENDERED.contains(&&**name) {
                    true => self.fails(error),
                    false => self.error(error),
                }
            }
            if name == "vars" {
                self.check_vars(value);
            }
        }
    }
}
