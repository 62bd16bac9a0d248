//! Names of hosts: hosts file and DNS, then what else the name service switch knows (mDNS, `mymachines`,
//! LDAP), which a static program has to ask `getent` for.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use tokio::process::Command;

/// Returns the addresses of `host`; at least one.
pub(super) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(error) => match getent(host).await {
            found if found.is_empty() => Err(error),
            found => Ok(found
                .into_iter()
                .map(|ip| SocketAddr::new(ip, port))
                .collect()),
        },
    }
}

async fn getent(host: &str) -> Vec<IpAddr> {
    let mut getent = Command::new("getent");
    getent
        .args(["ahosts", "--", host])
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    let output = getent.kill_on_drop(true).output().await;
    output.map_or_else(
        |_| Vec::new(),
        |output| listed(&String::from_utf8_lossy(&output.stdout)),
    )
}

/// Reads `ADDRESS KIND NAME` lines: each address once, in order.
fn listed(said: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in said.lines() {
        let address = line.split_whitespace().next();
        if let Some(ip) = address.and_then(|ip| ip.parse().ok())
            && !found.contains(&ip)
        {
            found.push(ip);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_listed_once() {
        let said = "fe80::1 STREAM pi.local\nfe80::1 DGRAM\n192.0.2.7     STREAM\nnonsense\n";
        let expected: [IpAddr; 2] = ["fe80::1".parse().unwrap(), "192.0.2.7".parse().unwrap()];
        assert_eq!(listed(said), expected);
    }

    #[tokio::test]
    async fn the_switch_answers_and_an_unknown_name_is_an_error() {
        assert!(!getent("localhost").await.is_empty());
        assert!(addresses("no-such-name.invalid", 22).await.is_err());
    }
}
