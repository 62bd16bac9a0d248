//! Counts a port's connections, from the kernel's tables.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::module::Failure;
use crate::resolve;

/// Which connections count.
pub(super) struct Filter {
    addresses: Vec<IpAddr>,
    port: u16,
    states: Vec<u8>,
    excluded: Vec<IpAddr>,
}

const STATES: &[&str] = &[
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
];

impl Filter {
    pub(super) fn new(
        host: &str,
        port: u16,
        states: &[&str],
        excluded: &[&str],
    ) -> Result<Self, Failure> {
        let number = |state: &&str| {
            let at = STATES.iter().position(|known| known == state);
            at.and_then(|at| u8::try_from(at + 1).ok()).ok_or_else(|| {
                let msg = format!("unknown active_connection_state ({state}) defined");
                Failure::new(msg).with("elapsed", 0)
            })
        };
        let all = |hosts: &[&str]| hosts.iter().flat_map(|host| resolve(host)).collect();
        Ok(Self {
            addresses: resolve(host),
            port,
            states: states.iter().map(number).collect::<Result<_, _>>()?,
            excluded: all(excluded),
        })
    }

    /// Returns how many there are now.
    pub(super) fn count(&self) -> usize {
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
        let texts = tables.map(|table| std::fs::read_to_string(table).unwrap_or_default());
        let lines = texts.iter().flat_map(|text| text.lines().skip(1));
        lines
            .filter(|line| self.counts(line).unwrap_or(false))
            .count()
    }

    fn counts(&self, line: &str) -> Option<bool> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, port) = endpoint(fields.get(1)?)?;
        let (remote, _) = endpoint(fields.get(2)?)?;
        let state = u8::from_str_radix(fields.get(3)?, 16).ok()?;
        let any = self.addresses.iter().any(IpAddr::is_unspecified);
        Some(
            port == self.port
                && self.states.contains(&state)
                && (any || self.addresses.contains(&local))
                && !self.excluded.contains(&remote),
        )
    }
}

fn resolve(host: &str) -> Vec<IpAddr> {
    let found = resolve::addresses(host, 0).unwrap_or_default().into_iter();
    found.map(|address| address.ip()).collect()
}

/// Reads `0100007F:1F90`: words in the machine's byte order, then the port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for word in address.as_bytes().chunks(8) {
        let word = std::str::from_utf8(word).ok()?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?).to_canonical(),
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_from_the_kernels_words() {
        let word = u32::from_ne_bytes([127, 0, 0, 1]);
        let text = format!("{word:08X}:1F90");
        assert_eq!(
            endpoint(&text),
            Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 8080))
        );
    }
}
