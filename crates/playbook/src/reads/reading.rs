//! Reads expressions as names of files, without running anything: what the author's variables and
//! constants make of them, all alternatives side by side, and open parts for the rest.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::known::{Known, Values};
use super::name::{Name, distinct, joined};
use crate::files::Files;
use crate::names::bare;
use crate::template::ast::{Applied, Args, Expr, Operator, Stmt};
use crate::template::plugins::IN_THE_ROLE;
use crate::template::{Error, Outside, Scope, Syntax, Templar, cache};
use crate::value::{Place, Value};

/// So deep variables are followed that are made of others.
const DEPTH_LIMIT: u32 = 20;
/// So many steps one name may take; then it is open.
const MOST_STEPS: u32 = 20_000;
/// So many values of a loop are tried one by one.
const MOST_TRIED: usize = 50;

/// Filters that leave a name what it is, and of a list make its elements.
const PASSING: &[&str] = &[
    "first",
    "last",
    "list",
    "string",
    "trim",
    "mandatory",
    "unique",
    "flatten",
    "sort",
    "reverse",
    "expanduser",
];

/// Reads one task's or file's expressions.
pub(super) struct Reading<'a> {
    known: &'a Known<'a>,
    /// What is known here only: the items of loops around.
    own: &'a [(String, Values)],
    steps: Cell<u32>,
}

/// Returns the parsed text of a task's argument or variable.
pub(super) fn parsed(text: &str) -> Option<Rc<Vec<Stmt>>> {
    let syntax = Syntax {
        literal_backslashes: true,
        ..Syntax::default()
    };
    cache::template(text, &syntax).ok()
}

/// Returns the plugin and the arguments of `lookup(…)`, `query(…)` and `q(…)`.
pub(super) fn lookup<'e>(called: &Expr, args: &'e Args) -> Option<(&'e str, &'e [Expr])> {
    let Expr::Name(function) = called else {
        return None;
    };
    let (Expr::Const(Value::Str(plugin)), rest) = args.positional.split_first()? else {
        return None;
    };
    matches!(&**function, "lookup" | "query" | "q").then_some((bare(plugin), rest))
}

/// Whether a lookup returns the path of a file that its terms name.
pub(super) fn in_the_role(plugin: &str) -> bool {
    IN_THE_ROLE.iter().any(|(name, _)| *name == plugin)
}

impl<'a> Reading<'a> {
    pub(super) fn new(known: &'a Known<'a>, own: &'a [(String, Values)]) -> Self {
        Self {
            known,
            own,
            steps: Cell::new(0),
        }
    }

    /// Returns what `value` may name; of a list, what each of its elements may.
    pub(super) fn names(&self, value: &Value) -> Vec<Name> {
        distinct(self.value_names(value, 0))
    }

    /// Returns what an expression may name.
    pub(super) fn expression_names(&self, expr: &Expr) -> Vec<Name> {
        distinct(self.expr_names(expr, 0))
    }

    /// Returns the elements of what a task loops over.
    pub(super) fn elements(&self, over: &Value) -> Values {
        let mut all = Values::default();
        self.add_elements(over, 0, &mut all);
        all
    }

    fn add_elements(&self, over: &Value, depth: u32, all: &mut Values) {
        match over {
            Value::List(items) => {
                for item in items.items() {
                    match &item {
                        // `with_items` and lists of variables flatten one level.
                        Value::List(_) | Value::Template(_) if depth < 2 => {
                            self.add_elements(&item, depth + 1, all);
                        }
                        _ => all.add(&Values::one(item)),
                    }
                }
            }
            Value::Template(source) => match single(&source.text) {
                Some(expr) => {
                    let found = self.values(&expr, depth);
                    all.open |= found.open;
                    for value in found.all {
                        match &value {
                            Value::List(_) => self.add_elements(&value, depth + 1, all),
                            _ => all.add(&Values::one(value)),
                        }
                    }
                }
                None => all.add(&Values::one(over.clone())),
            },
            Value::None | Value::Omit => {}
            other => all.add(&Values::one(other.clone())),
        }
    }

