//! The story of one image: launch, connect, provision, seal, capture, test, publish; and whatever
//! its end, what it created is paid for.
//!
//! The order is here; each part is its room's. What runs playbooks is behind [`Provisioner`].

mod deadline;
mod ending;
pub(crate) mod existing;
mod failure;
mod machine;
mod work;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

pub(crate) use self::failure::{failed, interrupted};
use self::failure::{panicked, too_slow};
use crate::clock::{self, Instant};
use crate::connector::{Connector, Session};
use crate::debug_login::DebugLogin;
use crate::event::{Event, Events, Phase};
use crate::exit::Failure;
use crate::failure_bundle::FailureBundle;
use crate::guest::gate::GateRecord;
use crate::guest::seal;
use crate::identity::Content;
use crate::interrupt::Interrupt;
use crate::ledger::Ledger;
use crate::plan::BakePlan;
use crate::targets::{
    Base, Candidate, Finished, LIFETIME, Machine, PhaseContext, Published, Publisher, Role, Target,
    Turn,
};

/// How often the account's expiry is set back.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// Publishing has so long, even where all else took the bake's time.
const PUBLISHING: Duration = Duration::from_secs(10 * 60);

/// What runs playbooks on a machine: the agent's side.
#[async_trait]
pub(crate) trait Provisioner: Send + Sync {
    async fn provision(
        &self,
        session: &dyn Session,
        plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure>;
    async fn test(
        &self,
        session: &dyn Session,
        plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure>;
}

/// Everything a bake works with.
pub(crate) struct BakeEnv<'a> {
    pub(crate) target: &'a dyn Target,
    pub(crate) connector: &'a dyn Connector,
    pub(crate) provisioner: &'a dyn Provisioner,
    pub(crate) events: &'a Events,
    pub(crate) interrupt: &'a Interrupt,
    /// Where journals lie, and the keys of what is kept.
    pub(crate) state_folder: &'a Path,
    /// How often the expiry of what it makes is set back.
    pub(crate) renew_every: Duration,
    /// Where what is known of its machines goes, should it fail.
    pub(crate) bundle: Option<&'a FailureBundle>,
}

/// What came of a bake. Both, when the image is finished and something temporary stays.
#[derive(Debug)]
pub(crate) struct Baked {
    /// The image, tested and published.
    pub(crate) image: Option<Finished>,
    pub(crate) failure: Option<Failure>,
    /// What it started from, once that was found.
    pub(crate) source: Option<Base>,
    /// Where it was made, if the target has regions.
    pub(crate) region: Option<String>,
    /// Whether the image was there already.
    pub(crate) reused: bool,
    /// What it is made of, once its source was found.
    pub(crate) content: Option<Content>,
    /// What the gate found, as far as it came.
    pub(crate) gate: GateRecord,
    /// From the beginning until all was settled.
    pub(crate) elapsed: Duration,
}

impl From<Failure> for Baked {
    fn from(failure: Failure) -> Self {
        Self {
            image: None,
            failure: Some(failure),
            source: None,
            region: None,
            reused: false,
            content: None,
            gate: GateRecord::default(),
            elapsed: Duration::ZERO,
        }
    }
}

/// Bakes one image and pays what is due, come what may.
pub(crate) async fn bake(plan: &BakePlan, env: &BakeEnv<'_>) -> Baked {
    let ledger = match Ledger::open(env.state_folder, &plan.run) {
        Ok(ledger) => ledger,
        Err(error) => return Failure::new(error).into(),
    };
    let began = Instant::now();
    let bake = Bake::new(plan, env, ledger, began);
    let making = AssertUnwindSafe(async {
        tokio::select! {
            // In a box: the compiler lays out no deeper story in one piece.
            image = Box::pin(bake.image()) => image,
            never = bake.beat() => match never {},
        }
    })
    .catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = env.interrupt.cancel.cancelled() => Err(interrupted()),
        outcome = making => match outcome {
            // What was told to stop may say so first.
            Ok(Err(_)) if env.interrupt.cancel.is_cancelled() => Err(interrupted()),
            Ok(outcome) => outcome,
            Err(panic) => Err(panicked(&*panic)),
        },
        () = bake.over() => Err(too_slow("the bake", "total")),
    };
    let (image, failure) = match outcome {
        Err(failure) if bake.keeps(&failure) => (None, Some(bake.keep(failure).await)),
        outcome => bake.settle(outcome).await,
    };
    bake.baked(image, failure, began)
}

