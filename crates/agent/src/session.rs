//! One connection of a controller: takes a job and starts it, or finds a run and attaches to it.
//!
//! The session itself does nothing to the machine; it may be cut at any time.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use amibake_protocol::bundle::{self, Hash, Hasher};
use amibake_protocol::frame;
use amibake_protocol::job::Entry;
use amibake_protocol::message::{AgentRunId, Job, RunState, ToAgent, ToController};

use crate::folder::{self, RunFolder, make};
use crate::serve::Surroundings;
use crate::{AgentError, io as failed};

/// How long the detached process may take to come up.
const COMES_UP: Duration = Duration::from_secs(20);
/// How much of what the controller sends is read at once.
const READ_AHEAD: usize = 64 << 10;
/// How much of the last words is shown.
const LAST_WORDS: usize = 4 << 10;

/// Arguments: the folder of all runs, the one on disk where large bundles go, then `NAME=VALUE`
/// pairs of the login's own environment.
pub(crate) fn run(arguments: &[String]) -> Result<(), AgentError> {
    let [base, disk, login @ ..] = arguments else {
        return Err(AgentError::Usage);
    };
    let (base, disk) = (Path::new(base), Path::new(disk));
    folder::private(base)?;
    // Contents come by the thousand. What is read too early stands in it for whoever reads on.
    let mut from = BufReader::with_capacity(READ_AHEAD, unbuffered_stdin()?);
    let mut to = unbuffered_stdout()?;
    let Some(ToAgent::Open { run, from: seq }) = frame::read_message(&mut from)? else {
        return Err(AgentError::Unexpected("this first message"));
    };
    let folder = RunFolder::new(base.join(run.as_str()));
    let state = match folder.path().is_dir() {
        true => RunState::Known,
        false => RunState::Unknown,
    };
    let is_new = state == RunState::Unknown;
    frame::write_message(&mut to, &ToController::Hello { state })?;
    if is_new && let Err(error) = launch(base, disk, &folder, login, &mut from) {
        let reason = chain(&error);
        frame::write_message(&mut to, &ToController::Failed { reason })?;
        return Err(error);
    }
    if is_new {
        folder::sweep(base, disk);
    }
    attach(&folder, run, seq, from, to)
}

fn unbuffered_stdin() -> Result<File, AgentError> {
    use std::os::fd::AsFd;
    let fd = io::stdin().as_fd().try_clone_to_owned();
    fd.map(File::from)
        .map_err(failed("use", Path::new("standard input")))
}

fn unbuffered_stdout() -> Result<File, AgentError> {
    use std::os::fd::AsFd;
    let fd = io::stdout().as_fd().try_clone_to_owned();
    fd.map(File::from)
        .map_err(failed("use", Path::new("standard output")))
}

