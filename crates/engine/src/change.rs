//! The one place where state modules change the machine.
//!
//! A [`Change`] is data: planned, shown by `--diff`, tested as golden cases, then applied here.

use std::path::PathBuf;

use amibake_protocol::event::Diff;
use serde::Serialize;

use crate::module::{Context, Failure};

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

impl Change {
    /// Returns what `--diff` shows of it; `None` where Ansible shows nothing.
    #[must_use]
    pub fn diff(&self) -> Option<Diff> {
        match self {
            Self::Run { .. } | Self::Remove { .. } => None,
        }
    }
}

/// Applies `changes` in order and stops at the first that fails.
pub fn apply(changes: &[Change], context: &mut Context<'_>) -> Result<(), Failure> {
    changes.iter().try_for_each(|c| apply_one(c, context))
}

fn apply_one(change: &Change, context: &mut Context<'_>) -> Result<(), Failure> {
    match change {
        Change::Run { argv } => run(argv, &context.environment),
        Change::Remove { path } => std::fs::remove_file(path)
            .map_err(|e| Failure::new(format!("could not remove {}: {e}", path.display()))),
    }
}

fn run(argv: &[String], environment: &[(String, String)]) -> Result<(), Failure> {
    let Some((program, args)) = argv.split_first() else {
        return Err(Failure::new("no program to run"));
    };
    let output = std::process::Command::new(program)
        .args(args)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .map_err(|e| Failure::new(format!("could not run {program}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("{program} failed: {}", stderr.trim())))
}
