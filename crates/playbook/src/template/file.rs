//! Template files, as the template module renders them.

use std::borrow::Cow;
use std::rc::Rc;

use super::ast::Stmt;
use super::eval::{Evaluator, Frame, at_line};
use super::lexer::Syntax;
use super::{Error, ErrorKind, cache, finalize};
use crate::value::Value;

/// How a template file is read. The default is the template module's.
#[derive(Debug, Clone, Default)]
pub struct FileOptions {
    /// Delimiters and whitespace control.
    pub syntax: Syntax,
}

impl FileOptions {
    /// Reads the options of a task or lookup that change Jinja's syntax: `text` and `flag` return what is given.
    pub fn given(
        text: impl Fn(&str) -> Option<String>,
        flag: impl Fn(&str) -> Option<bool>,
    ) -> Self {
        let mut syntax = Syntax::default();
        for (name, slot) in [
            ("block_start_string", &mut syntax.block_start),
            ("block_end_string", &mut syntax.block_end),
            ("variable_start_string", &mut syntax.variable_start),
            ("variable_end_string", &mut syntax.variable_end),
            ("comment_start_string", &mut syntax.comment_start),
            ("comment_end_string", &mut syntax.comment_end),
        ] {
            if let Some(value) = text(name) {
                *slot = value.into();
            }
        }
        syntax.trim_blocks = flag("trim_blocks").unwrap_or(true);
        syntax.lstrip_blocks = flag("lstrip_blocks").unwrap_or(false);
        Self { syntax }
    }
}

/// Renders a file's text to text.
pub(super) fn render(
    machine: &Evaluator<'_>,
    text: &str,
    options: &FileOptions,
    path: &str,
) -> Result<String, Error> {
    match value(machine, text, options, path)? {
        Value::None => Ok(String::new()),
        value => finalize::in_text(&value).map(Cow::into_owned),
    }
}

/// Renders a file's text to what it is: the value of an expression that stands alone.
pub(super) fn value(
    machine: &Evaluator<'_>,
    text: &str,
    options: &FileOptions,
    path: &str,
) -> Result<Value, Error> {
    if !is_template(text, &options.syntax) {
        return Ok(Value::str(text));
    }
    let mut syntax = options.syntax.clone();
    let body = overrides(text, &mut syntax)?;
    let first_line = u32::from(body.len() < text.len());
    let parsed = cache::template(body, &syntax).map_err(|error| {
        let line = error.place.as_ref().map_or(1, |place| place.line) + first_line;
        at_line(
            Error {
                place: None,
                ..error
            },
            line,
            Some(path),
        )
    })?;
    let newline = syntax.newline.clone();
    machine.syntax.replace(Syntax {
        keep_trailing_newline: false,
        ..syntax
    });
    let value = machine.file(path.to_owned(), &parsed, &Frame::root())?;
    let mut rendered = match finalize::result(value)? {
        Value::Str(text) => text.to_string(),
        // A value alone is no text whose lines could end.
        value => return Ok(value),
    };
    // Lines that ended the file end what is made of it, whatever stood in the last one.
    let newlines = |text: &str| text.len() - text.trim_end_matches('\n').len();
    let missing = newlines(body).saturating_sub(newlines(&rendered));
    rendered.push_str(&newline.repeat(missing));
    Ok(Value::from(rendered))
}

/// Returns whether anything in `text` is for Jinja; if not, the file is what it is.
fn is_template(text: &str, syntax: &Syntax) -> bool {
    let starts = [
        &syntax.block_start,
        &syntax.variable_start,
        &syntax.comment_start,
    ];
    text.starts_with("#jinja2:") || starts.iter().any(|start| text.contains(&***start))
}

/// Returns a file's template, parsed, and how many lines stand before it.
pub(super) fn parse(text: &str, options: &FileOptions) -> Result<(Rc<Vec<Stmt>>, u32), Error> {
    let mut syntax = options.syntax.clone();
    let body = overrides(text, &mut syntax)?;
    let before = u32::from(body.len() < text.len());
    let parsed = cache::template(body, &syntax).map_err(|mut error| {
        if let Some(place) = &mut error.place {
            place.line += before;
        }
        error
    })?;
    Ok((parsed, before))
}

/// Reads a first line `#jinja2: lstrip_blocks: True, …` and returns the rest of the text.
fn overrides<'t>(text: &'t str, syntax: &mut Syntax) -> Result<&'t str, Error> {
    let Some(rest) = text.strip_prefix("#jinja2:") else {
        return Ok(text);
    };
    let fail = |message: String| Error::new(ErrorKind::Syntax, message);
    let Some((line, body)) = rest.split_once('\n') else {
        return Err(fail("missing newline after '#jinja2:' override".to_owned()));
    };
    for pair in line.split(',') {
        let Some((key, value)) = pair.split_once(':') else {
            return Err(fail(format!(
                "missing key-value separator `:` in '#jinja2:' override '{pair}'"
            )));
        };
        let value = value.trim();
        let truth = || match value {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(fail(format!(
                "'{value}' is not a Python literal of the kind needed"
            ))),
        };
        let quoted = || {
            let inner = value
                .strip_prefix(['\'', '"'])
                .and_then(|v| v.strip_suffix(['\'', '"']));
            inner.map(super::escapes::decode).ok_or_else(|| {
                fail(format!(
                    "'{value}' is not a Python literal of the kind needed"
                ))
            })
        };
        match key.trim() {
            "trim_blocks" => syntax.trim_blocks = truth()?,
            "lstrip_blocks" => syntax.lstrip_blocks = truth()?,
            "keep_trailing_newline" => syntax.keep_trailing_newline = truth()?,
            "block_start_string" => syntax.block_start = quoted()?.into(),
            "block_end_string" => syntax.block_end = quoted()?.into(),
            "variable_start_string" => syntax.variable_start = quoted()?.into(),
            "variable_end_string" => syntax.variable_end = quoted()?.into(),
            "comment_start_string" => syntax.comment_start = quoted()?.into(),
            "comment_end_string" => syntax.comment_end = quoted()?.into(),
            "newline_sequence" => syntax.newline = quoted()?.into(),
            other => return Err(fail(format!("invalid '#jinja2:' override key '{other}'"))),
        }
    }
    Ok(body)
}
