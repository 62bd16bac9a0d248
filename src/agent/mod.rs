//! The controller's half of the agent protocol: ship, run, follow, re-attach, answer.
//!
//! Trusts the target with nothing: sizes, counts and order are checked, and asks are answered
//! by the playbook's own text ([`asks`]). How commands get there is [`crate::transport`]'s.

pub(crate) mod asks;
pub(crate) mod collect;
mod error;
mod fetched;
pub(crate) mod program;
mod reboot;
mod request;
mod run_reporting;
mod script;
pub(crate) mod self_agent;
mod turns;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use amibake_protocol::ask::Ask;
use amibake_protocol::event::Event;
use amibake_protocol::job::Options;
use amibake_protocol::message::{AgentRunId, Job, Reply, RunState, ToAgent, ToController};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::transport::Transport;
use collect::Content;
pub(crate) use error::AgentError;
use fetched::{Incoming, Offered};
pub(crate) use reboot::AfterReboot;
use reboot::{Keeping, Kept};
pub(crate) use request::{Ended, FailedTask, Privilege, RunRequest, SizedEvent};
pub(crate) use run_reporting::run_reported;
pub(crate) use turns::{Joining, Turns, Welcome};
use wire::{Arrivals, Received, Sender, Wire};

/// The most events one run may send.
const MAX_EVENTS: u64 = 5_000_000;
/// The most bytes of events one run may send.
const MAX_EVENT_BYTES: u64 = 4 << 30;
/// The most questions one run may ask.
const MAX_ASKS: u64 = 10_000;
/// How often the agent hears that this side still follows: it ends a run that nobody follows.
const WORD: Duration = Duration::from_mins(1);
/// How often one file is sent on request.
const MAX_SENT: u32 = 8;
/// How long a run may go on that was told to stop: the agent itself takes half a minute at most.
const LAST_TASK: Duration = Duration::from_mins(1);
/// Events are acknowledged by this many.
const ACK_EVERY: u64 = 256;
/// How often a cut link is mended without an event having come.
const MENDS: u32 = 10;
/// How long the target may take to say anything after a command was started.
const FIRST_WORDS: Duration = Duration::from_mins(2);
/// The same while the machine may be going down.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// How often the machine is written to while it reboots: it says then that it has forgotten the connection.
const KNOCK: Duration = Duration::from_secs(2);
/// How long the end of the run's folder is waited for.
const FAREWELL: Duration = Duration::from_secs(10);

/// Runs `request` on the machine behind `transport`, through cut links, and passes its events on.
///
/// Cancelling ends the running task there; the run's own `Finished` is still awaited.
pub(crate) async fn run(
    transport: &dyn Transport,
    request: &RunRequest<'_>,
    events: &mpsc::Sender<SizedEvent>,
    cancel: &CancellationToken,
) -> Result<Ended, AgentError> {
    let mut following = Following::new();
    let mut mends = 0;
    loop {
        let seen = following.next;
        match connect_and_follow(transport, request, events, cancel, &mut following).await {
            Err(error) if following.kept.is_some() && error.may_be_a_reboot() => {
                if let Some(ended) = following
                    .outlive(&error, transport, request, events, cancel)
                    .await?
                {
                    return Ok(ended);
                }
            }
            Err(AgentError::Link(error)) => {
                mends = if following.next > seen { 0 } else { mends + 1 };
                if mends >= MENDS || !following.launched {
                    return Err(AgentError::Link(error));
                }
                tokio::time::sleep(Duration::from_millis(200 << mends.min(6))).await;
            }
            ended => return ended,
        }
    }
}

/// What outlives a cut link.
struct Following {
    run: AgentRunId,
    /// The event wanted next.
    next: u64,
    bytes: u64,
    asked: u64,
    refused: u64,
    /// Tasks whose end was told.
    tasks: u64,
    /// How often each file was sent on request.
    sent: BTreeMap<PathBuf, u32>,
    /// A file that `fetch` brings.
    incoming: Option<Incoming>,
    /// A checkpoint that comes.
    keeping: Option<Keeping>,
    /// What the run was at when it had its machine reboot, until it says more.
    kept: Option<Kept>,
    /// Bytes that it brought.
    brought: u64,
    /// Whether the job was sent whole: then it may have been started.
    launched: bool,
}

