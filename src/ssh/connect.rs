//! From a destination to an authenticated session: TCP or a jump host, key exchange, login, with
//! as much patience as the caller has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Handle};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::error::SshError;
use super::host_key::{Judge, preferred};
use super::link::Link;
use super::{Destination, auth};
use crate::event::Events;
use crate::transport::BoxFuture;

/// How long to go on trying.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Time for all tries together. A machine that boots needs some; zero is one try.
    pub(crate) total: Duration,
    /// Time for one try.
    pub(crate) per_try: Duration,
}

impl Patience {
    /// One try, as `ssh` does it.
    pub(crate) const ONE_TRY: Self = Self {
        total: Duration::ZERO,
        per_try: Duration::from_secs(15),
    };

    /// Tries until `total` has passed.
    pub(crate) fn until(total: Duration) -> Self {
        Self {
            total,
            ..Self::ONE_TRY
        }
    }
}

/// Somebody who wants to know that nothing comes back from a host: packets may be dropped on the
/// way, since this machine has another address now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silence(Arc<Notify>);

impl Silence {
    /// Returns once a try to connect has met silence, since the last time this returned.
    pub(crate) async fn met(&self) {
        self.0.notified().await;
    }
}

/// An authenticated session, and those of the hosts it goes through.
pub(super) struct Session {
    pub(super) handle: Handle<Judge>,
    _through: Option<Box<Session>>,
}

/// Connects and logs in; what fails for the moment only is tried again while there is patience.
pub(crate) async fn connect(
    destination: Destination,
    patience: Patience,
    events: &Events,
) -> Result<Link, SshError> {
    let session = open(&destination, patience, events).await?;
    Ok(Link::new(destination, session, events.clone()))
}

/// Opens a session.
pub(super) async fn open(
    destination: &Destination,
    patience: Patience,
    events: &Events,
) -> Result<Session, SshError> {
    let deadline = Instant::now() + patience.total;
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match try_once(destination, patience.per_try, events).await {
            Ok(session) => return Ok(session),
            Err(error) if !error.may_pass() || patience.total.is_zero() => return Err(error),
            Err(error) => error,
        };
        if error.is_silence() {
            destination.silence.0.notify_one();
        }
        if Instant::now() + pause(tries) >= deadline {
            return Err(SshError::GaveUp {
                label: destination.label(),
                tries,
                after: patience.total,
                source: Box::new(error),
            });
        }
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

async fn try_once(
    destination: &Destination,
    time: Duration,
    events: &Events,
) -> Result<Session, SshError> {
    // A prompt for a passphrase may take a person longer than any network.
    let mut session = match timeout(time, shake_hands(destination, time, events)).await {
        Ok(session) => session?,
        Err(_) => return Err(timed_out(destination, time)),
    };
    auth::log_in(&mut session.handle, destination).await?;
    Ok(session)
}

/// Boxed, since a jump host is itself connected to in this way.
fn shake_hands<'a>(
    destination: &'a Destination,
    time: Duration,
    events: &'a Events,
) -> BoxFuture<'a, Result<Session, SshError>> {
    Box::pin(async move {
        let Some(jump) = &destination.jump else {
            let stream = dial(destination).await?;
            return exchange_keys(destination, stream, None, events).await;
        };
        let lost = |source| SshError::Jump {
            label: jump.label(),
            source: Box::new(source),
        };
        let through = try_once(jump, time, events).await.map_err(lost)?;
        let stream = through
            .handle
            .channel_open_direct_tcpip(&*destination.host, destination.port.into(), "127.0.0.1", 0)
            .await
            .map_err(|source| lost(protocol(jump, source)))?
            .into_stream();
        exchange_keys(destination, stream, Some(Box::new(through)), events).await
    })
}

/// Opens a TCP connection to the first address that answers.
async fn dial(destination: &Destination) -> Result<TcpStream, SshError> {
    let (host, port) = (&destination.host, destination.port);
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port))
        .await
        .map_err(|source| SshError::Resolve {
            host: host.clone(),
            source,
        })?
        .collect();
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
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
    through: Option<Box<Session>>,
    events: &Events,
) -> Result<Session, SshError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let judge = Judge {
        host: destination.host.clone(),
        port: destination.port,
        trust: destination.trust.clone(),
        events: events.clone(),
    };
    let handle = client::connect_stream(Arc::new(settings(destination)), stream, judge)
        .await
        .map_err(|error| match error {
            SshError::Russh(source) => protocol(destination, source),
            told => told,
        })?;
    Ok(Session {
        handle,
        _through: through,
    })
}

fn settings(destination: &Destination) -> client::Config {
    client::Config {
        preferred: preferred(&destination.trust, &destination.host, destination.port),
        keepalive_interval: Some(Duration::from_secs(15)),
        keepalive_max: 3,
        // The window is what a slow link may have under way; the packet is as large as sshd takes.
        window_size: 8 * 1024 * 1024,
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

fn timed_out(destination: &Destination, after: Duration) -> SshError {
    SshError::TimedOut {
        host: destination.host.clone(),
        port: destination.port,
        after,
    }
}
