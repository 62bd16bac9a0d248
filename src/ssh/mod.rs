//! The SSH client: whom it talks to is proven by a pinned host key or by `known_hosts`, and
//! commands run over it through [`crate::transport::Transport`].
//!
//! Owns keys, `known_hosts`, `~/.ssh/config`, authentication and the link. What runs over the link
//! is `agent`'s, where the machine comes from `target`'s.

mod auth;
mod config;
mod connect;
mod deadline;
mod destination;
mod error;
mod host_key;
mod key;
mod known_hosts;
mod link;
mod names;
mod peer_transcript;
mod prompt;
mod resolve;
#[cfg(test)]
mod tests;

pub(crate) use connect::{RetryPolicy, Silence, connect};
pub(crate) use destination::{Destination, Login};
pub(crate) use error::SshError;
pub(crate) use host_key::Trust;
pub(crate) use key::{KeyPair, PublicLine};
pub(crate) use link::Link;
pub(crate) use resolve::{Overrides, destination, parse_address};
