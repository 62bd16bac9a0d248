//! Machines as systemd-nspawn containers: a booted system in seconds, on this host alone.
//!
//! A machine is an overlay over a cached base root (`root`), in a network namespace of its own
//! (`network`), given its keys through cloud-init as on EC2 (`seed`). An image is a root tarball
//! with a result file beside it (`image`).

mod host;
mod image;
mod network;
mod root;
mod seed;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::process::{Child, Command};

use super::{Base, Candidate, Cx, Finished, Keys, Machine, Role, Target, TargetError};
use crate::ledger::{Due, Undo};
use crate::manifest::Arch;
use crate::plan::BakePlan;
use host::run;
use network::Network;

/// How long a container may take to power itself off.
const POWER_OFF: Duration = Duration::from_secs(90);

/// Containers on this host.
pub(crate) struct Container {
    /// Where finished images go.
    images: PathBuf,
    /// Where machines live while they do.
    machines: PathBuf,
    running: Mutex<HashMap<String, Running>>,
}

/// A machine that was started.
struct Running {
    nspawn: Child,
    folder: PathBuf,
    /// Roots below this machine's own layer, nearest first.
    lowers: Vec<PathBuf>,
    _network: Network,
}

impl Container {
    /// Returns the target, its folders below `/var/lib/amibake`, images in `images` if given.
    pub(crate) fn new(images: Option<PathBuf>) -> Self {
        let home = Path::new("/var/lib/amibake");
        Self {
            images: images.unwrap_or_else(|| home.join("images")),
            machines: home.join("machines"),
            running: Mutex::new(HashMap::new()),
        }
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the roots that a machine booted from `base` lies on.
    fn lowers(&self, base: &Base) -> Vec<PathBuf> {
        match self.machines().get(&base.id) {
            Some(builder) => {
                let mut lowers = vec![builder.folder.join("upper")];
                lowers.extend(builder.lowers.iter().cloned());
                lowers
            }
            None => vec![PathBuf::from(&base.id)],
        }
    }

    /// Powers the container off and waits until it is.
    async fn power_off(&self, name: &str) -> Result<(), TargetError> {
        let Some(mut running) = self.machines().remove(name) else {
            return host::end_by_name(name).await;
        };
        let ended = end(&mut running.nspawn, name).await;
        self.machines().insert(name.to_owned(), running);
        ended
    }
}

/// Asks nspawn, which powers its container off when it is terminated.
async fn end(nspawn: &mut Child, name: &str) -> Result<(), TargetError> {
    let Some(pid) = nspawn.id() else {
        return Ok(());
    };
    run("kill", ["-TERM", &pid.to_string()]).await?;
    match tokio::time::timeout(POWER_OFF, nspawn.wait()).await {
        Ok(_) => Ok(()),
        Err(_) => {
            // Killed alone, nspawn would leave its guest running.
            let guests = tokio::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            for guest in guests.await.unwrap_or_default().split_whitespace() {
                let _gone = run("kill", ["-KILL", guest]).await;
            }
            nspawn.kill().await.map_err(|e| {
                TargetError::new(format!("container {name} could not be killed")).because(e)
            })
        }
    }
}

#[async_trait]
impl Target for Container {
    async fn resolve(&self, plan: &BakePlan) -> Result<Base, TargetError> {
        host::check(plan.arch)?;
        root::base(&plan.source, plan.arch).await
    }

