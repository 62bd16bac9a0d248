//! Statements: what stands between `{%` and `%}`, with the bodies in between.

use std::rc::Rc;

use super::Parser;
use crate::template::Error;
use crate::template::ast::{BlockDef, Expr, For, MacroDef, Stmt, Target};
use crate::template::lexer::Token;

impl Parser {
    /// Reads until a block whose first word is one of `ends` (left unread), or to the end.
    pub(super) fn statements(&mut self, ends: &[&str]) -> Result<Vec<Stmt>, Error> {
        let mut body = Vec::new();
        loop {
            match self.next() {
                Token::Text(text) => body.push(Stmt::Text(Rc::from(text))),
                Token::VariableBegin => {
                    let line = self.here().0;
                    let expr = self.deeper(|p| p.tuple(true, false, &[]))?;
                    if self.next() != Token::VariableEnd {
                        self.at = self.at.saturating_sub(1);
                        return self.fail(format!(
                            "expected token 'end of print statement', got {}",
                            self.shown()
                        ));
                    }
                    body.push(Stmt::Output(expr, line));
                }
                Token::BlockBegin => {
                    if matches!(self.peek(), Token::Name(name) if ends.contains(&name.as_str())) {
                        return Ok(body);
                    }
                    if let Some(statement) = self.deeper(Self::statement)? {
                        body.push(statement);
                    }
                }
                Token::End if ends.is_empty() => return Ok(body),
                Token::End => {
                    return self.fail(format!(
                        "Unexpected end of template. Jinja was looking for the following tags: '{}'.",
                        ends.join("' or '")
                    ));
                }
                _ => return self.fail("unexpected token"),
            }
        }
    }

    fn statement(&mut self) -> Result<Option<Stmt>, Error> {
        let line = self.here().0;
        let name = self.expect_name()?;
        let statement = match &*name {
            "for" => self.for_loop(line)?,
            "if" => self.if_chain()?,
            "set" => self.set(line)?,
            "macro" => self.macro_definition()?,
            "call" => self.call_block()?,
            "filter" => self.filter_block()?,
            "with" => self.with()?,
            "do" => Stmt::Do(self.tuple(true, false, &[])?, line),
            "break" => Stmt::Break,
            "continue" => Stmt::Continue,
            "include" => self.include()?,
            "import" => self.import()?,
            "from" => self.import_from()?,
            "extends" => Stmt::Extends(self.expression()?),
            "block" => self.block()?,
            "autoescape" => {
                self.expression()?;
                let body = self.body(&["endautoescape"])?;
                Stmt::With(Vec::new(), Rc::from(body))
            }
            "print" => Stmt::Output(self.tuple(true, false, &[])?, line),
            other => {
                self.at = self.at.saturating_sub(1);
                return self.fail(format!("Encountered unknown tag '{other}'."));
            }
        };
        self.block_end()?;
        Ok(Some(statement))
    }

    fn block_end(&mut self) -> Result<(), Error> {
        if *self.peek() == Token::BlockEnd {
            self.at += 1;
            return Ok(());
        }
        self.fail(format!(
            "expected token 'end of statement block', got {}",
            self.shown()
        ))
    }