fn chain(error: &AgentError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Takes the job into a new folder, gives it its name when it is whole, and starts it.
fn launch(
    base: &Path,
    disk: &Path,
    folder: &RunFolder,
    login: &[String],
    from: &mut impl Read,
) -> Result<(), AgentError> {
    let unready = base.join(format!(".new-{}", std::process::id()));
    let unready = RunFolder::new(unready);
    if let Err(error) = take(&unready, disk, login, from) {
        let error = AgentError::full(error, &unready);
        let _ = unready.remove();
        return Err(error);
    }
    if fs::rename(unready.path(), folder.path()).is_err() {
        // An earlier connection of the same controller was faster: its run is this run.
        let _ = unready.remove();
        return Ok(());
    }
    start(folder)
}

fn take(
    folder: &RunFolder,
    disk: &Path,
    login: &[String],
    from: &mut impl Read,
) -> Result<(), AgentError> {
    let _ = folder.remove();
    make(folder.path())?;
    let mut job = None;
    loop {
        match frame::read_message(from)?.ok_or(frame::FrameError::CutShort)? {
            ToAgent::Job(new) if job.is_none() => {
                bundle::check(&new.items)?;
                folder.make_bundle(&new, disk)?;
                job = Some(new);
            }
            ToAgent::Content { hash, size } if job.is_some() => content(folder, &hash, size, from)?,
            ToAgent::Checkpoint { size } if job.is_some() => checkpoint(folder, size, from)?,
            ToAgent::Launch => break,
            _ => return Err(AgentError::Unexpected("this message")),
        }
    }
    let job = job.ok_or(AgentError::Unexpected("a launch without a job"))?;
    bundle::unpack(&job.items, &folder.contents(), &folder.files())?;
    let _ = fs::remove_dir_all(folder.contents());
    write_private(&folder.job(), &to_json::<Job>(&job)?)?;
    write_private(
        &folder.path().join("surroundings.json"),
        &to_json(&surroundings(login, &job))?,
    )
}

fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, AgentError> {
    serde_json::to_vec(value).map_err(|e| AgentError::NotStarted(e.to_string()))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), AgentError> {
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(failed("write", path))
}

/// Keeps a content under its hash, which must be right.
fn content(
    folder: &RunFolder,
    hash: &Hash,
    size: u64,
    from: &mut impl Read,
) -> Result<(), AgentError> {
    if size > bundle::MAX_BYTES {
        return Err(bundle::BundleError::TooBig.into());
    }
    let path = folder.contents().join(hash.as_str());
    let mut file = File::create(&path).map_err(failed("create", &path))?;
    let mut hasher = Hasher::default();
    frame::read_content(from, size, &mut |part| {
        hasher.update(part);
        file.write_all(part)
    })?;
    match hasher.finish() == *hash {
        true => Ok(()),
        false => Err(AgentError::Unexpected("a content with another hash")),
    }
}

/// Keeps what the run was at. It is as secret as the job, and lies beside it in memory.
fn checkpoint(folder: &RunFolder, size: u64, from: &mut impl Read) -> Result<(), AgentError> {
    let path = folder.checkpoint();
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed("create", &path))?;
    frame::read_content(from, size, &mut |part| file.write_all(part))?;
    Ok(())
}

/// Records what this session runs in; the detached process is to run as if it were the session.
fn surroundings(login: &[String], job: &Job) -> Surroundings {
    let mine = std::env::vars_os();
    let text = mine.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
    let login_user = amibake_engine::users::user(&job.options.login_user);
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let pairs = login.iter().filter_map(|pair| pair.split_once('='));
    Surroundings {
        environment: text.collect::<BTreeMap<_, _>>(),
        login_environment: pairs
            .filter(|(_, value)| !value.is_empty())
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        cwd: match playbook_folder(job) {
            Some(folder) => folder,
            None => login_user.map_or_else(|| PathBuf::from("/"), |user| PathBuf::from(user.home)),
        },
        umask: mask.as_raw_mode(),
    }
}

/// Returns where tasks work if this is the controller: beside the playbook, as with Ansible.
fn playbook_folder(job: &Job) -> Option<PathBuf> {
    let first = job.entries.first().filter(|_| job.options.local)?;
    let (Entry::Playbook { path, .. } | Entry::Role { path, .. } | Entry::Tasks { path, .. }) =
        first;
    path.parent().map(Path::to_path_buf)
}

/// Starts the detached process: as a unit of its own where there is systemd and we are root.
fn start(folder: &RunFolder) -> Result<(), AgentError> {
    let program = std::env::current_exe().map_err(failed("find", Path::new("/proc/self/exe")))?;
    let last_words =
        File::create(folder.last_words()).map_err(failed("create", &folder.last_words()))?;
    let mut serve = match has_systemd() {
        true => unit(folder),
        false => Command::new(&program),
    };
    if has_systemd() {
        serve.arg(&program);
    }
    serve.arg(crate::SERVE).arg(folder.path());
    serve
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(last_words);
    let mut child = serve.spawn().map_err(failed("start", &program))?;
    if has_systemd() {
        let status = child.wait().map_err(failed("wait for", &program))?;
        if !status.success() {
            return Err(AgentError::NotStarted(last_words_of(folder)));
        }
    }
    Ok(())
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir() && rustix::process::geteuid().is_root()
}

