//! A machine that a bake works on: connected to, kept from ending itself, its end noticed, and what it
//! leaves to read kept.

use std::convert::Infallible;
use std::time::Duration;

use super::failure::is_about_the_link;
use super::{Bake, failed};
use crate::clock::{self, Instant};
use crate::connector::{LiesWith, Session};
use crate::exit::{Failure, chain};
use crate::guest::{RootShell, prepare};
use crate::targets::{Machine, PhaseContext, Role};

/// A machine's timer is set back this often before it would run out.
pub(super) const RENEWALS: u32 = 6;

/// How often the target is asked whether a machine lives that is connected to.
pub(super) const WATCH_EVERY: Duration = Duration::from_secs(3);

/// How soon after a link is lost the target knows that it was for good: a machine that powers itself
/// off cuts it some seconds before.
pub(super) const UNTIL_DEATH_IS_KNOWN: Duration = Duration::from_secs(8);

impl Bake<'_> {
    /// Works on a machine, and keeps its logs if that fails although it can be talked to.
    pub(super) async fn with_logs<T>(
        &self,
        shell: &dyn RootShell,
        role: Role,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let worked = work.await;
        if let (Err(failure), Some(bundle)) = (&worked, self.env.bundle)
            && !is_about_the_link(failure)
        {
            bundle.keep_logs(shell, &role.to_string()).await;
        }
        worked
    }

    /// Works on a machine, and ends with the target's reason when that machine is no more: the
    /// target is asked while it is connected to, again after a link was cut, and when work failed.
    pub(super) async fn while_it_lives<T>(
        &self,
        machine: &Machine,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let worked = tokio::select! {
            worked = work => worked,
            death = self.death(machine) => {
                self.keep_console(machine).await;
                return Err(death);
            }
        };
        let failure = match worked {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        self.keep_console(machine).await;
        let until = match is_about_the_link(&failure) {
            true => Instant::now() + UNTIL_DEATH_IS_KNOWN,
            false => Instant::now(),
        };
        loop {
            if let Some(death) = self.env.target.death(machine).await {
                return Err(failed(death));
            }
            if Instant::now() >= until {
                return Err(failure);
            }
            clock::sleep(WATCH_EVERY / 3).await;
        }
    }

    pub(super) async fn keep_console(&self, machine: &Machine) {
        if let Some(bundle) = self.env.bundle {
            bundle.keep_console(self.env.target, machine).await;
        }
    }

    /// Returns when the target knows that the machine is no more.
    pub(super) async fn death(&self, machine: &Machine) -> Failure {
        loop {
            self.env.connector.connecting().await;
            if let Some(death) = self.env.target.death(machine).await {
                return failed(death);
            }
            clock::sleep(WATCH_EVERY).await;
        }
    }

    pub(super) async fn connect(&self, machine: &Machine) -> Result<Box<dyn Session>, Failure> {
        let limit = self.plan.builder.timeouts.connect;
        let error = match self.env.connector.connect(machine, limit).await {
            Ok(session) => return Ok(session),
            Err(error) => error,
        };
        let explains = error.lies_with != LiesWith::Stranger;
        let failure = Failure::from(error);
        Err(match explains {
            true => self.explained(failure, machine).await,
            false => failure,
        })
    }

    /// Adds to a failure what the target knows of the machine: likely causes, the end of its console.
    pub(super) async fn explained(&self, mut failure: Failure, machine: &Machine) -> Failure {
        let mut hints: Vec<String> = failure.hint.take().into_iter().collect();
        hints.extend(self.env.target.diagnose(machine).await);
        failure.hint = (!hints.is_empty()).then(|| hints.join("\n"));
        failure
    }

    /// Returns when the first boot has finished; that may take longer than the machine's own timer.
    pub(super) async fn ready(
        &self,
        shell: &dyn RootShell,
        cx: &PhaseContext<'_>,
        role: Role,
    ) -> Result<(), Failure> {
        cx.phase
            .progress("waiting for the first boot to finish", None);
        let limit = self.plan.builder.timeouts.connect;
        let waiting = prepare::wait_until_ready(shell, limit, role);
        let ready = self.renewing(shell, role, waiting).await;
        for warning in ready?.warnings {
            self.env.events.warn(warning);
        }
        Ok(())
    }

    /// Does `work` on a machine and keeps that from ending itself meanwhile.
    pub(super) async fn renewing<T>(
        &self,
        shell: &dyn RootShell,
        role: Role,
        work: impl Future<Output = T>,
    ) -> T {
        tokio::select! {
            done = work => done,
            never = self.renew_timer(shell, role) => match never {},
        }
    }

    /// Keeps the machine from ending itself, for as long as it is polled.
    pub(super) async fn renew_timer(&self, shell: &dyn RootShell, role: Role) -> Infallible {
        let lifetime = self.plan.builder.timeouts.unattended;
        loop {
            if let Err(error) = prepare::renew_timer(shell, &self.plan.run, role, lifetime).await {
                let message = format!(
                    "the machine's own timer could not be renewed: {}",
                    chain(&error)
                );
                self.env.events.warn(message);
            }
            clock::sleep(lifetime / RENEWALS).await;
        }
    }
}
