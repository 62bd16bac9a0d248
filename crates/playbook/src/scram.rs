//! Keys of SCRAM-SHA-256 (RFC 5802, RFC 7677), by which PostgreSQL keeps and proves passwords.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

/// What is made of a password and a salt.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    client: [u8; 32],
    /// By which a server shows that it knows the password, too.
    pub server: [u8; 32],
}

impl Keys {
    /// Makes them; the password is taken as it is, as a server does that is given no Unicode to prepare.
    #[must_use]
    pub fn new(password: &str, salt: &[u8], rounds: u32) -> Self {
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, rounds, &mut salted);
        Self {
            client: sign(&salted, b"Client Key"),
            server: sign(&salted, b"Server Key"),
        }
    }

    /// Returns what proves to a server that the password is known, of what both have said so far.
    #[must_use]
    pub fn proof(&self, said: &[u8]) -> [u8; 32] {
        let stored = Sha256::digest(self.client);
        let mut proof = sign(&stored, said);
        for (byte, key) in proof.iter_mut().zip(self.client) {
            *byte ^= key;
        }
        proof
    }

    /// Returns what proves to a client that the server knows the password.
    #[must_use]
    pub fn signature(&self, said: &[u8]) -> [u8; 32] {
        sign(&self.server, said)
    }
}

fn sign(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut signature = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    signature.update(text);
    signature.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The conversation of RFC 7677.
    #[test]
    fn a_password_is_proved_as_in_the_standard() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = Keys::new("pencil", &salt, 4096);
        let said = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let proof = STANDARD.encode(keys.proof(said.as_bytes()));
        assert_eq!(proof, "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let signature = STANDARD.encode(keys.signature(said.as_bytes()));
        assert_eq!(signature, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }
}