/// `KillMode=process`: what a task starts in the background outlives the run, as with Ansible.
fn unit(folder: &RunFolder) -> Command {
    let name = folder.path().file_name().unwrap_or_default();
    let mut command = Command::new("systemd-run");
    command.args(["--collect", "--quiet"]);
    command.arg(format!("--unit=amibake-{}", name.to_string_lossy()));
    for property in [
        "KillMode=process",
        "TasksMax=infinity",
        "OOMPolicy=continue",
    ] {
        command.args(["-p", property]);
    }
    let last_words = folder.last_words();
    command.arg("-p");
    command.arg(format!("StandardError=append:{}", last_words.display()));
    command
}

fn last_words_of(folder: &RunFolder) -> String {
    let text = fs::read(folder.last_words()).unwrap_or_default();
    let tail = &text[text.len().saturating_sub(LAST_WORDS)..];
    String::from_utf8_lossy(tail).trim().to_owned()
}

/// Joins the controller with the run: bytes both ways, until one of them ends.
fn attach(
    folder: &RunFolder,
    run: AgentRunId,
    from: u64,
    mut controller_in: impl Read + Send + 'static,
    controller_out: File,
) -> Result<(), AgentError> {
    let Some(socket) = connect(folder)? else {
        return replay(folder, from, &mut controller_in, controller_out);
    };
    frame::write_message(&mut &socket, &ToAgent::Open { run, from })?;
    let to_run = socket
        .try_clone()
        .map_err(failed("use", &folder.socket()))?;
    thread::spawn(move || {
        let _ = pump(&mut controller_in, &mut &to_run);
        let _ = to_run.shutdown(std::net::Shutdown::Both);
    });
    let finished = folder.clone();
    let _ = pump(&mut &socket, &mut &controller_out);
    match finished.path().is_dir() && is_dead(&finished) {
        true => say_died(&finished, controller_out),
        false => Ok(()),
    }
}

