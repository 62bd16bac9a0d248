//! The story of one image: launch, connect, provision, seal, capture, test, publish; and whatever
//! its end, what it created is paid for.
//!
//! The order is here; each part is its room's. What runs playbooks is behind [`Hands`].

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;

use crate::event::{Event, Events, Phase, Running};
use crate::exit::{Exit, Failure, Leftover};
use crate::guest::{gate, prepare, seal};
use crate::interrupt::Interrupt;
use crate::ledger::{BakeEnd, Ledger};
use crate::plan::{BakePlan, OnError};
use crate::ssh::{self, Destination, Link, Login, Patience, PublicLine, Silence, Trust};
use crate::target::{Candidate, Cx, Fault, Finished, Machine, Role, Target, TargetError};

/// How long the run's things live in the account after their expiry was renewed.
const EXPIRY: Duration = Duration::from_secs(60 * 60);

/// How often the account's expiry is set back.
const RENEW_EVERY: Duration = Duration::from_secs(5 * 60);

/// A machine's timer is set back this often before it would run out.
const RENEWALS: u32 = 6;

/// A machine that is silent is a reason to look for our own address, this often.
const ADMIT_EVERY: Duration = Duration::from_secs(10);

/// What runs playbooks on a machine: the agent's side.
#[async_trait]
pub(crate) trait Hands: Send + Sync {
    /// Runs the plan's steps.
    async fn provision(
        &self,
        link: &Link,
        plan: &BakePlan,
        machine: &Machine,
    ) -> Result<(), Failure>;
    /// Runs the plan's tests.
    async fn test(&self, link: &Link, plan: &BakePlan, machine: &Machine) -> Result<(), Failure>;
}

/// Everything a bake works with.
pub(crate) struct Workshop<'a> {
    /// Where machines come from.
    pub(crate) target: &'a dyn Target,
    /// What runs the playbooks.
    pub(crate) hands: &'a dyn Hands,
    /// Where to say what happens.
    pub(crate) events: &'a Events,
    /// Whether to stop.
    pub(crate) interrupt: &'a Interrupt,
    /// Told when a machine that should answer is silent.
    pub(crate) silence: Silence,
}

/// What came of a bake. Both, when the image is finished and something temporary stays.
#[derive(Debug)]
pub(crate) struct Baked {
    /// The image, tested and published.
    pub(crate) image: Option<Finished>,
    /// What went wrong.
    pub(crate) failure: Option<Failure>,
}

impl From<Failure> for Baked {
    fn from(failure: Failure) -> Self {
        Self {
            image: None,
            failure: Some(failure),
        }
    }
}

/// Bakes one image and pays what is due, come what may.
pub(crate) async fn bake(plan: &BakePlan, shop: &Workshop<'_>) -> Baked {
    let ledger = match Ledger::open(&plan.run) {
        Ok(ledger) => ledger,
        Err(error) => return Failure::new(error).into(),
    };
    let making = AssertUnwindSafe(async {
        tokio::select! {
            made = make(plan, shop, &ledger) => made,
            never = renew_expiry(plan, shop) => match never {},
            never = admit(plan, shop) => match never {},
        }
    })
    .catch_unwind();
    let outcome = tokio::select! {
        biased;
        () = shop.interrupt.cancel.cancelled() => Err(interrupted()),
        outcome = making => outcome.unwrap_or_else(|panic| Err(panicked(&*panic))),
        () = tokio::time::sleep(plan.builder.timeouts.total) => Err(too_slow("the bake", "total")),
    };
    match outcome {
        Err(failure) if plan.on_error == OnError::Keep && failure.kind != Exit::Interrupted => {
            keep(failure, &ledger).into()
        }
        outcome => settle(outcome, shop, &ledger).await,
    }
}

/// Unwinds the ledger; what stays is added to the answer.
async fn settle(outcome: Result<Finished, Failure>, shop: &Workshop<'_>, ledger: &Ledger) -> Baked {
    let end = match outcome {
        Ok(_) => BakeEnd::Succeeded,
        Err(_) => BakeEnd::Failed,
    };
    let phase = shop.events.phase(Phase::Teardown);
    let unwound = ledger.unwind(shop.target, end, &shop.interrupt.abort).await;
    for why in &unwound.why {
        shop.events.warn(why.clone());
    }
    let clean = unwound.leftovers.is_empty();
    if clean {
        phase.finish(None);
    }
    match outcome {
        Ok(image) => Baked {
            failure: (!clean).then(|| left(&image, unwound.leftovers)),
            image: Some(image),
        },
        Err(mut failure) => {
            failure.cleaned_up =
                (clean && ledger.was_used()).then(|| "everything temporary is gone".to_owned());
            failure.left_behind.extend(unwound.leftovers);
            failure.into()
        }
    }
}

