//! Where machines and images come from, behind one small trait.
//!
//! A target launches a machine, makes a candidate image of it and publishes that; what it creates
//! is in the ledger first. Each target owns its debts: how they are written, told, paid and reaped.
//! Talking to the machine is `ssh`'s and `agent`'s, the order `bake`'s.

pub(crate) mod ahead;
pub(crate) mod container;
#[cfg(feature = "ec2")]
pub(crate) mod ec2;
mod error;
mod machine;
mod names;
pub(crate) mod reap;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::Instant;
use crate::event::PhaseHandle;
use crate::exit::Leftover;
use crate::guest::gate::GateRecord;
use crate::identity::Content;
use crate::ledger::{Ledger, Payer};
use crate::manifest::Arch;
use crate::plan::BakePlan;
pub(crate) use error::{Fault, TargetError, unreadable};
pub(crate) use machine::{Base, Keys, Machine, Role};
#[cfg(feature = "ec2")]
pub(crate) use names::EC2;
pub(crate) use names::{CONTAINER, writer_of_unnamed};

/// How long a run's things live where nobody renews their expiry.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How often a run says that it works, where others wait for it.
pub(crate) const BEAT: Duration = Duration::from_secs(60);

/// An image nobody has looked at yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Image id, or a path.
    pub(crate) id: String,
    /// What [`Target::launch`] boots to look at it.
    pub(crate) base: Base,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    /// `ami-0abc12`, or a path: what goes to stdout.
    pub(crate) id: String,
    pub(crate) name: String,
    /// What it is called in other regions.
    pub(crate) copies: BTreeMap<String, String>,
}

/// What came of publishing an image that has passed.
#[derive(Debug)]
pub(crate) struct Published {
    /// The image, if it is released where it was made.
    pub(crate) image: Option<Finished>,
    /// What is not as the manifest wants it. The image has passed, and stays.
    pub(crate) unfinished: Option<Unfinished>,
}

/// A publication that did not come to its end.
#[derive(Debug)]
pub(crate) struct Unfinished {
    pub(crate) error: TargetError,
    /// What is kept, each with the command that goes on.
    pub(crate) kept: Vec<Leftover>,
}

impl From<Finished> for Published {
    fn from(image: Finished) -> Self {
        Self {
            image: Some(image),
            unfinished: None,
        }
    }
}

/// On whose word an image that is there is published: it decides what becomes of a parameter or a launch
/// template that names an image of a later build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publisher {
    /// A build that takes it for its result: it takes from all builds that began before.
    Build,
    /// `resume`: the build that it is of goes on, and takes from those before that one.
    Resume,
    /// `publish`: somebody wants this image, whatever is there.
    Publish,
}

/// Who makes the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// This run.
    Ours,
    /// Another one has made it, meanwhile or before: what is not published yet is gone on with.
    Made(Finished),
}

/// Where machines and images come from.
#[async_trait]
pub(crate) trait Target: Payer {
    /// Returns the region that it works in, where there are regions.
    fn region(&self) -> Option<&str> {
        None
    }

    /// Finds what `plan` starts from. It only reads.
    async fn source(&self, plan: &BakePlan, cx: &PhaseContext<'_>) -> Result<Base, TargetError>;

    /// Returns a released image of this content that is young enough to be the result.
    async fn find_finished(
        &self,
        _plan: &BakePlan,
        _content: &Content,
    ) -> Result<Option<Finished>, TargetError> {
        Ok(None)
    }

    /// Looks at everything that would fail later. It only reads.
    async fn check(
        &self,
        _plan: &BakePlan,
        _base: &Base,
        _cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    /// Waits until nobody else makes the same image.
    async fn take_turn(
        &self,
        _plan: &BakePlan,
        _content: &Content,
        _cx: &PhaseContext<'_>,
    ) -> Result<Turn, TargetError> {
        Ok(Turn::Ours)
    }

    /// Says that whose turn it is still works.
    async fn beat(&self) {}

    /// Makes what was resolved, where it is not there yet: a root on this host.
    async fn prepare(
        &self,
        plan: &BakePlan,
        base: &Base,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError>;

    /// Starts a machine from `base` and returns when it has an address. SSH may not answer yet.
    async fn launch(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError>;

    /// Returns what is known about a machine that cannot be reached: likely causes, then the
    /// tail of its console.
    async fn diagnose(&self, machine: &Machine) -> Vec<String>;

    /// Returns what a machine has written to its console, as far as that is known.
    async fn console(&self, _machine: &Machine) -> Option<String> {
        None
    }

    /// Returns that a machine has ended, or is about to, and why. Not knowing is `None`.
    async fn death(&self, _machine: &Machine) -> Option<TargetError> {
        None
    }

    /// Lets this machine in again, from the address it has now: a machine that was reached, or
    /// should be, has fallen silent.
    async fn admit(&self, plan: &BakePlan) -> Result<(), TargetError>;

    /// Stops the sealed builder and makes a candidate of it.
    async fn capture(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError>;

    /// Asks for a machine's end, without waiting: it is no longer needed.
    async fn dismiss(&self, machine: &Machine) -> Result<(), TargetError>;

    /// Makes the candidate, which passed, the image; `gate` is what is known of its passing.
    async fn publish(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        gate: &GateRecord,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError>;

    /// Returns what stays although its build did not come to its end, and how that goes on.
    fn stays(&self) -> Option<Leftover> {
        None
    }

    /// Returns the architecture of an image, where the target can tell.
    async fn arch_of(&self, _image: &str) -> Result<Option<Arch>, TargetError> {
        Ok(None)
    }

    /// Publishes an image that is there as the plan wants it, as far as it is not so yet.
    async fn repair(
        &self,
        _plan: &BakePlan,
        finished: &Finished,
        _publisher: Publisher,
        _cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        Ok(finished.clone().into())
    }

    /// Says that the run lives until `lifetime` from now, where others would clean up after it.
    async fn renew(&self, plan: &BakePlan, lifetime: Duration) -> Result<(), TargetError>;
}

/// Returns the last lines of a console or a log.
pub(crate) fn tail(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().rev().take(20).map(str::trim_end);
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.reverse();
    lines
}

/// What a target's work may use.
pub(crate) struct PhaseContext<'a> {
    /// Where debts go before the call that makes them.
    pub(crate) ledger: &'a Ledger,
    pub(crate) phase: PhaseHandle,
    /// When `builder.timeouts.total` is over, and the bake with it.
    #[cfg_attr(
        not(feature = "ec2"),
        expect(dead_code, reason = "only EC2 makes one wait")
    )]
    pub(crate) until: Instant,
}
