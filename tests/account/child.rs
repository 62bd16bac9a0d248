//! Work in a process of its own, which can be killed and signalled, and has an environment of its
//! own: a build, or a command of amibake as it is typed. The process is this test program again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::process::{Child, Command};

use super::build::{Build, Built};
use super::crowd;
use super::guest::{Guests, Steps};
use super::live::Door;
use super::server::{Account, REGION, assert_one_image_more};
use crate::cli::{Cli, CommandContext};
use crate::clock::{Pace, leaping};
use crate::event;
use crate::exit::{Exit, Failure};
use crate::interrupt;

/// Names the file that says what a process is to do.
const VARIABLE: &str = "AMIBAKE_TEST_ASSIGNMENT";

/// The pace of a process whose clock leaps: it is to ask by the tests' own client alone.
pub(super) const LEAPING: u32 = 0;

/// How long a build may take until a call of it is held.
const HELD_WITHIN: Duration = Duration::from_secs(180);

/// What the process does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Work {
    /// Builds.
    Build {
        /// More in the manifest's `builder:`.
        more: String,
        /// More in its `image:`.
        image: String,
        steps: Steps,
        /// Whether nobody can log in to its machines.
        silent: bool,
        /// Whether what it makes is what others make.
        shared: bool,
    },
    /// Runs a command.
    Command(Vec<String>),
    /// Publishes an image that is there.
    Publish {
        /// More in the manifest's `image:`.
        image: String,
        id: String,
    },
    /// Builds many at once.
    Crowd { builds: usize, door: Door },
}

impl Work {
    /// Returns a build on machines that can be logged in to.
    pub(super) fn build(more: &str, steps: Steps) -> Self {
        Self::Build {
            more: more.to_owned(),
            image: String::new(),
            steps,
            silent: false,
            shared: false,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Assignment {
    url: String,
    number: String,
    home: PathBuf,
    pace: u32,
    work: Work,
}

/// How it ended.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// The exit code that amibake would have had.
    pub(super) code: u8,
    /// What went to stdout.
    pub(super) stdout: String,
    /// Warnings, progress, and then the failures.
    pub(super) said: String,
}

/// A process under way. It ends with this.
pub(super) struct Process {
    child: Child,
    result: PathBuf,
}

impl Process {
    /// Starts a build that goes well unless the account says otherwise.
    pub(super) fn build(account: &Account, pace: u32) -> Self {
        Self::start(account, pace, Work::build("", Steps::Done), &[])
    }

    /// Starts a build of what others build too.
    pub(super) fn same_build(account: &Account, pace: u32) -> Self {
        let work = Work::Build {
            // None is to fail since this machine is slow.
            more: ", timeouts: {total: 6h}".to_owned(),
            image: String::new(),
            steps: Steps::Done,
            silent: false,
            shared: true,
        };
        Self::start(account, pace, work, &[])
    }

    /// Starts some work, with more in its environment; without what is there empty.
    pub(super) fn start(account: &Account, pace: u32, work: Work, more: &[(&str, &str)]) -> Self {
        let command = Command::new(std::env::current_exe().unwrap());
        Self::start_by(command, account, pace, work, more)
    }

    /// The same on a terminal of its own, which answers a question.
    pub(super) fn start_on_terminal(
        account: &Account,
        work: Work,
        more: &[(&str, &str)],
        [question, answer]: [&str; 2],
    ) -> Self {
        let python = std::env::var("AMIBAKE_TEST_PYTHON").expect("./test sets it");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud/terminal.py");
        let mut command = Command::new(python);
        command.arg(script).args([question, answer]);
        command.arg(std::env::current_exe().unwrap());
        Self::start_by(command, account, PACE_OF_COMMANDS, work, more)
    }

    /// Starts this program by a command that lacks its arguments.
    fn start_by(
        mut command: Command,
        account: &Account,
        pace: u32,
        work: Work,
        more: &[(&str, &str)],
    ) -> Self {
        let unique = format!("{:?}", Instant::now());
        let unique: String = unique.chars().filter(char::is_ascii_digit).collect();
        let assignment = Assignment {
            url: account.url.clone(),
            number: account.number.clone(),
            home: account.home().to_owned(),
            pace,
            work,
        };
        let path = account.home().join(format!("assignment-{unique}"));
        std::fs::write(&path, serde_json::to_vec(&assignment).unwrap()).unwrap();
        command
            .args([
                "--exact",
                "--ignored",
                "account::child::what_was_ordered_is_done",
            ])
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", account.home())
            .env("XDG_STATE_HOME", account.home().join("state"))
            .env("AWS_ENDPOINT_URL", &account.url)
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", account.key_id())
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env(VARIABLE, &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in more {
            match value.is_empty() {
                true => command.env_remove(name),
                false => command.env(name, value),
            };
        }
        Self {
            child: command.spawn().unwrap(),
            result: path.with_extension("done"),
        }
    }

    /// Waits until the account holds a call of it.
    pub(super) async fn held(mut self, account: &Account) -> Self {
        if !self.is_held(account).await {
            let result = std::fs::read_to_string(&self.result);
            panic!("no call of it was held; it ended with {result:?}");
        }
        self
    }

    /// Waits until the account holds a call of it, and returns false when it ended before.
    pub(super) async fn is_held(&mut self, account: &Account) -> bool {
        let since = Instant::now();
        while !account.awaits_held().await {
            if self.has_ended() {
                return false;
            }
            assert!(since.elapsed() < HELD_WITHIN, "no call of it was held");
        }
        true
    }

    /// Waits for its end.
    pub(super) async fn end(self) -> Outcome {
        self.end_shown().await.0
    }

    /// Waits for its end; returns what it showed by itself, on its terminal if it has one.
    pub(super) async fn end_shown(self) -> (Outcome, String) {
        let output = self.child.wait_with_output().await.unwrap();
        let result = std::fs::read(&self.result).unwrap_or_else(|_| panic!("{output:?}"));
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        (serde_json::from_slice(&result).unwrap(), shown)
    }

    /// Kills it without a chance to do anything.
    pub(super) async fn kill(mut self) {
        assert!(!self.has_ended(), "it was over already");
        self.child.kill().await.unwrap();
    }

    pub(super) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Returns whether it holds a file open.
    pub(super) fn holds(&self, file: &std::path::Path) -> bool {
        let files = format!("/proc/{}/fd", self.child.id().unwrap_or_default());
        let Ok(files) = std::fs::read_dir(files) else {
            return false;
        };
        let mut files = files
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok());
        files.any(|open| open == file)
    }

    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id().unwrap()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Outcome {
    /// Insists on an exit code.
    pub(super) fn ended(self, code: u8) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.said);
        self
    }
}

/// A command's calls have the minute that the program gives them, which passes by its fast clock,
/// and the server is not faster than the wall.
const PACE_OF_COMMANDS: u32 = 10;

/// Runs a command of amibake's on an account, and insists on its exit code.
pub(super) async fn amibake(account: &Account, words: &[&str], code: u8) -> Outcome {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let process = Process::start(account, PACE_OF_COMMANDS, Work::Command(words), &[]);
    process.end().await.ended(code)
}

/// The process. Where nothing was ordered it tries itself: a build in a process ends as one here.
#[test]
#[ignore = "needs the test EC2: ./test runs it"]
fn what_was_ordered_is_done() {
    let ordered = std::env::var_os(VARIABLE).map(PathBuf::from);
    let ordered = ordered.map(|path| {
        let assignment: Assignment =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        (path, assignment)
    });
    let runtime = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    };
    match ordered {
        Some((path, assignment)) if assignment.pace == LEAPING => {
            leaping::run(do_what_was_ordered(path, assignment));
        }
        Some((path, assignment)) => {
            let _pace = Pace::set(assignment.pace);
            runtime().block_on(do_what_was_ordered(path, assignment));
        }
        None => runtime().block_on(a_build_is_done()),
    }
}

