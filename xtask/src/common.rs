//! What all tasks share: where things are, and how programs are run.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Returns the target of static programs for an architecture.
pub(crate) fn musl(architecture: &str) -> String {
    format!("{architecture}-unknown-linux-musl")
}

pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|e| format!("could not run {name}: {e}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{name} failed: {status}"))
}

pub(crate) fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// Returns the checkout's folder, by the variable that `cargo run` sets: a program that was compiled
/// in one checkout may run in another which shares its target folder.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| "xtask".into());
    let here = Path::new(&here);
    here.parent().unwrap_or(here).to_path_buf()
}

pub(crate) fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), |folder| root().join(folder))
}
