//! `random` and `shuffle`: Python's generator, seeded as Python seeds it.

use sha2::{Digest, Sha512};

use super::{Filter, Given, filter};
use crate::template::Error;
use crate::template::eval::Evaluator;
use crate::value::Value;

pub(super) const FILTERS: &[Filter] = &[
    filter("random", &["start", "step", "seed"], random),
    filter("shuffle", &["seed"], shuffle),
];

/// The Mersenne Twister MT19937, as in Python's `random`.
pub(super) struct Twister {
    state: Vec<u32>,
    at: usize,
}

const N: usize = 624;

impl Twister {
    /// Seeds from 32-bit words, least significant first (`init_by_array`).
    fn by_words(words: &[u32]) -> Self {
        let mut state = vec![19_650_218_u32];
        for i in 1..N {
            let before = state[i - 1];
            let mixed = before ^ (before >> 30);
            state.push(
                mixed
                    .wrapping_mul(1_812_433_253)
                    .wrapping_add(u32::try_from(i).unwrap_or(0)),
            );
        }
        let word = |j: usize| words.get(j).copied().unwrap_or(0);
        let length = words.len().max(1);
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(length) {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
            state[i] = (state[i] ^ mixed)
                .wrapping_add(word(j))
                .wrapping_add(u32::try_from(j).unwrap_or(0));
            i += 1;
            j += 1;
            if i >= N {
                state[0] = state[N - 1];
                i = 1;
            }
            if j >= length {
                j = 0;
            }
        }
        for _ in 0..N - 1 {
            let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            state[i] = (state[i] ^ mixed).wrapping_sub(u32::try_from(i).unwrap_or(0));
            i += 1;
            if i >= N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, at: N }
    }

    /// Seeds as `random.Random(seed)` does: texts through SHA-512, numbers by their size.
    fn seeded(seed: &Value) -> Self {
        let bytes = match seed {
            Value::Str(text) => {
                let mut bytes = text.as_bytes().to_vec();
                bytes.extend(Sha512::digest(text.as_bytes()));
                bytes
            }
            other => match other.as_big() {
                Some(n) => n.magnitude().to_bytes_be(),
                None => {
                    let text = other.to_string();
                    let mut bytes = text.as_bytes().to_vec();
                    bytes.extend(Sha512::digest(text.as_bytes()));
                    bytes
                }
            },
        };
        let words: Vec<u32> = bytes
            .rchunks(4)
            .map(|chunk| {
                chunk
                    .iter()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte))
            })
            .collect();
        let used = words
            .iter()
            .rposition(|word| *word != 0)
            .map_or(1, |last| last + 1);
        Self::by_words(&words[..used.min(words.len())])
    }

    fn next(&mut self) -> u32 {
        if self.at >= N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + 397) % N] ^ (y >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn bits(&mut self, k: u32) -> u64 {
        match k {
            0 => 0,
            1..=32 => u64::from(self.next() >> (32 - k)),
            _ => {
                let low = u64::from(self.next());
                let high = u64::from(self.next() >> (64 - k.min(64)));
                high << 32 | low
            }
        }
    }

    /// Returns a number below `n` (`_randbelow_with_getrandbits`).
    pub(super) fn below(&mut self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let k = 64 - n.leading_zeros();
        loop {
            let r = self.bits(k);
            if r < n {
                return r;
            }
        }
    }
}

/// Returns a text of `length` of the letters, as `random.Random(seed).choice` picks them.
pub(crate) fn seeded_text(seed: &str, letters: &[char], length: usize) -> String {
    let mut generator = Twister::seeded(&Value::str(seed));
    let mut pick = || {
        let at = generator.below(letters.len() as u64);
        letters.get(usize::try_from(at).unwrap_or(0))
    };
    (0..length).filter_map(|_| pick()).collect()
}

/// Returns a generator for `seed`, or an unpredictable one.
pub(super) fn generator(machine: &Evaluator<'_>, seed: Option<&Value>) -> Twister {
    match seed {
        Some(seed) if !matches!(seed, Value::None) => Twister::seeded(seed),
        _ => {
            let mut bytes = [0; 64];
            machine.outside.entropy(&mut bytes);
            let words = bytes
                .chunks(4)
                .map(|c| c.iter().fold(0, |w, b| w << 8 | u32::from(*b)));
            Twister::by_words(&words.collect::<Vec<_>>())
        }
    }
}

fn random(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let mut generator = generator(machine, given.optional(2));
    if let Some(end) = value.as_int() {
        let (start, step) = (given.int(0, 0)?, given.int(1, 1)?);
        let range = crate::value::Range::new(start, end, if step == 0 { 1 } else { step });
        if range.length == 0 {
            return Err(Error::failed(format!(
                "empty range for randrange() ({start}, {end}, {})",
                end - start
            )));
        }
        let at = generator.below(range.length as u64);
        return Ok(Value::Int(start + step * i64::try_from(at).unwrap_or(0)));
    }
    if given.optional(0).is_some() || given.optional(1).is_some() {
        return Err(Error::failed(
            "start and step can only be used with integer values",
        ));
    }
    if let Value::Object(object) = &value
        && let Some(length) = object.sequence()
    {
        let at = generator.below(length as u64);
        return Ok(object
            .at(usize::try_from(at).unwrap_or(0))
            .unwrap_or_default());
    }
    let items = match &value {
        Value::List(_) | Value::Tuple(_) | Value::Str(_) => machine.items(&value)?,
        _ => {
            return Err(Error::failed(
                "random can only be used on sequences and integers",
            ));
        }
    };
    if items.is_empty() {
        return Err(Error::failed("Cannot choose from an empty sequence"));
    }
    let at = generator.below(items.len() as u64);
    Ok(items[usize::try_from(at).unwrap_or(0)].clone())
}

fn shuffle(machine: &Evaluator<'_>, value: Value, given: &Given) -> Result<Value, Error> {
    let Ok(mut items) = machine.items(&value) else {
        return Ok(value);
    };
    let mut generator = generator(machine, given.optional(0));
    for i in (1..items.len()).rev() {
        let j = generator.below(i as u64 + 1);
        items.swap(i, usize::try_from(j).unwrap_or(0));
    }
    Ok(Value::list(items))
}