/// One bake under way.
struct Bake<'a> {
    plan: &'a BakePlan,
    env: &'a BakeEnv<'a>,
    ledger: Ledger,
    /// The way into the machine that can be logged in to, while there is one.
    debug_login: Mutex<Option<DebugLogin>>,
    /// What it starts from, once that is found.
    source: OnceLock<Base>,
    /// What the image is made of, from then on.
    content: OnceLock<Content>,
    /// Set when an image was there already.
    reused: OnceLock<()>,
    /// What the gate found so far.
    gate: Mutex<GateRecord>,
    /// When it must be over: later, where it waits for another that makes the same image.
    until: Mutex<Instant>,
}

/// What came of making an image.
enum Made {
    /// One that has passed.
    Candidate(Candidate),
    /// One of the same content was there.
    Before(Finished),
}

impl<'a> Bake<'a> {
    fn new(plan: &'a BakePlan, env: &'a BakeEnv<'a>, ledger: Ledger, began: Instant) -> Self {
        Self {
            plan,
            env,
            ledger,
            debug_login: Mutex::new(None),
            source: OnceLock::new(),
            content: OnceLock::new(),
            reused: OnceLock::new(),
            gate: Mutex::default(),
            until: Mutex::new(began + plan.builder.timeouts.total),
        }
    }

    fn baked(&self, image: Option<Finished>, failure: Option<Failure>, began: Instant) -> Baked {
        Baked {
            image,
            failure,
            source: self.source.get().cloned(),
            region: self.env.target.region().map(str::to_owned),
            reused: self.reused.get().is_some(),
            content: self.content.get().cloned(),
            gate: self.gate().clone(),
            elapsed: began.elapsed(),
        }
    }
}

