//! What is said to a machine around its playbooks: readiness, sealing, looking at the candidate.
//!
//! Each is one [`Operation`]: a shell script (the long ones lie in `scripts/`) run as root over one
//! channel, so it costs one round trip and needs nothing on the machine. Order and consequences are `bake`'s.

pub(crate) mod gate;
pub(crate) mod image_tests;
pub(crate) mod logs;
pub(crate) mod prepare;
mod script;
pub(crate) mod seal;

use std::fmt;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::exit::Failure;
use crate::targets::tail;
use crate::transport::{ExitStatus, Transport};

/// How much of a script's output is kept; a machine may be hostile.
const OUTPUT_CAP: u64 = 1 << 20;

/// What a bake asks of a machine. Errors name it; the script that does it is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// [`prepare::wait_until_ready`]
    AwaitFirstBoot,
    /// [`prepare::new_host_key`]
    NewHostKey,
    /// [`prepare::renew_timer`]
    RenewTimer,
    /// [`seal::seal`]
    Seal,
    /// [`gate::booted::look`]
    LookAtCandidate,
    /// [`logs::collect`]
    CollectLogs,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwaitFirstBoot => "waiting for the first boot to finish",
            Self::NewHostKey => "making a new host key",
            Self::RenewTimer => "renewing the machine's timer",
            Self::Seal => "sealing",
            Self::LookAtCandidate => "looking at the booted candidate",
            Self::CollectLogs => "collecting its logs",
        })
    }
}

/// How a script ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    pub(crate) exit: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs scripts as root on one machine.
#[async_trait]
pub(crate) trait RootShell: Send + Sync {
    /// Runs the `script` that does `operation`, to its end.
    ///
    /// An error is a link that could not carry it.
    async fn run(&self, operation: Operation, script: &str) -> io::Result<Output>;
}

/// Why a script on the machine did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    #[error("the connection to the machine failed while {operation}")]
    Link {
        operation: Operation,
        source: io::Error,
    },
    /// The script was cut off: the link was lost, or the machine is going down.
    #[error("{operation} was cut off on the machine ({how}): {said}")]
    CutOff {
        operation: Operation,
        /// The signal, or that the link was lost.
        how: String,
        /// The end of what it said.
        said: String,
    },
    #[error("{operation} failed on the machine ({how}): {said}")]
    Failed {
        operation: Operation,
        /// Its exit status or signal.
        how: String,
        /// The end of what it said.
        said: String,
    },
}

/// Runs `script` as root and returns what it printed.
pub(crate) async fn script(
    shell: &dyn RootShell,
    operation: Operation,
    script: &str,
) -> Result<String, GuestError> {
    let Output {
        exit,
        stdout,
        stderr,
    } = shell
        .run(operation, script)
        .await
        .map_err(|source| GuestError::Link { operation, source })?;
    if exit == ExitStatus::Status(0) {
        return Ok(stdout);
    }
    let said = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    let said = tail(said.trim().as_bytes()).join("\n");
    let how = match exit {
        ExitStatus::Status(status) => {
            let how = format!("exit status {status}");
            return Err(GuestError::Failed {
                operation,
                how,
                said,
            });
        }
        ExitStatus::Signal(signal) => format!("signal {signal}"),
        ExitStatus::Lost => "the link was lost".to_owned(),
    };
    Err(GuestError::CutOff {
        operation,
        how,
        said,
    })
}

impl GuestError {
    /// Returns whether the machine may be gone.
    pub(crate) fn is_about_the_link(&self) -> bool {
        match self {
            Self::Link { .. } | Self::CutOff { .. } => true,
            Self::Failed { .. } => false,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        let Self::Failed { said, .. } = self else {
            return None;
        };
        // cloud-init's answer to whom the image does not want, and sudo's.
        match () {
            () if said.contains("Please login as the user") => {
                Some("name that user in builder.user")
            }
            () if said.contains("a password is required") => {
                Some("builder.user must name one who may use sudo without a password")
            }
            () => None,
        }
    }
}

impl From<GuestError> for Failure {
    fn from(error: GuestError) -> Self {
        let hint = error.hint();
        let mut failure = Self::new(error);
        failure.hint = hint.map(str::to_owned);
        failure
    }
}

/// A login user who is not root uses sudo; the script arrives on standard input, so it is in no
/// process list.
#[async_trait]
impl<T: Transport> RootShell for T {
    async fn run(&self, _operation: Operation, script: &str) -> io::Result<Output> {
        let command =
            r#"if [ "$(id -u)" = 0 ]; then exec /bin/sh -s; else exec sudo -n /bin/sh -s; fi"#;
        let mut channel = self.exec(command).await?;
        channel.stdin.write_all(script.as_bytes()).await?;
        channel.stdin.shutdown().await?;
        drop(channel.stdin);
        let (stdout, stderr) = tokio::join!(read(channel.stdout), read(channel.stderr));
        Ok(Output {
            exit: channel.exit.await?,
            stdout: stdout?,
            stderr: stderr?,
        })
    }
}

/// Reads to the end, keeping the beginning.
async fn read(mut stream: Box<dyn AsyncRead + Send + Unpin>) -> io::Result<String> {
    let mut kept = Vec::new();
    (&mut stream)
        .take(OUTPUT_CAP)
        .read_to_end(&mut kept)
        .await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;
    use amibake_playbook::shell::quote;

    #[tokio::test]
    async fn a_script_that_fails_says_what_it_said_last() {
        let error = script(&Local, Operation::Seal, "echo almost >&2; exit 7")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "sealing failed on the machine (exit status 7): almost"
        );
    }

    #[tokio::test]
    async fn who_may_not_log_in_is_told_whom_the_image_wants() {
        let said =
            "echo 'Please login as the user \"ubuntu\" rather than the user \"root\".'; exit 142";
        let error = script(&Local, Operation::NewHostKey, said).await;
        let failure = Failure::from(error.unwrap_err());
        assert!(failure.error.to_string().contains("\"ubuntu\" rather than"));
        assert_eq!(failure.hint.unwrap(), "name that user in builder.user");
    }

    #[tokio::test]
    async fn what_is_cut_off_has_not_failed_by_itself() {
        let of = async |text| script(&Local, Operation::Seal, text).await.unwrap_err();
        let cut = of("echo half; kill -TERM $$").await;
        assert!(cut.is_about_the_link(), "{cut}");
        assert!(!of("exit 255").await.is_about_the_link());
    }

    #[tokio::test]
    async fn words_are_quoted() {
        let word = "it's $HOME `id` \"x\"";
        let said = script(
            &Local,
            Operation::Seal,
            &format!("printf %s {}", quote(word)),
        )
        .await
        .unwrap();
        assert_eq!(said, word);
    }
}
