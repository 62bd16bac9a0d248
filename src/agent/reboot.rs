//! A run whose machine reboots: what it was at is kept here until the machine is back, and a new agent
//! goes on from it.
//!
//! The checkpoint is the target's own and goes back to it alone: nothing in it is looked at here.

use std::time::Duration;

use amibake_protocol::ask::Reboot;
use amibake_protocol::event::{Event, Status};
use async_trait::async_trait;
use serde_json::{Map, Value as Json};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AgentError, Ended, SizedEvent};
use crate::exit::Failure;
use crate::secret::Secret;
use crate::transport::Transport;

/// The largest checkpoint that is kept: it is in memory.
const CHECKPOINT_BYTES: u64 = 32 << 20;
/// The longest time that a machine is waited for, whatever the task says.
const LONGEST: Duration = Duration::from_hours(24);
/// How long one try to connect may take where the task does not say.
const PER_TRY: Duration = Duration::from_secs(15);
/// How long a machine that was told to reboot is left alone between two connections.
const PAUSE: Duration = Duration::from_secs(1);

/// What is done to a machine that has come back, before its run goes on.
#[async_trait]
pub(crate) trait AfterReboot: Send + Sync {
    /// Makes it ready, since what lives in memory only is gone there; returns whether it was there for that,
    /// and not about to go down.
    async fn make_ready(&self) -> Result<bool, Failure>;
}

/// A checkpoint under way.
pub(super) struct Keeping {
    pub(super) id: u64,
    reboot: Reboot,
    bytes: Vec<u8>,
    /// How many bytes are to come, once that is announced.
    left: Option<u64>,
    size: u64,
}

/// A checkpoint, and the reboot that it was made for.
pub(super) struct Kept {
    reboot: Reboot,
    pub(super) checkpoint: Secret<Vec<u8>>,
    since: Instant,
    /// How often the run was begun anew from it.
    restarts: u32,
}

impl Keeping {
    /// Decides about a checkpoint.
    ///
    /// # Errors
    /// That it is too large.
    pub(super) fn begin(id: u64, reboot: &Reboot, size: u64) -> Result<Self, String> {
        if size > CHECKPOINT_BYTES {
            let most = CHECKPOINT_BYTES >> 20;
            return Err(format!("its variables take more than {most} MiB"));
        }
        Ok(Self {
            id,
            reboot: reboot.clone(),
            bytes: Vec::new(),
            left: None,
            size,
        })
    }

    pub(super) fn announce(&mut self, size: u64) -> Result<(), AgentError> {
        if self.left.is_some() || size != self.size {
            return Err(AgentError::TooMuch("bytes of a file"));
        }
        self.left = Some(size);
        Ok(())
    }

    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        let left = self
            .left
            .and_then(|left| left.checked_sub(bytes.len() as u64));
        self.left = Some(left.ok_or(AgentError::TooMuch("bytes of a file"))?);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn is_whole(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn kept(self) -> Kept {
        Kept {
            reboot: self.reboot,
            checkpoint: Secret::new(self.bytes),
            since: Instant::now(),
            restarts: 0,
        }
    }
}

impl Kept {
    /// Returns how long ago the machine was told to reboot.
    pub(super) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Returns whether the machine was waited for long enough.
    pub(super) fn is_overdue(&self) -> bool {
        self.deadline() <= Instant::now()
    }

    /// Waits before the run is begun anew, longer each time: a machine that goes down ends agents first. Returns
    /// whether there is time for it.
    pub(super) async fn begin_anew(&mut self, cancel: &CancellationToken) -> bool {
        let pause = match self.restarts {
            0 => Duration::ZERO,
            restarts => PAUSE * restarts.min(30),
        };
        self.restarts = self.restarts.saturating_add(1);
        if !pause.is_zero() && self.is_overdue() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = cancel.cancelled() => {}
        }
        true
    }

    fn deadline(&self) -> Instant {
        let seconds = self.reboot.timeout.saturating_add(self.reboot.delay);
        self.since + Duration::from_secs(seconds).min(LONGEST)
    }

    /// Connects to the machine anew; returns whether it answered in time.
    ///
    /// # Errors
    /// A machine that is another one, or ours that lets nobody in.
    pub(super) async fn reach(
        &self,
        transport: &dyn Transport,
        cancel: &CancellationToken,
    ) -> Result<bool, AgentError> {
        let alone = self.since + Duration::from_secs(self.reboot.delay).min(LONGEST);
        let begin = alone.max(Instant::now() + PAUSE);
        let connect_timeout = self.reboot.connect_timeout.map(Duration::from_secs);
        let per_try = connect_timeout.unwrap_or(PER_TRY).min(LONGEST);
        let connecting = async {
            tokio::time::sleep_until(begin).await;
            let left = self.deadline().saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            match transport.renew(left, per_try.min(left)).await {
                Ok(()) => Ok(true),
                // It was tried as long as a try takes.
                Err(_) if self.deadline() < Instant::now() + per_try => Ok(false),
                Err(error) => Err(AgentError::Link(error)),
            }
        };
        tokio::select! {
            reached = connecting => reached,
            () = cancel.cancelled() => Err(AgentError::Interrupted),
        }
    }

    /// Tells that the machine did not come back: the task has failed, and nothing can follow it.
    pub(super) async fn give_up(&self, events: &mpsc::Sender<SizedEvent>) -> Ended {
        let mut recap = self.reboot.recap;
        recap.failed = recap.failed.min(u32::MAX - 1);
        recap.cleared = recap.cleared.min(recap.failed); // this failure is none that was cleared
        recap.failed += 1;
        let msg = format!(
            "Timed out waiting for last boot time check (timeout={})",
            self.reboot.timeout
        );
        let elapsed = self.elapsed();
        let result = Map::from_iter([
            ("changed".to_owned(), Json::from(false)),
            ("rebooted".to_owned(), Json::from(true)),
            ("msg".to_owned(), Json::from(msg)),
            ("elapsed".to_owned(), Json::from(elapsed.as_secs())),
        ]);
        let failed = Event::TaskFinished {
            index: self.reboot.index,
            status: Status::Failed,
            result,
            diff: Vec::new(),
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        };
        let finished = Event::Finished {
            recap,
            error: None,
            elsewhere: false,
        };
        for event in [failed, finished] {
            let bytes = 1 << 10;
            let _ = events.send(SizedEvent { event, bytes }).await; // whoever listened may have gone
        }
        Ended {
            recap,
            error: None,
            refused_asks: 0,
            failed: None,
        }
    }
}
