//! The filters, tests and lookups that a text names, found without rendering it.

use super::ast::{Applied, Expr, Stmt};
use super::lexer::Syntax;
use super::plugins::Kind;
use super::{Error, FileOptions, cache, file, visit};
use crate::names::bare;
use crate::value::{Value, looks_like_template};

/// Something that a template names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    pub kind: Kind,
    /// As it is written.
    pub name: String,
    /// The line of the text, from 1; 0 where that is not known.
    pub line: u32,
    /// The column in it, from 1.
    pub column: u32,
}

/// Returns what a text as it stands in a playbook names.
///
/// # Errors
/// What is wrong with its syntax.
pub fn uses(text: &str) -> Result<Vec<Use>, Error> {
    if !looks_like_template(text) {
        return Ok(Vec::new());
    }
    let syntax = Syntax {
        literal_backslashes: true,
        ..Syntax::default()
    };
    cache::template(text, &syntax).map(|body| of_body(&body))
}

/// Returns what a bare expression names, as in `when`.
///
/// # Errors
/// What is wrong with its syntax.
pub fn uses_of_expression(text: &str) -> Result<Vec<Use>, Error> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let expr = cache::expression(text, false)?;
    visit::each_inner(&expr, &mut |expr| note(expr, &mut found));
    Ok(found)
}

/// Returns what a file of the template module names.
///
/// # Errors
/// What is wrong with its syntax.
pub fn uses_of_file(text: &str, options: &FileOptions) -> Result<Vec<Use>, Error> {
    let (body, before) = file::parse(text, options)?;
    let mut found = of_body(&body);
    for used in found.iter_mut().filter(|used| used.line > 0) {
        used.line += before;
    }
    Ok(found)
}

/// Returns the variables that a text of a playbook names, in the order in which they stand there, each once.
#[must_use]
pub fn variables(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let body = cache::authored(text).unwrap_or_default();
    visit::each_expression(&body, &mut |expr| {
        if let Expr::Name(name) = expr
            && !found.iter().any(|known| **known == **name)
        {
            found.push(name.to_string());
        }
    });
    found
}

fn of_body(body: &[Stmt]) -> Vec<Use> {
    let mut found = Vec::new();
    visit::each_expression(body, &mut |expr| note(expr, &mut found));
    found
}

fn note(expr: &Expr, found: &mut Vec<Use>) {
    let mut add = |kind, name: &str, (line, column)| {
        found.push(Use {
            kind,
            name: name.to_owned(),
            line,
            column,
        });
    };
    match expr {
        Expr::Filter(applied) => {
            let place = (applied.line, applied.column);
            add(Kind::Filter, &applied.name, place);
            if let Some((kind, name)) = by_name(applied) {
                add(kind, &name, place);
            }
        }
        Expr::Test(applied) => add(Kind::Test, &applied.name, (applied.line, applied.column)),
        Expr::Call(on, args) => {
            if let (Expr::Name(function), Some(Expr::Const(Value::Str(name)))) =
                (&**on, args.positional.first())
                && matches!(&**function, "lookup" | "query" | "q")
            {
                add(Kind::Lookup, name, (0, 0));
            }
        }
        _ => {}
    }
}

/// Returns what `map('upper')` and `select('match', …)` name by a text.
fn by_name(applied: &Applied) -> Option<(Kind, String)> {
    let (kind, at) = match bare(&applied.name) {
        "map" => (Kind::Filter, 0),
        "select" | "reject" => (Kind::Test, 0),
        "selectattr" | "rejectattr" => (Kind::Test, 1),
        _ => return None,
    };
    match applied.args.positional.get(at) {
        Some(Expr::Const(Value::Str(name))) => Some((kind, name.to_string())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(uses: &[Use]) -> Vec<String> {
        uses.iter()
            .map(|used| format!("{:?} {}", used.kind, used.name))
            .collect()
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        let text = "{% for a in b | map('upper') if a is defined %}{{ lookup('env', x | lower) }}{% endfor %}";
        let expected = [
            "Filter map",
            "Filter upper",
            "Test defined",
            "Lookup env",
            "Filter lower",
        ];
        let mut found = shown(&uses(text).unwrap());
        let mut expected = expected.map(str::to_owned).to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let condition = uses_of_expression("x | selectattr('a', 'match', 'b') | list").unwrap();
        assert!(shown(&condition).contains(&"Test match".to_owned()));
        assert!(uses("no template").unwrap().is_empty());
        assert!(uses("{{ a ").is_err());
    }

    #[test]
    fn variables_are_found_in_their_order() {
        assert_eq!(
            variables("{{ b.c ~ a | default(b) }} {{ d[e] }}"),
            ["b", "a", "d", "e"]
        );
        assert!(variables("{{ nothing").is_empty());
    }

    #[test]
    fn a_file_is_read_with_its_own_delimiters() {
        let text = "#jinja2: variable_start_string: '[%', variable_end_string: '%]'\n[% a | upper %] {{ b | lower }}\n";
        let found = uses_of_file(text, &FileOptions::default()).unwrap();
        assert_eq!(shown(&found), ["Filter upper"]);
    }
}
