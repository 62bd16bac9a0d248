//! The run's way to the controller: what the executor sees of the hub.

use std::sync::Arc;

use amibake_engine::exec::Controller;
use amibake_protocol::ask::{Answer, Ask};
use amibake_protocol::event::Event;

use crate::hub::Hub;

/// The executor's controller.
pub(crate) struct Attached(pub(crate) Arc<Hub>);

impl Controller for Attached {
    fn event(&mut self, event: Event) {
        self.0.event(event);
    }

    fn ask(&mut self, ask: Ask) -> Answer {
        self.0.ask(ask)
    }

    fn cancelled(&self) -> bool {
        self.0.with(|state| state.cancelled)
    }
}
