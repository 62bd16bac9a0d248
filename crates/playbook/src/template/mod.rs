//! Jinja2 as Ansible speaks it: our own lexer, parser and evaluator over [`crate::value`].

mod error;
mod scope;

pub use error::{Error, ErrorKind};
pub use scope::{Kwargs, Nowhere, Outside, Scope};
