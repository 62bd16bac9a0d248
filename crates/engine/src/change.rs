//! The one place where state modules change the machine.
//!
//! A [`Change`] is data: planned, shown by `--diff`, tested as golden cases, then applied here.

use std::path::PathBuf;

use serde::Serialize;

use crate::module::Failure;

/// One change to the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Run a program that makes the change, by its argument vector (`groupadd`, `systemctl`).
    Run {
        /// The argument vector.
        argv: Vec<String>,
    },
    /// Remove the file or link at `path`.
    Remove {
        /// What to remove.
        path: PathBuf,
    },
}

/// Applies `changes` in order and stops at the first that fails.
pub fn apply(changes: &[Change]) -> Result<(), Failure> {
    changes.iter().try_for_each(apply_one)
}

fn apply_one(change: &Change) -> Result<(), Failure> {
    match change {
        Change::Run { argv } => run(argv),
        Change::Remove { path } => std::fs::remove_file(path)
            .map_err(|e| Failure::new(format!("could not remove {}: {e}", path.display()))),
    }
}

fn run(argv: &[String]) -> Result<(), Failure> {
    let Some((program, args)) = argv.split_first() else {
        return Err(Failure::new("no program to run"));
    };
    let output = std::process::Command::new(program)
        .args(args)
        .output()
        .map_err(|e| Failure::new(format!("could not run {program}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{program} failed: {}", stderr.trim())))
}
