//! Machines as systemd-nspawn containers: a booted system in seconds, on this host alone.
//!
//! A machine is an overlay over a cached base root (`root`), in a network namespace (`network`) and
//! a control group (`cgroup`) of its own, given its keys through cloud-init as on EC2 (`seed`). An
//! image is a root tarball with a result file beside it (`image`).

mod cgroup;
mod console;
mod debts;
mod forwarding;
mod host;
mod image;
mod network;
mod nspawn;
mod reap;
mod root;
mod seed;
mod undo;

use std::collections::{BTreeMap, HashMap};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::{
    Base, Candidate, Finished, Keys, Machine, PhaseContext, Published, Role, Target, TargetError,
    tail,
};
use crate::guest::gate::GateRecord;
use crate::guest::prepare::arm_timer;
use crate::ledger::Due;
use crate::plan::BakePlan;
use debts::Removal;
use host::run;
use network::Network;
use nspawn::{Boot, Nspawn};

/// How long a container may take to power itself off: longer than systemd waits for a unit that
/// hangs (90 s), which it then kills.
const POWER_OFF: Duration = Duration::from_secs(5 * 60);

/// Told where a machine gets no control group of its own.
const SHARED_GROUP: &str = "it is not clear where control groups are mounted here, so the machine shares one with others: one of its units may fail while another machine starts or stops";

/// Containers on this host.
pub(crate) struct Container {
    /// Where finished images go.
    images: PathBuf,
    /// Where machines live while they do.
    machines: PathBuf,
    running: Mutex<HashMap<String, RunningContainer>>,
    /// Networks by name, held until their debts are paid.
    networks: Mutex<HashMap<String, Arc<Network>>>,
}

/// A machine that was started.
struct RunningContainer {
    nspawn: Nspawn,
    folder: PathBuf,
    /// Roots below this machine's own layer, nearest first.
    lowers: Vec<PathBuf>,
}

impl Container {
    /// Returns the target, its folders below `/var/lib/amibake`, images in `images` if given.
    pub(crate) fn new(images: Option<PathBuf>) -> Self {
        let home = Path::new(host::HOME);
        Self {
            images: images.unwrap_or_else(|| home.join("images")),
            machines: home.join("machines"),
            running: Mutex::default(),
            networks: Mutex::default(),
        }
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<String, RunningContainer>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn networks(&self) -> MutexGuard<'_, HashMap<String, Arc<Network>>> {
        self.networks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a machine's network; returns its name, and the machine's address in it.
    async fn network(&self, cx: &PhaseContext<'_>) -> Result<(String, String), TargetError> {
        let network = Arc::new(Network::take()?);
        let (name, address) = (network.name().to_owned(), network.address());
        self.networks().insert(name.clone(), network.clone());
        cx.ledger
            .owe(Due::Always, Removal::RemoveNetwork { name: name.clone() })?;
        network.create().await?;
        Ok((name, address))
    }

    /// Returns the roots that a machine booted from `base` lies on.
    fn lowers(&self, base: &Base) -> Result<Vec<PathBuf>, TargetError> {
        let machines = self.machines();
        match base {
            Base::Root { path, .. } => Ok(vec![path.clone()]),
            Base::Disk { machine } if machines.contains_key(machine) => {
                let builder = &machines[machine];
                let mut lowers = vec![builder.folder.join("upper")];
                lowers.extend(builder.lowers.iter().cloned());
                Ok(lowers)
            }
            Base::Disk { .. } | Base::Image { .. } => {
                let message = format!("a container cannot start from {}", base.id());
                Err(TargetError::new(message))
            }
        }
    }

    /// Powers the container off and waits until it is: what it has yet to write is written.
    async fn power_off(&self, name: &str) -> Result<(), TargetError> {
        let Some(mut running) = self.machines().remove(name) else {
            let message = format!("container {name} is not this process's to power off");
            return Err(TargetError::new(message));
        };
        let ended = running.nspawn.power_off(POWER_OFF).await;
        let console = console::read(&running.folder);
        self.machines().insert(name.to_owned(), running);
        // One that did not listen, or that nspawn left behind.
        host::pull_the_plug(name, &self.machines.join(name)).await?;
        ended.map_err(|e| e.with_hint(tail(&console).join("\n")))
    }

    /// Ends a container that is thrown away.
    async fn kill(&self, name: &str) -> Result<(), TargetError> {
        host::pull_the_plug(name, &self.machines.join(name)).await
    }
}

#[async_trait]
impl Target for Container {
    async fn source(&self, plan: &BakePlan, _cx: &PhaseContext<'_>) -> Result<Base, TargetError> {
        host::check(plan.arch)?;
        self.image_of(plan)?;
        Ok(root::recipe(plan)?.base(plan.arch))
    }

    async fn prepare(
        &self,
        plan: &BakePlan,
        base: &Base,
        cx: &PhaseContext<'_>,
    ) -> Result<(), TargetError> {
        host::make_homes()?;
        match base {
            Base::Root { path, .. } if !path.is_dir() => root::make(plan, path, cx).await,
            Base::Root { .. } | Base::Disk { .. } | Base::Image { .. } => Ok(()),
        }
    }

