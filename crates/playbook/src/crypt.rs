//! Passwords as the files of a Unix system hold them: what `passlib` gives for `crypt(3)`.

use bcrypt::Version;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

/// A way to hash a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Md5,
    Bcrypt,
    Sha256,
    Sha512,
}

/// What a hash is made with, beside the password. Zero rounds are none, as in Python.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The salt, in the scheme's own letters; random if there is none.
    pub salt: Option<String>,
    /// How long a random salt is.
    pub salt_size: Option<usize>,
    pub rounds: Option<u32>,
    /// The version of bcrypt: `2b`.
    pub ident: Option<String>,
}

/// The letters of salts, and of all hashes but bcrypt's.
const LETTERS: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Bcrypt's, in its own order.
const BCRYPT_LETTERS: &[u8; 64] =
    b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BCRYPT_SALT: usize = 22;

impl Scheme {
    /// Returns the scheme called `name`, by Ansible's names or passlib's.
    #[must_use]
    pub fn called(name: &str) -> Option<Self> {
        Some(match name {
            "md5" | "md5_crypt" => Self::Md5,
            "blowfish" | "bcrypt" => Self::Bcrypt,
            "sha256" | "sha256_crypt" => Self::Sha256,
            "sha512" | "sha512_crypt" => Self::Sha512,
            _ => return None,
        })
    }

    /// Returns how long its salts are.
    #[must_use]
    pub fn salt_size(self) -> usize {
        match self {
            Self::Md5 => 8,
            Self::Bcrypt => BCRYPT_SALT,
            Self::Sha256 | Self::Sha512 => 16,
        }
    }

    /// Returns passlib's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5_crypt",
            Self::Bcrypt => "bcrypt",
            Self::Sha256 => "sha256_crypt",
            Self::Sha512 => "sha512_crypt",
        }
    }

    /// Returns how many rounds it makes unless told, and its least and most; bcrypt's are powers
    /// of two.
    fn rounds(self) -> Option<(u32, u32, u32)> {
        match self {
            Self::Md5 => None,
            Self::Bcrypt => Some((12, 4, 31)),
            Self::Sha256 => Some((535_000, 1000, 999_999_999)),
            Self::Sha512 => Some((656_000, 1000, 999_999_999)),
        }
    }

    /// Returns how many steps of an expression's limit a hash counts for.
    #[must_use]
    pub fn steps(self, settings: &Settings) -> usize {
        let rounds = settings.rounds.filter(|rounds| *rounds > 0);
        let rounds = rounds.or(self.rounds().map(|(usual, _, _)| usual));
        match self {
            Self::Md5 => 10_000,
            Self::Bcrypt => 2_000_usize.saturating_mul(1 << rounds.unwrap_or(0).min(31)),
            Self::Sha256 | Self::Sha512 => {
                usize::try_from(rounds.unwrap_or(0)).unwrap_or(usize::MAX)
            }
        }
    }
}

/// Longer passwords are refused, as by passlib.
const MOST_BYTES: usize = 4096;

/// Returns the hash of `password`; `random` fills bytes for a salt.
///
/// # Errors
/// What passlib says of a salt, a number of rounds or a version that cannot be.
pub fn hash(
    password: &[u8],
    scheme: Scheme,
    settings: &Settings,
    random: impl FnOnce(&mut [u8]),
) -> Result<String, String> {
    if password.len() > MOST_BYTES {
        return Err("password exceeds maximum allowed size".to_owned());
    }
    let salt = match settings.salt.as_deref().filter(|salt| !salt.is_empty()) {
        Some(salt) => checked_salt(scheme, salt)?,
        None => random_salt(scheme, settings.salt_size.unwrap_or(0), random)?,
    };
    let rounds = match (settings.rounds.filter(|n| *n > 0), scheme.rounds()) {
        (Some(given), Some((_, least, most))) => checked_rounds(scheme, given, least, most)?,
        (None, Some((usual, _, _))) => usual,
        (_, None) => 0,
    };
    match scheme {
        Scheme::Md5 => Ok(md5_crypt(password, &salt)),
        Scheme::Bcrypt => bcrypt_hash(password, &salt, rounds, settings.ident.as_deref()),
        Scheme::Sha256 => Ok(sha_crypt::<Sha256>(
            "5", password, &salt, rounds, &ORDER_256,
        )),
        Scheme::Sha512 => Ok(sha_crypt::<Sha512>(
            "6", password, &salt, rounds, &ORDER_512,
        )),
    }
}

fn checked_rounds(scheme: Scheme, given: u32, least: u32, most: u32) -> Result<u32, String> {
    let name = scheme.name();
    if given < least {
        return Err(format!(
            "{name}: min_desired_rounds ({given}) is too low, must be at least {least}"
        ));
    }
    if given > most {
        return Err(format!(
            "{name}: max_desired_rounds ({given}) is too large, cannot be more than {most}"
        ));
    }
    Ok(given)
}

