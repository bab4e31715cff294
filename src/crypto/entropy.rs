//! Randomness as an argument: whoever needs random bytes is handed a source of them.
//!
//! Must not know where the bytes come from: a server passes the operating system's generator
//! (`vault::entropy`), a simulation passes [`Seeded`] so that one seed repeats a whole run.

use sha2::{Digest as _, Sha256};

/// A source of random bytes.
pub trait Entropy: Send {
    /// Fills `out` with random bytes; a source that cannot must stop the process rather than return.
    fn fill(&mut self, out: &mut [u8]);
}

impl Entropy for Box<dyn Entropy> {
    fn fill(&mut self, out: &mut [u8]) {
        self.as_mut().fill(out);
    }
}

/// Draws `N` random bytes.
pub fn draw<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// Bytes that follow from a seed: for tests and simulations, never for a key that protects anything.
#[derive(Debug, Clone)]
pub struct Seeded {
    seed: u64,
    block: u64,
}

impl Seeded {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, block: 0 }
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_be_bytes(draw(self)).checked_rem(bound).unwrap_or(0)
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let mut hasher = Sha256::new();
            hasher.update(b"asp-cell seeded entropy\0");
            hasher.update(self.seed.to_be_bytes());
            hasher.update(self.block.to_be_bytes());
            self.block = self.block.wrapping_add(1);
            for (to, from) in chunk.iter_mut().zip(hasher.finalize()) {
                *to = from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_stream_and_no_other() {
        let drawn = |seed| draw::<70>(&mut Seeded::new(seed));
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert_ne!(drawn(7)[..32], drawn(7)[32..64]);
    }
}
