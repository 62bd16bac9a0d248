//! What a run is given: the project and the way to the controller. Options are the protocol's.

use std::path::PathBuf;
use std::time::Duration;

use amibake_playbook::files::Files;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;
pub use amibake_protocol::job::{Become, Entry, Options};
use serde_json::Map;

/// The files of playbooks and roles, and what of them is run, in order.
pub struct Project<'a> {
    /// Where the files are read from.
    pub files: &'a dyn Files,
    pub entries: Vec<Entry>,
}

impl<'a> Project<'a> {
    /// Returns one playbook, without variables of its own.
    pub fn playbook(files: &'a dyn Files, path: PathBuf) -> Self {
        let vars = Map::new();
        Self {
            files,
            entries: vec![Entry::Playbook { path, vars }],
        }
    }
}

/// Where a run was when its machine was rebooted.
pub struct Interruption {
    /// What the run gave the controller to keep.
    pub checkpoint: Vec<u8>,
    /// How long ago the machine was told to reboot.
    pub ago: Duration,
}

/// The way to the controller.
pub trait Controller {
    /// Takes what happened, in order.
    fn event(&mut self, event: Event);
    /// Asks for what only the controller has, and waits.
    fn ask(&mut self, ask: Ask) -> Answer;
    /// Returns the folder for files on their way to the controller.
    fn spool_folder(&self) -> PathBuf {
        std::env::temp_dir()
    }
    /// Returns whether the run should stop before its next task.
    fn cancelled(&self) -> bool {
        false
    }
}
