//! What the lookup `password` asks for, and what the file of a password holds. Reading and writing it is
//! the controller's.

use std::fmt;

use serde_json::{Map, Value as Json};

use crate::crypt::{self, Scheme, Settings};
use crate::syntax::free_form::parse_kv;
use crate::template::seeded_text;

/// One password that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The file, as the playbook names it; `/dev/null` for none.
    pub path: String,
    length: usize,
    letters: Vec<char>,
    scheme: Option<Scheme>,
    ident: Option<String>,
    seed: Option<String>,
}

/// What the file of a password holds. Neither `Debug` nor anything else shows it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Stored {
    password: String,
    salt: Option<String>,
    ident: Option<String>,
}

/// A password, and what its file is to hold from now on if that is something else.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The password, hashed if that was asked for.
    pub value: String,
    pub store: Option<Stored>,
}

const LENGTH: usize = 20;
/// Longer passwords nobody wants.
const MOST_LETTERS: usize = 100_000;
const LETTERS: &[&str] = &["ascii_letters", "digits", ".,:-_"];
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
const WHITESPACE: &str = " \t\n\r\u{b}\u{c}";

impl Request {
    /// Reads a term, `path length=8 chars=digits`, and the lookup's keyword arguments.
    ///
    /// # Errors
    /// Ansible's words for what cannot be asked.
    pub fn read(term: &str, options: &Map<String, Json>) -> Result<Self, String> {
        let mut request = Self {
            path: term.to_owned(),
            length: LENGTH,
            letters: letters(LETTERS.iter().copied()),
            scheme: None,
            ident: None,
            seed: None,
        };
        for (key, value) in options {
            request.option(key, value)?;
        }
        if let Some((path, rest)) = term.split_once(' ') {
            request.inline(term, path, rest)?;
        }
        Ok(request)
    }

    fn inline(&mut self, term: &str, path: &str, rest: &str) -> Result<(), String> {
        path.clone_into(&mut self.path);
        for (key, value) in parse_kv(rest, false).map_err(|e| e.to_string())? {
            match key.as_str() {
                "_raw_params" => self.path = format!("{path} {value}"),
                "chars" => {
                    let comma = Some(",").filter(|_| value.contains(",,"));
                    let value = value.replace(",,", ",");
                    let names = value.split(',').filter(|name| !name.is_empty());
                    self.letters = letters(comma.into_iter().chain(names));
                }
                key => self.option(key, &Json::from(value))?,
            }
        }
        match term.starts_with(&self.path) {
            true => Ok(()),
            false => Err(
                "Unrecognized value after key=value parameters given to password lookup".to_owned(),
            ),
        }
    }

