//! Cuts a template into text and tokens. Whitespace control happens here and nowhere else.

use std::borrow::Cow;

use crate::template::{Error, ErrorKind};

/// The delimiters and whitespace rules of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Syntax {
    /// `{%`.
    pub block_start: Cow<'static, str>,
    /// `%}`.
    pub block_end: Cow<'static, str>,
    /// `{{`.
    pub variable_start: Cow<'static, str>,
    /// `}}`.
    pub variable_end: Cow<'static, str>,
    /// `{#`.
    pub comment_start: Cow<'static, str>,
    /// `#}`.
    pub comment_end: Cow<'static, str>,
    /// Whether the first newline after a block goes.
    pub trim_blocks: bool,
    /// Whether blanks before a block at the start of a line go.
    pub lstrip_blocks: bool,
    /// What a newline in text becomes.
    pub newline: Cow<'static, str>,
    /// Whether the template's last newline stays.
    pub keep_trailing_newline: bool,
    /// Whether backslashes in texts inside `{{ … }}` stand for themselves, as they do in the
    /// arguments of tasks (YAML has had its turn with them already).
    pub literal_backslashes: bool,
}

impl Default for Syntax {
    fn default() -> Self {
        Self {
            block_start: Cow::Borrowed("{%"),
            block_end: Cow::Borrowed("%}"),
            variable_start: Cow::Borrowed("{{"),
            variable_end: Cow::Borrowed("}}"),
            comment_start: Cow::Borrowed("{#"),
            comment_end: Cow::Borrowed("#}"),
            trim_blocks: true,
            lstrip_blocks: false,
            newline: Cow::Borrowed("\n"),
            keep_trailing_newline: false,
            literal_backslashes: false,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Text(String),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(String),
    Int(String),
    Float(f64),
    Str(String),
    Op(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub(super) struct Spanned {
    pub(super) token: Token,
    pub(super) line: u32,
    pub(super) column: u32,
}

/// Longest first, so that `**` is not two `*`.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";",
];

/// Cuts a whole template.
pub(super) fn template(text: &str, syntax: &Syntax) -> Result<Vec<Spanned>, Error> {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = match text.strip_suffix('\n') {
        Some(rest) if !syntax.keep_trailing_newline => rest,
        _ => &text,
    };
    let mut lexer = Lexer::new(text, syntax);
    lexer.run()?;
    Ok(lexer.tokens)
}

/// Cuts a bare expression.
pub(super) fn expression(text: &str, syntax: &Syntax) -> Result<Vec<Spanned>, Error> {
    let mut lexer = Lexer::new(text, syntax);
    lexer.literal = syntax.literal_backslashes;
    lexer.inside(None)?;
    lexer.push(Token::End);
    Ok(lexer.tokens)
}

pub(super) fn syntax_error(message: impl Into<String>, line: u32, column: u32) -> Error {
    let mut error = Error::new(ErrorKind::Syntax, message);
    error.place = Some(crate::value::Place {
        file: "".into(),
        line,
        column,
    });
    error
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    counted: usize,
    line: u32,
    line_start: usize,
    syntax: &'a Syntax,
    tokens: Vec<Spanned>,
    literal: bool,
    /// Where the next of each of [`OPENINGS`] stands: looked for once, since they may be far apart.
    ahead: [Option<usize>; 3],
}

const OPENINGS: [Opening; 3] = [Opening::Comment, Opening::Block, Opening::Variable];

#[derive(Clone, Copy, PartialEq)]
enum Opening {
    Variable,
    Block,
    Comment,
}

impl<'a> Lexer<'a> {
    fn new(text: &'a str, syntax: &'a Syntax) -> Self {
        let mut lexer = Self {
            text,
            at: 0,
            counted: 0,
            line: 1,
            line_start: 0,
            syntax,
            tokens: Vec::new(),
            literal: false,
            ahead: [None; 3],
        };
        lexer.ahead = OPENINGS.map(|opening| lexer.find(opening));
        lexer
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn position(&mut self) -> (u32, u32) {
        for (offset, _) in self.text[self.counted..self.at].match_indices('\n') {
            self.line += 1;
            self.line_start = self.counted + offset + 1;
        }
        self.counted = self.at;
        let column = self.text[self.line_start..self.at].chars().count() + 1;
        (self.line, u32::try_from(column).unwrap_or(u32::MAX))
    }

    fn push(&mut self, token: Token) {
        let (line, column) = self.position();
        self.tokens.push(Spanned {
            token,
            line,
            column,
        });
    }

    fn fail<T>(&mut self, message: impl Into<String>) -> Result<T, Error> {
        let (line, column) = self.position();
        Err(syntax_error(message, line, column))
    }

    fn run(&mut self) -> Result<(), Error> {
        while let Some((offset, opening)) = self.next_opening() {
            let mut text = &self.rest()[..offset];
            let start = self.at + offset;
            let length = self.delimiters(opening).0.len();
            let sign = self.text[start + length..].chars().next();
            if sign == Some('-') {
                text = text.trim_end();
            } else if self.syntax.lstrip_blocks && sign != Some('+') && opening != Opening::Variable
            {
                text = self.without_indent(text);
            }
            self.push_text(text);
            self.at = start;
            self.open(opening, length, matches!(sign, Some('-' | '+')))?;
        }
        let rest = self.rest();
        self.push_text(rest);
        self.at = self.text.len();
        self.push(Token::End);
        Ok(())
    }

    fn delimiters(&self, opening: Opening) -> (&'a str, &'a str) {
        let s = self.syntax;
        match opening {
            Opening::Variable => (&s.variable_start, &s.variable_end),
            Opening::Block => (&s.block_start, &s.block_end),
            Opening::Comment => (&s.comment_start, &s.comment_end),
        }
    }

    fn find(&self, opening: Opening) -> Option<usize> {
        let offset = self.rest().find(self.delimiters(opening).0)?;
        Some(self.at + offset)
    }

    /// Returns the nearest opening; of two at one place the longer.
    fn next_opening(&mut self) -> Option<(usize, Opening)> {
        for (index, opening) in OPENINGS.into_iter().enumerate() {
            if self.ahead[index].is_some_and(|at| at < self.at) {
                self.ahead[index] = self.find(opening);
            }
        }
        let found = OPENINGS.into_iter().zip(self.ahead);
        let found = found.filter_map(|(opening, at)| Some((at? - self.at, opening)));
        found.min_by_key(|(offset, opening)| {
            let length = self.delimiters(*opening).0.len();
            (*offset, usize::MAX - length)
        })
    }

    fn without_indent<'t>(&self, text: &'t str) -> &'t str {
        let stripped = text.trim_end_matches([' ', '\t']);
        let at_line_start = if stripped.is_empty() {
            self.at == 0 || self.text[..self.at].ends_with('\n')
        } else {
            stripped.ends_with('\n')
        };
        if at_line_start { stripped } else { text }
    }

    fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let text = if self.syntax.newline == "\n" {
            text.to_owned()
        } else {
            text.replace('\n', &self.syntax.newline)
        };
        self.push(Token::Text(text));
    }

    fn open(&mut self, opening: Opening, length: usize, signed: bool) -> Result<(), Error> {
        let begin = self.at;
        self.at += length + usize::from(signed);
        match opening {
            Opening::Comment => self.comment(),
            Opening::Variable => {
                let after = self.at;
                self.at = begin;
                self.push(Token::VariableBegin);
                self.at = after;
                self.literal = self.syntax.literal_backslashes;
                self.inside(Some(opening))?;
                self.literal = false;
                Ok(())
            }
            Opening::Block => match self.raw_begin() {
                Some(length) => {
                    self.at += length;
                    self.raw()
                }
                None => {
                    self.push(Token::BlockBegin);
                    self.inside(Some(opening))
                }
            },
        }
    }

    fn comment(&mut self) -> Result<(), Error> {
        let end = self.delimiters(Opening::Comment).1;
        let Some(offset) = self.rest().find(end) else {
            return self.fail("Missing end of comment tag");
        };
        let before = self.rest()[..offset].chars().next_back();
        self.at += offset + end.len();
        self.after_block(before);
        Ok(())
    }

    /// Eats what whitespace control eats after a closing whose sign is `sign`.
    fn after_block(&mut self, sign: Option<char>) {
        let rest = self.rest();
        match sign {
            Some('-') => self.at += rest.len() - rest.trim_start().len(),
            Some('+') => {}
            _ if self.syntax.trim_blocks && rest.starts_with('\n') => self.at += 1,
            _ => {}
        }
    }

    /// Returns how long the rest of `{% raw %}` is, if that is what stands here.
    fn raw_begin(&self) -> Option<usize> {
        let rest = self.rest().trim_start().strip_prefix("raw")?.trim_start();
        let end = &self.syntax.block_end;
        let body = rest.strip_prefix(&**end);
        let body = body.or_else(|| {
            rest.strip_prefix('-')?
                .strip_prefix(&**end)
                .map(str::trim_start)
        });
        let mut body = body?;
        if self.syntax.trim_blocks && !rest.starts_with('-') {
            body = body.strip_prefix('\n').unwrap_or(body);
        }
        Some(self.rest().len() - body.len())
    }

    fn raw(&mut self) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let Some(offset) = self.rest()[from..].find(&*self.syntax.block_start) else {
                return self.fail("Missing end of raw directive");
            };
            let start = from + offset;
            from = start + self.syntax.block_start.len();
            if let Some((minus, length, sign)) = self.raw_end(from) {
                let mut text = &self.rest()[..start];
                if minus {
                    text = text.trim_end();
                } else if self.syntax.lstrip_blocks {
                    text = self.without_indent(text);
                }
                self.push_text(text);
                self.at += from + length;
                self.after_block(sign);
                return Ok(());
            }
        }
    }

    /// Returns the sign before, the length, and the sign after, if `endraw %}` stands at `from`.
    fn raw_end(&self, from: usize) -> Option<(bool, usize, Option<char>)> {
        let all = &self.rest()[from..];
        let minus = all.starts_with('-');
        let rest = all.strip_prefix(['-', '+']).unwrap_or(all).trim_start();
        let rest = rest.strip_prefix("endraw")?.trim_start();
        let sign = rest.chars().next().filter(|c| matches!(c, '-' | '+'));
        let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        let after = rest.strip_prefix(&*self.syntax.block_end)?;
        Some((minus, all.len() - after.len(), sign))
    }

    /// Cuts tokens until the closing of `opening`, or to the end of a bare expression.
    fn inside(&mut self, opening: Option<Opening>) -> Result<(), Error> {
        let mut brackets: Vec<char> = Vec::new();
        loop {
            self.at += self.rest().len() - self.rest().trim_start().len();
            if let (Some(opening), true) = (opening, brackets.is_empty())
                && self.closing(opening)
            {
                return Ok(());
            }
            let Some(first) = self.rest().chars().next() else {
                return match opening {
                    None if brackets.is_empty() => Ok(()),
                    None => self.fail("unexpected end of expression"),
                    Some(_) => self.fail("unexpected end of template"),
                };
            };
            self.token(first, &mut brackets)?;
        }
    }

    fn closing(&mut self, opening: Opening) -> bool {
        let end = self.delimiters(opening).1;
        let rest = self.rest();
        let (sign, after) = match rest
            .strip_prefix(['-', '+'])
            .and_then(|r| r.strip_prefix(end))
        {
            Some(after) => (rest.chars().next(), after),
            None => match rest.strip_prefix(end) {
                Some(after) => (None, after),
                None => return false,
            },
        };
        if opening == Opening::Variable && sign == Some('+') {
            return false;
        }
        self.push(if opening == Opening::Variable {
            Token::VariableEnd
        } else {
            Token::BlockEnd
        });
        self.at = self.text.len() - after.len();
        if opening == Opening::Block || sign == Some('-') {
            self.after_block(sign);
        }
        true
    }

    fn token(&mut self, first: char, brackets: &mut Vec<char>) -> Result<(), Error> {
        if first == '\'' || first == '"' {
            return self.string(first);
        }
        if first.is_ascii_digit() {
            return self.number();
        }
        if first == '_' || first.is_alphabetic() {
            let rest = self.rest();
            let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric());
            let name = &rest[..end.unwrap_or(rest.len())];
            self.push(Token::Name(name.to_owned()));
            self.at += name.len();
            return Ok(());
        }
        let Some(operator) = OPERATORS.into_iter().find(|op| self.rest().starts_with(op)) else {
            return self.fail(format!(
                "unexpected char {} at {}",
                crate::value::repr_str(&first.to_string()),
                self.at
            ));
        };
        match first {
            '(' => brackets.push(')'),
            '[' => brackets.push(']'),
            '{' => brackets.push('}'),
            ')' | ']' | '}' => match brackets.pop() {
                None => return self.fail(format!("unexpected '{first}'")),
                Some(expected) if expected != first => {
                    return self.fail(format!("unexpected '{first}', expected '{expected}'"));
                }
                Some(_) => {}
            },
            _ => {}
        }
        self.push(Token::Op(operator));
        self.at += operator.len();
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<(), Error> {
        let rest = &self.rest()[1..];
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return self.fail(format!(
                "unexpected char {} at {}",
                crate::value::repr_str(&quote.to_string()),
                self.at
            ));
        };
        let body = &rest[..end];
        let text = match self.literal {
            true => body.to_owned(),
            false => super::escapes::decode(body),
        };
        self.push(Token::Str(text));
        self.at += end + 2;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Error> {
        let rest = self.rest();
        let after_dot = matches!(
            self.tokens.last(),
            Some(Spanned {
                token: Token::Op("."),
                ..
            })
        );
        let (length, float) = super::escapes::number_length(rest, after_dot);
        let digits = rest[..length].replace('_', "");
        let token = if float {
            Token::Float(digits.parse().unwrap_or(f64::NAN))
        } else {
            Token::Int(digits)
        };
        self.push(token);
        self.at += length;
        Ok(())
    }
}
