//! A machine's network: a namespace, a pair of links, and a way out by masquerading.
//!
//! Number N names everything: namespace and link `amibake-N`, table `amibake_N`, 10.213.N.0/30.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use super::super::TargetError;
use super::forwarding::Forwarding;
use super::host::run;

/// How links and namespaces of machines are called, before the number.
pub(super) const PREFIX: &str = "amibake-";

/// A network that no other process has.
pub(super) struct Network {
    number: u8,
    name: String,
    /// Holds the number: an abstract socket goes with its process, however that ends.
    _held: UnixListener,
}

impl Network {
    /// Takes the first free number. Creates nothing.
    pub(super) fn take() -> Result<Self, TargetError> {
        Self::take_unless(is_there)
    }

    /// A number that nobody holds and whose network is there is a kept machine's, or a dead run's
    /// that `reap` removes.
    fn take_unless(is_there: impl Fn(&str) -> bool) -> Result<Self, TargetError> {
        for number in 1..=254 {
            let name = format!("{PREFIX}{number}");
            if let Some(held) = hold(&name)?
                && !is_there(&name)
            {
                return Ok(Self {
                    number,
                    name,
                    _held: held,
                });
            }
        }
        let message = "254 containers of amibake are running, or were left, already";
        Err(TargetError::new(message).with_hint("`amibake reap` removes what was left"))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> String {
        format!("10.213.{}.2", self.number)
    }

    /// Makes the network, in place of what a killed process left under its name.
    pub(super) async fn create(&self) -> Result<(), TargetError> {
        remove(&self.name).await?;
        let (name, n) = (self.name.as_str(), self.number);
        let (host, guest) = (format!("10.213.{n}.1"), self.address());
        run("ip", ["netns", "add", name]).await?;
        run(
            "ip",
            [
                "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name,
            ],
        )
        .await?;
        run("ip", ["addr", "add", &format!("{host}/30"), "dev", name]).await?;
        run("ip", ["link", "set", name, "up"]).await?;
        run(
            "ip",
            [
                "-n",
                name,
                "addr",
                "add",
                &format!("{guest}/30"),
                "dev",
                "eth0",
            ],
        )
        .await?;
        run("ip", ["-n", name, "link", "set", "eth0", "up"]).await?;
        run("ip", ["-n", name, "link", "set", "lo", "up"]).await?;
        run("ip", ["-n", name, "route", "add", "default", "via", &host]).await?;
        self.masquerade().await
    }

    async fn masquerade(&self) -> Result<(), TargetError> {
        Forwarding::of_this_host().on().await?;
        let (table, n) = (table(&self.name), self.number);
        let chain = "{ type nat hook postrouting priority srcnat ; }";
        run("nft", ["add", "table", "ip", &table]).await?;
        run("nft", ["add", "chain", "ip", &table, "out", chain]).await?;
        let source = format!("10.213.{n}.0/30");
        run(
            "nft",
            [
                "add",
                "rule",
                "ip",
                &table,
                "out",
                "ip",
                "saddr",
                &source,
                "masquerade",
            ],
        )
        .await
    }
}

fn table(name: &str) -> String {
    name.replace('-', "_")
}

/// Returns whether the network's namespace or link is there.
fn is_there(name: &str) -> bool {
    ["/run/netns", "/sys/class/net"]
        .iter()
        .any(|folder| Path::new(folder).join(name).exists())
}

/// Takes a network's name for this process; `None` if a living one has it.
fn hold(name: &str) -> Result<Option<UnixListener>, TargetError> {
    let failed = |e| TargetError::new(format!("the name {name} could not be taken")).because(e);
    let address = SocketAddr::from_abstract_name(name.as_bytes()).map_err(failed)?;
    match UnixListener::bind_addr(&address) {
        Ok(held) => Ok(Some(held)),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(e) => Err(failed(e)),
    }
}

/// Removes a network that another process left. If a living one has its name by now, that one
/// began by removing it.
pub(super) async fn remove_left(name: &str) -> Result<(), TargetError> {
    let Some(_held) = hold(name)? else {
        return Ok(());
    };
    remove(name).await
}

/// Removes a network that is ours, by its name; what is gone already is removed.
pub(super) async fn remove(name: &str) -> Result<(), TargetError> {
    if Path::new("/sys/class/net").join(name).exists() {
        run("ip", ["link", "delete", name]).await?;
    }
    if Path::new("/run/netns").join(name).exists() {
        run("ip", ["netns", "delete", name]).await?;
    }
    let table = table(name);
    // `destroy` needs a newer nft: adding it first makes deleting it succeed.
    run("nft", ["add", "table", "ip", &table]).await?;
    run("nft", ["delete", "table", "ip", &table]).await?;
    Forwarding::of_this_host().off_unless_needed().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_there_or_held_is_not_taken() {
        let is_there = |name: &str| ["amibake-1", "amibake-2"].contains(&name);
        let first = Network::take_unless(is_there).unwrap();
        assert!(first.number > 2, "{}", first.name);
        let second = Network::take_unless(is_there).unwrap();
        assert!(second.number > first.number, "{}", second.name);
        assert!(hold(&first.name).unwrap().is_none());
    }
}
