//! What can be said of a template without rendering it: syntax, and names nobody knows.

use super::ast::{Applied, Args, Expr, Stmt};
use super::lexer::Syntax;
use super::plugins::{self, Kind, Support};
use super::{Error, cache};
use crate::names::bare;
use crate::value::{Place, Value, looks_like_template};

/// Returns what is wrong with a template as it stands in a playbook.
#[must_use]
pub fn check(text: &str, place: Option<&Place>) -> Vec<Error> {
    if !looks_like_template(text) {
        return Vec::new();
    }
    let syntax = Syntax {
        literal_backslashes: true,
        ..Syntax::default()
    };
    let mut found = Found::default();
    match cache::template(text, &syntax) {
        Ok(body) => found.all(&body),
        Err(error) => found.problems.push(error),
    }
    found.finish(text, place)
}

/// Returns what is wrong with a bare expression, as in `when`.
#[must_use]
pub fn check_expression(text: &str, place: Option<&Place>) -> Vec<Error> {
    let mut found = Found::default();
    match cache::expression(text, false) {
        Ok(expr) => found.expr(&expr),
        Err(error) => found.problems.push(error),
    }
    found.finish(text, place)
}

#[derive(Default)]
struct Found {
    problems: Vec<Error>,
}

impl Found {
    /// Turns places within the text into places in the file.
    fn finish(self, text: &str, place: Option<&Place>) -> Vec<Error> {
        let located = self.problems.into_iter().map(|mut error| {
            if let (Some(place), inner) = (place, error.place.take()) {
                let mut place = place.clone();
                if let Some(inner) = inner.filter(|inner| inner.line > 1) {
                    place.line += inner.line - 1;
                    place.column = inner.column;
                }
                error.place = Some(place);
            }
            error.expression = Some(text.to_owned());
            error
        });
        located.collect()
    }

    fn all(&mut self, body: &[Stmt]) {
        body.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Text(_) | Stmt::Break | Stmt::Continue => {}
            Stmt::Output(expr, _)
            | Stmt::Do(expr, _)
            | Stmt::Set(_, expr, _)
            | Stmt::Extends(expr) => self.expr(expr),
            Stmt::For(def) => {
                self.expr(&def.over);
                def.only_if.iter().for_each(|expr| self.expr(expr));
                self.all(&def.body);
                self.all(&def.otherwise);
            }
            Stmt::If(arms, otherwise) => {
                for (condition, body) in arms.iter() {
                    self.expr(condition);
                    self.all(body);
                }
                self.all(otherwise);
            }
            Stmt::SetBlock(_, filter, body) => {
                filter.iter().for_each(|expr| self.expr(expr));
                self.all(body);
            }
            Stmt::Macro(def) => self.all(&def.body),
            Stmt::Call(def, call) => {
                self.expr(call);
                self.all(&def.body);
            }
            Stmt::Filter(filter, body) => {
                self.expr(filter);
                self.all(body);
            }
            Stmt::With(bindings, body) => {
                bindings.iter().for_each(|(_, expr)| self.expr(expr));
                self.all(body);
            }
            Stmt::Include { name, .. }
            | Stmt::Import { name, .. }
            | Stmt::FromImport { name, .. } => self.expr(name),
            Stmt::Block(def) => self.all(&def.body),
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Const(_) | Expr::Name(_) | Expr::Body => {}
            Expr::List(items) | Expr::Tuple(items) | Expr::Concat(items) => {
                items.iter().for_each(|item| self.expr(item));
            }
            Expr::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
                self.expr(key);
                self.expr(value);
            }),
            Expr::Attr(on, _) | Expr::Not(on) | Expr::Negate(on) | Expr::Plus(on) => self.expr(on),
            Expr::Item(a, b) | Expr::Binary(_, a, b) | Expr::And(a, b) | Expr::Or(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            Expr::Slice(on, parts) => {
                self.expr(on);
                parts.iter().flatten().for_each(|part| self.expr(part));
            }
            Expr::Call(on, args) => {
                self.expr(on);
                self.args(args);
            }
            Expr::Filter(applied) => {
                self.applied(applied, Kind::Filter);
                self.by_name(applied);
            }
            Expr::Test(applied) => self.applied(applied, Kind::Test),
            Expr::Compare(first, rest) => {
                self.expr(first);
                rest.iter().for_each(|(_, expr)| self.expr(expr));
            }
            Expr::Choice(condition, then, otherwise) => {
                self.expr(condition);
                self.expr(then);
                otherwise.iter().for_each(|expr| self.expr(expr));
            }
        }
    }

    fn applied(&mut self, applied: &Applied, kind: Kind) {
        self.expr(&applied.on);
        self.named(applied, kind, &applied.name);
        self.args(&applied.args);
    }

    /// Complains of a plugin that is not here.
    fn named(&mut self, applied: &Applied, kind: Kind, name: &str) {
        if plugins::support(kind, name) != Support::Here {
            self.problem(applied, plugins::unknown(kind, name));
        }
    }

    fn problem(&mut self, applied: &Applied, mut error: Error) {
        error.place = Some(Place {
            file: "".into(),
            line: applied.line,
            column: applied.column,
        });
        self.problems.push(error);
    }

    /// Checks the names that `map('upper')` and `select('match', …)` give as texts.
    fn by_name(&mut self, applied: &Applied) {
        let at = |index: usize| match applied.args.positional.get(index) {
            Some(Expr::Const(Value::Str(name))) => Some(name.clone()),
            _ => None,
        };
        let (index, kind) = match bare(&applied.name) {
            "map" => (0, Kind::Filter),
            "select" | "reject" => (0, Kind::Test),
            "selectattr" | "rejectattr" => (1, Kind::Test),
            _ => return,
        };
        if let Some(name) = at(index) {
            self.named(applied, kind, &name);
        }
    }

    fn args(&mut self, args: &Args) {
        args.positional.iter().for_each(|expr| self.expr(expr));
        args.named.iter().for_each(|(_, expr)| self.expr(expr));
        args.star.iter().for_each(|expr| self.expr(expr));
        args.double_star.iter().for_each(|expr| self.expr(expr));
    }
}
