//! Hashes and encodings.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter("hash", &["hashtype"], |_, v, g| {
        digest(&g.text_or(0, "sha1"), &bytes(&v))
    }),
    filter("md5", &[], |_, v, _| digest("md5", &bytes(&v))),
    filter("sha1", &[], |_, v, _| digest("sha1", &bytes(&v))),
    filter("checksum", &[], |_, v, _| digest("sha1", &bytes(&v))),
    filter("b64encode", &["encoding", "urlsafe"], encode),
    filter("b64decode", &["encoding", "urlsafe"], decode),
    filter("to_uuid", &["namespace"], to_uuid),
    filter(
        "password_hash",
        &["hashtype", "salt", "salt_size", "rounds", "ident"],
        password_hash,
    ),
];

fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::Bytes(bytes) => bytes.to_vec(),
        other => other.to_string().into_bytes(),
    }
}

fn digest(kind: &str, data: &[u8]) -> Result<Value, Error> {
    Ok(Value::from(match kind {
        "md5" => hex::encode(Md5::digest(data)),
        "sha1" => hex::encode(Sha1::digest(data)),
        "sha224" => hex::encode(Sha224::digest(data)),
        "sha256" => hex::encode(Sha256::digest(data)),
        "sha384" => hex::encode(Sha384::digest(data)),
        "sha512" => hex::encode(Sha512::digest(data)),
        other => return Err(Error::failed(format!("unsupported hash type {other}"))),
    }))
}

fn encode(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    utf8_only(given)?;
    let data = bytes(&value);
    Ok(Value::from(match given.flag(1, false)? {
        true => URL_SAFE.encode(data),
        false => STANDARD.encode(data),
    }))
}

fn utf8_only(given: &Given) -> Result<(), Error> {
    let encoding = given.text_or(0, "utf-8").to_lowercase();
    match encoding.as_str() {
        "utf-8" | "utf8" | "ascii" => Ok(()),
        other => Err(Error::failed(format!(
            "the encoding '{other}' is not supported yet"
        ))),
    }
}

fn decode(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    utf8_only(given)?;
    // Python passes over what is not of the alphabet.
    let known = |c: &char| c.is_ascii_alphanumeric() || "+/-_=".contains(*c);
    let text: String = value.to_string().chars().filter(known).collect();
    let decoded = match given.flag(1, false)? {
        true => URL_SAFE.decode(text),
        false => STANDARD.decode(text),
    };
    let decoded = decoded.map_err(|e| Error::failed(format!("invalid base64: {e}")))?;
    String::from_utf8(decoded)
        .map(Value::from)
        .map_err(|e| Error::failed(format!("'utf-8' codec can't decode bytes: {e}")))
}

/// A version 5 UUID in Ansible's own namespace.
fn to_uuid(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let namespace = given.text_or(0, "361E6D51-FAEC-444A-9079-341386DA8E2E");
    let digits: String = namespace.chars().filter(char::is_ascii_hexdigit).collect();
    if digits.len() != 32 {
        return Err(Error::failed(format!(
            "Invalid value '{namespace}' for 'namespace'"
        )));
    }
    let mut data: Vec<u8> = (0..16)
        .filter_map(|i| u8::from_str_radix(&digits[i * 2..i * 2 + 2], 16).ok())
        .collect();
    data.extend(bytes(&value));
    let mut uuid = Sha1::digest(&data)[..16].to_vec();
    uuid[6] = uuid[6] & 0x0f | 0x50;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let text = hex::encode(&uuid);
    Ok(Value::from(format!(
        "{}-{}-{}-{}-{}",
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..]
    )))
}

