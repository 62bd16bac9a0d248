//! What happens on the controller, as data: one channel, one order. The words are the reporter's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use amibake_protocol::event::{Event as HostEvent, Place, Recap};
use amibake_protocol::mask::Mask;
use serde::Serialize;
use tokio::sync::{Notify, mpsc};

use crate::event_recorder::Recorder;
use crate::exit::Leftover;

/// A phase of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The source, the hash, what exists already.
    Resolve,
    /// A machine comes to be.
    Launch,
    /// It answers to its own host key, and has finished booting.
    Connect,
    /// The playbooks run.
    Provision,
    /// What must not be in an image goes.
    Seal,
    /// The machine becomes a candidate.
    Capture,
    /// The candidate boots and is looked at.
    Test,
    /// The candidate becomes the image.
    Publish,
    /// What was temporary goes.
    Teardown,
}

impl Phase {
    /// All of them, in the order of a build.
    pub(crate) const ALL: [Self; 9] = [
        Self::Resolve,
        Self::Launch,
        Self::Connect,
        Self::Provision,
        Self::Seal,
        Self::Capture,
        Self::Test,
        Self::Publish,
        Self::Teardown,
    ];

    /// Returns its place in that order, counted from 1.
    fn number(self) -> u8 {
        let before = Self::ALL.iter().take_while(|phase| **phase != self);
        before.fold(1, |number, _| number + 1)
    }
}

/// Something that happened on the controller.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    PhaseStarted {
        phase: Phase,
        /// Its place in a build, counted from 1.
        number: u8,
        /// How many a build has.
        total: u8,
    },
    /// What a phase is doing now: `i-0abc12 is pending`.
    PhaseProgress {
        phase: Phase,
        /// A fragment, without a full stop.
        message: String,
        /// How far it is, if that is known.
        percent: Option<u8>,
    },
    PhaseFinished {
        phase: Phase,
        /// Whether it did what it is for.
        ok: bool,
        /// Milliseconds since `PhaseStarted`.
        elapsed_ms: u64,
        /// What came of it: `i-0abc12 at 10.0.0.7`.
        summary: Option<String>,
    },
    /// A machine answered and may be provisioned.
    HostConnected {
        /// Milliseconds since the first try.
        elapsed_ms: u64,
    },
    /// A machine could not be reached, or was lost for good.
    HostUnreachable {
        /// The whole chain of causes, outermost first.
        causes: Vec<String>,
        hint: Option<String>,
    },
    /// The agent is about to run this many tasks on a host, as far as can be told beforehand:
    /// loops count once, and what is included by a computed name is not known yet.
    RunPlanned { tasks: usize },
    /// A run on a host is over, its figures complete.
    HostFinished { recap: Recap },
    /// What was done or is waited for, where that is no phase of a build.
    Note {
        /// One line.
        message: String,
    },
    /// Something the user should know; the work goes on.
    Warning {
        /// One sentence.
        message: String,
        place: Option<Place>,
    },
    /// An image exists, tested and published.
    ImageReady { image_id: String, name: String },
    /// An image of the same content was there already, and is the result.
    ImageReused { image_id: String, name: String },
    /// CloudFormation deals with a resource of a stack, or with the stack itself.
    #[cfg_attr(
        all(feature = "ec2", not(feature = "stack")),
        expect(dead_code, reason = "only stacks have them")
    )]
    StackChanged {
        /// As the template names it; the stack by its own name.
        resource: String,
        /// `AWS::EC2::VPC`
        resource_type: String,
        /// `CREATE_IN_PROGRESS`
        status: String,
        reason: Option<String>,
    },
    /// The command, or this build, did not do what was asked. Comes last.
    Failed {
        /// The whole chain of causes, outermost first.
        causes: Vec<String>,
        hint: Option<String>,
        /// What stays behind, each with the command that removes it.
        left_behind: Vec<Leftover>,
        /// The exit status that this failure asks for.
        exit: u8,
    },
    /// Something that happened on the host this is about.
    #[serde(untagged)]
    Host(HostEvent),
}

/// An event with its time and the build or host it is about.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    /// Milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// The build's name, or the host's; empty for the whole command.
    pub(crate) about: Arc<str>,
    #[serde(flatten)]
    pub(crate) event: Event,
    /// How much memory it takes, roughly.
    #[serde(skip)]
    pub(crate) bytes: usize,
}

/// The sending end of the channel. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    about: Arc<str>,
    /// What no event may show.
    mask: Arc<Mask>,
    /// What writes them down too.
    recorder: Option<Arc<Recorder>>,
    sender: mpsc::UnboundedSender<Option<Report>>,
    backlog: Arc<Backlog>,
}

