//! The story of one image: launch, connect, provision, seal, capture, test, publish; and whatever
//! its end, what it created is paid for.
//!
//! The order is here; each part is its room's. What runs playbooks is behind [`Provisioner`].

pub(crate) mod existing;

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use time::OffsetDateTime;

use crate::agent::AgentError;
use crate::clock::{self, Instant};
use crate::connector::{ConnectError, Connector, LiesWith, Session};
use crate::debug_login::DebugLogin;
use crate::event::{Event, Events, Phase};
use crate::exit::{Exit, Failure, chain};
use crate::failure_bundle::FailureBundle;
use crate::guest::gate::{Finding, GateRecord, booted};
use crate::guest::{GuestError, RootShell, prepare, seal};
use crate::identity::Content;
use crate::interrupt::Interrupt;
use crate::ledger::{BakeEnd, Ledger};
use crate::plan::{BakePlan, OnError};
use crate::ssh::PublicLine;
use crate::targets::{
    BEAT, Base, Candidate, Fault, Finished, LIFETIME, Machine, PhaseContext, Published, Publisher,
    Role, Target, TargetError, Turn, Unfinished, reap,
};

/// How often the account's expiry is set back.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// A machine's timer is set back this often before it would run out.
const RENEWALS: u32 = 6;

/// Sealing stops services, each of which may take its time, and renews nothing meanwhile.
const SEALING: Duration = Duration::from_secs(30 * 60);

/// How often the target is asked whether a machine lives that is connected to.
const WATCH_EVERY: Duration = Duration::from_secs(3);

/// How soon after a link is lost the target knows that it was for good: a machine that powers itself
/// off cuts it some seconds before.
const UNTIL_DEATH_IS_KNOWN: Duration = Duration::from_secs(8);

