//! Builds on the container target, followed by their events, and what they leave on this host.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::amibake;

/// Held by one build at a time: what is left of one is not another's. A file, since nextest gives each
/// test a process of its own.
const HOST: &str = "/run/amibake-tests.lock";

/// A home for builds, and this host for itself.
pub(crate) struct Here {
    folder: tempfile::TempDir,
    _alone: File,
}

impl Here {
    /// Waits for its turn.
    pub(crate) fn new() -> Self {
        let alone = File::create(HOST).unwrap();
        alone.lock().unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            _alone: alone,
        }
    }

    /// Returns the folder that goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a manifest.
    pub(crate) fn manifest(&self, text: &str) -> PathBuf {
        let path = self.folder().join("manifest.yaml");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns the command that builds it here.
    pub(crate) fn build(&self, manifest: &Path) -> Command {
        let mut command = amibake(self.folder(), ["build", "--target", "container"]);
        command.arg(manifest);
        command
    }

    /// Starts a build and follows its events.
    pub(crate) fn start(&self, manifest: &Path) -> Building<'_> {
        let mut command = self.build(manifest);
        command.arg("--json").stdout(Stdio::null());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let events = BufReader::new(child.stderr.take().unwrap());
        Building {
            here: self,
            child,
            events,
            seen: Vec::new(),
        }
    }

    /// Returns what the journals of runs say they made.
    pub(crate) fn debts(&self) -> Vec<Json> {
        let journals = std::fs::read_dir(self.folder().join("state/amibake"));
        let texts = journals
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| std::fs::read_to_string(e.path()).ok());
        let lines: Vec<String> = texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let records = lines.iter().filter_map(|l| serde_json::from_str(l).ok());
        records
            .filter(|record: &Json| record["record"] == "owe")
            .collect()
    }
}

/// A build that runs.
pub(crate) struct Building<'a> {
    here: &'a Here,
    child: Child,
    events: BufReader<std::process::ChildStderr>,
    /// Every line so far.
    pub(crate) seen: Vec<String>,
}

impl Building<'_> {
    /// Reads events until one fits; returns what the run has made so far.
    pub(crate) fn until(&mut self, what: &str, fits: impl Fn(&Json) -> bool) -> Vec<Json> {
        loop {
            let mut line = String::new();
            let read = self.events.read_line(&mut line).unwrap();
            assert!(
                read > 0,
                "no {what} before the end:\n{}",
                self.seen.concat()
            );
            let event = serde_json::from_str::<Json>(&line).unwrap_or_default();
            self.seen.push(line);
            if fits(&event) {
                return self.here.debts();
            }
        }
    }

    /// Reads events until a phase begins.
    pub(crate) fn until_phase(&mut self, phase: &str) -> Vec<Json> {
        self.until(&format!("phase {phase}"), |event| {
            event["event"] == "phase-started" && event["phase"] == phase
        })
    }

    /// Sends a signal to the build.
    pub(crate) fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    /// Waits for its end, reading on; returns how it ended and all it said.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut line = String::new();
        while self.events.read_line(&mut line).unwrap() > 0 {
            self.seen.push(std::mem::take(&mut line));
        }
        (self.child.wait().unwrap(), self.seen.concat())
    }
}

/// Sends a signal to a process.
pub(crate) fn kill(signal: &str, pid: u32) {
    let sent = Command::new("kill")
        .args([format!("-{signal}"), pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Returns the processes whose command line has `text`, or whose root lies on the layer `text`.
pub(crate) fn processes(text: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter(|pid| {
            let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
            let command = read("cmdline").unwrap_or_default();
            let mounts = String::from_utf8(read("mountinfo").unwrap_or_default());
            let mounts = mounts.unwrap_or_default();
            let mut lines = mounts.lines();
            let root = lines.find(|line| line.split(' ').nth(4) == Some("/"));
            String::from_utf8_lossy(&command).contains(text)
                || root.is_some_and(|line| line.contains(text))
        })
        .collect()
}

/// Insists that nothing of `debts` is left. What was killed may take a moment to be gone.
pub(crate) fn assert_nothing_left(debts: &[Json], image_stays: bool, when: &str) {
    assert!(!debts.is_empty(), "{when}: nothing was ever made");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left: Vec<String> = debts
            .iter()
            .filter(|debt| !(image_stays && debt["due"] == "on-failure"))
            .flat_map(left_of)
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left {when}: {left:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn left_of(debt: &Json) -> Vec<String> {
    let name = debt["name"].as_str().unwrap_or_default();
    let mut left = Vec::new();
    match debt["undo"].as_str().unwrap() {
        "remove-path" => {
            let path = debt["path"].as_str().unwrap();
            left.extend(
                Path::new(path)
                    .symlink_metadata()
                    .is_ok()
                    .then(|| path.to_owned()),
            );
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            left.extend(
                mounts
                    .lines()
                    .filter(|l| l.contains(path))
                    .map(str::to_owned),
            );
        }
        "remove-network" => {
            for path in [
                format!("/run/netns/{name}"),
                format!("/sys/class/net/{name}"),
            ] {
                left.extend(Path::new(&path).exists().then_some(path));
            }
            let tables = Command::new("nft")
                .args(["list", "tables"])
                .output()
                .unwrap();
            let table = format!("table ip {}", name.replace('-', "_"));
            let tables = super::text(&tables.stdout);
            left.extend(tables.lines().filter(|l| *l == table).map(str::to_owned));
        }
        "stop-container" => {
            let pids = processes(name);
            left.extend(pids.iter().map(|pid| format!("process {pid} of {name}")));
            let kept = std::fs::read_dir("/run/systemd/nspawn")
                .into_iter()
                .flatten();
            let kept = kept.flatten().map(|kind| kind.path().join(name));
            left.extend(kept.filter(|p| p.exists()).map(|p| p.display().to_string()));
            let groups = Command::new("find")
                .args(["/sys/fs/cgroup", "-name", name])
                .output();
            let groups = super::text(&groups.unwrap().stdout);
            left.extend(groups.lines().map(str::to_owned));
        }
        other => panic!("unknown debt {other}"),
    }
    left
}
