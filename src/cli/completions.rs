//! `completions`: what a shell needs to complete commands and options.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::exit::{Answer, Failure};

/// Print a script that has a shell complete commands and options
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell; bash reads the script by `source <(amibake completions bash)`
    shell: Shell,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "amibake", &mut script);
        let text = String::from_utf8(script).map_err(Failure::new)?;
        Ok(Answer::text(text))
    }
}