    fn tired(&self, depth: u32) -> bool {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        depth > DEPTH_LIMIT || steps > MOST_STEPS
    }

    fn value_names(&self, value: &Value, depth: u32) -> Vec<Name> {
        if self.tired(depth) {
            return vec![Name::open()];
        }
        match value {
            Value::Template(source) => self.template_names(&source.text, depth + 1),
            Value::List(items) => {
                let items = items.items();
                let each = items.iter().map(|item| self.value_names(item, depth + 1));
                each.flatten().collect()
            }
            Value::None | Value::Omit | Value::Undefined(_) => Vec::new(),
            Value::Dict(_) | Value::Tuple(_) | Value::Object(_) => vec![Name::open()],
            scalar => vec![Name::text(scalar.to_string())],
        }
    }

    fn template_names(&self, text: &str, depth: u32) -> Vec<Name> {
        match parsed(text) {
            Some(body) => self.body_names(&body, depth),
            None => vec![Name::open()],
        }
    }

    fn body_names(&self, body: &[Stmt], depth: u32) -> Vec<Name> {
        let mut all = vec![Name::default()];
        for statement in body {
            let next = match statement {
                Stmt::Text(text) => vec![Name::text(&**text)],
                Stmt::Output(expr, _) => self.expr_names(expr, depth),
                Stmt::If(arms, otherwise) => {
                    let mut each: Vec<Name> = arms
                        .iter()
                        .flat_map(|(_, body)| self.body_names(body, depth + 1))
                        .collect();
                    each.extend(self.body_names(otherwise, depth + 1));
                    each
                }
                Stmt::Set(..) | Stmt::Macro(_) | Stmt::Do(..) => continue,
                _ => vec![Name::open()],
            };
            all = joined(&all, &next);
        }
        all
    }

    fn expr_names(&self, expr: &Expr, depth: u32) -> Vec<Name> {
        if self.tired(depth) {
            return vec![Name::open()];
        }
        let of = |expr: &Expr| self.expr_names(expr, depth + 1);
        let either = |a: &Expr, b: &Expr| [of(a), of(b)].concat();
        match expr {
            Expr::Const(value) => self.value_names(value, depth),
            Expr::List(items) | Expr::Tuple(items) => items.iter().flat_map(of).collect(),
            Expr::Concat(items) => {
                let start = vec![Name::default()];
                items
                    .iter()
                    .fold(start, |all, item| joined(&all, &of(item)))
            }
            Expr::Binary(Operator::Add, a, b) if is_list(a) || is_list(b) => either(a, b),
            Expr::Binary(Operator::Add, a, b) => joined(&of(a), &of(b)),
            Expr::Choice(_, then, otherwise) => {
                let mut all = of(then);
                all.extend(otherwise.iter().flat_map(|expr| of(expr)));
                all
            }
            Expr::Or(a, b) => either(a, b),
            Expr::And(_, b) => of(b),
            Expr::Filter(applied) => self.filter_names(applied, depth),
            Expr::Call(called, args) => match lookup(called, args) {
                Some(("first_found", terms)) => self.first_found(terms, &args.named),
                Some((plugin, terms)) if in_the_role(plugin) => terms.iter().flat_map(of).collect(),
                _ => vec![Name::open()],
            },
            Expr::Name(_) | Expr::Attr(..) | Expr::Item(..) => self.found_names(expr, depth),
            _ => self.concrete_names(expr, depth),
        }
    }

