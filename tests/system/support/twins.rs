//! One playbook given to `amibake apply` on one machine and to real `ansible-playbook` on its equal, or to a
//! recording of what that did; and what came of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use serde::{Deserialize, Serialize};

use super::changes::changes;
use super::inventory::{IgnoreList, Inventory, differences};
use super::recording::Recording;
use super::runs::Run;
use super::volatile::{Own, Volatile};
use super::{Plain, needed, on_terminal, text};

/// Our machine, and theirs where Ansible is asked.
pub(crate) struct Twins {
    /// Amibake's.
    pub(crate) ours: Plain,
    peer: Peer,
    folder: tempfile::TempDir,
    carrier: Carrier,
    kept: Kept,
    volatile: Volatile,
    /// What the machines held before the first play.
    before: Option<Inventory>,
}

/// What a recording keeps of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Its status and its result.
    Results,
    /// Its status: nothing else is compared.
    Ends,
}

/// Who plays the other part.
enum Peer {
    /// Real Ansible, on a machine of its own. What it did so far is kept.
    Live {
        theirs: Plain,
        before: Option<Inventory>,
        plays: Vec<Play>,
    },
    /// What it is recorded to have done: the play that was made last, and those to come.
    Recorded {
        last: Option<Play>,
        next: std::vec::IntoIter<Play>,
    },
}

/// A play of Ansible's, as it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Play {
    /// Its playbook and options.
    asked: Vec<String>,
    run: Run,
    /// What it and those before it changed on the machine.
    left: Inventory,
}

/// How Ansible's modules reach its machine. Modules, actions, templates are Ansible's own either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// As it comes: a Python program a task through `ssh`, pipelined.
    Pipelining,
    /// By mitogen, in about a fifth of the time: for the many small cases.
    Mitogen,
}

impl Twins {
    /// Compares plays with Ansible's, recorded or live, and lists what differs. `case` makes the plays.
    pub(crate) fn compare(
        recording: &Recording,
        carrier: Carrier,
        kept: Kept,
        case: impl Fn(&mut Self) -> Vec<String>,
    ) -> Vec<String> {
        recording.differences(|recorded| {
            let mut twins = Self::start(carrier, kept, recorded);
            let found = case(&mut twins);
            twins.end(found)
        })
    }

    /// Boots both, or ours alone where theirs is recorded.
    pub(crate) fn start(carrier: Carrier, kept: Kept, recorded: Option<Vec<Play>>) -> Self {
        let (ours, peer) = match recorded {
            Some(plays) => {
                let next = plays.into_iter();
                (Plain::start(), Peer::Recorded { last: None, next })
            }
            None => {
                let [theirs, ours] = Plain::start_two();
                let (before, plays) = (None, Vec::new());
                (
                    ours,
                    Peer::Live {
                        theirs,
                        before,
                        plays,
                    },
                )
            }
        };
        Self {
            ours,
            peer,
            folder: tempfile::tempdir().unwrap(),
            carrier,
            kept,
            volatile: Volatile::reviewed(),
            before: None,
        }
    }

    /// Returns what differs and what is to be recorded.
    fn end(self, mut found: Vec<String>) -> (Vec<String>, Vec<Play>) {
        match self.peer {
            Peer::Live { plays, .. } => (found, plays),
            Peer::Recorded { next, .. } => {
                let more = next.map(|play| format!("{:?} was not played", play.asked));
                found.extend(more);
                (found, Vec::new())
            }
        }
    }

    /// Returns the machine that is real Ansible's, where it is asked.
    pub(crate) fn theirs(&self) -> Option<&Plain> {
        match &self.peer {
            Peer::Live { theirs, .. } => Some(theirs),
            Peer::Recorded { .. } => None,
        }
    }

    /// A folder that goes with them.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Does the same to both, from outside.
    pub(crate) fn both(&self, act: impl Fn(&Plain)) {
        self.theirs().into_iter().for_each(&act);
        act(&self.ours);
    }

    /// Runs a command on both as root, and insists that it works.
    pub(crate) fn prepare(&self, command: &str) {
        let run = |plain: &Plain| {
            let output = plain.ssh(&format!("sudo sh -c '{command}'"));
            let said = text(&output.stderr);
            assert!(output.status.success(), "{command}: {said}");
        };
        thread::scope(|scope| {
            if let Some(theirs) = self.theirs() {
                scope.spawn(|| run(theirs));
            }
            run(&self.ours);
        });
    }

    /// Runs a playbook on both at once: Ansible's run, then ours.
    pub(crate) fn play(&mut self, playbook: &Path, more: &[&str]) -> (Run, Run) {
        self.look_before();
        let stem = playbook.file_stem().unwrap().to_string_lossy().into_owned();
        let asked: Vec<String> = [stem]
            .into_iter()
            .chain(more.iter().map(|o| (*o).to_owned()))
            .collect();
        if let Peer::Recorded { last, next } = &mut self.peer {
            *last = next.next().filter(|play| play.asked == asked);
            let theirs = last
                .as_ref()
                .map(|play| play.run.clone())
                .unwrap_or_default();
            return (theirs, self.by_us(playbook, more));
        }
        let (theirs, ours) = thread::scope(|scope| {
            let theirs = scope.spawn(|| self.by_ansible(playbook, more));
            let ours = self.by_us(playbook, more);
            (theirs.join().unwrap(), ours)
        });
        if let Peer::Live { plays, .. } = &mut self.peer {
            let (run, left) = (theirs.as_recorded(self.kept), Inventory::default());
            plays.push(Play { asked, run, left });
        }
        (theirs, ours)
    }

