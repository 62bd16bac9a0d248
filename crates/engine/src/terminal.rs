//! A program on a pseudo-terminal: what it says is heard until it asks something, falls silent or ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use crate::module::{Context, Failure};
use crate::run_command::{RegisteredGroup, bin_path, required_bin};

/// How many bytes one read takes at most, as pexpect reads.
const READ_BYTES: usize = 2000;
/// How much a program may say before it asks something that is expected.
pub(crate) const HEARD_BYTES: usize = 32 << 20;
/// How often a silent program is looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How long pexpect waits before it types, so that the program can turn the echo off.
const BEFORE_TYPING: Duration = Duration::from_millis(50);
/// Between what is done to end a program, and looking whether it has.
const GRACE: Duration = Duration::from_millis(100);

/// What is to run.
pub(crate) struct Program<'a> {
    pub(crate) argv: Vec<String>,
    /// Where it runs.
    pub(crate) folder: Option<&'a str>,
    /// Whether the terminal shows what is typed.
    pub(crate) echo: bool,
}

/// A program that runs on a terminal.
pub(crate) struct Terminal {
    master: File,
    child: Child,
    said: Vec<u8>,
    _running: RegisteredGroup,
}

/// What came of listening, and all that was said.
pub(crate) enum Heard {
    /// The question with this number was asked.
    Question(usize, Vec<u8>),
    /// Nothing that is expected, for too long.
    Nothing(Vec<u8>),
    /// The program left the terminal.
    End(Vec<u8>),
}

impl Terminal {
    /// Starts a program as the leader of a session whose terminal is a new one.
    pub(crate) fn start(program: &Program<'_>, context: &Context<'_>) -> Result<Self, Failure> {
        let name = program.argv.first().map_or("", String::as_str);
        let opened = |e: io::Error| Failure::new(format!("could not open a terminal: {e}"));
        let path = match program.folder.filter(|_| name.contains('/')) {
            Some(folder) => std::path::absolute(Path::new(folder).join(name)).map_err(opened)?,
            None => PathBuf::from(name),
        };
        let found = bin_path(&path.to_string_lossy(), context).ok_or_else(|| {
            Failure::new(format!(
                "The command was not found or was not executable: {name}."
            ))
        })?;
        // What makes a terminal a session's own can only be done by the program's process itself.
        let setsid = required_bin("setsid", context)?;
        let (master, slave) = pair(program.echo).map_err(opened)?;
        let ends = [slave.try_clone(), slave.try_clone(), Ok(slave)];
        let [stdin, stdout, stderr] = ends.map(|end| end.map(Stdio::from));
        let mut command = Command::new(setsid);
        command
            .args(["--ctty", "--wait", "--"])
            .arg(found)
            .args(&program.argv[1..])
            .envs(
                context
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value)),
            )
            .stdin(stdin.map_err(opened)?)
            .stdout(stdout.map_err(opened)?)
            .stderr(stderr.map_err(opened)?);
        if let Some(folder) = program.folder {
            command.current_dir(Path::new(folder));
        }
        let child = command.spawn().map_err(|e| {
            let at = program.folder.unwrap_or(name);
            Failure::new(format!("could not run {name} in {at}: {e}"))
        })?;
        Ok(Self {
            master: master.into(),
            _running: RegisteredGroup::register(i32::try_from(child.id()).unwrap_or_default()),
            child,
            said: Vec::new(),
        })
    }

    /// Listens until `asked` finds a question in what was said since the last one. It tells which
    /// question it is, and where it ends.
    pub(crate) fn hear(
        &mut self,
        silence: Option<Duration>,
        asked: impl Fn(&[u8]) -> Option<(usize, usize)>,
    ) -> Result<Heard, Failure> {
        let limit = silence.map(|silence| Instant::now() + silence);
        let mut is_new = true;
        loop {
            let question = if is_new { asked(&self.said) } else { None };
            is_new = false;
            if let Some((which, end)) = question {
                let rest = self.said.split_off(end);
                return Ok(Heard::Question(
                    which,
                    std::mem::replace(&mut self.said, rest),
                ));
            }
            if self.said.len() > HEARD_BYTES {
                self.end();
                return Err(Failure::new(format!(
                    "the command said more than {HEARD_BYTES} bytes without asking anything that \
                     is expected"
                )));
            }
            let left = limit.map_or(LOOK, |limit| {
                limit.saturating_duration_since(Instant::now())
            });
            // Looked at first: what it said before it ended is still there to be read.
            let ended = matches!(self.child.try_wait(), Ok(Some(_)));
            if self.wait(left.min(LOOK))? {
                is_new = self.read();
                if !is_new {
                    return Ok(Heard::End(std::mem::take(&mut self.said)));
                }
            } else if ended {
                return Ok(Heard::End(std::mem::take(&mut self.said)));
            } else if left.is_zero() {
                return Ok(Heard::Nothing(std::mem::take(&mut self.said)));
            }
        }
    }

    /// Returns whether there is something to read, or the terminal was left.
    fn wait(&self, most: Duration) -> Result<bool, Failure> {
        let most = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
        let mut watched = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, most) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(e) => Err(Failure::new(format!("lost the command's terminal: {e}"))),
        }
    }

    /// Reads what there is; false where nobody is left who could say anything.
    fn read(&mut self) -> bool {
        let mut bytes = [0; READ_BYTES];
        match self.master.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.said.extend_from_slice(&bytes[..count]);
                true
            }
        }
    }

    /// Types a line.
    pub(crate) fn say(&mut self, line: &[u8]) -> Result<(), Failure> {
        sleep(BEFORE_TYPING);
        self.master
            .write_all(line)
            .map_err(|e| Failure::new(format!("could not answer the command: {e}")))
    }

    /// Takes the terminal away and ends the program, asking first. Returns its exit status.
    pub(crate) fn end(&mut self) -> Option<i32> {
        if let Ok(nothing) = File::open("/dev/null") {
            self.master = nothing;
        }
        let signals = [
            Signal::SIGHUP,
            Signal::SIGCONT,
            Signal::SIGINT,
            Signal::SIGKILL,
        ];
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default());
        for signal in signals {
            if let Some(status) = self.status_within(GRACE) {
                return status.code();
            }
            // It may have ended in this moment.
            let _ = kill(pid, signal);
        }
        self.child.wait().ok()?.code()
    }

    fn status_within(&mut self, most: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + most;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < end => sleep(Duration::from_millis(5)),
                Ok(None) => return None,
                // It is nobody's child: as if a signal had ended it.
                Err(_) => return Some(ExitStatus::from_raw(9)),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a terminal of 24 lines: the side that listens, and the program's.
fn pair(echo: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    tcsetwinsize(
        &slave,
        Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?;
    if !echo {
        let mut modes = tcgetattr(&slave)?;
        modes.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&slave, OptionalActions::Now, &modes)?;
    }
    Ok((master, slave))
}
