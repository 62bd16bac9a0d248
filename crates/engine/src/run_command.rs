//! Child processes: argument vectors only, output streamed while it is collected, whole trees ended.
//!
//! Everything a module runs goes through `Command`. Which program, and what its exit status means,
//! is the module's affair.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use amibake_playbook::shell::quote;
use amibake_protocol::event::Stream;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Map, Value as Json};

use crate::context::{Context, Failure};
use crate::environment::variable;

/// How much of each stream is kept for the result; the rest is streamed and dropped.
const KEPT_BYTES: usize = 32 << 20;
/// A line longer than this is streamed in pieces.
const LINE_BYTES: usize = 64 << 10;
/// How long pipes must be silent once the program has ended, if something it left still holds them.
const SILENCE: Duration = Duration::from_millis(100);
/// Locale whose messages the modules can read, as Ansible chooses it where it is available.
const PARSABLE: &str = "C.UTF-8";

/// The process groups that run now, for [`cancel`].
static RUNNING: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// A program to run.
#[derive(Debug, Clone)]
pub(crate) struct Command {
    argv: Vec<String>,
    environment: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    umask: Option<u32>,
    streamed: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    /// The exit status; the negative number of the signal that ended it.
    pub(crate) rc: i32,
    /// What it wrote, at most [`KEPT_BYTES`].
    pub(crate) stdout: String,
    /// Likewise.
    pub(crate) stderr: String,
}

/// Why it could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The kernel refused to start it.
    #[error("could not run {program}")]
    Start { program: String, source: io::Error },
    /// Talking to it failed.
    #[error("lost {program} while it ran")]
    Talk { program: String, source: io::Error },
}

/// Ends every program that runs now, with all its descendants. For the executor's cancel.
pub fn cancel() {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    for group in running.iter() {
        // It may have ended by itself in this moment.
        let _ = killpg(Pid::from_raw(*group), Signal::SIGKILL);
    }
}

