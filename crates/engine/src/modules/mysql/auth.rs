//! How a client proves that it knows a password, by the plugin that the server names.

use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// What a client says to a plugin's challenge.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Says(Vec<u8>),
    /// The plugin is none of ours.
    Unknown,
    /// It wants the password itself, which does not go over a network in the clear.
    InTheClear,
}

/// Answers `plugin`; `private` is a socket of this machine.
pub(super) fn proof(plugin: &str, password: &str, challenge: &[u8], private: bool) -> Proof {
    let challenge = &challenge[..challenge.len().min(20)];
    match plugin {
        "" | "mysql_native_password" => Proof::Says(native(password, challenge)),
        "caching_sha2_password" => Proof::Says(caching_sha2(password, challenge)),
        "mysql_clear_password" | "dialog" | "sha256_password" if private => {
            Proof::Says(clear(password))
        }
        "mysql_clear_password" | "dialog" | "sha256_password" => Proof::InTheClear,
        // The server looks at who has opened the socket, and at nothing that is said.
        "unix_socket" | "auth_socket" => Proof::Says(Vec::new()),
        _ => Proof::Unknown,
    }
}

/// Returns the password itself, as it is sent on a socket of this machine.
pub(super) fn clear(password: &str) -> Vec<u8> {
    let mut text = password.as_bytes().to_vec();
    text.push(0);
    text
}

/// `SHA1(password) XOR SHA1(challenge + SHA1(SHA1(password)))`.
fn native(password: &str, challenge: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha1::digest(password);
    let twice = Sha1::digest(once);
    let mask = Sha1::new()
        .chain_update(challenge)
        .chain_update(twice)
        .finalize();
    once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
}

/// `SHA256(password) XOR SHA256(SHA256(SHA256(password)) + challenge)`.
fn caching_sha2(password: &str, challenge: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let once = Sha256::digest(password);
    let twice = Sha256::digest(once);
    let mask = Sha256::new()
        .chain_update(twice)
        .chain_update(challenge)
        .finalize();
    once.iter().zip(mask).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What PyMySQL's `scramble_native_password` and `scramble_caching_sha2` return.
    #[test]
    fn passwords_are_proved_as_by_pymysql() {
        let challenge = b"12345678901234567890\0";
        for (plugin, expected) in [
            (
                "mysql_native_password",
                "d087544958bbffa796b56aea24c1804a7caab40d",
            ),
            (
                "caching_sha2_password",
                "a646d41b26409c566b1f8fe1305a6de6b18b4ff6d8a6ea264636afef9fa1eceb",
            ),
        ] {
            let Proof::Says(said) = proof(plugin, "hunter2", challenge, false) else {
                panic!("{plugin}");
            };
            assert_eq!(hex::encode(said), expected, "{plugin}");
            assert_eq!(proof(plugin, "", challenge, false), Proof::Says(Vec::new()));
        }
    }

    #[test]
    fn a_password_goes_in_the_clear_on_a_socket_of_this_machine_only() {
        for plugin in ["mysql_clear_password", "dialog", "sha256_password"] {
            assert_eq!(proof(plugin, "a", b"", true), Proof::Says(b"a\0".to_vec()));
            assert_eq!(proof(plugin, "a", b"", false), Proof::InTheClear);
        }
        assert_eq!(proof("client_ed25519", "a", b"", true), Proof::Unknown);
    }
}
