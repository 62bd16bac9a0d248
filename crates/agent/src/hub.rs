//! Where the run and its controllers meet: events out, answers in, whoever is attached.
//!
//! One controller at a time; a newcomer takes over. The run waits here for answers only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

use crate::event_log::{BACKLOG_BYTES, EventLog};

/// How long a question waits without any controller before it counts as refused.
const NOBODY: Duration = Duration::from_mins(30);

/// Shared by the run and the threads of its connections.
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Told of everything but events, which are many and concern the connection's writer alone.
    changed: Condvar,
    /// Told of those, too.
    written: Condvar,
}

pub(crate) struct State {
    pub(crate) log: EventLog,
    /// Grows with every attachment and detachment; a thread whose number is old stops.
    pub(crate) generation: u64,
    pub(crate) attached: bool,
    /// When a controller said something for the last time.
    pub(crate) followed_at: Instant,
    /// The question that waits for its answer.
    pub(crate) pending: Option<(u64, Ask)>,
    asked: u64,
    answer: Option<Answer>,
    /// A file that the controller wants to have: the ask and the path.
    pub(crate) upload: Option<(u64, PathBuf)>,
    pub(crate) cancelled: bool,
    /// Whether `Finished` was written; then nothing follows.
    pub(crate) finished: bool,
    /// Whether the controller has taken `Finished`.
    pub(crate) done: bool,
    dropped: BTreeMap<u32, u64>,
}

impl Hub {
    pub(crate) fn new(log: EventLog) -> Self {
        let state = State {
            log,
            generation: 0,
            attached: false,
            followed_at: Instant::now(),
            pending: None,
            asked: 0,
            answer: None,
            upload: None,
            cancelled: false,
            finished: false,
            done: false,
            dropped: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// Looks at the state.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    /// Looks at, or changes, the state; everybody who waits looks again.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.lock());
        self.changed.notify_all();
        self.written.notify_all();
        result
    }

    /// Waits until `ready` has a value; `None` after `at_most`. Does not look again for an event, unless it is the last.
    pub(crate) fn wait<T>(
        &self,
        at_most: Duration,
        ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        self.wait_for(&self.changed, at_most, ready)
    }

    /// Does the same, and looks again for each event.
    pub(crate) fn wait_for_events<T>(
        &self,
        at_most: Duration,
        ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        self.wait_for(&self.written, at_most, ready)
    }

    fn wait_for<T>(
        &self,
        told: &Condvar,
        at_most: Duration,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let until = Instant::now() + at_most;
        let mut state = self.lock();
        loop {
            if let Some(value) = ready(&mut state) {
                return Some(value);
            }
            let left = until.checked_duration_since(Instant::now())?;
            state = told
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Writes an event for the controllers to come.
    pub(crate) fn event(&self, event: Event) {
        let is_last = matches!(event, Event::Finished { .. });
        self.lock().write(event);
        self.written.notify_all();
        if is_last {
            self.changed.notify_all();
        }
    }

    /// Asks the controller and waits for what it says, through cut links too.
    pub(crate) fn ask(&self, ask: Ask) -> Answer {
        self.with(|state| {
            state.answer = None;
            state.pending = Some((state.asked, ask));
            state.asked += 1;
        });
        let mut alone_since = Instant::now();
        loop {
            let answered = self.wait(Duration::from_secs(5), |state| {
                if state.attached {
                    alone_since = Instant::now();
                }
                state.answer.take().or_else(|| {
                    let reason = if state.cancelled {
                        "the run is cancelled"
                    } else if alone_since.elapsed() > NOBODY {
                        "no controller came back to answer"
                    } else {
                        return None;
                    };
                    state.pending = None;
                    let reason = reason.to_owned();
                    Some(Answer::Refused { reason })
                })
            });
            if let Some(answer) = answered {
                return answer;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes the caller the one controller and returns its number.
    pub(crate) fn attach(&mut self) -> u64 {
        self.generation += 1;
        self.attached = true;
        self.followed_at = Instant::now();
        self.generation
    }

    /// Ends the attachment `generation`, unless another took over.
    pub(crate) fn detach(&mut self, generation: u64) {
        if self.generation == generation {
            self.generation += 1;
            self.attached = false;
        }
    }

    /// Takes an answer, if it is to the question that waits.
    pub(crate) fn answer(&mut self, id: u64, answer: Answer) {
        if self
            .pending
            .as_ref()
            .is_some_and(|(wanted, _)| *wanted == id)
        {
            self.pending = None;
            self.upload = None;
            self.answer = Some(answer);
        }
    }

    /// Returns whether whoever writes to the attachment `generation` has something to do besides events that can
    /// wait for those that follow them.
    pub(crate) fn is_urgent(&self, generation: u64) -> bool {
        self.finished
            || self.generation != generation
            || self.pending.is_some()
            || self.upload.is_some()
    }

    fn write(&mut self, event: Event) {
        if self.finished {
            return;
        }
        if let Event::TaskOutput { index, .. } = event
            && self.log.backlog() > BACKLOG_BYTES
        {
            *self.dropped.entry(index).or_default() += 1;
            return;
        }
        if matches!(event, Event::Finished { .. }) {
            self.finished = true;
        }
        if let Event::TaskFinished { index, .. } = event
            && let Some(lines) = self.dropped.remove(&index)
        {
            self.append(Event::Warning {
                message: format!("{lines} lines of output were left out: nobody took them"),
                place: None,
            });
        }
        self.append(event);
    }

    /// A full tmpfs must not end the run; the controller then misses an event's number and says so.
    fn append(&mut self, event: Event) {
        if let Err(error) = self.log.append(event) {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "amibake-agent: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use amibake_protocol::event::Recap;

    use super::*;

    fn warning() -> Event {
        Event::Warning {
            message: "x".to_owned(),
            place: None,
        }
    }

    #[test]
    fn events_wake_their_writer_alone_and_the_last_wakes_everybody() {
        let temp = tempfile::tempdir().unwrap();
        let hub = Hub::new(EventLog::create(&temp.path().join("events")).unwrap());
        let mut looked = 0;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                hub.wait_for_events(Duration::from_mins(1), |state| {
                    (state.log.len() == 100).then_some(())
                })
            });
            let others = scope.spawn(|| {
                hub.wait(Duration::from_mins(1), |state| {
                    looked += 1;
                    state.is_urgent(0).then_some(())
                })
            });
            for _ in 0..100 {
                hub.event(warning());
            }
            assert!(writer.join().unwrap().is_some());
            hub.event(Event::Finished {
                recap: Recap::default(),
                error: None,
                elsewhere: false,
            });
            assert!(others.join().unwrap().is_some());
        });
        assert!(looked < 50, "it looked {looked} times");
    }

    #[test]
    fn a_question_does_not_wait_for_events_to_gather() {
        let temp = tempfile::tempdir().unwrap();
        let hub = Hub::new(EventLog::create(&temp.path().join("events")).unwrap());
        let generation = hub.with(State::attach);
        hub.event(warning());
        assert!(!hub.look(|state| state.is_urgent(generation)));
        hub.with(|state| {
            let name = "x".to_owned();
            state.pending = Some((0, Ask::Confirm { name }));
        });
        assert!(hub.look(|state| state.is_urgent(generation)));
        hub.with(|state| {
            state.answer(
                0,
                Answer::Refused {
                    reason: String::new(),
                },
            );
        });
        assert!(!hub.look(|state| state.is_urgent(generation)));
        hub.with(|state| state.detach(generation));
        assert!(hub.look(|state| state.is_urgent(generation)));
    }
}
