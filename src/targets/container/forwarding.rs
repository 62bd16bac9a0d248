//! Whether this host forwards packets: it does while machines of amibake need it, for them alone,
//! and is left as it was found.
//!
//! A host that did not forward would, once told to, forward for everybody in reach of any of its links.
//! So where amibake turns it on, a table of nftables lets the machines' packets through and no
//! others. A file in memory says that it was amibake; it is gone after a reboot, as all of it is.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::super::TargetError;
use super::host::run;
use super::network::PREFIX;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

/// The table of nftables that keeps others' packets from being forwarded.
const TABLE: &str = "amibake_forwarding";

/// What lets packets through, all of amibake's networks being in one.
const RULES: [&str; 3] = [
    "iifname amibake-* ip saddr 10.213.0.0/16 accept",
    "oifname amibake-* ct state established,related accept",
    "drop",
];

/// The switch, and who turned it on.
pub(super) struct Forwarding {
    /// Locked while it is looked at or changed; there as long as the switch is on because of us.
    mark: PathBuf,
}

impl Forwarding {
    pub(super) fn of_this_host() -> Self {
        Self {
            mark: PathBuf::from("/run/amibake-forwarding"),
        }
    }

    /// Turns it on, unless it is.
    pub(super) async fn on(&self) -> Result<(), TargetError> {
        let _locked = self.lock()?;
        if self.is_on()? {
            return Ok(());
        }
        run("nft", ["add", "table", "ip", TABLE]).await?;
        let chain = "{ type filter hook forward priority filter ; }";
        run("nft", ["add", "chain", "ip", TABLE, "forward", chain]).await?;
        run("nft", ["flush", "chain", "ip", TABLE, "forward"]).await?;
        for rule in RULES {
            run("nft", ["add", "rule", "ip", TABLE, "forward", rule]).await?;
        }
        self.note(true)?;
        Self::switch("1")
    }

    /// Turns it off, if it was turned on for a machine and no network of one is left.
    pub(super) async fn off_unless_needed(&self) -> Result<(), TargetError> {
        let _locked = self.lock()?;
        if !self.is_ours()? || networks().map_err(|e| self.failed(e))? > 0 {
            return Ok(());
        }
        Self::switch("0")?;
        // `destroy` needs a newer nft: adding it first makes deleting it succeed.
        run("nft", ["add", "table", "ip", TABLE]).await?;
        run("nft", ["delete", "table", "ip", TABLE]).await?;
        self.note(false)
    }

    fn lock(&self) -> Result<File, TargetError> {
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.mark);
        let file = opened.map_err(|e| self.failed(e))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|e| self.failed(e.into()))?;
        Ok(file)
    }

    fn is_on(&self) -> Result<bool, TargetError> {
        let text = std::fs::read_to_string(SWITCH).map_err(|e| self.failed(e))?;
        Ok(text.trim() != "0")
    }

    fn is_ours(&self) -> Result<bool, TargetError> {
        let text = std::fs::read(&self.mark).map_err(|e| self.failed(e))?;
        Ok(!text.is_empty())
    }

    fn note(&self, ours: bool) -> Result<(), TargetError> {
        let text = if ours { "on\n" } else { "" };
        std::fs::write(&self.mark, text).map_err(|e| self.failed(e))
    }

    fn switch(to: &str) -> Result<(), TargetError> {
        std::fs::write(SWITCH, to)
            .map_err(|e| TargetError::new(format!("could not write {SWITCH}")).because(e))
    }

    fn failed(&self, error: io::Error) -> TargetError {
        let mark = self.mark.display();
        TargetError::new(format!(
            "could not tell by {mark} who forwards packets here"
        ))
        .because(error)
    }
}

/// Counts the links of machines.
fn networks() -> io::Result<usize> {
    let links = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    let ours = links
        .lines()
        .filter(|line| line.trim_start().starts_with(PREFIX));
    Ok(ours.count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> String {
        let text = std::fs::read_to_string(SWITCH).unwrap();
        text.trim().to_owned()
    }

    async fn rules() -> String {
        let listed = tokio::process::Command::new("nft")
            .args(["list", "ruleset"])
            .output();
        String::from_utf8(listed.await.unwrap().stdout).unwrap()
    }

    /// Of this thread alone, and of the programs it starts.
    fn in_a_network_of_its_own() -> bool {
        let apart = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
        if apart.is_err() {
            eprintln!("skipped: a network of its own needs root");
        }
        apart.is_ok()
    }

    /// Switches it, in a network of its own.
    fn on_a_host_that_has(folder: &tempfile::TempDir, switch: &str) -> Forwarding {
        std::fs::write(SWITCH, switch).unwrap();
        Forwarding {
            mark: folder.path().join("mark"),
        }
    }

    #[tokio::test]
    async fn it_is_on_for_machines_alone_and_put_back_with_the_last() {
        if !in_a_network_of_its_own() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let forwarding = on_a_host_that_has(&folder, "0");
        let link = format!("{PREFIX}7");
        run(
            "ip",
            ["link", "add", &link, "type", "veth", "peer", "name", "eth0"],
        )
        .await
        .unwrap();
        forwarding.on().await.unwrap();
        forwarding.on().await.unwrap(); // for a second machine
        assert_eq!(now(), "1");
        let rules_now = rules().await;
        assert!(
            rules_now.contains("drop") && rules_now.contains("10.213.0.0/16"),
            "{rules_now}"
        );
        forwarding.off_unless_needed().await.unwrap();
        assert_eq!(now(), "1", "a machine is left");
        run("ip", ["link", "delete", &link]).await.unwrap();
        forwarding.off_unless_needed().await.unwrap();
        assert_eq!(now(), "0");
        assert!(!rules().await.contains(TABLE));
    }

    #[tokio::test]
    async fn a_host_that_forwards_goes_on_as_it_is() {
        if !in_a_network_of_its_own() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let forwarding = on_a_host_that_has(&folder, "1");
        forwarding.on().await.unwrap();
        assert!(!rules().await.contains(TABLE));
        forwarding.off_unless_needed().await.unwrap();
        assert_eq!(now(), "1");
    }
}
