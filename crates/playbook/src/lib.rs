//! The playbook language: YAML as `PyYAML` reads it, plays and tasks, variables, Jinja2.
//!
//! Pure: it reads files through [`files::Files`] and does no other IO. No AWS, no SSH, no tokio.

pub mod addresses;
pub mod argspec;
mod civil;
pub mod codec;
pub mod crypt;
pub mod delimited;
pub mod diagnostic;
pub mod files;
pub mod fnmatch;
pub mod glob;
pub mod hosts;
pub mod ini;
pub mod names;
pub mod password;
pub mod pyre;
pub mod reads;
pub mod scram;
pub mod shell;
pub mod surrogates;
pub mod syntax;
pub mod tags;
pub mod template;
pub mod value;
pub mod yaml;