    fn filter_names(&self, applied: &Applied, depth: u32) -> Vec<Name> {
        let on = |applied: &Applied| self.expr_names(&applied.on, depth + 1);
        let given = applied.args.positional.first();
        match bare(&applied.name) {
            "default" | "d" => {
                let mut all = on(applied);
                all.extend(
                    given
                        .into_iter()
                        .flat_map(|e| self.expr_names(e, depth + 1)),
                );
                all
            }
            name if PASSING.contains(&name) => on(applied),
            "realpath" => on(applied).iter().map(|name| self.real(name)).collect(),
            name @ ("join" | "path_join") => {
                let parts = match &applied.on {
                    Expr::List(parts) | Expr::Tuple(parts) => parts.as_slice(),
                    _ => {
                        return self
                            .concrete_names(&Expr::Filter(Box::new(applied.clone())), depth);
                    }
                };
                let between = match (name, given) {
                    ("path_join", _) => vec![Name::text("/")],
                    (_, Some(between)) => self.expr_names(between, depth + 1),
                    (_, None) => vec![Name::default()],
                };
                let mut all = vec![Name::default()];
                for (n, part) in parts.iter().enumerate() {
                    if n > 0 {
                        all = joined(&all, &between);
                    }
                    all = joined(&all, &self.expr_names(part, depth + 1));
                }
                all
            }
            _ => self.concrete_names(&Expr::Filter(Box::new(applied.clone())), depth),
        }
    }

    /// Returns a name with its links resolved, as far as that is known.
    fn real(&self, name: &Name) -> Name {
        match name.known().map(PathBuf::from) {
            Some(path) if path.is_absolute() => {
                Name::text(self.known.files.real(&path).to_string_lossy())
            }
            _ => name.clone(),
        }
    }

    fn found_names(&self, expr: &Expr, depth: u32) -> Vec<Name> {
        let found = self.values(expr, depth + 1);
        let mut all = found.names;
        for value in &found.all {
            all.extend(self.value_names(value, depth + 1));
        }
        if found.open || all.is_empty() {
            all.push(Name::open());
        }
        all
    }

    fn concrete_names(&self, expr: &Expr, depth: u32) -> Vec<Name> {
        let found = self.concrete(expr);
        if found.open {
            return vec![Name::open()];
        }
        let each = found.all.iter();
        each.flat_map(|value| self.value_names(value, depth + 1))
            .collect()
    }

    /// Returns what `first_found` looks for: names, or mappings of `files` and `paths`.
    pub(super) fn first_found(&self, terms: &[Expr], options: &[(Rc<str>, Expr)]) -> Vec<Name> {
        let option = |name: &str| {
            let given = options.iter().find(|(known, _)| **known == *name);
            given.map(|(_, expr)| self.expr_names(expr, 0))
        };
        let mut all = Vec::new();
        for term in terms {
            let found = self.values(term, 0);
            match found
                .all
                .iter()
                .any(|value| matches!(value, Value::Dict(_) | Value::List(_)))
            {
                true => all.extend(found.all.iter().flat_map(|value| self.wanted(value))),
                false => all.extend(self.expr_names(term, 0)),
            }
        }
        all.extend(option("files").unwrap_or_default());
        in_paths(option("paths").unwrap_or_default(), split(all, &[',', ';']))
    }

    /// Does the same for what `with_first_found` is given.
    pub(super) fn wanted(&self, value: &Value) -> Vec<Name> {
        match value {
            Value::List(items) => {
                let items = items.items();
                items.iter().flat_map(|item| self.wanted(item)).collect()
            }
            Value::Dict(dict) => {
                let texts = |name: &str| {
                    let given = dict.get(name);
                    given.map_or_else(Vec::new, |value| self.names(&value))
                };
                in_paths(texts("paths"), split(texts("files"), &[',', ';']))
            }
            Value::Template(source) => match single(&source.text) {
                Some(expr) => {
                    let found = self.values(&expr, 0);
                    let mut all = self.found_names(&expr, 0);
                    let inner = found.all.iter();
                    let inner = inner.filter(|v| matches!(v, Value::Dict(_) | Value::List(_)));
                    all.extend(inner.flat_map(|value| self.wanted(value)));
                    all
                }
                None => self.names(value),
            },
            other => split(self.names(other), &[',', ';', ':']),
        }
    }