fn left(image: &Finished, leftovers: Vec<Leftover>) -> Failure {
    let message = format!(
        "{} is finished, and something temporary is not gone",
        image.id
    );
    let mut failure = Failure::new(message);
    failure.left_behind = leftovers;
    failure
}

/// The user wants to look at what failed: it stays, named, until its own timer ends it.
fn keep(mut failure: Failure, ledger: &Ledger) -> Failure {
    failure
        .left_behind
        .extend(ledger.outstanding(BakeEnd::Failed));
    failure
}

/// Returns the failure of a command that was told to stop.
pub(crate) fn interrupted() -> Failure {
    Failure::new("interrupted").of_kind(Exit::Interrupted)
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

async fn make(plan: &BakePlan, shop: &Workshop<'_>, ledger: &Ledger) -> Result<Finished, Failure> {
    let phase = shop.events.phase(Phase::Resolve);
    let cx = Cx {
        ledger,
        phase: &phase,
    };
    let base = shop.target.resolve(plan, &cx).await.map_err(failed)?;
    phase.finish(Some(format!("{} ({})", base.id, base.name)));

    let phase = shop.events.phase(Phase::Launch);
    let cx = Cx {
        ledger,
        phase: &phase,
    };
    let builder = shop
        .target
        .launch(plan, &base, Role::Builder, &cx)
        .await
        .map_err(failed)?;
    phase.finish(Some(format!("{} at {}", builder.id, builder.host)));

    let link = meet(plan, shop, &builder).await?;
    let phase = shop.events.phase(Phase::Provision);
    let limit = plan.builder.timeouts.provision;
    let working = shop.hands.provision(&link, plan, &builder);
    let provisioned = tokio::select! {
        provisioned = tokio::time::timeout(limit, working) => provisioned,
        never = renew_timer(&link, plan, shop) => match never {},
    };
    match provisioned {
        Ok(provisioned) => provisioned?,
        Err(_) => return Err(too_slow("provisioning", "provision")),
    }
    phase.finish(None);

    let phase = shop.events.phase(Phase::Seal);
    prepare::renew_timer(&link, plan.builder.timeouts.unattended)
        .await
        .map_err(Failure::new)?;
    let sealed = seal::seal(&link).await.map_err(Failure::new)?;
    link.close().await;
    if !sealed.residue.is_empty() {
        return Err(gate_failed(&sealed.residue, "is still there after sealing"));
    }
    phase.finish(None);

    let phase = shop.events.phase(Phase::Capture);
    let cx = Cx {
        ledger,
        phase: &phase,
    };
    let candidate = shop
        .target
        .capture(plan, &builder, &cx)
        .await
        .map_err(failed)?;
    phase.finish(Some(candidate.id.clone()));

    judge(plan, shop, ledger, &candidate, &sealed).await?;

    let phase = shop.events.phase(Phase::Publish);
    let cx = Cx {
        ledger,
        phase: &phase,
    };
    let done = shop
        .target
        .publish(plan, &candidate, &cx)
        .await
        .map_err(failed)?;
    phase.finish(Some(done.id.clone()));
    let (image_id, name) = (done.id.clone(), done.name.clone());
    shop.events.send(Event::ImageReady { image_id, name });
    Ok(done)
}

/// Keeps the machine from ending itself, for as long as it is polled.
async fn renew_timer(link: &Link, plan: &BakePlan, shop: &Workshop<'_>) -> Infallible {
    let lifetime = plan.builder.timeouts.unattended;
    loop {
        if let Err(error) = prepare::renew_timer(link, lifetime).await {
            let message = format!("the machine's own timer could not be renewed: {error}");
            shop.events.warn(message);
        }
        tokio::time::sleep(lifetime / RENEWALS).await;
    }
}

/// Follows this machine's address while another is silent, for as long as it is polled: a laptop
/// has changed its network, a router its address.
async fn admit(plan: &BakePlan, shop: &Workshop<'_>) -> Infallible {
    let mut said = false;
    loop {
        shop.silence.met().await;
        if let Err(error) = shop.target.admit(plan).await
            && !said
        {
            said = true; // the network may be away: once is enough
            let message = format!("the machine is silent, and {error}");
            shop.events.warn(message);
        }
        tokio::time::sleep(ADMIT_EVERY).await;
    }
}

/// Keeps the run's things from expiring, for as long as it is polled: no longer than
/// `timeouts.total`.
async fn renew_expiry(plan: &BakePlan, shop: &Workshop<'_>) -> Infallible {
    loop {
        tokio::time::sleep(RENEW_EVERY).await;
        if let Err(error) = shop.target.renew(plan, EXPIRY).await {
            let message = format!("the run's expiry could not be renewed: {error}");
            shop.events.warn(message);
        }
    }
}

/// Connects to the builder and returns when its first task may run.
async fn meet(plan: &BakePlan, shop: &Workshop<'_>, builder: &Machine) -> Result<Link, Failure> {
    let phase = shop.events.phase(Phase::Connect);
    let link = connect(plan, shop, builder).await?;
    rekey(&link).await?;
    ready(plan, shop, &link, &phase, Role::Builder).await?;
    phase.finish(None);
    Ok(link)
}

/// Both halves of the gate, the sealed root and the booted candidate, say no in one way.
fn gate_failed(found: &[String], what: &str) -> Failure {
    let found: Vec<String> = found
        .iter()
        .map(|thing| format!("{thing} {what}").trim_end().to_owned())
        .collect();
    Failure::new(format!("the image failed its gate: {}", found.join("; ")))
        .of_kind(Exit::GateFailed)
        .with_hint("nothing was published; what the playbooks or the image's units put there, sealing could not take")
}

async fn ready(
    plan: &BakePlan,
    shop: &Workshop<'_>,
    link: &Link,
    phase: &Running,
    role: Role,
) -> Result<(), Failure> {
    phase.progress("waiting for the first boot to finish", None);
    let ready = prepare::wait_until_ready(link, plan.builder.timeouts.connect, role)
        .await
        .map_err(Failure::new)?;
    for warning in ready.warnings {
        shop.events.warn(warning);
    }
    Ok(())
}

/// Boots the candidate and looks at it.
async fn judge(
    plan: &BakePlan,
    shop: &Workshop<'_>,
    ledger: &Ledger,
    candidate: &Candidate,
    sealed: &seal::Sealed,
) -> Result<(), Failure> {
    let phase = shop.events.phase(Phase::Test);
    let cx = Cx {
        ledger,
        phase: &phase,
    };
    let machine = shop
        .target
        .launch(plan, &candidate.base, Role::Candidate, &cx)
        .await
        .map_err(failed)?;
    let link = connect(plan, shop, &machine).await?;
    ready(plan, shop, &link, &phase, Role::Candidate).await?;
    let login = machine
        .login_key
        .public_key()
        .to_openssh()
        .unwrap_or_default();
    let findings = gate::look(&link, sealed, &login)
        .await
        .map_err(Failure::new)?;
    for warning in findings.warnings {
        shop.events.warn(warning);
    }
    if !findings.failures.is_empty() {
        return Err(gate_failed(&findings.failures, ""));
    }
    let tested = tokio::select! {
        tested = shop.hands.test(&link, plan, &machine) => tested,
        never = renew_timer(&link, plan, shop) => match never {},
    };
    tested.map_err(|failure| failure.of_kind(Exit::GateFailed))?;
    link.close().await;
    shop.target.dismiss(&machine).await.map_err(failed)?;
    phase.finish(None);
    Ok(())
}

async fn connect(plan: &BakePlan, shop: &Workshop<'_>, machine: &Machine) -> Result<Link, Failure> {
    let destination = Destination {
        host: machine.host.clone(),
        port: machine.port,
        user: machine.user.clone(),
        trust: Trust::Exact(vec![machine.host_key.clone()]),
        login: Login {
            keys: vec![Arc::new(machine.login_key.clone())],
            ..Login::default()
        },
        jump: None,
        silence: shop.silence.clone(),
    };
    let patience = Patience::until(plan.builder.timeouts.connect);
    match ssh::connect(destination, patience, shop.events).await {
        Ok(link) => Ok(link),
        Err(error) => {
            let mut hints: Vec<String> = error.hint().into_iter().collect();
            // Another machine answered: what ours is like explains nothing.
            if !error.is_mistaken_identity() {
                hints.extend(shop.target.diagnose(machine).await);
            }
            let mut failure = Failure::new(error);
            failure.hint = (!hints.is_empty()).then(|| hints.join("\n"));
            Err(failure)
        }
    }
}

/// The key in the user data is known to whoever can read that: the guest makes itself another.
async fn rekey(link: &Link) -> Result<(), Failure> {
    let line = prepare::new_host_key(link).await.map_err(Failure::new)?;
    let key: PublicLine = line.parse().map_err(Failure::new)?;
    link.repin(&[key]).await;
    Ok(())
}

/// Returns what a target's error means for the command.
pub(crate) fn failed(error: TargetError) -> Failure {
    let hint = error.hint().map(str::to_owned);
    let kind = match error.fault {
        Fault::Manifest => Exit::Usage,
        Fault::World => Exit::Failed,
    };
    let mut failure = Failure::new(error).of_kind(kind);
    failure.hint = hint;
    failure
}