/// The receiving end: the reporter's, or a test's.
#[derive(Debug)]
pub(crate) struct Reports {
    receiver: mpsc::UnboundedReceiver<Option<Report>>,
    backlog: Arc<Backlog>,
}

/// How many bytes of events wait to be shown.
#[derive(Debug, Default)]
struct Backlog {
    waiting: AtomicUsize,
    shrunk: Notify,
}

/// As much may wait before [`Events::room`] holds back those who read from a host.
const BACKLOG: usize = 2 << 20;
/// What an event is counted as at least.
const LEAST_BYTES: usize = 1 << 10;

/// Returns the two ends of a new channel.
pub(crate) fn channel() -> (Events, Reports) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let backlog = Arc::new(Backlog::default());
    let events = Events {
        about: Arc::from(""),
        mask: Arc::default(),
        recorder: None,
        sender,
        backlog: Arc::clone(&backlog),
    };
    (events, Reports { receiver, backlog })
}

impl Events {
    /// Returns the same channel for what happens to `subject`: a build's name, a host's.
    pub(crate) fn about(&self, subject: &str) -> Self {
        Self {
            about: Arc::from(subject),
            ..self.clone()
        }
    }

    /// Returns the same channel for work with secrets, which it hides.
    pub(crate) fn masked(&self, mask: Mask) -> Self {
        Self {
            mask: Arc::new(mask),
            ..self.clone()
        }
    }

    /// Returns the same channel, whose events are written down too.
    pub(crate) fn recorded(&self, recorder: Arc<Recorder>) -> Self {
        Self {
            recorder: Some(recorder),
            ..self.clone()
        }
    }

    /// Sends an event. Without a receiver it is lost: nobody is there to be told.
    pub(crate) fn send(&self, event: Event) {
        self.send_heavy(event, LEAST_BYTES);
    }

    fn send_heavy(&self, mut event: Event, bytes: usize) {
        event.mask(&self.mask);
        let report = Report {
            time_ms: unix_ms(),
            about: Arc::clone(&self.about),
            event,
            bytes: bytes.max(LEAST_BYTES),
        };
        if let Some(recorder) = &self.recorder {
            recorder.write(&report);
        }
        self.backlog
            .waiting
            .fetch_add(report.bytes, Ordering::Relaxed);
        let _unheard = self.sender.send(Some(report));
    }

    /// Sends what happened on the host this is about, and takes about as many `bytes`.
    pub(crate) fn host(&self, event: HostEvent, bytes: usize) {
        self.send_heavy(Event::Host(event), bytes);
    }

    /// Waits until the reporter has caught up. Whoever reads events from a host asks for room
    /// before each read, so that a host cannot fill the memory.
    pub(crate) async fn room(&self) {
        while self.backlog.waiting.load(Ordering::Relaxed) > BACKLOG {
            let shrunk = self.backlog.shrunk.notified();
            if self.sender.is_closed() {
                return;
            }
            // The time-out covers a notification between the load and the wait.
            let _late = tokio::time::timeout(Duration::from_millis(20), shrunk).await;
        }
    }

    /// Sends a warning that stands nowhere in a file.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.send(Event::Warning {
            message: message.into(),
            place: None,
        });
    }

    /// Sends a line that says how work goes on which is no build.
    pub(crate) fn note(&self, message: impl Into<String>) {
        self.send(Event::Note {
            message: message.into(),
        });
    }

    /// Begins a phase. It ends with [`PhaseHandle::finish`], or as a failure when dropped.
    pub(crate) fn phase(&self, phase: Phase) -> PhaseHandle {
        self.send(Event::started(phase));
        PhaseHandle {
            events: self.clone(),
            phase,
            since: Instant::now(),
            ended: false,
        }
    }

    /// Tells the receiver that nothing follows, whoever still holds a sender.
    pub(crate) fn close(&self) {
        let _unheard = self.sender.send(None);
    }
}

impl Event {
    /// Returns the event of a phase that begins.
    pub(crate) fn started(phase: Phase) -> Self {
        Self::PhaseStarted {
            phase,
            number: phase.number(),
            total: u8::try_from(Phase::ALL.len()).unwrap_or(u8::MAX),
        }
    }

    /// Hides secrets, wherever they are.
    fn mask(&mut self, mask: &Mask) {
        match self {
            Self::PhaseProgress { message, .. }
            | Self::Note { message }
            | Self::Warning { message, .. } => {
                mask.text(message);
            }
            Self::PhaseFinished { summary, .. } => summary.iter_mut().for_each(|s| mask.text(s)),
            Self::HostUnreachable { causes, hint } => {
                causes
                    .iter_mut()
                    .chain(hint)
                    .for_each(|text| mask.text(text));
            }
            Self::ImageReady { image_id, name } | Self::ImageReused { image_id, name } => {
                mask.text(image_id);
                mask.text(name);
            }
            Self::Host(event) => mask.event(event),
            Self::StackChanged { reason, .. } => reason.iter_mut().for_each(|r| mask.text(r)),
            Self::PhaseStarted { .. }
            | Self::HostConnected { .. }
            | Self::RunPlanned { .. }
            | Self::HostFinished { .. }
            // A failure hides its secrets before it becomes an event.
            | Self::Failed { .. } => {}
        }
    }
}

