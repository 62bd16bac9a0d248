//! Templates are parsed once and kept by their text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Expr, Stmt};
use super::lexer::Syntax;
use super::{Error, parser};

/// So many parsed texts are kept; then the cache starts anew.
const CAPACITY: usize = 8192;
/// Longer texts are few, and are kept by themselves: the files of templates.
const LONG_BYTES: usize = 8192;
/// So many of those.
const LONG_CAPACITY: usize = 64;

type Kept<T> = RefCell<HashMap<String, Result<Rc<T>, Error>>>;

thread_local! {
    static TEMPLATES: RefCell<HashMap<Syntax, Rc<[Kept<Vec<Stmt>>; 2]>>> = RefCell::default();
    static EXPRESSIONS: [Kept<Expr>; 2] = Default::default();
    /// Templates in playbooks, short and long: there are as many as there are variables.
    static AUTHORED: [Kept<Vec<Stmt>>; 2] = Default::default();
}

/// Returns a parsed template of a playbook's, in the syntax of those.
pub(crate) fn authored(text: &str) -> Result<Rc<Vec<Stmt>>, Error> {
    AUTHORED.with(|kept| {
        through(&kept[usize::from(text.len() > LONG_BYTES)], text, || {
            let syntax = Syntax {
                literal_backslashes: true,
                ..Syntax::default()
            };
            parser::template(text, &syntax)
        })
    })
}

/// Returns the parsed template.
pub(crate) fn template(text: &str, syntax: &Syntax) -> Result<Rc<Vec<Stmt>>, Error> {
    let kept = TEMPLATES.with_borrow_mut(|all| match all.get(syntax) {
        Some(kept) => Rc::clone(kept),
        None => Rc::clone(all.entry(syntax.clone()).or_default()),
    });
    let kept = &kept[usize::from(text.len() > LONG_BYTES)];
    through(kept, text, || parser::template(text, syntax))
}

/// Returns the parsed expression.
pub(crate) fn expression(text: &str, literal_backslashes: bool) -> Result<Rc<Expr>, Error> {
    let syntax = Syntax {
        literal_backslashes,
        ..Syntax::default()
    };
    EXPRESSIONS.with(|kept| {
        let kept = &kept[usize::from(literal_backslashes)];
        through(kept, text, || parser::expression(text, &syntax))
    })
}

fn through<T>(
    kept: &Kept<T>,
    text: &str,
    parse: impl FnOnce() -> Result<T, Error>,
) -> Result<Rc<T>, Error> {
    if let Some(found) = kept.borrow().get(text) {
        return found.clone();
    }
    let parsed = parse().map(Rc::new);
    let mut kept = kept.borrow_mut();
    let capacity = match text.len() {
        ..=LONG_BYTES => CAPACITY,
        _ => LONG_CAPACITY,
    };
    if kept.len() >= capacity {
        kept.clear();
    }
    kept.insert(text.to_owned(), parsed.clone());
    parsed
}
