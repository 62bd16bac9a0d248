//! How long a bake may last, and what is renewed beside its work.

use std::convert::Infallible;
use std::sync::PoisonError;
use std::time::Duration;

use super::Bake;
use crate::clock::{self, Instant};
use crate::targets::{BEAT, LIFETIME};

/// A machine that is silent is a reason to look for our own address, this often.
const ADMIT_EVERY: Duration = Duration::from_secs(10);

impl Bake<'_> {
    /// Follows this machine's address while another is silent, for as long as it is polled: a
    /// laptop has changed its network, a router its address.
    pub(super) async fn admit(&self) -> Infallible {
        let mut said = false;
        loop {
            self.env.connector.silence().await;
            if let Err(error) = self.env.target.admit(self.plan).await
                && !said
            {
                said = true; // the network may be away: once is enough
                let message = format!("the machine is silent, and {}", error.on_one_line());
                self.env.events.warn(message);
            }
            clock::sleep(ADMIT_EVERY).await;
        }
    }

    /// Returns when its time is up.
    pub(super) async fn over(&self) {
        loop {
            let rest = self.rest();
            if rest.is_zero() {
                return;
            }
            clock::sleep(rest.min(BEAT)).await;
        }
    }

    pub(super) fn rest(&self) -> Duration {
        self.until().saturating_duration_since(Instant::now())
    }

    pub(super) fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it so much time from now on.
    pub(super) fn extend(&self, total: Duration) {
        let until = Instant::now() + total;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Says that this run works, for as long as it is polled, to those who would make the same image.
    pub(super) async fn beat(&self) -> Infallible {
        loop {
            clock::sleep(BEAT).await;
            self.env.target.beat().await;
        }
    }

    /// Keeps the run's things from expiring, for as long as it is polled: no longer than
    /// `timeouts.total`.
    pub(super) async fn renew_expiry(&self) -> Infallible {
        loop {
            clock::sleep(self.env.renew_every).await;
            self.renew(LIFETIME).await;
        }
    }

    pub(super) async fn renew(&self, lifetime: Duration) {
        if let Err(error) = self.env.target.renew(self.plan, lifetime).await {
            let message = format!(
                "the run's expiry could not be renewed: {}",
                error.on_one_line()
            );
            self.env.events.warn(message);
        }
    }
}
