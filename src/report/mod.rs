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

use indicatif::ProgressDrawTarget;
use live::Live;
use plain::Plain;
use terminal_size::{Width, terminal_size_of};
use text::Paint;

/// Says why a command did not do what was asked: to people on stderr, to others as one event
/// more.
pub(crate) fn failure(failure: &Failure, form: Form) {
    failure_of(failure, false, form);
}

/// As [`failure`]; says which build is meant where there were `several`.
fn failure_of(failure: &Failure, several: bool, form: Form) {
    match form {
        Form::Human | Form::HumanOnStdout | Form::LinesOnStdout => {
            let build = Some(failure.about.as_str()).filter(|build| several && !build.is_empty());
            let text = error::render(failure, build);
            say(
                false,
                &columns().map_or(text.clone(), |columns| text::fitted(&text, columns)),
            );
        }
        Form::JsonOnStderr | Form::JsonOnStdout => {
            let report = Report {
                time_ms: event::unix_ms(),
                about: failure.about.as_str().into(),
                event: failure.event(),
                bytes: 0,
            };
            write(form == Form::JsonOnStdout, &json_line(&report));
        }
    }
}

/// Returns an event as the line that programs read.
fn json_line(report: &Report) -> String {
    let line = serde_json::to_string(report).unwrap_or_default();
    text::escaped(&line) + "\n"
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
                    let target = match stdout {
                        true => ProgressDrawTarget::stdout(),
                        false => ProgressDrawTarget::stderr(),
                    };
                    Self::Live(Box::new(Live::new(
                        paint,
                        utf8(),
                        reporting.verbosity,
                        target,
                    )))
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
                write(*stdout, &json_line(report));
            }
            Self::Plain { plain, stdout } => say(*stdout, &plain.render(report)),
            Self::Live(live) => live.show(report),
        }
    }

    fn end(&mut self) {
        match self {
            Self::Json { .. } => {}
            Self::Plain { plain, stdout } => say(*stdout, &plain.end()),
            Self::Live(live) => live.end(),
        }
    }
}

/// Returns how wide the terminal is that failures are told on, if it is one.
fn columns() -> Option<usize> {
    let (Width(columns), _) = terminal_size_of(std::io::stderr())?;
    Some(columns.into())
}

fn is_terminal(stdout: bool) -> bool {
    if stdout {
        std::io::stdout().is_terminal()
    } else {
        std::io::stderr().is_terminal()
    }
}

/// Returns whether people's locale shows more than ASCII. One that is not set says nothing.
fn utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL")
        .or_else(|| set("LC_CTYPE"))
        .or_else(|| set("LANG"));
    locale.is_none_or(|name| {
        let name = name.to_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    })
}

/// Writes words for people.
fn say(stdout: bool, words: &str) {
    match utf8() {
        true => write(stdout, words),
        false => write(stdout, &text::ascii(words)),
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

/// Prints a command's answer to stdout, and says what failed.
pub(crate) fn answer(answer: &Answer, form: Form) {
    if !answer.text.is_empty() {
        let newline = if answer.text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        write(true, &format!("{}{newline}", answer.text));
    }
    for failure in &answer.failures {
        failure_of(failure, answer.several, form);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use amibake_protocol::event::{Event as HostEvent, Place, Recap, Status};
    use serde_json::{Map, json};

    use super::*;
    use crate::event::{Event, Phase};

    /// Returns a build's events.
    pub(super) fn build() -> Vec<Report> {
        let phase = Event::started;
        let done = |phase, elapsed_ms, summary: Option<&str>| Event::PhaseFinished {
            phase,
            ok: true,
            elapsed_ms,
            summary: summary.map(str::to_owned),
        };
        let doing = |percent| Event::PhaseProgress {
            phase: Phase::Capture,
            message: "snap-0abc is pending".into(),
            percent,
        };
        let started = HostEvent::TaskStarted {
            index: 1,
            name: "web : Install Python".into(),
            module: "ansible.builtin.apt".into(),
            handler: false,
            place: Place {
                file: "/p/web/tasks/main.yml".into(),
                line: 2,
                column: 3,
            },
        };
        let finished = HostEvent::TaskFinished {
            index: 1,
            status: Status::Changed,
            result: Map::from_iter([("changed".to_owned(), json!(true))]),
            diff: Vec::new(),
            elapsed_ms: 31_000,
        };
        let recap = |ok, changed| {
            Event::Host(HostEvent::Finished {
                recap: Recap {
                    ok,
                    changed,
                    ..Recap::default()
                },
                error: None,
                elsewhere: false,
            })
        };
        let events = [
            phase(Phase::Launch),
            done(Phase::Launch, 2_100, Some("i-0abc at 10.0.0.7")),
            phase(Phase::Provision),
            Event::RunPlanned { tasks: 41 },
            Event::Host(HostEvent::PlayStarted { name: "all".into() }),
            Event::Host(started),
            Event::Host(finished),
            recap(1, 1),
            done(Phase::Provision, 31_400, None),
            phase(Phase::Capture),
            doing(None),
            doing(Some(10)),
            doing(Some(10)),
            doing(Some(60)),
            done(Phase::Capture, 64_000, Some("ami-0def")),
            Event::Warning {
                message: "unit cron.service has failed".into(),
                place: None,
            },
            recap(2, 0),
            Event::ImageReady {
                image_id: "ami-0123".into(),
                name: "web-1".into(),
            },
        ];
        let report = |event| Report {
            time_ms: 1_700_000_000_000,
            about: Arc::from("web"),
            event,
            bytes: 0,
        };
        events.into_iter().map(report).collect()
    }

    #[test]
    fn a_build_in_plain_lines() {
        let mut plain = Plain::new(Paint(false), 0);
        let lines: Vec<String> = build().iter().map(|report| plain.render(report)).collect();
        insta::assert_snapshot!(lines.concat() + &plain.end());
    }

    #[test]
    fn a_build_in_json() {
        let line = |report: &Report| serde_json::to_string(report).unwrap();
        let lines: Vec<String> = build().iter().map(line).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn words_for_a_terminal_without_utf8_are_ascii() {
        assert_eq!(text::ascii("launch… Käse ✓"), "launch... K?se ?");
        assert_eq!(text::shortened("a-long-host-name", 8), "a-long-…");
        assert_eq!(text::shortened("short", 8), "short");
    }
}
