//! What runs on the target: facts, the executor, the modules.

mod account;
pub mod args;
mod atomic;
mod attrs;
mod by_descriptor;
mod censor;
pub mod change;
mod context;
mod deadline;
mod digest;
mod environment;
pub mod exec;
pub mod facts;
mod getent;
mod http;
pub mod module;
pub mod modules;
mod open_files;
mod openpgp;
mod place;
mod resolve;
pub mod run_command;
mod shlex;
pub mod source;
mod splitlines;
pub mod users;
pub mod worker;
