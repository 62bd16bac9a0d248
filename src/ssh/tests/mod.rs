//! The client against real servers: `sshd`, and ones that misbehave.

mod config;
mod faulty;
mod sshd;