    async fn launch(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &PhaseContext<'_>,
    ) -> Result<Machine, TargetError> {
        let name = format!("amibake-{}-{role}", plan.run);
        let folder = self.machines.join(&name);
        let keys = Keys::make()?;
        let lowers = self.lowers(base)?;
        let user = plan.builder.user.clone();
        let user = user.unwrap_or_else(|| seed::usual_user(plan, &lowers));
        cx.ledger.owe(
            Due::Always,
            Removal::RemovePath {
                path: folder.clone(),
            },
        )?;
        let merged = mount(&folder, &lowers).await?;
        let timer = arm_timer(&plan.run, role, plan.builder.timeouts.unattended);
        seed::write(&folder.join("seed"), &name, &user, &keys, &timer)?;

        let (network, address) = self.network(cx).await?;
        cx.ledger
            .owe(Due::Always, Removal::StopContainer { name: name.clone() })?;
        let groups = cgroup::make(&name, &folder)?;
        if groups.is_empty() {
            cx.phase.warn(SHARED_GROUP);
        }
        let nspawn = Nspawn::boot(Boot {
            name: name.clone(),
            folder: folder.clone(),
            merged,
            network,
            groups,
        })?;
        let machine = Machine {
            id: name.clone(),
            host: address,
            port: 22,
            user,
            login_key: keys.login,
            host_key: keys.host.public_key().clone(),
        };
        let running = RunningContainer {
            nspawn,
            folder,
            lowers,
        };
        self.machines().insert(name, running);
        Ok(machine)
    }

    async fn admit(&self, _plan: &BakePlan) -> Result<(), TargetError> {
        Ok(()) // nothing is in between
    }

    async fn diagnose(&self, machine: &Machine) -> Vec<String> {
        let folder = self.machines().get(&machine.id).map(|m| m.folder.clone());
        let Some(folder) = folder else {
            return vec![format!("container {} is not running", machine.id)];
        };
        console::causes(&console::read(&folder))
    }

    async fn capture(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &PhaseContext<'_>,
    ) -> Result<Candidate, TargetError> {
        cx.phase.progress("powering the builder off", None);
        self.power_off(&builder.id).await?;
        let folder = self.machines.join(&builder.id);
        let merged = folder.join("root");
        root::unprepare(&merged).await?;

        let tarball = self
            .images
            .join(format!("amibake-candidate-{}.tar.zst", plan.run));
        cx.ledger.owe(
            Due::OnFailure,
            Removal::RemovePath {
                path: tarball.clone(),
            },
        )?;
        cx.phase.progress("packing the root", None);
        image::pack(&merged, &tarball).await?;
        // The candidate lies on the builder's layer, which nothing else may use meanwhile.
        host::unmount(&merged).await?;
        let base = Base::Disk {
            machine: builder.id.clone(),
        };
        Ok(Candidate {
            id: tarball.display().to_string(),
            base,
        })
    }

    async fn dismiss(&self, machine: &Machine) -> Result<(), TargetError> {
        // Quick enough to wait for; the overlay stays until the ledger is unwound.
        self.kill(&machine.id).await
    }

    async fn publish(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        gate: &GateRecord,
        cx: &PhaseContext<'_>,
    ) -> Result<Published, TargetError> {
        let path = self.image_of(plan)?;
        for made in [path.clone(), image::result_path(&path)] {
            cx.ledger
                .owe(Due::OnFailure, Removal::RemovePath { path: made })?;
        }
        let root = self.lowers(&candidate.base)?.pop().unwrap_or_default();
        let base = root.file_name().unwrap_or_default().to_string_lossy();
        image::publish(plan, gate, &base, Path::new(&candidate.id), &path)?;
        let finished = Finished {
            id: path.display().to_string(),
            name: plan.image.name.clone(),
            copies: BTreeMap::new(),
        };
        Ok(finished.into())
    }

    async fn renew(&self, _plan: &BakePlan, _lifetime: Duration) -> Result<(), TargetError> {
        // Nobody else looks after this host's containers.
        Ok(())
    }
}

impl Container {
    /// Returns where the plan's image will be, which must be free.
    fn image_of(&self, plan: &BakePlan) -> Result<PathBuf, TargetError> {
        let path = self.images.join(format!("{}.tar.zst", plan.image.name));
        if path.exists() {
            let message = format!("{} exists already", path.display());
            return Err(TargetError::manifest(message)
                .with_hint("put {{ build_time }} into image.name, or remove the file"));
        }
        Ok(path)
    }
}

/// Mounts a fresh layer over `lowers` in `folder`; returns the merged root.
async fn mount(folder: &Path, lowers: &[PathBuf]) -> Result<PathBuf, TargetError> {
    for part in ["upper", "work", "root"] {
        host::make_folder(&folder.join(part))?;
    }
    // The upper layer's own mode is that of the merged root.
    let below = lowers.first().and_then(|root| root.metadata().ok());
    let mode = below.map_or(0o755, |found| found.mode() & 0o7777);
    host::set_mode(&folder.join("upper"), mode)?;
    let lowers: Vec<String> = lowers.iter().map(|l| l.display().to_string()).collect();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lowers.join(":"),
        folder.join("upper").display(),
        folder.join("work").display()
    );
    let merged = folder.join("root");
    run(
        "mount",
        [
            "-t",
            "overlay",
            "overlay",
            "-o",
            &options,
            &merged.display().to_string(),
        ],
    )
    .await?;
    Ok(merged)
}
