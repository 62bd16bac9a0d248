//! Hashes and encodings.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE};
use blake2::{Blake2b512, Blake2s256};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use sha3::{Sha3_224, Sha3_256, Sha3_384, Sha3_512};

use super::{Filter, Given, filter};
use crate::codec::Codec;
use crate::crypt::{self, Scheme, Settings};
use crate::surrogates;
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
        other => surrogates::bytes(&other.to_string()).into_owned(),
    }
}

fn digest(kind: &str, data: &[u8]) -> Result<Value, Error> {
    Ok(Value::from(match kind.to_lowercase().as_str() {
        "md5" => hex::encode(Md5::digest(data)),
        "sha1" => hex::encode(Sha1::digest(data)),
        "sha224" => hex::encode(Sha224::digest(data)),
        "sha256" => hex::encode(Sha256::digest(data)),
        "sha384" => hex::encode(Sha384::digest(data)),
        "sha512" => hex::encode(Sha512::digest(data)),
        "sha3_224" => hex::encode(Sha3_224::digest(data)),
        "sha3_256" => hex::encode(Sha3_256::digest(data)),
        "sha3_384" => hex::encode(Sha3_384::digest(data)),
        "sha3_512" => hex::encode(Sha3_512::digest(data)),
        "blake2b" => hex::encode(Blake2b512::digest(data)),
        "blake2s" => hex::encode(Blake2s256::digest(data)),
        _ => return Err(Error::failed(format!("unsupported hash type {kind}"))),
    }))
}

fn codec(given: &Given) -> Result<Codec, Error> {
    let name = given.text_or(0, "utf-8");
    Codec::called(&name).ok_or_else(|| Error::failed(format!("unknown encoding: {name}")))
}

/// Bits of a last digit that make no byte are passed over, as by Python.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

fn encode(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let data = match &value {
        Value::Bytes(bytes) => bytes.to_vec(),
        other if codec(given)? == Codec::Utf8 => bytes(other),
        other => codec(given)?
            .encode(&other.to_string())
            .map_err(|e| Error::failed(e.to_string()))?,
    };
    Ok(Value::from(match given.flag(1, false)? {
        true => URL_SAFE.encode(data),
        false => STANDARD.encode(data),
    }))
}

fn decode(_: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let codec = codec(given)?;
    let text = match given.flag(1, false)? {
        true => value.to_string().replace('-', "+").replace('_', "/"),
        false => value.to_string(),
    };
    let decoded = LENIENT.decode(before_padding(&text)?);
    let decoded = decoded.map_err(|e| Error::failed(format!("invalid base64: {e}")))?;
    let text = match codec {
        Codec::Utf8 => Ok(surrogates::text(&decoded)),
        codec => codec.decode(&decoded),
    };
    let text = text.map_err(|e| Error::failed(e.to_string()))?;
    Ok(Value::from(text))
}

/// Returns what Python decodes of base64: it passes over what is not of the alphabet, also over `=` where none is due,
/// and ends where they are.
fn before_padding(text: &str) -> Result<String, Error> {
    let mut known = String::new();
    let mut pads = 0;
    for c in text.chars() {
        let digits = known.len() % 4;
        match c {
            '=' if digits >= 2 => {
                pads += 1;
                if digits + pads == 4 {
                    known.extend(std::iter::repeat_n('=', pads));
                    return Ok(known);
                }
            }
            c if c.is_ascii_alphanumeric() || "+/".contains(c) => {
                pads = 0;
                known.push(c);
            }
            _ => {}
        }
    }
    match known.len() % 4 {
        0 => Ok(known),
        1 => Err(Error::failed(format!(
            "Invalid base64-encoded string: number of data characters ({}) cannot be 1 more than a multiple of 4",
            known.len()
        ))),
        _ => Err(Error::failed("Incorrect padding")),
    }
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

fn password_hash(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let kind = given.text_or(0, "sha512");
    let scheme = Scheme::called(&kind).ok_or_else(|| {
        Error::failed(format!(
            "{kind} is not in the list of supported passlib algorithms: md5, blowfish, sha256, sha512"
        ))
    })?;
    let password = match &value {
        Value::Str(text) => text.as_bytes().to_vec(),
        Value::Bytes(bytes) => bytes.to_vec(),
        other => {
            let kind = other.type_name();
            return Err(Error::failed(format!(
                "secret must be unicode or bytes, not {kind}"
            )));
        }
    };
    let settings = Settings {
        salt: given.optional_text(1)?,
        salt_size: match given.optional(2) {
            None | Some(Value::None) => None,
            Some(Value::Int(_)) => Some(given.size(2, 0)?),
            Some(_) => return Err(Error::failed("salt_size must be an integer")),
        },
        rounds: match given.int(3, 0)? {
            rounds if rounds <= 0 => None,
            rounds => Some(u32::try_from(rounds).unwrap_or(u32::MAX)),
        },
        ident: given.optional_text(4)?,
    };
    machine.meter.steps(scheme.steps(&settings))?;
    crypt::hash(&password, scheme, &settings, |bytes| {
        machine.outside.entropy(bytes);
    })
    .map(Value::from)
    .map_err(|reason| Error::failed(format!("Could not hash the secret: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `base64.b64decode` of Python 3.13 makes of the same.
    #[test]
    fn base64_is_read_as_leniently_as_by_python() {
        let decoded = |text: &str| {
            let text = before_padding(text).map_err(|e| e.message)?;
            Ok(LENIENT.decode(text).unwrap())
        };
        for (text, expected) in [
            ("X21=Cg==", &b"_m"[..]),
            ("Zm9v\n", b"foo"),
            ("Zm9v=", b"foo"),
            ("=Zm9v====", b"foo"),
            ("Zm9vYg==Zm9v", b"foob"),
            ("Zm9vYg=Q=", b"foob\x04"),
            ("data:Zm9v", b"u\xabZfoo"),
            ("Zm 9v!!", b"foo"),
        ] {
            assert_eq!(decoded(text), Ok(expected.to_vec()), "{text}");
        }
        let padding = Err("Incorrect padding".to_owned());
        assert_eq!((decoded("Zg"), decoded("Zg=")), (padding.clone(), padding));
        let one = "Invalid base64-encoded string: number of data characters (1) cannot be 1 more than a multiple of 4";
        assert_eq!(decoded("Z"), Err(one.to_owned()));
    }
}