impl Following {
    fn new() -> Self {
        Self {
            run: wire::new_run_id(),
            next: 0,
            bytes: 0,
            asked: 0,
            refused: 0,
            tasks: 0,
            sent: BTreeMap::new(),
            incoming: None,
            keeping: None,
            kept: None,
            brought: 0,
            launched: false,
        }
    }

    /// Goes on after a connection that a reboot may have cut. `Some` is the end of a run whose machine did not
    /// come back.
    async fn outlive(
        &mut self,
        error: &AgentError,
        transport: &dyn Transport,
        request: &RunRequest<'_>,
        events: &mpsc::Sender<SizedEvent>,
        cancel: &CancellationToken,
    ) -> Result<Option<Ended>, AgentError> {
        let Some(kept) = &mut self.kept else {
            return Ok(None);
        };
        let is_gone = matches!(error, AgentError::Forgotten | AgentError::Died(_));
        let in_time = !is_gone || kept.begin_anew(cancel).await;
        let is_ready = is_gone
            && in_time
            && match make_ready(request, cancel).await {
                // It may have been about to go down.
                Err(AgentError::NotReady(_)) if !kept.is_overdue() => false,
                ready => ready?,
            };
        if is_ready {
            // Another run for the machine, since it may know the one before still; the same for everybody else.
            self.run = wire::new_run_id();
            self.next = 0;
            self.launched = false;
            return Ok(None);
        }
        match in_time && kept.reach(transport, cancel).await? {
            true => Ok(None),
            false => Ok(Some(Ended {
                refused_asks: self.refused,
                ..kept.give_up(events).await
            })),
        }
    }
}

/// Makes a machine ready that has come back; returns whether it was there for that.
async fn make_ready(
    request: &RunRequest<'_>,
    cancel: &CancellationToken,
) -> Result<bool, AgentError> {
    let Some(after_reboot) = request.after_reboot else {
        return Ok(true);
    };
    tokio::select! {
        ready = after_reboot.make_ready() => match ready {
            Ok(ready) => Ok(ready),
            Err(failure) => Err(AgentError::NotReady(failure.error)),
        },
        () = cancel.cancelled() => Err(AgentError::Interrupted),
    }
}

async fn connect_and_follow(
    transport: &dyn Transport,
    request: &RunRequest<'_>,
    events: &mpsc::Sender<SizedEvent>,
    cancel: &CancellationToken,
    following: &mut Following,
) -> Result<Ended, AgentError> {
    let wire = tokio::select! {
        wire = open(transport, request, following) => wire?,
        // What was not launched is forgotten there with the connection.
        () = cancel.cancelled(), if !following.launched => return Err(AgentError::Interrupted),
    };
    follow(wire, request, events, cancel, following).await
}

/// Gets the agent to know the run: as a new one, or as the one that it has.
async fn open(
    transport: &dyn Transport,
    request: &RunRequest<'_>,
    following: &mut Following,
) -> Result<Wire, AgentError> {
    let command = script::start(&following.run, request.programs, &request.privilege);
    let channel = transport.exec(&command).await.map_err(AgentError::Link)?;
    let mut wire = Wire::new(channel);
    let silent = |_| AgentError::NotStarted("the machine said nothing".to_owned());
    let patience = match following.kept {
        Some(_) => LAST_WORDS,
        None => FIRST_WORDS,
    };
    tokio::time::timeout(patience, wire.ready(request, &following.run))
        .await
        .map_err(silent)??;
    let first = !following.launched;
    wire.put(&ToAgent::Open {
        run: following.run.clone(),
        from: following.next,
    })
    .await?;
    match first {
        true => send_job(&mut wire, request, following).await?,
        false => wire.flush().await?,
    }
    let answer = tokio::time::timeout(patience, wire.message()).await;
    match answer.map_err(silent)?? {
        ToController::Hello { state } if first || state == RunState::Known => {}
        ToController::Hello { .. } if following.kept.is_some() => {
            return Err(AgentError::Forgotten);
        }
        ToController::Hello { .. } if following.next == 0 => {
            send_job(&mut wire, request, following).await?;
        }
        ToController::Hello { .. } => {
            return Err(AgentError::Died("its folder is gone".to_owned()));
        }
        other => return Err(unexpected(&other)),
    }
    Ok(wire)
}

