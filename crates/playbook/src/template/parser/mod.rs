//! Reads tokens into statements and expressions, as Jinja2's own parser does.

mod expressions;
mod statements;

use std::rc::Rc;

use super::ast::{Expr, Stmt};
use super::lexer::{self, Spanned, Syntax, Token, syntax_error};
use crate::template::Error;

/// Nesting beyond this is refused before it can exhaust the stack.
const DEPTH_LIMIT: usize = 60;
/// Longer chains than this nobody writes.
const LINK_LIMIT: usize = 200;

/// Reads a whole template.
pub(super) fn template(text: &str, syntax: &Syntax) -> Result<Vec<Stmt>, Error> {
    let mut parser = Parser::new(lexer::template(text, syntax)?);
    let body = parser.statements(&[])?;
    Ok(body)
}

/// Reads a bare expression.
pub(super) fn expression(text: &str, syntax: &Syntax) -> Result<Expr, Error> {
    let mut parser = Parser::new(lexer::expression(text, syntax)?);
    let expr = parser.expression()?;
    if *parser.peek() != Token::End {
        return parser.fail("chunk after expression");
    }
    Ok(expr)
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    depth: usize,
}

impl Parser {
    fn new(tokens: Vec<Spanned>) -> Self {
        Self {
            tokens,
            at: 0,
            depth: 0,
        }
    }

    fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> &Token {
        let last = self.tokens.len().saturating_sub(1);
        &self.tokens[(self.at + ahead).min(last)].token
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn here(&self) -> (u32, u32) {
        let token = &self.tokens[self.at.min(self.tokens.len() - 1)];
        (token.line, token.column)
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T, Error> {
        let (line, column) = self.here();
        Err(syntax_error(message, line, column))
    }

    fn is_op(&self, operator: &str) -> bool {
        matches!(self.peek(), Token::Op(op) if *op == operator)
    }

    fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(n) if n == name)
    }

    fn eat_op(&mut self, operator: &str) -> bool {
        let found = self.is_op(operator);
        self.at += usize::from(found);
        found
    }

    fn eat_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        self.at += usize::from(found);
        found
    }

    fn expect_op(&mut self, operator: &str) -> Result<(), Error> {
        if self.eat_op(operator) {
            return Ok(());
        }
        self.fail(format!("expected token '{operator}', got {}", self.shown()))
    }

    fn expect_name(&mut self) -> Result<Rc<str>, Error> {
        match self.peek() {
            Token::Name(name) => {
                let name = Rc::from(name.as_str());
                self.at += 1;
                Ok(name)
            }
            _ => self.fail(format!("expected token 'name', got {}", self.shown())),
        }
    }

    /// Returns the current token as Jinja2's messages show it.
    fn shown(&self) -> String {
        let text = match self.peek() {
            Token::Text(_) => "template data / text".to_owned(),
            Token::VariableBegin => "begin of print statement".to_owned(),
            Token::VariableEnd => "end of print statement".to_owned(),
            Token::BlockBegin => "begin of statement block".to_owned(),
            Token::BlockEnd => "end of statement block".to_owned(),
            Token::Name(name) => name.clone(),
            Token::Int(_) => "integer".to_owned(),
            Token::Float(_) => "float".to_owned(),
            Token::Str(text) => text.clone(),
            Token::Op(op) => (*op).to_owned(),
            Token::End => "end of template".to_owned(),
        };
        crate::value::repr_str(&text)
    }

    /// Counts one more link of a chain (`a + b + c`, `a | f | g`): it nests as its value is made.
    fn link(&self, links: &mut usize) -> Result<(), Error> {
        *links += 1;
        if *links > LINK_LIMIT {
            return self.fail("the template is nested too deeply");
        }
        Ok(())
    }

    /// Runs `parse` one level deeper.
    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_LIMIT {
            return self.fail("the template is nested too deeply");
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }
}
