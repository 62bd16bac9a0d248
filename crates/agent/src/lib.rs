//! What the agent does, by its first argument: `session` talks to a controller over standard
//! input and output, `serve` runs a job detached from it, `worker` runs tasks as another user.

mod asking;
mod bundle_files;
mod cancel;
mod event_log;
mod folder;
mod hub;
mod serve;
mod session;

use std::process::ExitCode;

use amibake_engine::worker;

/// Talks to a controller.
const SESSION: &str = "session";
/// Runs a job.
const SERVE: &str = "serve";

/// Returns whether a program that is an agent among other things was started to be one.
#[must_use]
pub fn is_meant(arguments: &[String]) -> bool {
    let modes = [SESSION, SERVE, worker::WORKER];
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

/// Why the agent ended early. The controller shows it as the target's last words.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    /// It was started by hand.
    #[error("this program is started by amibake; it has no commands for people")]
    Usage,
    /// A worker ended.
    #[error("a worker failed")]
    Worker(#[source] std::io::Error),
    /// The peer broke the protocol or the link.
    #[error("the controller could not be followed")]
    Frame(#[from] amibake_protocol::frame::FrameError),
    /// A message came at the wrong time.
    #[error("{0} was not expected here")]
    Unexpected(&'static str),
    /// The bundle is not sound.
    #[error("the bundle could not be unpacked")]
    Bundle(#[from] amibake_protocol::bundle::BundleError),
    /// A file or socket of ours failed.
    #[error("could not {doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: std::path::PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The folder for runs belongs to someone else.
    #[error("{} is not a private folder of this user", .0.display())]
    NotOurs(std::path::PathBuf),
    /// The detached process did not come up.
    #[error("the run could not be started: {0}")]
    NotStarted(String),
}

/// Returns what turns an IO error into ours.
fn io(doing: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> AgentError {
    let path = path.to_path_buf();
    move |source| AgentError::Io {
        doing,
        path,
        source,
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
