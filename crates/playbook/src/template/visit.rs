//! Goes through everything in a template.

use super::ast::{Args, Expr, Stmt};

/// Calls `visit` for every expression in `body`, and for those within it.
pub(crate) fn each_expression(body: &[Stmt], visit: &mut dyn FnMut(&Expr)) {
    for statement in body {
        match statement {
            Stmt::Text(_) | Stmt::Break | Stmt::Continue => {}
            Stmt::Output(expr, _)
            | Stmt::Do(expr, _)
            | Stmt::Set(_, expr, _)
            | Stmt::Extends(expr)
            | Stmt::Include { name: expr, .. }
            | Stmt::Import { name: expr, .. }
            | Stmt::FromImport { name: expr, .. } => each_inner(expr, visit),
            Stmt::For(def) => {
                each_inner(&def.over, visit);
                def.only_if.iter().for_each(|expr| each_inner(expr, visit));
                each_expression(&def.body, visit);
                each_expression(&def.otherwise, visit);
            }
            Stmt::If(arms, otherwise) => {
                for (condition, body) in arms.iter() {
                    each_inner(condition, visit);
                    each_expression(body, visit);
                }
                each_expression(otherwise, visit);
            }
            Stmt::SetBlock(_, filter, body) => {
                filter.iter().for_each(|expr| each_inner(expr, visit));
                each_expression(body, visit);
            }
            Stmt::Macro(def) => each_expression(&def.body, visit),
            Stmt::Call(def, expr) => {
                each_inner(expr, visit);
                each_expression(&def.body, visit);
            }
            Stmt::Filter(expr, body) => {
                each_inner(expr, visit);
                each_expression(body, visit);
            }
            Stmt::With(bindings, body) => {
                bindings
                    .iter()
                    .for_each(|(_, expr)| each_inner(expr, visit));
                each_expression(body, visit);
            }
            Stmt::Block(def) => each_expression(&def.body, visit),
        }
    }
}

/// Calls `visit` for `expr` and every expression within it.
pub(crate) fn each_inner(expr: &Expr, visit: &mut dyn FnMut(&Expr)) {
    visit(expr);
    match expr {
        Expr::Const(_) | Expr::Name(_) | Expr::Body => {}
        Expr::List(items) | Expr::Tuple(items) | Expr::Concat(items) => {
            items.iter().for_each(|item| each_inner(item, visit));
        }
        Expr::Dict(pairs) => pairs.iter().for_each(|(key, value)| {
            each_inner(key, visit);
            each_inner(value, visit);
        }),
        Expr::Attr(on, _) | Expr::Not(on) | Expr::Negate(on) | Expr::Plus(on) => {
            each_inner(on, visit);
        }
        Expr::Item(a, b) | Expr::Binary(_, a, b) | Expr::And(a, b) | Expr::Or(a, b) => {
            each_inner(a, visit);
            each_inner(b, visit);
        }
        Expr::Slice(on, parts) => {
            each_inner(on, visit);
            let parts = parts.iter().flatten();
            parts.for_each(|part| each_inner(part, visit));
        }
        Expr::Call(on, args) => {
            each_inner(on, visit);
            each_argument(args, visit);
        }
        Expr::Filter(applied) | Expr::Test(applied) => {
            each_inner(&applied.on, visit);
            each_argument(&applied.args, visit);
        }
        Expr::Compare(first, rest) => {
            each_inner(first, visit);
            rest.iter().for_each(|(_, expr)| each_inner(expr, visit));
        }
        Expr::Choice(condition, then, otherwise) => {
            each_inner(condition, visit);
            each_inner(then, visit);
            otherwise.iter().for_each(|expr| each_inner(expr, visit));
        }
    }
}

fn each_argument(args: &Args, visit: &mut dyn FnMut(&Expr)) {
    args.positional
        .iter()
        .for_each(|expr| each_inner(expr, visit));
    args.named
        .iter()
        .for_each(|(_, expr)| each_inner(expr, visit));
    args.star.iter().for_each(|expr| each_inner(expr, visit));
    args.double_star
        .iter()
        .for_each(|expr| each_inner(expr, visit));
}
