//! Texts of queries: values in quotes, names in backquotes, what stands for what.

use crate::modules::identifier;

/// Returns a value as it stands in a query.
pub(super) fn literal(value: &str, backslashes: bool) -> String {
    let mut text = String::from("'");
    for c in value.chars() {
        match c {
            '\'' if !backslashes => text.push_str("''"),
            c if !backslashes => text.push(c),
            '\0' => text.push_str("\\0"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\u{1a}' => text.push_str("\\Z"),
            '\'' | '"' | '\\' => text.extend(['\\', c]),
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

/// Puts literals in the places of `%s`, one after the other; `%%` is a percent sign.
pub(super) fn filled(query: &str, literals: &[String]) -> String {
    if literals.is_empty() {
        return query.to_owned();
    }
    let (mut text, mut rest, mut left) = (String::new(), query, literals.iter());
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let mut after = rest[at + 1..].chars();
        match after.next() {
            Some('s') => text.push_str(left.next().map_or("", String::as_str)),
            Some(other) => text.push(other),
            None => text.push('%'),
        }
        rest = after.as_str();
    }
    text + rest
}

/// Returns the name of a database or a variable in backquotes, its parts each, as Ansible's `mysql_quote_identifier`.
///
/// # Errors
/// Ansible's complaint; `kind` is what it calls the name.
pub(super) fn identifier(name: &str, kind: &str) -> Result<String, String> {
    const MOST_DOTS: usize = 1;
    let parts = identifier::parts(name, '`')?;
    if parts.len() - 1 > MOST_DOTS {
        return Err(format!(
            "MySQL does not support {kind} with more than {MOST_DOTS} dots"
        ));
    }
    let each = parts
        .iter()
        .map(|part| if part == "`*`" { "*" } else { part });
    Ok(each.collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_leaves_its_quotes() {
        assert_eq!(literal("a'b\"c\\d\n\0", true), r#"'a\'b\"c\\d\n\0'"#);
        assert_eq!(literal("a'b\\", false), r"'a''b\'");
    }

    #[test]
    fn values_stand_where_they_are_asked_for() {
        let values = ["'%s'".to_owned(), "'b'".to_owned()];
        assert_eq!(
            filled("a %s LIKE '100%%' %s", &values),
            "a '%s' LIKE '100%' 'b'"
        );
        assert_eq!(filled("100%% as it is", &[]), "100%% as it is");
    }

    #[test]
    fn names_are_quoted_as_by_ansible() {
        for (name, expected) in [
            ("a", Ok("`a`")),
            ("a`b", Ok("`a``b`")),
            ("`a`", Ok("`a`")),
            ("`a``b`.c", Ok("`a``b`.`c`")),
            ("a.b", Ok("`a`.`b`")),
            ("a.", Ok("`a.`")),
            ("*", Ok("*")),
            ("`a", Ok("```a`")),
            (
                "",
                Err("Identifier name unspecified or unquoted trailing dot"),
            ),
            (
                "`a`b",
                Err("User escaped identifiers must escape extra quotes"),
            ),
            (
                "a.b.c",
                Err("MySQL does not support database with more than 1 dots"),
            ),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(identifier(name, "database"), expected, "{name}");
        }
    }
}