fn checked_salt(scheme: Scheme, salt: &str) -> Result<String, String> {
    let name = scheme.name();
    let size = scheme.salt_size();
    if !salt.bytes().all(|byte| LETTERS.contains(&byte)) {
        return Err(format!("invalid characters in {name} salt"));
    }
    let exact = if scheme == Scheme::Bcrypt {
        "exactly"
    } else {
        "<="
    };
    if salt.len() > size {
        return Err(format!(
            "salt too large ({name} requires {exact} {size} chars)"
        ));
    }
    if scheme == Scheme::Bcrypt && salt.len() < size {
        return Err(format!(
            "salt too small ({name} requires {exact} {size} chars)"
        ));
    }
    Ok(salt.to_owned())
}

fn random_salt(
    scheme: Scheme,
    size: usize,
    random: impl FnOnce(&mut [u8]),
) -> Result<String, String> {
    let most = scheme.salt_size();
    let size = match (scheme, size) {
        (_, 0) => most,
        (Scheme::Bcrypt, given) if given != most => {
            return Err(format!("bcrypt: salt_size must be {most}"));
        }
        (_, given) => given.min(most),
    };
    let mut bytes = vec![0; size];
    random(&mut bytes);
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte & 63)]);
    Ok(bytes.into_iter().map(letter).collect())
}

fn bcrypt_hash(
    password: &[u8],
    salt: &str,
    rounds: u32,
    ident: Option<&str>,
) -> Result<String, String> {
    let version = match ident.filter(|ident| !ident.is_empty()).unwrap_or("2b") {
        "2a" | "$2a$" => Version::TwoA,
        "2y" | "$2y$" => Version::TwoY,
        "2b" | "$2b$" => Version::TwoB,
        other => return Err(format!("invalid ident: '{other}'")),
    };
    if password.contains(&0) {
        return Err("bcrypt does not allow NULL bytes in password".to_owned());
    }
    let raw = bcrypt_salt(salt);
    let parts = bcrypt::hash_with_salt(password, rounds, raw).map_err(|e| e.to_string())?;
    Ok(parts.format_for_version(version))
}

/// Returns the 128 bits that 22 letters stand for; four bits are over and count for nothing.
fn bcrypt_salt(salt: &str) -> [u8; 16] {
    let mut raw = [0; 16];
    let (mut held, mut bits, mut at) = (0_u32, 0, 0);
    for letter in salt.bytes() {
        let value = BCRYPT_LETTERS.iter().position(|known| *known == letter);
        held = held << 6 | u32::try_from(value.unwrap_or(0)).unwrap_or(0);
        bits += 6;
        if bits >= 8 && at < raw.len() {
            bits -= 8;
            raw[at] = u8::try_from(held >> bits & 0xff).unwrap_or(0);
            at += 1;
        }
    }
    raw
}

/// Writes 24 bits as letters, the lowest six first.
fn push_letters(out: &mut String, bytes: [u8; 3], letters: usize) {
    let [high, middle, low] = bytes.map(u32::from);
    let bits = high << 16 | middle << 8 | low;
    out.extend((0..letters).map(|at| char::from(LETTERS[(bits >> (6 * at) & 63) as usize])));
}

/// Poul-Henning Kamp's MD5-crypt.
fn md5_crypt(password: &[u8], salt: &str) -> String {
    let s = salt.as_bytes();
    let inner = Md5::digest([password, s, password].concat());
    let mut start = [password, b"$1$", s].concat();
    start.extend(inner.iter().copied().cycle().take(password.len()));
    let mut length = password.len();
    while length > 0 {
        start.push(match length & 1 {
            1 => 0,
            _ => password[0],
        });
        length >>= 1;
    }
    let mut digest = Md5::digest(start);
    for round in 0..1000 {
        let mut next = Md5::new();
        match round & 1 {
            1 => next.update(password),
            _ => next.update(digest),
        }
        if round % 3 != 0 {
            next.update(s);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        match round & 1 {
            1 => next.update(digest),
            _ => next.update(password),
        }
        digest = next.finalize();
    }
    let mut out = String::new();
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        push_letters(&mut out, [digest[a], digest[b], digest[c]], 4);
    }
    push_letters(&mut out, [0, 0, digest[11]], 2);
    format!("$1${salt}${out}")
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
    rounds: u32,
    order: &[[usize; 3]],
) -> String {
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
    for [a, b, c] in order {
        push_letters(&mut out, [digest[*a], digest[*b], digest[*c]], 4);
    }
    match size {
        64 => push_letters(&mut out, [0, 0, digest[63]], 2),
        _ => push_letters(&mut out, [0, digest[31], digest[30]], 3),
    }
    let shown = if rounds == 5000 {
        String::new()
    } else {
        format!("rounds={rounds}$")
    };
    format!("${id}${shown}{salt}${out}")
}
