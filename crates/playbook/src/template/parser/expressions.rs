//! Expressions, from the loosest binding to the tightest.

use std::rc::Rc;

use super::Parser;
use crate::template::Error;
use crate::template::ast::{Applied, Args, Comparison, Expr, Operator};
use crate::template::lexer::Token;
use crate::value::{Mark, Text, Value, looks_like_template};

impl Parser {
    pub(super) fn expression(&mut self) -> Result<Expr, Error> {
        self.deeper(Self::choice)
    }

    fn choice(&mut self) -> Result<Expr, Error> {
        let mut expr = self.or()?;
        let mut links = 0;
        while self.eat_name("if") {
            self.link(&mut links)?;
            let condition = self.or()?;
            let otherwise = match self.eat_name("else") {
                true => Some(Box::new(self.expression()?)),
                false => None,
            };
            expr = Expr::Choice(Box::new(condition), Box::new(expr), otherwise);
        }
        Ok(expr)
    }

    pub(super) fn or(&mut self) -> Result<Expr, Error> {
        let mut left = self.and()?;
        let mut links = 0;
        while self.eat_name("or") {
            self.link(&mut links)?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, Error> {
        let mut left = self.not()?;
        let mut links = 0;
        while self.eat_name("and") {
            self.link(&mut links)?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, Error> {
        if self.eat_name("not") {
            let inner = self.deeper(Self::not)?;
            return Ok(Expr::Not(Box::new(inner)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr, Error> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(comparison) = self.comparison() {
            rest.push((comparison, self.sum()?));
        }
        if rest.is_empty() {
            return Ok(first);
        }
        Ok(Expr::Compare(Box::new(first), rest))
    }

    fn comparison(&mut self) -> Option<Comparison> {
        let (comparison, length) = match (self.peek(), self.peek_at(1)) {
            (Token::Op("=="), _) => (Comparison::Eq, 1),
            (Token::Op("!="), _) => (Comparison::Ne, 1),
            (Token::Op("<"), _) => (Comparison::Lt, 1),
            (Token::Op("<="), _) => (Comparison::Le, 1),
            (Token::Op(">"), _) => (Comparison::Gt, 1),
            (Token::Op(">="), _) => (Comparison::Ge, 1),
            (Token::Name(name), _) if name == "in" => (Comparison::In, 1),
            (Token::Name(not), Token::Name(name)) if not == "not" && name == "in" => {
                (Comparison::NotIn, 2)
            }
            _ => return None,
        };
        self.at += length;
        Some(comparison)
    }

    fn sum(&mut self) -> Result<Expr, Error> {
        let mut left = self.concat()?;
        let mut links = 0;
        loop {
            self.link(&mut links)?;
            let operator = match self.peek() {
                Token::Op("+") => Operator::Add,
                Token::Op("-") => Operator::Sub,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.concat()?));
        }
    }

    fn concat(&mut self) -> Result<Expr, Error> {
        let first = self.product()?;
        if !self.is_op("~") {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.eat_op("~") {
            parts.push(self.product()?);
        }
        Ok(Expr::Concat(parts))
    }

    fn product(&mut self) -> Result<Expr, Error> {
        let mut left = self.power()?;
        let mut links = 0;
        loop {
            self.link(&mut links)?;
            let operator = match self.peek() {
                Token::Op("*") => Operator::Mul,
                Token::Op("/") => Operator::Div,
                Token::Op("//") => Operator::FloorDiv,
                Token::Op("%") => Operator::Mod,
                _ => return Ok(left),
            };
            self.at += 1;
            left = Expr::Binary(operator, Box::new(left), Box::new(self.power()?));
        }
    }

    /// In Jinja2 a sign binds tighter than a power, and powers group from the left.
    fn power(&mut self) -> Result<Expr, Error> {
        let mut left = self.unary(true)?;
        let mut links = 0;
        while self.eat_op("**") {
            self.link(&mut links)?;
            left = Expr::Binary(Operator::Pow, Box::new(left), Box::new(self.unary(true)?));
        }
        Ok(left)
    }

    fn unary(&mut self, filters: bool) -> Result<Expr, Error> {
        let node = if self.eat_op("-") {
            let inner = self.deeper(|p| p.unary(false))?;
            Expr::Negate(Box::new(inner))
        } else if self.eat_op("+") {
            let inner = self.deeper(|p| p.unary(false))?;
            Expr::Plus(Box::new(inner))
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if filters {
            self.filters(node)
        } else {
            Ok(node)
        }
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(match name.as_str() {
                    "true" | "True" => Expr::Const(Value::Bool(true)),
                    "false" | "False" => Expr::Const(Value::Bool(false)),
                    "none" | "None" => Expr::Const(Value::None),
                    _ => Expr::Name(Rc::from(name)),
                })
            }
            Token::Str(mut text) => {
                self.at += 1;
                while let Token::Str(more) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                let mark = match looks_like_template(&text) {
                    true => Mark::Literal,
                    false => Mark::Data,
                };
                Ok(Expr::Const(Value::Str(Text::new(text, mark))))
            }
            Token::Int(digits) => match integer(&digits) {
                Some(value) => {
                    self.at += 1;
                    Ok(Expr::Const(value))
                }
                None => self.fail(format!("invalid number '{digits}'")),
            },
            Token::Float(f) => {
                self.at += 1;
                Ok(Expr::Const(Value::Float(f)))
            }
            Token::Op("(") => {
                self.at += 1;
                let inner = self.deeper(|p| p.tuple(true, true, &[]))?;
                self.expect_op(")")?;
                Ok(inner)
            }
            Token::Op("[") => {
                self.at += 1;
                self.deeper(Self::list)
            }
            Token::Op("{") => {
                self.at += 1;
                self.deeper(Self::dict)
            }
            Token::End => self.fail("unexpected end of template"),
            _ => self.fail(format!("unexpected {}", self.shown())),
        }
    }

    /// Reads expressions separated by commas; one without a comma is itself.
    pub(super) fn tuple(
        &mut self,
        conditions: bool,
        parentheses: bool,
        stop: &[&str],
    ) -> Result<Expr, Error> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            if self.tuple_ends(stop) {
                break;
            }
            items.push(if conditions {
                self.expression()?
            } else {
                self.or()?
            });
            if !self.eat_op(",") {
                break;
            }
            is_tuple = true;
        }
        if is_tuple {
            return Ok(Expr::Tuple(items));
        }
        match items.pop() {
            Some(item) => Ok(item),
            None if parentheses => Ok(Expr::Tuple(items)),
            None => self.fail(format!("Expected an expression, got {}", self.shown())),
        }
    }

    fn tuple_ends(&self, stop: &[&str]) -> bool {
        match self.peek() {
            Token::VariableEnd | Token::BlockEnd | Token::Op(")") | Token::End => true,
            Token::Name(name) => stop.contains(&name.as_str()),
            _ => false,
        }
    }

    fn list(&mut self) -> Result<Expr, Error> {
        let mut items = Vec::new();
        while !self.is_op("]") {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.is_op("]") {
                    break;
                }
            }
            items.push(self.expression()?);
        }
        self.expect_op("]")?;
        Ok(Expr::List(items))
    }

    fn dict(&mut self) -> Result<Expr, Error> {
        let mut items = Vec::new();
        while !self.is_op("}") {
            if !items.is_empty() {
                self.expect_op(",")?;
                if self.is_op("}") {
                    break;
                }
            }
            let key = self.expression()?;
            self.expect_op(":")?;
            items.push((key, self.expression()?));
        }
        self.expect_op("}")?;
        Ok(Expr::Dict(items))
    }

    fn postfix(&mut self, mut node: Expr) -> Result<Expr, Error> {
        let mut links = 0;
        loop {
            self.link(&mut links)?;
            node = match self.peek() {
                Token::Op("." | "[") => self.subscript(node)?,
                Token::Op("(") => self.call(node)?,
                _ => return Ok(node),
            };
        }
    }

    fn filters(&mut self, mut node: Expr) -> Result<Expr, Error> {
        let mut links = 0;
        loop {
            self.link(&mut links)?;
            node = match self.peek() {
                Token::Op("|") => {
                    self.at += 1;
                    self.filter(node)?
                }
                Token::Name(name) if name == "is" => {
                    self.at += 1;
                    self.test(node)?
                }
                Token::Op("(") => self.call(node)?,
                _ => return Ok(node),
            };
        }
    }

    fn subscript(&mut self, node: Expr) -> Result<Expr, Error> {
        if self.eat_op(".") {
            return match self.next() {
                Token::Name(name) => Ok(Expr::Attr(Box::new(node), Rc::from(name))),
                Token::Int(digits) => {
                    let index = Expr::Const(integer(&digits).unwrap_or(Value::None));
                    Ok(Expr::Item(Box::new(node), Box::new(index)))
                }
                _ => {
                    self.at = self.at.saturating_sub(1);
                    self.fail("expected name or number")
                }
            };
        }
        self.expect_op("[")?;
        let first = self.deeper(Self::subscribed)?;
        if !self.is_op(",") {
            self.expect_op("]")?;
            return Ok(match first {
                Index::One(index) => Expr::Item(Box::new(node), Box::new(index)),
                Index::Slice(parts) => Expr::Slice(Box::new(node), parts),
            });
        }
        let Index::One(first) = first else {
            return self.fail("a slice cannot be part of a tuple index");
        };
        let mut items = vec![first];
        while self.eat_op(",") {
            items.push(self.expression()?);
        }
        self.expect_op("]")?;
        Ok(Expr::Item(Box::new(node), Box::new(Expr::Tuple(items))))
    }

    fn subscribed(&mut self) -> Result<Index, Error> {
        let mut parts = [None, None, None];
        if !self.is_op(":") {
            let first = self.expression()?;
            if !self.is_op(":") {
                return Ok(Index::One(first));
            }
            parts[0] = Some(first);
        }
        for part in &mut parts[1..] {
            if !self.eat_op(":") {
                break;
            }
            if !self.is_op(":") && !self.is_op("]") && !self.is_op(",") {
                *part = Some(self.expression()?);
            }
        }
        Ok(Index::Slice(Box::new(parts)))
    }

    fn call(&mut self, node: Expr) -> Result<Expr, Error> {
        let args = self.deeper(Self::arguments)?;
        Ok(Expr::Call(Box::new(node), Box::new(args)))
    }

    fn arguments(&mut self) -> Result<Args, Error> {
        self.expect_op("(")?;
        let mut args = Args::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            self.argument(&mut args)?;
        }
        self.expect_op(")")?;
        Ok(args)
    }

    fn argument(&mut self, args: &mut Args) -> Result<(), Error> {
        if self.eat_op("*") {
            args.star = Some(self.expression()?);
            return Ok(());
        }
        if self.eat_op("**") {
            args.double_star = Some(self.expression()?);
            return Ok(());
        }
        if let (Token::Name(name), Token::Op("=")) = (self.peek().clone(), self.peek_at(1)) {
            self.at += 2;
            args.named.push((Rc::from(name), self.expression()?));
            return Ok(());
        }
        if !args.named.is_empty() || args.double_star.is_some() {
            return self.fail("invalid syntax for function call expression");
        }
        args.positional.push(self.expression()?);
        Ok(())
    }

    fn dotted(&mut self) -> Result<Rc<str>, Error> {
        let mut name = self.expect_name()?.to_string();
        while self.eat_op(".") {
            name.push('.');
            name.push_str(&self.expect_name()?);
        }
        Ok(Rc::from(name))
    }

    pub(super) fn filter(&mut self, on: Expr) -> Result<Expr, Error> {
        let (line, column) = self.here();
        let name = self.dotted()?;
        let args = match self.is_op("(") {
            true => self.deeper(Self::arguments)?,
            false => Args::default(),
        };
        Ok(Expr::Filter(Box::new(Applied {
            name,
            on,
            args,
            line,
            column,
        })))
    }

    fn test(&mut self, on: Expr) -> Result<Expr, Error> {
        let negated = self.eat_name("not");
        let (line, column) = self.here();
        let name = self.dotted()?;
        let mut args = Args::default();
        match self.peek() {
            Token::Op("(") => args = self.deeper(Self::arguments)?,
            Token::Name(word) if matches!(word.as_str(), "else" | "or" | "and") => {}
            Token::Name(word) if word == "is" => {
                return self.fail("You cannot chain multiple tests with is");
            }
            // `x is defined if y`, `x is odd not in z`: Jinja2 takes any other name as argument.
            Token::Name(_)
            | Token::Str(_)
            | Token::Int(_)
            | Token::Float(_)
            | Token::Op("[" | "{") => {
                let primary = self.primary()?;
                args.positional.push(self.postfix(primary)?);
            }
            _ => {}
        }
        let test = Expr::Test(Box::new(Applied {
            name,
            on,
            args,
            line,
            column,
        }));
        Ok(if negated {
            Expr::Not(Box::new(test))
        } else {
            test
        })
    }
}

enum Index {
    One(Expr),
    Slice(Box<[Option<Expr>; 3]>),
}

/// Returns the whole number that `digits` spell, in any of Python's bases.
fn integer(digits: &str) -> Option<Value> {
    use num_traits::Num;
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ => (10, lower.as_str()),
    };
    let big = num_bigint::BigInt::from_str_radix(digits, radix).ok()?;
    Some(crate::value::from_big(big))
}
