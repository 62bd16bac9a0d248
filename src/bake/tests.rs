//! What a bake does beside its story: keeping its things alive, and hearing answers that come late.
//! Targets and machines are made up; the clock is real, and short.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::failure::{gate_failed, is_the_image_s};
use super::machine::{RENEWALS, UNTIL_DEATH_IS_KNOWN, WATCH_EVERY};
use super::*;
use crate::connector::{ConnectError, LiesWith};
use crate::event::{self, Reports};
use crate::exit::{Exit, Leftover, chain};
use crate::guest::{self, GuestError, Operation, RootShell};
use crate::ledger::{self, BakeEnd, Debt, Due, JournalError, Paid, Payer, Undo};
use crate::manifest::{self, Given, TargetKind};
use crate::plan::{self, OnError};
use crate::run::RunId;
use crate::targets::{self, Base, Fault, TargetError};
use crate::transport::ExitStatus;

const RENEW_EVERY: Duration = Duration::from_millis(20);

/// A target that never gets further than its first machine.
#[derive(Default)]
struct Stuck {
    renewals: AtomicUsize,
    launch: Option<Answer>,
    launching: CancellationToken,
    paid: Mutex<Vec<Vec<String>>>,
    /// How often it looked for what has no name.
    looks: AtomicUsize,
    /// Whether it ends looking, having found nothing.
    gives_up: bool,
    /// What it launches at once, if anything.
    machine: Option<Machine>,
    /// How often it is asked in vain whether the machine lives before it says that it does not.
    dies_after: Option<usize>,
    asked: AtomicUsize,
}

/// What EC2 says to RunInstances, and when.
struct Answer {
    when: Mutex<Option<oneshot::Receiver<Result<String, LaunchError>>>>,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
enum LaunchError {
    #[error("no capacity")]
    Capacity,
    #[error("no answer")]
    Lost,
    #[error("no journal")]
    Journal(#[from] JournalError),
}

fn owed(what: &str) -> Undo {
    Undo::new("made up", &serde_json::json!({"what": what}))
}

#[async_trait]
impl Target for Stuck {
    async fn source(&self, _plan: &BakePlan, _cx: &PhaseContext<'_>) -> Result<Base, TargetError> {
        if self.launch.is_none() {
            std::future::pending::<()>().await;
        }
        Ok(Base::Image {
            id: "base".into(),
            name: "base".into(),
        })
    }

    async fn prepare(
        &self,
        _plan: &BakePlan,
        _base: &Base,
        _cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        Ok(())
    }

    async fn launch(
        &self,
        _plan: &BakePlan,
        _base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError> {
        if let Some(machine) = &self.machine {
            return Ok(machine.clone());
        }
        let answer = self.launch.as_ref().unwrap().when.lock().unwrap().take();
        let answer = answer.unwrap();
        let undo = owed(&role.to_string());
        self.launching.cancel();
        let call = Box::pin(async { answer.await.unwrap() });
        let debts = [(Due::Always, undo)];
        let refused = |error: &LaunchError| matches!(error, LaunchError::Capacity);
        let made = cx.ledger.create(debts, refused, call);
        made.await
            .map_err(|e| TargetError::new("refused").because(e))?;
        std::future::pending().await
    }

    async fn diagnose(&self, _machine: &Machine) -> Vec<String> {
        Vec::new()
    }

    async fn death(&self, _machine: &Machine) -> Option<TargetError> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        self.dies_after
            .is_some_and(|after| asked >= after)
            .then(|| TargetError::new("i-1 is terminated: Server.InternalError"))
    }

    async fn admit(&self, _plan: &BakePlan) -> Result<(), TargetError> {
        unreachable!("nothing is silent")
    }

