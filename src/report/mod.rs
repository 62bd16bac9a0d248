//! How things look. Consumes the one stream of events; only `main` imports it, and nothing else
//! in the program prints.

mod error;
mod live;
mod plain;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::thread::JoinHandle;

use crate::cli::{Form, Reporting};
use crate::event::{self, Events, Report, Reports};
use crate::exit::{Answer, Failure};

use live::Live;
use plain::Plain;
use text::Paint;

/// Prints a failure to stderr.
pub(crate) fn failure(failure: &Failure) {
    write(false, &error::render(failure));
}

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
    let mut shown = Shown::new(reporting);
    while let Some(report) = reports.next_blocking() {
        shown.event(&report);
    }
    shown.end();
}

/// The forms a report takes, at work.
enum Shown {
    Json { stdout: bool },
    Plain { plain: Box<Plain>, stdout: bool },
    Live(Box<Live>),
}

impl Shown {
    fn new(reporting: Reporting) -> Self {
        let stdout = matches!(
            reporting.form,
            Form::JsonOnStdout | Form::HumanOnStdout | Form::LinesOnStdout
        );
        match reporting.form {
            Form::JsonOnStdout | Form::JsonOnStderr => Self::Json { stdout },
            Form::Human | Form::HumanOnStdout | Form::LinesOnStdout => {
                let terminal = is_terminal(stdout);
                let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                let paint = Paint(terminal && colours);
                if terminal && reporting.form != Form::LinesOnStdout {
                    Self::Live(Box::new(Live::new(paint, reporting.verbosity, stdout)))
                } else {
                    let plain = Box::new(Plain::new(paint, reporting.verbosity));
                    Self::Plain { plain, stdout }
                }
            }
        }
    }

    fn event(&mut self, report: &Report) {
        match self {
            Self::Json { stdout } => {
                let line = serde_json::to_string(report).unwrap_or_default();
                write(*stdout, &(text::escaped(&line) + "\n"));
            }
            Self::Plain { plain, stdout } => write(*stdout, &plain.render(report)),
            Self::Live(live) => live.show(report),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Json { .. } => {}
            Self::Plain { plain, stdout } => write(*stdout, &plain.end()),
            Self::Live(live) => live.end(),
        }
    }
}

fn is_terminal(stdout: bool) -> bool {
    if stdout {
        std::io::stdout().is_terminal()
    } else {
        std::io::stderr().is_terminal()
    }
}

/// Writes at once. A reader that has gone (`| head`) does not stop a build.
fn write(stdout: bool, text: &str) {
    let _gone = if stdout {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    } else {
        std::io::stderr().lock().write_all(text.as_bytes())
    };
}

/// Prints a command's answer to stdout, and its failures to stderr.
pub(crate) fn answer(answer: &Answer) {
    if !answer.text.is_empty() {
        let newline = if answer.text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        write(true, &format!("{}{newline}", answer.text));
    }
    for failure in &answer.failures {
        self::failure(failure);
    }
}
