//! The detached process: runs the job once and talks to whoever attaches.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use amibake_engine::exec::{self, Interruption, Project};
use amibake_engine::worker;
use amibake_playbook::files::Files;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::{Event, Recap};
use amibake_protocol::frame;
use amibake_protocol::message::{Job, Reply, ToAgent, ToController, answered_file};
use serde::{Deserialize, Serialize};

use crate::asking::Attached;
use crate::bundle_files::BundleFiles;
use crate::cancel::{self, cancel};
use crate::event_log::EventLog;
use crate::folder::RunFolder;
use crate::hub::{Hub, State};
use crate::local_files::LocalFiles;
use crate::{AgentError, io};

/// How long a run that ended waits for a controller before it and its folder go.
const LINGER: Duration = Duration::from_mins(20);
/// How long a run goes on without a word from any controller, which says something each minute.
const ALONE: Duration = Duration::from_mins(20);
/// How long events wait for those that follow, so that they travel together. Each piece wakes four processes up, and a
/// loop has thousands of events.
const GATHERED: Duration = Duration::from_millis(5);
/// Events written to a connection at once.
const PIECE_BYTES: u64 = 1 << 20;
/// The largest file a `fetch` sends.
const FETCH_BYTES: u64 = 4 << 30;

/// What the session hands to the process it starts: a login's surroundings, which a unit lacks.
#[derive(Serialize, Deserialize)]
pub(crate) struct Surroundings {
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) login_environment: Vec<(String, String)>,
    pub(crate) cwd: PathBuf,
    pub(crate) umask: u32,
}

/// Puts on the surroundings of the login, then runs the job.
pub(crate) fn run(arguments: &[String]) -> Result<(), AgentError> {
    match arguments {
        [folder] => put_on(&RunFolder::new(PathBuf::from(folder))),
        [folder, ready] if ready == "ready" => serve(&RunFolder::new(PathBuf::from(folder))),
        _ => Err(AgentError::Usage),
    }
}

/// Leaves the session that started it and becomes itself again with the right environment.
fn put_on(folder: &RunFolder) -> Result<(), AgentError> {
    let _ = rustix::process::setsid(); // a unit is its own session already
    let surroundings = surroundings(folder)?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(surroundings.umask));
    let mut again = Command::new("/proc/self/exe");
    again.arg(crate::SERVE).arg(folder.path()).arg("ready");
    again.env_clear().envs(&surroundings.environment);
    if surroundings.cwd.is_dir() {
        again.current_dir(&surroundings.cwd);
    }
    Err(io("start", Path::new("/proc/self/exe"))(again.exec()))
}

fn surroundings(folder: &RunFolder) -> Result<Surroundings, AgentError> {
    let path = folder.path().join("surroundings.json");
    let text = fs::read(&path).map_err(io("read", &path))?;
    serde_json::from_slice(&text).map_err(|e| AgentError::NotStarted(e.to_string()))
}

fn serve(folder: &RunFolder) -> Result<(), AgentError> {
    let Some(_lock) = folder.lock().map_err(io("lock", folder.path()))? else {
        return Ok(()); // the run is on already
    };
    // Taken away before anything runs: whoever starts this folder again finds no job.
    let job = take_job(folder)?;
    worker::set_login_environment(surroundings(folder)?.login_environment);
    let log = EventLog::create(&folder.events()).map_err(io("create", &folder.events()))?;
    let hub = Arc::new(Hub::new(log));
    listen(folder, &hub)?;
    cancel::unless_heard(&hub, ALONE);
    run_job(folder, &job, &hub);
    // Opened vaults and files of the playbook; only the events may still be wanted.
    let _ = folder.remove_bundle();
    hub.wait(LINGER, |state| state.done.then_some(()));
    folder.remove().map_err(io("remove", folder.path()))
}

fn take_job(folder: &RunFolder) -> Result<Job, AgentError> {
    let path = folder.job();
    let text = fs::read(&path).map_err(io("read", &path))?;
    fs::remove_file(&path).map_err(io("remove", &path))?;
    serde_json::from_slice(&text).map_err(|e| AgentError::NotStarted(e.to_string()))
}