/// Copies until the end, by `read` and `write`.
///
/// Not `io::copy`, which splices: a splice that waits for the socket holds the pipe's lock, and
/// whoever reads the other end of the pipe waits with it, for events that are there already.
fn pump(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<()> {
    let mut part = vec![0; 64 << 10];
    loop {
        match from.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(&part[..n])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns a connection to the run, or `None` if its process has ended.
fn connect(folder: &RunFolder) -> Result<Option<UnixStream>, AgentError> {
    let since = Instant::now();
    loop {
        match UnixStream::connect(folder.socket()) {
            Ok(socket) => return Ok(Some(socket)),
            Err(_) if folder.events().exists() && is_dead(folder) => return Ok(None),
            Err(_) if since.elapsed() > COMES_UP => {
                return Err(AgentError::NotStarted(last_words_of(folder)));
            }
            Err(_) => pause(),
        }
    }
}

/// The socket's folder could be watched instead, but this wait is a few milliseconds long.
fn pause() {
    thread::sleep(Duration::from_millis(2));
}

fn is_dead(folder: &RunFolder) -> bool {
    matches!(folder.lock(), Ok(Some(_)))
}

/// Sends what a run left behind whose process has ended.
fn replay(
    folder: &RunFolder,
    from: u64,
    controller: &mut impl Read,
    mut to: File,
) -> Result<(), AgentError> {
    let mut log = File::open(folder.events()).map_err(failed("open", &folder.events()))?;
    let mut finished = false;
    while let Some(message) = frame::read_message::<ToController>(&mut log)? {
        if let ToController::Event { seq, event } = &message
            && *seq >= from
        {
            finished = matches!(event, amibake_protocol::event::Event::Finished { .. });
            frame::write_message(&mut to, &message)?;
        }
    }
    if !finished {
        return say_died(folder, to);
    }
    wait_for_done(folder, controller)
}

/// The controller's `Done` removes the folder; its going away does not.
fn wait_for_done(folder: &RunFolder, from: &mut impl Read) -> Result<(), AgentError> {
    while let Some(message) = frame::read_message::<ToAgent>(from)? {
        if message == ToAgent::Done {
            return folder.remove().map_err(failed("remove", folder.path()));
        }
    }
    Ok(())
}

fn say_died(folder: &RunFolder, mut to: File) -> Result<(), AgentError> {
    let last_words = last_words_of(folder);
    frame::write_message(&mut to, &ToController::Died { last_words })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Seek;
    use std::os::unix::fs::PermissionsExt;

    use amibake_playbook::reads::Reads;
    use amibake_protocol::bundle::{Item, ItemKind};
    use amibake_protocol::job::Options;

    use super::*;

    /// Takes a job with one file of `size` zeros; returns the folder of all, and the run's.
    fn taken(size: usize, opened_vault: bool) -> (tempfile::TempDir, RunFolder) {
        let all = tempfile::tempdir().unwrap();
        let content = vec![0; size];
        let (hash, size) = (Hash::of(&content), size as u64);
        let item = Item {
            path: "/play/files/a".into(),
            mode: 0o640,
            kind: ItemKind::File {
                hash: hash.clone(),
                size,
            },
        };
        let job = Job {
            entries: Vec::new(),
            options: Options::default(),
            items: vec![item],
            reads: Reads::default(),
            opened_vault,
            interrupted_ms: None,
        };
        let mut sent = tempfile::tempfile().unwrap();
        frame::write_message(&mut sent, &ToAgent::Job(Box::new(job))).unwrap();
        frame::write_message(&mut sent, &ToAgent::Content { hash, size }).unwrap();
        frame::write_content(&mut sent, &mut &content[..]).unwrap();
        frame::write_message(&mut sent, &ToAgent::Launch).unwrap();
        sent.rewind().unwrap();
        let folder = RunFolder::new(all.path().join("run"));
        let disk = all.path().join("disk");
        make(&disk).unwrap();
        take(&folder, &disk, &[], &mut sent).unwrap();
        (all, folder)
    }

    #[test]
    fn large_bundles_lie_on_disk_unless_a_vault_was_opened_and_go_with_the_run() {
        for (size, opened_vault, on_disk) in [
            (1 << 10, false, false),
            (33 << 20, false, true),
            (33 << 20, true, false),
        ] {
            let (all, folder) = taken(size, opened_vault);
            let file = folder.files().join("play/files/a").canonicalize().unwrap();
            let bundles = all.path().join("disk/bundles");
            assert_eq!(file.starts_with(&bundles), on_disk, "{size} {opened_vault}");
            assert_eq!(file.metadata().unwrap().len(), size as u64);
            assert!(!folder.contents().exists());
            if on_disk {
                for private in [&bundles, &fs::read_link(folder.bundle()).unwrap()] {
                    let mode = private.metadata().unwrap().permissions().mode();
                    assert_eq!(mode & 0o777, 0o700, "{}", private.display());
                }
            }
            folder.remove().unwrap();
            assert!(!folder.path().exists() && !file.exists());
        }
    }

    #[test]
    fn a_full_file_system_is_told_with_what_to_do() {
        let (_all, folder) = taken(1, false);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = bundle::BundleError::Io {
            path: "/a".into(),
            source: full,
        };
        let told = AgentError::full(error.into(), &folder).to_string();
        assert!(
            told.contains("no space left in") && told.contains("remount"),
            "{told}"
        );
        let other = AgentError::full(AgentError::Unexpected("this"), &folder);
        assert!(matches!(other, AgentError::Unexpected(_)));
    }
}
