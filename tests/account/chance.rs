//! Chance that a failed run can ask for again: a seed, which the test tells, and what is drawn from it.

use sha2::{Digest, Sha256};

pub(super) struct Chance {
    pub(super) seed: u64,
    drawn: u64,
}

impl Chance {
    /// Returns that of `AMIBAKE_TEST_SEED`, or of this process.
    pub(super) fn seeded() -> Self {
        let given = std::env::var("AMIBAKE_TEST_SEED").ok();
        let given = given.and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        Self { seed, drawn: 0 }
    }

    /// Draws one of so many, from 1 on.
    pub(super) fn within(&mut self, count: u32) -> u32 {
        self.drawn += 1;
        let digest = Sha256::digest(format!("{} {}", self.seed, self.drawn));
        1 + u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]) % count
    }
}