    fn option(&mut self, key: &str, value: &Json) -> Result<(), String> {
        let text = match value {
            Json::Null => None,
            Json::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        match (key, text) {
            (_, None) => {}
            ("length", Some(text)) => {
                let length = text.trim().parse().ok().filter(|n| *n <= MOST_LETTERS);
                self.length = length
                    .ok_or_else(|| format!("Invalid value provided for 'integer': '{text}'"))?;
            }
            ("chars", Some(text)) => {
                let names: Vec<&str> = match value {
                    Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
                    _ => text.split(',').map(str::trim).collect(),
                };
                self.letters = letters(names.into_iter());
            }
            ("encrypt", Some(name)) => {
                let scheme = Scheme::called(&name).filter(|scheme| scheme.name() == name);
                let scheme = scheme
                    .ok_or_else(|| format!("passlib does not support the '{name}' algorithm"))?;
                self.scheme = Some(scheme);
            }
            ("ident", ident) => self.ident = ident,
            ("seed", seed) => self.seed = seed,
            (other, _) => {
                return Err(format!(
                    "Unrecognized parameter(s) given to password lookup: {other}"
                ));
            }
        }
        Ok(())
    }

    /// Returns whether no file is to hold the password.
    #[must_use]
    pub fn is_stored_nowhere(&self) -> bool {
        self.path == "/dev/null"
    }

    /// Returns the password, which is what the file holds, if there is one. `random` fills bytes.
    ///
    /// # Errors
    /// Why it cannot be hashed as it is asked for.
    pub fn answer(
        &self,
        stored: Option<Stored>,
        random: impl Fn(&mut [u8]),
    ) -> Result<Answer, String> {
        let found = stored.filter(|_| !self.is_stored_nowhere());
        let mut now = found.clone().unwrap_or_else(|| Stored {
            password: self.generate(&random),
            ..Stored::default()
        });
        let Some(scheme) = self.scheme else {
            let value = now.password.clone();
            let store = Some(now).filter(|now| found.as_ref() != Some(now));
            return Ok(Answer { value, store });
        };
        if now.salt.as_deref().is_none_or(str::is_empty) {
            now.salt = Some(salt(scheme, &random));
        }
        let asked = self.ident.clone().filter(|ident| !ident.is_empty());
        match (&now.ident, asked) {
            (Some(stored), Some(asked)) if *stored != asked => {
                return Err(format!(
                    "The ident parameter provided ({stored}) does not match the stored one ({asked})."
                ));
            }
            (None, asked) => {
                let usual = (scheme == Scheme::Bcrypt).then(|| "2b".to_owned());
                now.ident = asked.or(usual);
            }
            (Some(_), _) => {}
        }
        let settings = Settings {
            salt: now.salt.clone(),
            ident: now.ident.clone(),
            ..Settings::default()
        };
        let value = crypt::hash(now.password.as_bytes(), scheme, &settings, |bytes| {
            random(bytes);
        });
        let value = value.map_err(|reason| format!("Could not hash the secret: {reason}"))?;
        let store = Some(now).filter(|now| found.as_ref() != Some(now));
        Ok(Answer { value, store })
    }

    fn generate(&self, random: &impl Fn(&mut [u8])) -> String {
        match &self.seed {
            Some(seed) => seeded_text(seed, &self.letters, self.length),
            None => picked(&self.letters, self.length, random),
        }
    }
}

fn salt(scheme: Scheme, random: &impl Fn(&mut [u8])) -> String {
    let letters = letters(["ascii_letters", "digits", "./"].into_iter());
    let mut salt = picked(&letters, scheme.salt_size(), random);
    if scheme == Scheme::Bcrypt {
        // Of the last letter only two bits count.
        salt.pop();
        salt.push_str(&picked(&['.', 'O', 'e', 'u'], 1, random));
    }
    salt
}

/// Picks letters, each as probable as any other.
fn picked(letters: &[char], length: usize, random: &impl Fn(&mut [u8])) -> String {
    let count = u32::try_from(letters.len()).unwrap_or(u32::MAX);
    let mut out = String::new();
    if count == 0 {
        return out;
    }
    let fair = u32::MAX - u32::MAX % count;
    while out.chars().count() < length {
        let mut bytes = [0; 4];
        random(&mut bytes);
        let number = u32::from_ne_bytes(bytes);
        if number < fair {
            out.extend(letters.get((number % count) as usize));
        }
    }
    out
}

/// Returns the letters that names stand for; quotes are none.
fn letters<'n>(names: impl Iterator<Item = &'n str>) -> Vec<char> {
    let (lower, upper) = ('a'..='z', 'A'..='Z');
    let of = |name: &str| -> String {
        match name {
            "ascii_lowercase" => lower.clone().collect(),
            "ascii_uppercase" => upper.clone().collect(),
            "ascii_letters" => lower.clone().chain(upper.clone()).collect(),
            "digits" => ('0'..='9').collect(),
            "hexdigits" => ('0'..='9').chain('a'..='f').chain('A'..='F').collect(),
            "octdigits" => ('0'..='7').collect(),
            "punctuation" => PUNCTUATION.to_owned(),
            "whitespace" => WHITESPACE.to_owned(),
            "printable" => {
                let letters = lower.clone().chain(upper.clone());
                let plain: String = ('0'..='9').chain(letters).collect();
                plain + PUNCTUATION + WHITESPACE
            }
            other => other.to_owned(),
        }
    };
    let all: String = names.map(of).collect();
    all.chars().filter(|c| !matches!(c, '"' | '\'')).collect()
}

