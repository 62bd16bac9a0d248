//! Signals, as two tokens: stop and clean up; give up cleaning up.
//!
//! Cleaning up belongs to whoever created something.

use std::collections::HashSet;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the user asked of a running command, so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// Cancelled by the first SIGINT, SIGTERM or SIGHUP: stop, clean up, end.
    pub(crate) cancel: CancellationToken,
    /// Cancelled by the second signal *of the same kind* (a runner that sends SIGINT, then SIGTERM
    /// wants the first, sooner): leave the rest behind, say so, end.
    pub(crate) abort: CancellationToken,
}

/// Starts listening for signals.
pub(crate) fn listen() -> Interrupt {
    let interrupt = Interrupt::default();
    let (sender, mut signals) = tokio::sync::mpsc::unbounded_channel();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        forward(kind, sender.clone());
    }
    let tokens = interrupt.clone();
    tokio::spawn(async move {
        let mut seen = HashSet::new();
        while let Some(kind) = signals.recv().await {
            tokens.cancel.cancel();
            if !seen.insert(kind) {
                tokens.abort.cancel();
            }
        }
    });
    interrupt
}

/// Sends `kind` each time it arrives. A process that cannot listen keeps the default: it dies.
fn forward(kind: SignalKind, sender: tokio::sync::mpsc::UnboundedSender<SignalKind>) {
    let Ok(mut arrivals) = signal(kind) else {
        return;
    };
    tokio::spawn(
        async move { while arrivals.recv().await.is_some() && sender.send(kind).is_ok() {} },
    );
}