async fn a_build_is_done() {
    let account = Account::open().await;
    let before = account.inventory().await;
    let built = Process::build(&account, super::PACE).end().await.ended(0);
    assert!(built.stdout.starts_with("ami-"), "{}", built.stdout);
    assert_one_image_more(&before, &account.inventory().await);
}

async fn do_what_was_ordered(path: PathBuf, assignment: Assignment) {
    let account = Account::known(assignment.url, assignment.number, assignment.home);
    let outcome = match assignment.work {
        Work::Build {
            more,
            image,
            steps,
            silent,
            shared,
        } => {
            let interrupt = interrupt::listen();
            let mut it = Build::whole(&account, &more, &image);
            it.interrupt = interrupt;
            if shared {
                it = it.of_shared_content();
            }
            Box::pin(build(it, steps, silent)).await
        }
        Work::Command(words) => Box::pin(command(words)).await,
        Work::Publish { image, id } => {
            let build = Build::publishing(&account, &image);
            outcome(Box::pin(build.publish(&id)).await)
        }
        Work::Crowd { builds, door } => {
            let crowd = Box::pin(crowd::build_all(&account, builds, &door)).await;
            Outcome {
                code: Exit::Done.code(),
                stdout: serde_json::to_string(&crowd).unwrap(),
                said: String::new(),
            }
        }
    };
    let unfinished = path.with_extension("new");
    std::fs::write(&unfinished, serde_json::to_vec(&outcome).unwrap()).unwrap();
    std::fs::rename(&unfinished, path.with_extension("done")).unwrap();
}

async fn build(mut build: Build<'_>, steps: Steps, silent: bool) -> Outcome {
    if silent {
        build.guests = Guests::silent();
    }
    build.steps = steps;
    outcome(build.run().await)
}

fn outcome(built: Built) -> Outcome {
    Outcome {
        code: built
            .failure
            .as_ref()
            .map_or(Exit::Done, Failure::exit)
            .code(),
        stdout: built.image.map(|image| image.id).unwrap_or_default(),
        said: built.said,
    }
}

async fn command(words: Vec<String>) -> Outcome {
    use clap::Parser;

    let cli = Cli::try_parse_from(std::iter::once("amibake".to_owned()).chain(words)).unwrap();
    let (events, reports) = event::channel();
    let cx = CommandContext {
        events: events.clone(),
        interrupt: interrupt::listen(),
    };
    let ended = cli.run(&cx).await;
    events.close();
    let mut said = super::build::all_said(reports).await;
    let (code, stdout, failures) = match ended {
        Ok(answer) => (answer.exit(), answer.text, answer.failures),
        Err(failure) => (failure.exit(), String::new(), vec![failure]),
    };
    said.extend(failures.iter().map(super::build::text_of_failure));
    Outcome {
        code: code.code(),
        stdout,
        said,
    }
}