impl Stored {
    /// Reads a file: the password, perhaps ` salt=…` and ` ident=…` behind it.
    #[must_use]
    pub fn parse(content: &str) -> Self {
        let content = content.trim_end();
        let (password, rest) = match content.rsplit_once(" salt=") {
            Some((password, rest)) => (password, Some(rest)),
            None => (content, None),
        };
        let parts = rest.map(|rest| rest.rsplit_once(" ident=").unwrap_or((rest, "")));
        let part = |part: &str| Some(part.to_owned()).filter(|part| !part.is_empty());
        Self {
            password: password.to_owned(),
            salt: parts.and_then(|(salt, _)| part(salt)),
            ident: parts.and_then(|(_, ident)| part(ident)),
        }
    }

    /// Returns what the file holds.
    #[must_use]
    pub fn content(&self) -> String {
        let mut out = self.password.clone();
        if let Some(salt) = &self.salt {
            out.extend([" salt=", salt]);
            if let Some(ident) = &self.ident {
                out.extend([" ident=", ident]);
            }
        }
        out + "\n"
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(term: &str, options: serde_json::Value) -> Result<Request, String> {
        Request::read(term, options.as_object().unwrap())
    }

    fn counting(bytes: &mut [u8]) {
        bytes.copy_from_slice(&[7, 0, 0, 0, 7, 0, 0, 0][..bytes.len()]);
    }

    #[test]
    fn a_term_and_its_options_say_what_is_asked_for() {
        let plain = read("creds/pw", serde_json::json!({})).unwrap();
        assert_eq!((plain.path.as_str(), plain.length), ("creds/pw", 20));
        let inline = read("a b/pw length=8 chars=digits,,x", serde_json::json!({})).unwrap();
        assert_eq!(inline.path, "a b/pw");
        assert_eq!(inline.letters.iter().collect::<String>(), ",0123456789x");
        let given = serde_json::json!({"length": 3, "chars": ["octdigits", "'"]});
        let given = read("/dev/null", given).unwrap();
        assert_eq!(given.letters.iter().collect::<String>(), "01234567");
        assert_eq!(given.answer(None, counting).unwrap().value, "777");
        assert!(read("x", serde_json::json!({"lenght": 3})).is_err());
        assert!(read("x length=3 y", serde_json::json!({})).is_err());
        assert!(read("x", serde_json::json!({"encrypt": "rot13"})).is_err());
    }

    /// Python: `random.Random('x')` and `choice` over the default letters.
    #[test]
    fn a_seed_gives_what_pythons_generator_gives() {
        let request = read("/dev/null", serde_json::json!({"seed": "foo"})).unwrap();
        let value = request.answer(None, counting).unwrap().value;
        assert_eq!(value, "6JUEsF6-,RiuGZDEWF4r");
    }

    #[test]
    fn what_a_file_holds_stays_and_what_is_missing_is_added() {
        let request = read("pw", serde_json::json!({"encrypt": "sha512_crypt"})).unwrap();
        let stored = Stored::parse("secret salt=abcdefgh\n");
        let answer = request.answer(Some(stored), counting).unwrap();
        assert!(answer.value.starts_with("$6$rounds=656000$abcdefgh$"));
        assert_eq!(answer.store, None);
        let bare = request
            .answer(Some(Stored::parse("secret\n")), counting)
            .unwrap();
        let content = bare.store.unwrap().content();
        assert_eq!(content, "secret salt=hhhhhhhhhhhhhhhh\n");
        let bcrypt = read("pw", serde_json::json!({"encrypt": "bcrypt"})).unwrap();
        let bcrypt = bcrypt
            .answer(Some(Stored::parse("secret")), counting)
            .unwrap();
        assert!(
            bcrypt.value.starts_with("$2b$12$hhhhhhhhhhhhhhhhhhhhhu"),
            "{}",
            bcrypt.value
        );
        let content = bcrypt.store.unwrap().content();
        assert_eq!(content, "secret salt=hhhhhhhhhhhhhhhhhhhhhu ident=2b\n");
    }
}
