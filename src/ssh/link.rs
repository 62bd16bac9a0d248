//! A session as a [`Transport`]: commands with their streams and their end, and a new session when
//! the old one is cut.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::{AsyncRead, AsyncWriteExt as _, BufReader, DuplexStream, ReadBuf, duplex};
use tokio::sync::{Mutex, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connect::{RetryPolicy, Session, open};
use super::host_key::Trust;
use super::{Destination, PublicLine, SshError};
use crate::event::Events;
use crate::transport::{BoxFuture, Channel, ExitStatus, Transport};

/// How much of a stream may wait for its reader.
const PIPE: usize = 256 * 1024;

/// How much of standard input is taken at once: the largest packet that sshd accepts. In smaller
/// ones a big file takes several times as long, since sshd copies all that it holds for each packet.
const PACKET: usize = 32 * 1024;

/// How long a cut link is tried again before the next command fails.
const RECONNECT: RetryPolicy = RetryPolicy {
    total: Duration::from_secs(60),
    per_try: Duration::from_secs(15),
    refusals: Duration::from_secs(60),
};

/// A link to a machine. It reconnects by itself when a command is to run and the session is gone;
/// commands that ran on the old session are lost with it.
pub(crate) struct Link {
    state: Mutex<State>,
    events: Events,
}

struct State {
    destination: Destination,
    session: Arc<Session>,
}

impl Link {
    pub(super) fn new(destination: Destination, session: Session, events: Events) -> Self {
        Self {
            state: Mutex::new(State {
                destination,
                session: Arc::new(session),
            }),
            events,
        }
    }

    /// Returns whom it is logged in as.
    pub(crate) async fn user(&self) -> String {
        self.state.lock().await.destination.user.clone()
    }

    /// Expects another host key from the next connection on: the machine has made itself new ones.
    pub(crate) async fn repin(&self, keys: &[PublicLine]) {
        let keys = keys.iter().map(|line| line.key().clone()).collect();
        self.state.lock().await.destination.trust = Trust::Exact(keys);
    }

    /// Opens a second session beside this one and drops it: whether the machine can still be
    /// logged in to, after its sshd or its host keys were changed.
    pub(crate) async fn try_again(&self, retry: RetryPolicy) -> Result<(), SshError> {
        let destination = self.state.lock().await.destination.clone();
        open(&destination, retry, &self.events).await.map(drop)
    }

    /// Ends the session politely.
    pub(crate) async fn close(&self) {
        let session = Arc::clone(&self.state.lock().await.session);
        let handle = &session.handle;
        let _gone = handle
            .disconnect(russh::Disconnect::ByApplication, "", "")
            .await;
    }

    async fn session(&self) -> Result<Arc<Session>, SshError> {
        let mut state = self.state.lock().await;
        if state.session.handle.is_closed() {
            let session = open(&state.destination, RECONNECT, &self.events).await?;
            state.session = Arc::new(session);
        }
        Ok(Arc::clone(&state.session))
    }
}

impl Transport for Link {
    fn exec<'a>(&'a self, command: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(async move {
            let session = self.session().await.map_err(io::Error::other)?;
            start(session, command).await.map_err(io::Error::other)
        })
    }

    fn renew(&self, total: Duration, per_try: Duration) -> BoxFuture<'_, io::Result<()>> {
        let retry = RetryPolicy {
            total,
            per_try,
            refusals: total,
        };
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let session = open(&state.destination, retry, &self.events).await;
            state.session = Arc::new(session.map_err(io::Error::other)?);
            Ok(())
        })
    }
}

/// Starts a command and the two tasks that carry its streams.
async fn start(session: Arc<Session>, command: &str) -> Result<Channel, russh::Error> {
    let channel = session.handle.channel_open_session().await?;
    // The answer would say only that a shell was started; the streams say so themselves.
    channel.exec(true, command).await?;
    let (read, write) = channel.split();
    let (stdin, from_user) = duplex(PIPE);
    let (stdout, to_stdout) = duplex(PIPE);
    let (stderr, to_stderr) = duplex(PIPE);
    let (exited, exit) = oneshot::channel();
    let dropped = CancellationToken::new();
    let guard = Arc::new(dropped.clone().drop_guard());

    let write = Arc::new(write);
    tokio::spawn(feed(from_user, Arc::clone(&write), dropped.clone()));
    tokio::spawn(async move {
        let end = tokio::select! {
            end = drain(read, to_stdout, to_stderr) => end,
            () = dropped.cancelled() => ExitStatus::Lost,
        };
        let _closed = write.close().await;
        let _unheard = exited.send(end);
        // Kept until here: a session ends with its last user.
        drop(session);
    });
    let ending = Arc::clone(&guard);
    Ok(Channel {
        stdin: Box::new(stdin),
        stdout: Box::new(Guarded(stdout, Arc::clone(&guard))),
        stderr: Box::new(Guarded(stderr, guard)),
        exit: Box::pin(async move {
            let end = exit.await.unwrap_or(ExitStatus::Lost);
            drop(ending);
            Ok(end)
        }),
    })
}

/// A stream of a command that goes on while any of its streams, or its end, is waited for.
struct Guarded(
    DuplexStream,
    #[expect(dead_code, reason = "held for its drop")] Arc<DropGuard>,
);

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

/// Carries standard input, then says that it is at its end.
async fn feed(from: DuplexStream, write: Arc<ChannelWriteHalf<Msg>>, dropped: CancellationToken) {
    let mut writer = write.make_writer();
    let mut from = BufReader::with_capacity(PACKET, from);
    tokio::select! {
        copied = tokio::io::copy_buf(&mut from, &mut writer) => {
            if copied.is_ok() {
                let _closed = write.eof().await;
            }
        }
        () = dropped.cancelled() => {}
    }
}

/// Carries the output until the channel closes; returns how the command ended.
async fn drain(
    mut read: ChannelReadHalf,
    mut stdout: DuplexStream,
    mut stderr: DuplexStream,
) -> ExitStatus {
    let mut end = ExitStatus::Lost;
    while let Some(message) = read.wait().await {
        match message {
            // A stream that nobody reads any more is thrown away: the command should go on.
            ChannelMsg::Data { data } => drop(stdout.write_all(&data).await),
            ChannelMsg::ExtendedData { data, .. } => drop(stderr.write_all(&data).await),
            ChannelMsg::ExitStatus { exit_status } => end = ExitStatus::Status(exit_status),
            ChannelMsg::ExitSignal { signal_name, .. } => {
                end = ExitStatus::Signal(name(&signal_name));
            }
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    end
}

fn name(signal: &russh::Sig) -> String {
    match signal {
        russh::Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}
