//! `apply`: runs a playbook on machines that exist.

use super::{Context, Form, Reporting};
use crate::exit::{Answer, Failure};

/// Run a playbook on existing machines
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The playbook
    playbook: std::path::PathBuf,
    /// Print one JSON object per event to stdout
    #[arg(long)]
    json: bool,
    /// Say more; repeat for still more
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Args {
    pub(super) fn reporting(&self) -> Reporting {
        Reporting {
            form: if self.json {
                Form::JsonOnStdout
            } else {
                Form::Human
            },
            verbosity: self.verbose,
        }
    }

    pub(super) async fn run(self, _cx: &Context) -> Result<Answer, Failure> {
        let _ = self.playbook;
        Err(Failure::usage("`amibake apply` is not supported yet"))
    }
}
