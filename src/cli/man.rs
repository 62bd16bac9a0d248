//! `man`: manual pages, made of what `--help` says.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_mangen::Man;

use super::Cli;
use crate::exit::{Answer, Failure};

/// Print a manual page: `amibake man stack deploy | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The command that it is about, such as `stack deploy`; the default is amibake itself
    command: Vec<String>,
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
        let mut about = Cli::command();
        about.build();
        let asked = self.command.join("-");
        let mut rest = asked.strip_prefix("amibake-").unwrap_or(&asked);
        while !rest.is_empty() {
            let found = about.get_subcommands().find_map(|sub| {
                let after = rest.strip_prefix(sub.get_name())?;
                let is_whole = after.is_empty() || after.starts_with('-');
                is_whole.then(|| (sub.clone(), after.trim_start_matches('-')))
            });
            (about, rest) = found.ok_or_else(|| no_such(&self.command, &about))?;
        }
        Ok(about)
    }
}

fn no_such(asked: &[String], within: &clap::Command) -> Failure {
    let names = within.get_subcommands().map(clap::Command::get_name);
    let known = match names.collect::<Vec<_>>() {
        none if none.is_empty() => format!("`{}` has no commands of its own", within.get_name()),
        names => format!("commands: {}", names.join(", ")),
    };
    Failure::usage(format!("there is no command `{}`", asked.join(" "))).with_hint(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(words: &[&str]) -> Result<String, Failure> {
        let command = words.iter().map(|word| (*word).to_owned()).collect();
        let output = None;
        let answer = Args { command, output }.run()?;
        Ok(answer.text)
    }

    /// Also those that a page refers to by its name.
    #[test]
    fn every_command_has_its_page() {
        fn each(command: &clap::Command, above: &[&str]) -> usize {
            let mut seen = 0;
            for sub in command.get_subcommands() {
                let mut words = above.to_vec();
                words.push(sub.get_name());
                let by_words = page(&words).unwrap();
                let name = words.join("-");
                let title = format!(".TH amibake-{name} 1");
                assert!(by_words.contains(&title), "{title}: {by_words}");
                for one in [name.clone(), format!("amibake-{name}")] {
                    assert_eq!(page(&[&one]).unwrap(), by_words);
                }
                seen += 1 + each(sub, &words);
            }
            seen
        }
        let mut all = Cli::command();
        all.build();
        assert!(each(&all, &[]) > 15);
        assert!(page(&[]).unwrap().contains(".TH amibake 1"));
    }

    #[test]
    fn a_command_that_is_not_there_is_told_with_those_that_are() {
        let said = page(&["stak"]).unwrap_err();
        assert_eq!(said.error.to_string(), "there is no command `stak`");
        assert!(said.hint.unwrap().starts_with("commands: apply, build, "));
        let said = page(&["build", "deploy"]).unwrap_err();
        assert_eq!(said.error.to_string(), "there is no command `build deploy`");
        assert_eq!(said.hint.unwrap(), "`build` has no commands of its own");
    }
}
