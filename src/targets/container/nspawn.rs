//! The systemd-nspawn of a machine: it is started again when its guest reboots, and told to power it off.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::TargetError;
use super::host::{self, run};
use super::{cgroup, console, seed};

/// How nspawn ends whose guest reboots, where it leaves the rest to whoever started it (`--keep-unit`).
const REBOOTS: i32 = 133;

/// How a machine is booted, each time.
pub(super) struct Boot {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    /// Its root, which stays mounted.
    pub(super) merged: PathBuf,
    pub(super) network: String,
    pub(super) groups: Vec<PathBuf>,
}

/// A machine's nspawn, whichever of them runs.
pub(super) struct Nspawn {
    name: String,
    pid: watch::Receiver<Option<u32>>,
    ended: JoinHandle<io::Result<ExitStatus>>,
}

impl Nspawn {
    /// Boots the machine; its console goes to a file in its folder.
    pub(super) fn boot(boot: Boot) -> Result<Self, TargetError> {
        let failed = |e: io::Error| {
            let message = format!("container {} could not be started", boot.name);
            TargetError::new(message).because(e)
        };
        let console = console::keep(&boot.folder).map_err(failed)?;
        let first = boot.spawn(&console).map_err(failed)?;
        let name = boot.name.clone();
        Ok(Self::watched(name, first, move || boot.spawn(&console)))
    }

    /// Starts it `again` for as long as its guest reboots.
    fn watched(
        name: String,
        first: Child,
        again: impl Fn() -> io::Result<Child> + Send + 'static,
    ) -> Self {
        let (told, pid) = watch::channel(first.id());
        let ended = tokio::spawn(async move {
            let mut nspawn = first;
            loop {
                let status = nspawn.wait().await?;
                if status.code() != Some(REBOOTS) {
                    told.send_replace(None);
                    return Ok(status);
                }
                nspawn = again()?;
                told.send_replace(nspawn.id());
            }
        });
        Self { name, pid, ended }
    }

    /// Asks nspawn, which powers its container off when it is terminated.
    ///
    /// # Errors
    /// When the machine was not shut down, or not in time: what it had to write is not written.
    pub(super) async fn power_off(&mut self, limit: Duration) -> Result<(), TargetError> {
        let name = &self.name;
        let gone = || TargetError::new(format!("container {name} ended by itself"));
        let pid = *self.pid.borrow();
        let pid = pid.filter(|_| !self.ended.is_finished()).ok_or_else(gone)?;
        run("kill", ["-TERM", &pid.to_string()]).await?;
        let Ok(ended) = tokio::time::timeout(limit, &mut self.ended).await else {
            let limit = limit.as_secs();
            let message = format!("container {name} did not power off within {limit} s");
            return Err(TargetError::new(message));
        };
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(gone().because(format!("its systemd-nspawn: {status}"))),
            Ok(Err(e)) => Err(gone().because(e)),
            Err(e) => Err(gone().because(e)),
        }
    }
}

impl Boot {
    fn spawn(&self, console: &io::PipeWriter) -> io::Result<Child> {
        Command::new("sh")
            .args(["-c", cgroup::JOIN, "sh"])
            .args(&self.groups)
            .args(["--", "systemd-nspawn"])
            .args([
                "--quiet",
                "--boot",
                "--register=no",
                "--keep-unit",
                "--link-journal=no",
            ])
            .args(["--resolv-conf=off", "--console=read-only"])
            // For its own firewall: the network namespace below is the machine's alone.
            .arg("--capability=CAP_NET_ADMIN")
            .arg("--setenv=TERM=dumb")
            .arg(format!("--machine={}", host::machine_name(&self.name)))
            .arg(format!("--directory={}", self.merged.display()))
            .arg(format!(
                "--network-namespace-path=/run/netns/{}",
                self.network
            ))
            .arg(format!(
                "--bind-ro={}:/etc/resolv.conf",
                host::resolver().display()
            ))
            .arg(format!(
                "--bind-ro={}:{}",
                self.folder.join("seed").display(),
                seed::PLACE
            ))
            .arg(format!(
                "--bind-ro={}:{}",
                self.folder.join("seed").join(seed::UNMANAGED.0).display(),
                seed::UNMANAGED.1
            ))
            // For its systemd, as on a kernel's command line: the console has the journal too.
            .arg("systemd.journald.forward_to_console=1")
            .stdin(Stdio::null())
            .stderr(console.try_clone()?)
            .stdout(console.try_clone()?)
            // Of its own group: a Ctrl-C is ours to answer, in order.
            .process_group(0)
            .spawn()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(script: &str) -> Child {
        let mut sh = Command::new("sh");
        sh.args(["-c", script]).kill_on_drop(true).spawn().unwrap()
    }

    /// Stands for an nspawn that runs `script`; returns it when its trap is set.
    async fn nspawn(script: &str) -> Nspawn {
        let ready = tempfile::tempdir().unwrap();
        let flag = ready.path().join("ready");
        let script = format!(
            "{script}; : >{}; while :; do sleep 0.05; done",
            flag.display()
        );
        let first = started(&script);
        let nspawn = Nspawn::watched("web".to_owned(), first, || Err(io::Error::other("no")));
        while !flag.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nspawn
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
            let ended = nspawn.power_off(Duration::from_millis(limit)).await;
            let error = ended.err().map(|e| e.to_string());
            let said = said.map(|s| format!("container web {s}"));
            assert_eq!(error, said, "{script}");
        }
    }

    #[tokio::test]
    async fn a_machine_that_reboots_is_started_again_and_then_powered_off() {
        let ready = tempfile::tempdir().unwrap();
        let flag = ready.path().join("second");
        let second = format!(
            "trap 'exit 0' TERM; : >{}; while :; do sleep 0.05; done",
            flag.display()
        );
        let first = started("exit 133");
        let mut nspawn = Nspawn::watched("web".to_owned(), first, move || Ok(started(&second)));
        while !flag.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        nspawn.power_off(Duration::from_mins(1)).await.unwrap();
    }
}
