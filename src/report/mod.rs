//! How things look. Consumes the one stream of events; only `main` imports it, and nothing else
//! in the program prints.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place that prints"
)]

mod error;

use std::thread::JoinHandle;

use crate::cli::{Form, Reporting};
use crate::event::{self, Events, Reports};
use crate::exit::Answer;

pub(crate) use error::failure;

/// Shows events as they come, in a thread of its own: a slow terminal holds nobody up.
#[derive(Debug)]
pub(crate) struct Reporter {
    events: Events,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    /// Starts a reporter and returns the channel it reads from.
    pub(crate) fn start(reporting: Reporting) -> (Self, Events) {
        let (events, reports) = event::channel();
        let thread = std::thread::Builder::new()
            .name("report".into())
            .spawn(move || show(reports, reporting))
            .ok();
        let reporter = Self {
            events: events.clone(),
            thread,
        };
        (reporter, events)
    }

    /// Waits until everything sent so far is shown.
    pub(crate) fn finish(self) {
        self.events.close();
        if let Some(thread) = self.thread {
            let _panicked = thread.join();
        }
    }
}

fn show(mut reports: Reports, reporting: Reporting) {
    while let Some(report) = reports.next_blocking() {
        match reporting.form {
            Form::JsonOnStdout => {
                println!("{}", serde_json::to_string(&report).unwrap_or_default());
            }
            Form::JsonOnStderr | Form::Human | Form::HumanOnStdout => {
                eprintln!("{}", serde_json::to_string(&report).unwrap_or_default());
            }
        }
    }
}

/// Prints a command's answer to stdout, and its failures to stderr.
pub(crate) fn answer(answer: &Answer) {
    if !answer.text.is_empty() {
        let newline = if answer.text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        print!("{}{newline}", answer.text);
    }
    for failure in &answer.failures {
        error::failure(failure);
    }
}
