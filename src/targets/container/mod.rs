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
mod reap;
mod root;
mod seed;
mod undo;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::{Child, Command};

use super::{
    Base, Candidate, Finished, Keys, Machine, PhaseContext, Role, Target, TargetError, tail,
};
use crate::guest::prepare::arm_timer;
use crate::ledger::Due;
use crate::plan::BakePlan;
use debts::Removal;
use host::run;
use network::Network;

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
    nspawn: Child,
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
        let ended = end(&mut running.nspawn, name, POWER_OFF).await;
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

/// Asks nspawn, which powers its container off when it is terminated.
///
/// # Errors
/// When the machine was not shut down, or not in time: what it had to write is not written.
async fn end(nspawn: &mut Child, name: &str, limit: Duration) -> Result<(), TargetError> {
    let gone = || TargetError::new(format!("container {name} ended by itself"));
    let asked = nspawn.try_wait().is_ok_and(|ended| ended.is_none());
    let pid = nspawn.id().filter(|_| asked).ok_or_else(gone)?;
    run("kill", ["-TERM", &pid.to_string()]).await?;
    let Ok(ended) = tokio::time::timeout(limit, nspawn.wait()).await else {
        let limit = limit.as_secs();
        let message = format!("container {name} did not power off within {limit} s");
        return Err(TargetError::new(message));
    };
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(gone().because(format!("its systemd-nspawn: {status}"))),
        Err(e) => Err(gone().because(e)),
    }
}

#[async_trait]
impl Target for Container {
    async fn resolve(&self, plan: &BakePlan, _cx: &PhaseContext<'_>) -> Result<Base, TargetError> {
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
        let nspawn = boot(&name, &folder, &merged, &network, &groups)?;
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
        cx: &PhaseContext<'_>,
    ) -> Result<Finished, TargetError> {
        let path = self.image_of(plan)?;
        for made in [path.clone(), image::result_path(&path)] {
            cx.ledger
                .owe(Due::OnFailure, Removal::RemovePath { path: made })?;
        }
        let root = self.lowers(&candidate.base)?.pop().unwrap_or_default();
        let base = root.file_name().unwrap_or_default().to_string_lossy();
        image::publish(plan, &base, Path::new(&candidate.id), &path)?;
        Ok(Finished {
            id: path.display().to_string(),
            name: plan.image.name.clone(),
        })
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

/// Boots the container; its console goes to a file in `folder`.
fn boot(
    name: &str,
    folder: &Path,
    merged: &Path,
    network: &str,
    groups: &[PathBuf],
) -> Result<Child, TargetError> {
    let failed = |e: std::io::Error| {
        TargetError::new(format!("container {name} could not be started")).because(e)
    };
    let console = console::keep(folder).map_err(failed)?;
    Command::new("sh")
        .args(["-c", cgroup::JOIN, "sh"])
        .args(groups)
        .args(["--", "systemd-nspawn"])
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
        ])
        .args(["--resolv-conf=off", "--console=read-only"])
        .arg("--setenv=TERM=dumb")
        .arg(format!("--machine={}", host::machine_name(name)))
        .arg(format!("--directory={}", merged.display()))
        .arg(format!("--network-namespace-path=/run/netns/{network}"))
        .arg(format!(
            "--bind-ro={}:/etc/resolv.conf",
            host::resolver().display()
        ))
        .arg(format!(
            "--bind-ro={}:{}",
            folder.join("seed").display(),
            seed::PLACE
        ))
        // For its systemd, as on a kernel's command line: the console has the journal too.
        .arg("systemd.journald.forward_to_console=1")
        .stdin(Stdio::null())
        .stderr(console.try_clone().map_err(failed)?)
        .stdout(console)
        // Of its own group: a Ctrl-C is ours to answer, in order.
        .process_group(0)
        .spawn()
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for an nspawn that runs `script`; returns it when its trap is set.
    async fn nspawn(script: &str) -> Child {
        let ready = tempfile::tempdir().unwrap();
        let flag = ready.path().join("ready");
        let script = format!(
            "{script}; : >{}; while :; do sleep 0.05; done",
            flag.display()
        );
        let mut sh = Command::new("sh");
        let sh = sh.args(["-c", &script]).kill_on_drop(true).spawn().unwrap();
        while !flag.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        sh
    }

    #[tokio::test]
    async fn a_machine_that_was_not_shut_down_in_time_is_no_image() {
        for (script, limit, said) in [
            ("trap 'exit 0' TERM", 60_000, None),
            ("trap '' TERM", 50, Some("did not power off within 0 s")),
            ("trap 'exit 1' TERM", 60_000, Some("ended by itself")),
            (":", 60_000, Some("ended by itself")),
        ] {
            let mut nspawn = nspawn(script).await;
            let ended = end(&mut nspawn, "web", Duration::from_millis(limit)).await;
            let error = ended.err().map(|e| e.to_string());
            let said = said.map(|s| format!("container web {s}"));
            assert_eq!(error, said, "{script}");
        }
    }
}