    async fn launch(
        &self,
        plan: &BakePlan,
        base: &Base,
        role: Role,
        cx: &Cx<'_>,
    ) -> Result<Machine, TargetError> {
        let name = format!("amibake-{}-{role}", plan.run);
        let folder = self.machines.join(&name);
        let keys = Keys::make()?;
        let user = plan
            .builder
            .user
            .clone()
            .unwrap_or_else(|| "amibake".to_owned());

        let lowers = self.lowers(base);
        cx.ledger.owe(
            Due::Always,
            Undo::RemovePath {
                path: folder.clone(),
            },
        )?;
        let merged = mount(&folder, &lowers).await?;
        seed::write(&merged, &name, &user, &keys)?;

        let network = Network::take()?;
        cx.ledger.owe(
            Due::Always,
            Undo::RemoveNetwork {
                name: network.name().to_owned(),
            },
        )?;
        network.create().await?;

        cx.ledger
            .owe(Due::Always, Undo::StopContainer { name: name.clone() })?;
        let nspawn = boot(&name, &folder, &merged, &network)?;
        let machine = Machine {
            id: name.clone(),
            host: network.address(),
            port: 22,
            user,
            login_key: keys.login,
            host_key: keys.host.public_key().clone(),
        };
        let running = Running {
            nspawn,
            folder,
            lowers,
            _network: network,
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
        let mut lines = Vec::new();
        for log in ["console.log", "root/var/log/cloud-init-output.log"] {
            let text = std::fs::read(folder.join(log)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let tail: Vec<&str> = text.lines().rev().take(20).collect();
            lines.extend(tail.into_iter().rev().map(str::to_owned));
        }
        lines
    }

    async fn capture(
        &self,
        plan: &BakePlan,
        builder: &Machine,
        cx: &Cx<'_>,
    ) -> Result<Candidate, TargetError> {
        cx.phase.progress("powering the builder off", None);
        self.power_off(&builder.id).await?;
        let folder = self.machines.join(&builder.id);
        let merged = folder.join("root");
        root::untrust_host(&merged).await?;
        seed::remove(&merged)?;

        let tarball = self
            .images
            .join(format!("amibake-candidate-{}.tar.zst", plan.run));
        cx.ledger.owe(
            Due::OnFailure,
            Undo::RemovePath {
                path: tarball.clone(),
            },
        )?;
        cx.phase.progress("packing the root", None);
        image::pack(&merged, &tarball).await?;
        // The candidate lies on the builder's layer, which nothing else may use meanwhile.
        host::unmount(&merged).await?;
        let base = Base {
            id: builder.id.clone(),
            name: plan.image.name.clone(),
            arch: plan.arch,
        };
        Ok(Candidate {
            id: tarball.display().to_string(),
            base,
        })
    }

    async fn dismiss(&self, machine: &Machine) -> Result<(), TargetError> {
        // Quick enough to wait for; the overlay stays until the ledger is unwound.
        self.power_off(&machine.id).await
    }

    async fn publish(
        &self,
        plan: &BakePlan,
        candidate: &Candidate,
        cx: &Cx<'_>,
    ) -> Result<Finished, TargetError> {
        let path = self.images.join(format!("{}.tar.zst", plan.image.name));
        if path.exists() {
            return Err(
                TargetError::new(format!("{} exists already", path.display()))
                    .with_hint("put {{ build_time }} into image.name, or remove the file"),
            );
        }
        for made in [path.clone(), image::result_path(&path)] {
            cx.ledger
                .owe(Due::OnFailure, Undo::RemovePath { path: made })?;
        }
        image::publish(plan, &candidate.base.name, Path::new(&candidate.id), &path)?;
        Ok(Finished {
            id: path.display().to_string(),
            name: plan.image.name.clone(),
        })
    }

    async fn renew(&self, _plan: &BakePlan, _lifetime: Duration) -> Result<(), TargetError> {
        // Nobody else looks after this host's containers.
        Ok(())
    }

    async fn pay(&self, undo: &Undo, _learned: &[String]) -> Result<(), TargetError> {
        match undo {
            Undo::StopContainer { name } => self.power_off(name).await,
            Undo::RemoveNetwork { name } => network::remove(name).await,
            Undo::RemovePath { path } => self.remove(path).await,
            Undo::TerminateInstance { .. }
            | Undo::DeleteSecurityGroup { .. }
            | Undo::DeregisterImage { .. }
            | Undo::DeleteSnapshots { .. } => Err(TargetError::new(
                "this debt is EC2's, and this is the container target",
            )),
        }
    }
}

impl Container {
    /// Removes a file, or a machine's folder once its container is down.
    async fn remove(&self, path: &Path) -> Result<(), TargetError> {
        if let Some(name) = path
            .file_name()
            .and_then(|n| n.to_str())
            .filter(|_| path.starts_with(&self.machines))
        {
            self.power_off(name).await?;
            // A candidate lies on the builder's layer: lazily, so the order does not matter.
            host::unmount(&path.join("root")).await?;
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(TargetError::new(format!("could not remove {}", path.display())).because(e))
            }
            _ => Ok(()),
        }
    }
}

/// Mounts a fresh layer over `lowers` in `folder`; returns the merged root.
async fn mount(folder: &Path, lowers: &[PathBuf]) -> Result<PathBuf, TargetError> {
    for part in ["upper", "work", "root"] {
        host::make_folder(&folder.join(part))?;
    }
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
fn boot(name: &str, folder: &Path, merged: &Path, network: &Network) -> Result<Child, TargetError> {
    let failed = |e: std::io::Error| {
        TargetError::new(format!("container {name} could not be started")).because(e)
    };
    let console = std::fs::File::create(folder.join("console.log")).map_err(failed)?;
    Command::new("systemd-nspawn")
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--link-journal=no",
        ])
        .args(["--resolv-conf=off", "--console=pipe"])
        .arg(format!("--machine={}", host::machine_name(name)))
        .arg(format!("--directory={}", merged.display()))
        .arg(format!(
            "--network-namespace-path=/run/netns/{}",
            network.name()
        ))
        .arg(format!(
            "--bind-ro={}:/etc/resolv.conf",
            host::resolver().display()
        ))
        .stdin(Stdio::null())
        .stderr(console.try_clone().map_err(failed)?)
        .stdout(console)
        // Of its own group: a Ctrl-C is ours to answer, in order.
        .process_group(0)
        .spawn()
        .map_err(failed)
}

/// The architecture of this host, by Debian's name.
fn host_arch() -> Option<Arch> {
    Arch::parse(std::env::consts::ARCH)
}