    /// Reads `%} body {% end`, leaving the closing `%}`.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Stmt>, Error> {
        self.eat_op(":");
        self.block_end()?;
        let body = self.statements(ends)?;
        if ends.len() == 1 {
            self.at += 1;
        }
        Ok(body)
    }

    fn for_loop(&mut self, line: u32) -> Result<Stmt, Error> {
        let target = self.target(&["in"])?;
        if !self.eat_name("in") {
            return self.fail(format!("expected token 'in', got {}", self.shown()));
        }
        let over = self.tuple(false, false, &["recursive", "if"])?;
        let only_if = match self.eat_name("if") {
            true => Some(self.expression()?),
            false => None,
        };
        let recursive = self.eat_name("recursive");
        let body = self.body(&["endfor", "else"])?;
        let otherwise = match self.eat_name("else") {
            true => self.body(&["endfor"])?,
            false => {
                self.at += 1;
                Vec::new()
            }
        };
        Ok(Stmt::For(Rc::new(For {
            target,
            over,
            only_if,
            recursive,
            body,
            otherwise,
            line,
        })))
    }

    fn if_chain(&mut self) -> Result<Stmt, Error> {
        let mut arms = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let condition = self.tuple(true, false, &[])?;
            let body = self.body(&["elif", "else", "endif"])?;
            arms.push((condition, body));
            if self.eat_name("elif") {
                continue;
            }
            if self.eat_name("else") {
                otherwise = self.body(&["endif"])?;
            } else {
                self.at += 1;
            }
            return Ok(Stmt::If(Rc::from(arms), Rc::from(otherwise)));
        }
    }

    fn set(&mut self, line: u32) -> Result<Stmt, Error> {
        let target = self.target(&[])?;
        if self.eat_op("=") {
            let value = self.tuple(true, false, &[])?;
            return Ok(Stmt::Set(target, value, line));
        }
        let filter = self.filter_chain()?;
        let body = self.body(&["endset"])?;
        Ok(Stmt::SetBlock(target, filter, Rc::from(body)))
    }

    fn filter_chain(&mut self) -> Result<Option<Expr>, Error> {
        let mut filter = None;
        while self.eat_op("|") {
            filter = Some(self.filter(filter.unwrap_or(Expr::Body))?);
        }
        Ok(filter)
    }

    fn target(&mut self, stop: &[&str]) -> Result<Target, Error> {
        let mut targets = vec![self.one_target()?];
        let mut is_tuple = false;
        while self.eat_op(",") {
            is_tuple = true;
            let ends = matches!(self.peek(), Token::Name(name) if stop.contains(&name.as_str()));
            if ends || self.is_op("=") || self.is_op(")") {
                break;
            }
            targets.push(self.one_target()?);
        }
        match targets.pop() {
            Some(only) if !is_tuple => Ok(only),
            Some(last) => {
                targets.push(last);
                Ok(Target::Tuple(targets))
            }
            None => self.fail("expected a name"),
        }
    }

    fn one_target(&mut self) -> Result<Target, Error> {
        if self.eat_op("(") {
            let inner = self.deeper(|p| p.target(&[]))?;
            self.expect_op(")")?;
            return Ok(inner);
        }
        let name = self.expect_name()?;
        if matches!(
            &*name,
            "true" | "false" | "none" | "True" | "False" | "None"
        ) {
            return self.fail(format!("can't assign to '{name}'"));
        }
        if self.eat_op(".") {
            return Ok(Target::Attr(name, self.expect_name()?));
        }
        Ok(Target::Name(name))
    }

    fn parameters(&mut self) -> Result<Vec<(Rc<str>, Option<Expr>)>, Error> {
        self.expect_op("(")?;
        let mut params: Vec<(Rc<str>, Option<Expr>)> = Vec::new();
        while !self.is_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.expect_name()?;
            let default = match self.eat_op("=") {
                true => Some(self.expression()?),
                false if params.iter().any(|(_, default)| default.is_some()) => {
                    return self.fail("non-default argument follows default argument");
                }
                false => None,
            };
            params.push((name, default));
        }
        self.expect_op(")")?;
        Ok(params)
    }

    fn macro_definition(&mut self) -> Result<Stmt, Error> {
        let name = self.expect_name()?;
        let params = self.parameters()?;
        let body = self.body(&["endmacro"])?;
        self.closing_name(&name);
        Ok(Stmt::Macro(Rc::new(MacroDef { name, params, body })))
    }

    /// Eats the name that may be repeated after an end tag.
    fn closing_name(&mut self, name: &str) {
        self.eat_name(name);
    }

    fn call_block(&mut self) -> Result<Stmt, Error> {
        let params = match self.is_op("(") {
            true => self.parameters()?,
            false => Vec::new(),
        };
        let call = self.expression()?;
        if !matches!(call, Expr::Call(..)) {
            return self.fail("expected call");
        }
        let body = self.body(&["endcall"])?;
        let name = Rc::from("caller");
        Ok(Stmt::Call(Rc::new(MacroDef { name, params, body }), call))
    }

    fn filter_block(&mut self) -> Result<Stmt, Error> {
        let mut filter = self.filter(Expr::Body)?;
        while self.eat_op("|") {
            filter = self.filter(filter)?;
        }
        let body = self.body(&["endfilter"])?;
        Ok(Stmt::Filter(filter, Rc::from(body)))
    }

    fn with(&mut self) -> Result<Stmt, Error> {
        let mut bindings = Vec::new();
        while *self.peek() != Token::BlockEnd {
            if !bindings.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.one_target()?;
            self.expect_op("=")?;
            bindings.push((target, self.expression()?));
        }
        let body = self.body(&["endwith"])?;
        Ok(Stmt::With(bindings, Rc::from(body)))
    }

    fn include(&mut self) -> Result<Stmt, Error> {
        let name = self.expression()?;
        let ignore_missing = self.is_name("ignore")
            && matches!(self.peek_at(1), Token::Name(name) if name == "missing");
        self.at += if ignore_missing { 2 } else { 0 };
        let context = self.context(true);
        Ok(Stmt::Include {
            name,
            ignore_missing,
            context,
        })
    }

    fn context(&mut self, default: bool) -> bool {
        let with = self.is_name("with");
        let named = matches!(self.peek_at(1), Token::Name(name) if name == "context");
        if named && (with || self.is_name("without")) {
            self.at += 2;
            return with;
        }
        default
    }

    fn import(&mut self) -> Result<Stmt, Error> {
        let name = self.expression()?;
        if !self.eat_name("as") {
            return self.fail(format!("expected token 'as', got {}", self.shown()));
        }
        let target = self.expect_name()?;
        let context = self.context(false);
        Ok(Stmt::Import {
            name,
            target,
            context,
        })
    }

    fn import_from(&mut self) -> Result<Stmt, Error> {
        let name = self.expression()?;
        if !self.eat_name("import") {
            return self.fail(format!("expected token 'import', got {}", self.shown()));
        }
        let mut names = Vec::new();
        loop {
            let has_context = matches!(self.peek_at(1), Token::Name(n) if n == "context");
            if has_context && (self.is_name("with") || self.is_name("without")) {
                break;
            }
            let original = self.expect_name()?;
            let alias = match self.eat_name("as") {
                true => self.expect_name()?,
                false => original.clone(),
            };
            names.push((original, alias));
            if !self.eat_op(",") || *self.peek() == Token::BlockEnd {
                break;
            }
        }
        let context = self.context(false);
        Ok(Stmt::FromImport {
            name,
            names,
            context,
        })
    }

    fn block(&mut self) -> Result<Stmt, Error> {
        let name = self.expect_name()?;
        let mut scoped = false;
        loop {
            if self.eat_name("scoped") {
                scoped = true;
            } else if !self.eat_name("required") {
                break;
            }
        }
        let body = self.body(&["endblock"])?;
        self.closing_name(&name);
        Ok(Stmt::Block(Rc::new(BlockDef { name, body, scoped })))
    }
}
