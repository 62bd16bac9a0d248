//! Why an agent ends before its work is done.

/// Why the agent ended early. The controller shows it as the target's last words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
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
pub(crate) fn io(
    doing: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> AgentError {
    let path = path.to_path_buf();
    move |source| AgentError::Io {
        doing,
        path,
        source,
    }
}
