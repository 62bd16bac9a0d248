//! Hashes of `caching_sha2_password` and `sha256_password`, from a password and a salt that the author chose.

use sha2::{Digest as _, Sha256};

/// The plugins that have them.
pub(super) const PLUGINS: &[&str] = &["caching_sha2_password", "sha256_password"];

/// How often the digest is made anew, in thousands.
const THOUSANDS: usize = 5;
const DIGITS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Returns the hash as the server keeps it.
pub(super) fn of(password: &str, salt: &str) -> String {
    let digest = digest(password.as_bytes(), salt.as_bytes());
    format!("$A${THOUSANDS:03}${salt}{}", encoded(&digest))
}

/// The digest of SHA-crypt (<https://www.akkadia.org/drepper/SHA-crypt.txt>), with a salt of any length.
fn digest(key: &[u8], salt: &[u8]) -> [u8; 32] {
    let first = Sha256::digest([key, salt, key].concat());
    let mut seed = Sha256::new().chain_update(key).chain_update(salt);
    seed.update(repeated(&first, key.len()));
    let mut bits = key.len();
    while bits > 0 {
        seed.update(if bits & 1 == 1 { &first[..] } else { key });
        bits >>= 1;
    }
    let seed = seed.finalize();
    let keys = repeated(&Sha256::digest(key.repeat(key.len())), key.len());
    let salts = Sha256::digest(salt.repeat(16 + usize::from(seed[0])));
    let salts = repeated(&salts, salt.len());
    let mut digest = seed;
    for round in 0..THOUSANDS * 1000 {
        let odd = round % 2 == 1;
        let mut next = Sha256::new().chain_update(if odd { &keys[..] } else { &digest[..] });
        if round % 3 != 0 {
            next.update(&salts);
        }
        if round % 7 != 0 {
            next.update(&keys);
        }
        next.update(if odd { &digest[..] } else { &keys[..] });
        digest = next.finalize();
    }
    digest.into()
}

/// Returns a digest over and over, up to a length.
fn repeated(digest: &[u8], length: usize) -> Vec<u8> {
    digest.iter().copied().cycle().take(length).collect()
}

fn encoded(digest: &[u8; 32]) -> String {
    let mut text = String::new();
    let mut put = |bytes: [u8; 3], digits: usize| {
        let [a, b, c] = bytes.map(u32::from);
        let mut left = a << 16 | b << 8 | c;
        for _ in 0..digits {
            text.push(char::from(DIGITS[(left & 0x3f) as usize]));
            left >>= 6;
        }
    };
    let mut at = 0;
    loop {
        put(
            [digest[at], digest[(at + 10) % 30], digest[(at + 20) % 30]],
            4,
        );
        at = (at + 21) % 30;
        if at == 0 {
            break;
        }
    }
    put([0, digest[31], digest[30]], 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Ansible's `mysql_sha256_password_hash` returns.
    #[test]
    fn a_hash_is_that_of_mysql() {
        for (password, salt, expected) in [
            (
                "password",
                "1234567890abcdefghij",
                "$A$005$1234567890abcdefghijZhkXqsPwdUcxIevlDledVLOK0Oqn.RxGRi3b./OHKW/",
            ),
            (
                "a much longer password than one digest is, sir",
                "ABCDEFGHIJ0123456789",
                "$A$005$ABCDEFGHIJ0123456789iqlRJJtJNfKNy1ufuB8ogCijPfoVDatAMsGb397YANB",
            ),
        ] {
            assert_eq!(of(password, salt), expected);
        }
    }
}
