//! A client of SCRAM-SHA-256, as PostgreSQL speaks it.

use std::io::{self, Read as _};

use amibake_playbook::scram::Keys;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MECHANISM: &str = "SCRAM-SHA-256";
/// How much work a server may ask for.
const MOST_ROUNDS: u32 = 1_000_000;

/// A conversation.
pub(super) struct Client {
    password: String,
    nonce: String,
    /// The keys and what both have said, once the server has sent its salt.
    proved: Option<(Keys, String)>,
}

impl Client {
    pub(super) fn new(password: &str) -> io::Result<Self> {
        let mut random = [0; 18];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
        Ok(Self::with_nonce(password, STANDARD.encode(random)))
    }

    fn with_nonce(password: &str, nonce: String) -> Self {
        Self {
            password: password.to_owned(),
            nonce,
            proved: None,
        }
    }

    /// What it says first, without the part on binding to a channel.
    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Returns its first message: the mechanism, and what it says first.
    pub(super) fn first(&self) -> Vec<u8> {
        let said = format!("n,,{}", self.bare());
        let mut body = MECHANISM.as_bytes().to_vec();
        body.push(0);
        let length = u32::try_from(said.len()).unwrap_or_default();
        body.extend_from_slice(&length.to_be_bytes());
        body.extend_from_slice(said.as_bytes());
        body
    }

    /// Answers the server's salt with a proof.
    pub(super) fn answer(&mut self, body: &[u8]) -> Option<String> {
        let server = std::str::from_utf8(body).ok()?;
        let field = |name: &str| {
            let mut fields = server.split(',');
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        let nonce = field("r")?;
        let longer = nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        let rounds = field("i")?.parse().ok();
        let rounds = rounds.filter(|rounds| longer && (1..=MOST_ROUNDS).contains(rounds))?;
        let salt = STANDARD.decode(field("s")?).ok()?;
        let keys = Keys::new(&self.password, &salt, rounds);
        let last = format!("c=biws,r={nonce}");
        let said = format!("{},{server},{last}", self.bare());
        let proof = STANDARD.encode(keys.proof(said.as_bytes()));
        self.proved = Some((keys, said));
        Some(format!("{last},p={proof}"))
    }

    /// Whether the server has proved that it knows the password, too.
    pub(super) fn trusts(&self, body: &[u8]) -> bool {
        self.proved.as_ref().is_some_and(|(keys, said)| {
            let signature = STANDARD.encode(keys.signature(said.as_bytes()));
            body == format!("v={signature}").as_bytes()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_answered_and_only_one_that_knows_the_password_is_trusted() {
        let mut client = Client::with_nonce("pencil", "abc".to_owned());
        assert!(client.first().ends_with(b"n,,n=,r=abc"));
        let answer = client
            .answer(b"r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
            .unwrap();
        assert!(answer.starts_with("c=biws,r=abcdef,p="));
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let said = "n=,r=abc,r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=abcdef";
        let signed = |password: &str| {
            let keys = Keys::new(password, &salt, 4096);
            format!("v={}", STANDARD.encode(keys.signature(said.as_bytes())))
        };
        assert!(client.trusts(signed("pencil").as_bytes()));
        assert!(!client.trusts(signed("other").as_bytes()));
    }

    #[test]
    fn a_nonce_that_is_not_ours_and_endless_work_are_refused() {
        for said in [
            "r=xyz,s=AAAA,i=4096",
            "r=abc,s=AAAA,i=4096",
            "r=abcd,s=AAAA,i=4000000000",
            "r=abcd,s=AAAA,i=0",
            "r=abcd,s=!,i=4096",
            "r=abcd",
        ] {
            let mut client = Client::with_nonce("pencil", "abc".to_owned());
            assert_eq!(client.answer(said.as_bytes()), None, "{said}");
        }
    }
}