/// Sends everything at once: a new run needs no answer before it starts.
async fn send_job(
    wire: &mut Wire,
    request: &RunRequest<'_>,
    following: &mut Following,
) -> Result<(), AgentError> {
    let job = Job {
        entries: request.entries.clone(),
        options: Options {
            unknown_modules: request.bundle.unknown_modules().clone(),
            ..request.options.clone()
        },
        items: request.bundle.items().to_vec(),
        reads: request.bundle.reads().clone(),
        opened_vault: request.bundle.has_opened(),
        interrupted_ms: following.kept.as_ref().map(|kept| {
            let elapsed = kept.elapsed().as_millis();
            u64::try_from(elapsed).unwrap_or(u64::MAX)
        }),
    };
    wire.put(&ToAgent::Job(Box::new(job))).await?;
    for (hash, size, content) in request.bundle.contents() {
        let to_come = ToAgent::Content {
            hash: hash.clone(),
            size,
        };
        wire.put(&to_come).await?;
        match content {
            Content::File(path) => wire.put_file(path, size, hash).await?,
            Content::Opened(bytes) => wire.put_bytes(bytes.expose()).await?,
        }
    }
    if let Some(kept) = &following.kept {
        let checkpoint = kept.checkpoint.expose();
        let size = checkpoint.len() as u64;
        wire.put(&ToAgent::Checkpoint { size }).await?;
        wire.put_bytes(checkpoint).await?;
    }
    following.launched = true;
    wire.send(&ToAgent::Launch).await
}