/// A machine that is silent is a reason to look for our own address, this often.
const ADMIT_EVERY: Duration = Duration::from_secs(10);

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

    async fn provision(&self, session: &dyn Session, builder: &Machine) -> Result<(), Failure> {
        let Self { plan, env, .. } = self;
        let cx = self.begin(Phase::Provision);
        let limit = plan.builder.timeouts.provision;
        let work = env.provisioner.provision(session, plan, builder);
        let working = clock::timeout(limit, work);
        self.renewing(session, Role::Builder, working)
            .await
            .unwrap_or_else(|_| Err(too_slow("provisioning", "provision")))?;
        cx.phase.finish(None);
        Ok(())
    }

    /// Works on a machine, and keeps its logs if that fails although it can be talked to.
    async fn with_logs<T>(
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
    async fn while_it_lives<T>(
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

    async fn keep_console(&self, machine: &Machine) {
        if let Some(bundle) = self.env.bundle {
            bundle.keep_console(self.env.target, machine).await;
        }
    }

    /// Returns when the target knows that the machine is no more.
    async fn death(&self, machine: &Machine) -> Failure {
        loop {
            self.env.connector.connecting().await;
            if let Some(death) = self.env.target.death(machine).await {
                return failed(death);
            }
            clock::sleep(WATCH_EVERY).await;
        }
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

    /// Connects to the builder and returns when its first task may run.
    async fn meet(&self, builder: &Machine) -> Result<Box<dyn Session>, Failure> {
        let cx = self.begin(Phase::Connect);
        self.open(Some(DebugLogin::of(builder)));
        let session = self.connect(builder).await?;
        let line = self.rekey(&*session).await?;
        self.open(Some(DebugLogin::of(builder).pinned(line)));
        let booting = self.ready(&*session, &cx, Role::Builder);
        self.with_logs(&*session, Role::Builder, booting).await?;
        cx.phase.finish(None);
        Ok(session)
    }

    /// The key in the user data is known to whoever can read that: the guest makes itself another,
    /// and proves that new connections see it. Returns it as one line.
    async fn rekey(&self, session: &dyn Session) -> Result<String, Failure> {
        let line = prepare::new_host_key(session).await?;
        let key: PublicLine = line.parse().map_err(Failure::new)?;
        let limit = self.plan.builder.timeouts.connect;
        session.repin(&key, limit).await?;
        Ok(line)
    }

    /// Takes from the machine what must not be in an image, and looks at what is left: nobody can log in
    /// to it any more.
    async fn seal(
        &self,
        session: &dyn Session,
        builder: &Machine,
    ) -> Result<seal::Sealed, Failure> {
        let plan = self.plan;
        let cx = self.begin(Phase::Seal);
        let lifetime = plan.builder.timeouts.unattended.max(SEALING);
        prepare::renew_timer(session, &plan.run, Role::Builder, lifetime).await?;
        let expected = seal::Expected {
            login: &login_line(builder)?,
            user: &session.user().await,
            port: builder.port,
            datasource: plan.target.datasource(),
        };
        let sealed = seal::seal(session, expected).await?;
        self.open(None);
        session.close().await;
        for said in &sealed.said {
            self.env.events.warn(said.clone());
        }
        self.judge(sealed.findings.clone())?;
        cx.phase.finish(None);
        Ok(sealed)
    }

    /// Tells what one half of the gate found, and fails if some of that keeps it from being an image.
    fn judge(&self, findings: Vec<Finding>) -> Result<(), Failure> {
        let verdict = self.gate().take(&self.plan.gate, findings);
        for warning in verdict.warnings {
            self.env.events.warn(warning);
        }
        if !verdict.failures.is_empty() {
            return Err(gate_failed(&verdict.failures));
        }
        Ok(())
    }

    fn gate(&self) -> MutexGuard<'_, GateRecord> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Boots the candidate and looks at it.
    async fn check_candidate(
        &self,
        candidate: &Candidate,
        sealed: &seal::Sealed,
    ) -> Result<(), Failure> {
        let Self { plan, env, .. } = self;
        let cx = self.begin(Phase::Test);
        let base = &candidate.base;
        let machine = env.target.launch(plan, base, Role::Candidate, &cx).await;
        let machine = machine.map_err(failed)?;
        self.open(Some(DebugLogin::of(&machine)));
        let examining = self.examine(&machine, sealed, &cx);
        self.while_it_lives(&machine, examining)
            .await
            .map_err(|failure| match is_the_image_s(&failure) {
                true => failure.of_kind(Exit::GateFailed),
                false => failure,
            })?;
        if let Err(error) = env.target.dismiss(&machine).await {
            // The image has passed; unwinding removes the machine, or names it.
            let message = format!(
                "the candidate's machine has not ended yet: {}",
                error.on_one_line()
            );
            env.events.warn(message);
        }
        self.open(None);
        cx.phase.finish(None);
        Ok(())
    }

    /// What goes wrong here is the image's fault, as a rule: it does not boot, or cannot be logged in
    /// to.
    async fn examine(
        &self,
        machine: &Machine,
        sealed: &seal::Sealed,
        cx: &PhaseContext<'_>,
    ) -> Result<(), Failure> {
        let session = self.connect(machine).await?;
        let session = &*session;
        let booting = self.ready(session, cx, Role::Candidate);
        if let Err(failure) = self.with_logs(session, Role::Candidate, booting).await {
            return Err(self.explained(failure, machine).await);
        }
        let limit = self.plan.builder.timeouts.test;
        let looking = self.look(session, machine, sealed);
        let looking = self.with_logs(session, Role::Candidate, looking);
        let looking = clock::timeout(limit, looking);
        self.renewing(session, Role::Candidate, looking)
            .await
            .unwrap_or_else(|_| Err(too_slow("testing the image", "test")))?;
        session.close().await;
        Ok(())
    }

    /// The gate, then the manifest's tests.
    async fn look(
        &self,
        session: &dyn Session,
        machine: &Machine,
        sealed: &seal::Sealed,
    ) -> Result<(), Failure> {
        let plan = self.plan;
        let mut ports = plan.image.ports.clone().unwrap_or_default();
        ports.push(machine.port);
        let wanted = booted::Wanted {
            sealed,
            login: &login_line(machine)?,
            ports: &ports,
        };
        let findings = booted::look(session, &plan.run, wanted).await?;
        self.judge(findings)?;
        for unused in self.gate().close(&plan.gate) {
            let path = unused.path.iter().map(|glob| format!(" for {glob}"));
            let message = format!(
                "{}: the waiver of `{}`{} met nothing",
                unused.span,
                unused.check,
                path.collect::<String>()
            );
            self.env.events.warn(message);
        }
        self.env.provisioner.test(session, self.plan, machine).await
    }

    async fn connect(&self, machine: &Machine) -> Result<Box<dyn Session>, Failure> {
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
    async fn explained(&self, mut failure: Failure, machine: &Machine) -> Failure {
        let mut hints: Vec<String> = failure.hint.take().into_iter().collect();
        hints.extend(self.env.target.diagnose(machine).await);
        failure.hint = (!hints.is_empty()).then(|| hints.join("\n"));
        failure
    }

    /// Returns when the first boot has finished; that may take longer than the machine's own timer.
    async fn ready(
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
    async fn renewing<T>(
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
    async fn renew_timer(&self, shell: &dyn RootShell, role: Role) -> Infallible {
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

    /// Follows this machine's address while another is silent, for as long as it is polled: a
    /// laptop has changed its network, a router its address.
    async fn admit(&self) -> Infallible {
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
    async fn over(&self) {
        loop {
            let rest = self.rest();
            if rest.is_zero() {
                return;
            }
            clock::sleep(rest.min(BEAT)).await;
        }
    }

    fn rest(&self) -> Duration {
        self.until().saturating_duration_since(Instant::now())
    }

    fn until(&self) -> Instant {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it so much time from now on.
    fn extend(&self, total: Duration) {
        let until = Instant::now() + total;
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    /// Says that this run works, for as long as it is polled, to those who would make the same image.
    async fn beat(&self) -> Infallible {
        loop {
            clock::sleep(BEAT).await;
            self.env.target.beat().await;
        }
    }

    /// Keeps the run's things from expiring, for as long as it is polled: no longer than
    /// `timeouts.total`.
    async fn renew_expiry(&self) -> Infallible {
        loop {
            clock::sleep(self.env.renew_every).await;
            self.renew(LIFETIME).await;
        }
    }

    async fn renew(&self, lifetime: Duration) {
        if let Err(error) = self.env.target.renew(self.plan, lifetime).await {
            let message = format!(
                "the run's expiry could not be renewed: {}",
                error.on_one_line()
            );
            self.env.events.warn(message);
        }
    }

    /// Unwinds the ledger; what stays is added to the answer.
    async fn settle(
        &self,
        outcome: Result<Published, Failure>,
    ) -> (Option<Finished>, Option<Failure>) {
        let Self { env, ledger, .. } = self;
        let end = match outcome {
            Ok(_) => BakeEnd::Succeeded,
            Err(_) => BakeEnd::Failed,
        };
        let phase = env.events.phase(Phase::Teardown);
        let unwound = ledger.unwind(env.target, end, &env.interrupt.abort).await;
        for why in &unwound.why {
            env.events.warn(why.clone());
        }
        let clean = unwound.leftovers.is_empty();
        if clean {
            phase.finish(None);
        }
        let (image, failure) = match outcome {
            Ok(Published {
                image,
                unfinished: Some(unfinished),
            }) => (image, Some(not_published(unfinished))),
            Ok(Published { image, .. }) => {
                let left = "is finished, and something temporary is not gone";
                let id = image.as_ref().map_or("the image", |image| &image.id);
                let failure = (!clean).then(|| Failure::new(format!("{id} {left}")));
                (image, failure)
            }
            Err(mut failure) => {
                let stays = env.target.stays();
                let hints = failure.hint.take().into_iter().chain(stays);
                let hints: Vec<String> = hints.collect();
                failure.hint = (!hints.is_empty()).then(|| hints.join("\n"));
                (None, Some(failure))
            }
        };
        let failure = failure.map(|mut failure| {
            if unwound.aborted && !clean {
                failure.kind = Exit::Aborted;
            }
            failure.cleaned_up =
                (clean && ledger.was_used()).then(|| "everything temporary is gone".to_owned());
            failure.left_behind.extend(unwound.leftovers);
            failure
        });
        (image, failure)
    }

    /// An interrupted bake is not looked at: whoever interrupts wants it gone.
    fn keeps(&self, failure: &Failure) -> bool {
        self.plan.on_error == OnError::Keep
            && failure.kind != Exit::Interrupted
            && !self
                .ledger
                .outstanding(self.env.target, BakeEnd::Failed)
                .is_empty()
    }

    /// The user wants to look at what failed: all of it stays, named, until its timer shuts it down.
    async fn keep(&self, mut failure: Failure) -> Failure {
        let Self { plan, env, .. } = self;
        let lifetime = plan.builder.timeouts.unattended;
        let expiry = LIFETIME.max(2 * lifetime);
        self.renew(expiry).await;
        if let Err(error) = self.ledger.keep(OffsetDateTime::now_utc() + expiry) {
            let message = format!(
                "the next `amibake reap` removes what is kept: {}",
                chain(&error)
            );
            env.events.warn(message);
        }
        let mut hints: Vec<String> = failure.hint.take().into_iter().collect();
        let debug_login = self
            .debug_login
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match debug_login.as_ref().map(|d| d.write(env.state_folder, &plan.run)) {
            Some(Ok(command)) => hints.push(format!(
                "the machine stays for {} minutes at most, then it ends itself; log in with\n{command}",
                lifetime.as_secs().div_ceil(60)
            )),
            Some(Err(error)) => {
                let message = format!("the login key of what is kept could not be written: {}", chain(&error));
                env.events.warn(message);
            }
            None => {}
        }
        let reap = reap::command(Some(&plan.run), env.target.region());
        hints.push(format!("`{reap}` removes all that is kept"));
        failure.hint = Some(hints.join("\n"));
        let left = self.ledger.outstanding(self.env.target, BakeEnd::Failed);
        failure.left_behind.extend(left);
        failure
    }

    fn open(&self, debug_login: Option<DebugLogin>) {
        *self
            .debug_login
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = debug_login;
    }
}

/// A publication that did not come to its end is a failure that leaves the image behind.
fn not_published(unfinished: Unfinished) -> Failure {
    let mut failure = failed(unfinished.error);
    failure.kind = Exit::Failed;
    failure.left_behind = unfinished.kept;
    failure
}

/// Both halves of the gate, the sealed root and the booted candidate, say no in one way.
fn gate_failed(found: &[String]) -> Failure {
    let found = match found {
        [one] => format!(": {one}"),
        several => format!(" in {} places:\n  {}", several.len(), several.join("\n  ")),
    };
    Failure::new(format!("the image failed its gate{found}"))
        .of_kind(Exit::GateFailed)
        .with_hint("nothing was published; what is meant to be in the image is accepted by `gate: {waive: [{check: …, path: …, reason: …}]}`")
}

/// Returns the public half of a machine's login key.
fn login_line(machine: &Machine) -> Result<String, Failure> {
    let line = machine.login_key.public_key().to_openssh();
    line.map_err(Failure::new)
}

/// Returns the failure of a command that was told to stop.
pub(crate) fn interrupted() -> Failure {
    Failure::new("interrupted").of_kind(Exit::Interrupted)
}

/// Returns whether it may have failed because the machine is gone.
fn is_about_the_link(failure: &Failure) -> bool {
    let error: &(dyn std::error::Error + 'static) = &*failure.error;
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let guest = error.downcast_ref::<GuestError>();
        let agent = error.downcast_ref::<AgentError>();
        guest.is_some_and(GuestError::is_about_the_link)
            || matches!(agent, Some(AgentError::Link(_)))
    })
}

/// Returns whether the image may be to blame for what went wrong on its machine. It is not where the
/// link was cut, another machine answered, or the machine was ended from outside.
fn is_the_image_s(failure: &Failure) -> bool {
    let error = &*failure.error;
    let connecting = error.downcast_ref::<ConnectError>();
    let ended = error.downcast_ref::<TargetError>();
    !is_about_the_link(failure)
        && connecting.is_none_or(|error| error.lies_with == LiesWith::Machine)
        && ended.is_none_or(|error| error.fault != Fault::World)
}

fn panicked(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic");
    Failure::new(format!(
        "amibake itself failed (please report this): {text}"
    ))
}

fn too_slow(what: &str, limit: &str) -> Failure {
    Failure::new(format!("{what} took longer than builder.timeouts.{limit}"))
}

/// Returns what a target's error means for the command.
pub(crate) fn failed(error: impl Into<TargetError>) -> Failure {
    let error = error.into();
    let hint = error.hint().map(str::to_owned);
    let kind = match error.fault {
        Fault::Manifest => Exit::Usage,
        Fault::World | Fault::Machine => Exit::Failed,
    };
    let mut failure = Failure::new(error).of_kind(kind);
    failure.hint = hint;
    failure
}

#[cfg(test)]
mod tests;
