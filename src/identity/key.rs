//! The key under which secrets enter an identity that everybody in the account can read.

use amibake_protocol::bundle::Hash;
use ring::hmac;

use crate::secret::Secret;

/// The environment variable that holds it.
pub(crate) const VARIABLE: &str = "AMIBAKE_CONTENT_KEY";

/// A shorter one could be guessed, and with it what it hides.
const SHORTEST: usize = 16;

/// A secret of the user's: without it a digest of a password that people can guess would tell it.
#[derive(Debug, Clone)]
pub(crate) struct ContentKey(Secret<Vec<u8>>);

/// What is no key.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE} has fewer than {SHORTEST} bytes")]
pub(crate) struct KeyError;

impl ContentKey {
    /// Returns the key that the environment has, if it has one.
    pub(crate) fn from_environment() -> Result<Option<Self>, KeyError> {
        match std::env::var_os(VARIABLE) {
            Some(key) if !key.is_empty() => Self::new(key.into_encoded_bytes()).map(Some),
            _ => Ok(None),
        }
    }

    pub(crate) fn new(key: Vec<u8>) -> Result<Self, KeyError> {
        match key.len() < SHORTEST {
            true => Err(KeyError),
            false => Ok(Self(Secret::new(key))),
        }
    }

    /// Returns the code of a value, which is another for each name.
    pub(super) fn code(&self, name: &str, value: &[u8]) -> Hash {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(&(name.len() as u64).to_be_bytes());
        context.update(name.as_bytes());
        context.update(value);
        let code = hex::encode(context.sign());
        Hash::try_from(code).expect("HMAC-SHA256 has 64 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_another_code_under_another_key_or_name() {
        let key = |text: &str| ContentKey::new(text.as_bytes().to_vec()).unwrap();
        let one = key("0123456789abcdef").code("token", b"hunter22");
        assert_eq!(one, key("0123456789abcdef").code("token", b"hunter22"));
        assert_ne!(one, key("0123456789abcdeg").code("token", b"hunter22"));
        assert_ne!(one, key("0123456789abcdef").code("tokenh", b"unter22"));
        assert!(ContentKey::new(b"short".to_vec()).is_err());
    }
}