    fn look_before(&mut self) {
        if self.before.is_some() {
            return;
        }
        if let Peer::Live { theirs, before, .. } = &mut self.peer {
            *before = Some(inventory(theirs));
        }
        self.before = Some(inventory(&self.ours));
    }

    /// Runs a playbook on both, each on a terminal where each question gets its answer.
    pub(crate) fn play_on_terminal(
        &self,
        playbook: &Path,
        more: &[&str],
        answers: &[[&str; 2]],
    ) -> (Output, Output) {
        let theirs = self
            .theirs()
            .expect("what a terminal shows is not recorded");
        let theirs = self.ansible(theirs, playbook, more);
        let mut ours = self.ours.apply_file(playbook);
        ours.args(["--host-key", &self.ours.host_key()]).args(more);
        let answered = |command: &Command| on_terminal(command, answers).output().unwrap();
        (answered(&theirs), answered(&ours))
    }

    fn results_of(&self, playbook: &Path) -> PathBuf {
        let stem = playbook.file_stem().unwrap().to_string_lossy().into_owned();
        self.folder.path().join(format!("{stem}.results"))
    }

    fn ansible(&self, theirs: &Plain, playbook: &Path, more: &[&str]) -> Command {
        let plugins = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("tests/twin/callback_plugins");
        let python = PathBuf::from(needed("AMIBAKE_TEST_PYTHON"));
        let mut ansible = Command::new(python.with_file_name("ansible-playbook"));
        ansible
            .args(["-i", &format!("{},", theirs.address), "-u", "ubuntu"])
            .arg("--private-key")
            .arg(theirs.key())
            .arg(playbook)
            .args(more)
            .current_dir(self.folder.path())
            .env("ANSIBLE_HOME", self.folder.path().join("ansible"))
            .env("ANSIBLE_PIPELINING", "1")
            // Else the first task tells of the Python it found.
            .env("ANSIBLE_PYTHON_INTERPRETER", "/usr/bin/python3")
            .env("ANSIBLE_HOST_KEY_CHECKING", "0")
            // A machine under load is slow, not gone.
            .env("ANSIBLE_TIMEOUT", "120")
            .env("ANSIBLE_CALLBACK_PLUGINS", plugins)
            .env("ANSIBLE_CALLBACKS_ENABLED", "twin")
            .env("ANSIBLE_FORCE_COLOR", "0")
            // Its sockets end with the run, and no machine's address outlives it.
            .env(
                "ANSIBLE_SSH_ARGS",
                "-o ControlMaster=auto -o ControlPersist=10s -o UserKnownHostsFile=/dev/null",
            )
            .env("TWIN_RESULTS", self.results_of(playbook));
        if self.carrier == Carrier::Mitogen {
            ansible
                .env("ANSIBLE_STRATEGY", "mitogen_linear")
                .env("ANSIBLE_STRATEGY_PLUGINS", mitogen(&python));
        }
        ansible
    }

    fn by_ansible(&self, playbook: &Path, more: &[&str]) -> Run {
        let theirs = self.theirs().expect("it is asked");
        let output = self.ansible(theirs, playbook, more).output().unwrap();
        let results = fs::read_to_string(self.results_of(playbook)).unwrap_or_default();
        Run::of_ansible(&output, &results, &self.volatile, &self.own(theirs))
    }

    fn by_us(&self, playbook: &Path, more: &[&str]) -> Run {
        let mut apply = self.ours.apply_file(playbook);
        apply
            .args(["--host-key", &self.ours.host_key(), "--json"])
            .args(more);
        let output = apply.output().unwrap();
        Run::of_ours(&output, &self.volatile, &self.own(&self.ours))
    }

    fn own<'a>(&'a self, machine: &'a Plain) -> Own<'a> {
        Own {
            address: &machine.address,
            folder: self.folder(),
        }
    }

    /// Lists what the two machines differ in now; or what a play changed on ours, and is not recorded so.
    pub(crate) fn differences(&mut self, ignored: &IgnoreList) -> Vec<String> {
        let of_days = IgnoreList::of_days();
        let lists = [ignored, &of_days];
        match &mut self.peer {
            Peer::Recorded { last, .. } => {
                let Some(before) = &self.before else {
                    return Vec::new(); // no play has been made yet
                };
                let ours = changes(before, &inventory(&self.ours), lists);
                let theirs = last
                    .as_ref()
                    .map(|play| play.left.clone())
                    .unwrap_or_default();
                differences(&theirs, &ours, ignored)
            }
            Peer::Live {
                theirs,
                before,
                plays,
            } => {
                let (theirs, ours) = thread::scope(|scope| {
                    let theirs = scope.spawn(|| inventory(theirs));
                    let ours = inventory(&self.ours);
                    (theirs.join().unwrap(), ours)
                });
                if let Some(play) = plays.last_mut() {
                    play.left = changes(before.as_ref().unwrap(), &theirs, lists);
                }
                differences(&theirs, &ours, ignored)
            }
        }
    }
}

/// Returns the folder of mitogen's strategies in the environment of `python`.
fn mitogen(python: &Path) -> PathBuf {
    let environment = python.parent().and_then(Path::parent).unwrap();
    let pattern = environment.join("lib/python3*/site-packages/ansible_mitogen/plugins/strategy");
    let mut found = glob::glob(&pattern.to_string_lossy()).unwrap();
    found
        .next()
        .expect("mitogen is in the environment")
        .unwrap()
}

fn inventory(plain: &Plain) -> Inventory {
    let units = plain.ssh("systemctl list-units --all --plain --no-legend --no-pager --type=service,socket,timer,path");
    assert!(units.status.success(), "{}", text(&units.stderr));
    Inventory::of_root(&plain.root).with_running(&text(&units.stdout))
}
