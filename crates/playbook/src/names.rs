//! Names of modules, plugins and keywords, with and without the collection they are in.

/// Returns a name without its collection, if that is one of Ansible's own.
#[must_use]
pub fn bare(name: &str) -> &str {
    name.strip_prefix("ansible.builtin.")
        .or_else(|| name.strip_prefix("ansible.legacy."))
        .unwrap_or(name)
}