const CRYPT64: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn password_hash(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let kind = given.text_or(0, "sha512");
    let password = bytes(&value);
    let rounds = given
        .optional(3)
        .filter(|r| !matches!(r, Value::None))
        .and_then(Value::as_int);
    let salt = match given.optional_text(1)? {
        Some(salt) => salt,
        None => {
            let size = given.size(2, if kind == "md5" { 8 } else { 16 })?.min(16);
            let mut random = vec![0; size];
            machine.outside.entropy(&mut random);
            random
                .iter()
                .map(|byte| char::from(CRYPT64[usize::from(byte & 63)]))
                .collect()
        }
    };
    if let Some(wrong) = salt
        .chars()
        .find(|c| !c.is_ascii() || !CRYPT64.contains(&(*c as u8)))
    {
        return Err(Error::failed(format!(
            "invalid character in salt: '{wrong}'"
        )));
    }
    let rounds = rounds.and_then(|rounds| usize::try_from(rounds).ok());
    machine
        .meter
        .steps(rounds.unwrap_or(5000).saturating_mul(10))?;
    match kind.as_str() {
        "sha512" | "sha512_crypt" => Ok(Value::from(sha_crypt::<Sha512>(
            "6",
            &password,
            &salt,
            rounds.unwrap_or(656_000),
            &ORDER_512,
        ))),
        "sha256" | "sha256_crypt" => Ok(Value::from(sha_crypt::<Sha256>(
            "5",
            &password,
            &salt,
            rounds.unwrap_or(535_000),
            &ORDER_256,
        ))),
        other => Err(Error::failed(format!(
            "the hash type '{other}' of password_hash is not supported yet"
        ))),
    }
}

/// The order in which the digest's bytes are written, three to four letters.
const ORDER_512: [[usize; 3]; 21] = [
    [0, 21, 42],
    [22, 43, 1],
    [44, 2, 23],
    [3, 24, 45],
    [25, 46, 4],
    [47, 5, 26],
    [6, 27, 48],
    [28, 49, 7],
    [50, 8, 29],
    [9, 30, 51],
    [31, 52, 10],
    [53, 11, 32],
    [12, 33, 54],
    [34, 55, 13],
    [56, 14, 35],
    [15, 36, 57],
    [37, 58, 16],
    [59, 17, 38],
    [18, 39, 60],
    [40, 61, 19],
    [62, 20, 41],
];
const ORDER_256: [[usize; 3]; 10] = [
    [0, 10, 20],
    [21, 1, 11],
    [12, 22, 2],
    [3, 13, 23],
    [24, 4, 14],
    [15, 25, 5],
    [6, 16, 26],
    [27, 7, 17],
    [18, 28, 8],
    [9, 19, 29],
];

/// Ulrich Drepper's SHA-crypt.
#[expect(
    clippy::many_single_char_names,
    reason = "the names of the published algorithm"
)]
fn sha_crypt<D: Digest>(
    id: &str,
    password: &[u8],
    salt: &str,
    rounds: usize,
    order: &[[usize; 3]],
) -> String {
    let rounds = rounds.clamp(1000, 999_999_999);
    let salt: String = salt.chars().take(16).collect();
    let s = salt.as_bytes();
    let b = D::digest([password, s, password].concat());
    let size = b.len();
    let stretch = |block: &[u8], length: usize| {
        block
            .iter()
            .copied()
            .cycle()
            .take(length)
            .collect::<Vec<u8>>()
    };
    let mut a = [password, s].concat();
    a.extend(stretch(&b, password.len()));
    let mut bits = password.len();
    while bits > 0 {
        if bits & 1 == 1 {
            a.extend_from_slice(&b);
        } else {
            a.extend_from_slice(password);
        }
        bits >>= 1;
    }
    let mut digest = D::digest(&a);
    let p = stretch(&D::digest(password.repeat(password.len())), password.len());
    let s_block = stretch(&D::digest(s.repeat(16 + usize::from(digest[0]))), s.len());
    for round in 0..rounds {
        let mut c = D::new();
        if round & 1 == 1 {
            c.update(&p);
        } else {
            c.update(&digest);
        }
        if round % 3 != 0 {
            c.update(&s_block);
        }
        if round % 7 != 0 {
            c.update(&p);
        }
        if round & 1 == 1 {
            c.update(&digest);
        } else {
            c.update(&p);
        }
        digest = c.finalize();
    }
    let mut out = String::new();
    let mut write = |bits: u32, letters: usize| {
        for at in 0..letters {
            out.push(char::from(CRYPT64[(bits >> (6 * at) & 63) as usize]));
        }
    };
    for [a, b, c] in order {
        write(
            u32::from(digest[*a]) << 16 | u32::from(digest[*b]) << 8 | u32::from(digest[*c]),
            4,
        );
    }
    if size == 64 {
        write(u32::from(digest[63]), 2);
    } else {
        write(u32::from(digest[31]) << 8 | u32::from(digest[30]), 3);
    }
    let shown = if rounds == 5000 {
        String::new()
    } else {
        format!("rounds={rounds}$")
    };
    format!("${id}${shown}{salt}${out}")
}
