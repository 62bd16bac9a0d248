//! The environment of a task's children: this process's own, with the task's `environment` over it.

/// Returns a variable as a child with this environment would see it.
pub(crate) fn variable(name: &str, environment: &[(String, String)]) -> Option<String> {
    let given = environment.iter().rev().find(|(known, _)| known == name);
    given
        .map(|(_, value)| value.clone())
        .or_else(|| std::env::var(name).ok())
}
