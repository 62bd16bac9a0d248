//! From a destination to an authenticated session: TCP or a jump host, key exchange, login, tried
//! for as long as the caller wants.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelStream;
use russh::client::{self, Handle, Msg};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};

use super::deadline::Deadline;
use super::error::{SshError, Stage};
use super::host_key::{HostKeyVerifier, Trust, preferred};
use super::link::Link;
use super::names;
use super::peer_transcript::PeerTranscript;
use super::prompt::Prompt;
use super::{Destination, auth};
use crate::event::Events;
use crate::transport::BoxFuture;

/// How long to go on trying.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// Time for all tries together. A machine that boots needs some; zero is one try.
    pub(crate) total: Duration,
    /// Time for one try.
    pub(crate) per_try: Duration,
    /// How long a host that has shown its one pinned key may refuse ours.
    pub(crate) refusals: Duration,
}

/// cloud-init writes the host keys, and a moment later who may log in.
const UNTIL_KEYS_ARE_WRITTEN: Duration = Duration::from_secs(15);

impl RetryPolicy {
    /// One try, as `ssh` does it.
    pub(crate) const ONE_TRY: Self = Self {
        total: Duration::ZERO,
        per_try: Duration::from_secs(15),
        refusals: UNTIL_KEYS_ARE_WRITTEN,
    };

    /// Tries until `total` has passed.
    pub(crate) fn until(total: Duration) -> Self {
        Self {
            total,
            ..Self::ONE_TRY
        }
    }
}

/// What those want to know who watch over a machine: that nothing comes back from it (packets may be
/// dropped on the way, since this machine has another address now), and that it is connected to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence {
    met: Arc<Notify>,
    connecting: watch::Sender<usize>,
}

impl Silence {
    /// Returns once a try to connect has met silence, since the last time this returned.
    pub(crate) async fn met(&self) {
        self.met.notified().await;
    }

    /// Returns while somebody tries to connect: at once, or when that begins, for the first time or
    /// since a link was cut.
    pub(crate) async fn connecting(&self) {
        let mut number = self.connecting.subscribe();
        let begun = number.wait_for(|number| *number > 0).await;
        begun.expect("its sender is here");
    }

    fn begin(&self) -> Connecting {
        self.connecting.send_modify(|number| *number += 1);
        Connecting(self.connecting.clone())
    }
}

/// While it is there, somebody tries to connect.
struct Connecting(watch::Sender<usize>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.send_modify(|number| *number -= 1);
    }
}

/// How long a silent peer is left alone before it has to show that it lives; a fourth silence in
/// a row ends the session.
const KEEP_ALIVE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 15 });

/// An authenticated session, and those of the hosts it goes through.
pub(super) struct Session {
    pub(super) handle: Handle<HostKeyVerifier>,
    through: Option<Box<Session>>,
    _line: Option<Line>,
}

/// A TCP connection that ends with its last user here, whatever still waits to read from it: a
/// peer that hangs in the key exchange would keep its socket for ever.
struct Line(std::net::TcpStream);

/// Connects and logs in; what fails for the moment only is tried again as long as `retry` lets it.
pub(crate) async fn connect(
    destination: Destination,
    retry: RetryPolicy,
    events: &Events,
) -> Result<Link, SshError> {
    let session = open(&destination, retry, events).await?;
    Ok(Link::new(destination, session, events.clone()))
}

