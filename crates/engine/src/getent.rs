//! The name service switch, by its command: a static program has none of its own.

use std::process::{Command, Stdio};

/// Returns what `getent` says of `key`; nothing where it knows nothing, or is not there, as in a
/// small container.
pub(crate) fn getent(database: &str, key: &str) -> Option<String> {
    if key.is_empty() || key.starts_with('-') {
        return None;
    }
    let output = Command::new("getent")
        .args([database, key])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.trim_end().to_owned())
}
