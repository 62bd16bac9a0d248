//! What is done on the machines of a bake: the builder is provisioned and sealed, the candidate examined.

use std::time::Duration;

use super::failure::{gate_failed, is_the_image_s, too_slow};
use super::{Bake, failed};
use crate::clock;
use crate::connector::Session;
use crate::debug_login::DebugLogin;
use crate::event::Phase;
use crate::exit::{Exit, Failure};
use crate::guest::gate::{Finding, booted};
use crate::guest::{prepare, seal};
use crate::ssh::PublicLine;
use crate::targets::{Candidate, Machine, PhaseContext, Role};

/// Sealing stops services, each of which may take its time, and renews nothing meanwhile.
const SEALING: Duration = Duration::from_secs(30 * 60);

impl Bake<'_> {
    /// Connects to the builder and returns when its first task may run.
    pub(super) async fn meet(&self, builder: &Machine) -> Result<Box<dyn Session>, Failure> {
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
    pub(super) async fn rekey(&self, session: &dyn Session) -> Result<String, Failure> {
        let line = prepare::new_host_key(session).await?;
        let key: PublicLine = line.parse().map_err(Failure::new)?;
        let limit = self.plan.builder.timeouts.connect;
        session.repin(&key, limit).await?;
        Ok(line)
    }

    pub(super) async fn provision(
        &self,
        session: &dyn Session,
        builder: &Machine,
    ) -> Result<(), Failure> {
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

    /// Takes from the machine what must not be in an image, and looks at what is left: nobody can log in
    /// to it any more.
    pub(super) async fn seal(
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

    /// Boots the candidate and looks at it.
    pub(super) async fn check_candidate(
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
    pub(super) async fn examine(
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
    pub(super) async fn look(
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
}

/// Returns the public half of a machine's login key.
fn login_line(machine: &Machine) -> Result<String, Failure> {
    let line = machine.login_key.public_key().to_openssh();
    line.map_err(Failure::new)
}