pub(super) async fn open(
    destination: &Destination,
    retry: RetryPolicy,
    events: &Events,
) -> Result<Session, SshError> {
    let _until_it_ends = destination.silence.begin();
    let deadline = Instant::now() + retry.total;
    let (mut tries, mut before, mut refused) = (0, None, None);
    loop {
        tries += 1;
        let time = match retry.total.is_zero() {
            true => retry.per_try,
            // The last try must not outlive the deadline of all.
            false => retry.per_try.min(deadline - Instant::now()),
        };
        let error = match try_once(destination, time, events).await {
            Ok(session) => return Ok(session),
            Err(error) if !error.may_pass() || retry.total.is_zero() => return Err(error),
            // A last try that was cut short says less than the one before.
            Err(error @ SshError::TimedOut { .. }) if time < retry.per_try => {
                before.take().unwrap_or(error)
            }
            Err(error) => error,
        };
        if error.is_silence() {
            destination.silence.met.notify_one();
        }
        refused = match error {
            SshError::Refused { .. } => refused.or(Some(Instant::now())),
            _ => None,
        };
        let is_pinned = matches!(destination.trust, Trust::Exact(_));
        if is_pinned && refused.is_some_and(|since: Instant| since.elapsed() >= retry.refusals) {
            return Err(error);
        }
        if Instant::now() + pause(tries) >= deadline {
            return Err(SshError::GaveUp {
                label: destination.label(),
                tries,
                after: retry.total,
                source: Box::new(error),
            });
        }
        before = Some(error);
        sleep(pause(tries)).await;
    }
}

/// A machine that boots is asked often at first: its sshd comes up within a second or a minute.
fn pause(tries: u32) -> Duration {
    match tries {
        0..=20 => Duration::from_millis(100),
        21..=60 => Duration::from_millis(500),
        _ => Duration::from_secs(2),
    }
}

/// One try, each host on the way with `time` of its own.
///
/// Boxed, since a jump host is itself connected to in this way.
fn try_once<'a>(
    destination: &'a Destination,
    time: Duration,
    events: &'a Events,
) -> BoxFuture<'a, Result<Session, SshError>> {
    Box::pin(async move {
        let through = match &destination.jump {
            None => None,
            Some(jump) => match try_once(jump, time, events).await {
                Ok(session) => Some(Box::new(session)),
                Err(source) => return Err(lost(jump, source)),
            },
        };
        let deadline = Deadline::after(time);
        let late = |stage| timed_out(destination, stage, time);
        let transcript = PeerTranscript::default();
        let mut session = match through {
            None => {
                let stream = deadline.within(dial(destination)).await;
                let stream = stream.ok_or_else(|| late(Stage::Connect))??;
                let line = Line::of(&stream);
                let stream = Prompt::new(stream);
                let session = exchange_keys(destination, stream, &transcript, events);
                let handle = deadline.within(session).await;
                let handle = handle.ok_or_else(|| late(Stage::KeyExchange))??;
                Session::new(handle, None, line)
            }
            Some(through) => {
                let opened = deadline.within(forward(destination, &through)).await;
                let stream = opened.ok_or_else(|| late(Stage::Connect))??;
                let session = exchange_keys(destination, stream, &transcript, events);
                let handle = deadline.within(session).await;
                let handle = handle.ok_or_else(|| late(Stage::KeyExchange))?;
                let handle = handle.map_err(|error| through.blamed(destination, error))?;
                Session::new(handle, Some(through), None)
            }
        };
        let login = auth::log_in(&mut session.handle, destination, &deadline, events);
        let login = deadline.within(login).await;
        let login = login.ok_or_else(|| late(Stage::Login))?;
        login.map_err(|error| {
            let error = where_it_ended(destination, error, Stage::Login, &transcript);
            match &session.through {
                Some(through) => through.blamed(destination, error),
                None => error,
            }
        })?;
        Ok(session)
    })
}

impl Session {
    /// Returns what failed beyond this jump host, which it was itself if its session has ended.
    fn blamed(&self, destination: &Destination, error: SshError) -> SshError {
        match &destination.jump {
            Some(jump) if self.handle.is_closed() => {
                lost(jump, protocol(jump, russh::Error::Disconnect))
            }
            _ => error,
        }
    }
}

fn lost(jump: &Destination, source: SshError) -> SshError {
    SshError::Jump {
        label: jump.label(),
        source: Box::new(source),
    }
}