    async fn capture(
        &self,
        _plan: &BakePlan,
        _builder: &Machine,
        _cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError> {
        unreachable!("it has no machine")
    }

    async fn dismiss(&self, _machine: &Machine) -> Result<(), TargetError> {
        unreachable!("it has no machine")
    }

    async fn publish(
        &self,
        _plan: &BakePlan,
        _candidate: &Candidate,
        _gate: &GateRecord,
        _cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        unreachable!("it has no candidate")
    }

    /// The second renewal fails.
    async fn renew(&self, _plan: &BakePlan, lifetime: Duration) -> Result<(), TargetError> {
        assert_eq!(lifetime, LIFETIME);
        match self.renewals.fetch_add(1, Ordering::SeqCst) {
            1 => Err(TargetError::new("throttled")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Payer for Stuck {
    fn leftover(&self, debt: &Debt, run: Option<&RunId>) -> Leftover {
        Leftover {
            what: debt.learned.join(", "),
            remove_with: targets::reap::command(run, None),
        }
    }

    /// Without an id it finds nothing, at once, or looks for ever.
    async fn pay(&self, debt: &Debt) -> Result<Paid, TargetError> {
        if debt.learned.is_empty() {
            self.looks.fetch_add(1, Ordering::SeqCst);
            if !self.gives_up {
                std::future::pending::<()>().await;
            }
            return Ok(Paid::NotFound);
        }
        self.paid.lock().unwrap().push(debt.learned.clone());
        Ok(Paid::Gone)
    }
}

/// Nobody can log in to its machines.
struct NoLogin(LiesWith);

#[async_trait]
impl Connector for NoLogin {
    async fn connect(
        &self,
        _machine: &Machine,
        _patience: Duration,
    ) -> Result<Box<dyn Session>, ConnectError> {
        Err(ConnectError {
            error: "nobody answers".into(),
            hint: None,
            lies_with: self.0,
        })
    }

    async fn silence(&self) {
        std::future::pending::<()>().await;
    }

    /// It goes on trying.
    async fn connecting(&self) {}
}

/// Is told to stop while it connects, and says so before anybody else does.
struct Stopped(CancellationToken);

#[async_trait]
impl Connector for Stopped {
    async fn connect(
        &self,
        machine: &Machine,
        patience: Duration,
    ) -> Result<Box<dyn Session>, ConnectError> {
        self.0.cancel();
        NoLogin(LiesWith::Network).connect(machine, patience).await
    }

    async fn silence(&self) {
        std::future::pending::<()>().await;
    }

    async fn connecting(&self) {}
}

struct NoProvisioner;

#[async_trait]
impl Provisioner for NoProvisioner {
    async fn provision(
        &self,
        _session: &dyn Session,
        _plan: &BakePlan,
        _machine: &Machine,
    ) -> Result<(), Failure> {
        unreachable!("there is no machine")
    }

    async fn test(
        &self,
        _session: &dyn Session,
        _plan: &BakePlan,
        _machine: &Machine,
    ) -> Result<(), Failure> {
        unreachable!("there is no machine")
    }
}

/// A machine that does everything but the second thing it is told, and remembers the scripts. Its
/// first boot lasts until its timer was renewed twice.
#[derive(Clone, Default)]
struct Guest {
    scripts: Arc<Mutex<Vec<String>>>,
}

impl Guest {
    fn count(&self) -> usize {
        self.scripts.lock().unwrap().len()
    }
}

#[async_trait]
impl RootShell for Guest {
    async fn run(&self, operation: Operation, script: &str) -> io::Result<guest::Output> {
        let boots = operation == Operation::AwaitFirstBoot;
        let number = {
            let mut scripts = self.scripts.lock().unwrap();
            scripts.push(script.to_owned());
            scripts.len()
        };
        while boots && self.count() < number + 2 {
            clock::sleep(RENEW_EVERY).await;
        }
        let status = u32::from(number == 2 && !boots);
        Ok(guest::Output {
            exit: ExitStatus::Status(status),
            stdout: String::new(),
            stderr: String::new(),
        })
    }
}

/// A plan, and the folder its run's state goes to.
fn planned(total: Duration) -> (BakePlan, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.yaml");
    let text = "name: web\nsource: {ubuntu: '24.04'}\nimage: {name: web}\n";
    std::fs::write(&path, text).unwrap();
    let now = time::OffsetDateTime::now_utc();
    let manifest = manifest::load(&path, TargetKind::Ec2, &Given::default(), now).unwrap();
    let mut plans = plan::bakes(&manifest, TargetKind::Ec2, OnError::Destroy, now).unwrap();
    let mut plan = plans.remove(0);
    plan.builder.timeouts.total = total;
    (plan, folder)
}

fn env<'a>(
    target: &'a Stuck,
    events: &'a Events,
    interrupt: &'a Interrupt,
    folder: &'a tempfile::TempDir,
) -> BakeEnv<'a> {
    BakeEnv {
        target,
        connector: &NoLogin(LiesWith::Machine),
        provisioner: &NoProvisioner,
        events,
        interrupt,
        state_folder: folder.path(),
        renew_every: RENEW_EVERY,
        bundle: None,
    }
}

fn begun<'a>(plan: &'a BakePlan, env: &'a BakeEnv<'a>) -> Bake<'a> {
    Bake {
        plan,
        env,
        ledger: Ledger::open(env.state_folder, &plan.run).unwrap(),
        debug_login: Mutex::new(None),
        source: OnceLock::new(),
        content: OnceLock::new(),
        reused: OnceLock::new(),
        gate: Mutex::default(),
        until: Mutex::new(Instant::now() + plan.builder.timeouts.total),
    }
}

async fn warnings(events: &Events, mut reports: Reports) -> Vec<String> {
    events.close();
    let mut warnings = Vec::new();
    while let Some(report) = reports.next().await {
        if let Event::Warning { message, .. } = report.event {
            warnings.push(message);
        }
    }
    warnings
}

#[tokio::test]
async fn the_expiry_is_renewed_while_the_bake_lives_and_no_longer_than_its_whole_time() {
    let (plan, folder) = planned(Duration::from_millis(500));
    let (events, reports) = event::channel();
    let (target, interrupt) = (Stuck::default(), Interrupt::default());
    let baked = bake(&plan, &env(&target, &events, &interrupt, &folder)).await;
    let error = baked.failure.unwrap().error.to_string();
    assert!(error.contains("builder.timeouts.total"), "{error}");
    let renewals = target.renewals.load(Ordering::SeqCst);
    assert!(renewals >= 3, "{renewals}, one of which failed");
    clock::sleep(5 * RENEW_EVERY).await;
    assert_eq!(target.renewals.load(Ordering::SeqCst), renewals);
    let warned = "the run's expiry could not be renewed: throttled";
    assert_eq!(warnings(&events, reports).await, [warned]);
}

#[tokio::test]
async fn the_machine_s_own_timer_is_renewed_while_it_is_worked_on() {
    let (mut plan, folder) = planned(Duration::from_secs(60));
    plan.builder.timeouts.unattended = Duration::from_secs(1);
    let (events, reports) = event::channel();
    let (target, interrupt) = (Stuck::default(), Interrupt::default());
    let env = env(&target, &events, &interrupt, &folder);
    let bake = begun(&plan, &env);
    let guest = Guest::default();
    let work = async {
        while guest.count() < 4 {
            clock::sleep(RENEW_EVERY).await;
        }
        "done"
    };
    let started = std::time::Instant::now();
    assert_eq!(bake.renewing(&guest, Role::Builder, work).await, "done");
    let period = plan.builder.timeouts.unattended / RENEWALS;
    assert!(
        started.elapsed() >= 3 * period,
        "{:?}, at once and then each {period:?}",
        started.elapsed()
    );
    let scripts = guest.scripts.lock().unwrap().clone();
    assert!(scripts.iter().all(|s| s.contains("--on-active=1s")));
    clock::sleep(2 * period).await;
    assert_eq!(guest.count(), scripts.len(), "nobody works on it");
    let warnings = warnings(&events, reports).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].starts_with("the machine's own timer could not be renewed"));
}

#[tokio::test]
async fn a_machine_does_not_end_itself_while_its_first_boot_is_waited_for() {
    let (mut plan, folder) = planned(Duration::from_secs(60));
    plan.builder.timeouts.unattended = Duration::from_millis(600);
    let (events, _reports) = event::channel();
    let (target, interrupt) = (Stuck::default(), Interrupt::default());
    let env = env(&target, &events, &interrupt, &folder);
    let bake = begun(&plan, &env);
    let guest = Guest::default();
    let cx = bake.begin(Phase::Connect);
    bake.ready(&guest, &cx, Role::Builder).await.unwrap();
    let scripts = guest.scripts.lock().unwrap().clone();
    let ours = format!("--description='amibake {} builder'", plan.run);
    assert!(scripts.iter().filter(|s| s.contains(&ours)).count() >= 2);
}

fn machine() -> Machine {
    let keys = crate::targets::Keys::make().unwrap();
    Machine {
        id: "i-1".into(),
        host: "127.0.0.1".into(),
        port: 22,
        user: "ubuntu".into(),
        host_key: keys.host.public_key().clone(),
        login_key: keys.login,
    }
}

/// Works on a machine that dies after so many questions; returns the error, and how long it took
/// since the work ended.
async fn worked_on(
    dies_after: Option<usize>,
    work: impl Future<Output = Result<(), Failure>>,
) -> (String, Duration) {
    let _pace = clock::Pace::set(20);
    let (plan, folder) = planned(Duration::from_secs(3600));
    let (events, _reports) = event::channel();
    let target = Stuck {
        dies_after,
        ..Stuck::default()
    };
    let interrupt = Interrupt::default();
    let env = env(&target, &events, &interrupt, &folder);
    let bake = begun(&plan, &env);
    let started = Instant::now();
    let failure = bake.while_it_lives(&machine(), work).await.unwrap_err();
    (chain(&*failure.error), started.elapsed())
}

const DEAD: &str = "i-1 is terminated: Server.InternalError";

#[tokio::test]
async fn a_machine_that_dies_while_it_is_connected_to_is_told_at_once() {
    let (told, after) = worked_on(Some(1), std::future::pending()).await;
    assert_eq!(told, DEAD);
    assert!(after < Duration::from_secs(10), "{after:?}");
}

#[tokio::test]
async fn a_link_that_is_lost_is_explained_by_the_machine_s_end_known_a_moment_later() {
    let cut = || {
        Failure::from(GuestError::CutOff {
            operation: Operation::AwaitFirstBoot,
            how: "signal TERM".into(),
            said: "sudo: unable to resolve host".into(),
        })
    };
    // The first question comes with the first try to connect.
    let lost = async |dies_after| {
        let work = async {
            clock::sleep(WATCH_EVERY / 10).await;
            Err(cut())
        };
        worked_on(dies_after, work).await
    };
    let (told, after) = lost(Some(4)).await;
    assert_eq!(told, DEAD);
    assert!(after < Duration::from_secs(10), "{after:?}");
    let (told, after) = lost(None).await;
    assert_eq!(told, chain(&*cut().error));
    assert!(after >= UNTIL_DEATH_IS_KNOWN, "{after:?}");
}

#[tokio::test]
async fn work_that_failed_by_itself_is_told_at_once() {
    let failed = async { Err(Failure::new("task 3 failed")) };
    let (told, after) = worked_on(None, failed).await;
    assert_eq!(told, "task 3 failed");
    assert!(after < Duration::from_secs(3), "{after:?}");
}

/// Looks at a candidate that cannot be logged in to.
async fn judged(connector: NoLogin, dies_after: Option<usize>) -> Failure {
    let (plan, folder) = planned(Duration::from_secs(60));
    let (events, _reports) = event::channel();
    let target = Stuck {
        machine: Some(machine()),
        dies_after,
        ..Stuck::default()
    };
    let interrupt = Interrupt::default();
    let env = BakeEnv {
        connector: &connector,
        ..env(&target, &events, &interrupt, &folder)
    };
    let bake = begun(&plan, &env);
    let candidate = Candidate {
        id: "ami-1".into(),
        base: Base::Image {
            id: "ami-1".into(),
            name: "web".into(),
        },
    };
    let judged = bake
        .check_candidate(&candidate, &seal::Sealed::default())
        .await;
    judged.unwrap_err()
}

#[tokio::test]
async fn an_image_has_failed_its_gate_where_its_machine_lets_nobody_in_and_not_where_others_are_to_blame()
 {
    for (lies_with, dies_after, exit) in [
        (LiesWith::Machine, None, Exit::GateFailed),
        (LiesWith::Network, None, Exit::Failed),
        (LiesWith::Stranger, None, Exit::Failed),
        // EC2 has ended it.
        (LiesWith::Machine, Some(0), Exit::Failed),
    ] {
        let failure = judged(NoLogin(lies_with), dies_after).await;
        assert_eq!(failure.exit(), exit, "{lies_with:?}: {}", failure.error);
    }
    let ended = |fault| failed(TargetError::new("i-1 is stopped").blamed_on(fault));
    assert!(is_the_image_s(&ended(Fault::Machine)));
    assert!(!is_the_image_s(&ended(Fault::World)));
    assert!(is_the_image_s(&gate_failed(&["a key".to_owned()])));
    let cut = Failure::from(GuestError::CutOff {
        operation: Operation::LookAtCandidate,
        how: "the link was lost".into(),
        said: String::new(),
    });
    assert!(!is_the_image_s(&cut));
}

/// Interrupts a bake whose RunInstances is on its way, then has EC2 answer. Returns what was paid,
/// and how often it was looked for without a name.
async fn interrupted_before(
    answer: Result<String, LaunchError>,
    gives_up: bool,
) -> (Baked, Vec<Vec<String>>, usize) {
    let (plan, folder) = planned(Duration::from_secs(60));
    let (events, _reports) = event::channel();
    let (sender, receiver) = oneshot::channel();
    let interrupt = Interrupt::default();
    let target = Stuck {
        launch: Some(Answer {
            when: Mutex::new(Some(receiver)),
        }),
        gives_up,
        ..Stuck::default()
    };
    let env = env(&target, &events, &interrupt, &folder);
    let interrupting = async {
        target.launching.cancelled().await;
        interrupt.cancel.cancel();
        tokio::time::sleep(5 * RENEW_EVERY).await;
        sender.send(answer).unwrap();
    };
    let (baked, ()) = tokio::join!(bake(&plan, &env), interrupting);
    let paid = target.paid.lock().unwrap().clone();
    (baked, paid, target.looks.load(Ordering::SeqCst))
}

#[tokio::test]
async fn an_answer_that_comes_after_the_interrupt_is_heard_and_paid_for() {
    for gives_up in [false, true] {
        let (baked, paid, looks) = interrupted_before(Ok("i-1".into()), gives_up).await;
        assert_eq!(baked.source.map(|base| base.id()).as_deref(), Some("base"));
        assert!(baked.elapsed >= 5 * RENEW_EVERY, "{:?}", baked.elapsed);
        let failure = baked.failure.unwrap();
        assert_eq!(failure.exit(), Exit::Interrupted);
        assert_eq!((paid, looks), (vec![vec!["i-1".to_owned()]], 1));
    }
}

#[tokio::test]
async fn a_refusal_that_comes_after_the_interrupt_leaves_nothing_to_look_for() {
    for gives_up in [false, true] {
        let (baked, paid, looks) = interrupted_before(Err(LaunchError::Capacity), gives_up).await;
        let failure = baked.failure.unwrap();
        assert_eq!(failure.exit(), Exit::Interrupted);
        assert_eq!((paid, looks), (Vec::new(), 1));
    }
}

#[tokio::test]
async fn a_look_that_found_nothing_is_done_again_when_the_call_has_ended_without_an_answer() {
    let (baked, paid, looks) = interrupted_before(Err(LaunchError::Lost), true).await;
    let failure = baked.failure.unwrap();
    assert_eq!(failure.exit(), Exit::Interrupted);
    assert_eq!((paid, looks), (Vec::new(), 2));
}

#[tokio::test]
async fn a_finished_image_is_no_debt_even_if_cleaning_up_is_interrupted() {
    let (plan, folder) = planned(Duration::from_mins(1));
    let ledger = Ledger::open(folder.path(), &plan.run).unwrap();
    ledger.owe(Due::OnFailure, owed("image")).unwrap();
    ledger.owe(Due::Always, owed("builder")).unwrap();
    let abort = CancellationToken::new();
    abort.cancel();
    let target = Stuck::default();
    let unwound = ledger.unwind(&target, BakeEnd::Succeeded, &abort).await;
    assert!(unwound.aborted);
    assert_eq!(unwound.leftovers.len(), 1);
    let journal = folder.path().join(format!("{}.journal", plan.run));
    let left = ledger::replay(&std::fs::read_to_string(journal).unwrap());
    let left: Vec<Undo> = left.into_iter().map(|debt| debt.undo).collect();
    assert_eq!(left, [owed("builder")], "what `reap` would remove");
}

#[tokio::test]
async fn what_stops_because_it_was_told_to_was_interrupted_and_has_not_failed() {
    let (plan, folder) = planned(Duration::from_secs(60));
    let (events, _reports) = event::channel();
    let (_unused, when) = oneshot::channel();
    let target = Stuck {
        launch: Some(Answer {
            when: Mutex::new(Some(when)),
        }),
        machine: Some(machine()),
        ..Stuck::default()
    };
    let interrupt = Interrupt::default();
    let stopped = Stopped(interrupt.cancel.clone());
    let env = BakeEnv {
        connector: &stopped,
        ..env(&target, &events, &interrupt, &folder)
    };
    let failure = bake(&plan, &env).await.failure.unwrap();
    assert_eq!(failure.exit(), Exit::Interrupted, "{}", failure.error);
}
