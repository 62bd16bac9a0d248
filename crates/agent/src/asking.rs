//! The run's way to the controller: what the executor sees of the hub.

use std::path::PathBuf;
use std::sync::Arc;

use amibake_engine::exec::Controller;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

use crate::folder::RunFolder;
use crate::hub::Hub;

/// The executor's controller.
pub(crate) struct Attached {
    pub(crate) hub: Arc<Hub>,
    pub(crate) folder: RunFolder,
}

impl Controller for Attached {
    fn event(&mut self, event: Event) {
        self.hub.event(event);
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        self.hub.ask(ask)
    }

    fn cancelled(&self) -> bool {
        self.hub.look(|state| state.cancelled)
    }

    fn spool_folder(&self) -> PathBuf {
        self.folder.path().to_path_buf()
    }
}
