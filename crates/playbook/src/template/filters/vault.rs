//! `vault` and `unvault`: texts as ansible-vault encrypts them.

use std::fmt::Write as _;

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

const VAULT: &[&str] = &["secret", "salt", "vault_id", "wrap_object", "vaultid"];

pub(super) const FILTERS: &[Filter] = &[
    filter("vault", VAULT, vault),
    filter("unvault", &["secret", "vault_id", "vaultid"], unvault),
];

const HEAD: &str = "$ANSIBLE_VAULT;";
const ROUNDS: u32 = 10_000;
const KEY_BYTES: usize = 32;
const BLOCK_BYTES: usize = 16;
const SALT_BYTES: usize = 32;
const LINE: usize = 80;

/// What a password and a salt make: the keys of the cipher and of the seal, and the first block.
struct Keys([u8; 2 * KEY_BYTES + BLOCK_BYTES]);

impl Keys {
    fn derive(machine: &Evaluator<'_>, password: &[u8], salt: &[u8]) -> Result<Self, Error> {
        machine.meter.steps(3 * 10_000)?;
        let mut keys = [0; 2 * KEY_BYTES + BLOCK_BYTES];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, ROUNDS, &mut keys);
        Ok(Self(keys))
    }

    fn seal(&self) -> Result<Hmac<Sha256>, Error> {
        Hmac::new_from_slice(&self.0[KEY_BYTES..2 * KEY_BYTES]).map_err(|_| broken())
    }

    /// Encrypts or decrypts, which is the same.
    fn cipher(&self, text: &mut [u8]) -> Result<(), Error> {
        let (key, rest) = self.0.split_at(KEY_BYTES);
        let cipher = Ctr128BE::<Aes256>::new_from_slices(key, &rest[KEY_BYTES..]);
        cipher.map_err(|_| broken())?.apply_keystream(text);
        Ok(())
    }
}

fn broken() -> Error {
    Error::failed("Unable to encrypt.")
}

fn bytes<'v>(value: &'v Value, wrong: &str) -> Result<&'v [u8], Error> {
    match value {
        Value::Str(text) => Ok(text.as_bytes()),
        Value::Bytes(bytes) => Ok(bytes),
        other => {
            let kind = other.type_name();
            Err(Error::failed(format!(
                "{wrong}, instead we got <class '{kind}'>."
            )))
        }
    }
}

fn vault(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let secret = given.value(0)?;
    let secret = bytes(secret, "Secret passed is required to be a string")?;
    let data = bytes(&value, "Can only vault strings")?;
    let salt = match given.optional_text(1)?.filter(|salt| !salt.is_empty()) {
        Some(salt) => salt.into_bytes(),
        None => {
            let mut salt = vec![0; SALT_BYTES];
            machine.outside.entropy(&mut salt);
            salt
        }
    };
    let keys = Keys::derive(machine, secret, &salt)?;
    let mut text = data.to_vec();
    let pad = BLOCK_BYTES - text.len() % BLOCK_BYTES;
    text.extend(std::iter::repeat_n(u8::try_from(pad).unwrap_or(0), pad));
    keys.cipher(&mut text)?;
    let mut seal = keys.seal()?;
    seal.update(&text);
    let seal = hex::encode(seal.finalize().into_bytes());
    let body = format!("{}\n{seal}\n{}", hex::encode(&salt), hex::encode(&text));
    let id = given.text_or(2, "filter_default");
    let mut out = match id.as_str() {
        "" | "default" => format!("{HEAD}1.1;AES256\n"),
        id => format!("{HEAD}1.2;AES256;{id}\n"),
    };
    let digits = hex::encode(body);
    for line in digits.as_bytes().chunks(LINE) {
        let _ = writeln!(out, "{}", String::from_utf8_lossy(line));
    }
    Ok(Value::from(out))
}

fn unvault(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let secret = given.value(0)?;
    let secret = bytes(secret, "Secret passed is required to be as string")?;
    let text = bytes(&value, "Vault should be in the form of a string")?;
    if !text.starts_with(HEAD.as_bytes()) {
        return Ok(value);
    }
    let text = String::from_utf8_lossy(text);
    let opened = open(machine, &text, secret).map_err(|mut error| {
        if error.kind != crate::template::ErrorKind::Limit {
            error.message = String::from("Unable to decrypt.");
        }
        error
    })?;
    Ok(Value::from(String::from_utf8_lossy(&opened).into_owned()))
}

fn open(machine: &Evaluator<'_>, text: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
    let digits: String = text.lines().skip(1).map(str::trim).collect();
    let body = hex::decode(digits).map_err(|_| broken())?;
    let parts = body.splitn(3, |byte| *byte == b'\n').map(hex::decode);
    let parts: Vec<Vec<u8>> = parts.collect::<Result<_, _>>().map_err(|_| broken())?;
    let [salt, seal, ciphertext] = parts.as_slice() else {
        return Err(broken());
    };
    let keys = Keys::derive(machine, secret, salt)?;
    let mut check = keys.seal()?;
    check.update(ciphertext);
    check.verify_slice(seal).map_err(|_| broken())?;
    let mut text = ciphertext.clone();
    keys.cipher(&mut text)?;
    let pad = usize::from(text.last().copied().ok_or_else(broken)?);
    let end = text.len().checked_sub(pad).ok_or_else(broken)?;
    text.truncate(end);
    Ok(text)
}
