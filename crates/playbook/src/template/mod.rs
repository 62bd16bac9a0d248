//! Jinja2 as Ansible speaks it: our own lexer, parser and evaluator over [`crate::value`].
//!
//! A [`Templar`] renders what the author wrote against a [`Scope`] of raw variables. Results are
//! native, as in ansible-core 2.19: `"{{ x }}"` alone gives the value itself.

pub(crate) mod ast;
pub(crate) mod cache;
mod error;
mod escapes;
mod eval;
mod file;
mod filters;
mod finalize;
mod foresee;
mod format;
mod given;
mod jinja_tests;
mod lexer;
mod limits;
mod lookups;
mod parser;
pub mod plugins;
mod scope;
mod templar;
mod text;
mod uses;
mod visit;
mod yaml_out;

pub use error::{Error, ErrorKind};
pub use escapes::decode as unescaped;
pub use file::FileOptions;
pub(crate) use filters::seeded_text;
pub use foresee::foresee;
pub use lexer::Syntax;
pub use limits::Limits;
pub use scope::{Kwargs, Nowhere, Outside, Scope};
pub use templar::Templar;
pub use uses::{Use, uses, uses_of_expression, uses_of_file, variables};
pub(crate) use visit::{each_expression, each_inner};
