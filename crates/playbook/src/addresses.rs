//! IP addresses, networks and hardware addresses, as Python's `netaddr` has them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;

/// An address of version 4 or 6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub v6: bool,
    pub bits: u128,
}

/// An address in a network: `192.0.2.7/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    pub ip: Address,
    pub prefix: u32,
}

impl Address {
    /// Reads an address; parts left out or leading zeros are not filled in.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(v4) = text.parse::<Ipv4Addr>() {
            let bits = u128::from(u32::from(v4));
            return Some(Self { v6: false, bits });
        }
        let v6: Ipv6Addr = text.parse().ok()?;
        let bits = u128::from(v6);
        Some(Self { v6: true, bits })
    }

    /// Returns the address of a number, of version 4 if it fits.
    #[must_use]
    pub fn of_number(bits: u128) -> Self {
        let v6 = bits > u128::from(u32::MAX);
        Self { v6, bits }
    }

    #[must_use]
    pub fn width(self) -> u32 {
        if self.v6 { 128 } else { 32 }
    }

    /// Returns the highest number that an address of this version has.
    #[must_use]
    pub fn highest(self) -> u128 {
        u128::MAX >> (128 - self.width())
    }

    /// Returns the address `distance` further, if there is one of its version.
    #[must_use]
    pub fn plus(self, distance: i128) -> Option<Self> {
        let bits = match u128::try_from(distance) {
            Ok(ahead) => self.bits.checked_add(ahead)?,
            Err(_) => self.bits.checked_sub(distance.unsigned_abs())?,
        };
        (bits <= self.highest()).then_some(Self { bits, ..self })
    }

    /// Returns whether it is in a network written as text.
    #[must_use]
    pub fn is_in(self, network: &str) -> bool {
        Network::parse(network).is_some_and(|network| network.holds(&Network::of(self)))
    }

    /// Returns the address of version 6 of the same host.
    #[must_use]
    pub fn to_v6(self) -> Self {
        let bits = if self.v6 {
            self.bits
        } else {
            MAPPED | self.bits
        };
        Self { v6: true, bits }
    }

    /// Returns the address of version 4, if it has one.
    #[must_use]
    pub fn to_v4(self) -> Option<Self> {
        let bits = match self.bits {
            bits if bits <= u128::from(u32::MAX) => bits,
            bits if bits >= MAPPED && bits <= MAPPED | u128::from(u32::MAX) => bits - MAPPED,
            _ => return None,
        };
        Some(Self { v6: false, bits })
    }

    /// Returns its name in the DNS.
    #[must_use]
    pub fn reverse_name(self) -> String {
        if let (false, Ok(bits)) = (self.v6, u32::try_from(self.bits)) {
            let [a, b, c, d] = bits.to_be_bytes();
            return format!("{d}.{c}.{b}.{a}.in-addr.arpa.");
        }
        let digits = format!("{:032x}", self.bits);
        let digits: String = digits
            .chars()
            .rev()
            .flat_map(|digit| [digit, '.'])
            .collect();
        digits + "ip6.arpa."
    }
}

/// What addresses of version 4 are below, in version 6.
const MAPPED: u128 = 0xffff_0000_0000;

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.bits) {
            Ok(bits) if !self.v6 => Ipv4Addr::from(bits).fmt(f),
            // As the C library writes it.
            Ok(bits) if bits > 0xffff => write!(f, "::{}", Ipv4Addr::from(bits)),
            _ => Ipv6Addr::from(self.bits).fmt(f),
        }
    }
}

impl Network {
    /// Returns the network of one address alone.
    #[must_use]
    pub fn of(ip: Address) -> Self {
        let prefix = ip.width();
        Self { ip, prefix }
    }

    /// Reads `address`, `address/prefix`, `address/netmask` or `address/hostmask`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let Some((ip, mask)) = text.split_once('/') else {
            return Address::parse(text).map(Self::of);
        };
        let ip = Address::parse(ip)?;
        let prefix = match mask.trim().parse::<u32>() {
            Ok(prefix) => prefix,
            Err(_) => {
                let mask = Address::parse(mask).filter(|mask| mask.v6 == ip.v6)?;
                let hosts = mask.bits.leading_zeros() + mask.width() - 128;
                let ones = (mask.bits << (128 - mask.width())).leading_ones();
                let of_prefix = |prefix| Self { ip, prefix }.netmask().bits;
                match () {
                    () if of_prefix(ones) == mask.bits => ones,
                    () if mask.highest() ^ of_prefix(hosts) == mask.bits => hosts,
                    () => return None,
                }
            }
        };
        (prefix <= ip.width()).then_some(Self { ip, prefix })
    }

    /// Returns how many bits the hosts of the network have.
    #[must_use]
    pub fn host_bits(&self) -> u32 {
        self.ip.width() - self.prefix
    }

    /// Returns how many addresses it has.
    #[must_use]
    pub fn size(&self) -> BigInt {
        BigInt::from(1) << self.host_bits()
    }

    fn host_mask_bits(&self) -> u128 {
        match self.host_bits() {
            0 => 0,
            bits => u128::MAX >> (128 - bits),
        }
    }

    fn at(&self, bits: u128) -> Address {
        Address { bits, ..self.ip }
    }

    #[must_use]
    pub fn hostmask(&self) -> Address {
        self.at(self.host_mask_bits())
    }

    #[must_use]
    pub fn netmask(&self) -> Address {
        self.at(self.ip.highest() ^ self.host_mask_bits())
    }

    /// Returns its first address.
    #[must_use]
    pub fn first(&self) -> Address {
        self.at(self.ip.bits & !self.host_mask_bits())
    }

    /// Returns its last address.
    #[must_use]
    pub fn last(&self) -> Address {
        self.at(self.ip.bits | self.host_mask_bits())
    }

    /// Returns the address of all hosts; small networks of version 4 have none.
    #[must_use]
    pub fn broadcast(&self) -> Option<Address> {
        (self.ip.v6 || self.host_bits() > 1).then(|| self.last())
    }

    /// Returns it without the host.
    #[must_use]
    pub fn cidr(&self) -> Self {
        let ip = self.first();
        Self { ip, ..*self }
    }

    /// Returns the first and the last address that hosts may have.
    #[must_use]
    pub fn usable(&self) -> (u128, u128) {
        let (first, last) = (self.first().bits, self.last().bits);
        match self.host_bits() {
            0 | 1 => (first, last),
            _ => (first + 1, last - 1),
        }
    }

    /// Returns the address at `index`, from the end if it is negative.
    #[must_use]
    pub fn nth(&self, index: i128) -> Option<Address> {
        let from = if index < 0 { self.last() } else { self.first() };
        let found = from.plus(if index < 0 { index + 1 } else { index })?;
        (self.first()..=self.last())
            .contains(&found)
            .then_some(found)
    }

    /// Returns whether all of `other` is in it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        self.ip.v6 == other.ip.v6 && self.first() <= other.first() && other.last() <= self.last()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// Returns the fewest networks that have the addresses of `networks` and no others.