/// Runs commands at the same time, each to its end; nothing of them is streamed.
pub(crate) fn together<const N: usize>(
    commands: &[Command; N],
    context: &Context<'_>,
) -> [Result<Ran, RunError>; N] {
    let (environment, facts) = (&context.environment, context.facts);
    std::thread::scope(|scope| {
        let running = commands.each_ref().map(|command| {
            scope.spawn(move || {
                command.run(&mut Context {
                    check: false,
                    diff: false,
                    environment: environment.clone(),
                    sources: BTreeMap::new(),
                    facts,
                    output: &mut |_, _| {},
                })
            })
        });
        running.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Returns where `name` is: on the `PATH` of `context`, then in the directories for administrators.
pub(crate) fn bin_path(name: &str, context: &Context<'_>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|p| is_executable(p));
    }
    let folders = searched(context);
    let named = folders.iter().filter(|folder| !folder.is_empty());
    let mut paths = named.map(|folder| Path::new(folder).join(name));
    paths.find(|path| is_executable(path))
}

/// Returns the folders that programs are looked for in.
fn searched(context: &Context<'_>) -> Vec<String> {
    let path = variable("PATH", &context.environment).unwrap_or_default();
    let mut folders: Vec<String> = path.split(':').map(str::to_owned).collect();
    for folder in ["/sbin", "/usr/sbin", "/usr/local/sbin"] {
        if !folders.iter().any(|known| known == folder) && Path::new(folder).exists() {
            folders.push(folder.to_owned());
        }
    }
    folders
}

/// Returns where `name` is, or Ansible's complaint.
pub(crate) fn required_bin(name: &str, context: &Context<'_>) -> Result<String, Failure> {
    match bin_path(name, context) {
        Some(path) => Ok(path.to_string_lossy().into_owned()),
        None => {
            let folders = searched(context).join(":");
            Err(Failure::new(format!(
                "Failed to find required executable \"{name}\" in paths: {folders}"
            )))
        }
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

impl Command {
    /// Returns the command `argv`, which must not be empty.
    pub(crate) fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            environment: Vec::new(),
            cwd: None,
            stdin: None,
            umask: None,
            streamed: false,
        }
    }

    /// Makes it speak the language that modules parse.
    pub(crate) fn parsable(self) -> Self {
        ["LANG", "LC_ALL", "LC_MESSAGES", "LC_CTYPE", "LANGUAGE"]
            .into_iter()
            .fold(self, |command, name| command.env(name, PARSABLE))
    }

    /// Sets a variable, over the task's `environment`.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs it there; a directory that does not exist is ignored, as Ansible does.
    pub(crate) fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Gives it this to read; without, it reads end-of-file.
    pub(crate) fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Runs it with this umask.
    pub(crate) fn umask(mut self, umask: u32) -> Self {
        self.umask = Some(umask);
        self
    }

    /// Hands each line to [`Context::output`] as it comes.
    pub(crate) fn streamed(mut self) -> Self {
        self.streamed = true;
        self
    }

    /// Returns the command as a shell would be told it.
    pub(crate) fn shown(&self) -> String {
        let quoted: Vec<String> = self.argv.iter().map(|arg| quote(arg)).collect();
        quoted.join(" ")
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, context: &mut Context<'_>) -> Result<Ran, RunError> {
        let program = self.argv.first().cloned().unwrap_or_default();
        let mut child = self
            .prepare(context)
            .spawn()
            .map_err(|source| RunError::Start {
                program: program.clone(),
                source,
            })?;
        let group = i32::try_from(child.id()).unwrap_or_default();
        let running = RegisteredGroup::register(group);
        let talked = self.talk(&mut child, context);
        if talked.is_err() {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            let _ = child.wait();
        }
        drop(running);
        talked.map_err(|source| RunError::Talk { program, source })
    }

    /// Runs it and fails with its stderr unless it succeeds, as Ansible's `check_rc`.
    pub(crate) fn checked(&self, context: &mut Context<'_>) -> Result<Ran, Failure> {
        let ran = self.run(context).map_err(|e| e.failure(self))?;
        if ran.rc == 0 {
            return Ok(ran);
        }
        let mut failure = Failure::new(ran.stderr.trim_end());
        failure.result = ran.fields();
        failure.result.insert("cmd".to_owned(), self.shown().into());
        Err(failure)
    }

    fn prepare(&self, context: &Context<'_>) -> std::process::Command {
        let argv = self.wrapped();
        let mut command = std::process::Command::new(&argv[0]);
        let pairs = context.environment.iter().chain(&self.environment);
        command
            .args(&argv[1..])
            .envs(pairs.map(|(name, value)| (name, value)))
            .stdin(
                self.stdin
                    .as_ref()
                    .map_or_else(Stdio::null, |_| Stdio::piped()),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(cwd) = self.cwd.as_ref().filter(|cwd| cwd.is_dir()) {
            command.current_dir(cwd);
        }
        command
    }

    /// A umask cannot be set between fork and exec without unsafe code: the shell does it.
    fn wrapped(&self) -> Vec<String> {
        let Some(umask) = self.umask else {
            return self.argv.clone();
        };
        let script = format!("umask {umask:04o}; exec \"$@\"");
        let mut argv: Vec<String> = ["/bin/sh", "-c", &script, "sh"].map(str::to_owned).into();
        argv.extend(self.argv.iter().cloned());
        argv
    }

    /// Feeds and drains it until it ends.
    fn talk(&self, child: &mut Child, context: &mut Context<'_>) -> io::Result<Ran> {
        let mut feed = child.stdin.take().zip(self.stdin.as_deref());
        if let Some((pipe, _)) = &feed {
            nonblocking(pipe)?;
        }
        let mut out = Tap::new(child.stdout.take(), Stream::Stdout, self.streamed)?;
        let mut err = Tap::new(child.stderr.take(), Stream::Stderr, self.streamed)?;
        let status = loop {
            if out.pipe.is_none() && err.pipe.is_none() {
                drop(feed.take());
                break child.wait()?;
            }
            let silent = !wait_for_any(feed.as_ref(), &out, &err)?;
            feed = feed.and_then(|(pipe, rest)| write_some(pipe, rest));
            out.read_some(context)?;
            err.read_some(context)?;
            if silent && let Some(status) = child.try_wait()? {
                break status;
            }
        };
        Ok(Ran {
            rc: exit_code(status),
            stdout: out.finish(context),
            stderr: err.finish(context),
        })
    }
}

impl Ran {
    /// Returns `rc`, `stdout` and `stderr` as fields of a result.
    pub(crate) fn fields(&self) -> Map<String, Json> {
        let mut fields = Map::new();
        fields.insert("rc".to_owned(), Json::from(self.rc));
        fields.insert("stdout".to_owned(), Json::from(self.stdout.as_str()));
        fields.insert("stderr".to_owned(), Json::from(self.stderr.as_str()));
        fields
    }
}

impl RunError {
    /// Returns the failure that Ansible reports for `command`.
    pub(crate) fn failure(&self, command: &Command) -> Failure {
        let (rc, detail) = match self {
            Self::Start { source, .. } | Self::Talk { source, .. } => {
                (source.raw_os_error().unwrap_or(257), source.to_string())
            }
        };
        let mut failure = Failure::new("Error executing command.");
        failure.result.insert("rc".to_owned(), Json::from(rc));
        failure
            .result
            .insert("cmd".to_owned(), Json::from(command.shown()));
        failure.result.insert("stdout".to_owned(), Json::from(""));
        failure.result.insert("stderr".to_owned(), Json::from(""));
        let program = command.argv.first().map(String::as_str).unwrap_or_default();
        let cause = format!("{program}: {detail}");
        failure
            .result
            .insert("exception".to_owned(), Json::from(cause));
        failure
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    let signal = status.signal().map(|signal| -signal);
    status.code().or(signal).unwrap_or(257)
}

fn nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Waits until a pipe is ready; false if none was for [`SILENCE`].
fn wait_for_any(
    feed: Option<&(std::process::ChildStdin, &[u8])>,
    out: &Tap<std::process::ChildStdout>,
    err: &Tap<std::process::ChildStderr>,
) -> io::Result<bool> {
    let reading = [
        out.pipe.as_ref().map(AsFd::as_fd),
        err.pipe.as_ref().map(AsFd::as_fd),
    ];
    let mut fds: Vec<PollFd<'_>> = reading
        .into_iter()
        .flatten()
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    if let Some((pipe, _)) = feed {
        fds.push(PollFd::new(pipe.as_fd(), PollFlags::POLLOUT));
    }
    let silence = PollTimeout::try_from(SILENCE).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, silence) {
        Ok(ready) => Ok(ready > 0),
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

/// Writes what fits; `None` when all is written, or nobody reads any more.
fn write_some(
    mut pipe: std::process::ChildStdin,
    rest: &[u8],
) -> Option<(std::process::ChildStdin, &[u8])> {
    match pipe.write(rest) {
        Ok(written) if written < rest.len() => Some((pipe, &rest[written..])),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Some((pipe, rest)),
        Ok(_) | Err(_) => None,
    }
}

/// One stream of a running program.
struct Tap<P> {
    pipe: Option<P>,
    stream: Stream,
    streamed: bool,
    kept: Vec<u8>,
    line: Vec<u8>,
}

impl<P: Read + AsFd> Tap<P> {
    fn new(pipe: Option<P>, stream: Stream, streamed: bool) -> io::Result<Self> {
        if let Some(pipe) = &pipe {
            nonblocking(pipe)?;
        }
        Ok(Self {
            pipe,
            stream,
            streamed,
            kept: Vec::new(),
            line: Vec::new(),
        })
    }

    /// Reads what is there now; drops the pipe at its end.
    fn read_some(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        match pipe.read(&mut chunk) {
            Ok(0) => self.pipe = None,
            Ok(n) => self.take(&chunk[..n], context),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn take(&mut self, chunk: &[u8], context: &mut Context<'_>) {
        let room = KEPT_BYTES - self.kept.len();
        self.kept.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if !self.streamed {
            return;
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.ends_with(b"\n") || self.line.len() > LINE_BYTES {
                self.emit(context);
            }
        }
    }

    fn emit(&mut self, context: &mut Context<'_>) {
        let text = String::from_utf8_lossy(&self.line);
        (context.output)(self.stream, text.trim_end_matches(['\r', '\n']));
        self.line.clear();
    }

    fn finish(mut self, context: &mut Context<'_>) -> String {
        if !self.line.is_empty() {
            self.emit(context);
        }
        String::from_utf8(self.kept)
            .unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
    }
}

/// A process group in [`RUNNING`] while this lives.
pub(crate) struct RegisteredGroup(i32);

impl RegisteredGroup {
    pub(crate) fn register(group: i32) -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(group);
        Self(group)
    }
}

impl Drop for RegisteredGroup {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&self.0);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Instant;

    use super::*;

    /// Calls `test` with a context as a task without keywords has, and returns the lines streamed.
    pub(crate) fn with_context<T>(test: impl FnOnce(&mut Context<'_>) -> T) -> (T, Vec<String>) {
        let mut lines = Vec::new();
        let facts = Map::new();
        let mut output = |_: Stream, line: &str| lines.push(line.to_owned());
        let mut context = Context {
            check: false,
            diff: false,
            environment: Vec::new(),
            sources: std::collections::BTreeMap::new(),
            facts: &facts,
            output: &mut output,
        };
        let answer = test(&mut context);
        (answer, lines)
    }

    fn sh(script: &str) -> Command {
        Command::new(["/bin/sh", "-c", script])
    }

    #[test]
    fn output_is_streamed_by_line_and_collected() {
        let command = sh("printf 'a\\nb'; exit 3").streamed();
        let (ran, lines) = with_context(|cx| command.run(cx).unwrap());
        assert_eq!((ran.rc, ran.stdout.as_str()), (3, "a\nb"));
        assert_eq!(lines, ["a", "b"]);
    }

    #[test]
    fn a_large_stdin_is_fed_while_the_output_is_read() {
        let text = "x".repeat(1 << 20);
        let command = Command::new(["cat"]).stdin(text.clone());
        let (ran, _) = with_context(|cx| command.run(cx).unwrap());
        assert_eq!(ran.stdout, text);
    }

    #[test]
    fn a_child_left_behind_with_the_pipes_does_not_hold_the_task() {
        let before = Instant::now();
        let (ran, _) = with_context(|cx| sh("sleep 20 & echo here").run(cx).unwrap());
        assert_eq!(ran.stdout, "here\n");
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_umask_and_a_variable_reach_the_program() {
        let command = sh("umask; echo $A").umask(0o27).env("A", "b c");
        let (ran, _) = with_context(|cx| command.run(cx).unwrap());
        assert_eq!(ran.stdout, "0027\nb c\n");
    }

    #[test]
    fn a_missing_program_fails_with_its_errno() {
        let command = Command::new(["/nonexistent/program", "a b"]);
        let (error, _) = with_context(|cx| command.run(cx).unwrap_err());
        let failure = error.failure(&command);
        assert_eq!(failure.msg, "Error executing command.");
        assert_eq!(failure.result["rc"], 2);
        assert_eq!(failure.result["cmd"], "/nonexistent/program 'a b'");
    }
}
