//! Names of modules, plugins and keywords, with and without the collection they are in.

/// What means something else in templates.
const JINJA_WORDS: &[&str] = &["true", "false", "none", "True", "False", "None", "not"];

/// Returns whether a variable can have this name: Ansible's `validate_variable_name`.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !JINJA_WORDS.contains(&name)
}

/// Returns a name without its collection, if that is one of Ansible's own.
#[must_use]
pub fn bare(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name)
}