async fn follow(
    wire: Wire,
    request: &RunRequest<'_>,
    events: &mpsc::Sender<SizedEvent>,
    cancel: &CancellationToken,
    following: &mut Following,
) -> Result<Ended, AgentError> {
    let (mut sender, mut arrivals, last) = wire.split();
    let given = asks::given(&request.options, &request.entries);
    let mut gives_up = None;
    let mut turn = None;
    let mut word = tokio::time::interval(WORD);
    let mut knock = tokio::time::interval(KNOCK);
    knock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut acked = following.next;
    loop {
        let message = tokio::select! {
            message = arrivals.next() => message,
            () = cancel.cancelled(), if gives_up.is_none() => {
                gives_up = Some(Instant::now() + LAST_TASK);
                sender.send(&ToAgent::Cancel).await?;
                continue;
            }
            _ = word.tick() => {
                acked = following.next;
                sender.send(&ToAgent::Ack { seq: acked }).await?;
                continue;
            }
            _ = knock.tick(), if following.kept.is_some() => {
                acked = following.next;
                sender.send(&ToAgent::Ack { seq: acked }).await?;
                continue;
            }
            () = until(gives_up) => return Err(AgentError::NotStopped),
            (id, value) = come(&mut turn) => {
                turn = None;
                sender.answer(id, asks::Answered::Value(value)).await?;
                continue;
            }
        };
        let Some(message) = message else {
            return Err(last.explain().await);
        };
        let (message, bytes) = match message? {
            Received::Message(message, bytes) => (message, bytes),
            Received::Bytes(bytes) => {
                following.take_bytes(&bytes)?;
                following.end_incoming(&mut sender).await?;
                continue;
            }
        };
        match message {
            ToController::Event { seq, event } => {
                following.take(seq, bytes)?;
                let finished = following.note(&event)?;
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                let _ = events.send(SizedEvent { event, bytes }).await; // whoever listened may have gone
                if let Some(ended) = finished {
                    sender.send(&ToAgent::Done).await?;
                    let _ = tokio::time::timeout(FAREWELL, drain(&mut arrivals)).await;
                    return Ok(ended);
                }
                if following.next - acked >= ACK_EVERY {
                    acked = following.next;
                    sender.send(&ToAgent::Ack { seq: acked }).await?;
                }
            }
            ToController::Ask { id, ask } if ask.is_of_others() && request.turns.is_some() => {
                following.count_ask()?;
                // Who is cancelled gives up waiting, and may ask again.
                if turn.is_some() && gives_up.is_none() {
                    return Err(AgentError::OutOfPlace("it asks while it waits".to_owned()));
                }
                let host = &request.options.inventory_hostname;
                let told = request.turns.map(|turns| turns.answer(host, ask));
                turn = told.map(|told| Box::pin(async move { (id, told.await) }));
            }
            ToController::Ask { id, ask } => {
                following.count_ask()?;
                following
                    .answer(id, &ask, request, &given, &mut sender)
                    .await?;
            }
            ToController::TakenOver => return Err(AgentError::TakenOver),
            ToController::Died { last_words } => return Err(AgentError::Died(last_words)),
            ToController::Failed { reason } => return Err(AgentError::NotStarted(reason)),
            ToController::Fetched { id, size } => {
                following.announce(id, size)?;
                following.end_incoming(&mut sender).await?;
            }
            other @ ToController::Hello { .. } => return Err(unexpected(&other)),
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Waits for what a host asked to be told, if it did.
async fn come<T>(told: &mut Option<impl Future<Output = T> + Unpin>) -> T {
    match told {
        Some(told) => told.await,
        None => std::future::pending().await,
    }
}

async fn drain(arrivals: &mut Arrivals) {
    while let Some(Ok(_)) = arrivals.next().await {}
}

fn uncalled(what: &str) -> AgentError {
    AgentError::OutOfPlace(format!("{what} came that was not asked for"))
}

fn unexpected(message: &ToController) -> AgentError {
    if let ToController::Failed { reason } = message {
        return AgentError::NotStarted(reason.clone());
    }
    let mut text = format!("{message:?}");
    text.truncate(text.floor_char_boundary(80));
    AgentError::OutOfPlace(format!("{text} was not expected"))
}

impl Following {
    /// Counts an event, which must be the next one.
    fn take(&mut self, seq: u64, bytes: u64) -> Result<(), AgentError> {
        self.kept = None; // it goes on where it is
        if seq != self.next {
            let wanted = self.next;
            return Err(AgentError::OutOfPlace(format!(
                "event {seq} came instead of event {wanted}"
            )));
        }
        self.next += 1;
        self.bytes += bytes;
        if self.next > MAX_EVENTS || self.bytes > MAX_EVENT_BYTES {
            return Err(AgentError::TooMuch("events"));
        }
        Ok(())
    }

    /// Remembers what was told, and returns the end when it comes.
    fn note(&mut self, event: &Event) -> Result<Option<Ended>, AgentError> {
        match event {
            Event::TaskFinished { .. } => self.tasks += 1,
            Event::Finished { recap, error, .. } => {
                let claimed = recap.ok + recap.failed + recap.skipped + recap.rescued;
                if claimed > 0 && self.tasks == 0 && error.is_none() {
                    return Err(AgentError::OutOfPlace(format!(
                        "it claims to have run {claimed} tasks and reported none"
                    )));
                }
                return Ok(Some(Ended {
                    recap: *recap,
                    error: error.clone(),
                    refused_asks: self.refused,
                    failed: None,
                }));
            }
            _ => {}
        }
        Ok(None)
    }

    /// Answers a question, or begins to take the file that it offers.
    async fn answer(
        &mut self,
        id: u64,
        ask: &Ask,
        request: &RunRequest<'_>,
        given: &[&str],
        sender: &mut Sender,
    ) -> Result<(), AgentError> {
        let answer = match ask {
            Ask::Keep { reboot, size, .. } => match Keeping::begin(id, reboot, *size) {
                Ok(keeping) => {
                    self.kept = None; // one at a time is in memory
                    self.keeping = Some(keeping);
                    let reply = Reply::Send;
                    return sender.send(&ToAgent::Answer { id, reply }).await;
                }
                Err(reason) => asks::Answered::Refused(reason),
            },
            Ask::Fetch { fetch, .. } => {
                self.incoming = None; // what was cut off is offered again
                let mark = format!("{}-{id}", self.run);
                let host = &request.options.inventory_hostname;
                match fetched::offered(fetch, request.bundle.reads(), host, &mark) {
                    Ok(Offered::Wanted(arriving)) => {
                        self.incoming = Some(Incoming::new(id, arriving));
                        let reply = Reply::Send;
                        return sender.send(&ToAgent::Answer { id, reply }).await;
                    }
                    Ok(Offered::Result(result)) => asks::Answered::Value(result),
                    Err(reason) => asks::Answered::Refused(reason),
                }
            }
            Ask::KeepFacts { facts } => match request.keep_facts(facts) {
                Ok(()) => asks::Answered::Value(Json::Null),
                Err(error) => asks::Answered::Refused(error),
            },
            ask => request.asks.answer(ask, request.bundle, given).await,
        };
        let answer = self.allow(answer);
        sender.answer(id, answer).await
    }

    fn announce(&mut self, id: u64, size: u64) -> Result<(), AgentError> {
        if let Some(keeping) = self.keeping.as_mut().filter(|keeping| keeping.id == id) {
            return keeping.announce(size);
        }
        let incoming = self.incoming.as_mut().filter(|incoming| incoming.id == id);
        let incoming = incoming.ok_or_else(|| uncalled("a file"))?;
        incoming
            .announce(size, &mut self.brought)
            .map_err(AgentError::TooMuch)
    }

    fn take_bytes(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        if let Some(keeping) = &mut self.keeping {
            return keeping.add(bytes);
        }
        let incoming = self
            .incoming
            .as_mut()
            .ok_or_else(|| uncalled("bytes of a file"))?;
        incoming.add(bytes).map_err(AgentError::TooMuch)
    }

    /// Answers when a file is there whole.
    async fn end_incoming(&mut self, sender: &mut Sender) -> Result<(), AgentError> {
        if let Some(whole) = self.keeping.take_if(|keeping| keeping.is_whole()) {
            let id = whole.id;
            self.kept = Some(whole.kept());
            return sender.answer(id, asks::Answered::Value(Json::Null)).await;
        }
        let Some(incoming) = &mut self.incoming else {
            return Ok(());
        };
        let Some(result) = incoming.finished() else {
            return Ok(());
        };
        let id = incoming.id;
        self.incoming = None;
        sender.answer(id, asks::Answered::Value(result)).await
    }

    /// A sound run wants a file once, and again after a cut link.
    fn allow(&mut self, answer: asks::Answered) -> asks::Answered {
        let answer = match answer {
            asks::Answered::File { path, .. } if self.sent_often(&path) => {
                asks::Answered::Refused(format!("{} was sent often enough", path.display()))
            }
            answer => answer,
        };
        self.refused += u64::from(matches!(answer, asks::Answered::Refused(_)));
        answer
    }

    fn sent_often(&mut self, path: &std::path::Path) -> bool {
        let times = self.sent.entry(path.to_path_buf()).or_default();
        *times += 1;
        *times > MAX_SENT
    }

    fn count_ask(&mut self) -> Result<(), AgentError> {
        self.asked += 1;
        match self.asked > MAX_ASKS {
            true => Err(AgentError::TooMuch("questions")),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
