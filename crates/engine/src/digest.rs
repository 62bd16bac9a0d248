//! Checksums of files, in hexadecimal, streamed.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha2::digest::DynDigest;

/// Returns the checksum called `algorithm` (`sha1`, `sha256`, `md5`, …) of what `input` holds.
///
/// # Errors
/// `Unsupported` for an algorithm nobody here knows; whatever reading raises otherwise.
pub(crate) fn checksum(mut input: impl Read, algorithm: &str) -> io::Result<String> {
    let mut hasher = hasher(algorithm).ok_or(io::ErrorKind::Unsupported)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(hex::encode(hasher.finalize())),
            Ok(read) => hasher.update(&buffer[..read]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Returns the checksum of the file at `path`, links followed.
pub(crate) fn file_checksum(path: &Path, algorithm: &str) -> io::Result<String> {
    checksum(File::open(path)?, algorithm)
}

fn hasher(algorithm: &str) -> Option<Box<dyn DynDigest>> {
    Some(match algorithm {
        "md5" => Box::new(md5::Md5::default()),
        "sha1" => Box::new(sha1::Sha1::default()),
        "sha224" => Box::new(sha2::Sha224::default()),
        "sha256" => Box::new(sha2::Sha256::default()),
        "sha384" => Box::new(sha2::Sha384::default()),
        "sha512" => Box::new(sha2::Sha512::default()),
        "sha3_224" => Box::new(sha3::Sha3_224::default()),
        "sha3_256" => Box::new(sha3::Sha3_256::default()),
        "sha3_384" => Box::new(sha3::Sha3_384::default()),
        "sha3_512" => Box::new(sha3::Sha3_512::default()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_coreutils() {
        assert_eq!(
            checksum(&b"a"[..], "md5").unwrap(),
            "0cc175b9c0f1b6a831c399e269772661"
        );
        assert_eq!(
            checksum(&b"a"[..], "sha1").unwrap(),
            "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"
        );
        assert_eq!(
            checksum(&b"ptux"[..], "sha3_256").unwrap(),
            "64e5ea73a2f799f35abd0b1242df5e70c84248c9883f89343d4cd5f6d493a139"
        );
        assert!(checksum(&b"a"[..], "crc").is_err());
    }
}
