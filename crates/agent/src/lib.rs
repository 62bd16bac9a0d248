//! What the agent does, by its first argument: `session` talks to a controller over standard
//! input and output, `serve` runs a job detached from it, `worker` runs tasks as another user, `job` one that
//! outlives the run.

mod asking;
mod bundle_files;
mod cancel;
mod error;
mod event_log;
mod folder;
mod hub;
mod local_files;
mod serve;
mod session;

use std::process::ExitCode;

use amibake_engine::worker;

use error::{AgentError, io};

/// Talks to a controller.
const SESSION: &str = "session";
/// Runs a job.
const SERVE: &str = "serve";

/// Returns whether a program that is an agent among other things was started to be one.
#[must_use]
pub fn is_meant(arguments: &[String]) -> bool {
    let modes = [SESSION, SERVE, worker::WORKER, worker::JOB];
    arguments
        .first()
        .is_some_and(|mode| modes.contains(&mode.as_str()))
}

/// Runs the agent with its arguments, the program's name left out.
#[must_use]
pub fn main(arguments: Vec<String>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let mode = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let ended = match mode.as_str() {
        "--version" => version(),
        SESSION => session::run(&rest),
        SERVE => serve::run(&rest),
        worker::WORKER => worker::serve(&rest).map_err(AgentError::Worker),
        worker::JOB => worker::serve_job(&rest).map_err(AgentError::Worker),
        _ => Err(AgentError::Usage),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn version() -> Result<(), AgentError> {
    use std::io::Write;
    let line = concat!("amibake-agent ", env!("CARGO_PKG_VERSION"), "\n");
    std::io::stdout()
        .write_all(line.as_bytes())
        .map_err(io("write to", std::path::Path::new("standard output")))
}

fn complain(error: &AgentError) {
    use std::io::Write;
    let mut text = format!("amibake-agent: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}
