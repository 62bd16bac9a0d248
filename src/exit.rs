//! How a command ends: the answer for stdout, or a failure with its hint and leftovers, and the
//! exit code of either. How it looks is `report`'s.

use std::error::Error;
use std::process::ExitCode;

use amibake_protocol::mask::Mask;
use serde::Serialize;

use crate::event::Event;

/// How the process ends, from best to worst: of several ends, the worst one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// What was asked for is done.
    #[default]
    Done,
    /// The command line or a file that was given is wrong; nothing was started.
    Usage,
    /// It failed, and nothing is left behind.
    Failed,
    /// The image failed its test or its gate.
    GateFailed,
    /// Interrupted, and nothing is left behind.
    Interrupted,
    /// Interrupted again while it cleaned up: what is left behind was named.
    Aborted,
    LeftBehind,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::LeftBehind => 3,
            Self::GateFailed => 4,
            Self::Interrupted | Self::Aborted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What a command that did its work has to say.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The result, for stdout: an image id, a table that was asked for. Printed as it is, with a
    /// newline at its end if it has none.
    pub(crate) text: String,
    /// What went wrong nevertheless, in one of several builds for one.
    pub(crate) failures: Vec<Failure>,
    /// How it ended apart from the failures: `Failed` when the report has said all there is to
    /// say (a task failed, and the recap shows it).
    pub(crate) ended: Exit,
    /// Whether it was about several builds, so that a failure has to say which is meant.
    pub(crate) several: bool,
}

impl Answer {
    /// Returns an answer of `text` alone.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }

    /// Returns the worst of all ends.
    pub(crate) fn exit(&self) -> Exit {
        let failures = self.failures.iter().map(Failure::exit);
        failures.fold(self.ended, Exit::max)
    }
}

/// Something left behind, and how to remove it, or to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Leftover {
    /// What it is: `instance i-0abc12 in eu-west-1`.
    pub(crate) what: String,
    /// The command that removes it: `amibake reap --run r-123`; or, of an image that has passed, that finishes it.
    pub(crate) remove_with: String,
}

impl Leftover {
    /// Returns whether it is removed at all: what has passed is finished.
    pub(crate) fn is_to_go(&self) -> bool {
        !self.remove_with.starts_with("amibake resume ")
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The innermost reason is the last of its sources.
    pub(crate) error: Box<dyn Error + Send + Sync>,
    pub(crate) hint: Option<String>,
    pub(crate) left_behind: Vec<Leftover>,
    /// Said when nothing stays behind although something had been created: `builder and security
    /// group are gone`.
    pub(crate) cleaned_up: Option<String>,
    /// How it ended, leftovers apart.
    pub(crate) kind: Exit,
    /// The build that failed, as its events name it; empty for the whole command.
    pub(crate) about: String,
}

impl Failure {
    /// Returns a failure after which nothing is left behind.
    pub(crate) fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            error: error.into(),
            hint: None,
            left_behind: Vec::new(),
            cleaned_up: None,
            kind: Exit::Failed,
            about: String::new(),
        }
    }

    /// Returns a complaint about the command line, the manifest or a playbook.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(error).of_kind(Exit::Usage)
    }

    #[must_use]
    pub(crate) fn about(mut self, build: &str) -> Self {
        build.clone_into(&mut self.about);
        self
    }

    /// Returns it as an event, for those who read events.
    pub(crate) fn event(&self) -> Event {
        Event::Failed {
            causes: self.chain().collect(),
            hint: self.hint.clone(),
            left_behind: self.left_behind.clone(),
            exit: self.exit().code(),
        }
    }

    #[must_use]
    pub(crate) fn of_kind(mut self, kind: Exit) -> Self {
        self.kind = kind;
        self
    }

    /// Hides secrets in all that it says.
    #[must_use]
    pub(crate) fn masked(mut self, mask: &Mask) -> Self {
        if mask.is_empty() {
            return self;
        }
        self.error = Box::new(Masked::of(&*self.error, mask));
        let texts = self.hint.iter_mut().chain(&mut self.cleaned_up);
        texts.for_each(|text| mask.text(text));
        for leftover in &mut self.left_behind {
            mask.text(&mut leftover.what);
            mask.text(&mut leftover.remove_with);
        }
        self
    }

    /// Returns what went wrong in its layers' words: the outermost first, the innermost reason last.
    pub(crate) fn chain(&self) -> impl Iterator<Item = String> {
        layers(&*self.error)
    }

    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Returns the exit this failure asks for: leftovers outrank everything, unless the user chose
    /// to leave them.
    pub(crate) fn exit(&self) -> Exit {
        if self.left_behind.is_empty() || self.kind == Exit::Aborted {
            self.kind
        } else {
            Exit::LeftBehind
        }
    }
}

/// An error in its own words, without the secrets in them.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Masked {
    text: String,
    source: Option<Box<Masked>>,
}

impl Masked {
    fn of(error: &(dyn Error + 'static), mask: &Mask) -> Self {
        let mut text = error.to_string();
        mask.text(&mut text);
        let source = error
            .source()
            .map(|source| Box::new(Self::of(source, mask)));
        Self { text, source }
    }
}

/// Returns what an error says and why, on one line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    layers(error).collect::<Vec<_>>().join(": ")
}

/// Returns what an error and its causes say, the outermost first.
fn layers(error: &(dyn Error + 'static)) -> impl Iterator<Item = String> {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_causes_and_loses_its_secrets() {
        let inner = Masked {
            text: "curl -H hunter22".into(),
            source: None,
        };
        let outer = Masked {
            text: "task `hunter22` failed".into(),
            source: Some(Box::new(inner)),
        };
        let failure = Failure::new(outer).with_hint("not hunter22");
        let failure = failure.masked(&Mask::from_iter(["hunter22"]));
        let chain: Vec<String> = failure.chain().collect();
        assert_eq!(chain, ["task `********` failed", "curl -H ********"]);
        assert_eq!(failure.hint.unwrap(), "not ********");
    }

    #[test]
    fn leftovers_outrank_an_interrupt_which_outranks_a_gate_which_outranks_a_failure() {
        assert!(Exit::LeftBehind > Exit::Interrupted);
        assert!(Exit::Interrupted > Exit::GateFailed);
        assert!(Exit::GateFailed > Exit::Failed);
        assert!(Exit::Failed > Exit::Done);
    }

    #[test]
    fn one_failed_build_of_several_decides_the_exit() {
        let mut gate = Failure::new("no");
        gate.kind = Exit::GateFailed;
        let mut left = Failure::new("no");
        left.left_behind.push(Leftover {
            what: "x".into(),
            remove_with: "amibake reap".into(),
        });
        let mut answer = Answer::text("ami-1");
        answer.failures.push(gate);
        assert_eq!(answer.exit().code(), 4);
        answer.failures.push(left);
        assert_eq!(answer.exit().code(), 3);
    }

    #[test]
    fn what_a_second_interrupt_leaves_does_not_hide_it() {
        let mut aborted = Failure::new("interrupted").of_kind(Exit::Aborted);
        aborted.left_behind.push(Leftover {
            what: "x".into(),
            remove_with: "amibake reap".into(),
        });
        assert_eq!(aborted.exit().code(), 130);
    }
}
