//! `OpenPGP` armour: bytes as text, with a checksum.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::KeyError;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Returns whether text is armour around a key.
pub(crate) fn is_armored(data: &[u8]) -> bool {
    data.windows(BEGIN.len())
        .any(|part| part == BEGIN.as_bytes())
}

/// Puts armour around a keyring's bytes.
pub(crate) fn with_armour(keyring: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(keyring);
    let lines: Vec<&str> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap_or_default())
        .collect();
    let sum = BASE64_STANDARD.encode(&crc24(keyring).to_be_bytes()[1..]);
    format!("{BEGIN}\n\n{}\n={sum}\n{END}\n", lines.join("\n"))
}

/// Takes all blocks of a text out of their armour.
pub(super) fn without_armour(text: &str) -> Result<Vec<u8>, KeyError> {
    let mut bytes = Vec::new();
    for block in text.split(BEGIN).skip(1) {
        let (block, _) = block
            .split_once(END)
            .ok_or(KeyError::Armour("it has no end"))?;
        bytes.extend(block_bytes(block)?);
    }
    Ok(bytes)
}

fn block_bytes(block: &str) -> Result<Vec<u8>, KeyError> {
    let lines = block.lines().map(str::trim).skip(1);
    // Headers such as `Version: …` end with an empty line; base64 has no colon.
    let lines = lines.filter(|line| !line.is_empty() && !line.contains(':'));
    let (sums, data): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with('='));
    let decode = |text: &str| BASE64_STANDARD.decode(text);
    let bytes = decode(&data.concat()).map_err(|_| KeyError::Armour("it is no base64"))?;
    if let Some(sum) = sums.first() {
        let wanted = &crc24(&bytes).to_be_bytes()[1..];
        if decode(&sum[1..]).is_ok_and(|sum| sum != wanted) {
            return Err(KeyError::Armour("its checksum does not match"));
        }
    }
    Ok(bytes)
}

fn crc24(bytes: &[u8]) -> u32 {
    let mut crc = 0x00B7_04CE;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4CFB;
            }
        }
    }
    crc & 0x00FF_FFFF
}
