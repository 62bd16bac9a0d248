//! A machine's network: a namespace, a pair of links, and a way out by masquerading.
//!
//! Number N names everything: namespace and link `amibake-N`, table `amibake_N`, 10.213.N.0/30.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use super::super::TargetError;
use super::host::run;

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
        for number in 1..=254 {
            let name = format!("amibake-{number}");
            let address = SocketAddr::from_abstract_name(name.as_bytes())
                .map_err(|e| TargetError::new("no name for a network").because(e))?;
            if let Ok(held) = UnixListener::bind_addr(&address) {
                return Ok(Self {
                    number,
                    name,
                    _held: held,
                });
            }
        }
        Err(TargetError::new(
            "254 containers of amibake are running already",
        ))
    }

    /// Returns the namespace's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the container's address.
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
        let forward = "/proc/sys/net/ipv4/ip_forward";
        std::fs::write(forward, "1")
            .map_err(|e| TargetError::new(format!("could not write {forward}")).because(e))?;
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

/// Removes a network by its name; what is gone already is removed.
pub(super) async fn remove(name: &str) -> Result<(), TargetError> {
    if std::path::Path::new("/sys/class/net").join(name).exists() {
        run("ip", ["link", "delete", name]).await?;
    }
    if std::path::Path::new("/run/netns").join(name).exists() {
        run("ip", ["netns", "delete", name]).await?;
    }
    let table = table(name);
    // `destroy` needs a newer nft: adding it first makes deleting it succeed.
    run("nft", ["add", "table", "ip", &table]).await?;
    run("nft", ["delete", "table", "ip", &table]).await
}
