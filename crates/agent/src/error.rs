//! Why an agent ends before its work is done.

use crate::folder::RunFolder;

/// Why the agent ended early. The controller shows it as the target's last words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentError {
    /// It was started by hand.
    #[error("this program is started by amibake; it has no commands for people")]
    Usage,
    #[error("a worker failed")]
    Worker(#[source] std::io::Error),
    /// The peer broke the protocol or the link.
    #[error("the conversation with the controller failed")]
    Frame(#[from] amibake_protocol::frame::FrameError),
    /// A message came at the wrong time.
    #[error("{0} was not expected here")]
    Unexpected(&'static str),
    #[error("the bundle could not be unpacked")]
    Bundle(#[from] amibake_protocol::bundle::BundleError),
    /// A file or socket of ours failed.
    #[error("could not {doing} {}", .path.display())]
    Io {
        doing: &'static str,
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// The folder for runs belongs to someone else.
    #[error("{} is not a private folder of this user", .0.display())]
    NotOurs(std::path::PathBuf),
    /// The file system for the bundle is full.
    #[error(
        "there is no space left in {} for the playbook's files: {}, or leave large files out of \
         the playbook's folders",
        .folder.display(), remedy(*on_disk)
    )]
    Full {
        /// Where they were to lie.
        folder: std::path::PathBuf,
        /// Whether that is a disk, and not memory.
        on_disk: bool,
    },
    /// The detached process did not come up.
    #[error("the run could not be started: {0}")]
    NotStarted(String),
}

fn remedy(on_disk: bool) -> &'static str {
    match on_disk {
        true => "make some there",
        false => {
            "enlarge it (`mount -o remount,size=50% /run`; those of a playbook for which a vault \
             was opened stay in memory, others above 32 MiB go to the disk)"
        }
    }
}

impl AgentError {
    /// Says what to do where `error` comes from a file system that is full.
    pub(crate) fn full(error: Self, folder: &RunFolder) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(found) = cause {
            let kind = found
                .downcast_ref::<std::io::Error>()
                .map(std::io::Error::kind);
            if kind == Some(std::io::ErrorKind::StorageFull) {
                let apart = std::fs::read_link(folder.bundle());
                return Self::Full {
                    on_disk: apart.is_ok(),
                    folder: apart.unwrap_or_else(|_| folder.path().to_owned()),
                };
            }
            cause = found.source();
        }
        error
    }
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
