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

    /// Draws a share of one.
    pub(super) fn share(&mut self) -> f64 {
        self.drawn += 1;
        let digest = Sha256::digest(format!("{} {}", self.seed, self.drawn));
        let bytes = [digest[0], digest[1], digest[2], digest[3]];
        f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
    }

    /// Draws one of so many, from 1 on.
    pub(super) fn within(&mut self, count: u32) -> u32 {
        1 + (self.share() * f64::from(count)) as u32 % count
    }
}
