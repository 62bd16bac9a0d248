//! How the controller runs a command on a machine: over SSH, or as a child process here.
//!
//! Owns the seam and the local transport (`--local`, tests); `ssh` owns the other.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;

/// A future that can be kept in a box, as object-safe traits need.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs commands on one machine.
pub(crate) trait Transport: Send + Sync {
    /// Starts `command`, a line for the login shell, and returns its streams.
    ///
    /// An error is a link that could not carry it; what the command does is in the channel.
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, io::Result<Channel>>;

    /// Leaves the link that stands for a new one: the machine at its other end reboots. It is tried for `total`,
    /// each time for `per_try`.
    fn renew(&self, total: Duration, per_try: Duration) -> BoxFuture<'_, io::Result<()>>;
}

/// The streams of one running command. Dropping it ends the command's link, not the machine's.
pub(crate) struct Channel {
    /// Its standard input; shut down (or dropped) it is at its end.
    pub(crate) stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// Resolves when it has ended; need not be polled for the streams to flow.
    pub(crate) exit: BoxFuture<'static, io::Result<ExitStatus>>,
}

/// How a remote command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    Status(u32),
    /// A signal ended it: `TERM`.
    Signal(String),
    /// The link ended first.
    Lost,
}

/// This machine: commands are children of this process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Local;

impl Transport for Local {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async move { spawn(command) })
    }

    fn renew(&self, _total: Duration, _per_try: Duration) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async { Ok(()) }) // each command has a link of its own
    }
}

fn spawn(command: &str) -> io::Result<Channel> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let missing = || io::Error::other("a child without its pipes");
    Ok(Channel {
        stdin: Box::new(stdin.ok_or_else(missing)?),
        stdout: Box::new(stdout.ok_or_else(missing)?),
        stderr: Box::new(stderr.ok_or_else(missing)?),
        exit: Box::pin(async move { child.wait().await.map(exit_of) }),
    })
}

fn exit_of(status: std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Status(code.unsigned_abs()),
        (None, Some(signal)) => ExitStatus::Signal(signal.to_string()),
        (None, None) => ExitStatus::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_local_command_has_three_streams_and_a_status() {
        let mut channel = Local.exec("cat; echo oops >&2; exit 3").await.unwrap();
        channel.stdin.write_all(b"hello").await.unwrap();
        drop(channel.stdin);
        let (mut out, mut err) = (String::new(), String::new());
        channel.stdout.read_to_string(&mut out).await.unwrap();
        channel.stderr.read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("hello", "oops\n"));
        assert_eq!(channel.exit.await.unwrap(), ExitStatus::Status(3));
    }
}
