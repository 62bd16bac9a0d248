//! Texts of queries: values in quotes, names in double quotes, what looks dangerous.

use std::sync::LazyLock;

use amibake_playbook::pyre::{Flags, Regex};

use crate::args::Args;
use crate::module::Failure;
use crate::modules::identifier;

/// Returns a value as psycopg2 writes it into a query; `backslashes` are escapes in plain texts, too.
pub(super) fn literal(value: &str, backslashes: bool) -> String {
    let quoted = value.replace('\'', "''");
    match value.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false if backslashes => format!("E'{quoted}'"),
        false => format!("'{quoted}'"),
    }
}

/// Returns the name of a role in double quotes; one that is not quoted is a whole name, dots and all.
pub(super) fn role(name: &str) -> Result<String, String> {
    let quoted = match (name.starts_with('"'), name.ends_with('"')) {
        _ if name.is_empty() => {
            return Err("Identifier name unspecified or unquoted trailing dot".to_owned());
        }
        (false, false) => format!("\"{name}\""),
        (true, true) => name.to_owned(),
        _ => {
            return Err(
                "The value of the user-field can't contain a double-quote in the end if it doesn't start with one and \
                 vice-versa."
                    .to_owned(),
            );
        }
    };
    let parts = identifier::parts(&quoted, '"')?;
    match parts.len() {
        1 => Ok(parts.concat()),
        _ => Err("PostgreSQL does not support role with more than 1 dots".to_owned()),
    }
}

static DANGEROUS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    let pattern = |text: &str, ignore_case| {
        let flags = Flags {
            ignore_case,
            ..Flags::default()
        };
        Regex::new(text, flags).expect("the pattern is sound")
    };
    [
        pattern(r#"('|").*--"#, false),
        pattern("(UNION|INTERSECT|EXCEPT).*SELECT", true),
        pattern(";.*(SELECT|UPDATE|INSERT|DELETE|DROP|TRUNCATE|ALTER)", true),
    ]
});

/// Refuses parameters that look like a part of a query, where the task does not trust them.
pub(super) fn check_input(args: &Args, names: &[&str]) -> Result<(), Failure> {
    if args.opt_bool("trust_input") != Some(false) {
        return Ok(());
    }
    let given = names.iter().filter_map(|name| {
        let value = args.raw(name).filter(|value| !value.is_null())?;
        Some(
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned),
        )
    });
    let is_dangerous = |text: &String| {
        DANGEROUS
            .iter()
            .any(|pattern| pattern.is_match(text.as_bytes()).unwrap_or(true))
    };
    let dangerous: Vec<String> = given.filter(is_dangerous).collect();
    if dangerous.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "Passed input '{}' is potentially dangerous",
        dangerous.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::modules::tests::with_args;

    #[test]
    fn no_value_leaves_its_quotes() {
        assert_eq!(literal("a'b", false), "'a''b'");
        assert_eq!(literal("a\\'b", false), " E'a\\\\''b'");
    }

    #[test]
    fn a_role_is_quoted_as_by_ansible() {
        assert_eq!(role("a.b").as_deref(), Ok("\"a.b\""));
        assert_eq!(role("\"a\"").as_deref(), Ok("\"a\""));
        assert!(role("\"a").is_err());
        assert!(role("a\"; drop").is_err());
        assert!(role("").is_err());
    }

    #[test]
    fn what_looks_like_a_query_is_refused_where_it_is_not_trusted() {
        let check = |comment: &str, trust: bool| {
            let task = json!({"name": "x", "comment": comment, "trust_input": trust});
            let mut found = None;
            with_args("postgresql_user", task, |args, _| {
                found = Some(check_input(args, &["comment"]).is_err());
            });
            found.unwrap()
        };
        assert!(check("x'; drop table t --", false));
        assert!(check("a UNION b select c", false));
        assert!(!check("nothing; of note", false));
        assert!(!check("x'; drop table t --", true));
    }
}