fn run_job(folder: &RunFolder, job: &Job, hub: &Arc<Hub>) {
    let bundle = BundleFiles::new(folder.files(), job, hub.clone());
    let files: Box<dyn Files> = match job.options.local {
        true => Box::new(LocalFiles::new(job, bundle)),
        false => Box::new(bundle),
    };
    let project = Project {
        files: &*files,
        entries: job.entries.clone(),
    };
    let mut attached = Attached {
        hub: hub.clone(),
        folder: folder.clone(),
    };
    let recap = match interruption(folder, job) {
        Ok(None) => exec::run(&project, &job.options, &mut attached),
        Ok(Some(from)) => exec::resume(&project, &job.options, &mut attached, &from),
        Err(error) => {
            let error = Some(error.to_string());
            let recap = Recap::default();
            return hub.event(Event::Finished {
                recap,
                error,
                elsewhere: false,
            });
        }
    };
    // Ignored if the executor has said so itself, as it should.
    hub.event(Event::Finished {
        recap,
        error: None,
        elsewhere: false,
    });
}

/// Reads where the run was when a reboot interrupted it, if one did; then it is gone from here.
fn interruption(folder: &RunFolder, job: &Job) -> Result<Option<Interruption>, AgentError> {
    let Some(ago) = job.interrupted_ms.map(Duration::from_millis) else {
        return Ok(None);
    };
    let path = folder.checkpoint();
    let checkpoint = fs::read(&path).map_err(io("read", &path))?;
    fs::remove_file(&path).map_err(io("remove", &path))?;
    Ok(Some(Interruption { checkpoint, ago }))
}

fn listen(folder: &RunFolder, hub: &Arc<Hub>) -> Result<(), AgentError> {
    let unready = folder.path().join("socket.new");
    let listener = UnixListener::bind(&unready).map_err(io("listen on", &unready))?;
    fs::rename(&unready, folder.socket()).map_err(io("name", &unready))?;
    let (folder, hub) = (folder.clone(), hub.clone());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (folder, hub) = (folder.clone(), hub.clone());
            thread::spawn(move || attend(&folder, &hub, &stream));
        }
    });
    Ok(())
}

/// Serves one controller until it goes or another takes over.
fn attend(folder: &RunFolder, hub: &Arc<Hub>, stream: &UnixStream) {
    let Ok(Some(ToAgent::Open { from, .. })) = frame::read_message(&mut &*stream) else {
        return;
    };
    let generation = hub.with(State::attach);
    let Ok(out) = stream.try_clone() else { return };
    let for_writer = hub.clone();
    thread::spawn(move || {
        let _ = write_out(&for_writer, &out, from, generation);
        let _ = out.shutdown(std::net::Shutdown::Both);
    });
    let _ = read_in(folder, hub, stream);
    hub.with(|state| state.detach(generation));
}

/// What a connection's writer does next.
enum Next {
    Events(Vec<u8>, usize),
    Ask(u64, Ask),
    Upload(u64, PathBuf),
    TakenOver,
    Stop,
}

fn write_out(
    hub: &Hub,
    mut out: &UnixStream,
    from: u64,
    generation: u64,
) -> Result<(), AgentError> {
    let mut next = usize::try_from(from).unwrap_or(usize::MAX);
    let mut asked = None;
    loop {
        let step = hub.wait_for_events(Duration::from_hours(1), |state| {
            what_next(state, &mut next, asked, generation)
        });
        match step {
            None => {}
            Some(Next::Events(frames, after)) => {
                out.write_all(&frames).map_err(frame::FrameError::Io)?;
                next = after;
                hub.wait(GATHERED, |state| state.is_urgent(generation).then_some(()));
            }
            Some(Next::Ask(id, ask)) => {
                asked = Some(id);
                frame::write_message(&mut out, &ToController::Ask { id, ask })?;
            }
            Some(Next::Upload(id, path)) => upload(hub, out, id, &path)?,
            Some(Next::TakenOver) => {
                frame::write_message(&mut out, &ToController::TakenOver)?;
                return Ok(());
            }
            Some(Next::Stop) => return Ok(()),
        }
    }
}

