//! One encrypted text: its format, its key, its seal.

use std::num::NonZeroU32;

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use ring::{hmac, pbkdf2};

use super::{MARK, VaultError};

/// What Ansible derives its keys with; neither is written in the text.
const ROUNDS: NonZeroU32 = NonZeroU32::new(10_000).expect("it is not zero");
const KEY_BYTES: usize = 32;
const BLOCK_BYTES: usize = 16;

/// An encrypted text, taken apart.
pub(super) struct Envelope {
    salt: Vec<u8>,
    seal: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Envelope {
    /// Reads `$ANSIBLE_VAULT;1.1;AES256` or `$ANSIBLE_VAULT;1.2;AES256;label` and the digits below.
    pub(super) fn parse(text: &str) -> Result<Self, VaultError> {
        let mut lines = text.trim().lines().map(str::trim);
        let head = lines.next().and_then(|line| line.strip_prefix(MARK));
        let head: Vec<&str> = head.ok_or(VaultError::Format)?.split(';').collect();
        match head.as_slice() {
            ["1.1", "AES256"] | ["1.2", "AES256", _] => {}
            _ => return Err(VaultError::Format),
        }
        let inner = unhex(&lines.collect::<String>())?;
        let inner = String::from_utf8(inner).map_err(|_| VaultError::Format)?;
        let mut parts = inner.splitn(3, '\n').map(unhex);
        let mut part = || parts.next().unwrap_or(Err(VaultError::Format));
        Ok(Self {
            salt: part()?,
            seal: part()?,
            ciphertext: part()?,
        })
    }

    /// Returns what it holds; a password that is not its own breaks the seal.
    pub(super) fn open(&self, password: &str) -> Result<Vec<u8>, VaultError> {
        let mut keys = [0; 2 * KEY_BYTES + BLOCK_BYTES];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(
            algorithm,
            ROUNDS,
            &self.salt,
            password.as_bytes(),
            &mut keys,
        );
        let (cipher_key, rest) = keys.split_at(KEY_BYTES);
        let (seal_key, start) = rest.split_at(KEY_BYTES);
        let seal_key = hmac::Key::new(hmac::HMAC_SHA256, seal_key);
        hmac::verify(&seal_key, &self.ciphertext, &self.seal)
            .map_err(|_| VaultError::WrongPassword)?;
        let mut text = self.ciphertext.clone();
        let cipher = Ctr128BE::<Aes256>::new_from_slices(cipher_key, start);
        cipher
            .map_err(|_| VaultError::Format)?
            .apply_keystream(&mut text);
        unpad(text)
    }
}

/// Takes PKCS#7's padding away.
fn unpad(mut text: Vec<u8>) -> Result<Vec<u8>, VaultError> {
    let pad = usize::from(*text.last().ok_or(VaultError::Format)?);
    let end = text.len().checked_sub(pad).ok_or(VaultError::Format)?;
    if pad == 0 || pad > BLOCK_BYTES || text[end..].iter().any(|b| usize::from(*b) != pad) {
        return Err(VaultError::Format);
    }
    text.truncate(end);
    Ok(text)
}

fn unhex(text: &str) -> Result<Vec<u8>, VaultError> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.trim().as_bytes().chunks(2).map(pair).collect();
    bytes.ok_or(VaultError::Format)
}