/// Asks the jump host for a connection to the destination.
async fn forward(
    destination: &Destination,
    through: &Session,
) -> Result<ChannelStream<Msg>, SshError> {
    let (host, port) = (&*destination.host, destination.port.into());
    let channel = through
        .handle
        .channel_open_direct_tcpip(host, port, "127.0.0.1", 0)
        .await;
    match (channel, &destination.jump) {
        (Ok(channel), _) => Ok(channel.into_stream()),
        (Err(source), Some(jump)) => Err(lost(jump, protocol(jump, source))),
        (Err(source), None) => Err(protocol(destination, source)),
    }
}

/// Opens a TCP connection to the first address that answers.
async fn dial(destination: &Destination) -> Result<TcpStream, SshError> {
    let (host, port) = (&destination.host, destination.port);
    let addresses = names::addresses(host, port).await;
    let addresses = addresses.map_err(|source| SshError::Resolve {
        host: host.clone(),
        source,
    })?;
    let mut last = std::io::Error::from(ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Without it, each small frame of the agent would wait for the one before.
                let _slower = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(SshError::Connect {
        host: host.clone(),
        port,
        source: last,
    })
}

async fn exchange_keys<S>(
    destination: &Destination,
    stream: S,
    transcript: &PeerTranscript,
    events: &Events,
) -> Result<Handle<HostKeyVerifier>, SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let verifier = HostKeyVerifier {
        host: destination.host.clone(),
        port: destination.port,
        trust: destination.trust.clone(),
        events: events.clone(),
        transcript: transcript.clone(),
    };
    client::connect_stream(
        Arc::new(settings(destination)),
        transcript.on(stream),
        verifier,
    )
    .await
    .map_err(|error| match error {
        SshError::Russh(source) => protocol(destination, source),
        told => told,
    })
    .map_err(|error| where_it_ended(destination, error, transcript.stage(), transcript))
}

/// Says at which stage the host hung up, if that is the error and not the end of one on this side.
fn where_it_ended(
    destination: &Destination,
    error: SshError,
    stage: Stage,
    transcript: &PeerTranscript,
) -> SshError {
    let (error, broke) = match error {
        SshError::Protocol { source, .. } => (source, transcript.broke()),
        error => return error,
    };
    match broke.unwrap_or(error) {
        source if is_end(&source) => SshError::HungUp {
            host: destination.host.clone(),
            port: destination.port,
            stage,
            said: transcript.said(stage).into(),
            source,
        },
        source => protocol(destination, source),
    }
}

fn is_end(error: &russh::Error) -> bool {
    match error {
        russh::Error::Disconnect | russh::Error::HUP | russh::Error::SendError => true,
        russh::Error::IO(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

fn settings(destination: &Destination) -> client::Config {
    client::Config {
        preferred: preferred(&destination.trust, &destination.host, destination.port),
        keepalive_interval: Some(KEEP_ALIVE),
        keepalive_max: 3,
        // A peer that takes no more bytes cannot be sent a keep-alive either.
        inactivity_timeout: Some(KEEP_ALIVE * 8),
        // The window is what a slow link may have under way; the packet is as large as sshd takes.
        window_size: 2 * 1024 * 1024,
        maximum_packet_size: 65_535,
        nodelay: true,
        ..client::Config::default()
    }
}

pub(super) fn protocol(destination: &Destination, source: russh::Error) -> SshError {
    SshError::Protocol {
        label: destination.label(),
        source,
    }
}

fn timed_out(destination: &Destination, stage: Stage, after: Duration) -> SshError {
    SshError::TimedOut {
        host: destination.host.clone(),
        port: destination.port,
        stage,
        after,
    }
}

impl Line {
    fn of(stream: &TcpStream) -> Option<Self> {
        use std::os::fd::AsFd;
        let again = stream.as_fd().try_clone_to_owned().ok()?;
        Some(Self(again.into()))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _gone = self.0.shutdown(std::net::Shutdown::Both);
    }
}

impl Session {
    fn new(
        handle: Handle<HostKeyVerifier>,
        through: Option<Box<Self>>,
        line: Option<Line>,
    ) -> Self {
        Self {
            handle,
            through,
            _line: line,
        }
    }
}