    /// Returns the values that an expression may have.
    fn values(&self, expr: &Expr, depth: u32) -> Values {
        if self.tired(depth) {
            return Values::open();
        }
        match expr {
            Expr::Const(value) => Values::one(value.clone()),
            Expr::Name(name) => self.variable(name, depth),
            Expr::Attr(on, key) => self.element(on, &Value::str(key), depth),
            Expr::Item(on, key) => {
                let keys = self.values(key, depth + 1);
                let mut all = Values::default();
                for key in &keys.all {
                    all.add(&self.element(on, key, depth));
                }
                all.open |= keys.open || keys.all.is_empty();
                all
            }
            Expr::Choice(_, then, otherwise) => {
                let mut all = self.values(then, depth + 1);
                if let Some(expr) = otherwise {
                    all.add(&self.values(expr, depth + 1));
                }
                all
            }
            Expr::Or(a, b) => self.both(a, b, depth),
            Expr::Binary(Operator::Add, a, b) if is_list(a) || is_list(b) => self.both(a, b, depth),
            Expr::List(items) => {
                let mut all = Values::default();
                for item in items {
                    all.add(&self.values(item, depth + 1));
                }
                Values {
                    all: vec![Value::list(all.all)],
                    ..all
                }
            }
            Expr::Filter(applied) => match bare(&applied.name) {
                "default" | "d" => {
                    let mut all = self.values(&applied.on, depth + 1);
                    if let Some(given) = applied.args.positional.first() {
                        all.add(&self.values(given, depth + 1));
                    }
                    all
                }
                "list" | "sort" | "unique" | "flatten" => self.values(&applied.on, depth + 1),
                _ => self.concrete(expr),
            },
            Expr::Call(called, args) => match lookup(called, args) {
                Some(("first_found", terms)) => Values {
                    names: self.first_found(terms, &args.named),
                    ..Values::default()
                },
                _ => Values::open(),
            },
            _ => self.concrete(expr),
        }
    }

    fn both(&self, a: &Expr, b: &Expr, depth: u32) -> Values {
        let mut all = self.values(a, depth + 1);
        all.add(&self.values(b, depth + 1));
        all
    }

    fn variable(&self, name: &str, depth: u32) -> Values {
        let own = self.own.iter().rev().find(|(known, _)| known == name);
        let given = own.map(|(_, values)| values.clone());
        let Some(given) = given.or_else(|| self.known.get(name)) else {
            return Values::open();
        };
        let mut all = Values {
            all: Vec::new(),
            ..given
        };
        for value in given.all {
            match &value {
                Value::Template(source) => match single(&source.text) {
                    Some(expr) => all.add(&self.values(&expr, depth + 1)),
                    None => all.add(&Values::one(value)),
                },
                _ => all.add(&Values::one(value)),
            }
        }
        all
    }

    fn element(&self, on: &Expr, key: &Value, depth: u32) -> Values {
        if let Expr::Name(name) = on
            && &**name == "ansible_facts"
            && let Some(fact) = key.as_str()
        {
            return self.known.fact(fact).cloned().unwrap_or_else(Values::open);
        }
        let of = self.values(on, depth + 1);
        let mut all = Values {
            open: of.open || of.all.is_empty(),
            ..Values::default()
        };
        for value in &of.all {
            let inner = match (value, key) {
                (Value::List(items), Value::Int(n)) => {
                    usize::try_from(*n).ok().and_then(|n| items.get(n))
                }
                (value, key) => value.get(&key.to_string()),
            };
            match inner {
                Some(Value::Template(source)) => match single(&source.text) {
                    Some(expr) => all.add(&self.values(&expr, depth + 1)),
                    None => all.add(&Values::one(Value::Template(source))),
                },
                Some(inner) => all.add(&Values::one(inner)),
                None => {}
            }
        }
        all
    }

