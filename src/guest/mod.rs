//! What is said to a machine around its playbooks: readiness, sealing, looking at the candidate.
//!
//! Each is one shell script run as root over one channel, so it costs one round trip and needs
//! nothing on the machine. Order and consequences are `bake`'s.

pub(crate) mod gate;
pub(crate) mod prepare;
pub(crate) mod seal;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use crate::targets::tail;
use crate::transport::{ExitStatus, Transport};

/// How much of a script's output is kept; a machine may be hostile.
const OUTPUT_CAP: u64 = 1 << 20;

/// Why a script on the machine did not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    /// The link failed.
    #[error("the machine could not be talked to while {doing}")]
    Link {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The script failed.
    #[error("{doing} failed on the machine ({how}): {said}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Its exit status or signal.
        how: String,
        /// The end of what it said.
        said: String,
    },
}

/// Runs `script` as root and returns what it printed.
pub(crate) async fn script(
    link: &dyn Transport,
    doing: &'static str,
    script: &str,
) -> Result<String, GuestError> {
    let (exit, stdout, stderr) = run(link, script)
        .await
        .map_err(|source| GuestError::Link { doing, source })?;
    if exit == ExitStatus::Status(0) {
        return Ok(stdout);
    }
    let how = match exit {
        ExitStatus::Status(status) => format!("exit status {status}"),
        ExitStatus::Signal(signal) => format!("signal {signal}"),
        ExitStatus::Lost => "the link was lost".to_owned(),
    };
    let said = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    Err(GuestError::Failed {
        doing,
        how,
        said: tail(said.trim().as_bytes()).join("\n"),
    })
}

/// Root is had by sudo where the login user is not root; the script arrives on standard input, so
/// it is in no process list.
async fn run(link: &dyn Transport, script: &str) -> std::io::Result<(ExitStatus, String, String)> {
    let command =
        r#"if [ "$(id -u)" = 0 ]; then exec /bin/sh -s; else exec sudo -n /bin/sh -s; fi"#;
    let mut channel = link.exec(command).await?;
    channel.stdin.write_all(script.as_bytes()).await?;
    channel.stdin.shutdown().await?;
    drop(channel.stdin);
    let (stdout, stderr) = tokio::join!(read(channel.stdout), read(channel.stderr));
    Ok((channel.exit.await?, stdout?, stderr?))
}

/// Reads to the end, keeping the beginning.
async fn read(mut stream: Box<dyn AsyncRead + Send + Unpin>) -> std::io::Result<String> {
    let mut kept = Vec::new();
    (&mut stream)
        .take(OUTPUT_CAP)
        .read_to_end(&mut kept)
        .await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

/// Quotes one word for the shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Local;

    #[tokio::test]
    async fn a_script_that_fails_says_what_it_said_last() {
        let error = script(&Local, "trying", "echo almost >&2; exit 7")
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "trying failed on the machine (exit status 7): almost"
        );
    }

    #[tokio::test]
    async fn words_are_quoted() {
        let word = "it's $HOME `id` \"x\"";
        let said = script(&Local, "trying", &format!("printf %s {}", quote(word)))
            .await
            .unwrap();
        assert_eq!(said, word);
    }
}
