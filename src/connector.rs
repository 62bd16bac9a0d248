//! The seam between a bake and the machines it works on: connecting, and what a session can do.
//!
//! [`SshConnector`] is how the program does it, always. Tests of what a bake makes of the account
//! put a scripted guest in its place, since they have no machines.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::event::Events;
use crate::exit::Failure;
use crate::guest::RootShell;
use crate::ssh::{
    self, Destination, Link, Login, PublicLine, RetryPolicy, Silence, SshError, Trust,
};
use crate::targets::Machine;
use crate::transport::Transport;

/// Logs in to machines that a target has launched.
#[async_trait]
pub(crate) trait Connector: Send + Sync {
    /// Connects to a machine, which may be booting still: it is tried until `limit` is over.
    async fn connect(
        &self,
        machine: &Machine,
        limit: Duration,
    ) -> Result<Box<dyn Session>, ConnectError>;

    /// Returns once a try to connect has met silence, since the last time this returned.
    async fn silence(&self);

    /// Returns while a machine is connected to: at once, or when that begins, since one is new, or
    /// its link was cut.
    async fn connecting(&self) {
        std::future::pending::<()>().await;
    }
}

/// A login on one machine. Scripts run over it as root ([`RootShell`]).
#[async_trait]
pub(crate) trait Session: RootShell {
    /// Returns whom it is logged in as.
    async fn user(&self) -> String;

    /// Returns what carries commands and their streams: the agent's way.
    fn transport(&self) -> &dyn Transport;

    /// Expects another host key from the next connection on, and proves that new connections see
    /// it.
    async fn repin(&self, host_key: &PublicLine, limit: Duration) -> Result<(), ConnectError>;

    /// Ends the session politely.
    async fn close(&self);
}

/// Why a machine could not be logged in to.
#[derive(Debug)]
pub(crate) struct ConnectError {
    pub(crate) error: Box<dyn Error + Send + Sync>,
    pub(crate) hint: Option<String>,
    pub(crate) lies_with: LiesWith,
}

/// With whom it lies that a machine could not be logged in to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LiesWith {
    /// The machine, or what is between it and this one.
    Machine,
    /// This machine's own network.
    Network,
    /// Another machine than ours, which answered: what ours is like explains nothing.
    Stranger,
}

impl From<SshError> for ConnectError {
    fn from(error: SshError) -> Self {
        let lies_with = match () {
            () if error.is_mistaken_identity() => LiesWith::Stranger,
            () if error.is_about_the_network() => LiesWith::Network,
            () => LiesWith::Machine,
        };
        Self {
            hint: error.hint(),
            lies_with,
            error: Box::new(error),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<ConnectError> for Failure {
    fn from(mut error: ConnectError) -> Self {
        let hint = error.hint.take();
        let mut failure = Self::new(error);
        failure.hint = hint;
        failure
    }
}

/// Connects over SSH: to the machine that shows the one host key, with the one login key.
pub(crate) struct SshConnector {
    events: Events,
    silence: Silence,
}

impl SshConnector {
    /// Returns a connector that says on `events` what happens.
    pub(crate) fn new(events: Events) -> Self {
        Self {
            events,
            silence: Silence::default(),
        }
    }
}

#[async_trait]
impl Connector for SshConnector {
    async fn connect(
        &self,
        machine: &Machine,
        limit: Duration,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let destination = Destination {
            host: machine.host.clone(),
            port: machine.port,
            user: machine.user.clone(),
            trust: Trust::Exact(vec![machine.host_key.clone()]),
            login: Login {
                keys: vec![Arc::new(machine.login_key.clone())],
                ..Login::default()
            },
            jump: None,
            silence: self.silence.clone(),
        };
        let link = ssh::connect(destination, RetryPolicy::until(limit), &self.events);
        let link = link.await.map_err(|error| refused(error, machine))?;
        Ok(Box::new(link))
    }

    async fn silence(&self) {
        self.silence.met().await;
    }

    async fn connecting(&self) {
        self.silence.connecting().await;
    }
}

/// A machine that shows the host key it was given, and refuses the login key that came with it, gave
/// that to another user.
fn refused(error: SshError, machine: &Machine) -> ConnectError {
    let is_refusal = error.is_refusal();
    let mut error = ConnectError::from(error);
    if is_refusal {
        error.hint = Some(format!(
            "cloud-init has given the login key to the image's own user, and that is not `{}`: name it in builder.user (Debian's is admin, Amazon Linux's ec2-user)",
            machine.user
        ));
    }
    error
}

#[async_trait]
impl Session for Link {
    async fn user(&self) -> String {
        Link::user(self).await
    }

    fn transport(&self) -> &dyn Transport {
        self
    }

    async fn repin(&self, host_key: &PublicLine, limit: Duration) -> Result<(), ConnectError> {
        Link::repin(self, std::slice::from_ref(host_key)).await;
        self.try_again(RetryPolicy::until(limit)).await?;
        Ok(())
    }

    async fn close(&self) {
        Link::close(self).await;
    }
}
