//! Names of hosts. A static musl program reads `/etc/hosts` and asks DNS servers; what the name
//! service switch knows besides (`myhostname`, `resolve`, `mymachines`, mDNS) is asked of `getent`.
//!
//! `localhost` and what ends in `.localhost` is this machine even where `/etc/hosts` does not say
//! so, as glibc with `nss-myhostname` and RFC 6761 have it: no DNS server is asked for it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use crate::getent::getent;

/// Returns the addresses of `host`; at least one.
pub(crate) fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let with_port = |ip| SocketAddr::new(ip, port);
    if is_this_machine(host, &hosts_file()) {
        return Ok(LOOPBACK.map(with_port).to_vec());
    }
    match (host, port).to_socket_addrs() {
        Ok(found) => Ok(found.collect()),
        Err(error) => match beyond_dns(host) {
            found if found.is_empty() => Err(error),
            found => Ok(found.into_iter().map(with_port).collect()),
        },
    }
}

/// In the order in which glibc returns them.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
];

fn hosts_file() -> String {
    fs::read_to_string("/etc/hosts").unwrap_or_default()
}

/// Returns whether `host` is a name of the loopback that `hosts` says nothing about.
fn is_this_machine(host: &str, hosts: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let is_local =
        name == "localhost" || name == "localhost.localdomain" || name.ends_with(".localhost");
    is_local && !lists(hosts, &name)
}

fn lists(hosts: &str, name: &str) -> bool {
    let names = hosts.lines().flat_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1)
    });
    names
        .into_iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Returns the addresses that the name service switch knows besides.
fn beyond_dns(host: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in getent("ahosts", host).unwrap_or_default().lines() {
        let address = line
            .split_whitespace()
            .next()
            .and_then(|ip| ip.parse().ok());
        if let Some(address) = address
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

/// The same for HTTP.
#[derive(Debug, Default)]
pub(crate) struct Names(DefaultResolver);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        if is_this_machine(host, &hosts_file()) {
            return self.of(&LOOPBACK, uri);
        }
        match self.0.resolve(uri, config, timeout) {
            Ok(found) => Ok(found),
            Err(error) => match beyond_dns(host) {
                found if found.is_empty() => Err(error),
                found => self.of(&found, uri),
            },
        }
    }
}

impl Names {
    fn of(&self, found: &[IpAddr], uri: &Uri) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let by_scheme = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(by_scheme);
        let mut addresses = self.empty();
        for ip in found.iter().take(16) {
            addresses.push(SocketAddr::new(*ip, port));
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_this_machine_unless_the_hosts_file_has_its_own_mind() {
        for name in [
            "localhost",
            "LOCALHOST.",
            "web.localhost",
            "localhost.localdomain",
        ] {
            assert!(
                is_this_machine(name, "# 127.0.0.1 localhost\n10.0.0.1 other\n"),
                "{name}"
            );
        }
        assert!(!is_this_machine("localhost", "10.0.0.7 db localhost # x\n"));
        assert!(!is_this_machine("localhost.example.com", ""));
        assert!(!is_this_machine("127.0.0.1", ""));
    }

    #[test]
    fn a_name_of_the_loopback_is_connected_to() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = addresses("amibake-test.localhost", port).unwrap();
        assert!(
            found
                .iter()
                .any(|at| std::net::TcpStream::connect(at).is_ok())
        );
        assert!(addresses("no-such-name.invalid", 1).is_err());
    }

    #[test]
    fn http_knows_the_same_names() {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .unwrap();
        });
        let connector = ureq::unversioned::transport::DefaultConnector::new();
        let agent = ureq::Agent::with_parts(Config::default(), connector, Names::default());
        let url = format!("http://amibake-test.localhost:{port}/");
        let mut answer = agent.get(url).call().unwrap();
        assert_eq!(answer.body_mut().read_to_string().unwrap(), "hi");
        server.join().unwrap();
    }
}