#[must_use]
pub fn merged(networks: &[Network]) -> Vec<Network> {
    let mut ranges: Vec<(Address, Address)> =
        networks.iter().map(|n| (n.first(), n.last())).collect();
    ranges.sort();
    let mut whole: Vec<(Address, Address)> = Vec::new();
    for (first, last) in ranges {
        match whole.last_mut() {
            Some((before, end))
                if before.v6 == first.v6 && (first <= *end || end.plus(1) == Some(first)) =>
            {
                *end = (*end).max(last);
            }
            _ => whole.push((first, last)),
        }
    }
    whole
        .into_iter()
        .flat_map(|(first, last)| cut(first, last))
        .collect()
}

/// Cuts a range into networks.
fn cut(first: Address, last: Address) -> Vec<Network> {
    let mut out = Vec::new();
    let mut next = Some(first);
    while let Some(ip) = next.filter(|ip| *ip <= last) {
        let mut network = Network::of(ip);
        while network.prefix > 0 {
            let wider = Network {
                prefix: network.prefix - 1,
                ..network
            };
            if wider.first() != ip || wider.last() > last {
                break;
            }
            network = wider;
        }
        out.push(network);
        next = network.last().plus(1);
    }
    out
}

/// Returns the smallest network around all of `networks`, if they are of one version.
#[must_use]
pub fn spanning(networks: &[Network]) -> Option<Network> {
    let lowest = networks.iter().min_by_key(|network| network.first())?;
    let highest = networks.iter().max_by_key(|network| network.last())?;
    if lowest.ip.v6 != highest.ip.v6 {
        return None;
    }
    let mut network = highest.cidr();
    while network.first() > lowest.first() && network.prefix > 0 {
        network.prefix -= 1;
    }
    Some(network.cidr())
}

/// A hardware address of 48 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware(pub u64);

impl Hardware {
    /// Reads `00:1a:…`, `001a.2b3c.4d5e` and what else there is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |part: &&str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
        for (separator, parts, fewest, most) in [
            (':', 6, 1, 2),
            ('-', 6, 1, 2),
            (':', 3, 1, 4),
            ('-', 3, 1, 4),
            ('.', 3, 1, 4),
            ('-', 2, 5, 6),
            (':', 2, 5, 6),
        ] {
            let words: Vec<&str> = text.split(separator).collect();
            let fits = |word: &&str| hex(word) && (fewest..=most).contains(&word.len());
            if words.len() == parts && words.iter().all(fits) {
                let digits: String = words.iter().map(|word| format!("{word:0>most$}")).collect();
                return u64::from_str_radix(&digits, 16).ok().map(Self);
            }
        }
        let bare = matches!(text.len(), 11 | 12) && hex(&text);
        u64::from_str_radix(text, 16)
            .ok()
            .filter(|_| bare)
            .map(Self)
    }

    /// Writes it in words of `bits` with `separator` between them.
    #[must_use]
    pub fn written(self, bits: u32, separator: &str, padded: bool) -> String {
        let digits = usize::try_from(bits / 4).unwrap_or(0);
        let words = (0..48 / bits).rev().map(|at| {
            let word = self.0 >> (at * bits) & ((1 << bits) - 1);
            match padded {
                true => format!("{word:0digits$x}"),
                false => format!("{word:x}"),
            }
        });
        words.collect::<Vec<_>>().join(separator)
    }

    /// Returns the address that a host of this interface gives itself in a network (SLAAC).
    #[must_use]
    pub fn in_network(self, network: &Network) -> Address {
        let (high, low) = (u128::from(self.0 >> 24), u128::from(self.0 & 0xff_ffff));
        let interface = (high << 40 | 0xff_fe00_0000 | low) ^ 0x0200_0000_0000_0000;
        let bits = network.first().bits.wrapping_add(interface);
        Address { v6: true, bits }
    }
}
