//! Text as Python splits and expands it before a command: `shlex.split`, `expandvars`, `expanduser`.

use amibake_playbook::shell::{self, Comments};

use crate::environment::variable;
use crate::users;

/// Splits a command line into its words, as Python's `shlex.split`; the error is Python's.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    shell::split(text, Comments::Words)
}

/// Expands `$NAME`, `${NAME}`, then a leading `~` or `~user`; what is unknown stays.
pub(crate) fn expand(text: &str, environment: &[(String, String)]) -> String {
    expand_user(&expand_variables(text, environment), environment)
}

fn expand_variables(text: &str, environment: &[(String, String)]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, tail) = variable_name(after);
        match variable(name, environment).filter(|_| !name.is_empty()) {
            Some(value) => {
                out.push_str(&value);
                rest = tail;
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

/// Returns the name at the start of `after`, braces off, and what follows it.
fn variable_name(after: &str) -> (&str, &str) {
    if let Some(braced) = after.strip_prefix('{') {
        return braced.split_once('}').unwrap_or(("", after));
    }
    let end = after
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(after.len());
    after.split_at(end)
}

/// Returns a path with the home of `~` or `~user` at its beginning.
pub(crate) fn expand_user(text: &str, environment: &[(String, String)]) -> String {
    let Some(after) = text.strip_prefix('~') else {
        return text.to_owned();
    };
    let (name, rest) = after.split_at(after.find('/').unwrap_or(after.len()));
    let home = if name.is_empty() {
        variable("HOME", environment)
            .or_else(|| users::user_by_id(nix::unistd::getuid().as_raw()).map(|u| u.home))
    } else {
        users::user(name).map(|u| u.home)
    };
    match home {
        Some(home) if home.trim_end_matches('/').is_empty() && rest.is_empty() => "/".to_owned(),
        Some(home) => format!("{}{rest}", home.trim_end_matches('/')),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_are_split_as_python_does() {
        let split = |text| super::split(text).unwrap();
        assert_eq!(
            split(r#"a "b c" 'd "e' f\ g"#),
            ["a", "b c", "d \"e", "f g"]
        );
        assert_eq!(split(r#"a "" #b"#), ["a", "", "#b"]);
        assert_eq!(split(r#""\n\"\\$""#), [r#"\n"\$"#]);
        assert_eq!(split("a\n b"), ["a", "b"]);
        assert_eq!(super::split("'a"), Err("No closing quotation"));
        assert_eq!(super::split("a\\"), Err("No escaped character"));
    }

    #[test]
    fn variables_and_homes_are_expanded_and_the_unknown_stays() {
        let env = vec![
            ("HOME".to_owned(), "/home/me/".to_owned()),
            ("A".to_owned(), "b".to_owned()),
        ];
        let expand = |text| super::expand(text, &env);
        assert_eq!(
            expand("x$A-${A}c $NOT_SET_HERE $ ${"),
            "xb-bc $NOT_SET_HERE $ ${"
        );
        assert_eq!(expand("~/x"), "/home/me/x");
        assert_eq!(expand("~"), "/home/me");
        assert_eq!(expand("~root/x"), "/root/x");
        assert_eq!(expand("a~"), "a~");
        assert_eq!(expand("~no-such-user/x"), "~no-such-user/x");
    }
}
