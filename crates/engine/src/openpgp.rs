//! `OpenPGP` certificates as far as apt's keyrings need them: taken out of their armour, told apart,
//! named by their fingerprints. No signature is judged here: apt does that.

mod armour;

use std::time::{SystemTime, UNIX_EPOCH};

use sha1::Sha1;
use sha2::{Digest, Sha256};

use armour::without_armour;
pub(crate) use armour::{is_armored, with_armour};

/// Tags of packets.
const SIGNATURE: u8 = 2;
const SECRET_KEY: u8 = 5;
const PUBLIC_KEY: u8 = 6;
const SECRET_SUBKEY: u8 = 7;
const PUBLIC_SUBKEY: u8 = 14;

/// Types of subpackets of a signature.
const CREATED: u8 = 2;
const KEY_EXPIRES: u8 = 9;
const ISSUER: u8 = 16;
const ISSUER_FINGERPRINT: u8 = 33;

/// Why something is no keyring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the armour is damaged: {0}")]
    Armour(&'static str),
    #[error("it holds no OpenPGP packets")]
    NoPackets,
    #[error("a packet is cut off or of a kind that keyrings do not have")]
    Packet,
    #[error("it holds a secret key")]
    Secret,
    #[error("it holds no public key")]
    NoKey,
}

/// A key with its subkeys, names and signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// In upper-case hexadecimal digits, as all names here.
    pub(crate) fingerprint: String,
    pub(crate) key: Key,
    pub(crate) subkeys: Vec<Key>,
    packets: Vec<u8>,
}

/// The long id of a key, and until when it may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) id: String,
    /// In seconds since 1970.
    created: u64,
    /// When the signature was made that says until when, and how many seconds it may live.
    expires: Option<(u64, u64)>,
}

impl Key {
    pub(crate) fn is_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs());
        self.expires
            .is_some_and(|(_, life)| life != 0 && self.created + life <= now)
    }
}

/// Reads the certificates of a keyring, in armour or not. Those of obsolete versions are left out.
pub(crate) fn read(data: &[u8]) -> Result<Vec<Certificate>, KeyError> {
    let certificates = match is_armored(data) {
        true => certificates(&without_armour(&String::from_utf8_lossy(data))?)?,
        false => certificates(data)?,
    };
    match certificates.is_empty() {
        true => Err(KeyError::NoKey),
        false => Ok(certificates),
    }
}

/// Returns certificates as a keyring's bytes.
pub(crate) fn keyring(certificates: &[Certificate]) -> Vec<u8> {
    let packets = certificates.iter().map(|c| c.packets.as_slice());
    packets.collect::<Vec<_>>().concat()
}

/// A packet: its tag, its body, and all of its bytes.
struct Packet<'a> {
    tag: u8,
    body: &'a [u8],
    whole: &'a [u8],
}

fn packets(mut data: &[u8]) -> Result<Vec<Packet<'_>>, KeyError> {
    if data.first().is_none_or(|first| first & 0x80 == 0) {
        return Err(KeyError::NoPackets);
    }
    let mut packets = Vec::new();
    while !data.is_empty() {
        let (packet, rest) = packet(data).ok_or(KeyError::Packet)?;
        packets.push(packet);
        data = rest;
    }
    Ok(packets)
}

/// Reads the first packet. Lengths in parts or without end are for data, which keyrings have none of.
fn packet(data: &[u8]) -> Option<(Packet<'_>, &[u8])> {
    let first = *data.first().filter(|first| **first & 0x80 != 0)?;
    let (tag, header, length) = if first & 0x40 != 0 {
        let (bytes, length) = new_length(data.get(1..)?)?;
        (first & 0x3f, 1 + bytes, length)
    } else {
        let bytes = match first & 0x03 {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => return None,
        };
        ((first >> 2) & 0x0f, 1 + bytes, number(data.get(1..=bytes)?))
    };
    let length = usize::try_from(length).ok()?;
    let whole = data.get(..header.checked_add(length)?)?;
    let packet = Packet {
        tag,
        body: &whole[header..],
        whole,
    };
    Some((packet, &data[whole.len()..]))
}

