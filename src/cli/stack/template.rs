//! `stack template`: prints the template that comes along.

use crate::exit::{Answer, Failure};
use crate::stack::template;

/// Print the template of a web application, to be read or to begin one's own with
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

impl Args {
    pub(super) fn run() -> Result<Answer, Failure> {
        Ok(Answer::text(template::WEB))
    }
}