impl Reports {
    /// Returns the next event, blocking this thread; `None` at the end.
    pub(crate) fn next_blocking(&mut self) -> Option<Report> {
        let report = self.receiver.blocking_recv().flatten();
        self.shrink(report)
    }

    /// Returns the next event; `None` at the end.
    #[cfg(test)]
    pub(crate) async fn next(&mut self) -> Option<Report> {
        let report = self.receiver.recv().await.flatten();
        self.shrink(report)
    }

    fn shrink(&self, report: Option<Report>) -> Option<Report> {
        if let Some(report) = &report {
            self.backlog
                .waiting
                .fetch_sub(report.bytes, Ordering::Relaxed);
            self.backlog.shrunk.notify_waiters();
        }
        report
    }
}

/// A phase under way.
#[derive(Debug)]
#[must_use = "a phase that is dropped has failed"]
pub(crate) struct PhaseHandle {
    events: Events,
    phase: Phase,
    since: Instant,
    ended: bool,
}

impl PhaseHandle {
    pub(crate) fn progress(&self, message: impl Into<String>, percent: Option<u8>) {
        self.events.send(Event::PhaseProgress {
            phase: self.phase,
            message: message.into(),
            percent,
        });
    }

    /// Tells what the user should know beside.
    pub(crate) fn warn(&self, message: impl Into<String>) {
        self.events.warn(message);
    }

    /// Ends the phase well; `summary` says what came of it.
    pub(crate) fn finish(mut self, summary: impl Into<Option<String>>) {
        self.end(true, summary.into());
    }

    fn end(&mut self, ok: bool, summary: Option<String>) {
        self.ended = true;
        self.events.send(Event::PhaseFinished {
            phase: self.phase,
            ok,
            elapsed_ms: millis(self.since.elapsed()),
            summary,
        });
    }
}

impl Drop for PhaseHandle {
    fn drop(&mut self) {
        if !self.ended {
            self.end(false, None);
        }
    }
}

/// Returns a duration in milliseconds, as events carry it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the time as reports carry it.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_phase_that_is_dropped_has_failed() {
        let (events, mut reports) = channel();
        drop(events.about("web").phase(Phase::Launch));
        events.phase(Phase::Seal).finish(None);
        events.close();
        let mut seen = Vec::new();
        while let Some(report) = reports.next().await {
            seen.push((report.about.to_string(), report.event));
        }
        assert!(
            matches!(&seen[1], (about, Event::PhaseFinished { ok: false, .. }) if about == "web")
        );
        assert!(matches!(
            &seen[3],
            (_, Event::PhaseFinished { ok: true, .. })
        ));
    }

    #[tokio::test]
    async fn no_event_of_work_with_secrets_shows_them() {
        let (events, mut reports) = channel();
        let masked = events.about("web").masked(Mask::from_iter(["hunter22"]));
        let phase = masked.phase(Phase::Launch);
        phase.progress("hunter22 is pending", None);
        phase.finish("at hunter22".to_owned());
        masked.warn("hunter22 is slow");
        masked.send(Event::HostUnreachable {
            causes: vec!["no hunter22".into()],
            hint: Some("try hunter22".into()),
        });
        let name = "play hunter22".into();
        masked.host(HostEvent::PlayStarted { name }, 0);
        events.close();
        while let Some(report) = reports.next().await {
            let said = serde_json::to_string(&report).unwrap();
            assert!(!said.contains("hunter22"), "{said}");
        }
    }

    #[test]
    fn a_report_is_one_flat_json_object() {
        let report = Report {
            time_ms: 1,
            about: Arc::from("web1"),
            event: Event::Host(HostEvent::PlayStarted { name: "all".into() }),
            bytes: 0,
        };
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(
            json,
            r#"{"time_ms":1,"about":"web1","event":"play-started","name":"all"}"#
        );
    }

    #[tokio::test]
    async fn a_reader_waits_for_room() {
        let (events, mut reports) = channel();
        for _ in 0..=BACKLOG / LEAST_BYTES {
            events.warn("x");
        }
        let waiting = tokio::spawn({
            let events = events.clone();
            async move { events.room().await }
        });
        assert!(reports.next().await.is_some());
        waiting.await.unwrap();
    }
}
