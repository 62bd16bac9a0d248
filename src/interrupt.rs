//! Signals, as two tokens: stop and clean up; give up cleaning up.
//!
//! Cleaning up belongs to whoever created something.

use std::collections::HashSet;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the user asked of a running command, so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// Cancelled by the first SIGINT, SIGTERM or SIGHUP: stop, clean up, end. Not by one that we
    /// were started to ignore: `nohup` wants a build to outlive its terminal.
    pub(crate) cancel: CancellationToken,
    /// Cancelled by the second signal *of the same kind* (a runner that sends SIGINT, then SIGTERM
    /// wants the first, sooner): leave the rest behind, say so, end.
    pub(crate) abort: CancellationToken,
}

/// Starts listening for signals. Under `nohup`, SIGHUP is none of them.
pub(crate) fn listen() -> Interrupt {
    let interrupt = Interrupt::default();
    let (sender, mut signals) = tokio::sync::mpsc::unbounded_channel();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    // SIGINT too is ignored by what a script starts with `&`; who sends it there by hand wants an end.
    let wanted = [SignalKind::interrupt(), SignalKind::terminate()].into_iter();
    let hangup = Some(SignalKind::hangup()).filter(|kind| !is_ignored(&status, *kind));
    for kind in wanted.chain(hangup) {
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

/// Returns whether a process with this `status` ignores `kind`; listening would end that.
fn is_ignored(status: &str, kind: SignalKind) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    ignored.is_some_and(|bits| bits >> (kind.as_raw_value() - 1) & 1 == 1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_off_the_status() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert!(is_ignored(status, SignalKind::hangup()));
        assert!(!is_ignored(status, SignalKind::interrupt()));
        assert!(!is_ignored(status, SignalKind::terminate()));
        assert!(!is_ignored("", SignalKind::hangup()));
    }

    #[test]
    fn nohup_is_seen() {
        let status = std::process::Command::new("nohup")
            .args(["cat", "/proc/self/status"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        let status = String::from_utf8(status.stdout).unwrap();
        assert!(is_ignored(&status, SignalKind::hangup()), "{status}");
    }
}
