//! A run whose events go to the reporter, no faster than it shows them.

use amibake_protocol::event::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{AgentError, Ended, Order, run};
use crate::event::Events;
use crate::transport::Transport;

/// How many events may be under way between the two.
const UNDER_WAY: usize = 64;

/// Runs `order` as [`run`] does, and tells `events` what happens.
pub(crate) async fn run_telling(
    transport: &dyn Transport,
    order: &Order<'_>,
    events: &Events,
    cancel: &CancellationToken,
) -> Result<Ended, AgentError> {
    let (sender, happened) = mpsc::channel(UNDER_WAY);
    let running = async move {
        let ended = run(transport, order, &sender, cancel).await;
        drop(sender); // the other half ends with it
        ended
    };
    let (ended, ()) = tokio::join!(running, tell(happened, events));
    ended
}

async fn tell(mut happened: mpsc::Receiver<Event>, events: &Events) {
    while let Some(event) = happened.recv().await {
        events.room().await;
        events.host(event);
    }
}