/// Reads a length of one, two or five bytes; returns how many, and the length.
fn new_length(data: &[u8]) -> Option<(usize, u64)> {
    let first = *data.first()?;
    match first {
        0..=191 => Some((1, u64::from(first))),
        192..=223 => {
            let second = *data.get(1)?;
            Some((2, ((u64::from(first) - 192) << 8) + u64::from(second) + 192))
        }
        255 => Some((5, number(data.get(1..5)?))),
        224..=254 => None,
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

fn certificates(data: &[u8]) -> Result<Vec<Certificate>, KeyError> {
    let mut found: Vec<Certificate> = Vec::new();
    // Whether what follows belongs to a certificate that is kept.
    let mut inside = false;
    for packet in packets(data)? {
        match packet.tag {
            SECRET_KEY | SECRET_SUBKEY => return Err(KeyError::Secret),
            PUBLIC_KEY => {
                let named = key(packet.body);
                inside = named.is_some();
                found.extend(named.map(|(fingerprint, key)| Certificate {
                    fingerprint,
                    key,
                    subkeys: Vec::new(),
                    packets: Vec::new(),
                }));
            }
            _ => {}
        }
        let Some(certificate) = found.last_mut().filter(|_| inside) else {
            continue;
        };
        certificate.packets.extend_from_slice(packet.whole);
        match packet.tag {
            PUBLIC_SUBKEY => certificate
                .subkeys
                .extend(key(packet.body).map(|(_, key)| key)),
            SIGNATURE => certificate.note(packet.body),
            _ => {}
        }
    }
    Ok(found)
}

/// Returns a key's fingerprint, and the key; none of versions before 4.
fn key(body: &[u8]) -> Option<(String, Key)> {
    let created = number(body.get(1..5)?);
    let (fingerprint, id) = match body[0] {
        4 => {
            let length = u16::try_from(body.len()).ok()?.to_be_bytes();
            let sum = Sha1::new().chain_update([0x99]).chain_update(length);
            let sum = sum.chain_update(body).finalize();
            (hex::encode_upper(sum), hex::encode_upper(&sum[12..]))
        }
        version @ (5 | 6) => {
            let length = u32::try_from(body.len()).ok()?.to_be_bytes();
            let sum = Sha256::new()
                .chain_update([0x95 + version])
                .chain_update(length);
            let sum = sum.chain_update(body).finalize();
            (hex::encode_upper(sum), hex::encode_upper(&sum[..8]))
        }
        _ => return None,
    };
    let key = Key {
        id,
        created,
        expires: None,
    };
    Some((fingerprint, key))
}

impl Certificate {
    /// Takes from one of its own signatures until when a key may be used; the latest counts.
    fn note(&mut self, body: &[u8]) {
        let Some(signature) = Signature::read(body).filter(|s| s.issuer == self.key.id) else {
            return;
        };
        let key = match (signature.kind, self.subkeys.last_mut()) {
            (0x10..=0x13 | 0x1f, None) => &mut self.key,
            (0x18, Some(subkey)) => subkey,
            _ => return,
        };
        if key
            .expires
            .is_none_or(|(made, _)| made <= signature.created)
        {
            key.expires = Some((signature.created, signature.key_expires));
        }
    }
}

/// What of a signature counts here.
struct Signature {
    kind: u8,
    created: u64,
    key_expires: u64,
    issuer: String,
}

impl Signature {
    fn read(body: &[u8]) -> Option<Self> {
        // Lengths have two bytes up to version 5, then four.
        let width = match body.first()? {
            4 | 5 => 2,
            6 => 4,
            _ => return None,
        };
        let mut signature = Self {
            kind: *body.get(1)?,
            created: 0,
            key_expires: 0,
            issuer: String::new(),
        };
        let (hashed, rest) = area(body.get(4..)?, width)?;
        let (unhashed, _) = area(rest, width)?;
        for (kind, data) in subpackets(hashed) {
            match kind {
                CREATED => signature.created = number(data),
                KEY_EXPIRES => signature.key_expires = number(data),
                _ => {}
            }
        }
        for (kind, data) in subpackets(hashed).chain(subpackets(unhashed)) {
            match kind {
                ISSUER => signature.issuer = hex::encode_upper(data),
                ISSUER_FINGERPRINT if data.first() == Some(&4) => {
                    let id = data.len().checked_sub(8).map(|at| &data[at..]);
                    signature.issuer = hex::encode_upper(id.unwrap_or_default());
                }
                ISSUER_FINGERPRINT => {
                    signature.issuer = hex::encode_upper(data.get(1..9).unwrap_or_default());
                }
                _ => {}
            }
        }
        Some(signature)
    }
}

fn area(data: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(number(data.get(..width)?)).ok()?;
    let rest = &data[width..];
    (length <= rest.len()).then(|| rest.split_at(length))
}

/// Returns the type and the data of each.
fn subpackets(mut area: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let first = *area.first()?;
        let (bytes, length) = match first {
            0..=191 => (1, u64::from(first)),
            192..=254 => {
                let second = *area.get(1)?;
                (2, ((u64::from(first) - 192) << 8) + u64::from(second) + 192)
            }
            255 => (5, number(area.get(1..5)?)),
        };
        let end = bytes + usize::try_from(length).ok()?;
        let (kind, data) = area.get(bytes..end)?.split_first()?;
        area = &area[end..];
        Some((kind & 0x7f, data))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key made for the purpose, with a subkey that lived for a second.
    pub(crate) const ARMORED: &str = include_str!("openpgp/example.asc");

    #[test]
    fn a_key_is_read_with_and_without_armour() {
        let read_once = read(ARMORED.as_bytes()).unwrap();
        let [certificate] = &read_once[..] else {
            panic!("{read_once:?}");
        };
        // As gpg names them.
        let fingerprint = "BF647B1ED64F3959C94497C3B3221DA5053C0CC1";
        assert_eq!(certificate.fingerprint, fingerprint);
        assert_eq!(certificate.key.id, "B3221DA5053C0CC1");
        let subkeys: Vec<&str> = certificate.subkeys.iter().map(|k| k.id.as_str()).collect();
        assert_eq!(subkeys, ["9016D61F89C6B244"]);
        let bytes = keyring(&read_once);
        assert_eq!(read(&bytes).unwrap(), read_once);
        let armored = with_armour(&bytes);
        assert_eq!(armored.trim(), ARMORED.trim());
    }

    #[test]
    fn a_key_lives_as_long_as_its_signature_says() {
        let certificate = read(ARMORED.as_bytes()).unwrap().remove(0);
        assert!(!certificate.key.is_expired(), "it has no end");
        assert_eq!(
            certificate.subkeys[0].expires.map(|(_, life)| life),
            Some(1)
        );
        assert!(certificate.subkeys[0].is_expired());
    }

    #[test]
    fn what_is_no_keyring_is_refused_and_never_a_panic() {
        assert_eq!(read(b"<html>"), Err(KeyError::NoPackets));
        assert_eq!(read(b""), Err(KeyError::NoPackets));
        let damaged = ARMORED.replacen("mDME", "mDMF", 1);
        let wrong = KeyError::Armour("its checksum does not match");
        assert_eq!(read(damaged.as_bytes()), Err(wrong));
        let whole = keyring(&read(ARMORED.as_bytes()).unwrap());
        for end in 0..whole.len() {
            let _ = read(&whole[..end]);
        }
        assert_eq!(read(&whole[..whole.len() - 1]), Err(KeyError::Packet));
    }
}
