//! `man`: manual pages, made of what `--help` says.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;

use super::Cli;
use crate::exit::{Answer, Failure};

/// Print a manual page: `amibake man build | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command that it is about; the default is amibake itself
    command: Option<String>,
    /// Write the pages of all commands into FOLDER instead
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    output: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<Answer, Failure> {
        if let Some(folder) = &self.output {
            let written = clap_mangen::generate_to(Cli::command(), folder);
            let unwritable = |error| {
                Failure::new(format!(
                    "{} could not be written: {error}",
                    folder.display()
                ))
            };
            return written.map(|()| Answer::default()).map_err(unwritable);
        }
        let mut page = Vec::new();
        let written = Man::new(self.about()?).render(&mut page);
        written.map_err(Failure::new)?;
        Ok(Answer::text(String::from_utf8_lossy(&page)))
    }

    /// Returns the command that the page is about, with what it inherits.
    fn about(&self) -> Result<clap::Command, Failure> {
        let mut all = Cli::command();
        all.build();
        let Some(name) = &self.command else {
            return Ok(all);
        };
        let found = all.find_subcommand(name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&str> = all.get_subcommands().map(clap::Command::get_name).collect();
            Failure::usage(format!("there is no command `{name}`"))
                .with_hint(format!("commands: {}", names.join(", ")))
        })
    }
}