impl Bake<'_> {
    /// Returns the image: one that is there already, or a new one.
    async fn image(&self) -> Result<Published, Failure> {
        let made = tokio::select! {
            made = self.make() => made?,
            never = self.renew_expiry() => match never {},
            never = self.admit() => match never {},
        };
        match made {
            Made::Candidate(candidate) => self.publish(&candidate).await,
            Made::Before(finished) => self.reuse(&finished).await,
        }
    }

    /// Makes an image that has passed, unless there is one of the same content.
    async fn make(&self) -> Result<Made, Failure> {
        let Self { plan, env, .. } = self;
        let cx = self.begin(Phase::Resolve);
        let base = env.target.source(plan, &cx).await.map_err(failed)?;
        let base = self.source.get_or_init(|| base);
        let content = self
            .content
            .get_or_init(|| plan.inputs.content(plan.arch, &base.id()));
        let before = env.target.find_finished(plan, content).await;
        if let Some(before) = before.map_err(failed)? {
            cx.phase.finish(Some(before.id.clone()));
            return Ok(Made::Before(before));
        }
        env.target.check(plan, base, &cx).await.map_err(failed)?;
        // Waiting for another, which has a limit of its own, takes no time of this bake's.
        self.extend(3 * plan.builder.timeouts.total);
        let turn = env.target.take_turn(plan, content, &cx).await;
        self.extend(plan.builder.timeouts.total);
        if let Turn::Made(meanwhile) = turn.map_err(failed)? {
            cx.phase.finish(Some(meanwhile.id.clone()));
            return Ok(Made::Before(meanwhile));
        }
        cx.phase
            .finish(Some(format!("{} ({})", base.id(), base.name())));
        self.make_anew(base).await.map(Made::Candidate)
    }

    async fn make_anew(&self, base: &Base) -> Result<Candidate, Failure> {
        let Self { plan, env, .. } = self;
        let cx = self.begin(Phase::Launch);
        let prepared = env.target.prepare(plan, base, &cx).await;
        prepared.map_err(failed)?;
        let builder = env.target.launch(plan, base, Role::Builder, &cx).await;
        let builder = builder.map_err(failed)?;
        cx.phase
            .finish(Some(format!("{} at {}", builder.id, builder.host)));

        let sealed = self
            .while_it_lives(&builder, self.work_on(&builder))
            .await?;

        let cx = self.begin(Phase::Capture);
        let candidate = env.target.capture(plan, &builder, &cx).await;
        let candidate = candidate.map_err(failed)?;
        cx.phase.finish(Some(candidate.id.clone()));

        self.check_candidate(&candidate, &sealed).await?;
        Ok(candidate)
    }

    /// Makes the builder what the image is to be, and seals it.
    async fn work_on(&self, builder: &Machine) -> Result<seal::Sealed, Failure> {
        let session = self.meet(builder).await?;
        let session = &*session;
        let working = self.provision(session, builder);
        self.with_logs(session, Role::Builder, working).await?;
        self.seal(session, builder).await
    }

    /// Takes an image that was there for the result, as published as the manifest wants it now.
    async fn reuse(&self, finished: &Finished) -> Result<Published, Failure> {
        let cx = self.begin(Phase::Publish);
        let target = self.env.target;
        let repaired = target.repair(self.plan, finished, Publisher::Build, &cx);
        let published = repaired.await.map_err(failed)?;
        self.reused.get_or_init(|| ());
        if let Some(image) = &published.image {
            if published.unfinished.is_none() {
                cx.phase.finish(Some(image.id.clone()));
            }
            let (image_id, name) = (image.id.clone(), image.name.clone());
            self.env.events.send(Event::ImageReused { image_id, name });
        }
        Ok(published)
    }

    /// Makes it the image. Nobody renews meanwhile, since a late answer would put an expiry on what
    /// has none: before, all is given the time that the bake has.
    async fn publish(&self, candidate: &Candidate) -> Result<Published, Failure> {
        let Self { plan, env, .. } = self;
        // Whatever took the time: what has passed is not thrown away for it.
        self.extend(self.rest().max(PUBLISHING));
        let cx = self.begin(Phase::Publish);
        let renewing = self.renew(self.rest().max(LIFETIME));
        if clock::timeout(env.renew_every, renewing).await.is_err() {
            env.events
                .warn("the run's expiry could not be renewed in time");
        }
        let gate = self.gate().clone();
        let done = env.target.publish(plan, candidate, &gate, &cx).await;
        let published = done.map_err(failed)?;
        self.tell_published(cx, &published);
        Ok(published)
    }

    /// Ends the phase that published an image; one that is not complete has failed.
    fn tell_published(&self, cx: PhaseContext<'_>, published: &Published) {
        let Some(image) = &published.image else {
            return;
        };
        if published.unfinished.is_none() {
            cx.phase.finish(Some(image.id.clone()));
        }
        let (image_id, name) = (image.id.clone(), image.name.clone());
        self.env.events.send(Event::ImageReady { image_id, name });
    }

    /// Begins a phase, with what the target's part of it may use.
    fn begin(&self, phase: Phase) -> PhaseContext<'_> {
        PhaseContext {
            ledger: &self.ledger,
            phase: self.env.events.phase(phase),
            until: self.until(),
        }
    }

    fn gate(&self) -> MutexGuard<'_, GateRecord> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, debug_login: Option<DebugLogin>) {
        *self
            .debug_login
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = debug_login;
    }
}

#[cfg(test)]
mod tests;
