//! A build under way: watched while it runs, and never left running by a test that failed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::Cloud;

/// A build under way. It ends with this, and a failing test shows what it said.
pub(crate) struct RunningBuild {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// How a build ended.
pub(crate) struct Built {
    /// Its exit code, unless a signal ended it.
    pub(crate) code: Option<i32>,
    /// The result.
    pub(crate) stdout: String,
    /// Everything else.
    pub(crate) stderr: String,
}

impl Cloud {
    /// Starts to build a manifest.
    pub(crate) fn start_build(&self, manifest: &str) -> RunningBuild {
        let manifest = self.manifest(manifest);
        let mut command = self.amibake(["build"]);
        command.arg(manifest);
        self.run(&mut command)
    }

    /// Starts a command and watches over it.
    pub(crate) fn run(&self, command: &mut Command) -> RunningBuild {
        let (stdout, stderr) = (self.folder().join("stdout"), self.folder().join("stderr"));
        let file = |path| Stdio::from(std::fs::File::create(path).unwrap());
        let child = command
            .stdout(file(&stdout))
            .stderr(file(&stderr))
            .spawn()
            .unwrap();
        RunningBuild {
            child,
            stdout,
            stderr,
        }
    }
}

impl RunningBuild {
    /// Returns what it said so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// Returns whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Built {
        let status = self.child.wait().unwrap();
        Built {
            code: status.code(),
            stdout: std::fs::read_to_string(&self.stdout).unwrap(),
            stderr: self.said(),
        }
    }
}

impl Built {
    /// Insists on an exit code.
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Drop for RunningBuild {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what it saw")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the build said:\n{}", self.said());
        }
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}