fn what_next(
    state: &mut State,
    next: &mut usize,
    asked: Option<u64>,
    generation: u64,
) -> Option<Next> {
    if state.generation != generation {
        let replaced = state.attached;
        return Some(if replaced {
            Next::TakenOver
        } else {
            Next::Stop
        });
    }
    *next = (*next).clamp(state.log.first_kept(), state.log.len());
    if *next < state.log.len() {
        return Some(match state.log.piece(*next, PIECE_BYTES) {
            Ok((frames, after)) => Next::Events(frames, after),
            Err(_) => Next::Stop,
        });
    }
    if let Some((id, path)) = state.upload.take() {
        return Some(Next::Upload(id, path));
    }
    match &state.pending {
        Some((id, ask)) if asked != Some(*id) => Some(Next::Ask(*id, ask.clone())),
        _ => None,
    }
}

/// Sends a file to the controller; one that cannot be read is the ask's answer.
fn upload(hub: &Hub, mut out: &UnixStream, id: u64, path: &Path) -> Result<(), AgentError> {
    use std::io::Read;
    let opened = fs::File::open(path).and_then(|file| Ok((file.metadata()?, file)));
    let (size, file) = match opened {
        Ok((found, file)) if found.is_file() && found.len() <= FETCH_BYTES => (found.len(), file),
        Ok(_) => return refuse(hub, id, "it is no file that can be fetched".to_owned()),
        Err(e) => return refuse(hub, id, e.to_string()),
    };
    frame::write_message(&mut out, &ToController::Fetched { id, size })?;
    frame::write_content(&mut out, &mut file.take(size))?;
    Ok(())
}

fn refuse(hub: &Hub, id: u64, reason: String) -> Result<(), AgentError> {
    hub.with(|state| state.answer(id, Answer::Refused { reason }));
    Ok(())
}

fn read_in(folder: &RunFolder, hub: &Arc<Hub>, mut from: &UnixStream) -> Result<(), AgentError> {
    loop {
        let Some(frame) = frame::read(&mut from)? else {
            return Ok(());
        };
        hub.with(|state| state.followed_at = Instant::now());
        match frame.message()? {
            ToAgent::Ack { seq } => hub.with(|state| state.log.acknowledge(seq)),
            ToAgent::Cancel => cancel(hub),
            ToAgent::Done => hub.with(|state| state.done = state.finished),
            ToAgent::Answer { id, reply } => answer(folder, hub, from, id, reply)?,
            ToAgent::Open { .. }
            | ToAgent::Job(_)
            | ToAgent::Content { .. }
            | ToAgent::Checkpoint { .. }
            | ToAgent::Launch => return Err(AgentError::Unexpected("a job")),
        }
    }
}

fn answer(
    folder: &RunFolder,
    hub: &Hub,
    mut from: &UnixStream,
    id: u64,
    reply: Reply,
) -> Result<(), AgentError> {
    let answer = match reply {
        Reply::Value { value } => Answer::Value { value },
        Reply::Refused { reason } => Answer::Refused { reason },
        Reply::Send => {
            hub.with(|state| {
                if let Some((wanted, ask)) = &state.pending
                    && *wanted == id
                {
                    let file = ask.offered_file();
                    state.upload = file.map(|file| (id, file.clone()));
                }
            });
            return Ok(());
        }
        Reply::File { mode, size } => match receive_file(folder, &mut from, id, mode, size)? {
            Ok(path) => Answer::File { path },
            Err(reason) => Answer::Refused { reason },
        },
    };
    hub.with(|state| state.answer(id, answer));
    Ok(())
}

fn receive_file(
    folder: &RunFolder,
    from: &mut &UnixStream,
    id: u64,
    mode: u32,
    size: u64,
) -> Result<Result<PathBuf, String>, AgentError> {
    use std::os::unix::fs::PermissionsExt;
    let path = answered_file(&folder.bundle(), id);
    let parent = path.parent().unwrap_or(folder.path());
    fs::create_dir_all(parent).map_err(io("create", parent))?;
    let mut file = fs::File::create(&path).map_err(io("create", &path))?;
    // What cannot be kept is read all the same: the next message stands behind it.
    let mut written = Ok(());
    frame::read_content(from, size, &mut |part| {
        if written.is_ok() {
            written = file.write_all(part);
        }
        Ok(())
    })?;
    if let Err(error) = written {
        let _ = fs::remove_file(&path);
        let error = AgentError::full(io("write", &path)(error), folder);
        return Ok(Err(error.to_string()));
    }
    file.set_permissions(fs::Permissions::from_mode(mode & 0o777))
        .map_err(io("set the mode of", &path))?;
    Ok(Ok(path))
}