    /// Evaluates an expression all of whose variables have one value, or are those of a loop.
    fn concrete(&self, expr: &Expr) -> Values {
        let mut names = Vec::new();
        crate::template::each_inner(expr, &mut |inner| {
            if let Expr::Name(name) = inner {
                names.push(name.clone());
            }
        });
        let looped = self.own.iter().rev().find(|(name, values)| {
            values.all.len() > 1 && names.iter().any(|used| **used == **name)
        });
        let Some((name, items)) = looped else {
            let value = self.evaluated(expr, &names, None);
            return value.map_or_else(Values::open, Values::one);
        };
        let mut all = Values {
            open: items.open || items.all.len() > MOST_TRIED,
            ..Values::default()
        };
        for item in items.all.iter().take(MOST_TRIED) {
            match self.evaluated(expr, &names, Some((name, item))) {
                Some(value) => all.add(&Values::one(value)),
                None => all.open = true,
            }
        }
        all
    }

    fn evaluated(
        &self,
        expr: &Expr,
        names: &[Rc<str>],
        item: Option<(&str, &Value)>,
    ) -> Option<Value> {
        let scope = Chosen {
            reading: self,
            item,
        };
        if !names.iter().all(|name| scope.get(name).is_some()) {
            return None;
        }
        let outside = Links(self.known.files);
        let value = Templar::new(&scope, &outside).value_of(expr).ok()?;
        (!value.is_undefined()).then_some(value)
    }
}

/// Of the world outside of a template, where links lead.
struct Links<'f>(&'f dyn Files);

impl Outside for Links<'_> {
    fn realpath(&self, path: &str, _: Option<&Place>) -> Result<String, Error> {
        if !path.starts_with('/') {
            return Err(Error::failed("where a relative path begins is open"));
        }
        let real = self.0.real(Path::new(path));
        Ok(real.to_string_lossy().into_owned())
    }
}

/// The variables that have one value.
struct Chosen<'r, 'a> {
    reading: &'r Reading<'a>,
    item: Option<(&'r str, &'r Value)>,
}

impl Scope for Chosen<'_, '_> {
    fn get(&self, name: &str) -> Option<Value> {
        if let Some((_, value)) = self.item.filter(|(item, _)| *item == name) {
            return Some(value.clone());
        }
        let own = self
            .reading
            .own
            .iter()
            .rev()
            .find(|(known, _)| known == name);
        let values = own.map(|(_, values)| values.clone());
        let values = values.or_else(|| self.reading.known.get(name))?;
        match values.all.as_slice() {
            [one] if !values.open && values.names.is_empty() => Some(one.clone()),
            _ => None,
        }
    }
}

/// Returns the expression that a text is from end to end.
fn single(text: &str) -> Option<Expr> {
    match parsed(text)?.as_slice() {
        [Stmt::Output(expr, _)] => Some(expr.clone()),
        _ => None,
    }
}

fn is_list(expr: &Expr) -> bool {
    match expr {
        Expr::List(_) => true,
        Expr::Binary(Operator::Add, a, b) => is_list(a) || is_list(b),
        _ => false,
    }
}

/// Returns names in folders, or by themselves if there are none.
fn in_paths(paths: Vec<Name>, files: Vec<Name>) -> Vec<Name> {
    if paths.is_empty() {
        return files;
    }
    let slash = [Name::text("/")];
    let folders = joined(&split(paths, &[',', ':', ';']), &slash);
    match files.is_empty() {
        true => folders,
        false => joined(&folders, &files),
    }
}

/// Splits the names that are known at each of these.
fn split(names: Vec<Name>, at: &[char]) -> Vec<Name> {
    let each = names.into_iter().flat_map(|name| match name.known() {
        Some(text) if text.contains(at) => {
            let parts = text.split(at).map(|part| Name::text(part.trim()));
            parts.collect::<Vec<_>>()
        }
        _ => vec![name],
    });
    each.collect()
}
