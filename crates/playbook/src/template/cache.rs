//! Templates are parsed once and kept by their text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Expr, Stmt};
use super::lexer::Syntax;
use super::{Error, parser};

/// So many parsed texts are kept; then the cache starts anew.
const CAPACITY: usize = 8192;

type Kept<T> = RefCell<HashMap<String, Result<Rc<T>, Error>>>;

thread_local! {
    static TEMPLATES: Kept<Vec<Stmt>> = RefCell::default();
    static EXPRESSIONS: [Kept<Expr>; 2] = Default::default();
}

/// Returns the parsed template; only the syntax of task arguments is kept.
pub(super) fn template(text: &str, syntax: &Syntax) -> Result<Rc<Vec<Stmt>>, Error> {
    if !syntax.literal_backslashes {
        return parser::template(text, syntax).map(Rc::new);
    }
    TEMPLATES.with(|kept| through(kept, text, || parser::template(text, syntax)))
}

/// Returns the parsed expression.
pub(super) fn expression(text: &str, literal_backslashes: bool) -> Result<Rc<Expr>, Error> {
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
    if kept.len() >= CAPACITY {
        kept.clear();
    }
    kept.insert(text.to_owned(), parsed.clone());
    parsed
}
